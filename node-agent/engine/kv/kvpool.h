/* kvpool.h - the memory of the paged KV blocks, on every rank.
 *
 *   pool:   block 0 | block 1 | ...            one allocation
 *   block:  layer 0: K V | layer 1: K V | ...  PX_KV_BLOCK_TOKENS tokens of every layer
 *
 * All layers of a block lie together, so that a block is copied, parked and brought back as one
 * piece. Who holds which block is rank 0's to know (kvcache.h).
 * Owns:    the memory of all blocks of this rank's layers; allocated once in create.
 * Threads: engine thread only.
 * Units:   block = PX_KV_BLOCK_TOKENS tokens in every layer; sizes in bytes.
 */
#ifndef PX_ENGINE_KVPOOL_H
#define PX_ENGINE_KVPOOL_H

#include "engine/model/forward.h"

typedef struct px_kvpool px_kvpool;

/* RESOURCE_EXHAUSTED: the machine has not that much. */
px_status px_kvpool_create(
    px_kv_shape shape, px_dtype dtype, uint32_t blocks, px_kvpool **out) PX_MUST_USE;
void px_kvpool_free(px_kvpool *pool); /* NULL is fine */
/* Bytes of one block over all layers of `shape`. */
uint64_t px_kvpool_block_bytes(px_kv_shape shape, px_dtype dtype);
const px_kv_layer *px_kvpool_layers(const px_kvpool *pool); /* [shape.layers] */
size_t px_kvpool_bytes_each(const px_kvpool *pool);         /* of a block */
unsigned char *px_kvpool_block(px_kvpool *pool, uint32_t id);

static inline uint32_t px_kv_blocks_for(uint64_t tokens)
{
    return (uint32_t)((tokens + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS);
}

#endif
