/* kernels.h - pure arithmetic: one contract per op, one table of functions per backend.
 *
 * Scalar is the specification (plain loops, double accumulators, dequantised float32 weights).
 * Every other backend is tested against it. A table starts as a copy of the one below it (avx2 of
 * scalar, avx512 of avx2), so no entry is NULL.
 *
 * Calling: every worker of a team calls the same op with its own px_part; the op does that part of
 *          the output and nothing else. Between an op that writes and one that reads stands the
 *          caller's barrier. Kernels never create threads, never allocate, never fail: they assert.
 * Promise: a row of the output depends on that row of the input alone, never on how many rows
 *          stand beside it or how the work is cut into parts, bit for bit. An element of a product
 *          does not depend on which other rows of W are there: ranks may share them out.
 * Shapes:  [rows, cols] row-major, float32 unless said. `rows` are tokens of the step's batch.
 */
#ifndef PX_KERNELS_KERNELS_H
#define PX_KERNELS_KERNELS_H

#include "kernels/dtype.h"

typedef struct px_part {
    uint32_t index, count; /* CPU: which share of the work */
    void *stream;          /* device backends: where to enqueue; NULL on CPU */
} px_part;

/* --- weights ---------------------------------------------------------------------------------- */

/* The columns of a matrix where they are not those of x: column i multiplies x[from[i]]. So columns
 * that share a scale lie together. Only for types whose products take float32. */
typedef struct px_order {
    const uint32_t *from; /* [cols of the matrix] */
    uint32_t shelf;       /* the caller's: where it keeps x in this order */
} px_order;

/* A weight matrix W [rows, cols] in the layout its backend reads. */
typedef struct px_matrix {
    px_dtype dtype;
    uint32_t rows, cols;
    uint32_t layout;       /* private to the backend that packed it; 0: as in the file */
    size_t row_bytes;      /* layout 0: distance between rows */
    const void *data;      /* borrowed: the file map (layout 0) or the packed memory */
    const px_order *order; /* borrowed; NULL: columns are those of x. Not read by matmul: x is
                              prepared in this order */
} px_matrix;

/* A matrix may be packed in pieces that begin at multiples of so many rows: each as a matrix of its
 * own, from pack_bytes() of the rows before it on. Together they are the bytes of the whole. */
enum { PX_PACK_ROWS = 64 };

typedef struct px_pack {
    px_dtype dtype;
    uint32_t rows, cols;   /* of the slice; cols is a whole number of blocks */
    const void *from;      /* first element of the slice in the file; may be unaligned */
    size_t from_row_bytes; /* distance between rows in the file */
    void *to;              /* 64-byte aligned, pack_bytes() long */
    px_matrix *out;        /* described by part 0; data = `to` */
} px_pack;

/* --- activations ------------------------------------------------------------------------------ */

/* How a backend wants x for a matmul. Prepared once, shared by all matrices of the same kind. Rows
 * of float32 can be cut between any columns, of other kinds between blocks of PX_ACT_BLOCK: bytes
 * are in proportion to columns, and a part prepared by itself is the same bytes. */
enum { PX_ACT_BLOCK = 32 };
typedef enum px_act_kind { PX_ACT_F32, PX_ACT_BF16, PX_ACT_Q8, PX_ACT_KIND_COUNT } px_act_kind;

typedef struct px_act {
    px_act_kind kind;
    uint32_t rows, cols;
    size_t row_bytes; /* at least act_row_bytes(kind, cols) */
    void *data;       /* 64-byte aligned; for PX_ACT_F32 rows of cols floats */
} px_act;

typedef struct px_prepare { /* x -> act */
    const float *x;         /* [rows, cols] */
    size_t x_stride;        /* in floats */
    const px_act *to;       /* PX_ACT_F32 may have data == x (then nothing is done) */
    const uint32_t *from;   /* [to->cols]: column i is x[from[i]], of PX_ACT_F32; NULL: x[i] */
} px_prepare;

typedef struct px_matmul { /* y = x W^T (+ bias) (+ y) */
    const px_matrix *w;    /* [w.rows, w.cols] */
    const px_act *x;       /* [rows, w.cols], kind = act_kind(w->dtype) */
    const float *bias;     /* [w.rows] or NULL */
    float *y;              /* [x.rows, w.rows] */
    size_t y_stride;       /* in floats */
    bool accumulate;       /* add to y instead of setting it: what would have been set, rounded, so
                              that adding it later gives the same bits */
} px_matmul;

