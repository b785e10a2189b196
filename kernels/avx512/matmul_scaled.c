/* matmul_scaled.c - codes with scales by float32 rows: the body in vector/ with AVX-512's way to
 * take codes. Four bits become a float by one permutation of a table of sixteen. */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"

enum { ROWS = PX_AVX512_SCALED_ROWS };

typedef __m512i codes;

PX_INLINE codes load_codes(const uint8_t *from)
{
    return _mm512_loadu_si512(from);
}

PX_INLINE codes next_codes(codes eight)
{
    return _mm512_srli_epi32(eight, 4);
}

PX_INLINE __m512i load_u8(const uint8_t *from)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from));
}

PX_INLINE px_vec load_zero(const uint8_t *from)
{
    return _mm512_cvtepi32_ps(load_u8(from));
}

/* 2^(exponent - 128): half of what the format says, because the table of E2M1 holds doubles. */
PX_INLINE px_vec load_e8m0(const uint8_t *from)
{
    __m512i exponent = load_u8(from);
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(exponent, _mm512_set1_epi32(1)), 23);
    __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), exponent);
    __mmask16 tiny = _mm512_cmplt_epi32_mask(exponent, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, tiny, subnormal));
}

PX_INLINE px_vec code_of(const px_packing packing, codes eight)
{
    const __m512 table =
        packing == PX_PACKING_FP4
            ? _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12)
            : _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(eight, table); /* by the low four bits */
}

/* An 8-bit float moved to where float16 has its bits is 2^-8 of itself. */
PX_INLINE px_vec load_code(const px_packing packing, const uint8_t *w)
{
    if (packing == PX_PACKING_SCALED_F16) return px_vec_load_f16(w);
    __m256i half = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)w));
    half = _mm256_srai_epi16(_mm256_slli_epi16(half, 8), 1);
    return _mm512_cvtph_ps(_mm256_and_si256(half, _mm256_set1_epi16((short)0xbfff)));
}

#include "kernels/vector/matmul_scaled.h"

px_tile_fn px_avx512_scaled_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    return scaled_tile(packing, groups, rows);
}
