/* kvpool.c - see kvpool.h. */
#include "engine/kv/kvpool.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { ALIGNMENT = 64 }; /* of each layer's K and V: a cache line, the widest vector */

struct px_kvpool {
    px_kv_layer *layers;
    unsigned char *memory;
    size_t memory_bytes, block_bytes;
    uint32_t blocks;
};

static size_t plane_bytes(uint32_t kv_heads, px_dtype dtype, uint32_t dim)
{
    size_t bytes = (size_t)kv_heads * PX_KV_BLOCK_TOKENS * px_dtype_bytes(dtype, dim);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t v_plane_bytes(px_kv_shape shape, px_dtype dtype)
{
    return shape.v_in_k ? 0 : plane_bytes(shape.kv_heads, dtype, shape.v_dim);
}

uint64_t px_kvpool_block_bytes(px_kv_shape shape, px_dtype dtype)
{
    return (uint64_t)shape.layers *
           (plane_bytes(shape.kv_heads, dtype, shape.k_dim) + v_plane_bytes(shape, dtype));
}

px_status px_kvpool_create(px_kv_shape shape, px_dtype dtype, uint32_t blocks, px_kvpool **out)
{
    size_t block_bytes = px_kvpool_block_bytes(shape, dtype), memory_bytes;
    void *memory;
    if (__builtin_mul_overflow(block_bytes, (size_t)blocks, &memory_bytes))
        return px_fail(PX_RESOURCE_EXHAUSTED, "a KV pool of %u blocks of %zu bytes is too large",
            blocks, block_bytes);
    PX_TRY(px_big_alloc(memory_bytes, "the KV pool", &memory));

    px_kvpool *pool = px_alloc(sizeof *pool);
    *pool = (px_kvpool){
        .layers = px_alloc_array(shape.layers, sizeof *pool->layers),
        .memory = memory,
        .memory_bytes = memory_bytes,
        .block_bytes = block_bytes,
        .blocks = blocks,
    };
    unsigned char *at = pool->memory;
    for (uint32_t i = 0; i < shape.layers; i++) {
        px_kv_layer *layer = &pool->layers[i];
        *layer = (px_kv_layer){.k_block_bytes = block_bytes,
            .v_block_bytes = block_bytes,
            .dtype = dtype,
            .kv_heads = shape.kv_heads,
            .k_dim = shape.k_dim,
            .v_dim = shape.v_dim};
        layer->k = at;
        at += plane_bytes(shape.kv_heads, dtype, shape.k_dim);
        layer->v = shape.v_in_k ? NULL : at;
        at += v_plane_bytes(shape, dtype);
    }
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
    return pool->block_bytes;
}

unsigned char *px_kvpool_block(px_kvpool *pool, uint32_t id)
{
    PX_ASSERT(id < pool->blocks);
    return pool->memory + (size_t)id * pool->block_bytes;
}
