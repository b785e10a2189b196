/* packed_matmul.c - the order of the tiles: a part's weight groups by slices of x that stay in
 * cache. The arithmetic is in the backends' tiles. */
#include "kernels/packed.h"

#include <assert.h>

enum {
    X_SLICE_BYTES = 256 * 1024, /* of the second-level cache: x comes from memory once */
    TILE_FLOATS_MAX = 512,
};

/* One group's results for one row of x. */
static void finish(
    const px_matmul *op, uint32_t lanes, uint32_t row, uint32_t group, const float *result)
{
    uint32_t first = group * lanes;
    uint32_t count = op->w->rows - first < lanes ? op->w->rows - first : lanes;
    float *y = op->y + row * op->y_stride + first;
    for (uint32_t i = 0; i < count; i++) {
        float value = result[i];
        if (op->bias) value += op->bias[first + i];
        y[i] = op->accumulate ? value + y[i] : value;
    }
}

void px_packed_matmul(const px_matmul *op, const px_tiles *tiles, px_part part)
{
    const px_matrix *w = op->w;
    const px_act *x = op->x;
    px_packing packing = (px_packing)w->layout;
    bool q8 = x->kind == PX_ACT_Q8;
    assert(x->cols == w->cols && packing == px_packing_of(w->dtype));
    uint32_t rows_most = q8 ? tiles->q8_rows : tiles->float_rows;
    uint32_t groups_most = q8 ? 1 : x->rows == 1 ? 4 : 2;
    uint32_t slice = X_SLICE_BYTES / (uint32_t)x->row_bytes / rows_most * rows_most;
    if (slice == 0) slice = rows_most;
    assert(groups_most * rows_most * tiles->lanes <= TILE_FLOATS_MAX);

    px_tile tile = {.w_stride = px_packed_group_bytes(packing, tiles->lanes, w->cols),
        .x_stride = x->row_bytes,
        .cols = w->cols};
    uint32_t begin, end, groups, rows;
    px_part_range(part, (w->rows + tiles->lanes - 1) / tiles->lanes, 1, &begin, &end);
    for (uint32_t slice_begin = 0; slice_begin < x->rows; slice_begin += slice) {
        uint32_t slice_end = x->rows - slice_begin < slice ? x->rows : slice_begin + slice;
        for (uint32_t group = begin; group < end; group += groups) {
            groups = end - group >= groups_most ? groups_most : 1;
            tile.w = (const uint8_t *)w->data + group * tile.w_stride;
            for (uint32_t row = slice_begin; row < slice_end; row += rows) {
                float out[TILE_FLOATS_MAX];
                rows = slice_end - row < rows_most ? slice_end - row : rows_most;
                tile.x = (const uint8_t *)x->data + row * x->row_bytes;
                if (q8) {
                    tiles->q8(packing, rows)(&tile, out);
                } else {
                    tiles->floats(packing, groups, rows)(&tile, out);
                }
                for (uint32_t i = 0; i < groups * rows; i++) {
                    finish(
                        op, tiles->lanes, row + i % rows, group + i / rows, out + i * tiles->lanes);
                }
            }
        }
    }
}
