/* vocab.h - the vocabulary: id to token and token to id.
 *
 * One block of bytes for all tokens, one array by id, one open-addressing table by content. A slot
 * of the table holds the token's first eight bytes, so most look-ups touch one cache line and
 * nothing else; loading a quarter of a million tokens takes some ten milliseconds.
 * Owns:    copies of all tokens.
 * Threads: immutable once sealed.
 */
#ifndef PX_TEXT_VOCAB_H
#define PX_TEXT_VOCAB_H

#include "base/memory.h"

enum { PX_VOCAB_MAX = 1 << 22 }; /* ids are below this */
#define PX_NO_TOKEN UINT32_MAX

typedef struct px_vocab_token {
    uint32_t start, length; /* in bytes; start UINT32_MAX: no token has this id */
} px_vocab_token;

typedef struct px_vocab_slot {
    uint64_t head;          /* the first 8 bytes, zeros behind */
    uint32_t start;         /* of the text in px_vocab.bytes */
    uint32_t id_and_length; /* id + 1 in 23 bits, then the length, beyond 510 as 511; 0: free */
} px_vocab_slot;

/* A text, ready to be looked up; made by px_vocab_key(). */
typedef struct px_vocab_key {
    const char *text; /* borrowed */
    uint64_t head;
    uint32_t length, hash;
} px_vocab_key;

typedef struct px_vocab_pending { /* added, and not yet to be found */
    px_vocab_token text;
    uint32_t id, hash;
} px_vocab_pending;

typedef struct px_vocab_pending_list {
    px_vocab_pending *data;
    size_t count, capacity;
} px_vocab_pending_list;

typedef struct px_vocab {
    px_buf bytes;
    px_vocab_token *tokens; /* [size], as the model spells them */
    px_vocab_token *names;  /* [size] what an id is called where that differs, or NULL */
    uint32_t size, capacity;
    px_vocab_slot *slots;
    uint32_t mask, used;
    bool has_twins; /* two ids were given the same text: the later one is found by it */
    px_vocab_pending_list pending;
} px_vocab;

px_status px_vocab_init(px_vocab *vocab) PX_MUST_USE;
void px_vocab_done(px_vocab *vocab);
/* Gives `id` this text. Of two tokens with the same text the later one is found by it. */
px_status px_vocab_add(px_vocab *vocab, px_slice token, uint32_t id) PX_MUST_USE;
/* After additions and before look-ups: makes what was added findable. */
px_status px_vocab_seal(px_vocab *vocab) PX_MUST_USE;
/* Gives `id` a text that px_vocab_find() does not know, and that px_vocab_text() gives out: an
 * added token's. What the model calls the id can still be found. */
px_status px_vocab_name(px_vocab *vocab, px_slice token, uint32_t id) PX_MUST_USE;

/* The id, or PX_NO_TOKEN. */
uint32_t px_vocab_find(const px_vocab *vocab, const char *token, size_t length);
/* The same in two halves, so that the waits for memory of many look-ups overlap: the first one
 * asks for the slot. */
px_vocab_key px_vocab_ask(const px_vocab *vocab, px_slice token);
uint32_t px_vocab_answer(const px_vocab *vocab, const px_vocab_key *key);
/* The refusal of a text that has no token, in a vocabulary without a token for unknown text. */
px_status px_vocab_unknown(px_slice text) PX_MUST_USE;
/* Borrowed; data is NULL for an unused id. */
px_slice px_vocab_text(const px_vocab *vocab, uint32_t id);

#endif
