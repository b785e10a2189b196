/* test_plan.c - whatever the shape, everything is covered once and evenly; KV heads where read. */
#include "parallel/plan.h"

#include "test.h"

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % bound);
}

static uint32_t random_between(uint32_t low, uint32_t high)
{
    return low + random_below(high - low + 1);
}

static const px_plan_shape smollm2 = {.layers = 30,
    .hidden = 576,
    .heads = 9,
    .kv_heads = 3,
    .head_dim_k = 64,
    .head_dim_v = 64,
    .ffn = 1536,
    .ffn_block = 32,
    .vocabulary = 49152};

static px_plan_shape random_shape(void)
{
    static const uint32_t blocks[] = {1, 32, 64, 256};
    px_plan_shape shape = {.layers = random_between(1, 100),
        .hidden = 16 * random_between(4, 500),
        .kv_heads = random_between(1, 40),
        .head_dim_k = 8 * random_between(1, 32),
        .head_dim_v = 8 * random_between(1, 32),
        .ffn_block = blocks[random_below(4)],
        .attn_block = random_below(2) ? blocks[random_below(4)] : 0,
        .vocabulary = random_between(1, 300000)};
    shape.heads = shape.kv_heads * random_between(1, 8);
    shape.ffn = shape.ffn_block * random_between(64, 400);
    if (random_below(2)) {
        shape.experts = random_between(2, 64);
        shape.experts_used = random_between(1, shape.experts);
        shape.ffn_expert = shape.ffn_block * random_between(64, 100);
        shape.ffn_shared = random_below(2) ? shape.ffn_block * random_between(64, 100) : 0;
        shape.dense_layers_first = random_below(shape.layers + 1);
    }
    return shape;
}

/* --- each element once -------------------------------------------------------------------- */

typedef px_range (*range_of)(const px_plan_place *place);
static px_range hidden_of(const px_plan_place *p)
{
    return p->hidden;
}
static px_range heads_of(const px_plan_place *p)
{
    return p->heads;
}
static px_range ffn_of(const px_plan_place *p)
{
    return p->ffn;
}
static px_range expert_of(const px_plan_place *p)
{
    return p->ffn_expert;
}
static px_range shared_of(const px_plan_place *p)
{
    return p->ffn_shared;
}
static px_range vocabulary_of(const px_plan_place *p)
{
    return p->vocabulary;
}

/* In order, without gap or overlap, inner borders on multiples of `unit`. */
static void check_cover(const px_plan *plan, range_of get, uint32_t total, uint32_t unit)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < plan->tp; i++) {
        px_range range = get(&plan->places[i]);
        PX_CHECK(range.begin == at);
        at += range.count;
        PX_CHECK(at % unit == 0 || at == total);
    }
    PX_CHECK(at == total);
}

/* Query heads that fill whole blocks of the output projection's input. */
static uint32_t head_unit(const px_plan_shape *shape)
{
    uint32_t unit = 1;
    while (shape->attn_block && unit * shape->head_dim_v % shape->attn_block) unit++;
    return unit;
}

static uint32_t group_of(const px_plan_shape *shape)
{
    return shape->heads / shape->kv_heads;
}

/* A place has exactly the KV heads that its query heads read. */
static void check_kv_heads(const px_plan_shape *shape, const px_plan_place *place)
{
    uint32_t group = group_of(shape), end = place->heads.begin + place->heads.count;
    PX_CHECK((place->kv_heads.count == 0) == (place->heads.count == 0));
    if (!place->heads.count) return;
    PX_CHECK(place->kv_heads.begin == place->heads.begin / group);
    PX_CHECK(place->kv_heads.begin + place->kv_heads.count == (end - 1) / group + 1);
}

static void check_places(const px_plan_shape *shape, const px_plan *plan)
{
    check_cover(plan, hidden_of, shape->hidden, shape->hidden / 16 >= plan->tp ? 16 : 1);
    check_cover(plan, heads_of, shape->heads, head_unit(shape));
    check_cover(plan, ffn_of, shape->ffn, shape->ffn_block);
    check_cover(plan, expert_of, shape->ffn_expert, shape->ffn_block);
    check_cover(plan, shared_of, shape->ffn_shared, shape->ffn_block);
    check_cover(plan, vocabulary_of, shape->vocabulary, 16);
    for (uint32_t i = 0; i < plan->tp; i++) {
        check_kv_heads(shape, &plan->places[i]);
        PX_CHECK(plan->places[i].ffn.count > 0 && plan->places[i].hidden.count > 0);
    }
}

static void check_stages(const px_plan_shape *shape, const px_plan *plan)
{
    uint32_t layer = 0;
    for (uint32_t s = 0; s < plan->pp; s++) {
        PX_CHECK(plan->stages[s].begin == layer);
        PX_CHECK(plan->stages[s].count > 0);
        layer += plan->stages[s].count;
    }
    PX_CHECK(layer == shape->layers);
}

