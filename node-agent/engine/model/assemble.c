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

void px_weight_assemble(const px_weight_view *from, px_range rows, void *out)
{
    PX_ASSERT(!from->is_turned_blocks);
    if (from->coded.coding) {
        px_coded_part part = {.first_row = rows.begin, .rows = rows.count, .cols = from->cols};
        px_coded_assemble(&from->coded, from->dtype, part, out);
        return;
    }
    size_t row_bytes = px_dtype_bytes(from->dtype, from->cols);
    for (uint32_t i = 0; i < rows.count; i++)
        assemble_row(from, rows.begin + i, (unsigned char *)out + i * row_bytes);
}

void px_weight_turn(const px_weight_view *view, uint32_t begin, uint32_t end, float *out)
{
    enum { PIECE = 256 }; /* elements: whole blocks of every type */
    float piece[PIECE];
    px_dtype dtype = view->tensor->dtype;
    for (size_t c = begin; c < end; c++) {
        const unsigned char *line = view->data + c * view->col_bytes;
        for (uint32_t r = 0; r < view->rows; r += PIECE) {
            uint32_t count = view->rows - r < PIECE ? view->rows - r : PIECE;
            px_coded part = view->coded;
            part.first_col += r;
            if (part.coding)
                px_coded_assemble(
                    &part, PX_F32, (px_coded_part){(uint32_t)c, 1, count}, (unsigned char *)piece);
            else
                px_dtype_to_f32(dtype, line + px_dtype_bytes(dtype, r), piece, count);
            for (uint32_t i = 0; i < count; i++) out[(size_t)(r + i) * view->cols + c] = piece[i];
        }
    }
}
