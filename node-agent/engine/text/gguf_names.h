/* gguf_names.h - what GGUF calls things in tokenizer.ggml.*, for reading and writing. */
#ifndef PX_TEXT_GGUF_NAMES_H
#define PX_TEXT_GGUF_NAMES_H

#include <stdbool.h>
#include <stddef.h>

typedef enum px_token_type { /* tokenizer.ggml.token_type */
    PX_TOKEN_NORMAL = 1,
    PX_TOKEN_UNKNOWN,
    PX_TOKEN_CONTROL,
    PX_TOKEN_USER_DEFINED,
    PX_TOKEN_UNUSED,
    PX_TOKEN_BYTE,
} px_token_type;

/* The name of the pre-tokenizer that splits by these patterns one after the other; of several the
 * one with these flags. "default" if none is known. */
const char *px_gguf_pre_name(
    const char *const *patterns, size_t count, bool ignore_merges, bool nfc);

#endif
