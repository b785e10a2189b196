/* convert_impl.h - a conversion from the inside: the plan (convert_plan.c), its keys
 * (convert_keys.c), and the work (convert.c).
 */
#ifndef PX_MODEL_CONVERT_IMPL_H
#define PX_MODEL_CONVERT_IMPL_H

#include "engine/model/arch.h"
#include "engine/model/convert.h"
#include "engine/model/pooling.h"

/* Rows of a source that become rows of a tensor to be written. */
typedef struct px_piece {
    px_weight_view from;
    uint64_t row_begin, row_step; /* where they go: row_begin + i * row_step */
    uint32_t pair_rows;           /* 0, or rows of a head, whose halves become neighbours */
    float offset;                 /* added to every value */
} px_piece;

/* What a tensor is to the choice of its type. */
typedef enum px_tensor_kind {
    PX_KIND_MATRIX,
    PX_KIND_TABLE, /* embedding, output matrix */
    PX_KIND_SMALL, /* stays F32 */
    PX_KIND_KEPT,  /* of a GGUF: rotation tables and what is no weight */
} px_tensor_kind;

typedef struct px_planned {
    px_tensor like; /* what is written; data NULL */
    uint64_t rows;  /* of all pieces */
    uint32_t cols;
    px_tensor_kind kind;
    px_piece *pieces;
    uint32_t piece_count, piece_capacity;
    bool copied; /* the source's bytes as they are */
} px_planned;

struct px_convert {
    px_convert_options options;
    px_convert_report report;
    const px_model_file *file;
    px_gguf_writer *writer;
    px_arch arch; /* of all but GGUF files, and: */
    px_pooling *pooling;
    px_arena memory; /* names and tables */
    px_planned *tensors;
    uint32_t tensor_count, tensor_capacity;
    uint64_t *hashes; /* of each chunk written */
    uint64_t chunk_count;
};

px_status px_convert_plan(px_convert *convert) PX_MUST_USE;

#endif
