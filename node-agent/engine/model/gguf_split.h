/* gguf_split.h - how the files of a split GGUF model are named: NAME-00001-of-00003.gguf.
 *
 * Names alone; no file is touched.
 * Threads: any.
 */
#ifndef PX_MODEL_GGUF_SPLIT_H
#define PX_MODEL_GGUF_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct px_gguf_part {
    uint32_t number, count; /* from 1 on */
} px_gguf_part;

/* The path of that part of the split model that `path` is a part of. False: `path` is not named
 * like one, or `out` is too small. */
bool px_gguf_part_path(const char *path, px_gguf_part part, char *out, size_t capacity);
/* Whether the names are those of two parts (or the same one) of one split model. */
bool px_gguf_same_split(const char *path, const char *other);

#endif
