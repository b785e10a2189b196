/* matmul.c - the order of the tiles: a part's weight groups by slices of x that stay in cache. */
#include "kernels/avx2/avx2.h"

#include <assert.h>

enum {
    L = PX_AVX2_LANES,
    X_SLICE_BYTES = 256 * 1024, /* of the second-level cache, so that x is read from memory once */
};

size_t px_avx2_pack_bytes(px_dtype dtype, uint32_t rows, uint32_t cols)
{
    return px_packed_bytes(dtype, L, rows, cols);
}

void px_avx2_pack(const px_pack *op, px_part part)
{
    px_packed_fill(op, L, part);
}

/* One group's results for one row of x. */
static void finish(const px_matmul *op, uint32_t row, uint32_t group, const float *result)
{
    uint32_t first = group * L;
    uint32_t count = op->w->rows - first < L ? op->w->rows - first : L;
    float *y = op->y + row * op->y_stride + first;
    __m256 value = _mm256_loadu_ps(result);
    if (count == L) {
        if (op->bias) value = _mm256_add_ps(value, _mm256_loadu_ps(op->bias + first));
        if (op->accumulate) value = _mm256_add_ps(value, _mm256_loadu_ps(y));
        _mm256_storeu_ps(y, value);
        return;
    }
    __m256i mask = px_first8(count);
    if (op->bias) value = _mm256_add_ps(value, _mm256_maskload_ps(op->bias + first, mask));
    if (op->accumulate) value = _mm256_add_ps(value, _mm256_maskload_ps(y, mask));
    _mm256_maskstore_ps(y, mask, value);
}

void px_avx2_matmul(const px_matmul *op, px_part part)
{
    const px_matrix *w = op->w;
    const px_act *x = op->x;
    px_packing packing = (px_packing)w->layout;
    bool q8 = x->kind == PX_ACT_Q8;
    assert(x->cols == w->cols && x->kind == px_avx2_act_kind(w->dtype));
    uint32_t rows_most = q8 ? PX_AVX2_Q8_ROWS : PX_AVX2_FLOAT_ROWS;
    uint32_t groups_most = q8 ? 1 : x->rows == 1 ? 4 : 2;
    uint32_t slice = X_SLICE_BYTES / (uint32_t)x->row_bytes / rows_most * rows_most;
    if (slice == 0) slice = rows_most;

    px_avx2_tile tile = {.w_stride = px_packed_group_bytes(packing, L, w->cols),
        .x_stride = x->row_bytes,
        .cols = w->cols};
    uint32_t begin, end, groups, rows;
    px_part_range(part, (w->rows + L - 1) / L, 1, &begin, &end);
    for (uint32_t slice_begin = 0; slice_begin < x->rows; slice_begin += slice) {
        uint32_t slice_end = x->rows - slice_begin < slice ? x->rows : slice_begin + slice;
        for (uint32_t group = begin; group < end; group += groups) {
            groups = end - group >= groups_most ? groups_most : 1;
            tile.w = (const uint8_t *)w->data + group * tile.w_stride;
            for (uint32_t row = slice_begin; row < slice_end; row += rows) {
                float out[PX_AVX2_TILE_FLOATS];
                rows = slice_end - row < rows_most ? slice_end - row : rows_most;
                tile.x = (const uint8_t *)x->data + row * x->row_bytes;
                if (q8) {
                    px_avx2_q8_tile(packing, rows)(&tile, out);
                } else {
                    px_avx2_float_tile(packing, groups, rows)(&tile, out);
                }
                for (uint32_t g = 0; g < groups; g++) {
                    for (uint32_t r = 0; r < rows; r++) {
                        finish(op, row + r, group + g, out + (g * rows + r) * L);
                    }
                }
            }
        }
    }
}
