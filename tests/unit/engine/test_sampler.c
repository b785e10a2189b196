/* test_sampler.c - the next token depends on logits, settings, seed and position, as defined. */
#include "engine/sample/race.h"
#include "engine/sampler.h"
#include "test.h"

enum { VOCABULARY = 600 };

static px_sampler *make(void)
{
    px_sampler *sampler = NULL;
    PX_CHECK_OK(px_sampler_create(VOCABULARY, &sampler));
    return sampler;
}

static void random_logits(uint64_t seed, float spread, float *out)
{
    for (uint32_t i = 0; i < VOCABULARY; i++)
        out[i] = (float)(px_random_unit(seed, i) - 0.5) * spread;
}

/* Known answers: Random123's kat_vectors for philox4x32-10. */
PX_TEST(philox_gives_the_published_numbers)
{
    static const struct {
        px_philox_counter counter;
        px_philox_key key;
        px_philox_counter want;
    } known[] = {
        {{{0, 0, 0, 0}}, {{0, 0}}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{~0u, ~0u, ~0u, ~0u}}, {{~0u, ~0u}}, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {{0xa4093822, 0x299f31d0}},
            {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        px_philox_counter got = px_philox(known[i].counter, known[i].key);
        PX_CHECK(memcmp(&got, &known[i].want, sizeof got) == 0);
    }
}

PX_TEST(greedy_takes_the_first_of_the_largest_finite_values)
{
    static float logits[VOCABULARY];
    px_sampler *sampler = make();
    px_sampling greedy = {.top_p = 1};
    random_logits(1, 8, logits);
    logits[77] = logits[501] = 9;
    PX_CHECK(px_sampler_pick(sampler, &greedy, 0, logits) == 77);
    px_sampling cold = {.temperature = 1e-42f, .top_p = 1};
    PX_CHECK(px_sampler_pick(sampler, &cold, 0, logits) == 77);
    logits[3] = NAN;
    logits[599] = INFINITY;
    PX_CHECK(px_sampler_pick(sampler, &greedy, 0, logits) == 77);
    for (int i = 0; i < VOCABULARY; i++) logits[i] = NAN;
    PX_CHECK(px_sampler_pick(sampler, &greedy, 0, logits) == -1);
    logits[598] = -1e30f;
    PX_CHECK(px_sampler_pick(sampler, &greedy, 0, logits) == 598);
    px_sampler_free(sampler);
}

PX_TEST(frequencies_follow_the_softmax_at_the_temperature)
{
    enum { DRAWS = 20000, LIKELY = 4 };
    static float logits[VOCABULARY];
    for (int i = 0; i < VOCABULARY; i++) logits[i] = i < LIKELY ? (float)i : -INFINITY;
    static const float temperatures[] = {0.5f, 1, 3};
    px_sampler *sampler = make();
    for (int t = 0; t < 3; t++) {
        px_sampling sampling = {.temperature = temperatures[t], .top_p = 1, .seed = 42};
        int count[LIKELY] = {0};
        double total = 0;
        for (uint32_t position = 0; position < DRAWS; position++) {
            int64_t id = px_sampler_pick(sampler, &sampling, position, logits);
            PX_REQUIRE(id >= 0 && id < LIKELY);
            count[id]++;
        }
        for (int i = 0; i < LIKELY; i++) total += exp(i / temperatures[t]);
        for (int i = 0; i < LIKELY; i++) {
            double p = exp(i / temperatures[t]) / total, sigma = sqrt(p * (1 - p) / DRAWS);
            PX_CHECK(fabs((double)count[i] / DRAWS - p) < 5 * sigma);
        }
    }
    px_sampler_free(sampler);
}

typedef struct ranked {
    float logit;
    double weight;
    uint32_t id;
} ranked;

static int best_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* The definition, with a full sort. */
static uint32_t reference(const px_sampling *sampling, uint32_t position, const float *logits)
{
    static ranked all[VOCABULARY];
    float best = logits[0];
    for (uint32_t i = 1; i < VOCABULARY; i++) best = fmaxf(best, logits[i]);
    for (uint32_t i = 0; i < VOCABULARY; i++)
        all[i] = (ranked){logits[i], exp((logits[i] - best) / (double)sampling->temperature), i};
    double total = 0, sum = 0;
    for (uint32_t i = 0; i < VOCABULARY; i++) total += all[i].weight;
    qsort(all, VOCABULARY, sizeof *all, best_first);
    uint32_t limit = VOCABULARY, kept = 0;
    if (sampling->top_k && sampling->top_k < VOCABULARY) {
        limit = sampling->top_k;
        total = 0;
        for (uint32_t i = 0; i < limit; i++) total += all[i].weight;
    }
    while (kept < limit && (sampling->top_p >= 1 || sum < sampling->top_p * total))
        sum += all[kept++].weight;
    while (kept > 1 && all[kept - 1].weight < sampling->min_p) kept--;
    px_race race = px_race_at(sampling->seed, (px_random_place){.position = position});
    uint32_t winner = 0;
    double first = INFINITY;
    for (uint32_t i = 0; i < kept; i++) { /* who arrives first */
        uint32_t number = all[i].id;
        PX_RACE_NUMBER(number, race);
        double arrives = -log1p(-(number + 0.5) * 0x1p-31) / all[i].weight;
        if (arrives < first) first = arrives, winner = all[i].id;
    }
    return winner;
}

PX_TEST(filters_agree_with_their_definition_by_a_full_sort)
{
    static float logits[VOCABULARY];
    static const px_sampling settings[] = {
        {.temperature = 1, .top_p = 1, .top_k = 5},
        {.temperature = 0.7f, .top_p = 0.9f},
        {.temperature = 1.3f, .top_p = 0.3f, .top_k = 40},
        {.temperature = 1, .top_p = 1, .min_p = 0.1f},
        {.temperature = 2, .top_p = 0.95f, .top_k = 100, .min_p = 0.2f},
        {.temperature = 1, .top_p = 0.999f, .top_k = VOCABULARY + 7},
        {.temperature = 1, .top_p = 1e-6f},
        {.temperature = 1, .top_p = 1},
    };
    px_sampler *sampler = make();
    int distinct = 0;
    for (uint32_t i = 0; i < 800; i++) {
        px_sampling sampling = settings[i % 8];
        sampling.seed = i / 8;
        random_logits(1000 + i, 12, logits);
        if (i % 3 == 0) /* ties */
            for (int j = 0; j < VOCABULARY; j++) logits[j] = floorf(logits[j]);
        int64_t got = px_sampler_pick(sampler, &sampling, i, logits);
        PX_CHECK(got == reference(&sampling, i, logits));
        distinct += got != px_sampler_pick(sampler, &sampling, i + 1, logits);
    }
    PX_CHECK(distinct > 300); /* the positions do draw differently */
    px_sampler_free(sampler);
}

/* Typical sampling by its definition: the tokens nearest to the expected surprise, nearest first,
 * until they make up p; then drawn from as they are. */
PX_TEST(typical_sampling_keeps_the_expected)
{
    /* Probabilities 0.5, 0.25, 0.125, 0.125: the entropy is 1.75 bits, so the order of surprise is
     * 0.25 (2 bits), 0.5 (1 bit), then the two of 3 bits. */
    static float logits[VOCABULARY];
    for (int i = 0; i < VOCABULARY; i++) logits[i] = -INFINITY;
    logits[7] = logf(0.5f), logits[3] = logf(0.25f), logits[5] = logits[9] = logf(0.125f);
    px_sampler *sampler = make();
    int drawn[2][VOCABULARY] = {{0}};
    for (uint32_t i = 0; i < 2000; i++) {
        px_sampling narrow = {.temperature = 1, .top_p = 1, .typical_p = 0.2f};
        px_sampling wider = {.temperature = 1, .top_p = 1, .typical_p = 0.7f};
        drawn[0][px_sampler_pick(sampler, &narrow, i, logits)]++;
        drawn[1][px_sampler_pick(sampler, &wider, i, logits)]++;
    }
    PX_CHECK(drawn[0][3] == 2000);
    PX_CHECK(drawn[1][3] + drawn[1][7] == 2000);
    PX_CHECK(drawn[1][7] > 1200 && drawn[1][7] < 1460); /* two thirds */
    px_sampling all = {.temperature = 1, .top_p = 1, .typical_p = 1},
                off = {.temperature = 1, .top_p = 1};
    for (uint32_t i = 0; i < 50; i++)
        PX_CHECK(
            px_sampler_pick(sampler, &all, i, logits) == px_sampler_pick(sampler, &off, i, logits));
    px_sampler_free(sampler);
}

/* A draft model's distribution is near its target's, and so mostly is what it draws. */
PX_TEST(like_distributions_draw_the_same)
{
    enum { DRAWS = 4000 };
    static float logits[VOCABULARY], draft[VOCABULARY];
    px_sampler *sampler = make();
    px_sampling sampling = {.temperature = 1, .top_p = 1, .seed = 9};
    double p_sum = 0, q_sum = 0, distance = 0;
    random_logits(5, 10, logits);
    for (uint32_t i = 0; i < VOCABULARY; i++) {
        draft[i] = logits[i] + (float)(px_random_unit(6, i) - 0.5);
        p_sum += exp((double)logits[i]);
        q_sum += exp((double)draft[i]);
    }
    for (uint32_t i = 0; i < VOCABULARY; i++)
        distance += fabs(exp((double)logits[i]) / p_sum - exp((double)draft[i]) / q_sum) / 2;
    int same = 0;
    for (uint32_t i = 0; i < DRAWS; i++)
        same += px_sampler_pick(sampler, &sampling, i, logits) ==
                px_sampler_pick(sampler, &sampling, i, draft);
    PX_CHECK(distance > 0.05 && distance < 0.3);
    PX_CHECK((double)same / DRAWS > (1 - distance) / (1 + distance) - 0.03);
    px_sampler_free(sampler);
}

PX_TEST(bad_settings_are_refused_with_their_value)
{
    px_sampling good = {.temperature = 1, .top_p = 0.5f, .min_p = 0.1f};
    PX_CHECK_OK(px_sampling_check(&good));
    const px_sampling bad[] = {
        {.temperature = -1, .top_p = 1},
        {.temperature = NAN, .top_p = 1},
        {.temperature = INFINITY, .top_p = 1},
        {.temperature = 1, .top_p = 0},
        {.temperature = 1, .top_p = 1.5f},
        {.temperature = 1, .top_p = NAN},
        {.temperature = 1, .top_p = 1, .min_p = -0.1f},
        {.temperature = 1, .top_p = 1, .min_p = 2},
        {.temperature = 1, .top_p = 1, .typical_p = -0.5f},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        px_status status = px_sampling_check(&bad[i]);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && status.text[0]);
    }
}

PX_TEST_MAIN()
