/* kvpool.h - the memory of the paged KV blocks, on every rank.
 *
 *   pool:   slab 0 | slab 1 | ...                                    one allocation
 *   slab:   layer 0: head 0 | head 1 | ... | layer 1: head 0 | ...   PX_KV_SLAB_BLOCKS blocks
 *   head:   block 0 | block 1 | ...                                  one KV head of one layer
 *   piece:  K V                                                      PX_KV_BLOCK_TOKENS tokens
 *
 * Attention reads one head of one layer at a time, over all blocks of a sequence: where their ids
 * follow each other it reads runs of memory as long as a slab allows. The price is that a block is
 * many pieces, gathered to be copied or parked. Slabs keep them near: a block that is first used
 * makes the huge pages of its slab resident, not one for every head of the whole pool.
 * Who holds which block is rank 0's to know (kvcache.h).
 * Owns:    the memory of all blocks of this rank's layers; allocated once in create.
 * Threads: engine thread only.
 * Units:   block = PX_KV_BLOCK_TOKENS tokens in every layer and head; sizes in bytes.
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

/* A block's pieces, one after the other, to and from [px_kvpool_bytes_each] bytes. */
void px_kvpool_save(const px_kvpool *pool, uint32_t id, unsigned char *to);
void px_kvpool_load(px_kvpool *pool, uint32_t id, const unsigned char *from);

typedef struct px_kv_copy {
    uint32_t from, to; /* blocks; not the same */
} px_kv_copy;
void px_kvpool_copy(px_kvpool *pool, px_kv_copy copy);

static inline uint32_t px_kv_blocks_for(uint64_t tokens)
{
    return (uint32_t)((tokens + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS);
}

#endif
