/* lane.c - the pieces that layers are made of; see lane.h. */
#include "engine/model/lane.h"

#include <string.h>

static const px_part whole = {.index = 0, .count = 1};

px_range px_lane_share(const px_lane *lane, uint32_t rows)
{
    uint32_t begin, end;
    px_part_range((px_part){.index = lane->worker, .count = lane->workers}, rows, 1, &begin, &end);
    return (px_range){.begin = begin, .count = end - begin};
}

void px_lane_barrier(const px_lane *lane)
{
    px_team_barrier(lane->f->team);
}

void px_lane_chain_done(const px_lane *lane)
{
    if (!lane->alone) px_team_barrier(lane->f->team);
}

void px_lane_norm(const px_lane *lane, px_norm norm)
{
    const px_arch *arch = &lane->f->model->arch;
    if (!norm.range.count) return;
    size_t first = (size_t)norm.range.begin * arch->hidden;
    px_rmsnorm op = {.x = norm.x + first,
        .weight = norm.weight,
        .y = norm.y + first,
        .x_stride = arch->hidden,
        .y_stride = arch->hidden,
        .rows = norm.range.count,
        .groups = 1,
        .cols = arch->hidden,
        .eps = arch->norm_eps,
        .weight_offset = arch->norm_offset};
    lane->f->kernels->rmsnorm(&op, whole);
}

unsigned px_lane_kinds(const px_lane *lane, const px_matrix *w)
{
    return w->rows ? 1u << lane->f->kernels->act_kind(w->dtype) : 0;
}

/* x [rows, cols] as matrices of `kind` read it: x itself, or its prepared form at the desk. */
static px_act act_of(
    const px_lane *lane, const float *x, uint32_t rows, uint32_t cols, px_act_kind kind)
{
    return (px_act){.kind = kind,
        .rows = rows,
        .cols = cols,
        .row_bytes = lane->f->kernels->act_row_bytes(kind, cols),
        .data = kind == PX_ACT_F32 ? (void *)(uintptr_t)x : lane->desk->act[kind]};
}

void px_lane_prepare(const px_lane *lane, px_input input)
{
    if (!input.range.count) return;
    for (px_act_kind kind = PX_ACT_F32 + 1; kind < PX_ACT_KIND_COUNT; kind++) {
        if (!(input.kinds >> kind & 1)) continue;
        px_act to = act_of(lane, input.x, input.range.count, input.cols, kind);
        to.data = (unsigned char *)to.data + input.range.begin * to.row_bytes;
        px_prepare op = {.x = input.x + (size_t)input.range.begin * input.cols,
            .x_stride = input.cols,
            .to = &to};
        lane->f->kernels->prepare(&op, whole);
    }
}

void px_lane_project(const px_lane *lane, px_product product)
{
    const px_matrix *w = product.w;
    const px_kernels *kernels = lane->f->kernels;
    if (!w->rows || !product.rows) return;
    px_act x = act_of(lane, product.x, product.rows, w->cols, kernels->act_kind(w->dtype));
    x.data = (unsigned char *)x.data + product.first * x.row_bytes;
    px_matmul op = {.w = w,
        .x = &x,
        .bias = product.bias,
        .y = product.y,
        .y_stride = w->rows,
        .accumulate = product.accumulate};
    kernels->matmul(&op, (px_part){.index = lane->worker, .count = lane->workers});
}

void px_lane_gate(const px_lane *lane, px_gating gating)
{
    const px_arch *arch = &lane->f->model->arch;
    size_t first = (size_t)gating.range.begin * gating.width;
    if (!gating.range.count || !gating.width) return;
    px_glu op = {.gate = gating.gate + first,
        .up = gating.up + first,
        .y = gating.y + first,
        .rows = gating.range.count,
        .cols = gating.width,
        .gate_stride = gating.width,
        .up_stride = gating.width,
        .y_stride = gating.width,
        .activation = arch->activation,
        .limit = arch->activation_limit};
    lane->f->kernels->glu(&op, whole);
}

bool px_lane_adds_bias(const px_lane *lane, px_axis axis)
{
    const px_model *model = lane->f->model;
    uint32_t place = 0;
    while (!px_axis_range(&model->arch, &model->plan.places[place], axis).count) place++;
    return place == px_plan_place_of(&model->plan, model->rank);
}

/* delta becomes the sum over the places; a place that holds no part adds zeros. */
static bool sum_delta(const px_lane *lane, bool has_part)
{
    px_forward *f = lane->f;
    size_t count = (size_t)lane->rows * f->model->arch.hidden;
    if (!f->places) return true;
    if (lane->worker == 0) {
        if (!has_part) memset(f->delta, 0, count * sizeof *f->delta);
        f->status = px_comm_all_reduce(f->places, f->delta, count);
    }
    px_lane_barrier(lane);
    return px_is_ok(f->status);
}

bool px_lane_add_delta(const px_lane *lane, bool has_part, const float *post_norm)
{
    px_forward *f = lane->f;
    uint32_t hidden = f->model->arch.hidden;
    if (!sum_delta(lane, has_part)) return false;
    if (post_norm)
        px_lane_norm(lane,
            (px_norm){.weight = post_norm, .x = f->delta, .y = f->delta, .range = lane->mine});
    if (lane->mine.count) {
        size_t first = (size_t)lane->mine.begin * hidden;
        px_add op = {.x = f->delta + first,
            .y = f->x + first,
            .rows = lane->mine.count,
            .cols = hidden,
            .x_stride = hidden,
            .y_stride = hidden,
            .scale = 1};
        f->kernels->add(&op, whole);
    }
    /* A chain that follows on the same rows needs no barrier; one that does all rows does. */
    if (lane->alone) px_lane_barrier(lane);
    return true;
}

bool px_lane_add_product(
    const px_lane *lane, px_product product, px_axis axis, const float *post_norm)
{
    px_forward *f = lane->f;
    bool direct = !f->places && !post_norm, has_part = product.w->rows != 0;
    product.y = direct ? f->x : f->delta;
    product.accumulate = direct;
    if (product.bias && !px_lane_adds_bias(lane, axis)) product.bias = NULL;
    px_lane_project(lane, product);
    px_lane_barrier(lane);
    return direct || px_lane_add_delta(lane, has_part, post_norm);
}
