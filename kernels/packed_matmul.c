/* packed_matmul.c - the order of the tiles: a part's weight groups by slices of x that stay in
 * cache. The arithmetic is in the backends' tiles. */
#include "kernels/packed.h"

#include <assert.h>

enum { X_SLICE_BYTES = 256 * 1024 }; /* of the second-level cache: x comes from memory once */

static const px_tile_set *choose(const px_tiles *tiles, px_packing packing, px_act_kind kind)
{
    if (kind == PX_ACT_Q8) return &tiles->q8;
    if (kind == PX_ACT_BF16) return &tiles->bf16;
    return px_packing_is_scaled(packing) ? &tiles->scaled : &tiles->floats;
}

void px_packed_matmul(const px_matmul *op, const px_tiles *tiles, px_part part)
{
    const px_matrix *w = op->w;
    const px_act *x = op->x;
    px_packing packing = (px_packing)w->layout;
    const px_tile_set *set = choose(tiles, packing, x->kind);
    assert(x->cols == w->cols && packing == px_packing_of(w->dtype));
    uint32_t rows_most = set->rows,
             groups_most = x->rows <= set->few ? set->groups_of_few : set->groups;
    uint32_t slice = X_SLICE_BYTES / (uint32_t)x->row_bytes / rows_most * rows_most;
    if (slice == 0) slice = rows_most;

    px_tile tile = {.w_stride = px_packed_group_bytes(packing, tiles->lanes, w->cols),
        .x_stride = x->row_bytes,
        .cols = w->cols,
        .y_stride = op->y_stride,
        .accumulate = op->accumulate};
    uint32_t begin, end, groups, rows;
    px_part_range(part, (w->rows + tiles->lanes - 1) / tiles->lanes, groups_most, &begin, &end);
    for (uint32_t slice_begin = 0; slice_begin < x->rows; slice_begin += slice) {
        uint32_t slice_end = x->rows - slice_begin < slice ? x->rows : slice_begin + slice;
        for (uint32_t group = begin; group < end; group += groups) {
            groups = end - group >= groups_most ? groups_most : 1;
            uint32_t first = group * tiles->lanes;
            tile.w = (const uint8_t *)w->data + group * tile.w_stride;
            tile.w_rows = w->rows - first;
            tile.bias = op->bias ? op->bias + first : NULL;
            for (uint32_t row = slice_begin; row < slice_end; row += rows) {
                rows = slice_end - row < rows_most ? slice_end - row : rows_most;
                tile.x = (const uint8_t *)x->data + row * x->row_bytes;
                tile.y = op->y + row * op->y_stride + first;
                set->find(packing, groups, rows)(&tile);
            }
        }
    }
}
