/* kvpark.h - blocks that left the pool: this rank's share of them, in host memory or in a file.
 *
 *   PARK     a block's bytes go to a slot     (its place in the pool is wanted)
 *   RESTORE  a slot's bytes come to a block   (its sequence goes on, or its prefix is asked for)
 *   COPY     a block's bytes go to another    (a sequence goes on from the middle of a block)
 *
 * Rank 0 decides (kvcache.h); the moves travel with the step, and every rank carries them out on
 * its own layers and heads, in their order, before the step's rows.
 * Owns:    the slots' memory, taken at create but resident only where it was used; or an unnamed
 *          file whose space is taken at create, so that a full disk is found before serving.
 * Threads: engine thread.
 */
#ifndef PX_ENGINE_KVPARK_H
#define PX_ENGINE_KVPARK_H

#include "engine/kv/kvpool.h"

typedef struct px_kvpark px_kvpark;

typedef struct px_kvpark_options {
    size_t block_bytes;
    uint32_t slots;     /* may be 0 */
    const char *folder; /* for the file; NULL: in memory */
} px_kvpark_options;

px_status px_kvpark_create(const px_kvpark_options *options, px_kvpark **out) PX_MUST_USE;
void px_kvpark_free(px_kvpark *park); /* NULL is fine */

typedef enum px_kv_move_kind {
    PX_KV_PARK,    /* from: block, to: slot */
    PX_KV_RESTORE, /* from: slot, to: block */
    PX_KV_COPY,    /* from, to: block */
    PX_KV_MOVE_KIND_COUNT
} px_kv_move_kind;

typedef struct px_kv_move {
    uint32_t kind, from, to;
} px_kv_move;

typedef struct px_kv_moves { /* a list of bounded length */
    px_kv_move *at;
    uint32_t count, capacity;
} px_kv_moves;

/* All of them, in order. Fails only where the file does. */
px_status px_kv_move_all(const px_kv_moves *moves, px_kvpool *pool, px_kvpark *park) PX_MUST_USE;

#endif
