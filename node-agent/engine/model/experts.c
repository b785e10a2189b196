/* experts.c - the MLP half of a routed layer: choosing experts, and running each on its rows.
 *
 *   score rows -> choose (worker 0) -> gather rows by expert -> gate, up -> down -> weigh and sum
 *
 * Each expert multiplies all its rows at once; a row's result does not depend on the others, as the
 * kernels promise. A shared expert runs beside them on all rows.
 */
#include <math.h>
#include <string.h>

#include "engine/model/lane.h"

/* --- choosing ----------------------------------------------------------------------------- */

/* Router outputs become scores, in place. */
static void make_scores(const px_experts *experts, float *scores)
{
    if (experts->sigmoid) {
        for (uint32_t e = 0; e < experts->count; e++) scores[e] = 1 / (1 + expf(-scores[e]));
        return;
    }
    float largest = scores[0];
    double sum = 0;
    for (uint32_t e = 1; e < experts->count; e++) largest = fmaxf(largest, scores[e]);
    for (uint32_t e = 0; e < experts->count; e++) {
        scores[e] = expf(scores[e] - largest);
        sum += (double)scores[e];
    }
    for (uint32_t e = 0; e < experts->count; e++) scores[e] = (float)((double)scores[e] / sum);
}

static uint32_t index_of_largest(const float *values, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

/* Strikes out (-inf) the experts of all but the best groups. */
static void keep_best_groups(const px_experts *experts, float *choice)
{
    float worth[PX_ARCH_EXPERTS_MAX];
    bool kept[PX_ARCH_EXPERTS_MAX] = {false};
    uint32_t size = experts->count / experts->groups;
    for (uint32_t g = 0; g < experts->groups; g++) {
        const float *group = choice + (size_t)g * size;
        uint32_t best = index_of_largest(group, size);
        float second = -INFINITY;
        for (uint32_t i = 0; i < size; i++)
            if (i != best) second = fmaxf(second, group[i]);
        worth[g] = group[best] + (experts->groups_by_two && size > 1 ? second : 0);
    }
    for (uint32_t n = 0; n < experts->groups_used; n++) {
        uint32_t best = index_of_largest(worth, experts->groups);
        kept[best] = true;
        worth[best] = -INFINITY;
    }
    for (uint32_t e = 0; e < experts->count; e++)
        if (!kept[e / size]) choice[e] = -INFINITY;
}

typedef struct choice_of_row { /* experts of a row, best first, and what each counts */
    uint32_t *chosen;          /* [used] */
    float *weight;             /* [used] */
} choice_of_row;

static void choose(
    const px_experts *experts, const float *scores, const float *choice_bias, choice_of_row out)
{
    float choice[PX_ARCH_EXPERTS_MAX];
    double sum = 0;
    for (uint32_t e = 0; e < experts->count; e++)
        choice[e] = scores[e] + (choice_bias ? choice_bias[e] : 0);
    if (experts->groups > experts->groups_used) keep_best_groups(experts, choice);
    for (uint32_t n = 0; n < experts->used; n++) {
        uint32_t best = index_of_largest(choice, experts->count);
        choice[best] = -INFINITY;
        out.chosen[n] = best;
        sum += (double)scores[best];
    }
    double factor = (double)experts->scale / (experts->renormalise ? sum + 1e-20 : 1);
    for (uint32_t n = 0; n < experts->used; n++)
        out.weight[n] = (float)((double)scores[out.chosen[n]] * factor);
}

/* Orders the slots by expert, rows ascending within one. */
static void order_slots(px_routing *r, const px_experts *experts, uint32_t rows)
{
    uint32_t slots = rows * experts->used;
    memset(r->first, 0, (experts->count + 1) * sizeof *r->first);
    for (uint32_t i = 0; i < slots; i++) r->first[r->chosen[i] + 1]++;
    for (uint32_t e = 0; e < experts->count; e++) r->first[e + 1] += r->first[e];
    for (uint32_t i = 0; i < slots; i++) {
        uint32_t slot = r->first[r->chosen[i]]++; /* moves to the expert's end ... */
        r->slot[i] = slot;
        r->row_of[slot] = i / experts->used;
    }
    for (uint32_t e = experts->count; e > 0; e--) r->first[e] = r->first[e - 1]; /* ... and back */
    r->first[0] = 0;
}

static void route(const px_lane *lane, const px_weights *w)
{
    px_routing *r = &lane->f->routing;
    const px_experts *experts = &lane->f->model->arch.experts;
    for (size_t row = 0; row < lane->rows; row++) {
        float *scores = r->scores + row * experts->count;
        make_scores(experts, scores);
        choose(experts, scores, w->vector[PX_ROLE_CHOICE_BIAS],
            (choice_of_row){r->chosen + row * experts->used, r->weight + row * experts->used});
    }
    order_slots(r, experts, lane->rows);
}

/* --- running ------------------------------------------------------------------------------ */

/* Slots of an expert: its rows in everything that is by slot. */
static px_range slots_of(const px_routing *r, uint32_t expert)
{
    return (px_range){.begin = r->first[expert], .count = r->first[expert + 1] - r->first[expert]};
}

/* The rows' inputs, copied to their slots and prepared for the experts that will read them. */
static void gather(const px_lane *by_slot, const px_lane *lane, const px_expert *experts)
{
    const px_forward *f = lane->f;
    const px_routing *r = &f->routing;
    size_t hidden = f->model->arch.hidden, begin = by_slot->mine.begin;
    for (size_t i = begin; i < begin + by_slot->mine.count; i++)
        memcpy(r->desk.normed + i * hidden, lane->desk->normed + r->row_of[i] * hidden,
            hidden * sizeof(float));
    for (uint32_t e = 0; e < f->model->arch.experts.count; e++)
        px_lane_prepare(by_slot, (px_input){.x = r->desk.normed,
                                     .cols = f->model->arch.hidden,
                                     .range = px_range_intersect(slots_of(r, e), by_slot->mine),
                                     .readers = {&experts[e].gate, &experts[e].up}});
}

static void project_in(const px_lane *by_slot, const px_expert *experts)
{
    const px_routing *r = &by_slot->f->routing;
    if (!px_model_width(by_slot->f->model, PX_AXIS_FFN_EXPERT)) return; /* a place may hold none */
    for (uint32_t e = 0; e < by_slot->f->model->arch.experts.count; e++) {
        px_range slots = slots_of(r, e);
        px_product gate = {.w = &experts[e].gate,
            .x = r->desk.normed,
            .bias = experts[e].gate_bias,
            .y = r->gate + (size_t)slots.begin * experts[e].gate.rows,
            .rows = slots.count,
            .first = slots.begin};
        px_product up = gate;
        up.w = &experts[e].up;
        up.bias = experts[e].up_bias;
        up.y = r->up + (size_t)slots.begin * experts[e].up.rows;
        px_lane_project(by_slot, gate);
        px_lane_project(by_slot, up);
    }
}

static unsigned kinds_of_down(const px_lane *by_slot, const px_expert *experts)
{
    unsigned kinds = 0;
    for (uint32_t e = 0; e < by_slot->f->model->arch.experts.count; e++)
        if (slots_of(&by_slot->f->routing, e).count)
            kinds |= px_lane_kinds(by_slot, &experts[e].down);
    return kinds;
}

static void gate_slots(const px_lane *by_slot, const px_expert *experts)
{
    const px_routing *r = &by_slot->f->routing;
    uint32_t width = px_model_width(by_slot->f->model, PX_AXIS_FFN_EXPERT);
    px_lane_gate(by_slot, (px_gating){.gate = r->gate,
                              .up = r->up,
                              .y = r->desk.mlp,
                              .width = width,
                              .range = by_slot->mine});
    px_lane_prepare_part(by_slot, (px_own_columns){.x = r->desk.mlp,
                                      .cols = width,
                                      .range = by_slot->mine,
                                      .kinds = kinds_of_down(by_slot, experts),
                                      .axis = PX_AXIS_FFN_EXPERT});
}

/* The rows that have met, in the order of columns of each expert that has one. Ends the chain. */
static void order_met(const px_lane *by_slot, const px_expert *experts)
{
    const px_arch *arch = &by_slot->f->model->arch;
    bool any = false;
    for (uint32_t e = 0; e < arch->experts.count; e++) {
        if (!experts[e].down.order) continue;
        any = true;
        px_lane_order(by_slot,
            (px_input){.x = px_lane_met(by_slot, by_slot->desk->mlp),
                .cols = px_axis_size(arch, PX_AXIS_FFN_EXPERT),
                .range = px_range_intersect(slots_of(&by_slot->f->routing, e), by_slot->mine),
                .readers = {&experts[e].down}});
    }
    if (any) px_lane_chain_done(by_slot);
}

/* Results take the place of the inputs, which nobody reads any more. */
static void project_out(const px_lane *by_slot, const px_expert *experts)
{
    const px_forward *f = by_slot->f;
    const px_routing *r = &f->routing;
    size_t hidden = f->model->arch.hidden, begin = px_model_place(f->model)->hidden.begin;
    for (uint32_t e = 0; e < by_slot->f->model->arch.experts.count; e++) {
        px_range slots = slots_of(r, e);
        px_lane_project(by_slot, (px_product){.w = &experts[e].down,
                                     .x = px_lane_met(by_slot, r->desk.mlp),
                                     .bias = experts[e].down_bias,
                                     .y = r->desk.normed + slots.begin * hidden + begin,
                                     .y_stride = hidden,
                                     .rows = slots.count,
                                     .first = slots.begin});
    }
}

/* delta (+)= the weighed results of each of this worker's rows, in the order of their choice; of
 * the columns that this place makes. */
static void combine(const px_lane *lane, bool onto_shared)
{
    const px_forward *f = lane->f;
    const px_routing *r = &f->routing;
    uint32_t hidden = f->model->arch.hidden, used = f->model->arch.experts.used;
    px_range cols = px_model_place(f->model)->hidden;
    for (size_t row = lane->mine.begin; row < lane->mine.begin + (size_t)lane->mine.count; row++) {
        float *y = f->delta + row * hidden + cols.begin;
        if (!onto_shared) memset(y, 0, cols.count * sizeof *y);
        for (uint32_t n = 0; n < used; n++) {
            size_t slot = r->slot[row * used + n];
            px_add op = {.x = r->desk.normed + slot * hidden + cols.begin,
                .y = y,
                .rows = 1,
                .cols = cols.count,
                .x_stride = hidden,
                .y_stride = hidden,
                .scale = r->weight[row * used + n]};
            f->kernels->add(&op, (px_part){.index = 0, .count = 1});
        }
    }
}

/* --- the shared expert -------------------------------------------------------------------- */

/* What reads the normed rows, beside the experts; with their adapters. */
static const px_role row_readers[] = {
    PX_ROLE_ROUTER, PX_ROLE_SHARED_GATE, PX_ROLE_SHARED_UP, PX_ROLE_SHARED_WEIGHT};
enum { ROW_READERS = sizeof row_readers / sizeof *row_readers };

static void raise_rows(const px_lane *lane, uint32_t layer)
{
    const px_routing *r = &lane->f->routing;
    float *const outputs[ROW_READERS] = {r->scores, r->shared_gate, r->shared_up, r->shared_weight};
    for (int i = 0; i < ROW_READERS; i++) {
        uint32_t width = lane->f->model->layers[layer].matrix[row_readers[i]].rows;
        px_lane_raise(lane, (px_raising){row_readers[i], layer, outputs[i], width});
    }
}

/* Kinds in which the places' shared experts meet; 0: there are none. */
static unsigned shared_kinds(const px_lane *lane, const px_weights *w)
{
    bool is_there = lane->f->model->arch.experts.shared_ffn != 0;
    return is_there ? px_lane_meeting_kinds(lane, &w->matrix[PX_ROLE_SHARED_DOWN]) : 0;
}

static void project_shared_in(const px_lane *lane, const px_weights *w)
{
    const px_routing *r = &lane->f->routing;
    px_product gate = {.w = &w->matrix[PX_ROLE_SHARED_GATE],
        .x = lane->desk->normed,
        .y = r->shared_gate,
        .rows = lane->rows};
    px_product up = gate, weight = gate;
    gate.bias = w->vector[PX_ROLE_SHARED_GATE_BIAS];
    up.w = &w->matrix[PX_ROLE_SHARED_UP], up.y = r->shared_up;
    up.bias = w->vector[PX_ROLE_SHARED_UP_BIAS];
    weight.w = &w->matrix[PX_ROLE_SHARED_WEIGHT], weight.y = r->shared_weight;
    px_lane_project(lane, gate);
    px_lane_project(lane, up);
    px_lane_project(lane, weight);
}

static void gate_shared(const px_lane *lane, const px_weights *w)
{
    const px_routing *r = &lane->f->routing;
    uint32_t width = w->matrix[PX_ROLE_SHARED_GATE].rows;
    px_range rows = lane->chain;
    px_lane_gate(lane, (px_gating){.gate = r->shared_gate,
                           .up = r->shared_up,
                           .y = lane->desk->mlp,
                           .width = width,
                           .range = rows});
    bool weighed = w->matrix[PX_ROLE_SHARED_WEIGHT].rows != 0;
    for (size_t row = rows.begin; weighed && row < rows.begin + (size_t)rows.count; row++) {
        float weight = 1 / (1 + expf(-r->shared_weight[row]));
        for (uint32_t c = 0; c < width; c++) lane->desk->mlp[row * width + c] *= weight;
    }
    px_lane_prepare_part(lane, (px_own_columns){.x = lane->desk->mlp,
                                   .cols = width,
                                   .range = rows,
                                   .kinds = shared_kinds(lane, w),
                                   .axis = PX_AXIS_FFN_SHARED});
}

/* Sets the columns of delta that this place makes; ends with a barrier. */
static void project_shared_out(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    px_product product = {.w = &w->matrix[PX_ROLE_SHARED_DOWN],
        .x = px_lane_met(lane, lane->desk->mlp),
        .bias = w->vector[PX_ROLE_SHARED_DOWN_BIAS],
        .y = f->delta + px_model_place(f->model)->hidden.begin,
        .y_stride = f->model->arch.hidden,
        .rows = lane->rows};
    px_lane_prepare_met(lane, (px_lowering){PX_ROLE_SHARED_DOWN, layer, product.x, lane->chain});
    px_lane_project(lane, product);
    px_lane_barrier(lane);
    if (!px_lane_is_adapted(lane)) return;
    px_lane_raise(lane, (px_raising){PX_ROLE_SHARED_DOWN, layer, product.y, product.y_stride});
    px_lane_barrier(lane);
}

/* --- the layer ---------------------------------------------------------------------------- */

/* The lane as workers share out slots instead of rows. */
static px_lane lane_of_slots(const px_lane *lane)
{
    px_lane by_slot = *lane;
    by_slot.rows = lane->rows * lane->f->model->arch.experts.used;
    by_slot.alone = false;
    by_slot.desk = &lane->f->routing.desk;
    by_slot.mine = by_slot.chain = px_lane_share(lane, by_slot.rows);
    return by_slot;
}

/* Norm, and what reads it in every row: router and shared expert. Ends with a barrier. */
static void score_rows(const px_lane *lane, uint32_t layer)
{
    const px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    px_lane_norm(lane, (px_norm){.weight = w->vector[PX_ROLE_FFN_NORM],
                           .x = f->x,
                           .y = lane->desk->normed,
                           .range = lane->chain});
    px_input rows = {.x = lane->desk->normed, .cols = f->model->arch.hidden, .range = lane->chain};
    for (int i = 0; i < ROW_READERS; i++) rows.readers[i] = &w->matrix[row_readers[i]];
    px_lane_prepare(lane, rows);
    for (int i = 0; i < ROW_READERS; i++)
        px_lane_lower(lane, (px_lowering){row_readers[i], layer, lane->desk->normed, lane->chain});
    px_lane_chain_done(lane);
    px_lane_project(lane, (px_product){.w = &w->matrix[PX_ROLE_ROUTER],
                              .x = lane->desk->normed,
                              .bias = w->vector[PX_ROLE_ROUTER_BIAS],
                              .y = f->routing.scores,
                              .rows = lane->rows});
    project_shared_in(lane, w);
    px_lane_barrier(lane);
    if (!px_lane_is_adapted(lane)) return;
    raise_rows(lane, layer);
    px_lane_barrier(lane);
}

bool px_layer_experts(const px_lane *lane, uint32_t layer)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[layer];
    px_lane by_slot = lane_of_slots(lane);

    score_rows(lane, layer);
    if (lane->worker == 0) route(lane, w);
    px_lane_barrier(lane);
    gather(&by_slot, lane, w->experts);
    px_lane_barrier(lane);
    project_in(&by_slot, w->experts);
    px_lane_barrier(lane);
    gate_slots(&by_slot, w->experts);
    gate_shared(lane, w);
    if (!px_lane_meet(&by_slot, kinds_of_down(&by_slot, w->experts), PX_AXIS_FFN_EXPERT) ||
        !px_lane_meet(lane, shared_kinds(lane, w), PX_AXIS_FFN_SHARED))
        return false;
    order_met(&by_slot, w->experts);
    project_out(&by_slot, w->experts);
    project_shared_out(lane, layer);
    combine(lane, w->matrix[PX_ROLE_SHARED_DOWN].rows != 0);
    px_lane_barrier(lane);
    return px_lane_add_delta(lane, w->vector[PX_ROLE_FFN_POST_NORM]);
}
