/* vocab.h - the vocabulary: id to token and token to id.
 *
 * One block of bytes for all tokens, one array by id, one open-addressing table by content: a
 * vocabulary of 50,000 tokens is built in a few milliseconds and without an allocation a token.
 * Owns:    copies of all tokens.
 * Threads: immutable once built.
 */
#ifndef PX_TEXT_VOCAB_H
#define PX_TEXT_VOCAB_H

#include "base/memory.h"

enum { PX_VOCAB_MAX = 1 << 22 }; /* ids are below this */
#define PX_NO_TOKEN UINT32_MAX

typedef struct px_vocab_token {
    uint32_t start, length; /* in bytes; start UINT32_MAX: no token has this id */
} px_vocab_token;

typedef struct px_vocab {
    px_buf bytes;
    px_vocab_token *tokens; /* [size], as the model spells them */
    px_vocab_token *names;  /* [size] what an id is called where that differs, or NULL */
    uint32_t size, capacity;
    uint64_t *slots; /* hash << 32 | id + 1; 0: free */
    uint32_t mask, used;
} px_vocab;

/* `count` and `bytes` are expectations that save growing; both may be 0. */
px_status px_vocab_init(px_vocab *vocab, size_t count, size_t bytes) PX_MUST_USE;
void px_vocab_done(px_vocab *vocab);
/* Gives `id` this text. Of two tokens with the same text the later one is found by it. */
px_status px_vocab_add(px_vocab *vocab, px_slice token, uint32_t id) PX_MUST_USE;
/* Gives `id` a text that px_vocab_find() does not know, and that px_vocab_text() gives out: an
 * added token's. What the model calls the id can still be found. */
px_status px_vocab_name(px_vocab *vocab, px_slice token, uint32_t id) PX_MUST_USE;
/* The id, or PX_NO_TOKEN. */
uint32_t px_vocab_find(const px_vocab *vocab, const char *token, size_t length);

typedef struct px_vocab_query {
    const char *text;
    uint32_t length;
    uint32_t id; /* the answer, as of px_vocab_find() */
    uint32_t hash, slot;
} px_vocab_query;
/* Answers many at once, faster than one by one: their waits for memory overlap. */
void px_vocab_find_many(const px_vocab *vocab, px_vocab_query *queries, size_t count);
/* The refusal of a text that has no token, in a vocabulary without a token for unknown text. */
px_status px_vocab_unknown(px_slice text) PX_MUST_USE;
/* Borrowed; data is NULL for an unused id. */
px_slice px_vocab_text(const px_vocab *vocab, uint32_t id);

#endif
