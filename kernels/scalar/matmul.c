/* matmul.c - products with weights as they lie in the file, dequantised piece by piece.
 *
 * A piece of a weight row is dequantised once for all rows of a tile of x. Each output is one
 * double sum over ascending columns, whatever stands beside it; the tile only runs several sums at
 * a time.
 */
#include "kernels/scalar/scalar.h"

#include <assert.h>
#include <string.h>

enum {
    PIECE_COLS = 1024, /* whole blocks of every format */
    TILE_ROWS = 64,
    LANES = 4, /* independent sums, to hide the latency of a double addition */
};

px_act_kind px_scalar_act_kind(px_dtype weights)
{
    (void)weights;
    return PX_ACT_F32;
}

size_t px_scalar_act_row_bytes(px_act_kind kind, uint32_t cols)
{
    assert(kind == PX_ACT_F32);
    (void)kind;
    return cols * sizeof(float);
}

size_t px_scalar_pack_bytes(px_dtype dtype, uint32_t rows, uint32_t cols)
{
    (void)dtype, (void)rows, (void)cols;
    return 0;
}

void px_scalar_pack(const px_pack *op, px_part part)
{
    if (part.index != 0) return;
    *op->out = (px_matrix){.dtype = op->dtype,
        .rows = op->rows,
        .cols = op->cols,
        .row_bytes = op->from_row_bytes,
        .data = op->from};
}

void px_scalar_prepare(const px_prepare *op, px_part part)
{
    const px_act *to = op->to;
    assert(to->kind == PX_ACT_F32);
    if (to->data == op->x) return;
    uint32_t begin, end;
    px_part_range(part, to->rows, 1, &begin, &end);
    for (uint32_t i = begin; i < end; i++) {
        const float *x = op->x + i * op->x_stride;
        float *row = (float *)(void *)((unsigned char *)to->data + i * to->row_bytes);
        if (!op->from) memcpy(row, x, to->cols * sizeof(float));
        for (uint32_t c = 0; op->from && c < to->cols; c++) row[c] = x[op->from[c]];
    }
}

static const float *act_row(const px_act *x, uint32_t row)
{
    return (const float *)((const unsigned char *)x->data + row * x->row_bytes);
}

/* sums[i] += w[0..cols) . x row (first + i), columns from `col` */
static void add_products(
    const px_matmul *op, const float *w, uint32_t col, uint32_t cols, uint32_t first, double *sums)
{
    uint32_t count = op->x->rows - first < TILE_ROWS ? op->x->rows - first : TILE_ROWS;
    for (uint32_t i = 0; i < count; i += LANES) {
        const float *x[LANES];
        double sum[LANES];
        for (uint32_t l = 0; l < LANES; l++) { /* lanes past the end repeat the last row, unused */
            uint32_t row = i + l < count ? i + l : count - 1;
            x[l] = act_row(op->x, first + row) + col;
            sum[l] = sums[row];
        }
        for (uint32_t c = 0; c < cols; c++) {
            for (uint32_t l = 0; l < LANES; l++) sum[l] += (double)w[c] * (double)x[l][c];
        }
        for (uint32_t l = 0; l < LANES && i + l < count; l++) sums[i + l] = sum[l];
    }
}

void px_scalar_matmul(const px_matmul *op, px_part part)
{
    const px_matrix *w = op->w;
    const px_dtype_traits *traits = px_dtype_of(w->dtype);
    assert(w->layout == 0 && op->x->kind == PX_ACT_F32 && op->x->cols == w->cols);
    uint32_t begin, end;
    px_part_range(part, w->rows, 1, &begin, &end);

    for (uint32_t o = begin; o < end; o++) {
        const unsigned char *row = (const unsigned char *)w->data + o * w->row_bytes;
        for (uint32_t first = 0; first < op->x->rows; first += TILE_ROWS) {
            double sums[TILE_ROWS] = {0};
            for (uint32_t col = 0; col < w->cols; col += PIECE_COLS) {
                float piece[PIECE_COLS];
                uint32_t cols = w->cols - col < PIECE_COLS ? w->cols - col : PIECE_COLS;
                px_dtype_to_f32(w->dtype,
                    row + (size_t)col / traits->block_elements * traits->block_bytes, piece, cols);
                add_products(op, piece, col, cols, first, sums);
            }
            for (uint32_t i = 0; i < TILE_ROWS && first + i < op->x->rows; i++) {
                float *y = op->y + (first + i) * op->y_stride + o;
                float value = (float)(sums[i] + (op->bias ? (double)op->bias[o] : 0.0));
                *y = op->accumulate ? *y + value : value;
            }
        }
    }
}
