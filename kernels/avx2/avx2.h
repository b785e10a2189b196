/* avx2.h - the AVX2 ops (with FMA and F16C) and the vector helpers they share. Internal. */
#ifndef PX_KERNELS_AVX2_H
#define PX_KERNELS_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "kernels/packed.h"

enum {
    PX_AVX2_LANES = 8,
    PX_AVX2_Q8_ROWS = 4,    /* most rows of x in an integer tile */
    PX_AVX2_FLOAT_ROWS = 6, /* and in a float tile */
    PX_AVX2_SCALED_ROWS = 6,
};

const px_kernels *px_avx2_table(void);

px_act_kind px_avx2_act_kind(px_dtype weights);
size_t px_avx2_act_row_bytes(px_act_kind kind, uint32_t cols);
size_t px_avx2_pack_bytes(px_dtype dtype, uint32_t rows, uint32_t cols);
void px_avx2_pack(const px_pack *op, px_part part);
bool px_avx2_pack_group(const px_pack *op, const uint8_t *from, uint8_t *to, uint32_t lanes);
void px_avx2_prepare(const px_prepare *op, px_part part);
void px_avx2_matmul(const px_matmul *op, px_part part);
void px_avx2_rmsnorm(const px_rmsnorm *op, px_part part);
void px_avx2_add(const px_add *op, px_part part);
void px_avx2_glu(const px_glu *op, px_part part);
void px_avx2_rope(const px_rope *op, px_part part);
void px_avx2_kv_store(const px_kv_store *op, px_part part);
size_t px_avx2_attention_scratch_floats(const px_attention *op);
bool px_avx2_attention(const px_attention *op, px_part part);
void px_avx2_attention_merge(const px_attention *op, px_part part);

px_tile_fn px_avx2_q8_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx2_float_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx2_scaled_tile(px_packing packing, uint32_t groups, uint32_t rows);

/* --- vector helpers --------------------------------------------------------------------------- */

PX_INLINE float px_sum8(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

PX_INLINE float px_max8(__m256 v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

/* First `count` (0..8) lanes set. */
PX_INLINE __m256i px_first8(uint32_t count)
{
    return _mm256_cmpgt_epi32(
        _mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif
