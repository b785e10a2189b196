/* vocabulary.h - all tokens by their bytes, in order, so that a walk over them shares prefixes.
 *
 * Threads: immutable once made.
 */
#ifndef PX_GRAMMAR_VOCABULARY_H
#define PX_GRAMMAR_VOCABULARY_H

#include <stdbool.h>

#include "base/memory.h"

typedef struct px_vocabulary_entry {
    uint32_t id;
    uint32_t first;  /* of its bytes */
    uint16_t length; /* >= 1 */
    uint16_t shared; /* first bytes that the entry before has too */
} px_vocabulary_entry;

typedef struct px_vocabulary {
    uint32_t size;                /* ids are below this */
    px_vocabulary_entry *entries; /* by their bytes */
    uint32_t count;
    uint8_t *bytes;
    size_t byte_count;
    uint32_t *place; /* [size]: index of an id's entry; UINT32_MAX: it has none */
} px_vocabulary;

enum { PX_TOKEN_BYTES_MAX = 1024 };

/* `bytes_of` appends what token `id` adds to a text; nothing: it adds none, and no grammar ever
 * allows it (special tokens). Longer ones than PX_TOKEN_BYTES_MAX are left out. */
px_status px_vocabulary_make(uint32_t size, void (*bytes_of)(void *arg, uint32_t id, px_buf *out),
    void *arg, px_vocabulary *out) PX_MUST_USE;
void px_vocabulary_done(px_vocabulary *vocabulary);

/* The id of the longest token that `text` begins with; UINT32_MAX: there is none. */
uint32_t px_vocabulary_longest(const px_vocabulary *vocabulary, px_slice text);
/* Of an id below size; empty: it has none. */
px_slice px_vocabulary_bytes(const px_vocabulary *vocabulary, uint32_t id);

#endif
