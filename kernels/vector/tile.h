/* tile.h - what is around the inner loop of every tile: where sums come from and where results go.
 * A body: stands after a vec.h, GROUPS and ROWS (the most of both that a tile of the file has) and
 *
 *   sum_columns(packing, groups, rows, op, sums)   sums[group][row] += w . x
 *
 * Internal. */
#ifndef PX_KERNELS_VECTOR_TILE_H
#define PX_KERNELS_VECTOR_TILE_H

#include <assert.h>

/* Results for one group and one row of x. */
PX_INLINE void put(const px_tile *op, int group, int row, px_vec value)
{
    uint32_t first = (uint32_t)group * PX_VEC_LANES, left = op->w_rows - first;
    float *y = op->y + (size_t)row * op->y_stride + first;
    if (op->bias) value = px_vec_add(value, px_vec_load_some(op->bias + first, left));
    if (op->accumulate) value = px_vec_add(value, px_vec_load_some(y, left));
    px_vec_store_some(y, left, value);
}

PX_INLINE void tile(const px_packing packing, const int groups, const int rows, const px_tile *op)
{
    px_vec sums[GROUPS][ROWS];
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float *from = op->partial + (g * rows + r) * PX_VEC_LANES;
            sums[g][r] = op->begins ? px_vec_all(0) : px_vec_load(from);
        }
    }
    sum_columns(packing, groups, rows, op, sums);
#pragma GCC unroll 4
    for (int g = 0; g < groups; g++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            if (op->ends)
                put(op, g, r, sums[g][r]);
            else
                px_vec_store(op->partial + (g * rows + r) * PX_VEC_LANES, sums[g][r]);
        }
    }
}

/* Functions NAME_GROUPS_1 to NAME_GROUPS_8, and their names; those of more ROWS, or of more sums
 * than registers, are never called. */
#define TILE(name, packing, groups, rows)                                                          \
    static void name##_##groups##_##rows(const px_tile *op)                                        \
    {                                                                                              \
        if ((rows) <= ROWS && (groups) * (rows) <= PX_VEC_SUMS) tile(packing, groups, rows, op);   \
    }
#define TILES(name, packing, groups)                                                               \
    TILE(name, packing, groups, 1)                                                                 \
    TILE(name, packing, groups, 2)                                                                 \
    TILE(name, packing, groups, 3)                                                                 \
    TILE(name, packing, groups, 4)                                                                 \
    TILE(name, packing, groups, 5)                                                                 \
    TILE(name, packing, groups, 6)                                                                 \
    TILE(name, packing, groups, 7)                                                                 \
    TILE(name, packing, groups, 8)
#define TILE_NAMES(name, groups)                                                                   \
    {                                                                                              \
        name##_##groups##_1, name##_##groups##_2, name##_##groups##_3, name##_##groups##_4,        \
            name##_##groups##_5, name##_##groups##_6, name##_##groups##_7, name##_##groups##_8,    \
    }
enum { TILE_ROWS_MAX = 8 };

#endif
