/* vec.h - AVX-512's vectors for the bodies in vector/; the names are those of avx2/vec.h. Internal.
 */
#ifndef PX_KERNELS_AVX512_VEC_H
#define PX_KERNELS_AVX512_VEC_H

#include <immintrin.h>

#include "kernels/packed.h"

enum {
    PX_VEC_LANES = 16,
    PX_VEC_REGISTERS = 32,
    PX_VEC_SUMS = 24, /* vectors that a loop may add to; the other registers are for its inputs */
};

typedef __m512 px_vec;

PX_INLINE px_vec px_vec_all(float value)
{
    return _mm512_set1_ps(value);
}

PX_INLINE px_vec px_vec_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

PX_INLINE void px_vec_store(float *to, px_vec v)
{
    _mm512_storeu_ps(to, v);
}

PX_INLINE __mmask16 px_vec_first(uint32_t count)
{
    return count >= PX_VEC_LANES ? 0xffff : (__mmask16)((1u << count) - 1);
}

PX_INLINE px_vec px_vec_load_some(const float *from, uint32_t count)
{
    return _mm512_maskz_loadu_ps(px_vec_first(count), from);
}

PX_INLINE void px_vec_store_some(float *to, uint32_t count, px_vec v)
{
    _mm512_mask_storeu_ps(to, px_vec_first(count), v);
}

PX_INLINE px_vec px_vec_load_f16(const void *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(from));
}

PX_INLINE px_vec px_vec_load_bf16(const void *from)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

PX_INLINE px_vec px_vec_load_bf16_even(const void *from)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(from), 16));
}

PX_INLINE px_vec px_vec_load_bf16_odd(const void *from)
{
    const __m512i high = _mm512_set1_epi32((int)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(from), high));
}

PX_INLINE px_vec px_vec_load_s8(const void *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from)));
}

PX_INLINE px_vec px_vec_add(px_vec a, px_vec b)
{
    return _mm512_add_ps(a, b);
}

PX_INLINE px_vec px_vec_sub(px_vec a, px_vec b)
{
    return _mm512_sub_ps(a, b);
}

PX_INLINE px_vec px_vec_mul(px_vec a, px_vec b)
{
    return _mm512_mul_ps(a, b);
}

PX_INLINE px_vec px_vec_div(px_vec a, px_vec b)
{
    return _mm512_div_ps(a, b);
}

PX_INLINE px_vec px_vec_min(px_vec a, px_vec b)
{
    return _mm512_min_ps(a, b);
}

PX_INLINE px_vec px_vec_max(px_vec a, px_vec b)
{
    return _mm512_max_ps(a, b);
}

PX_INLINE px_vec px_vec_fma(px_vec a, px_vec b, px_vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

PX_INLINE px_vec px_vec_fnma(px_vec a, px_vec b, px_vec c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

PX_INLINE px_vec px_vec_round(px_vec v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

PX_INLINE px_vec px_vec_scale2(px_vec v, px_vec n)
{
    return _mm512_scalef_ps(v, n);
}

PX_INLINE px_vec px_vec_where_less(px_vec a, px_vec b, px_vec v, px_vec other)
{
    return _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), v);
}

PX_INLINE px_vec px_vec_between(int begin, int end, px_vec v, px_vec other)
{
    const uint32_t all = 0xffff;
    uint32_t from = begin <= 0 ? all : begin >= PX_VEC_LANES ? 0 : all << begin;
    uint32_t below = end <= 0 ? 0 : end >= PX_VEC_LANES ? all : (1u << end) - 1;
    return _mm512_mask_mov_ps(other, (__mmask16)(from & below), v);
}

PX_INLINE float px_vec_sum(px_vec v)
{
    return _mm512_reduce_add_ps(v);
}

PX_INLINE float px_vec_largest(px_vec v)
{
    return _mm512_reduce_max_ps(v);
}

#endif
