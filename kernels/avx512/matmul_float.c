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

PX_INLINE void tile(const px_packing packing, const int groups, const int rows, const px_tile *op)
{
    const size_t step = PX_AVX512_LANES * (packing == PX_PACKING_F32 ? 4 : 2);
    const uint8_t *w = op->w, *x = op->x;
    const size_t w_stride = op->w_stride, x_stride = op->x_stride;
    __m512 acc[4][PX_AVX512_FLOAT_ROWS];
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) acc[g][r] = _mm512_setzero_ps();
    }
    for (uint32_t c = 0; c < op->cols; c++, w += step, x += sizeof(float)) {
        __m512 weights[4];
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
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            px_avx512_put(op, g, r, acc[g][r]);
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