/* --- the rest of a layer ---------------------------------------------------------------------- */

typedef struct px_embed {   /* y[i] = scale * table[ids[i]] */
    const px_matrix *table; /* layout 0 */
    const uint32_t *ids;    /* [rows], each < table.rows */
    uint32_t rows;
    float scale;
    float *y; /* [rows, table.cols] */
} px_embed;

typedef struct px_rmsnorm { /* y = x / sqrt(mean(x^2) + eps) * (weight_offset + weight) */
    const float *x;         /* [rows, groups * cols]: each group of cols is normed by itself */
    const float *weight;    /* [cols] or NULL (all ones) */
    float *y;               /* may be x */
    size_t x_stride, y_stride;
    uint32_t rows, groups, cols; /* groups: heads for q/k norms, else 1 */
    float eps, weight_offset;
} px_rmsnorm;

typedef struct px_add { /* y += scale * x */
    const float *x;
    float *y;
    uint32_t rows, cols;
    size_t x_stride, y_stride;
    float scale;
} px_add;

typedef enum px_activation {
    PX_SILU,
    PX_GELU_TANH,
    PX_GELU_ERF,
    PX_RELU,
    PX_SWIGLU_OAI, /* as gpt-oss defines it: g / (1 + e^(-alpha g)) with clamped inputs, up + 1 */
} px_activation;
typedef struct px_glu {     /* y = activation(gate) * up */
    const float *gate, *up; /* [rows, cols] */
    float *y;
    uint32_t rows, cols;
    size_t gate_stride, up_stride, y_stride;
    px_activation activation;
    float limit, alpha; /* SWIGLU_OAI's */
} px_glu;

typedef struct px_rope {    /* rotate the first `dims` of every head in place */
    float *x;               /* [rows, heads, head_dim] */
    size_t x_stride;        /* floats between rows */
    const float *cos, *sin; /* [rows, dims / 2], any attention scaling folded in */
    uint32_t rows, heads, head_dim, dims;
    uint32_t offset;  /* first rotated element of a head */
    bool interleaved; /* pairs (2i, 2i+1); else (i, i + dims/2) */
} px_rope;

/* --- paged KV --------------------------------------------------------------------------------- */

enum { PX_KV_BLOCK_TOKENS = 16 };

/* Where K or V of a layer lies in the pool, for each KV head and block: its share. The blocks of a
 * slab follow each other. */
enum { PX_KV_SLAB_BLOCKS = 64 };
typedef struct px_kv_plane {
    unsigned char *base;
    size_t head_bytes, block_bytes; /* from one KV head, from one block to the next */
    size_t slab_skip;               /* on top of that, from one slab to the next */
} px_kv_plane;

static inline unsigned char *px_kv_share(const px_kv_plane *plane, uint32_t kv_head, uint32_t block)
{
    return plane->base + kv_head * plane->head_bytes + block * plane->block_bytes +
           block / PX_KV_SLAB_BLOCKS * plane->slab_skip;
}

/* One layer of the pool. A share is [PX_KV_BLOCK_TOKENS, dim] of `dtype`. The order inside it is
 * the backend's own: what kv_store wrote, the same table's attention reads. */
typedef struct px_kv_layer {
    px_kv_plane k;
    px_kv_plane v;  /* no base: the first v_dim dims of a token's K are its V (latent attention) */
    px_dtype dtype; /* F32, F16, BF16 or Q8_0 (dims in whole blocks of 32) */
    uint32_t kv_heads, k_dim, v_dim;
} px_kv_layer;

/* One row of the batch: which sequence, where in it. */
typedef struct px_kv_row {
    const uint32_t *blocks; /* the sequence's block ids; borrowed for the step */
    uint32_t position;      /* of this token; it sees positions 0..position (less the window) */
    uint32_t prompt;        /* tokens of its prompt, for rotations that depend on length and for
                               attention both ways */
} px_kv_row;

typedef struct px_kv_store {
    const px_kv_layer *kv;
    const px_kv_row *at; /* [rows] */
    const float *k,
        *v; /* [rows, kv_heads, k_dim], [rows, kv_heads, v_dim]; v not read without kv->v.base */
    size_t k_stride, v_stride;
    uint32_t rows;
} px_kv_store;

