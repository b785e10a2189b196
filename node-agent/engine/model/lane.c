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

/* Rows `range` of some columns, in `kinds`, into their places among all that the desk has. */
typedef struct column_run {
    const float *x; /* [rows, count] */
    px_range range;
    uint32_t begin, count, all;
    unsigned kinds;
} column_run;

static void prepare_columns(const px_lane *lane, column_run c)
{
    const px_kernels *kernels = lane->f->kernels;
    if (!c.range.count || !c.count) return;
    for (px_act_kind kind = 0; kind < PX_ACT_KIND_COUNT; kind++) {
        if (!(c.kinds >> kind & 1)) continue;
        size_t row_bytes = kernels->act_row_bytes(kind, c.all);
        px_act to = {.kind = kind,
            .rows = c.range.count,
            .cols = c.count,
            .row_bytes = row_bytes,
            .data = lane->desk->act[kind] + c.range.begin * row_bytes +
                    kernels->act_row_bytes(kind, c.begin)};
        px_prepare op = {
            .x = c.x + (size_t)c.range.begin * c.count, .x_stride = c.count, .to = &to};
        kernels->prepare(&op, whole);
    }
}

/* Floats are read where they are. */
static unsigned without_floats(unsigned kinds)
{
    return kinds & ~(1u << PX_ACT_F32);
}

void px_lane_prepare(const px_lane *lane, px_input input)
{
    unsigned kinds = 0;
    for (size_t i = 0; i < PX_ROLE_SHELVES; i++)
        if (input.readers[i]) kinds |= px_lane_kinds(lane, input.readers[i]);
    prepare_columns(lane, (column_run){.x = input.x,
                              .range = input.range,
                              .count = input.cols,
                              .all = input.cols,
                              .kinds = without_floats(kinds)});
    px_lane_order(lane, input);
}

/* Where rows from `first` on lie in the order of w's columns. */
static px_act ordered(const px_lane *lane, const px_matrix *w, px_range rows)
{
    size_t stride = lane->desk->ordered_cols;
    return (px_act){.kind = PX_ACT_F32,
        .rows = rows.count,
        .cols = w->cols,
        .row_bytes = stride * sizeof(float),
        .data = lane->desk->ordered[w->order->shelf] + rows.begin * stride};
}

/* Does a reader before this one have the same? */
static bool is_shared(const px_input *input, size_t reader)
{
    for (size_t i = 0; i < reader; i++)
        if (input->readers[i] && input->readers[i]->order == input->readers[reader]->order)
            return true;
    return false;
}

void px_lane_order(const px_lane *lane, px_input input)
{
    if (!input.range.count) return;
    for (size_t i = 0; i < PX_ROLE_SHELVES; i++) {
        const px_matrix *w = input.readers[i];
        if (!w || !w->order || is_shared(&input, i)) continue;
        px_act to = ordered(lane, w, input.range);
        px_prepare op = {.x = input.x + (size_t)input.range.begin * input.cols,
            .x_stride = input.cols,
            .to = &to,
            .from = w->order->from};
        lane->f->kernels->prepare(&op, whole);
    }
}

void px_lane_prepare_part(const px_lane *lane, px_own_columns own)
{
    const px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    column_run c = {.x = own.x,
        .range = own.range,
        .count = own.cols,
        .all = own.cols,
        .kinds = without_floats(own.kinds)};
    if (f->places) {
        c.begin = px_axis_range(arch, px_model_place(f->model), own.axis).begin;
        c.all = px_axis_size(arch, own.axis);
        c.kinds = own.kinds;
    }
    prepare_columns(lane, c);
}

/* The places' columns of the prepared rows come together, in each of `kinds`. */
static px_status gather_inputs(const px_lane *lane, unsigned kinds, px_axis axis)
{
    px_forward *f = lane->f;
    const px_arch *arch = &f->model->arch;
    for (px_act_kind kind = 0; kind < PX_ACT_KIND_COUNT; kind++) {
        if (!(kinds >> kind & 1)) continue;
        size_t ends[PX_PLAN_TP_MAX];
        for (uint32_t p = 0; p < f->model->plan.tp; p++) {
            px_range part = px_axis_range(arch, &f->model->plan.places[p], axis);
            ends[p] = f->kernels->act_row_bytes(kind, part.begin + part.count);
        }
        px_comm_columns columns = {.data = lane->desk->act[kind],
            .rows = lane->rows,
            .row_bytes = f->kernels->act_row_bytes(kind, px_axis_size(arch, axis)),
            .ends = ends};
        PX_TRY(px_comm_all_gather(f->places, &columns));
    }
    return px_ok();
}

bool px_lane_meet(const px_lane *lane, unsigned kinds, px_axis axis)
{
    px_forward *f = lane->f;
    px_lane_chain_done(lane);
    if (!f->places) return true;
    if (lane->worker == 0) f->status = gather_inputs(lane, kinds, axis);
    px_lane_barrier(lane);
    return px_is_ok(f->status);
}

const float *px_lane_met(const px_lane *lane, const float *own)
{
    return lane->f->places ? (const float *)(const void *)lane->desk->act[PX_ACT_F32] : own;
}

