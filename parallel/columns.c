/* columns.c - columns of a matrix as a stream of bytes; see columns.h. */
#include "parallel/columns.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef __SSE2__

enum { VECTOR_BYTES = sizeof(__m128i), STREAM_BYTES_MIN = 8192 };

/* Past the cache, as far as `to` is aligned. */
static void stream(unsigned char *to, const unsigned char *from, size_t bytes)
{
    size_t done = 0;
    if ((uintptr_t)to % VECTOR_BYTES == 0)
        for (; done + VECTOR_BYTES <= bytes; done += VECTOR_BYTES)
            _mm_stream_si128((__m128i *)(void *)(to + done),
                _mm_loadu_si128((const __m128i *)(const void *)(from + done)));
    memcpy(to + done, from + done, bytes - done);
}

static void stream_end(void)
{
    _mm_sfence(); /* such stores are not ordered before a post otherwise */
}

#else

enum { STREAM_BYTES_MIN = INT32_MAX };
static void stream(unsigned char *to, const unsigned char *from, size_t bytes)
{
    memcpy(to, from, bytes);
}
static void stream_end(void) {}

#endif

void px_copy_for_others(void *restrict to, const void *restrict from, size_t bytes)
{
    if (bytes < STREAM_BYTES_MIN) {
        memcpy(to, from, bytes);
    } else {
        stream(to, from, bytes);
        stream_end();
    }
}

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
    bool is_long = bytes >= STREAM_BYTES_MIN;
    for (size_t end = at + bytes; at < end;) {
        piece p = piece_at(columns, rank, at, end - at);
        if (is_long)
            stream(to, p.at, p.bytes);
        else
            memcpy(to, p.at, p.bytes);
        at += p.bytes;
        to += p.bytes;
    }
    if (is_long) stream_end();
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
