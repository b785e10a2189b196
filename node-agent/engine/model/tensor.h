/* tensor.h - a named array as it lies in a model file.
 *
 * Everything is borrowed from the file that handed it out.
 */
#ifndef PX_MODEL_TENSOR_H
#define PX_MODEL_TENSOR_H

#include "kernels/dtype.h"

enum { PX_TENSOR_DIMS_MAX = 4 };

typedef struct px_tensor { /* shape outermost first: a matrix is [rows, cols] */
    const char *name;
    px_dtype dtype;
    uint32_t dims;
    uint64_t shape[PX_TENSOR_DIMS_MAX];
    const void *data;
    uint64_t bytes;
} px_tensor;

#endif
