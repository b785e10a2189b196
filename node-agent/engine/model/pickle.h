/* pickle.h - reads Python pickles that describe tensors, and runs nothing.
 *
 * A pickle is a program for a small stack machine that may call anything Python can import. This
 * machine knows the calls that rebuild tensors, and plain containers and numbers; it refuses every
 * other name when it meets it, by name. Nothing is ever imported or called.
 *
 * Source:  the opcodes of Python's pickletools, protocols 0 to 5; torch.serialization for what a
 *          state dict is made of.
 * Owns:    values live in the arena the caller gives; texts are borrowed from the pickle.
 * Bounds:  a value is made by bytes of the pickle, so memory grows with the pickle's length alone.
 */
#ifndef PX_MODEL_PICKLE_H
#define PX_MODEL_PICKLE_H

#include "base/memory.h"
#include "engine/model/tensor.h"

typedef enum px_pickle_kind {
    PX_PICKLE_NONE, /* None, and objects that say nothing about weights (a device) */
    PX_PICKLE_BOOL,
    PX_PICKLE_INT,
    PX_PICKLE_FLOAT,
    PX_PICKLE_TEXT, /* str and bytes */
    PX_PICKLE_TUPLE,
    PX_PICKLE_LIST, /* and set */
    PX_PICKLE_DICT, /* items: key, value, key, value, ... */
    PX_PICKLE_NAME, /* one of the known names of Python, not called yet */
    PX_PICKLE_STORAGE,
    PX_PICKLE_TENSOR,
} px_pickle_kind;

typedef struct px_pickle_value px_pickle_value;

typedef struct px_pickle_storage {
    px_slice key;   /* the archive's entry data/KEY */
    px_dtype dtype; /* of its elements; U8 where it does not say */
    uint64_t elements;
} px_pickle_storage;

typedef struct px_pickle_tensor {
    px_pickle_storage storage;
    px_dtype dtype;
    uint64_t offset;                                                /* elements before the first */
    uint32_t dims;                                                  /* 0: a number */
    uint64_t shape[PX_TENSOR_DIMS_MAX], stride[PX_TENSOR_DIMS_MAX]; /* in elements */
} px_pickle_tensor;

struct px_pickle_value {
    px_pickle_kind kind;
    union {
        bool truth;
        int64_t number;
        double real;
        px_slice text;
        struct {
            px_pickle_value **items;
            uint32_t count, capacity;
        };
        uint32_t name; /* private */
        px_pickle_storage storage;
        px_pickle_tensor *tensor;
    };
};

/* The object that `pickle` describes; it and all in it live in `arena`. */
px_status px_pickle_read(px_slice pickle, px_arena *arena, px_pickle_value **out) PX_MUST_USE;

#endif