PX_TEST(every_element_belongs_to_exactly_one_place_and_stage)
{
    for (int i = 0; i < 5000; i++) {
        px_plan_shape shape = random_shape();
        double weights[PX_PLAN_TP_MAX];
        uint32_t tp = random_between(1, PX_PLAN_TP_MAX);
        uint32_t pp = random_between(1, shape.layers < 64 ? shape.layers : 64);
        for (uint32_t p = 0; p < tp; p++) weights[p] = 0.01 + random_below(1000) / 100.0;
        px_plan plan;
        px_status status = px_plan_make(&shape, tp, pp, random_below(2) ? weights : NULL, &plan);
        PX_CHECK_OK(status);
        if (!px_is_ok(status)) continue;
        PX_CHECK(plan.tp == tp && plan.pp == pp);
        check_places(&shape, &plan);
        check_stages(&shape, &plan);
    }
}

/* --- evenly ------------------------------------------------------------------------------- */

/* The slowest place cannot be helped: a unit less for it would make another just as slow. */
static void check_balance(const px_plan *plan, range_of get, uint32_t unit, const double *weights)
{
    double slowest = 0;
    for (uint32_t i = 0; i < plan->tp; i++) {
        double time = (double)((get(&plan->places[i]).count + unit - 1) / unit) / weights[i];
        slowest = time > slowest ? time : slowest;
    }
    for (uint32_t i = 0; i < plan->tp; i++) {
        uint32_t units = (get(&plan->places[i]).count + unit - 1) / unit;
        PX_CHECK((units + 1) / weights[i] >= slowest * (1 - 1e-9));
    }
}

PX_TEST(the_slowest_place_is_as_fast_as_it_can_be)
{
    for (int i = 0; i < 3000; i++) {
        px_plan_shape shape = random_shape();
        shape.attn_block = 0;
        double weights[16];
        uint32_t tp = random_between(1, 16);
        for (uint32_t p = 0; p < tp; p++) weights[p] = 1 + random_below(100) / 50.0;
        px_plan plan;
        PX_CHECK_OK(px_plan_make(&shape, tp, 1, weights, &plan));
        check_balance(&plan, ffn_of, shape.ffn_block, weights);
        check_balance(&plan, vocabulary_of, 16, weights);
    }
}

/* Weights read for a head, and the cache of a KV head counted as much again. */
static double burden(const px_plan_shape *shape, uint32_t begin, uint32_t end)
{
    uint32_t group = group_of(shape);
    return begin == end ? 0 : (end - begin) + 2.0 * ((end - 1) / group + 1 - begin / group);
}

enum { SMALL_HEADS = 24, SMALL_PLACES = 6 };

/* The least time of the slowest place over every possible cut at multiples of `unit`, with at most
 * `kv_heads_max` on each place: least[p][h] for the first h heads on the first p places. */
static double slowest_of_best(const px_plan_shape *shape, const px_plan *plan,
    const double *weights, uint32_t unit, uint32_t kv_heads_max)
{
    double least[SMALL_PLACES + 1][SMALL_HEADS + 1];
    for (uint32_t h = 0; h <= shape->heads; h++) least[0][h] = h ? INFINITY : 0;
    for (uint32_t p = 1; p <= plan->tp; p++)
        for (uint32_t end = 0; end <= shape->heads; end++) {
            least[p][end] = INFINITY;
            for (uint32_t begin = 0; begin <= end; begin++) {
                uint32_t group = group_of(shape);
                uint32_t kv_heads = begin == end ? 0 : (end - 1) / group + 1 - begin / group;
                bool possible = (end % unit == 0 || end == shape->heads) && begin % unit == 0;
                if ((!possible && begin != end) || kv_heads > kv_heads_max) continue;
                double time = burden(shape, begin, end) / weights[p - 1];
                least[p][end] = fmin(least[p][end], fmax(least[p - 1][begin], time));
            }
        }
    return least[plan->tp][shape->heads];
}

/* KV heads are repeated only where it makes the slowest place faster, and no place gets more of
 * them than the fullest of a cut by whole groups would. */
