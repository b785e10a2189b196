/* plan.c - cutting a model's shape over tensor-parallel places and pipeline stages.
 *
 * Places meet after the attention, after its output projection, and twice in the MLP alike, so a
 * layer takes max(attention of a place) + max(MLP of a place), with the two projections between.
 * Each part is therefore evened out by itself: a place that got less attention waits at the first
 * meeting, and a larger share of the MLP would only make the others wait at a later one.
 */
#include "parallel/plan.h"

#include <math.h>
#include <string.h>

/* --- shares ------------------------------------------------------------------------------- */

/* The place that one more unit burdens least. */
static uint32_t least_burdened(const uint32_t *counts, const double *weights, uint32_t places)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < places; i++)
        if ((counts[i] + 1.0) / weights[i] < (counts[best] + 1.0) / weights[best]) best = i;
    return best;
}

/* The place that carries most for its weight, of those with more than `least` units. */
static uint32_t most_burdened(
    const uint32_t *counts, const double *weights, uint32_t places, uint32_t least)
{
    uint32_t best = places;
    for (uint32_t i = 0; i < places; i++) {
        if (counts[i] <= least) continue;
        if (best == places || counts[i] / weights[i] > counts[best] / weights[best]) best = i;
    }
    PX_ASSERT(best < places);
    return best;
}

/* Shares `units` out over the places so that the largest count / weight is as small as it can be:
 * the whole parts of the exact shares, then one unit at a time. Each gets `least` or more. */
static void share_out(
    uint32_t units, const double *weights, uint32_t places, uint32_t least, uint32_t *out_counts)
{
    double weight_sum = 0;
    for (uint32_t i = 0; i < places; i++) weight_sum += weights[i];
    uint64_t given = 0;
    for (uint32_t i = 0; i < places; i++) {
        /* The small step back keeps rounding from giving more than the exact share. */
        double exact = units * (weights[i] / weight_sum) * (1 - 1e-12);
        out_counts[i] = (uint32_t)exact > least ? (uint32_t)exact : least;
        given += out_counts[i];
    }
    for (; given < units; given++) out_counts[least_burdened(out_counts, weights, places)]++;
    for (; given > units; given--) out_counts[most_burdened(out_counts, weights, places, least)]--;
}

/* Ranges of `total` elements in units of `unit` (the last may be short), one for each place. */
static void cut(uint32_t total, uint32_t unit, uint32_t least, const double *weights,
    uint32_t places, px_range *out_ranges)
{
    uint32_t counts[PX_PLAN_TP_MAX];
    uint32_t units = total / unit + (total % unit != 0);
    share_out(units, weights, places, least, counts);
    uint32_t begin = 0;
    for (uint32_t i = 0; i < places; i++) {
        uint64_t end = begin + (uint64_t)counts[i] * unit;
        if (end > total) end = total;
        out_ranges[i] = (px_range){.begin = begin, .count = (uint32_t)end - begin};
        begin = (uint32_t)end;
    }
}

/* --- attention ---------------------------------------------------------------------------- */

/* What one head burdens a place with, in rows of weights: q has one head's, k and v have two. The
 * arithmetic over the positions goes with the query heads, the cache with the KV heads. */
enum { QUERY_HEAD_BURDEN = 1, KV_HEAD_BURDEN = 2 };

typedef struct head_cut {
    uint32_t heads, group;
    uint32_t unit;         /* query heads that fill whole blocks of what attention gives */
    uint32_t kv_heads_max; /* of one place */
    uint32_t places;
    const double *weights; /* [places] */
} head_cut;

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The KV heads that some query heads read. */
static px_range kv_heads_of(px_range heads, uint32_t group)
{
    uint32_t begin = heads.begin / group, end = (heads.begin + heads.count + group - 1) / group;
    return (px_range){.begin = begin, .count = heads.count ? end - begin : 0};
}

static double burden(px_range heads, uint32_t group)
{
    return (double)QUERY_HEAD_BURDEN * heads.count +
           (double)KV_HEAD_BURDEN * kv_heads_of(heads, group).count;
}

/* The most heads from `begin` on that a place may take without passing `limit`. */
static px_range fill_place(const head_cut *a, uint32_t begin, double limit)
{
    px_range heads = {.begin = begin};
    while (begin + heads.count < a->heads) {
        uint32_t end = begin + heads.count + a->unit;
        px_range more = {.begin = begin, .count = (end < a->heads ? end : a->heads) - begin};
        if (burden(more, a->group) > limit) break;
        if (kv_heads_of(more, a->group).count > a->kv_heads_max) break;
        heads = more;
    }
    return heads;
}

/* Do the heads from `begin` on fit into the places from `place` on? To fill each in turn finds out,
 * for a place that begins later never carries more. */
