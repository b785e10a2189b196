/* matmul_bf16.c - tiles of bfloat16 products: packed BF16 weights by rows of bfloat16, where the
 * CPU has AVX512_BF16. The only file compiled for it.
 *
 * vdpbf16ps adds the products of two columns to a float32 sum, twice what multiply-adds of float32
 * do. Pairs of columns go in ascending order whatever the tile: the same bits for any batch.
 */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"

#include <assert.h>

enum { GROUPS = 4, ROWS = PX_AVX512_BF16_ROWS };

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, px_vec sums[GROUPS][ROWS])
{
    const size_t w_stride = op->w_stride, x_stride = op->x_stride;
    const uint8_t *w = op->w;
    const uint8_t *x = op->x;
    for (uint32_t c = 0; c < op->cols; c += 2) {
        __m512bh weights[GROUPS];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            weights[g] = (__m512bh)_mm512_loadu_si512(w + g * w_stride);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, x + r * x_stride, 4);
            __m512bh value = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++) {
                sums[g][r] = _mm512_dpbf16_ps(sums[g][r], weights[g], value);
            }
        }
        w += 4 * PX_VEC_LANES, x += 2 * sizeof(uint16_t);
    }
}

#include "kernels/vector/tile.h"

TILES(bf16, PX_PACKING_BF16, 1)
TILES(bf16, PX_PACKING_BF16, 2)
TILES(bf16, PX_PACKING_BF16, 4)

px_tile_fn px_avx512_bf16_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[3][TILE_ROWS_MAX] = {
        TILE_NAMES(bf16, 1), TILE_NAMES(bf16, 2), TILE_NAMES(bf16, 4)};
    px_tile_fn fn = tiles[groups / 2][rows - 1];
    assert(fn && rows <= ROWS && groups * rows <= PX_VEC_SUMS);
    return fn;
}

void px_avx512_to_bf16(const float *x, uint32_t count, uint16_t *to)
{
    for (uint32_t c = 0; c < count; c += PX_VEC_LANES) {
        __m256i halves = (__m256i)_mm512_cvtneps_pbh(px_vec_load_some(x + c, count - c));
        _mm256_mask_storeu_epi16(to + c, px_vec_first(count - c), halves);
    }
}