PX_TEST(attention_is_cut_by_whole_groups_or_faster)
{
    int inside = 0;
    for (int i = 0; i < 3000; i++) {
        px_plan_shape shape = random_shape();
        double weights[SMALL_PLACES];
        uint32_t tp = random_between(1, SMALL_PLACES);
        bool equal = random_below(2);
        shape.attn_block = 0;
        shape.kv_heads = random_between(1, 6);
        shape.heads = shape.kv_heads * random_between(1, SMALL_HEADS / shape.kv_heads);
        for (uint32_t p = 0; p < tp; p++) weights[p] = equal ? 1 : 1 + random_below(100) / 50.0;
        px_plan plan;
        PX_CHECK_OK(px_plan_make(&shape, tp, 1, weights, &plan));

        uint32_t kv_heads = 0, kv_heads_max = 0;
        double slowest = 0;
        for (uint32_t p = 0; p < tp; p++) {
            px_range heads = plan.places[p].heads;
            double time = burden(&shape, heads.begin, heads.begin + heads.count) / weights[p];
            slowest = fmax(slowest, time);
            kv_heads += plan.places[p].kv_heads.count;
            kv_heads_max = kv_heads_max > plan.places[p].kv_heads.count
                               ? kv_heads_max
                               : plan.places[p].kv_heads.count;
        }
        double whole = slowest_of_best(&shape, &plan, weights, group_of(&shape), shape.kv_heads);
        double best = slowest_of_best(&shape, &plan, weights, 1, kv_heads_max);
        PX_CHECK(slowest <= best * (1 + 1e-9));
        if (kv_heads == shape.kv_heads) continue;
        inside++;
        PX_CHECK(slowest < whole);
        if (equal) PX_CHECK(kv_heads_max <= (shape.kv_heads + tp - 1) / tp);
    }
    PX_CHECK(inside > 100);
}

static double stage_work(const px_plan_shape *shape, px_range stage)
{
    double layer = (double)shape->hidden * (shape->heads + shape->kv_heads) *
                       (shape->head_dim_k + shape->head_dim_v) +
                   3.0 * shape->hidden * shape->ffn;
    bool is_last = stage.begin + stage.count == shape->layers;
    return layer * stage.count + (is_last ? (double)shape->hidden * shape->vocabulary : 0);
}

static uint32_t least_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* No stage works longer than its share and one layer; where the output matrix is more than a share,
 * the last has one layer beside it and the others are even among themselves. */
PX_TEST(stages_are_even_with_the_output_matrix_counted_last)
{
    for (int i = 0; i < 3000; i++) {
        px_plan_shape shape = random_shape();
        shape.experts = 0;
        uint32_t pp = random_between(1, least_of(shape.layers, 64));
        px_plan plan;
        PX_CHECK_OK(px_plan_make(&shape, 1, pp, NULL, &plan));
        double total = 0, output = (double)shape.hidden * shape.vocabulary;
        for (uint32_t s = 0; s < pp; s++) total += stage_work(&shape, plan.stages[s]);
        double layer = (total - output) / shape.layers;
        uint32_t least = shape.layers, most = 0;
        for (uint32_t s = 0; s < pp; s++) {
            bool is_last = s == pp - 1;
            double work = stage_work(&shape, plan.stages[s]);
            PX_CHECK(work <= (total / pp + layer) * (1 + 1e-9) ||
                     (is_last && plan.stages[s].count == 1));
            if (is_last) continue;
            least = least_of(least, plan.stages[s].count);
            most = plan.stages[s].count > most ? plan.stages[s].count : most;
        }
        PX_CHECK(pp < 3 || most - least <= 1);
    }
}

/* --- known cases -------------------------------------------------------------------------- */

static bool is_range(px_range range, uint32_t begin, uint32_t count)
{
    return range.begin == begin && range.count == count;
}

PX_TEST(nine_heads_in_three_groups_over_two_places_share_the_middle_group)
{
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&smollm2, 2, 1, NULL, &plan));
    PX_CHECK(is_range(plan.places[0].heads, 0, 5) && is_range(plan.places[1].heads, 5, 4));
    PX_CHECK(is_range(plan.places[0].kv_heads, 0, 2) && is_range(plan.places[1].kv_heads, 1, 2));
    PX_CHECK(plan.places[0].ffn.count == 768 && plan.places[1].ffn.count == 768);
    PX_CHECK(plan.places[0].vocabulary.count == 24576);
}

PX_TEST(groups_that_divide_evenly_stay_whole)
{
    px_plan_shape shape = smollm2;
    shape.heads = 32, shape.kv_heads = 8;
    px_plan plan;
    for (uint32_t tp = 1; tp <= 8; tp *= 2) {
        PX_CHECK_OK(px_plan_make(&shape, tp, 1, NULL, &plan));
        for (uint32_t i = 0; i < tp; i++) {
            PX_CHECK(is_range(plan.places[i].heads, 32 / tp * i, 32 / tp));
            PX_CHECK(is_range(plan.places[i].kv_heads, 8 / tp * i, 8 / tp));
        }
    }
}

