/* adapt.c - what adapters add to products; see lane.h.
 *
 * The small vector of a row comes from all columns of x, by whoever has the row in his chain: it
 * costs little, and needs no barrier of its own. What it adds to y is shared out by outputs, like
 * the product itself, but in its own groups of them: so a barrier stands between the two.
 */
#include "engine/model/lane.h"

static const px_part whole = {.index = 0, .count = 1};

bool px_lane_is_adapted(const px_lane *lane)
{
    return lane->f->batch->span_count != 0;
}

unsigned px_lane_meeting_kinds(const px_lane *lane, const px_matrix *w)
{
    bool of_floats = px_lane_is_adapted(lane) && lane->f->places;
    return px_lane_kinds(lane, w) | (of_floats ? 1u << PX_ACT_F32 : 0);
}

static float *shelf_of(const px_lane *lane, px_role role)
{
    return lane->desk->low[px_role_reader(role).shelf];
}

static px_range rows_of(const px_adapter_span *span, px_role role)
{
    return role == PX_ROLE_OUTPUT ? span->logits : span->rows;
}

static px_act floats(const px_lane *lane, const float *x, uint32_t rows, uint32_t cols)
{
    return (px_act){.kind = PX_ACT_F32,
        .rows = rows,
        .cols = cols,
        .row_bytes = lane->f->kernels->act_row_bytes(PX_ACT_F32, cols),
        .data = (void *)(uintptr_t)x};
}

/* `rows` are some of the span's, whose vectors lie one after the other from its first row on. */
static void lower_rows(const px_lane *lane, const px_low_rank *pair, const px_lowering *l,
    const px_range *span, px_range rows)
{
    uint32_t rank = pair->a.rows, cols = pair->a.cols;
    float *y = shelf_of(lane, l->role) + (size_t)span->begin * PX_ADAPTER_RANK_MAX +
               (size_t)(rows.begin - span->begin) * rank;
    px_act x = floats(lane, l->x + (size_t)rows.begin * cols, rows.count, cols);
    px_matmul op = {.w = &pair->a, .x = &x, .y = y, .y_stride = rank};
    lane->f->kernels->matmul(&op, whole);
    for (size_t i = 0; i < (size_t)rows.count * rank; i++) y[i] *= pair->scale;
}

void px_lane_lower(const px_lane *lane, px_lowering lowering)
{
    const px_batch *batch = lane->f->batch;
    for (uint32_t i = 0; i < batch->span_count; i++) {
        const px_adapter_span *span = &batch->spans[i];
        const px_low_rank *pair = px_adapter_at(span->adapter, lowering.role, lowering.layer);
        px_range of_span = rows_of(span, lowering.role);
        px_range rows = px_range_intersect(of_span, lowering.range);
        if (pair && pair->b.rows && rows.count) lower_rows(lane, pair, &lowering, &of_span, rows);
    }
}

void px_lane_raise(const px_lane *lane, px_raising raising)
{
    const px_batch *batch = lane->f->batch;
    for (uint32_t i = 0; i < batch->span_count; i++) {
        const px_adapter_span *span = &batch->spans[i];
        const px_low_rank *pair = px_adapter_at(span->adapter, raising.role, raising.layer);
        px_range rows = rows_of(span, raising.role);
        if (!pair || !pair->b.rows || !rows.count) continue;
        const float *low = shelf_of(lane, raising.role) + (size_t)rows.begin * PX_ADAPTER_RANK_MAX;
        px_act x = floats(lane, low, rows.count, pair->b.cols);
        px_matmul op = {.w = &pair->b,
            .x = &x,
            .y = raising.y + rows.begin * raising.y_stride,
            .y_stride = raising.y_stride,
            .accumulate = true};
        lane->f->kernels->matmul(&op, (px_part){.index = lane->worker, .count = lane->workers});
    }
}
