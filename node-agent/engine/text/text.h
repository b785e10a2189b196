/* text.h - everything textual that comes with a model: tokenizer, chat template, special tokens.
 *
 * Finds them in the GGUF's metadata, or in the folder's tokenizer.json, tokenizer_config.json,
 * chat_template.jinja, generation_config.json.
 */
#ifndef PX_TEXT_TEXT_H
#define PX_TEXT_TEXT_H

#include "engine/model/model_file.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

typedef struct px_text {
    px_tokenizer *tokenizer;      /* never NULL */
    px_chat_template *chat;       /* NULL: the model has none */
    px_chat_template *chat_tools; /* for conversations with tools; NULL: `chat` serves for them */
    json_t *special_tokens;       /* {"bos_token": "...", ...} */
    bool add_special;             /* plain prompts get the post-processor's tokens (BOS) */
} px_text;

/* `file` may be NULL for a folder with a tokenizer only. A template that does not parse fails here.
 */
px_status px_text_open(const char *path, const px_model_file *file, px_text *out) PX_MUST_USE;
void px_text_close(px_text *text);

/* Renders with the fitting template and the model's special tokens (input->special_tokens is
 * filled in when NULL). FAILED_PRECONDITION when the model has no template. */
px_status px_text_render(const px_text *text, const px_chat_input *input, px_buf *out) PX_MUST_USE;

#endif
