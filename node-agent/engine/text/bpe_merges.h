/* bpe_merges.h - the rules of byte-pair encoding as a table: (left, right) to (rank, joined).
 *
 * A vocabulary of 256,000 tokens has half a million merges of three texts each, and every look-up
 * misses the cache three times. So merges are taken in batches whose look-ups overlap.
 * Owns:    the table; borrows the vocabulary.
 * Threads: immutable once flushed.
 */
#ifndef PX_TEXT_BPE_MERGES_H
#define PX_TEXT_BPE_MERGES_H

#include "engine/text/vocab.h"

typedef struct px_merge { /* left right -> id */
    uint32_t left, right; /* left PX_NO_TOKEN: a free slot */
    uint32_t rank, id;
} px_merge;

typedef struct px_merge_batch px_merge_batch;

typedef struct px_merges {
    px_merge *slots; /* open addressing */
    uint32_t mask, count;
    const px_vocab *vocab;
    size_t prefix_bytes; /* of the right text, which are not part of the joined text */
    bool skip_unknown;   /* merges with a text that is no token are passed over, not refused */
    bool joins_mark[256]; /* a merge joins a text with this last byte to one that begins with "▁" */
    px_merge_batch *batch;
} px_merges;

/* `expected`: merges to make room for. The members of *merges that say how are set already. */
px_status px_merges_init(px_merges *merges, size_t expected) PX_MUST_USE;
void px_merges_done(px_merges *merges);
/* The next merge, in order of rank. What is wrong with it may be said by a later call. */
px_status px_merges_add(px_merges *merges, px_slice left, px_slice right) PX_MUST_USE;
/* After the last one, and before the first look-up. */
px_status px_merges_flush(px_merges *merges) PX_MUST_USE;

static inline uint32_t px_merge_slot(uint32_t left, uint32_t right, uint32_t mask)
{
    return (uint32_t)(((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u >> 32) & mask;
}

/* NULL: these two do not join. */
static inline const px_merge *px_merges_find(const px_merges *m, uint32_t left, uint32_t right)
{
    for (uint32_t at = px_merge_slot(left, right, m->mask); m->slots[at].left != PX_NO_TOKEN;
         at = (at + 1) & m->mask)
        if (m->slots[at].left == left && m->slots[at].right == right) return &m->slots[at];
    return NULL;
}

#endif
