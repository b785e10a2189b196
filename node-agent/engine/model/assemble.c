/* assemble.c - see assemble.h. */
#include "engine/model/assemble.h"

#include <string.h>

static void assemble_row(const px_weight_view *from, uint32_t row, unsigned char *to)
{
    const unsigned char *data = from->data + row * from->row_bytes;
    if (!px_weight_is_scattered(from)) {
        memcpy(to, data, px_dtype_bytes(from->dtype, from->cols));
        return;
    }
    if (from->col_bytes) {
        size_t bytes = px_dtype_of(from->dtype)->block_bytes;
        for (uint32_t c = 0; c < from->cols; c++)
            memcpy(to + c * bytes, data + c * from->col_bytes, bytes);
        return;
    }
    /* MXFP4: the file pairs neighbours in a byte, low nibble first; our blocks hold the first
     * sixteen codes in low nibbles, the others in high ones, after the exponent. */
    const unsigned char *scales = from->scales + row * from->scale_row_bytes;
    for (uint32_t b = 0; b < from->cols / 32; b++, to += 17, data += 16) {
        to[0] = scales[b];
        for (int i = 0; i < 16; i += 2) {
            unsigned char low = data[i / 2], high = data[8 + i / 2];
            to[1 + i] = (unsigned char)((low & 0x0F) | (high & 0x0F) << 4);
            to[2 + i] = (unsigned char)(low >> 4 | (high & 0xF0));
        }
    }
}

/* Some elements of one row of the tensor, whole blocks of it. */
static void read_line(const px_weight_view *view, uint32_t line, px_range of, float *out)
{
    px_coded part = view->coded;
    part.first_col += of.begin;
    if (part.coding) {
        px_coded_assemble(&part, PX_F32, (px_coded_part){line, 1, of.count}, (unsigned char *)out);
        return;
    }
    px_dtype dtype = view->tensor->dtype;
    const unsigned char *data = view->data + line * view->col_bytes;
    px_dtype_to_f32(dtype, data + px_dtype_bytes(dtype, of.begin), out, of.count);
}

/* Rows of turned blocks: an element of each of the tensor's rows, which are decoded piece by piece.
 */
static void turn(const px_weight_view *view, px_range rows, float *out)
{
    enum { PIECE = 256 }; /* elements: whole blocks of every type */
    float piece[PIECE];
    uint32_t block = view->coded.coding ? 1 : px_dtype_of(view->tensor->dtype)->block_elements;
    uint32_t begin = rows.begin / block * block, end = rows.begin + rows.count;
    uint32_t decoded_end = (end + block - 1) / block * block;
    for (uint32_t c = 0; c < view->cols; c++) {
        for (uint32_t first = begin; first < end; first += PIECE) {
            px_range of = {.begin = first, .count = decoded_end - first};
            if (of.count > PIECE) of.count = PIECE;
            read_line(view, c, of, piece);
            px_range wanted = px_range_intersect(of, rows);
            for (size_t r = wanted.begin; r < wanted.begin + (size_t)wanted.count; r++)
                out[(r - rows.begin) * view->cols + c] = piece[r - first];
        }
    }
}

void px_weight_assemble(const px_weight_view *from, px_range rows, void *out)
{
    px_coded_part part = {.first_row = rows.begin, .rows = rows.count, .cols = from->cols};
    if (from->is_turned_blocks && from->dtype == PX_F32) {
        turn(from, rows, out);
        return;
    }
    if (from->is_turned_blocks) {
        px_coded_assemble_turned(&from->coded, from->dtype, part, out);
        return;
    }
    if (from->coded.coding) {
        px_coded_assemble(&from->coded, from->dtype, part, out);
        return;
    }
    size_t row_bytes = px_dtype_bytes(from->dtype, from->cols);
    for (uint32_t i = 0; i < rows.count; i++)
        assemble_row(from, rows.begin + i, (unsigned char *)out + i * row_bytes);
}
