/* matmul_float.c - tiles of float32 products: packed F32, F16 and BF16 weights by float32 rows.
 *
 * One chain of fused multiply-adds over ascending columns for each output in every tile shape, as
 * in the AVX2 tiles, with twice the lanes and registers.
 */
#include "kernels/avx512/avx512.h"

#include <assert.h>

PX_INLINE __m512 load_weights(const px_packing packing, const uint8_t *w)
{
    switch (packing) {
    case PX_PACKING_F32: return _mm512_loadu_ps(w);
    case PX_PACKING_F16: return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)w));
    default: {
        __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)w));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
    }
}

enum { GROUPS_MAX = 4 };

typedef struct span { /* columns [begin, end) */
    uint32_t begin, end;
} span;

/* acc[group][row] = w . x over a span. */
PX_INLINE void sum_span(const px_packing packing, const int groups, const int rows,
    const px_tile *op, span cols, __m512 acc[GROUPS_MAX][PX_AVX512_FLOAT_ROWS])
{
    const size_t step = PX_AVX512_LANES * (packing == PX_PACKING_F32 ? 4 : 2);
    const uint8_t *w = op->w + cols.begin * step, *x = op->x + cols.begin * sizeof(float);
    const size_t w_stride = op->w_stride, x_stride = op->x_stride;
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) acc[g][r] = _mm512_setzero_ps();
    }
    for (uint32_t c = cols.begin; c < cols.end; c++, w += step, x += sizeof(float)) {
        __m512 weights[GROUPS_MAX];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) weights[g] = load_weights(packing, w + g * w_stride);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m512 value = _mm512_set1_ps(*(const float *)(x + r * x_stride));
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++) {
                acc[g][r] = _mm512_fmadd_ps(weights[g], value, acc[g][r]);
            }
        }
    }
}

PX_INLINE void tile(const px_packing packing, const int groups, const int rows, const px_tile *op)
{
    const bool plain = px_tile_is_plain(op);
    __m512 acc[GROUPS_MAX][PX_AVX512_FLOAT_ROWS];
    px_avx512_wide wide[GROUPS_MAX][PX_AVX512_FLOAT_ROWS];
    for (int g = 0; g < groups && !plain; g++) {
        for (int r = 0; r < rows; r++) wide[g][r] = px_avx512_wide_zero();
    }
    uint32_t begin = 0;
    do {
        uint32_t end = op->cols - begin < op->span ? op->cols : begin + op->span;
        sum_span(packing, groups, rows, op, (span){begin, end}, acc);
        for (int g = 0; g < groups && !plain; g++) {
            for (int r = 0; r < rows; r++) wide[g][r] = px_avx512_wide_add(wide[g][r], acc[g][r]);
        }
        begin = end;
    } while (begin < op->cols);
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            if (plain) {
                px_avx512_put(op, g, r, acc[g][r]);
            } else {
                px_avx512_put_wide(op, g, r, wide[g][r]);
            }
        }
    }
}

#define TILE(name, packing, groups, rows)                                                          \
    static void name##_##groups##_##rows(const px_tile *op)                                        \
    {                                                                                              \
        tile(packing, groups, rows, op);                                                           \
    }
#define GROUPS(name, packing, groups)                                                              \
    TILE(name, packing, groups, 1)                                                                 \
    TILE(name, packing, groups, 2)                                                                 \
    TILE(name, packing, groups, 3)                                                                 \
    TILE(name, packing, groups, 4)                                                                 \
    TILE(name, packing, groups, 5)                                                                 \
    TILE(name, packing, groups, 6)                                                                 \
    TILE(name, packing, groups, 7)                                                                 \
    TILE(name, packing, groups, 8)
#define TILES(name, packing)                                                                       \
    GROUPS(name, packing, 1)                                                                       \
    GROUPS(name, packing, 2)                                                                       \
    TILE(name, packing, 4, 1)
#define ROWS(name)                                                                                 \
    {                                                                                              \
        name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8             \
    }

TILES(f32, PX_PACKING_F32)
TILES(f16, PX_PACKING_F16)
TILES(bf16, PX_PACKING_BF16)

px_tile_fn px_avx512_float_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][3][PX_AVX512_FLOAT_ROWS] = {
        [PX_PACKING_F32] = {ROWS(f32_1), ROWS(f32_2), {f32_4_1}},
        [PX_PACKING_F16] = {ROWS(f16_1), ROWS(f16_2), {f16_4_1}},
        [PX_PACKING_BF16] = {ROWS(bf16_1), ROWS(bf16_2), {bf16_4_1}},
    };
    px_tile_fn fn = tiles[packing][groups / 2][rows - 1];
    assert(fn);
    return fn;
}
