/* kvcache.h - who holds which KV block, and what stays behind for whoever comes next. Rank 0 only:
 * the other ranks see block ids and moves.
 *
 *   free --take--> held by sequences --release--> idle, found by its tokens --evict--> parked
 *                        ^                            |                                   |
 *                        +------------ match ---------+------------ restore --------------+
 *
 * Blocks full of computed tokens stand in a tree (kvtree.h). A sequence that begins with the same
 * tokens, under the same salt, holds the same blocks; it only ever writes to blocks that it alone
 * holds, so it goes on from the middle of a block in a copy. What nobody holds stays until its
 * place is wanted: the cheapest to lose goes first, leaves before what they hang from, to a parking
 * place if there is one. A preempted sequence is the same thing with a pin on it: its blocks are
 * found again by its own tokens, in the pool or parked, and nothing is computed twice.
 *
 * Cost:    what computing the block again would take (its tokens, more for deeper ones, whose
 *          attention reads further), plus the cost of what was last given up.
 *          Source: P. Cao, S. Irani, "Cost-Aware WWW Proxy Caching Algorithms" (1997): GreedyDual.
 * Moves:   what must be copied for a decision to be true is appended to `moves`, in an order in
 *          which they can be carried out before the step.
 * Owns:    all accounting, sized in create.
 * Threads: engine thread.
 */
#ifndef PX_ENGINE_KVCACHE_H
#define PX_ENGINE_KVCACHE_H

#include "engine/kv/kvpark.h"
#include "engine/kv/kvtree.h"

typedef struct px_kvcache px_kvcache;

typedef struct px_kvcache_options {
    uint32_t blocks; /* of the pool */
    uint32_t slots;  /* parking places; 0: what is evicted is lost */
} px_kvcache_options;

px_kvcache *px_kvcache_create(const px_kvcache_options *options);
void px_kvcache_free(px_kvcache *cache); /* NULL is fine */

/* What a sequence has of the pool. Zeroed but for `blocks` and `tip`: nothing. */
typedef struct px_kv_hold {
    uint32_t *blocks; /* [enough for the whole sequence], the caller's memory */
    uint32_t count;
    uint32_t in_tree; /* of these, how many of the first stand in the tree */
    uint32_t tip;     /* the node of the last of those; PX_KV_NONE */
    bool diverged;    /* another sequence computed the next block too: its own stays private */
    uint32_t pinned, pinned_generation; /* while preempted: the node that waits for it */
} px_kv_hold;

typedef struct px_kv_text { /* of a sequence */
    px_kv_salt salt;
    const uint32_t *tokens;
} px_kv_text;

typedef struct px_kv_match {
    uint32_t tokens; /* whose KV is there: whole blocks and a part */
    uint32_t blocks, tip;
    uint32_t part, part_tokens; /* a block to go on from the middle of; PX_KV_NONE */
    bool part_stays;            /* idle, and to be copied: until then its place is not free */
    uint32_t needs;             /* blocks out of px_kvcache_available() that taking it all costs */
} px_kv_match;

/* What is there of the first `limit` tokens, for a sequence that will hold `count` tokens. */
px_kv_match px_kvcache_match(const px_kvcache *cache, const px_kv_hold *hold,
    const px_kv_text *text, uint32_t limit, uint32_t count);
/* Whether it can be taken now and `spare` blocks be left; gives up the part where only that is in
 * the way. */
bool px_kvcache_fits(
    const px_kvcache *cache, px_kv_match *match, const px_kv_moves *moves, uint32_t spare);
/* Holds the matched blocks (they must fit); a pin is gone then. */
void px_kvcache_take(
    px_kvcache *cache, px_kv_hold *hold, const px_kv_match *match, px_kv_moves *moves);
/* `count` more blocks; there are that many available. */
void px_kvcache_grow(px_kvcache *cache, px_kv_hold *hold, uint32_t count, px_kv_moves *moves);
/* The first `computed` tokens have their KV from the next step on: full blocks enter the tree. */
void px_kvcache_note(
    px_kvcache *cache, px_kv_hold *hold, const px_kv_text *text, uint32_t computed);

typedef enum px_kv_release {
    PX_KV_KEEP,   /* for whoever begins with the same tokens */
    PX_KV_PIN,    /* for itself: it comes back */
    PX_KV_FORGET, /* nobody else has the salt */
} px_kv_release;
void px_kvcache_release(px_kvcache *cache, px_kv_hold *hold, const px_kv_text *text,
    uint32_t computed, px_kv_release how);
/* `to`, which holds nothing, comes back to where `from` will, which was just released with
 * PX_KV_PIN: both have the same tokens up to there. */
void px_kvcache_pin_too(px_kvcache *cache, const px_kv_hold *from, px_kv_hold *to);
/* The sequence will not come back. */
void px_kvcache_unpin(px_kvcache *cache, px_kv_hold *hold);

uint32_t px_kvcache_available(const px_kvcache *cache); /* blocks that nobody holds */

typedef struct px_kvcache_stats {
    uint32_t idle, parked_now;                  /* blocks found by their tokens; places in use */
    uint64_t evicted, parked, restored, copied; /* blocks, in total */
} px_kvcache_stats;
px_kvcache_stats px_kvcache_stats_of(const px_kvcache *cache);

#endif
