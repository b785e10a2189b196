/* kvpool.c - see kvpool.h. */
#include "engine/kv/kvpool.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ALIGNMENT = 64 }; /* of each piece's K and V: a cache line, the widest vector */

struct px_kvpool {
    px_kv_layer *layers;
    unsigned char *memory;
    size_t memory_bytes;
    size_t piece_bytes; /* K and V of a block in one head of one layer */
    size_t head_bytes;  /* a slab's pieces of one head */
    uint32_t pieces;    /* of a block: layers * heads */
    uint32_t blocks;
};

static size_t share_bytes(px_dtype dtype, uint32_t dim)
{
    size_t bytes = px_dtype_bytes(dtype, (size_t)PX_KV_BLOCK_TOKENS * dim);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t piece_bytes(px_kv_shape shape, px_dtype dtype)
{
    return share_bytes(dtype, shape.k_dim) + (shape.v_in_k ? 0 : share_bytes(dtype, shape.v_dim));
}

uint64_t px_kvpool_block_bytes(px_kv_shape shape, px_dtype dtype)
{
    return (uint64_t)shape.layers * shape.kv_heads * piece_bytes(shape, dtype);
}

static unsigned char *piece_at(const px_kvpool *pool, uint32_t id, uint32_t piece)
{
    PX_ASSERT(id < pool->blocks);
    size_t slab = (size_t)(id / PX_KV_SLAB_BLOCKS) * pool->pieces + piece;
    return pool->memory + slab * pool->head_bytes + id % PX_KV_SLAB_BLOCKS * pool->piece_bytes;
}

static void place_layers(px_kvpool *pool, px_kv_shape shape, px_dtype dtype)
{
    px_kv_plane k = {.base = pool->memory,
        .head_bytes = pool->head_bytes,
        .block_bytes = pool->piece_bytes,
        .slab_skip = (pool->pieces - 1) * pool->head_bytes};
    for (uint32_t i = 0; i < shape.layers; i++, k.base += shape.kv_heads * pool->head_bytes) {
        px_kv_plane v = k;
        v.base += share_bytes(dtype, shape.k_dim);
        pool->layers[i] = (px_kv_layer){.k = k,
            .v = shape.v_in_k ? (px_kv_plane){0} : v,
            .dtype = dtype,
            .kv_heads = shape.kv_heads,
            .k_dim = shape.k_dim,
            .v_dim = shape.v_dim};
    }
}

px_status px_kvpool_create(px_kv_shape shape, px_dtype dtype, uint32_t blocks, px_kvpool **out)
{
    size_t block_bytes = px_kvpool_block_bytes(shape, dtype), memory_bytes;
    /* Whole slabs, if there are several: what is past the last block is never touched. */
    size_t held = blocks <= PX_KV_SLAB_BLOCKS ? blocks
                                              : ((size_t)blocks + PX_KV_SLAB_BLOCKS - 1) /
                                                    PX_KV_SLAB_BLOCKS * PX_KV_SLAB_BLOCKS;
    void *memory;
    if (__builtin_mul_overflow(block_bytes, held, &memory_bytes))
        return px_fail(PX_RESOURCE_EXHAUSTED, "a KV pool of %u blocks of %zu bytes is too large",
            blocks, block_bytes);
    PX_TRY(px_big_alloc(memory_bytes, "the KV pool", &memory));

    px_kvpool *pool = px_alloc(sizeof *pool);
    *pool = (px_kvpool){
        .layers = px_alloc_array(shape.layers, sizeof *pool->layers),
        .memory = memory,
        .memory_bytes = memory_bytes,
        .piece_bytes = piece_bytes(shape, dtype),
        .head_bytes =
            piece_bytes(shape, dtype) * (blocks < PX_KV_SLAB_BLOCKS ? blocks : PX_KV_SLAB_BLOCKS),
        .pieces = shape.layers * shape.kv_heads,
        .blocks = blocks,
    };
    place_layers(pool, shape, dtype);
    *out = pool;
    return px_ok();
}

void px_kvpool_free(px_kvpool *pool)
{
    if (!pool) return;
    px_big_free(pool->memory, pool->memory_bytes);
    free(pool->layers);
    free(pool);
}

const px_kv_layer *px_kvpool_layers(const px_kvpool *pool)
{
    return pool->layers;
}

size_t px_kvpool_bytes_each(const px_kvpool *pool)
{
    return pool->pieces * pool->piece_bytes;
}

void px_kvpool_save(const px_kvpool *pool, uint32_t id, unsigned char *to)
{
    for (uint32_t i = 0; i < pool->pieces; i++)
        memcpy(to + i * pool->piece_bytes, piece_at(pool, id, i), pool->piece_bytes);
}

void px_kvpool_load(px_kvpool *pool, uint32_t id, const unsigned char *from)
{
    for (uint32_t i = 0; i < pool->pieces; i++)
        memcpy(piece_at(pool, id, i), from + i * pool->piece_bytes, pool->piece_bytes);
}

void px_kvpool_copy(px_kvpool *pool, px_kv_copy copy)
{
    for (uint32_t i = 0; i < pool->pieces; i++)
        memcpy(piece_at(pool, copy.to, i), piece_at(pool, copy.from, i), pool->piece_bytes);
}
