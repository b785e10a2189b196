/* matmul_q8.c - tiles of integer products: packed 4- and 8-bit weights by int8 activations.
 *
 * Inside a block of 32 columns everything is integer and exact, so only the order of the blocks,
 * which is ascending for every tile, decides how a row rounds: the same bits for any batch.
 *
 * Four-bit weights are unsigned, so maddubs multiplies them directly, and eight steps of it fit in
 * 16 bits (8 * 2 * 15 * 127 = 30480). Eight-bit weights move their sign to the activation; one step
 * fills 16 bits (2 * 128 * 127 = 32512), so each is widened at once.
 */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"

enum { L = PX_AVX2_LANES, GROUPS = 1, ROWS = PX_AVX2_Q8_ROWS };

/* Four columns of a row of x in every lane. */
PX_INLINE __m256i x_step(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* One of the floats of a px_q8_block. */
PX_INLINE __m256 x_float(const uint8_t *x, size_t at)
{
    return _mm256_broadcast_ss((const float *)(x + at));
}

PX_INLINE __m256 load_f16(const uint8_t *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}

PX_INLINE __m256 load_u8(const uint8_t *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from)));
}

PX_INLINE __m256 load_s16(const uint8_t *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* Each lane's byte twice, as the 16-bit factors of a madd. */
PX_INLINE __m256i load_factor_u8(const uint8_t *from)
{
    __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
    return _mm256_or_si256(v, _mm256_slli_epi32(v, 16));
}

PX_INLINE __m256i load_factor_s8(const uint8_t *from)
{
    __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from));
    return _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xaa);
}

/* sums[row] = nibbles . x over 32 columns, in units of `factor` */
PX_INLINE void dot_u4(const int rows, const uint8_t *nibbles, const uint8_t *x, size_t x_stride,
    __m256i factor, __m256i *sums)
{
    const __m256i low_mask = _mm256_set1_epi8(15);
    __m256i sums16[ROWS];
    for (int r = 0; r < rows; r++) sums16[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i pair = _mm256_loadu_si256((const __m256i *)(nibbles + 32 * j));
        __m256i low = _mm256_and_si256(pair, low_mask);
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(pair, 4), low_mask);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m256i product = _mm256_maddubs_epi16(low, x_step(x + r * x_stride + 8 * j));
            sums16[r] = _mm256_add_epi16(sums16[r], product);
            PX_KEEP(sums16[r]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m256i product = _mm256_maddubs_epi16(high, x_step(x + r * x_stride + 8 * j + 4));
            sums16[r] = _mm256_add_epi16(sums16[r], product);
            PX_KEEP(sums16[r]);
        }
    }
    for (int r = 0; r < rows; r++) sums[r] = _mm256_madd_epi16(sums16[r], factor);
}

