/* piece.h - ops without a sum along the row are shared out in pieces of rows, so that one row, the
 * usual case in decode, keeps every worker busy. Internal. */
#ifndef PX_KERNELS_VECTOR_PIECE_H
#define PX_KERNELS_VECTOR_PIECE_H

#include "kernels/packed.h"

typedef struct piece {
    size_t row;
    uint32_t begin, end; /* columns */
} piece;

enum { PIECE_COLS = 512 };

PX_INLINE uint32_t pieces_of_row(uint32_t cols)
{
    return (cols + PIECE_COLS - 1) / PIECE_COLS;
}

PX_INLINE piece piece_at(uint32_t index, uint32_t cols)
{
    uint32_t begin = index % pieces_of_row(cols) * PIECE_COLS;
    return (piece){.row = index / pieces_of_row(cols),
        .begin = begin,
        .end = cols - begin < PIECE_COLS ? cols : begin + PIECE_COLS};
}

#endif
