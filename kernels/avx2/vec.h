/* vec.h - AVX2's vectors for the bodies in vector/, which are written once. Internal.
 *
 * avx512/vec.h has the same names; a body is compiled with the one that stands before it. */
#ifndef PX_KERNELS_AVX2_VEC_H
#define PX_KERNELS_AVX2_VEC_H

#include <immintrin.h>

#include "kernels/packed.h"

enum {
    PX_VEC_LANES = 8,
    PX_VEC_REGISTERS = 16,
    PX_VEC_SUMS = 12, /* vectors that a loop may add to; the other registers are for its inputs */
};

typedef __m256 px_vec;

PX_INLINE px_vec px_vec_all(float value)
{
    return _mm256_set1_ps(value);
}

PX_INLINE px_vec px_vec_load(const float *from)
{
    return _mm256_loadu_ps(from);
}

PX_INLINE void px_vec_store(float *to, px_vec v)
{
    _mm256_storeu_ps(to, v);
}

/* Lanes 0 .. count - 1, the others zero; count may pass the lanes. */
PX_INLINE __m256i px_vec_first(uint32_t count)
{
    int lanes = count < PX_VEC_LANES ? (int)count : PX_VEC_LANES;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

PX_INLINE px_vec px_vec_load_some(const float *from, uint32_t count)
{
    return count >= PX_VEC_LANES ? px_vec_load(from)
                                 : _mm256_maskload_ps(from, px_vec_first(count));
}

PX_INLINE void px_vec_store_some(float *to, uint32_t count, px_vec v)
{
    if (count >= PX_VEC_LANES) {
        px_vec_store(to, v);
    } else {
        _mm256_maskstore_ps(to, px_vec_first(count), v);
    }
}

PX_INLINE px_vec px_vec_load_f16(const void *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(from));
}

PX_INLINE px_vec px_vec_load_bf16(const void *from)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* One of two bfloat16 in every lane. */
PX_INLINE px_vec px_vec_load_bf16_even(const void *from)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(from), 16));
}

PX_INLINE px_vec px_vec_load_bf16_odd(const void *from)
{
    const __m256i high = _mm256_set1_epi32((int)0xffff0000);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(from), high));
}

PX_INLINE px_vec px_vec_load_s8(const void *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from)));
}

PX_INLINE px_vec px_vec_add(px_vec a, px_vec b)
{
    return _mm256_add_ps(a, b);
}

PX_INLINE px_vec px_vec_sub(px_vec a, px_vec b)
{
    return _mm256_sub_ps(a, b);
}

PX_INLINE px_vec px_vec_mul(px_vec a, px_vec b)
{
    return _mm256_mul_ps(a, b);
}

PX_INLINE px_vec px_vec_div(px_vec a, px_vec b)
{
    return _mm256_div_ps(a, b);
}

PX_INLINE px_vec px_vec_min(px_vec a, px_vec b)
{
    return _mm256_min_ps(a, b);
}

PX_INLINE px_vec px_vec_max(px_vec a, px_vec b)
{
    return _mm256_max_ps(a, b);
}

/* a * b + c */
PX_INLINE px_vec px_vec_fma(px_vec a, px_vec b, px_vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
PX_INLINE px_vec px_vec_fnma(px_vec a, px_vec b, px_vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

PX_INLINE px_vec px_vec_round(px_vec v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* v * 2^n for whole n of -127 to 127 */
PX_INLINE px_vec px_vec_scale2(px_vec v, px_vec n)
{
    __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23)));
}

/* v where a < b, else `other` (also where either is not a number) */
PX_INLINE px_vec px_vec_where_less(px_vec a, px_vec b, px_vec v, px_vec other)
{
    return _mm256_blendv_ps(other, v, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

/* v in lanes [begin, end), else `other`; begin and end may lie outside. */
PX_INLINE px_vec px_vec_between(int begin, int end, px_vec v, px_vec other)
{
    __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i hidden = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), at),
        _mm256_cmpgt_epi32(at, _mm256_set1_epi32(end - 1)));
    return _mm256_blendv_ps(v, other, _mm256_castsi256_ps(hidden));
}

PX_INLINE float px_vec_sum(px_vec v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

PX_INLINE float px_vec_largest(px_vec v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

#endif
