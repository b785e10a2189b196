/* convert.h - any model that we read, as one GGUF file of the types asked for.
 *
 *   open (what tensors there will be) → put_keys → write → check
 *
 * between px_gguf_writer_create and px_gguf_writer_finish; keys of the text side are put by who
 * knows that side (engine/text). Tensors have the names, shapes and row order that llama.cpp
 * expects of their architecture. A GGUF is converted tensor by tensor, whatever its architecture.
 *
 * Types: a matrix gets the type asked for. Vectors, routers and rotation tables stay F32. The
 * embedding and the output matrix get Q6_K where fewer bits were asked for. A row that is not whole
 * blocks makes its tensor fall back (K formats to 32-element types, those to F16); a report says
 * so. Blocks whose type stays are copied bit for bit; `keep` does that to all, and makes types
 * that GGUF lacks (F8, GPTQ, AWQ) F16.
 *
 * Threads: one thread; write and check use the team.
 */
#ifndef PX_MODEL_CONVERT_H
#define PX_MODEL_CONVERT_H

#include <stdatomic.h>

#include "engine/model/gguf_write.h"
#include "engine/model/model.h"

typedef struct px_convert_options {
    bool keep;            /* every tensor's own type; else: */
    px_dtype dtype;       /* of matrices */
    px_dtype table_dtype; /* of embedding and output; PX_DTYPE_COUNT: chosen as above */
    px_team *team;        /* borrowed */
    px_progress_fn on_progress;
    void *progress_arg;
    const atomic_bool *cancel; /* set from anywhere: work ends with CANCELLED; NULL: never */
} px_convert_options;

typedef struct px_convert_type { /* what was written of one type */
    uint32_t tensors, copied;    /* copied: bit for bit */
    uint64_t bytes, elements;
    double largest_error;        /* of a weight, against its source; after check */
    double error_sum, value_sum; /* of squares */
} px_convert_type;

typedef struct px_convert_fallback { /* tensors whose rows are no whole blocks of `from` */
    px_dtype from, to;
    uint32_t tensors, cols; /* cols and name of the first */
    const char *name;
} px_convert_fallback;

enum { PX_CONVERT_FALLBACKS_MAX = 8 };
typedef struct px_convert_report {
    px_convert_type types[PX_DTYPE_COUNT];
    px_convert_fallback fallbacks[PX_CONVERT_FALLBACKS_MAX];
    uint32_t fallback_count;
    bool requantised; /* some weights were rounded in the source already */
} px_convert_report;

typedef struct px_convert px_convert;

/* Declares every tensor to the writer. Borrows file and writer. */
px_status px_convert_open(const px_model_file *file, const px_convert_options *options,
    px_gguf_writer *writer, px_convert **out) PX_MUST_USE;
void px_convert_free(px_convert *convert); /* NULL is fine */
/* general.* and the architecture's keys; of a GGUF all its keys but those about its splitting. */
px_status px_convert_put_keys(const px_convert *convert) PX_MUST_USE;
/* After px_gguf_writer_begin. A source value that is not finite fails by the tensor's name. */
px_status px_convert_write(px_convert *convert) PX_MUST_USE;
/* After px_gguf_writer_sync: reads the file back. Each byte must be what was written (DATA_LOSS),
 * each value finite; errors against the source go to the report. */
px_status px_convert_check(px_convert *convert) PX_MUST_USE;
const px_convert_report *px_convert_reported(const px_convert *convert);

#endif
