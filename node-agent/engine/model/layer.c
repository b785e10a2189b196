/* layer.c - the two halves of a transformer layer. */
#include "engine/model/lane.h"

static const px_part whole = {.index = 0, .count = 1};

static const px_arch_layer *layer_of(const px_lane *lane, uint32_t layer)
{
    const px_model *model = lane->f->model;
    return &model->arch.layers[model->plan.stages[px_model_stage(model)].begin + layer];
}

/* --- attention --- */

typedef struct heads { /* q or k of the step */
    float *x;          /* [rows, count, head_k] */
    uint32_t count;
    const float *norm; /* [head_k] or NULL */
} heads;

/* Each head of this worker's rows: normed where the model does, then rotated by its position. */
static void norm_and_rotate(const px_lane *lane, uint32_t rope_index, heads h)
{
    const px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    const px_rope_freqs *rope = &arch->ropes[rope_index];
    size_t stride = (size_t)h.count * arch->head_k, first = lane->mine.begin;
    if (h.norm) {
        px_rmsnorm op = {.x = h.x + first * stride,
            .weight = h.norm,
            .y = h.x + first * stride,
            .x_stride = stride,
            .y_stride = stride,
            .rows = lane->mine.count,
            .groups = h.count,
            .cols = arch->head_k,
            .eps = arch->norm_eps,
            .weight_offset = arch->norm_offset};
        f->kernels->rmsnorm(&op, whole);
    }
    if (!rope->dims) return;
    px_rope op = {.x = h.x + first * stride,
        .x_stride = stride,
        .cos = f->cosine[rope_index] + first * (rope->dims / 2),
        .sin = f->sine[rope_index] + first * (rope->dims / 2),
        .rows = lane->mine.count,
        .heads = h.count,
        .head_dim = arch->head_k,
        .dims = rope->dims,
        .offset = arch->rope_offset,
        .interleaved = arch->rope_interleaved};
    f->kernels->rope(&op, whole);
}

/* q and k of this worker's rows get their positions, then k and v go to the cache. */
static void place_rows(const px_lane *lane, uint32_t layer)
{
    const px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    const px_kv_layer *kv = &f->kv[layer];
    uint32_t rope = layer_of(lane, layer)->rope;
    if (!lane->mine.count) return;
    norm_and_rotate(lane, rope,
        (heads){f->q, px_model_place(f->model)->heads.count, w->vector[PX_ROLE_Q_NORM]});
    norm_and_rotate(lane, rope, (heads){f->k, kv->kv_heads, w->vector[PX_ROLE_K_NORM]});
    size_t k_stride = (size_t)kv->kv_heads * kv->k_dim, v_stride = (size_t)kv->kv_heads * kv->v_dim;
    px_kv_store op = {.kv = kv,
        .at = lane->at + lane->mine.begin,
        .k = f->k + lane->mine.begin * k_stride,
        .v = f->v + lane->mine.begin * v_stride,
        .k_stride = k_stride,
        .v_stride = v_stride,
        .rows = lane->mine.count};
    f->kernels->kv_store(&op, whole);
}

static void attend(const px_lane *lane, uint32_t layer)
{
    const px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    const px_plan_place *place = px_model_place(f->model);
    const px_kv_layer *kv = &f->kv[layer];
    bool is_latent = arch->latent.kv_rank != 0; /* one KV head for all */
    uint32_t count = place->heads.count,
             group = is_latent ? arch->heads : arch->heads / arch->kv_heads;
    px_attention op = {.kv = kv,
        .at = lane->at,
        .q = f->query,
        .out = f->seen,
        .q_stride = (size_t)count * kv->k_dim,
        .out_stride = (size_t)count * kv->v_dim,
        .rows = lane->rows,
        .heads = count,
        .group = group,
        .head_offset = place->heads.begin - (is_latent ? 0 : place->kv_heads.begin * group),
        .scale = arch->attn_scale,
        .softcap = arch->attn_softcap,
        .window = layer_of(lane, layer)->window,
        .both_ways = arch->both_ways,
        .sinks = f->model->layers[layer].vector[PX_ROLE_SINKS],
        .scratch = f->scratch,
        .position_max = f->position_max};
    px_part part = {.index = lane->worker, .count = lane->workers};
    if (!f->kernels->attention(&op, part)) return;
    px_lane_barrier(lane);
    f->kernels->attention_merge(&op, part);
}