PX_TEST(more_places_than_kv_heads_have_a_part_of_a_group_each)
{
    px_plan_shape shape = smollm2;
    shape.heads = 64, shape.kv_heads = 8;
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&shape, 16, 1, NULL, &plan));
    for (uint32_t i = 0; i < 16; i++) {
        PX_CHECK(is_range(plan.places[i].heads, 4 * i, 4));
        PX_CHECK(is_range(plan.places[i].kv_heads, i / 2, 1));
    }
    /* All read one KV head. */
    shape.heads = 10, shape.kv_heads = 1;
    PX_CHECK_OK(px_plan_make(&shape, 3, 1, NULL, &plan));
    for (uint32_t i = 0; i < 3; i++) {
        PX_CHECK(plan.places[i].heads.count >= 2 && plan.places[i].heads.count <= 4);
        PX_CHECK(is_range(plan.places[i].kv_heads, 0, 1));
    }
}

/* Of three groups of three a fourth place cannot make the slowest faster: one has three heads. */
PX_TEST(a_place_that_cannot_help_has_no_heads)
{
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&smollm2, 4, 1, NULL, &plan));
    PX_CHECK(plan.places[2].kv_heads.count == 1 && plan.places[3].kv_heads.count == 0);
    PX_CHECK(plan.places[3].heads.count == 0 && plan.places[3].ffn.count == 384);
}

PX_TEST(a_slow_place_gets_less_but_something)
{
    double weights[2] = {3, 1};
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&smollm2, 2, 1, weights, &plan));
    PX_CHECK(plan.places[0].ffn.count == 1152 && plan.places[1].ffn.count == 384);
    weights[1] = 1e-9;
    PX_CHECK_OK(px_plan_make(&smollm2, 2, 1, weights, &plan));
    PX_CHECK(plan.places[0].ffn.count == 1504 && plan.places[1].ffn.count == 32);
}

PX_TEST(the_output_matrix_weighs_on_the_last_stage)
{
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&smollm2, 1, 2, NULL, &plan));
    PX_CHECK(plan.stages[0].count == 19 && plan.stages[1].count == 11);
}

PX_TEST(heads_narrower_than_a_block_go_together)
{
    px_plan_shape shape = smollm2;
    shape.attn_block = 256; /* four heads of 64 make a block, and a group has three */
    shape.kv_heads = 8;
    shape.heads = 24;
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&shape, 3, 1, NULL, &plan));
    for (uint32_t i = 0; i < 3; i++) PX_CHECK(is_range(plan.places[i].heads, 8 * i, 8));
    PX_CHECK(is_range(plan.places[1].kv_heads, 2, 4));
    shape.kv_heads = shape.heads = 8; /* four go together, so of three places one has none */
    PX_CHECK_OK(px_plan_make(&shape, 3, 1, NULL, &plan));
    PX_CHECK(plan.places[0].kv_heads.count == 4 && plan.places[1].kv_heads.count == 4);
    PX_CHECK(plan.places[2].kv_heads.count == 0);
}

/* --- refusals ----------------------------------------------------------------------------- */

static void check_refused(const px_plan_shape *shape, uint32_t tp, uint32_t pp)
{
    px_plan plan = {.tp = 77};
    px_status status = px_plan_make(shape, tp, pp, NULL, &plan);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT);
    PX_CHECK(status.text[0] != '\0');
    PX_CHECK(plan.tp == 77); /* untouched */
}

PX_TEST(a_place_may_hold_no_part_of_what_has_fewer_blocks_than_places)
{
    px_plan_shape shape = smollm2;
    shape.ffn = shape.ffn_block = 256;
    px_plan plan;
    PX_CHECK_OK(px_plan_make(&shape, 3, 1, NULL, &plan));
    uint32_t columns = 0, holders = 0;
    for (uint32_t i = 0; i < 3; i++) {
        columns += plan.places[i].ffn.count;
        holders += plan.places[i].ffn.count != 0;
    }
    PX_CHECK(columns == 256 && holders == 1);
}

PX_TEST(what_cannot_be_cut_is_refused_with_a_sentence)
{
    px_plan_shape shape = smollm2;
    check_refused(&shape, 0, 1);
    check_refused(&shape, 65, 1);
    check_refused(&shape, 1, 0);
    check_refused(&shape, 1, 31);
    shape.heads = 10;
    check_refused(&shape, 1, 1);
    shape = smollm2, shape.kv_heads = 0;
    check_refused(&shape, 1, 1);
    shape = smollm2, shape.ffn_block = 0;
    check_refused(&shape, 1, 1);
    shape = smollm2, shape.layers = 0xFFFFFFFF;
    check_refused(&shape, 1, 1);
    double bad[2] = {1, -1};
    px_plan plan;
    PX_CHECK(px_plan_make(&smollm2, 2, 1, bad, &plan).code == PX_INVALID_ARGUMENT);
    bad[1] = NAN;
    PX_CHECK(px_plan_make(&smollm2, 2, 1, bad, &plan).code == PX_INVALID_ARGUMENT);
}

PX_TEST_MAIN()
