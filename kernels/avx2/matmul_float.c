/* matmul_float.c - tiles of float32 products: packed F32, F16 and BF16 weights by float32 rows.
 *
 * Each output is one chain of fused multiply-adds over ascending columns in every tile shape. A
 * tile only runs enough chains at once to hide their latency: 4 groups for one row of x, 2 groups
 * by 6 rows (12 accumulators of the 16 registers) for many.
 */
#include "kernels/avx2/avx2.h"

#include <assert.h>

PX_INLINE __m256 load_weights(const px_packing packing, const uint8_t *w)
{
    switch (packing) {
    case PX_PACKING_F32: return _mm256_loadu_ps((const float *)w);
    case PX_PACKING_F16: return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
    default: {
        __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)w));
        return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
    }
    }
}

enum { GROUPS_MAX = 4 };

typedef struct span { /* columns [begin, end) */
    uint32_t begin, end;
} span;

/* acc[group][row] = w . x over a span. */
PX_INLINE void sum_span(const px_packing packing, const int groups, const int rows,
    const px_tile *op, span cols, __m256 acc[GROUPS_MAX][PX_AVX2_FLOAT_ROWS])
{
    const size_t step = PX_AVX2_LANES * (packing == PX_PACKING_F32 ? 4 : 2);
    const uint8_t *w = op->w + cols.begin * step, *x = op->x + cols.begin * sizeof(float);
    const size_t w_stride = op->w_stride, x_stride = op->x_stride;
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) acc[g][r] = _mm256_setzero_ps();
    }
    for (uint32_t c = cols.begin; c < cols.end; c++, w += step, x += sizeof(float)) {
        __m256 weights[GROUPS_MAX];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) weights[g] = load_weights(packing, w + g * w_stride);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m256 value = _mm256_broadcast_ss((const float *)(x + r * x_stride));
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++) {
                acc[g][r] = _mm256_fmadd_ps(weights[g], value, acc[g][r]);
            }
        }
    }
}

PX_INLINE void tile(const px_packing packing, const int groups, const int rows, const px_tile *op)
{
    const bool plain = px_tile_is_plain(op);
    __m256 acc[GROUPS_MAX][PX_AVX2_FLOAT_ROWS];
    px_avx2_wide wide[GROUPS_MAX][PX_AVX2_FLOAT_ROWS];
    for (int g = 0; g < groups && !plain; g++) {
        for (int r = 0; r < rows; r++) wide[g][r] = px_avx2_wide_zero();
    }
    uint32_t begin = 0;
    do {
        uint32_t end = op->cols - begin < op->span ? op->cols : begin + op->span;
        sum_span(packing, groups, rows, op, (span){begin, end}, acc);
        for (int g = 0; g < groups && !plain; g++) {
            for (int r = 0; r < rows; r++) wide[g][r] = px_avx2_wide_add(wide[g][r], acc[g][r]);
        }
        begin = end;
    } while (begin < op->cols);
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            if (plain) {
                px_avx2_put(op, g, r, acc[g][r]);
            } else {
                px_avx2_put_wide(op, g, r, wide[g][r]);
            }
        }
    }
}

#define TILE(name, packing, groups, rows)                                                          \
    static void name##_##groups##_##rows(const px_tile *op)                                        \
    {                                                                                              \
        tile(packing, groups, rows, op);                                                           \
    }
#define TILES(name, packing)                                                                       \
    TILE(name, packing, 1, 1)                                                                      \
    TILE(name, packing, 1, 2)                                                                      \
    TILE(name, packing, 1, 3)                                                                      \
    TILE(name, packing, 1, 4)                                                                      \
    TILE(name, packing, 1, 5)                                                                      \
    TILE(name, packing, 1, 6)                                                                      \
    TILE(name, packing, 2, 1)                                                                      \
    TILE(name, packing, 2, 2)                                                                      \
    TILE(name, packing, 2, 3)                                                                      \
    TILE(name, packing, 2, 4)                                                                      \
    TILE(name, packing, 2, 5)                                                                      \
    TILE(name, packing, 2, 6)                                                                      \
    TILE(name, packing, 4, 1)
#define TABLE(name)                                                                                \
    {                                                                                              \
        {name##_1_1, name##_1_2, name##_1_3, name##_1_4, name##_1_5, name##_1_6},                  \
            {name##_2_1, name##_2_2, name##_2_3, name##_2_4, name##_2_5, name##_2_6},              \
            {name##_4_1},                                                                          \
    }

TILES(f32, PX_PACKING_F32)
TILES(f16, PX_PACKING_F16)
TILES(bf16, PX_PACKING_BF16)

px_tile_fn px_avx2_float_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][3][PX_AVX2_FLOAT_ROWS] = {
        [PX_PACKING_F32] = TABLE(f32),
        [PX_PACKING_F16] = TABLE(f16),
        [PX_PACKING_BF16] = TABLE(bf16),
    };
    px_tile_fn fn = tiles[packing][groups / 2][rows - 1];
    assert(fn);
    return fn;
}
