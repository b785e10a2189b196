/* matmul_float.h - tiles of float32 products: packed F32, F16 and BF16 weights by float32 rows. A
 * body; stands after a vec.h and ASKS_AHEAD, whether that makes such tiles faster. Internal.
 *
 * Each output is one chain of fused multiply-adds over ascending columns in every tile shape. A
 * tile only runs enough chains at once to hide their latency and to share what it loads: 4 groups
 * for one row of x, else 6 rows by as many groups as there are registers for their sums.
 */
#ifndef PX_KERNELS_VECTOR_MATMUL_FLOAT_H
#define PX_KERNELS_VECTOR_MATMUL_FLOAT_H

enum { GROUPS = 4, ROWS = 6 };

/* sums[group][row] += weights . x over one column */
PX_INLINE void add_column(const int groups, const int rows, const px_vec *weights, const uint8_t *x,
    size_t x_stride, px_vec sums[GROUPS][ROWS])
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        px_vec value = px_vec_all(*(const float *)(x + r * x_stride));
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) sums[g][r] = px_vec_fma(weights[g], value, sums[g][r]);
    }
}

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, px_vec sums[GROUPS][ROWS])
{
    const bool asks = ASKS_AHEAD && px_asks_ahead(rows);
    const size_t w_stride = op->w_stride, x_stride = op->x_stride;
    const uint8_t *w = op->w;
    const uint8_t *x = op->x;
    px_vec weights[GROUPS];
    for (uint32_t c = 0; c < op->cols && packing == PX_PACKING_BF16; c += 2) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            if (asks) px_ask_ahead(w + g * w_stride);
            weights[g] = px_vec_load_bf16_even(w + g * w_stride);
        }
        add_column(groups, rows, weights, x, x_stride, sums);
        if (c + 1 == op->cols) break; /* the other half of the pair is no column */
        __asm__("" : "+r"(w)); /* load again: kept, the pairs would take registers of the sums */
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) weights[g] = px_vec_load_bf16_odd(w + g * w_stride);
        add_column(groups, rows, weights, x + sizeof(float), x_stride, sums);
        w += 4 * PX_VEC_LANES, x += 2 * sizeof(float);
    }
    for (uint32_t c = 0; c < op->cols && packing != PX_PACKING_BF16; c++) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            const uint8_t *at = w + g * w_stride;
            if (asks) px_ask_ahead(at);
            weights[g] =
                packing == PX_PACKING_F32 ? px_vec_load((const float *)at) : px_vec_load_f16(at);
        }
        w += (packing == PX_PACKING_F32 ? 4 : 2) * PX_VEC_LANES;
        add_column(groups, rows, weights, x, x_stride, sums);
        x += sizeof(float);
    }
}

#include "kernels/vector/tile.h"

#define EACH(name, packing)                                                                        \
    TILES(name, packing, 1)                                                                        \
    TILES(name, packing, 2)                                                                        \
    TILES(name, packing, 4)
EACH(f32, PX_PACKING_F32)
EACH(f16, PX_PACKING_F16)
EACH(bf16, PX_PACKING_BF16)
#undef EACH

static px_tile_fn float_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][3][TILE_ROWS_MAX] = {
        [PX_PACKING_F32] = {TILE_NAMES(f32, 1), TILE_NAMES(f32, 2), TILE_NAMES(f32, 4)},
        [PX_PACKING_F16] = {TILE_NAMES(f16, 1), TILE_NAMES(f16, 2), TILE_NAMES(f16, 4)},
        [PX_PACKING_BF16] = {TILE_NAMES(bf16, 1), TILE_NAMES(bf16, 2), TILE_NAMES(bf16, 4)},
    };
    px_tile_fn fn = tiles[packing][groups / 2][rows - 1];
    assert(fn && rows <= ROWS && groups * rows <= PX_VEC_SUMS);
    return fn;
}

#endif