/* Fills f->q, k and v from f->x; ends with a barrier. */
static void project_qkv(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    const px_matrix *q = &w->matrix[PX_ROLE_Q], *k = &w->matrix[PX_ROLE_K],
                    *v = &w->matrix[PX_ROLE_V];
    const float *h = lane->desk->normed;
    uint32_t rows = lane->rows;
    px_lane_norm(lane, (px_norm){.weight = w->vector[PX_ROLE_ATTN_NORM],
                           .x = f->x,
                           .y = lane->desk->normed,
                           .range = lane->chain});
    px_lane_prepare(lane,
        (px_input){
            .x = h, .cols = f->model->arch.hidden, .range = lane->chain, .readers = {q, k, v}});
    for (px_role role = PX_ROLE_Q; role <= PX_ROLE_V; role++)
        px_lane_lower(lane, (px_lowering){role, layer, h, lane->chain});
    px_lane_chain_done(lane);
    px_lane_project(lane,
        (px_product){.w = q, .x = h, .bias = w->vector[PX_ROLE_Q_BIAS], .y = f->q, .rows = rows});
    px_lane_project(lane,
        (px_product){.w = k, .x = h, .bias = w->vector[PX_ROLE_K_BIAS], .y = f->k, .rows = rows});
    px_lane_project(lane,
        (px_product){.w = v, .x = h, .bias = w->vector[PX_ROLE_V_BIAS], .y = f->v, .rows = rows});
    px_lane_barrier(lane);
    if (!px_lane_is_adapted(lane)) return;
    px_lane_raise(lane, (px_raising){PX_ROLE_Q, layer, f->q, q->rows});
    px_lane_raise(lane, (px_raising){PX_ROLE_K, layer, f->k, k->rows});
    px_lane_raise(lane, (px_raising){PX_ROLE_V, layer, f->v, v->rows});
    px_lane_barrier(lane);
}

void px_layer_queries(const px_lane *lane, uint32_t layer)
{
    const px_model *model = lane->f->model;
    if (!px_model_place(model)->heads.count) { /* a place may hold none */
        px_lane_barrier(lane);
    } else if (model->arch.latent.kv_rank) {
        px_layer_latent_qkv(lane, layer);
    } else {
        project_qkv(lane, layer);
        place_rows(lane, layer);
        px_lane_barrier(lane);
    }
}

bool px_layer_attention(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_matrix *o = &f->model->layers[layer].matrix[PX_ROLE_O];
    unsigned kinds = px_lane_meeting_kinds(lane, o);
    if (px_model_place(f->model)->heads.count) {
        attend(lane, layer);
        px_lane_barrier(lane);
        if (f->model->arch.latent.kv_rank) px_layer_latent_values(lane, layer);
        px_lane_prepare_part(lane, (px_own_columns){.x = f->attended,
                                       .cols = px_model_width(f->model, PX_AXIS_ATTENTION),
                                       .range = lane->chain,
                                       .kinds = kinds,
                                       .axis = PX_AXIS_ATTENTION});
    }
    if (!px_lane_meet(lane, kinds, PX_AXIS_ATTENTION)) return false;
    return px_lane_add_product(lane, (px_addition){.layer = layer,
                                         .role = PX_ROLE_O,
                                         .bias = PX_ROLE_O_BIAS,
                                         .post_norm = PX_ROLE_ATTN_POST_NORM,
                                         .x = f->attended});
}

/* --- MLP --- */

bool px_layer_mlp(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    const px_matrix *gate = &w->matrix[PX_ROLE_GATE], *up = &w->matrix[PX_ROLE_UP],
                    *down = &w->matrix[PX_ROLE_DOWN];
    unsigned kinds = px_lane_meeting_kinds(lane, down);
    uint32_t rows = lane->rows;

    if (gate->rows) {
        const float *h = lane->desk->normed;
        px_lane_norm(lane, (px_norm){.weight = w->vector[PX_ROLE_FFN_NORM],
                               .x = f->x,
                               .y = lane->desk->normed,
                               .range = lane->chain});
        px_lane_prepare(lane, (px_input){.x = h,
                                  .cols = f->model->arch.hidden,
                                  .range = lane->chain,
                                  .readers = {gate, up}});
        px_lane_lower(lane, (px_lowering){PX_ROLE_GATE, layer, h, lane->chain});
        px_lane_lower(lane, (px_lowering){PX_ROLE_UP, layer, h, lane->chain});
        px_lane_chain_done(lane);
        px_lane_project(lane, (px_product){.w = gate,
                                  .x = h,
                                  .bias = w->vector[PX_ROLE_GATE_BIAS],
                                  .y = f->gate,
                                  .rows = rows});
        px_lane_project(lane,
            (px_product){
                .w = up, .x = h, .bias = w->vector[PX_ROLE_UP_BIAS], .y = f->up, .rows = rows});
        px_lane_barrier(lane);
        if (px_lane_is_adapted(lane)) {
            px_lane_raise(lane, (px_raising){PX_ROLE_GATE, layer, f->gate, gate->rows});
            px_lane_raise(lane, (px_raising){PX_ROLE_UP, layer, f->up, up->rows});
            px_lane_barrier(lane);
        }
        px_lane_gate(lane, (px_gating){.gate = f->gate,
                               .up = f->up,
                               .y = lane->desk->mlp,
                               .width = gate->rows,
                               .range = lane->chain});
        px_lane_prepare_part(lane, (px_own_columns){.x = lane->desk->mlp,
                                       .cols = gate->rows,
                                       .range = lane->chain,
                                       .kinds = kinds,
                                       .axis = PX_AXIS_FFN});
    }
    if (!px_lane_meet(lane, kinds, PX_AXIS_FFN)) return false;
    return px_lane_add_product(lane, (px_addition){.layer = layer,
                                         .role = PX_ROLE_DOWN,
                                         .bias = PX_ROLE_DOWN_BIAS,
                                         .post_norm = PX_ROLE_FFN_POST_NORM,
                                         .x = lane->desk->mlp});
}
