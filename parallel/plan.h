/* plan.h - how a model's shape is cut over ranks: pure functions, no memory, no I/O.
 *
 * World = pp stages x tp ranks; rank r is in stage r / tp at place r % tp.
 * Attention is cut by query heads, the MLP in blocks of activations, the vocabulary and
 * the matrices that add to the residual stream in blocks of rows. A KV group (a KV head with the
 * query heads that read it) stays whole, unless to cut it makes the slowest place faster: then both
 * places hold its KV head, each makes it anew, and their KV ranges overlap in it. A place may get
 * none of one of them, where there are too few to help. Each follows the ranks' weights as evenly
 * as it can, for itself: plan.c says why. Layers are cut over the stages by their work, the output
 * matrix counted with the last stage, so that the slowest stage is as fast as it can be.
 */
#ifndef PX_PARALLEL_PLAN_H
#define PX_PARALLEL_PLAN_H

#include <stdint.h>

#include "base/status.h"

enum { PX_PLAN_TP_MAX = 64, PX_PLAN_PP_MAX = 64, PX_PLAN_LAYERS_MAX = 4096 };

typedef struct px_range { /* [begin, begin + count) */
    uint32_t begin, count;
} px_range;

/* What lies in both; `begin` counts only where something does. */
static inline px_range px_range_intersect(px_range a, px_range b)
{
    uint32_t begin = a.begin > b.begin ? a.begin : b.begin;
    uint32_t a_end = a.begin + a.count, b_end = b.begin + b.count;
    uint32_t end = a_end < b_end ? a_end : b_end;
    return (px_range){.begin = begin, .count = end > begin ? end - begin : 0};
}

typedef struct px_plan_shape { /* what the cut depends on; filled from a model's description */
    uint32_t layers;
    uint32_t hidden, heads, kv_heads, head_dim_k, head_dim_v;
    uint32_t ffn;        /* width of the MLP (dense layers) */
    uint32_t ffn_block;  /* elements come in blocks of this many: those of prepared activations */
    uint32_t attn_block; /* the same for what attention gives (heads * head_dim_v); 0: 1 */
    uint32_t vocabulary;
    uint32_t experts, experts_used, ffn_expert, ffn_shared; /* 0: none */
    uint32_t dense_layers_first; /* of a mixture: how many first layers are dense */
} px_plan_shape;

typedef struct px_plan_place { /* one tensor-parallel place */
    px_range hidden;           /* rows of the matrices that add to the residual stream */
    px_range heads;            /* query heads */
    px_range kv_heads;         /* those that `heads` read; neighbours may share one */
    px_range ffn;              /* rows of gate and up */
    px_range ffn_expert, ffn_shared;
    px_range vocabulary;
} px_plan_place;

typedef struct px_plan {
    uint32_t tp, pp;
    px_plan_place places[PX_PLAN_TP_MAX];
    px_range stages[PX_PLAN_PP_MAX]; /* layers of each stage; none is empty */
} px_plan;

/* Every range list covers its whole in order, each element once; but a KV head whose query heads
 * are cut is with each place that has some of them.
 * `weights`: relative speed of each place [tp], or NULL for all equal.
 * INVALID_ARGUMENT with a sentence when it cannot be cut (more stages than layers, tp out of
 * range). */
px_status px_plan_make(const px_plan_shape *shape, uint32_t tp, uint32_t pp, const double *weights,
    px_plan *out) PX_MUST_USE;

static inline uint32_t px_plan_stage(const px_plan *plan, int rank)
{
    return (uint32_t)rank / plan->tp;
}
static inline uint32_t px_plan_place_of(const px_plan *plan, int rank)
{
    return (uint32_t)rank % plan->tp;
}

#endif
