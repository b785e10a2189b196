/* kvpool.h - the pool of paged KV blocks: the memory on every rank, the accounting on rank 0.
 *
 *   pool:   block 0 | block 1 | ...            one allocation
 *   block:  layer 0: K V | layer 1: K V | ...  PX_KV_BLOCK_TOKENS tokens of every layer
 *
 * All layers of a block lie together, so a pool that is used in part is resident in part (freed
 * blocks are taken again first), and a block can be copied or moved as one piece.
 * Owns:    the memory of all blocks of this rank's layers; allocated once in create.
 * Threads: engine thread only.
 * Units:   block = PX_KV_BLOCK_TOKENS tokens in every layer; sizes in bytes.
 * Errors:  acquire returns RESOURCE_EXHAUSTED; nothing changes on failure.
 */
#ifndef PX_ENGINE_KVPOOL_H
#define PX_ENGINE_KVPOOL_H

#include "engine/model/forward.h"

typedef struct px_kvpool px_kvpool;

px_status px_kvpool_create(
    px_kv_shape shape, px_dtype dtype, uint32_t blocks, px_kvpool **out) PX_MUST_USE;
void px_kvpool_free(px_kvpool *pool); /* NULL is fine */
/* Bytes of one block over all layers of `shape`. */
uint64_t px_kvpool_block_bytes(px_kv_shape shape, px_dtype dtype);
const px_kv_layer *px_kvpool_layers(const px_kvpool *pool); /* [shape.layers] */
uint32_t px_kvpool_blocks_free(const px_kvpool *pool);
/* `count` blocks, all or none; they belong to the caller until released. */
px_status px_kvpool_acquire(px_kvpool *pool, uint32_t count, uint32_t *out_ids) PX_MUST_USE;
void px_kvpool_release(px_kvpool *pool, const uint32_t *ids, uint32_t count);

static inline uint32_t px_kv_blocks_for(uint64_t tokens)
{
    return (uint32_t)((tokens + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS);
}

#endif
