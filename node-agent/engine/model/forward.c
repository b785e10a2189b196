/* forward.c - from ids to logits: embedding, this stage's layers, output; ranks and stages. */
#include "engine/model/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/lane.h"

static const px_part whole = {.index = 0, .count = 1};

typedef struct row_list { /* of a step */
    uint32_t count;
    const uint32_t *at; /* ascending */
} row_list;

static bool is_first_stage(const px_forward *f)
{
    return px_model_stage(f->model) == 0;
}
static bool is_last_stage(const px_forward *f)
{
    return px_model_stage(f->model) == f->model->plan.pp - 1;
}

/* --- the step --- */

/* cos and sin for this worker's rows. Angles are rounded to float32 as in the reference. */
static void make_rotations(const px_lane *lane)
{
    px_forward *f = lane->f;
    for (int r = 0; r < 2; r++) {
        const px_rope_freqs *rope = &f->model->arch.ropes[r];
        uint32_t pairs = rope->dims / 2;
        for (size_t i = lane->mine.begin; i < lane->mine.begin + (size_t)lane->mine.count; i++) {
            const px_kv_row *at = &f->batch->at[i];
            uint32_t length = at->prompt > at->position ? at->prompt : at->position + 1;
            for (uint32_t p = 0; p < pairs; p++) {
                float angle = px_rope_freq(rope, p, length) * (float)at->position;
                f->cosine[r][i * pairs + p] = cosf(angle) * rope->scale;
                f->sine[r][i * pairs + p] = sinf(angle) * rope->scale;
            }
        }
    }
}

/* x of the first stage comes from the embedding, of the others from the stage before. */
static bool begin_rows(const px_lane *lane)
{
    px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    make_rotations(lane);
    if (is_first_stage(f)) {
        px_embed op = {.table = &f->model->shared.matrix[PX_ROLE_EMBED],
            .ids = f->batch->ids + lane->mine.begin,
            .rows = lane->mine.count,
            .scale = arch->embed_scale,
            .y = f->x + (size_t)lane->mine.begin * arch->hidden};
        if (op.rows) f->kernels->embed(&op, whole);
    } else if (lane->worker == 0) {
        int from = f->model->rank - (int)f->model->plan.tp;
        f->status =
            px_comm_recv(f->world, from, f->x, (size_t)lane->rows * arch->hidden * sizeof *f->x);
    }
    px_lane_barrier(lane);
    return px_is_ok(f->status);
}

static void hand_on(const px_lane *lane)
{
    px_forward *f = lane->f;
    if (lane->worker != 0) return;
    int to = f->model->rank + (int)f->model->plan.tp;
    f->status =
        px_comm_send(f->world, to, f->x, (size_t)lane->rows * f->model->arch.hidden * sizeof *f->x);
}

/* --- the last rows --- */

/* Row wanted[i] of x [.., width] becomes row i: this worker's columns, in order, as a row may lie
 * where one before it goes. */
static void keep_rows(const px_lane *lane, float *x, uint32_t width, const row_list *wanted)
{
    px_range cols = px_lane_share(lane, width);
    for (size_t i = 0; i < wanted->count; i++)
        memmove(x + i * width + cols.begin, x + (size_t)wanted->at[i] * width + cols.begin,
            cols.count * sizeof *x);
}

/* Once the last layer's keys and values are in the cache, only the rows that results are made of
 * have to go on: the last one of a prompt, none of a part before it. The others leave the lane. */
static void narrow(px_lane *lane)
{
    px_forward *f = lane->f;
    const px_batch *batch = f->batch;
    row_list wanted = {batch->logit_rows, batch->logit_at};
    if (!wanted.count) wanted = (row_list){batch->hidden_rows, batch->hidden_at};
    bool both = batch->logit_rows && batch->hidden_rows;
    if (both || lane->alone || px_lane_is_adapted(lane) || wanted.count == lane->rows) return;
    uint32_t heads = px_model_place(f->model)->heads.count;
    keep_rows(lane, f->x, f->model->arch.hidden, &wanted);
    if (heads) keep_rows(lane, f->query, heads * f->kv->k_dim, &wanted);
    for (uint32_t i = 0; lane->worker == 0 && i < wanted.count; i++)
        f->narrow_at[i] = batch->at[wanted.at[i]];
    px_lane_barrier(lane);
    lane->rows = wanted.count;
    lane->at = f->narrow_at;
    lane->is_narrow = true;
    lane->mine = lane->chain = px_lane_share(lane, lane->rows);
}

/* Where row wanted_at[i] of the step is now. */
static const float *result_row(const px_lane *lane, const uint32_t *wanted_at, size_t i)
{
    size_t row = lane->is_narrow ? i : wanted_at[i];
    return lane->f->x + row * lane->f->model->arch.hidden;
}

/* Softcaps this worker's share of the place's logits. */
static void cap_logits(const px_lane *lane, float *logits, uint32_t width)
{
    float cap = lane->f->model->arch.logit_softcap;
    px_range rows = px_lane_share(lane, lane->f->batch->logit_rows * width);
    for (uint32_t i = rows.begin; i < rows.begin + rows.count; i++)
        logits[i] = cap * tanhf(logits[i] / cap);
}

