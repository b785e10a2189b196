/* matmul_scaled.c - tiles of float32 products: 4-, 8- and 16-bit codes with a scale for each 32
 * columns by float32 rows.
 *
 * A block's products are one chain of fused multiply-adds over ascending columns, and its scale is
 * applied once to the sum; blocks go in ascending order. The same in every tile shape, so the same
 * bits for any batch.
 */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"

enum { L = PX_AVX2_LANES, BLOCK = 32, GROUPS = 4, ROWS = PX_AVX2_SCALED_ROWS };

/* What 32 columns of a group say besides their codes. */
typedef struct block_head {
    __m256 scale, zero;
} block_head;

PX_INLINE __m256i load_u8(const uint8_t *from)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

/* 2^(exponent - 128): half of what the format says, because the values of E2M1 are doubled. */
PX_INLINE __m256 load_e8m0(const uint8_t *from)
{
    __m256i exponent = load_u8(from);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponent, _mm256_set1_epi32(1)), 23);
    __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), exponent);
    __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponent);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, tiny));
}

/* Returns where the codes are. */
PX_INLINE const uint8_t *read_head(const px_packing packing, const uint8_t *w, block_head *out)
{
    if (packing == PX_PACKING_FP4) {
        out->scale = load_e8m0(w);
        return w + L;
    }
    out->scale = _mm256_loadu_ps((const float *)w);
    w += 4 * L;
    if (packing != PX_PACKING_SCALED_U4) return w;
    out->zero = _mm256_cvtepi32_ps(load_u8(w));
    return w + L;
}

/* The lowest nibble of every lane as a number: in FP4 three bits choose a magnitude, and the fourth
 * moves to the float's sign. */
PX_INLINE __m256 nibble(const px_packing packing, __m256i codes, const block_head *head)
{
    if (packing == PX_PACKING_FP4) {
        const __m256 magnitudes = _mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12);
        __m256 sign = _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28));
        sign = _mm256_and_ps(sign, _mm256_set1_ps(-0.0f));
        return _mm256_xor_ps(_mm256_permutevar8x32_ps(magnitudes, codes), sign);
    }
    __m256i number = _mm256_and_si256(codes, _mm256_set1_epi32(15));
    return _mm256_sub_ps(_mm256_cvtepi32_ps(number), head->zero);
}

/* An 8-bit float moved to where float16 has its bits is 2^-8 of itself, which the block's sum makes
 * up for. */
PX_INLINE __m256 load_code(const px_packing packing, const uint8_t *w)
{
    if (packing == PX_PACKING_SCALED_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
    __m128i half = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)w));
    half = _mm_srai_epi16(_mm_slli_epi16(half, 8), 1);
    return _mm256_cvtph_ps(_mm_and_si128(half, _mm_set1_epi16((short)0xbfff)));
}

/* sums[group][row] += weights . x over one column */
PX_INLINE void add_column(const int groups, const int rows, const __m256 *weights, const uint8_t *x,
    size_t x_stride, __m256 sums[][ROWS])
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        __m256 value = _mm256_broadcast_ss((const float *)(x + r * x_stride));
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            sums[g][r] = _mm256_fmadd_ps(weights[g], value, sums[g][r]);
        }
    }
}

/* The sums over a block of 32 columns, in units of its scale. */
PX_INLINE void dot_block(const px_packing packing, const int groups, const int rows,
    const uint8_t *const *codes, const block_head *head, const uint8_t *x, size_t x_stride,
    __m256 sums[][ROWS])
{
    const bool nibbles = packing == PX_PACKING_FP4 || packing == PX_PACKING_SCALED_U4;
    const size_t code_bytes = packing == PX_PACKING_SCALED_F16 ? 2 * L : L;
    __m256 weights[GROUPS];
    for (size_t c = 0; c < BLOCK && !nibbles; c++, x += sizeof(float)) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) weights[g] = load_code(packing, codes[g] + c * code_bytes);
        add_column(groups, rows, weights, x, x_stride, sums);
    }
    for (size_t j = 0; j < BLOCK / 8 && nibbles; j++) {
        __m256i eight[GROUPS];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            eight[g] = _mm256_loadu_si256((const __m256i *)(codes[g] + j * 4 * L));
        }
        for (int k = 0; k < 8; k++, x += sizeof(float)) {
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++) {
                weights[g] = nibble(packing, eight[g], &head[g]);
                eight[g] = _mm256_srli_epi32(eight[g], 4);
            }
            add_column(groups, rows, weights, x, x_stride, sums);
        }
    }
}

/* sums[group][row] = w . x over some blocks. */
PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, __m256 acc[GROUPS][ROWS])
{
    const size_t unit_bytes = px_packed_group_bytes(packing, L, BLOCK);
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) acc[g][r] = _mm256_setzero_ps();
    }
    for (size_t block = 0; block < op->cols / BLOCK; block++) {
        const uint8_t *codes[GROUPS];
        block_head head[GROUPS];
        __m256 sums[GROUPS][ROWS];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            codes[g] = read_head(packing, op->w + g * op->w_stride + block * unit_bytes, &head[g]);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) sums[g][r] = _mm256_setzero_ps();
        }
        dot_block(packing, groups, rows, codes, head, op->x + block * BLOCK * sizeof(float),
            op->x_stride, sums);
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                if (packing == PX_PACKING_SCALED_F8)
                    sums[g][r] = _mm256_mul_ps(sums[g][r], _mm256_set1_ps(256));
                acc[g][r] = _mm256_fmadd_ps(sums[g][r], head[g].scale, acc[g][r]);
            }
        }
    }
}

#include "kernels/vector/tile.h"

/* One group by one row would wait for each addition: four groups go together. With more rows there
 * are chains enough, and registers for the sums of one group. */
#define EACH(name, packing)                                                                        \
    TILES(name, packing, 1)                                                                        \
    TILE(name, packing, 4, 1)

EACH(fp4, PX_PACKING_FP4)
EACH(u4, PX_PACKING_SCALED_U4)
EACH(f8, PX_PACKING_SCALED_F8)
EACH(f16, PX_PACKING_SCALED_F16)

px_tile_fn px_avx2_scaled_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn one[PX_PACKING_COUNT][TILE_ROWS_MAX] = {
        [PX_PACKING_FP4] = TILE_NAMES(fp4, 1),
        [PX_PACKING_SCALED_U4] = TILE_NAMES(u4, 1),
        [PX_PACKING_SCALED_F8] = TILE_NAMES(f8, 1),
        [PX_PACKING_SCALED_F16] = TILE_NAMES(f16, 1),
    };
    static const px_tile_fn four[PX_PACKING_COUNT] = {
        [PX_PACKING_FP4] = fp4_4_1,
        [PX_PACKING_SCALED_U4] = u4_4_1,
        [PX_PACKING_SCALED_F8] = f8_4_1,
        [PX_PACKING_SCALED_F16] = f16_4_1,
    };
    assert(rows <= ROWS && (groups == 1 || (groups == 4 && rows == 1)));
    return groups == 4 ? four[packing] : one[packing][rows - 1];
}