static bool heads_fit(const head_cut *a, uint32_t place, uint32_t begin, double limit)
{
    for (; place < a->places; place++)
        begin += fill_place(a, begin, limit * a->weights[place]).count;
    return begin == a->heads;
}

/* From the first place to the last: the least limit under which the heads left fit into the places
 * left (by halving the interval in which it lies), and a place filled up to it. `limit` is enough.
 */
static void cut_heads(const head_cut *a, double limit, px_range *out_heads)
{
    uint32_t begin = 0;
    for (uint32_t place = 0; place < a->places; place++) {
        double low = 0;
        for (int i = 0; i < 60; i++) {
            double middle = (low + limit) / 2;
            if (heads_fit(a, place, begin, middle))
                limit = middle;
            else
                low = middle;
        }
        out_heads[place] = fill_place(a, begin, limit * a->weights[place]);
        begin += out_heads[place].count;
    }
    PX_ASSERT(begin == a->heads);
}

/* By whole KV groups; inside them, with the KV head at the border on both places, where that makes
 * the slowest place faster and no place holds more KV heads than the fullest would without, so that
 * the cache has room for as many tokens. */
static void cut_attention(
    const px_plan_shape *shape, const double *weights, uint32_t places, px_range *out_heads)
{
    uint32_t group = shape->heads / shape->kv_heads;
    uint32_t unit =
        shape->attn_block ? shape->attn_block / gcd(shape->attn_block, shape->head_dim_v) : 1;
    head_cut a = {
        .heads = shape->heads, .group = group, .unit = unit, .places = places, .weights = weights};
    cut(shape->heads, group / gcd(group, unit) * unit, 0, weights, places, out_heads);
    double slowest = 0;
    for (uint32_t i = 0; i < places; i++) {
        uint32_t kv_heads = kv_heads_of(out_heads[i], group).count;
        double time = burden(out_heads[i], group) / weights[i];
        if (kv_heads > a.kv_heads_max) a.kv_heads_max = kv_heads;
        if (time > slowest) slowest = time;
    }
    double faster = slowest * (1 - 1e-9);
    if (heads_fit(&a, 0, 0, faster)) cut_heads(&a, faster, out_heads);
}

/* --- places ------------------------------------------------------------------------------- */

enum { TILE_ROWS = 16 }; /* rows of a matrix that go together: kernels' tiles */

/* Each place gets a block of the MLP, however slow it is, as long as there are enough. */
static uint32_t least_blocks(uint32_t width, const px_plan_shape *shape, uint32_t tp)
{
    return width / shape->ffn_block >= tp ? 1 : 0;
}

/* Tiles where there are enough, for every place takes part in what is added to the residual stream.
 */
static uint32_t hidden_unit(const px_plan_shape *shape, uint32_t tp)
{
    return shape->hidden / TILE_ROWS >= tp ? TILE_ROWS : 1;
}

static void cut_places(const px_plan_shape *shape, const double *weights, px_plan *plan)
{
    px_range hidden[PX_PLAN_TP_MAX], heads[PX_PLAN_TP_MAX], ffn[PX_PLAN_TP_MAX],
        expert[PX_PLAN_TP_MAX], shared[PX_PLAN_TP_MAX], vocabulary[PX_PLAN_TP_MAX];
    uint32_t tp = plan->tp, block = shape->ffn_block;
    cut(shape->hidden, hidden_unit(shape, tp), 1, weights, tp, hidden);
    cut_attention(shape, weights, tp, heads);
    cut(shape->ffn, block, least_blocks(shape->ffn, shape, tp), weights, tp, ffn);
    cut(shape->ffn_expert, block, least_blocks(shape->ffn_expert, shape, tp), weights, tp, expert);
    cut(shape->ffn_shared, block, least_blocks(shape->ffn_shared, shape, tp), weights, tp, shared);
    cut(shape->vocabulary, TILE_ROWS, 0, weights, tp, vocabulary);
    for (uint32_t i = 0; i < tp; i++)
        plan->places[i] = (px_plan_place){.hidden = hidden[i],
            .heads = heads[i],
            .kv_heads = kv_heads_of(heads[i], shape->heads / shape->kv_heads),
            .ffn = ffn[i],
            .ffn_expert = expert[i],
            .ffn_shared = shared[i],
            .vocabulary = vocabulary[i]};
}

/* --- stages ------------------------------------------------------------------------------- */

/* Multiply-adds a token costs in a layer, by the weights it reads. */
static double layer_work(const px_plan_shape *shape, uint32_t layer)
{
    double hidden = shape->hidden;
    double attention = hidden * shape->heads * ((double)shape->head_dim_k + shape->head_dim_v) +
                       hidden * shape->kv_heads * ((double)shape->head_dim_k + shape->head_dim_v);
    if (shape->experts == 0 || layer < shape->dense_layers_first)
        return attention + 3 * hidden * shape->ffn;
    double router = hidden * shape->experts;
    return attention + router +
           3 * hidden * ((double)shape->experts_used * shape->ffn_expert + shape->ffn_shared);
}

