/* coded.h - weights that lie in several tensors: codes of a few bits, their scales, their zeros.
 *
 *   value(row, col) = scale(row, group) * (code(row, col) - zero(row, group))
 *
 * How it is written; codes of a matrix [out, in]:
 * - F8, I8 ("fp8", fbgemm, compressed-tensors): NAME [out, in]; NAME_scale_inv or NAME_scale (1).
 * - GPTQ, 2, 3, 4 and 8 bits: STEM.qweight I32 [in * bits / 32, out]; STEM.scales [groups, out];
 *   STEM.qzeros (2); g_idx (2).
 * - AWQ "gemm", 4 bits: STEM.qweight I32 [in, out / 8]; STEM.scales [groups, out]; STEM.qzeros (3).
 * - compressed-tensors' pack: STEM.weight_packed I32 [out, in / n]; STEM.weight_scale
 *   [out, groups]; STEM.weight_zero_point; STEM.weight_g_idx (2).
 *
 * (1) One number; one for each row [out, 1]; or one for each block, [out / 128, in / 128] rounded
 *     up, blocks as config.json's weight_block_size says, or even ones. All are factors, whatever
 *     their names; bytes are powers of two.
 * (2) [groups, out * bits / 32], one less than what they mean but in "gptq_v2"; g_idx [in] names
 *     the group of each column where groups are no runs of columns.
 * (3) [groups, out / 8]; the eight outputs of a word are in the order 0 2 4 6 1 3 5 7.
 *
 * The scaled formats of dtype.h have a scale for each 32 columns. Groups that are no runs of whole
 * such blocks fit them in another order of the columns: each group's together, ascending, the last
 * of them again until a block is full, where it weighs nothing.
 *
 *   groups   0 1 0 0 1 0        columns in order   0 2 3 5 | 1 4 4 4       (blocks of four)
 *
 * Source: the formats as transformers, gptqmodel, autoawq and compressed-tensors write them.
 * Threads: values; immutable once made.
 */
#ifndef PX_MODEL_CODED_H
#define PX_MODEL_CODED_H

#include <string.h>

#include "engine/model/model_file.h"

typedef enum px_coding {
    PX_CODING_NONE,
    PX_CODING_BYTES, /* F8 and I8 */
    PX_CODING_GPTQ,
    PX_CODING_AWQ,
    PX_CODING_PACKED,
} px_coding;

/* What config.json's quantization_config says. */
typedef struct px_coded_settings {
    char method[24];                 /* "gptq"; empty: none */
    bool zeros_as_written;           /* GPTQ: not one less than what they mean */
    uint32_t block_rows, block_cols; /* of F8; 0: not said */
} px_coded_settings;

/* UNIMPLEMENTED names a way of quantising that is not known. `config` may be NULL. */
px_status px_coded_settings_read(const json_t *config, px_coded_settings *out) PX_MUST_USE;

/* The rows of one weight in tensors that may hold more: row i is first_row + i * row_step of
 * `total_rows`, of slab `expert` of `experts` (0: no stack). */
typedef struct px_coded_place {
    uint32_t rows, cols;
    uint32_t first_row, row_step, total_rows;
    uint32_t expert, experts;
} px_coded_place;

typedef struct px_coded {
    px_coding coding; /* NONE: not coded, the rest is empty */
    px_dtype code;    /* of BYTES */
    uint32_t bits;    /* of the others */
    const unsigned char *codes, *scales;
    const unsigned char *zeros;    /* NULL: all are zero_of_all */
    const unsigned char *group_of; /* i32 for each column; NULL: groups are runs of columns */
    uint32_t cols, groups;
    px_dtype scale;                  /* type of the scales */
    uint32_t block_rows, block_cols; /* that share a scale */
    size_t scale_row_step, scale_col_step;
    uint32_t code_words, zero_words; /* in a row of these tensors */
    uint32_t zero_of_all, zero_carry;
    uint32_t first_row, row_step, first_col; /* where the view begins */

    uint32_t ordered_cols;  /* 0: nothing is won by another order; else columns of that */
    px_dtype ordered_dtype; /* of blocks of them */
    const uint32_t *order;  /* [ordered_cols] once it is there; NULL: as columns lie */
} px_coded;

/* The tensor with the values or the codes of the weight `name`; NULL: neither is there. */
const px_tensor *px_coded_tensor(const px_model_file *file, const char *name);

/* Finds and checks what belongs to `tensor`. A tensor that holds plain values gives coding NONE.
 * *out_dtype is the type its rows are put together in: a scaled format of dtype.h, or F32 where
 * groups are not whole blocks of that, unless the columns get another order. */
px_status px_coded_find(const px_model_file *file, const px_coded_settings *settings,
    const px_tensor *tensor, const px_coded_place *place, px_coded *out,
    px_dtype *out_dtype) PX_MUST_USE;

static inline uint32_t px_coded_group_of(const px_coded *coded, uint32_t col)
{
    uint32_t group = col / coded->block_cols;
    if (coded->group_of) memcpy(&group, coded->group_of + (size_t)col * sizeof group, sizeof group);
    return group;
}

/* That order: ordered_cols columns. */
void px_coded_order(const px_coded *coded, uint32_t *out);
/* Do both have the same? Of weights that have one. */
bool px_coded_same_order(const px_coded *a, const px_coded *b);

typedef struct px_coded_part { /* of the view: rows, and columns from its first on */
    uint32_t first_row, rows, cols;
} px_coded_part;
/* These rows as `dtype` has them, one after the other; columns in coded->order, if there is one. */
void px_coded_assemble(
    const px_coded *coded, px_dtype dtype, px_coded_part part, unsigned char *to);

/* Of a view that is turned, the tensor's columns being its rows: the type that holds blocks of 32
 * of the tensor's rows exactly, of which the view has `rows`; F32 if none does. */
px_dtype px_coded_turned_type(const px_coded *coded, uint32_t rows);
/* Rows and columns of the turned view, as that type (not F32). */
void px_coded_assemble_turned(
    const px_coded *coded, px_dtype dtype, px_coded_part part, unsigned char *to);

#endif
