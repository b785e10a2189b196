/* matmul_scaled.h - tiles of float32 products: 4-, 8- and 16-bit codes with a scale for each 32
 * columns by float32 rows. A body; stands after a vec.h, ROWS and
 *
 *   codes, load_codes(), next_codes()   eight nibbles of each lane; a nibble further
 *   code_of(packing, codes)             the lowest nibble as a number, of FP4 doubled
 *   load_code(packing, w)               a lane's 8- or 16-bit code as a number; F8 times 2^-8
 *   load_e8m0(w), load_zero(w)          a scale of FP4, halved; a zero of SCALED_U4
 *
 * A block's products are one chain of fused multiply-adds over ascending columns, and its scale is
 * applied once to the sum; blocks go in ascending order. The same in every tile shape, so the same
 * bits for any batch. Internal.
 */
#ifndef PX_KERNELS_VECTOR_MATMUL_SCALED_H
#define PX_KERNELS_VECTOR_MATMUL_SCALED_H

enum { L = PX_VEC_LANES, BLOCK = 32, GROUPS = 4 };

/* What 32 columns of a group say besides their codes. */
typedef struct block_head {
    px_vec scale, zero;
} block_head;

/* Returns where the codes are. */
PX_INLINE const uint8_t *read_head(const px_packing packing, const uint8_t *w, block_head *out)
{
    if (packing == PX_PACKING_FP4) {
        out->scale = load_e8m0(w);
        return w + L;
    }
    out->scale = px_vec_load((const float *)w);
    w += 4 * L;
    if (packing != PX_PACKING_SCALED_U4) return w;
    out->zero = load_zero(w);
    return w + L;
}

/* sums[group][row] += weights . x over one column */
PX_INLINE void add_column(const int groups, const int rows, const px_vec *weights, const uint8_t *x,
    size_t x_stride, px_vec sums[][ROWS])
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        px_vec value = px_vec_all(*(const float *)(x + r * x_stride));
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) sums[g][r] = px_vec_fma(weights[g], value, sums[g][r]);
    }
}

/* The sums over a block of 32 columns, in units of its scale. */
PX_INLINE void dot_block(const px_packing packing, const int groups, const int rows,
    const uint8_t *const *from, const block_head *head, const uint8_t *x, size_t x_stride,
    px_vec sums[][ROWS])
{
    const bool nibbles = packing == PX_PACKING_FP4 || packing == PX_PACKING_SCALED_U4;
    const size_t code_bytes = packing == PX_PACKING_SCALED_F16 ? 2 * L : L;
    px_vec weights[GROUPS];
    for (size_t c = 0; c < BLOCK && !nibbles; c++, x += sizeof(float)) {
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) weights[g] = load_code(packing, from[g] + c * code_bytes);
        add_column(groups, rows, weights, x, x_stride, sums);
    }
    for (size_t j = 0; j < BLOCK / 8 && nibbles; j++) {
        codes eight[GROUPS];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) eight[g] = load_codes(from[g] + j * 4 * L);
        for (int k = 0; k < 8; k++, x += sizeof(float)) {
#pragma GCC unroll 4
            for (int g = 0; g < groups; g++) {
                weights[g] = code_of(packing, eight[g]);
                if (packing == PX_PACKING_SCALED_U4)
                    weights[g] = px_vec_sub(weights[g], head[g].zero);
                eight[g] = next_codes(eight[g]);
            }
            add_column(groups, rows, weights, x, x_stride, sums);
        }
    }
}

/* acc[group][row] += w . x over some blocks. */
PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, px_vec acc[GROUPS][ROWS])
{
    const size_t unit_bytes = px_packed_group_bytes(packing, L, BLOCK);
    for (size_t block = 0; block < op->cols / BLOCK; block++) {
        const uint8_t *from[GROUPS];
        block_head head[GROUPS];
        px_vec sums[GROUPS][ROWS];
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
            from[g] = read_head(packing, op->w + g * op->w_stride + block * unit_bytes, &head[g]);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) sums[g][r] = px_vec_all(0);
        }
        dot_block(packing, groups, rows, from, head, op->x + block * BLOCK * sizeof(float),
            op->x_stride, sums);
#pragma GCC unroll 4
        for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                if (packing == PX_PACKING_SCALED_F8)
                    sums[g][r] = px_vec_mul(sums[g][r], px_vec_all(256));
                acc[g][r] = px_vec_fma(sums[g][r], head[g].scale, acc[g][r]);
            }
        }
    }
}

#include "kernels/vector/tile.h"

/* One group by one row would wait for each addition: four groups go together. With more rows there
 * are chains enough, and registers for the sums of one group. */
#define EACH(name, packing)                                                                        \
    TILES(name, packing, 1)                                                                        \
    TILE(name, packing, 2, 1)                                                                      \
    TILE(name, packing, 4, 1)
EACH(fp4, PX_PACKING_FP4)
EACH(u4, PX_PACKING_SCALED_U4)
EACH(f8, PX_PACKING_SCALED_F8)
EACH(f16, PX_PACKING_SCALED_F16)
#undef EACH

static px_tile_fn scaled_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][3][TILE_ROWS_MAX] = {
        [PX_PACKING_FP4] = {TILE_NAMES(fp4, 1), {fp4_2_1}, {fp4_4_1}},
        [PX_PACKING_SCALED_U4] = {TILE_NAMES(u4, 1), {u4_2_1}, {u4_4_1}},
        [PX_PACKING_SCALED_F8] = {TILE_NAMES(f8, 1), {f8_2_1}, {f8_4_1}},
        [PX_PACKING_SCALED_F16] = {TILE_NAMES(f16, 1), {f16_2_1}, {f16_4_1}},
    };
    px_tile_fn fn = tiles[packing][groups / 2][rows - 1];
    assert(fn && rows <= ROWS);
    return fn;
}

#endif