/* How many of the first `layers` layers stage `stage` may take from the back without passing
 * `limit`: at least one, and one is left for each stage before it. The last stage of all also has
 * the output matrix. 0: not even one fits. */
static uint32_t fill_stage(
    const px_plan_shape *shape, const px_plan *plan, uint32_t stage, uint32_t layers, double limit)
{
    double load = stage == plan->pp - 1 ? (double)shape->hidden * shape->vocabulary : 0;
    uint32_t count = 0;
    while (count < layers - stage) {
        load += layer_work(shape, layers - 1 - count);
        if (load > limit) break;
        count++;
    }
    return count;
}

static bool stages_fit(
    const px_plan_shape *shape, const px_plan *plan, uint32_t last, uint32_t layers, double limit)
{
    for (uint32_t stages = last + 1; stages-- > 0;) {
        uint32_t count = fill_stage(shape, plan, stages, layers, limit);
        if (count == 0) return false;
        layers -= count;
    }
    return layers == 0;
}

/* From the last stage to the first: the least limit under which the layers left fit into the stages
 * left (by halving the interval in which it lies), and a stage filled up to it. Finding the limit
 * anew for each keeps the others even where one layer and the output matrix are more than a share.
 */
static void cut_stages(const px_plan_shape *shape, px_plan *plan)
{
    uint32_t layers = shape->layers;
    double all = (double)shape->hidden * shape->vocabulary;
    for (uint32_t i = 0; i < layers; i++) all += layer_work(shape, i);
    for (uint32_t stage = plan->pp; stage-- > 0;) {
        double low = 0, high = all * (1 + 1e-9); /* enough, whatever the order of adding */
        for (int i = 0; i < 60; i++) {
            double middle = (low + high) / 2;
            if (stages_fit(shape, plan, stage, layers, middle))
                high = middle;
            else
                low = middle;
        }
        uint32_t count = fill_stage(shape, plan, stage, layers, high);
        layers -= count;
        plan->stages[stage] = (px_range){.begin = layers, .count = count};
    }
    PX_ASSERT(layers == 0);
}

/* --- the whole ---------------------------------------------------------------------------- */

static px_status check_degrees(const px_plan_shape *shape, uint32_t tp, uint32_t pp)
{
    if (tp < 1 || tp > PX_PLAN_TP_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the tensor-parallel degree must be 1 to %d, not %u",
            PX_PLAN_TP_MAX, tp);
    if (pp < 1 || pp > PX_PLAN_PP_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the pipeline-parallel degree must be 1 to %d, not %u",
            PX_PLAN_PP_MAX, pp);
    if (tp > shape->hidden)
        return px_fail(PX_INVALID_ARGUMENT,
            "cannot cut rows of %u elements over %u ranks; use --tp %u or less", shape->hidden, tp,
            shape->hidden);
    if (pp > shape->layers)
        return px_fail(PX_INVALID_ARGUMENT,
            "cannot cut %u layers into %u pipeline stages; use --pp %u or less", shape->layers, pp,
            shape->layers);
    return px_ok();
}

static px_status check_shape(const px_plan_shape *shape)
{
    if (!shape->layers || !shape->hidden || !shape->heads || !shape->kv_heads || !shape->vocabulary)
        return px_fail(PX_INVALID_ARGUMENT, "a model without layers, heads, width or vocabulary "
                                            "cannot be cut over ranks");
    if (shape->layers > PX_PLAN_LAYERS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%u layers are more than the %d that a model may have",
            shape->layers, PX_PLAN_LAYERS_MAX);
    if (shape->heads % shape->kv_heads != 0)
        return px_fail(PX_INVALID_ARGUMENT, "%u query heads do not divide over %u KV heads",
            shape->heads, shape->kv_heads);
    if (!shape->ffn_block)
        return px_fail(PX_INVALID_ARGUMENT, "the MLP's columns need a block size of 1 or more");
    return px_ok();
}

px_status px_plan_make(
    const px_plan_shape *shape, uint32_t tp, uint32_t pp, const double *weights, px_plan *out)
{
    PX_TRY(check_shape(shape));
    PX_TRY(check_degrees(shape, tp, pp));
    double even[PX_PLAN_TP_MAX];
    for (uint32_t i = 0; i < tp; i++) {
        even[i] = weights ? weights[i] : 1;
        if (!(even[i] > 0) || !isfinite(even[i]))
            return px_fail(
                PX_INVALID_ARGUMENT, "the speed of rank %u must be a positive number", i);
    }
    px_plan plan = {.tp = tp, .pp = pp};
    cut_places(shape, even, &plan);
    cut_stages(shape, &plan);
    *out = plan;
    return px_ok();
}
