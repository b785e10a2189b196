/* matmul_scaled.c - codes with scales by float32 rows: the body in vector/ with AVX2's way to take
 * codes. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"

enum { ROWS = PX_AVX2_SCALED_ROWS };

typedef __m256i codes;

PX_INLINE codes load_codes(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

PX_INLINE codes next_codes(codes eight)
{
    return _mm256_srli_epi32(eight, 4);
}

PX_INLINE __m256i load_u8(const uint8_t *from)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

PX_INLINE px_vec load_zero(const uint8_t *from)
{
    return _mm256_cvtepi32_ps(load_u8(from));
}

/* 2^(exponent - 128): half of what the format says, because the values of E2M1 are doubled. */
PX_INLINE px_vec load_e8m0(const uint8_t *from)
{
    __m256i exponent = load_u8(from);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponent, _mm256_set1_epi32(1)), 23);
    __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), exponent);
    __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponent);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, tiny));
}

/* In FP4 three bits choose a magnitude, and the fourth moves to the float's sign. */
PX_INLINE px_vec code_of(const px_packing packing, codes eight)
{
    if (packing == PX_PACKING_FP4) {
        const __m256 magnitudes = _mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12);
        __m256 sign = _mm256_castsi256_ps(_mm256_slli_epi32(eight, 28));
        sign = _mm256_and_ps(sign, _mm256_set1_ps(-0.0f));
        return _mm256_xor_ps(_mm256_permutevar8x32_ps(magnitudes, eight), sign);
    }
    return _mm256_cvtepi32_ps(_mm256_and_si256(eight, _mm256_set1_epi32(15)));
}

/* An 8-bit float moved to where float16 has its bits is 2^-8 of itself. */
PX_INLINE px_vec load_code(const px_packing packing, const uint8_t *w)
{
    if (packing == PX_PACKING_SCALED_F16) return px_vec_load_f16(w);
    __m128i half = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)w));
    half = _mm_srai_epi16(_mm_slli_epi16(half, 8), 1);
    return _mm256_cvtph_ps(_mm_and_si128(half, _mm_set1_epi16((short)0xbfff)));
}

#include "kernels/vector/matmul_scaled.h"

px_tile_fn px_avx2_scaled_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    return scaled_tile(packing, groups, rows);
}
