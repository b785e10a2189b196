/* latent.c - queries, keys and values of multi-head latent attention.
 *
 *   q  = (norm(h Wq_down)) Wq_up          or h Wq
 *   c | r = h Wkv_down                    c: latent [kv_rank], r: rotated part, shared by all heads
 *   n | v = norm(c) Wkv_up                of each head: unrotated part of its key, its value
 *   k  = n | r                            rotated with q afterwards
 *
 * Keys and values are cached expanded, so that attention is the same as everywhere. All workers
 * share one desk here: the latents are prepared once, row by row.
 */
#include <string.h>

#include "engine/model/lane.h"

/* y = norm(x) of this worker's rows, then prepared for w. */
typedef struct latent_norm {
    const float *weight, *x;
    size_t x_stride;
    float *y;
    uint32_t cols;
    const px_matrix *w;
} latent_norm;

static void norm_and_prepare(const px_lane *lane, latent_norm n)
{
    size_t first = lane->mine.begin;
    if (!lane->mine.count) return;
    px_rmsnorm op = {.x = n.x + first * n.x_stride,
        .weight = n.weight,
        .y = n.y + first * n.cols,
        .x_stride = n.x_stride,
        .y_stride = n.cols,
        .rows = lane->mine.count,
        .groups = 1,
        .cols = n.cols,
        .eps = lane->f->model->arch.latent.norm_eps};
    lane->f->kernels->rmsnorm(&op, (px_part){.index = 0, .count = 1});
    px_lane_prepare(lane,
        (px_input){
            .x = n.y, .cols = n.cols, .range = lane->mine, .kinds = px_lane_kinds(lane, n.w)});
}

/* The first products, all of the normed hidden rows. */
static void project_down(const px_lane *lane, const px_weights *w)
{
    px_forward *f = lane->f;
    static const px_role readers[] = {PX_ROLE_Q, PX_ROLE_Q_DOWN, PX_ROLE_KV_DOWN};
    static const px_role biases[] = {PX_ROLE_Q_BIAS, PX_ROLE_Q_DOWN_BIAS, PX_ROLE_KV_DOWN_BIAS};
    float *outputs[] = {f->q, f->q_latent, f->kv_latent};
    unsigned kinds = 0;
    for (int i = 0; i < 3; i++) kinds |= px_lane_kinds(lane, &w->matrix[readers[i]]);
    px_lane_norm(lane, (px_norm){.weight = w->vector[PX_ROLE_ATTN_NORM],
                           .x = f->x,
                           .y = lane->desk->normed,
                           .range = lane->mine});
    px_lane_prepare(lane, (px_input){.x = lane->desk->normed,
                              .cols = f->model->arch.hidden,
                              .range = lane->mine,
                              .kinds = kinds});
    px_lane_barrier(lane);
    for (int i = 0; i < 3; i++)
        px_lane_project(lane, (px_product){.w = &w->matrix[readers[i]],
                                  .x = lane->desk->normed,
                                  .bias = w->vector[biases[i]],
                                  .y = outputs[i],
                                  .rows = lane->rows});
    px_lane_barrier(lane);
}

/* k and v of this worker's rows, head by head. */
static void spread_rows(const px_lane *lane)
{
    const px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    size_t heads = px_model_place(f->model)->heads.count, rotated = arch->ropes[0].dims,
           plain = arch->head_k - rotated, up = plain + arch->head_v, rank = arch->latent.kv_rank;
    for (size_t i = lane->mine.begin; i < lane->mine.begin + (size_t)lane->mine.count; i++) {
        const float *shared = f->kv_latent + i * (rank + rotated) + rank;
        for (size_t h = 0; h < heads; h++) {
            const float *from = f->kv_up + (i * heads + h) * up;
            float *k = f->k + (i * heads + h) * arch->head_k;
            memcpy(k, from, plain * sizeof *k);
            memcpy(k + plain, shared, rotated * sizeof *k);
            memcpy(f->v + (i * heads + h) * arch->head_v, from + plain, arch->head_v * sizeof *k);
        }
    }
}

void px_layer_latent_qkv(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    const px_weights *w = &f->model->layers[layer];
    const px_matrix *q_up = &w->matrix[PX_ROLE_Q_UP], *kv_up = &w->matrix[PX_ROLE_KV_UP];
    px_lane together = *lane;
    together.alone = false;
    together.desk = &f->shared;

    project_down(&together, w);
    if (q_up->rows) {
        norm_and_prepare(&together, (latent_norm){.weight = w->vector[PX_ROLE_Q_DOWN_NORM],
                                        .x = f->q_latent,
                                        .x_stride = arch->latent.q_rank,
                                        .y = f->q_latent,
                                        .cols = arch->latent.q_rank,
                                        .w = q_up});
        px_lane_barrier(lane);
        px_lane_project(
            &together, (px_product){.w = q_up, .x = f->q_latent, .y = f->q, .rows = lane->rows});
        px_lane_barrier(lane);
    }
    norm_and_prepare(&together, (latent_norm){.weight = w->vector[PX_ROLE_KV_DOWN_NORM],
                                    .x = f->kv_latent,
                                    .x_stride = px_axis_size(arch, PX_AXIS_LATENT_DOWN),
                                    .y = f->kv_normed,
                                    .cols = arch->latent.kv_rank,
                                    .w = kv_up});
    px_lane_barrier(lane);
    px_lane_project(
        &together, (px_product){.w = kv_up, .x = f->kv_normed, .y = f->kv_up, .rows = lane->rows});
    px_lane_barrier(lane);
    spread_rows(lane);
    px_lane_barrier(lane);
}
