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

/* e^r, and n, of x = n ln 2 + r, |r| <= ln 2 / 2, by the Taylor series to r^6; the first term left
 * out is at most 1.2e-7 of the result, one ulp. */
PX_INLINE __m256 px_exp8_parts(__m256 x, __m256i *n)
{
    const __m256 log2_e = _mm256_set1_ps(1.44269504f);
    const __m256 ln2_high = _mm256_set1_ps(0.693359375f), ln2_low = _mm256_set1_ps(-2.12194440e-4f);
    __m256 whole =
        _mm256_round_ps(_mm256_mul_ps(x, log2_e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(whole, ln2_low, _mm256_fnmadd_ps(whole, ln2_high, x));
    __m256 p = _mm256_set1_ps(1.0f / 720);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    *n = _mm256_cvtps_epi32(whole);
    return p;
}

PX_INLINE __m256 px_power_of_2(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* e^x for x <= 0, within 2 ulp; 0 below -87.3, where it would be subnormal. */
PX_INLINE __m256 px_exp8_below_0(__m256 x)
{
    __m256i n;
    __m256 p = px_exp8_parts(x, &n);
    __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
    return _mm256_andnot_ps(tiny, _mm256_mul_ps(p, px_power_of_2(n)));
}

/* e^x for any x, within 2 ulp; infinite above 88.7. */
PX_INLINE __m256 px_exp8(__m256 x)
{
    __m256i n;
    __m256 p = px_exp8_parts(x, &n);
    __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
    __m256 huge = _mm256_cmp_ps(x, _mm256_set1_ps(88.7f), _CMP_GT_OQ);
    /* n may be 128: scale in two steps, so that each factor is a normal number */
    __m256i half = _mm256_srai_epi32(n, 1);
    p = _mm256_mul_ps(
        _mm256_mul_ps(p, px_power_of_2(half)), px_power_of_2(_mm256_sub_epi32(n, half)));
    return _mm256_blendv_ps(_mm256_andnot_ps(tiny, p), _mm256_set1_ps(__builtin_inff()), huge);
}

/* First `count` (0..8) lanes set. */
PX_INLINE __m256i px_first8(uint32_t count)
{
    return _mm256_cmpgt_epi32(
        _mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif
