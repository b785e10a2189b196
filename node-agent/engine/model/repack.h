/* repack.h - brings a list of weights from the file into the layouts of their kernels, once.
 *
 * All workers take pieces of a MiB from one list, so that none waits for another between weights,
 * and what a worker clears, reads and writes is still in its caches. File pages are given back some
 * MiB behind the work: weights are resident about once.
 */
#ifndef PX_MODEL_REPACK_H
#define PX_MODEL_REPACK_H

#include "engine/model/arch.h"
#include "engine/model/model.h"

typedef struct px_repack_item {
    px_weight_id id;
    px_weight_view from;  /* this rank's slice: at least one row */
    px_matrix *matrix;    /* to be described; or, of one column, */
    const float **vector; /* to be pointed at the values as float32 */
    bool by_row;          /* used a row at a time, in whatever type: left where it lies */
    px_order *order;      /* of the matrix' columns; NULL: as they lie */
    unsigned char *to;    /* 64-byte aligned; not read where px_repack_bytes() is 0 */
} px_repack_item;

typedef struct px_repack {
    const px_model_file *file;
    const px_model_options *options;
    const px_repack_item *items; /* [count] */
    size_t count;
    void *memory; /* fresh: what the items' `to` lie in */
    size_t memory_bytes;
} px_repack;

/* Bytes that the item takes in memory; 0: it is used where it lies in the file. */
size_t px_repack_bytes(const px_repack_item *item, const px_kernels *kernels);
/* Bytes of the file that it is. */
uint64_t px_repack_file_bytes(const px_repack_item *item);
px_status px_repack_all(const px_repack *op) PX_MUST_USE;

#endif