/* [logit_rows, vocabulary of this place]: final norm of the wanted rows, then the output matrix. */
static void make_logits(const px_lane *lane)
{
    px_forward *f = lane->f;
    const px_batch *batch = f->batch;
    const px_matrix *output = &f->model->shared.matrix[PX_ROLE_OUTPUT];
    uint32_t hidden = f->model->arch.hidden, wanted = batch->logit_rows;
    float *logits = f->logits ? f->logits : f->out_logits, *normed = lane->desk->normed;
    px_range chain = px_lane_share(lane, wanted);
    if (lane->alone) chain = (px_range){.begin = 0, .count = wanted};

    if (!wanted) return;
    for (size_t i = chain.begin; i < chain.begin + (size_t)chain.count; i++)
        px_lane_norm(lane, (px_norm){.weight = f->model->shared.vector[PX_ROLE_FINAL_NORM],
                               .x = result_row(lane, batch->logit_at, i),
                               .y = normed + i * hidden,
                               .range = {.begin = 0, .count = 1}});
    px_lane_prepare(
        lane, (px_input){.x = normed, .cols = hidden, .range = chain, .readers = {output}});
    px_lane_lower(lane, (px_lowering){PX_ROLE_OUTPUT, 0, normed, chain});
    px_lane_chain_done(lane);
    px_lane_project(lane, (px_product){.w = output, .x = normed, .y = logits, .rows = wanted});
    if (px_lane_is_adapted(lane)) {
        px_lane_barrier(lane);
        px_lane_raise(lane, (px_raising){PX_ROLE_OUTPUT, 0, logits, output->rows});
    }
    if (f->model->arch.logit_softcap != 0) {
        px_lane_barrier(lane);
        cap_logits(lane, logits, output->rows);
    }
}

/* [hidden_rows, hidden]: final norm of the rows that want it. Residual rows are whole on every
 * place, so the first of the last stage does it alone; what it sends on to rank 0 lies in f->delta,
 * which nobody needs any more. */
static void make_hidden(const px_lane *lane)
{
    px_forward *f = lane->f;
    const px_batch *batch = f->batch;
    size_t hidden = f->model->arch.hidden;
    float *out = f->model->rank == 0 ? batch->out_hidden : f->delta;
    px_range mine = px_lane_share(lane, batch->hidden_rows);
    if (px_plan_place_of(&f->model->plan, f->model->rank) != 0) return;
    for (size_t i = mine.begin; i < mine.begin + (size_t)mine.count; i++)
        px_lane_norm(lane, (px_norm){.weight = f->model->shared.vector[PX_ROLE_FINAL_NORM],
                               .x = result_row(lane, batch->hidden_at, i),
                               .y = out + i * hidden,
                               .range = {.begin = 0, .count = 1}});
}

/* --- all of it --- */

static bool feed_forward(const px_lane *lane, uint32_t layer)
{
    bool routed = lane->f->model->layers[layer].experts != NULL;
    return routed ? px_layer_experts(lane, layer) : px_layer_mlp(lane, layer);
}

static void step_worker(void *arg, uint32_t worker, uint32_t workers)
{
    px_forward *f = arg;
    uint32_t rows = f->batch->rows;
    bool alone = rows <= PX_LANE_ALONE_ROWS_MAX && workers > 1 && !f->places;
    px_lane lane = {.f = f,
        .worker = worker,
        .workers = workers,
        .rows = rows,
        .at = f->batch->at,
        .alone = alone,
        .desk = alone ? &f->own[worker] : &f->shared};
    lane.mine = px_lane_share(&lane, rows);
    lane.chain = alone ? (px_range){.begin = 0, .count = rows} : lane.mine;

    if (!begin_rows(&lane)) return;
    uint32_t layers = f->model->plan.stages[px_model_stage(f->model)].count;
    for (uint32_t i = 0; i < layers; i++) {
        px_layer_queries(&lane, i);
        if (is_last_stage(f) && i == layers - 1) narrow(&lane);
        if (!lane.rows) break;
        if (!px_layer_attention(&lane, i) || !feed_forward(&lane, i)) return;
    }
    px_lane_barrier(&lane); /* the last rows added to x are for everyone */
    if (is_last_stage(f)) {
        make_hidden(&lane);
        make_logits(&lane);
    } else {
        hand_on(&lane);
    }
}

/* --- results of several ranks meet on rank 0 --- */

/* gathered: [rows, vocabulary of a place] of each place in turn -> [rows, vocabulary]. */
static void interleave(const px_forward *f)
{
    const px_plan *plan = &f->model->plan;
    size_t rows = f->batch->logit_rows, vocabulary = f->model->arch.vocabulary;
    const float *from = f->gathered;
    for (uint32_t p = 0; p < plan->tp; p++) {
        px_range part = plan->places[p].vocabulary;
        for (size_t i = 0; i < rows; i++, from += part.count)
            memcpy(f->out_logits + i * vocabulary + part.begin, from, part.count * sizeof *from);
    }
}

