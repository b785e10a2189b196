/* columns.h - some columns of a matrix as a stream of bytes, row after row, as ranks exchange them.
 */
#ifndef PX_PARALLEL_COLUMNS_H
#define PX_PARALLEL_COLUMNS_H

#include "parallel/comm.h"

/* Copies for another core to read: a long piece past this one's cache, so that neither side waits
 * for lines to change hands (two members add up 1 MiB in two thirds of the time). `to` is best
 * aligned to 16 bytes. */
void px_copy_for_others(void *restrict to, const void *restrict from, size_t bytes);

/* Bytes that a rank contributes to an all-gather. */
size_t px_columns_bytes(const px_comm_columns *columns, int rank);
/* The most that one of the ranks contributes. */
size_t px_columns_longest(const px_comm_columns *columns, int ranks);
/* Bytes [at, at + bytes) of a rank's stream, out of the matrix and into it. */
void px_columns_read(
    const px_comm_columns *columns, int rank, size_t at, size_t bytes, void *out_stream);
void px_columns_write(
    const px_comm_columns *columns, int rank, size_t at, size_t bytes, const void *stream);

#endif