/* sums[row] += bytes . x over 16 columns, in units of `factor` */
PX_INLINE void dot_s8(const int rows, const uint8_t *bytes, const uint8_t *x, size_t x_stride,
    __m256i factor, __m256i *sums)
{
#pragma GCC unroll 4
    for (int s = 0; s < 4; s++) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(bytes + 32 * s));
        __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m256i signed_x = _mm256_sign_epi8(x_step(x + r * x_stride + 4 * s), w);
            __m256i product = _mm256_maddubs_epi16(magnitude, signed_x);
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(product, factor));
            PX_KEEP(sums[r]);
        }
    }
}

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, __m256 out[GROUPS][ROWS])
{
    const bool u4 =
        packing == PX_PACKING_U4 || packing == PX_PACKING_U4_MIN || packing == PX_PACKING_U4_K;
    const bool k =
        packing == PX_PACKING_U4_K || packing == PX_PACKING_S8_K || packing == PX_PACKING_S8_K_MIN;
    const bool k_min = packing == PX_PACKING_U4_K || packing == PX_PACKING_S8_K_MIN;
    const size_t x_stride = op->x_stride;
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *w = op->w;
    __m256 *acc = out[0];
    __m256 d = _mm256_setzero_ps(), dmin = d;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) acc[r] = _mm256_setzero_ps();

    for (uint32_t block = 0; block < op->cols / 32; block++) {
        const uint8_t *x = op->x + block * sizeof(px_q8_block);
        __m256 scale, sum_w, min = dmin, min_high = dmin;
        __m256i factor = ones, factor_high = ones, sums[ROWS];
        if (k) {
            if (block % 8 == 0) {
                d = load_f16(w), w += 2 * L;
                if (k_min) dmin = _mm256_sub_ps(_mm256_setzero_ps(), load_f16(w)), w += 2 * L;
            }
            scale = d;
            if (packing == PX_PACKING_U4_K) {
                factor = load_factor_u8(w), w += L;
                min = _mm256_mul_ps(dmin, load_u8(w)), w += L;
            } else {
                factor = load_factor_s8(w), w += L;
                factor_high = load_factor_s8(w), w += L;
            }
            if (packing == PX_PACKING_S8_K_MIN) {
                min = _mm256_mul_ps(dmin, load_u8(w)), w += L;
                min_high = _mm256_mul_ps(dmin, load_u8(w)), w += L;
            }
        } else {
            scale = load_f16(w), w += 2 * L;
            if (packing == PX_PACKING_U4) min = _mm256_mul_ps(scale, _mm256_set1_ps(-8));
            if (packing == PX_PACKING_U4_MIN || packing == PX_PACKING_S8_MIN) {
                min = load_f16(w), w += 2 * L;
            }
        }

        if (packing == PX_PACKING_S8_K || packing == PX_PACKING_S8_K_MIN) {
            sum_w = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)w)), w += 4 * L;
        } else {
            sum_w = load_s16(w), w += 2 * L;
        }

        if (u4) {
            dot_u4(rows, w, x, x_stride, factor, sums), w += 16 * L;
        } else {
            for (int r = 0; r < rows; r++) sums[r] = _mm256_setzero_si256();
            dot_s8(rows, w, x, x_stride, factor, sums), w += 16 * L;
            dot_s8(rows, w, x + 16, x_stride, factor_high, sums), w += 16 * L;
        }

#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = x + r * x_stride;
            __m256 sum = _mm256_mul_ps(
                _mm256_cvtepi32_ps(sums[r]), x_float(at, offsetof(px_q8_block, scale)));
            sum = _mm256_fmadd_ps(sum_w, x_float(at, offsetof(px_q8_block, zero)), sum);
            acc[r] = _mm256_fmadd_ps(sum, scale, acc[r]);
            if (packing == PX_PACKING_S8_K_MIN) {
                __m256 half = x_float(at, offsetof(px_q8_block, half));
                __m256 rest = _mm256_sub_ps(x_float(at, offsetof(px_q8_block, sum)), half);
                acc[r] = _mm256_fmadd_ps(min, half, acc[r]);
                acc[r] = _mm256_fmadd_ps(min_high, rest, acc[r]);
            } else if (u4 || packing == PX_PACKING_S8_MIN) {
                acc[r] = _mm256_fmadd_ps(min, x_float(at, offsetof(px_q8_block, sum)), acc[r]);
            }
        }
    }
}

#include "kernels/vector/tile.h"

TILES(u4, PX_PACKING_U4, 1)
TILES(u4_min, PX_PACKING_U4_MIN, 1)
TILES(u4_k, PX_PACKING_U4_K, 1)
TILES(s8, PX_PACKING_S8, 1)
TILES(s8_min, PX_PACKING_S8_MIN, 1)
TILES(s8_k, PX_PACKING_S8_K, 1)
TILES(s8_k_min, PX_PACKING_S8_K_MIN, 1)

px_tile_fn px_avx2_q8_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][TILE_ROWS_MAX] = {
        [PX_PACKING_U4] = TILE_NAMES(u4, 1),
        [PX_PACKING_U4_MIN] = TILE_NAMES(u4_min, 1),
        [PX_PACKING_U4_K] = TILE_NAMES(u4_k, 1),
        [PX_PACKING_S8] = TILE_NAMES(s8, 1),
        [PX_PACKING_S8_MIN] = TILE_NAMES(s8_min, 1),
        [PX_PACKING_S8_K] = TILE_NAMES(s8_k, 1),
        [PX_PACKING_S8_K_MIN] = TILE_NAMES(s8_k_min, 1),
    };
    assert(groups == 1 && rows <= ROWS);
    return tiles[packing][rows - 1];
}
