/* tokenizer.h - text to ids and back, as tokenizer.json or a GGUF describes it.
 *
 * Input is any bytes: each maximal invalid part of UTF-8 counts as U+FFFD. Linear time in the
 * input, whatever it is.
 * Threads: immutable after create, so encode and decode may run on any thread at once; a px_detok
 *          belongs to one thread.
 */
#ifndef PX_TEXT_TOKENIZER_H
#define PX_TEXT_TOKENIZER_H

#include "base/memory.h"

typedef struct px_tokenizer px_tokenizer;

px_status px_tokenizer_from_json(const char *json, size_t length, px_tokenizer **out) PX_MUST_USE;

typedef struct px_tokenizer_gguf { /* the tokenizer.ggml.* fields, borrowed for the call */
    px_slice model, pre;           /* "gpt2", "llama", ...; pre may be empty */
    const px_slice *tokens;
    const float *scores;  /* or NULL */
    const int32_t *types; /* or NULL */
    uint32_t token_count;
    const px_slice *merges;
    uint32_t merge_count;
    int64_t bos_id, eos_id, unknown_id;     /* not in the vocabulary: none */
    int add_bos, add_eos, add_space_prefix; /* -1: not said */
    px_slice charsmap;              /* t5: SentencePiece's normalisation map; may be empty */
    bool remove_extra_spaces;       /* t5: none at the ends, never two in a row */
    bool keeps_case, keeps_accents; /* bert */
    bool strips_after_special;      /* special tokens take the white space after them (Phi-3) */
} px_tokenizer_gguf;
px_status px_tokenizer_from_gguf(const px_tokenizer_gguf *fields, px_tokenizer **out) PX_MUST_USE;
void px_tokenizer_free(px_tokenizer *tokenizer);

uint32_t px_tokenizer_size(const px_tokenizer *tokenizer); /* ids are < this */

typedef struct px_ids { /* growing array; starts as {0}; free(data) */
    uint32_t *data;
    size_t count, capacity;
} px_ids;

typedef struct px_encode_options {
    bool add_special;   /* run the tokenizer's own post-processor (BOS, ...) */
    bool parse_special; /* special tokens written in the text become their ids */
    size_t ids_max;     /* 0: no bound; else RESOURCE_EXHAUSTED beyond */
} px_encode_options;

/* Appends to *ids. */
px_status px_tokenizer_encode(const px_tokenizer *tokenizer, const char *text, size_t length,
    const px_encode_options *options, px_ids *ids) PX_MUST_USE;
/* The id of exactly this token, or -1. */
int64_t px_tokenizer_id(const px_tokenizer *tokenizer, const char *token, size_t length);
/* The token as written in the vocabulary ("Ġthe"); NULL data for an unused id. */
px_slice px_tokenizer_token(const px_tokenizer *tokenizer, uint32_t id);
bool px_tokenizer_is_special(const px_tokenizer *tokenizer, uint32_t id);
/* Appends the text of ids; broken UTF-8 becomes U+FFFD. An id out of range is INVALID_ARGUMENT. */
px_status px_tokenizer_decode(const px_tokenizer *tokenizer, const uint32_t *ids, size_t count,
    bool skip_special, px_buf *text) PX_MUST_USE;

/* --- streaming: gives out only whole characters; the sum of all parts is decode() of all ids ---
 */
typedef struct px_detok px_detok;
px_detok *px_detok_create(const px_tokenizer *tokenizer, bool skip_special);
void px_detok_free(px_detok *detok);
void px_detok_reset(px_detok *detok);
/* Appends what `id` completes (may be nothing). */
px_status px_detok_push(px_detok *detok, uint32_t id, px_buf *text) PX_MUST_USE;
void px_detok_finish(px_detok *detok, px_buf *text); /* half a character left: U+FFFD */

#endif
