/* text_files.h - the text side of a model's folder, file by file.
 */
#ifndef PX_TEXT_TEXT_FILES_H
#define PX_TEXT_TEXT_FILES_H

#include <jansson.h>

#include "base/fs.h"

typedef struct px_text_files {
    px_map tokenizer;          /* tokenizer.json */
    json_t *config;            /* tokenizer_config.json; NULL: none */
    json_t *special_map;       /* special_tokens_map.json; NULL: none */
    json_t *chat, *chat_tools; /* sources of templates; NULL: none */
} px_text_files;

/* The folder must have a tokenizer.json; its path is shorter than 4000 bytes. */
px_status px_text_files_open(const char *folder, px_text_files *out) PX_MUST_USE;
void px_text_files_close(px_text_files *files);

/* Adds the named special tokens of tokenizer_config.json and special_tokens_map.json (either may be
 * NULL) to `special_tokens`, name to text. As transformers reads them: the map is the older file,
 * which wins unless the configuration describes its added tokens itself; then nobody looks at it.
 */
void px_text_special_tokens(const json_t *config, const json_t *map, json_t *special_tokens);

#endif