typedef struct px_attention { /* softmax(q k^T * scale) v over the paged KV */
    const px_kv_layer *kv;
    const px_kv_row *at; /* [rows] */
    const float *q;      /* [rows, heads, k_dim] */
    float *out;          /* [rows, heads, v_dim] */
    size_t q_stride, out_stride;
    uint32_t rows, heads; /* head h reads KV head (head_offset + h) / group */
    uint32_t group;       /* query heads that read one KV head */
    uint32_t head_offset; /* place of head 0 in its group: a rank may hold a part of a group */
    float scale;
    float softcap;      /* 0: none; else softcap * tanh(s / softcap) before the mask */
    uint32_t window;    /* 0: none; else sees the last `window` positions, itself included */
    bool both_ways;     /* sees what comes after it too: the prompt's positions, less the window */
    const float *sinks; /* [heads] or NULL: a logit that takes part in the softmax alone */
    float *scratch;     /* attention_scratch_floats(op) floats for each part, one after the other */
    uint32_t position_max; /* largest position of any row; sizes scratch */
} px_attention;
/* The positions that a row sees. */
typedef struct px_seen {
    uint32_t first, last;
} px_seen;
static inline px_seen px_attention_seen(const px_attention *op, uint32_t row)
{
    uint32_t position = op->at[row].position, last = position;
    if (op->both_ways && op->at[row].prompt > position) {
        last = op->at[row].prompt - 1;
        if (op->window && last - position >= op->window) last = position + op->window - 1;
    }
    bool is_cut = op->window && position >= op->window;
    return (px_seen){.first = is_cut ? position - op->window + 1 : 0, .last = last};
}

typedef struct px_kernels {
    const char *name; /* as px_kernels_find knows it */

    px_act_kind (*act_kind)(px_dtype weights);
    size_t (*act_row_bytes)(px_act_kind kind, uint32_t cols);
    /* Bytes of the packed form; 0: used as it lies in the file (pack only fills *out). */
    size_t (*pack_bytes)(px_dtype dtype, uint32_t rows, uint32_t cols);
    void (*pack)(const px_pack *op, px_part part);

    void (*prepare)(const px_prepare *op, px_part part);
    void (*matmul)(const px_matmul *op, px_part part);
    void (*embed)(const px_embed *op, px_part part);
    void (*rmsnorm)(const px_rmsnorm *op, px_part part);
    void (*add)(const px_add *op, px_part part);
    void (*glu)(const px_glu *op, px_part part);
    void (*rope)(const px_rope *op, px_part part);
    void (*kv_store)(const px_kv_store *op, px_part part);
    size_t (*attention_scratch_floats)(const px_attention *op); /* for one part */
    /* True, for all parts alike, if some heads' positions were shared out between parts: their
     * output is there only when attention_merge has run after a barrier, in the same parts. */
    bool (*attention)(const px_attention *op, px_part part);
    void (*attention_merge)(const px_attention *op, px_part part);
} px_kernels;

const px_kernels *px_kernels_scalar(void);
const px_kernels *px_kernels_avx2(void); /* NULL: not built, or the CPU lacks AVX2, FMA or F16C */
const px_kernels *px_kernels_avx512(
    void); /* NULL: not built, or the CPU lacks F, BW, VL, DQ, VNNI */

/* As avx512, but BF16 weights take activations rounded to bfloat16, as most stacks do: twice as
 * fast where arithmetic binds, and off by half a step of 2^-8 in every activation. Never chosen by
 * itself. NULL: the CPU lacks AVX512_BF16 too. */
const px_kernels *px_kernels_avx512_bf16(void);

/* "scalar", "avx2", "avx512", "avx512_bf16"; NULL or "auto": the best this CPU runs that keeps
 * float32 activations for float weights. NULL if it cannot be had. */
const px_kernels *px_kernels_find(const char *name);

/* [begin, end) of `total` units (in multiples of `grain`) for this part. */
static inline void px_part_range(
    px_part part, uint32_t total, uint32_t grain, uint32_t *begin, uint32_t *end)
{
    uint32_t tiles = (total + grain - 1) / grain;
    uint32_t b = (uint32_t)((uint64_t)tiles * part.index / part.count) * grain;
    uint32_t e = (uint32_t)((uint64_t)tiles * (part.index + 1) / part.count) * grain;
    *begin = b < total ? b : total;
    *end = e < total ? e : total;
}

#endif
