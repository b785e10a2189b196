/* kv.h - how the vector backends lay out one KV head's share of a pool block. Internal.
 *
 * A score is a dot product over dims for each of 16 tokens, so K is stored with tokens as lanes:
 *   F32, F16, BF16  { value[k_dim][16] }
 *   Q8_0            k_dim / 32 x { f16 scale[16]; s8 quant[32][16] }
 * The weighted sum of V runs over tokens for each dim, so V stays in rows:
 *   F32, F16, BF16  { value[16][v_dim] }
 *   Q8_0            { { f16 scale; s8 quant[32] }[v_dim / 32] }[16]
 * Both take the bytes that px_dtype_bytes() says. Where V is a part of K there are rows alone; a
 * score is a dot product along one:
 *   F32, F16, BF16  { value[16][k_dim] }
 *   Q8_0            { { f16 scale; s8 quant[32] }[k_dim / 32] }[16]
 */
#ifndef PX_KERNELS_AVX2_KV_H
#define PX_KERNELS_AVX2_KV_H

#include "kernels/kernels.h"

enum { PX_KV_Q8_BLOCK_BYTES = 34 }; /* a scale and 32 quants */

/* The rows that hold V. */
static inline const px_kv_plane *px_kv_v_plane(const px_kv_layer *kv)
{
    return kv->v.base ? &kv->v : &kv->k;
}

/* Values from one token's V to the next. */
static inline uint32_t px_kv_v_stride(const px_kv_layer *kv)
{
    return kv->v.base ? kv->v_dim : kv->k_dim;
}

#endif
