/* columns.c - columns of a matrix as a stream of bytes; see columns.h. */
#include "parallel/columns.h"

#include <string.h>

static size_t begin_of(const px_comm_columns *columns, int rank)
{
    return rank ? columns->ends[rank - 1] : 0;
}

static size_t width_of(const px_comm_columns *columns, int rank)
{
    return columns->ends[rank] - begin_of(columns, rank);
}

size_t px_columns_bytes(const px_comm_columns *columns, int rank)
{
    return columns->rows * width_of(columns, rank);
}

size_t px_columns_longest(const px_comm_columns *columns, int ranks)
{
    size_t longest = 0;
    for (int rank = 0; rank < ranks; rank++) {
        size_t bytes = px_columns_bytes(columns, rank);
        longest = bytes > longest ? bytes : longest;
    }
    return longest;
}

/* A piece of the stream that lies together in the matrix. */
typedef struct piece {
    unsigned char *at;
    size_t bytes;
} piece;

static piece piece_at(const px_comm_columns *columns, int rank, size_t at, size_t bytes)
{
    size_t width = width_of(columns, rank), row = at / width, col = at % width;
    size_t left = width - col;
    return (piece){.at = (unsigned char *)columns->data + row * columns->row_bytes +
                         begin_of(columns, rank) + col,
        .bytes = bytes < left ? bytes : left};
}

void px_columns_read(
    const px_comm_columns *columns, int rank, size_t at, size_t bytes, void *out_stream)
{
    unsigned char *to = out_stream;
    for (size_t end = at + bytes; at < end;) {
        piece p = piece_at(columns, rank, at, end - at);
        memcpy(to, p.at, p.bytes);
        at += p.bytes;
        to += p.bytes;
    }
}

void px_columns_write(
    const px_comm_columns *columns, int rank, size_t at, size_t bytes, const void *stream)
{
    const unsigned char *from = stream;
    for (size_t end = at + bytes; at < end;) {
        piece p = piece_at(columns, rank, at, end - at);
        memcpy(p.at, from, p.bytes);
        at += p.bytes;
        from += p.bytes;
    }
}
