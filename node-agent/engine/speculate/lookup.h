/* lookup.h - where a text stood before as it stands now: what followed then may follow again.
 *
 *   tokens:  ... the cat sat on the mat ... the cat sat |
 *                            ^ at                        length 3
 *
 * While a found place keeps being right it is only followed. When it was wrong, places with the
 * same last PX_LOOKUP_GRAM tokens are found by their hash, the newest few of them compared
 * backwards, and the one that agrees longest is taken (between equals the newest). Cost:    O(1) a
 * token: one entry into the index, and a bounded search where a place was wrong. Owns:    its index
 * in the arena it was made in; the tokens are borrowed for each call. Source:  A. Saxena, "Prompt
 * Lookup Decoding" (2023); the hash chains are those of LZ77 coders. Threads: one at a time.
 */
#ifndef PX_SPECULATE_LOOKUP_H
#define PX_SPECULATE_LOOKUP_H

#include "base/memory.h"

enum { PX_LOOKUP_GRAM = 2, PX_LOOKUP_LENGTH_MAX = 32 };

typedef struct px_lookup px_lookup;

size_t px_lookup_bytes(uint32_t tokens_max); /* of the arena */
/* NULL: the arena's limit is reached. */
px_lookup *px_lookup_create(uint32_t tokens_max, px_arena *arena);

typedef struct px_lookup_place {
    uint32_t at;     /* the token that followed there; below the text's own count */
    uint32_t length; /* of what agrees before it, at most PX_LOOKUP_LENGTH_MAX; 0: no place */
} px_lookup_place;

/* The text has grown to `count` tokens; those it had before have not changed. */
px_lookup_place px_lookup_advance(px_lookup *lookup, const uint32_t *tokens, uint32_t count);

#endif