void px_lane_prepare_met(const px_lane *lane, px_lowering lowering)
{
    const px_model *model = lane->f->model;
    const px_matrix *w = &model->layers[lowering.layer].matrix[lowering.role];
    if (!w->order && !px_lane_is_adapted(lane)) return;
    px_lane_order(lane, (px_input){.x = lowering.x,
                            .cols = px_axis_size(&model->arch, px_role_of(lowering.role)->cols),
                            .range = lowering.range,
                            .readers = {w}});
    px_lane_lower(lane, lowering);
    px_lane_chain_done(lane);
}

/* Into how many pieces workers share out a product. A piece is some microseconds of reading at
 * least: shorter streams of weights cost more bandwidth than workers in step gain. And as many rows
 * as the widest tile has. */
static uint32_t pieces_of(const px_matrix *w, uint32_t workers)
{
    enum { PIECE_WEIGHTS = 1 << 18, PIECE_ROWS = 64, EACH_MAX = 64 };
    uint64_t each = (uint64_t)w->rows * w->cols / workers / PIECE_WEIGHTS;
    if (each > w->rows / workers / PIECE_ROWS) each = w->rows / workers / PIECE_ROWS;
    if (workers == 1 || each < 1) return workers;
    return workers * (uint32_t)(each < EACH_MAX ? each : EACH_MAX);
}

/* Some rows as w reads them: x itself, or its prepared form at the desk. */
static px_act as_prepared(const px_lane *lane, const px_matrix *w, const float *x, px_range rows)
{
    px_act_kind kind = lane->f->kernels->act_kind(w->dtype);
    size_t row_bytes = lane->f->kernels->act_row_bytes(kind, w->cols);
    void *data = kind == PX_ACT_F32 ? (void *)(uintptr_t)x : lane->desk->act[kind];
    return (px_act){.kind = kind,
        .rows = rows.count,
        .cols = w->cols,
        .row_bytes = row_bytes,
        .data = (unsigned char *)data + rows.begin * row_bytes};
}

void px_lane_project(const px_lane *lane, px_product product)
{
    const px_matrix *w = product.w;
    const px_kernels *kernels = lane->f->kernels;
    if (!w->rows || !product.rows) return;
    px_range rows = {.begin = product.first, .count = product.rows};
    px_act x = w->order ? ordered(lane, w, rows) : as_prepared(lane, w, product.x, rows);
    px_matmul op = {.w = w,
        .x = &x,
        .bias = product.bias,
        .y = product.y,
        .y_stride = product.y_stride ? product.y_stride : w->rows,
        .accumulate = product.accumulate};
    px_deal deal = px_team_deal(lane->f->team, lane->worker, pieces_of(w, lane->workers));
    px_part part = {.count = deal.pieces};
    while (px_deal_next(&deal, &part.index)) kernels->matmul(&op, part);
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
        .limit = arch->activation_limit,
        .alpha = arch->activation_alpha};
    lane->f->kernels->glu(&op, whole);
}

/* The places' columns of delta come together. */
static bool gather_delta(const px_lane *lane)
{
    px_forward *f = lane->f;
    if (!f->places) return true;
    if (lane->worker == 0) {
        const px_arch *arch = &f->model->arch;
        size_t ends[PX_PLAN_TP_MAX];
        for (uint32_t p = 0; p < f->model->plan.tp; p++) {
            px_range part = f->model->plan.places[p].hidden;
            ends[p] = (part.begin + part.count) * sizeof *f->delta;
        }
        px_comm_columns columns = {.data = f->delta,
            .rows = lane->rows,
            .row_bytes = arch->hidden * sizeof *f->delta,
            .ends = ends};
        f->status = px_comm_all_gather(f->places, &columns);
    }
    px_lane_barrier(lane);
    return px_is_ok(f->status);
}

bool px_lane_add_delta(const px_lane *lane, const float *post_norm)
{
    px_forward *f = lane->f;
    uint32_t hidden = f->model->arch.hidden;
    if (!gather_delta(lane)) return false;
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

bool px_lane_add_product(const px_lane *lane, px_addition addition)
{
    px_forward *f = lane->f;
    const px_weights *w = &f->model->layers[addition.layer];
    const float *post_norm = w->vector[addition.post_norm];
    bool adapted = px_lane_is_adapted(lane);
    /* With adapters the sum is made first, as it is where places meet: the same bits. */
    bool direct = !f->places && !post_norm && !adapted;
    uint32_t begin = px_model_place(f->model)->hidden.begin;
    px_product product = {.w = &w->matrix[addition.role],
        .x = px_lane_met(lane, addition.x),
        .bias = w->vector[addition.bias],
        .y = direct ? f->x : f->delta + begin,
        .y_stride = f->model->arch.hidden,
        .rows = lane->rows,
        .accumulate = direct};
    px_lane_prepare_met(lane, (px_lowering){addition.role, addition.layer, product.x, lane->chain});
    px_lane_project(lane, product);
    px_lane_barrier(lane);
    if (adapted) {
        px_lane_raise(
            lane, (px_raising){addition.role, addition.layer, product.y, product.y_stride});
        px_lane_barrier(lane);
    }
    return direct || px_lane_add_delta(lane, post_norm);
}
