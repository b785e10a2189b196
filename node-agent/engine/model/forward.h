/* forward.h - one step of the model over a batch of rows: ids in, logits or hidden states out.
 *
 * Rows of any mix of sequences and positions; each row carries its own block table, so prompts
 * (many rows of one sequence, ascending positions) and decodes (one row each) share a step. A
 * row may attend to rows of the same step (its K and V are stored first).
 * Ranks:   every rank of the world calls step with the same batch; logits arrive on rank 0.
 * Owns:    step scratch, sized once at create for the limits. step allocates nothing.
 * Threads: the engine thread; runs the team inside.
 */
#ifndef PX_MODEL_FORWARD_H
#define PX_MODEL_FORWARD_H

#include "engine/model/model.h"
#include "parallel/comm.h"

typedef struct px_forward px_forward;

/* Rows that an adapter is for. */
typedef struct px_adapter_span {
    const struct px_adapter *adapter; /* borrowed for the step */
    px_range rows;                    /* of the batch */
    px_range logits;                  /* of logit_at: those among them that want logits */
} px_adapter_span;

typedef struct px_batch {
    uint32_t rows;
    const uint32_t *ids;      /* [rows], each < vocabulary */
    const px_kv_row *at;      /* [rows] */
    uint32_t logit_rows;      /* how many rows want logits */
    const uint32_t *logit_at; /* [logit_rows] row indices, ascending */
    /* Rows that want their hidden state after the final norm (embeddings are made of these). They
     * cost a norm each: the output matrix is not read for them, nor at all where logit_rows is 0. A
     * row may want both. Every rank gets the same hidden_rows and hidden_at. */
    uint32_t hidden_rows;
    const uint32_t *hidden_at;    /* [hidden_rows] row indices, ascending */
    float *out_hidden;            /* [hidden_rows, hidden] on rank 0, NULL on the others */
    const px_adapter_span *spans; /* [span_count] ascending; other rows have no adapter */
    uint32_t span_count;          /* 0 unless limits.adapters */
} px_batch;

typedef struct px_forward_limits {
    uint32_t rows_max, logit_rows_max, position_max;
    bool adapters; /* rows may have some: needs more scratch */
} px_forward_limits;

/* `world` has plan.tp * plan.pp ranks and is borrowed, as are model, team and kv layers:
 * kv_layers[i] is the pool of this rank's i-th layer (see px_forward_kv_shape). */
px_status px_forward_create(const px_model *model, const px_kernels *kernels, px_comm *world,
    px_team *team, const px_kv_layer *kv_layers, const px_forward_limits *limits,
    px_forward **out) PX_MUST_USE;
void px_forward_free(px_forward *forward);

/* What create allocates for a step's scratch; `model` may be an outline. */
typedef struct px_forward_sizing {
    const px_model *model;
    const px_kernels *kernels;
    px_dtype kv_type;
    uint32_t threads; /* of the team */
    px_forward_limits limits;
} px_forward_sizing;
uint64_t px_forward_scratch_bytes(const px_forward_sizing *of);

/* What this rank caches: its layers, its KV heads (may be 0), dims. */
typedef struct px_kv_shape {
    uint32_t layers, kv_heads, k_dim, v_dim;
    bool v_in_k; /* V is the first v_dim of K: nothing is stored for it */
} px_kv_shape;
px_kv_shape px_forward_kv_shape(const px_model *model);
/* The same of any rank, before its weights are there. */
px_kv_shape px_forward_kv_shape_of(const px_model_info *info, const px_plan *plan, int rank);

/* out_logits [logit_rows, vocabulary] on rank 0, NULL on the others; may be NULL without
 * logit_rows. Fails only when a peer does. */
px_status px_forward_step(
    px_forward *forward, const px_batch *batch, float *out_logits) PX_MUST_USE;

#endif