/* The places of the last stage bring their logits together at the first of them. */
static px_status gather_places(px_forward *f)
{
    const px_plan *plan = &f->model->plan;
    size_t bytes[PX_PLAN_TP_MAX];
    for (uint32_t p = 0; p < plan->tp; p++)
        bytes[p] = (size_t)f->batch->logit_rows * plan->places[p].vocabulary.count * sizeof(float);
    return px_comm_gather(f->places, f->logits, bytes, f->gathered);
}

static px_status collect_logits(px_forward *f)
{
    const px_plan *plan = &f->model->plan;
    int rank = f->model->rank, source = (int)((plan->pp - 1) * plan->tp);
    size_t bytes = (size_t)f->batch->logit_rows * f->model->arch.vocabulary * sizeof(float);
    if (!bytes) return px_ok();
    if (is_last_stage(f) && f->places) PX_TRY(gather_places(f));
    if (source != 0 && rank == source)
        PX_TRY(px_comm_send(f->world, 0, f->places ? f->gathered : f->logits, bytes));
    if (source != 0 && rank == 0)
        PX_TRY(px_comm_recv(f->world, source, f->gathered ? f->gathered : f->out_logits, bytes));
    if (rank == 0 && f->gathered) interleave(f);
    return px_ok();
}

static px_status collect_hidden(px_forward *f)
{
    const px_plan *plan = &f->model->plan;
    int rank = f->model->rank, source = (int)((plan->pp - 1) * plan->tp);
    size_t bytes = (size_t)f->batch->hidden_rows * f->model->arch.hidden * sizeof(float);
    if (!bytes || source == 0) return px_ok();
    if (rank == source) return px_comm_send(f->world, 0, f->delta, bytes);
    return rank == 0 ? px_comm_recv(f->world, source, f->batch->out_hidden, bytes) : px_ok();
}

px_status px_forward_step(px_forward *f, const px_batch *batch, float *out_logits)
{
    PX_ASSERT(batch->rows > 0 && batch->rows <= f->limits.rows_max);
    PX_ASSERT(batch->logit_rows <= f->limits.logit_rows_max && batch->logit_rows <= batch->rows);
    PX_ASSERT(batch->hidden_rows <= batch->rows);
    PX_ASSERT(!batch->span_count || f->limits.adapters);
    f->batch = batch;
    f->out_logits = out_logits;
    f->position_max = 0;
    for (uint32_t i = 0; i < batch->rows; i++)
        if (batch->at[i].position > f->position_max) f->position_max = batch->at[i].position;
    PX_ASSERT(f->position_max <= f->limits.position_max);
    f->status = px_ok();
    px_team_run(f->team, step_worker, f);
    PX_TRY(f->status);
    PX_TRY(collect_logits(f));
    return collect_hidden(f);
}

/* --- life --- */

static px_status open(px_forward *f)
{
    const px_plan *plan = &f->model->plan;
    PX_ASSERT(px_comm_size(f->world) == (int)(plan->tp * plan->pp));
    PX_ASSERT(px_comm_rank(f->world) == f->model->rank);
    if (plan->tp > 1)
        PX_TRY(px_comm_split(f->world, (int)px_model_stage(f->model),
            (int)px_plan_place_of(plan, f->model->rank), &f->places));
    f->own = px_alloc_array(f->workers, sizeof *f->own);
    f->memory_bytes = px_forward_carve(f, NULL);
    PX_TRY(px_big_alloc(f->memory_bytes, "the scratch of a step", &f->memory));
    px_forward_carve(f, f->memory);
    return px_ok();
}

px_status px_forward_create(const px_model *model, const px_kernels *kernels, px_comm *world,
    px_team *team, const px_kv_layer *kv_layers, const px_forward_limits *limits, px_forward **out)
{
    px_forward *f = px_alloc(sizeof *f);
    *f = (px_forward){.model = model,
        .kernels = kernels,
        .world = world,
        .team = team,
        .workers = px_team_count(team),
        .kv = kv_layers,
        .limits = *limits,
        .status = px_ok()};
    px_status status = open(f);
    if (!px_is_ok(status)) {
        px_forward_free(f);
        return status;
    }
    *out = f;
    return px_ok();
}

void px_forward_free(px_forward *f)
{
    if (!f) return;
    px_comm_free(f->places);
    px_big_free(f->memory, f->memory_bytes);
    free(f->own);
    free(f);
}

px_kv_shape px_forward_kv_shape_of(const px_model_info *info, const px_plan *plan, int rank)
{
    const px_plan_place *place = &plan->places[px_plan_place_of(plan, rank)];
    bool holds_latents = info->v_in_k && place->heads.count;
    return (px_kv_shape){.layers = plan->stages[px_plan_stage(plan, rank)].count,
        .kv_heads = info->v_in_k ? holds_latents : place->kv_heads.count,
        .k_dim = info->k_dim,
        .v_dim = info->v_dim,
        .v_in_k = info->v_in_k};
}

px_kv_shape px_forward_kv_shape(const px_model *model)
{
    return px_forward_kv_shape_of(&model->info, &model->plan, model->rank);
}
