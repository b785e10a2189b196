/* bpe_merges.h - the rules of byte-pair encoding as a table: (left, right) to (rank, joined).
 *
 * A vocabulary of 256,000 tokens has half a million merges of three texts each. They are taken in
 * batches, so that the waits for memory of a batch overlap, and most joined texts are not looked up
 * at all: merges are written in the order in which they made the tokens, so what the next one makes
 * is the last token or the one after it.
 * Owns:    the table; borrows the vocabulary.
 * Threads: immutable once sealed.
 */
#ifndef PX_TEXT_BPE_MERGES_H
#define PX_TEXT_BPE_MERGES_H

#include "engine/text/vocab.h"

typedef struct px_merge { /* left right -> id */
    uint32_t left, right;
    uint32_t rank; /* from 1; 0: a free slot */
    uint32_t id;
} px_merge;

enum { PX_MERGES_BATCH = 32 };
typedef struct px_merge_pending { /* its texts are being looked up */
    px_vocab_key left, right;
} px_merge_pending;

typedef struct px_merge_list {
    px_merge *data;
    size_t count, capacity;
} px_merge_list;

typedef struct px_merges {
    px_merge *slots; /* open addressing */
    uint32_t mask;
    const px_vocab *vocab;
    size_t prefix_bytes; /* of the right text, which are not part of the joined text */
    bool skip_unknown;   /* merges with a text that is no token are passed over, not refused */
    bool joins_mark[256]; /* a merge joins a text with this last byte to one that begins with "▁" */
    uint32_t next_id;     /* what the next merge makes, most likely */
    px_buf joined;        /* work space */
    px_merge_pending pending[PX_MERGES_BATCH];
    uint32_t pending_count, count; /* count: of all merges, for their ranks */
    px_merge_list rules;           /* not yet in the table */
} px_merges;

/* Starts as {.vocab = ..., how to read them}. */
void px_merges_done(px_merges *merges);
/* The next merge, in order of rank. Its texts must stay where they are until the seal. What is
 * wrong with it may be said by a later call. */
px_status px_merges_add(px_merges *merges, px_slice left, px_slice right) PX_MUST_USE;
/* After the last one, and before the first look-up. */
px_status px_merges_seal(px_merges *merges) PX_MUST_USE;

static inline uint32_t px_merge_slot(uint32_t left, uint32_t right, uint32_t mask)
{
    return (uint32_t)(((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u >> 32) & mask;
}

/* NULL: these two do not join. */
static inline const px_merge *px_merges_find(const px_merges *m, uint32_t left, uint32_t right)
{
    for (uint32_t at = px_merge_slot(left, right, m->mask); m->slots[at].rank;
         at = (at + 1) & m->mask)
        if (m->slots[at].left == left && m->slots[at].right == right) return &m->slots[at];
    return NULL;
}

#endif
