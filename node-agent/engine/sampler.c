/* sampler.c - see sampler.h.
 *
 * The filters keep a prefix of the tokens in descending order of their logits, so only that prefix
 * is sorted: a heap over the tokens that can take part gives it one by one. Weights are
 * exp((logit - best) / temperature), probabilities up to a factor; our own exp() makes them the
 * same numbers on every machine, and loops over lanes become vector code.
 */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample/race.h"

#define LN_2 0.69314718055994531
enum { LANES = 4, BLOCK = 1024 /* tokens whose weights are summed together */ };
static const float temperature_least = 1e-5f; /* below, all but the best would weigh nothing */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t masks __attribute__((vector_size(LANES * sizeof(int32_t)))); /* -1 or 0 */

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

struct px_sampler {
    uint32_t vocabulary;
    size_t scratch_bytes;
    candidate *heap;   /* [vocabulary] */
    float *row, *kept; /* [vocabulary] the caller's copy; logits of the typical tokens */
};

px_status px_sampling_check(const px_sampling *sampling)
{
    if (!(sampling->temperature >= 0 && sampling->temperature <= 100))
        return px_fail(PX_INVALID_ARGUMENT, "temperature must be from 0 (greedy) to 100, not %g",
            (double)sampling->temperature);
    if (!(sampling->top_p > 0 && sampling->top_p <= 1))
        return px_fail(PX_INVALID_ARGUMENT, "top_p must be above 0 and at most 1 (off), not %g",
            (double)sampling->top_p);
    if (!(sampling->min_p >= 0 && sampling->min_p <= 1))
        return px_fail(PX_INVALID_ARGUMENT, "min_p must be from 0 (off) to 1, not %g",
            (double)sampling->min_p);
    if (!(sampling->typical_p >= 0 && sampling->typical_p <= 1))
        return px_fail(PX_INVALID_ARGUMENT, "typical_p must be from 0 to 1 (both off), not %g",
            (double)sampling->typical_p);
    return px_ok();
}

px_status px_sampler_create(uint32_t vocabulary, px_sampler **out)
{
    px_sampler *sampler = px_alloc(sizeof *sampler);
    sampler->vocabulary = vocabulary;
    sampler->scratch_bytes = (size_t)vocabulary * (sizeof(candidate) + 2 * sizeof(float));
    void *scratch;
    px_status status = px_big_alloc(sampler->scratch_bytes, "the sampler's candidates", &scratch);
    if (!px_is_ok(status)) {
        px_sampler_free(sampler);
        return status;
    }
    sampler->heap = scratch;
    sampler->row = (float *)(sampler->heap + vocabulary);
    sampler->kept = sampler->row + vocabulary;
    *out = sampler;
    return px_ok();
}

float *px_sampler_row(px_sampler *sampler)
{
    return sampler->row;
}

void px_sampler_free(px_sampler *sampler)
{
    if (!sampler) return;
    px_big_free(sampler->heap, sampler->scratch_bytes);
    free(sampler);
}

/* --- arithmetic over a whole row ---------------------------------------------------------- */

static inline lanes load(const float *from)
{
    lanes x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline lanes choose(masks where, lanes yes, lanes no)
{
    return (lanes)((where & (masks)yes) | (~where & (masks)no));
}

/* NaN is never larger. */
static float largest(const float *x, uint32_t count)
{
    enum { CHAINS = 4 }; /* independent ones, so that none waits for the last comparison */
    float best = -INFINITY;
    lanes chain[CHAINS];
    for (int j = 0; j < CHAINS; j++) chain[j] = (lanes){-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    uint32_t i = 0;
    for (; i + CHAINS * LANES <= count; i += CHAINS * LANES) {
        for (int j = 0; j < CHAINS; j++) {
            lanes next = load(x + i + (uint32_t)j * LANES);
            chain[j] = choose(next > chain[j], next, chain[j]);
        }
    }
    for (; i < count; i++) best = x[i] > best ? x[i] : best;
    for (int j = 0; j < CHAINS * LANES; j++) {
        float one = chain[j / LANES][j % LANES];
        best = one > best ? one : best;
    }
    return best;
}

/* The first of the largest finite values; -1: there is none. */
static int64_t argmax(const float *x, uint32_t count)
{
    float best = largest(x, count);
    if (!isfinite(best)) { /* nothing, or an infinity among the values: look at each */
        best = -INFINITY;
        for (uint32_t i = 0; i < count; i++)
            if (isfinite(x[i]) && x[i] > best) best = x[i];
        if (!isfinite(best)) return -1;
    }
    int64_t first = 0;
    while (x[first] != best) first++;
    return first;
}

/* 2^t for t <= 0: the exponent's bits times Taylor's series of 2^f, |f| <= 1/2 (7 digits). */
static inline lanes exp2_of(lanes t)
{
    t = choose(t > -126, t, (lanes){-126, -126, -126, -126});
    masks whole = __builtin_convertvector(t - 0.5f, masks);
    lanes f = t - __builtin_convertvector(whole, lanes);
    lanes series = 1.5403530e-4f * f + 1.3333558e-3f;
    series = series * f + 9.6181291e-3f;
    series = series * f + 5.5504109e-2f;
    series = series * f + 2.4022651e-1f;
    series = series * f + 6.9314718e-1f;
    series = series * f + 1;
    return (lanes)((whole + 127) << 23) * series;
}

typedef struct scale {  /* from logits to weights */
    float best, factor; /* log2(e) / temperature */
} scale;

/* At most 1, which is the best one's; 0 for what is no finite number. */
static inline lanes weights_of(scale s, lanes logits)
{
    masks valid = (logits <= s.best) & (logits > -INFINITY);
    return choose(valid, exp2_of((logits - s.best) * s.factor), (lanes){0});
}

static float weight_of(scale s, float logit)
{
    return weights_of(s, (lanes){logit})[0];
}

static double sum_block(scale s, const float *logits, uint32_t count)
{
    lanes sums = {0};
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES) sums += weights_of(s, load(logits + i));
    double sum = 0;
    for (; i < count; i++) sum += weight_of(s, logits[i]);
    for (int j = 0; j < LANES; j++) sum += sums[j];
    return sum;
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

/* The weight of all tokens. */
static double sum_all(const px_sampler *sampler, scale s, const float *logits)
{
    double total = 0;
    for (uint32_t at = 0; at < sampler->vocabulary; at += BLOCK)
        total += sum_block(s, logits + at, at_most(BLOCK, sampler->vocabulary - at));
    return total;
}

/* --- a heap of candidates ----------------------------------------------------------------- */

static bool before(candidate a, candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static bool after(candidate a, candidate b)
{
    return before(b, a);
}

typedef bool (*order_fn)(candidate a, candidate b);

static inline void sift_down(candidate *heap, uint32_t count, order_fn order, uint32_t at)
{
    candidate moved = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && order(heap[child + 1], heap[child])) child++;
        if (!order(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void make_heap(candidate *heap, uint32_t count, order_fn order)
{
    for (uint32_t i = count / 2; i-- > 0;) sift_down(heap, count, order, i);
}

/* Moves the first candidate behind the heap, where the sorted prefix grows downwards. */
static candidate pop(candidate *heap, uint32_t *count)
{
    candidate top = heap[0];
    heap[0] = heap[--*count];
    if (*count) sift_down(heap, *count, before, 0);
    heap[*count] = top;
    return top;
}

/* --- who takes part ----------------------------------------------------------------------- */

/* The k best, in a heap whose top is the worst of them until it is done. */
static uint32_t select_top(px_sampler *sampler, uint32_t k, scale s, const float *logits)
{
    candidate *heap = sampler->heap;
    uint32_t count = 0;
    for (uint32_t i = 0; i < sampler->vocabulary; i++) {
        if (count == k && logits[i] <= heap[0].logit) continue; /* ties go to the lower id */
        if (!(logits[i] > -INFINITY && logits[i] <= s.best)) continue;
        candidate c = {.logit = logits[i], .id = i};
        if (count < k) {
            heap[count++] = c;
            if (count == k) make_heap(heap, k, after);
        } else {
            heap[0] = c;
            sift_down(heap, k, after, 0);
        }
    }
    return count;
}

/* Those that top-p and min-p can keep. All tokens below (1 - top_p) / vocabulary together weigh
 * less than 1 - top_p, so the nucleus never reaches them. The bound is a little generous; the
 * filters themselves are exact. */
static uint32_t select_likely(
    px_sampler *sampler, const px_sampling *sampling, scale s, double total, const float *logits)
{
    double floor = (1 - (double)sampling->top_p) / sampler->vocabulary * total;
    if (floor < sampling->min_p) floor = sampling->min_p;
    float least = floor > 0 ? s.best + (float)log2(floor * 0.999) / s.factor : -INFINITY;
    uint32_t count = 0;
    for (uint32_t i = 0; i < sampler->vocabulary; i++)
        if (logits[i] >= least && logits[i] <= s.best && logits[i] > -INFINITY)
            sampler->heap[count++] = (candidate){.logit = logits[i], .id = i};
    return count;
}

/* What a token is from being typical: | -log p - H |, H being the entropy, times -1, so that the
 * heap gives the most typical one first. Weights are e^x, log p = x - log_total. */
static float typicality(scale s, float logit, double expected)
{
    double surprise = -((double)logit - s.best) * s.factor * LN_2;
    return -(float)fabs(surprise - expected);
}

/* The logits of the typical tokens, and -infinity for the others. */
static const float *keep_typical(
    px_sampler *sampler, const px_sampling *sampling, scale s, const float *logits)
{
    candidate *heap = sampler->heap;
    uint32_t count = 0;
    double total = sum_all(sampler, s, logits), expected = 0, kept = 0;
    for (uint32_t i = 0; i < sampler->vocabulary; i++) {
        double weight = weight_of(s, logits[i]);
        if (weight > 0) expected -= weight * ((double)logits[i] - s.best) * s.factor * LN_2;
        sampler->kept[i] = -INFINITY;
    }
    expected /= total;
    for (uint32_t i = 0; i < sampler->vocabulary; i++)
        if (weight_of(s, logits[i]) > 0)
            heap[count++] = (candidate){typicality(s, logits[i], expected), i};
    make_heap(heap, count, before);
    while (count && kept < sampling->typical_p * total) {
        uint32_t id = pop(heap, &count).id;
        sampler->kept[id] = logits[id];
        kept += weight_of(s, logits[id]);
    }
    return sampler->kept;
}

/* --- drawing ------------------------------------------------------------------------------ */

typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));

typedef struct winner { /* so far; equals go to the lower id */
    double score;
    uint32_t id;
} winner;

static void race(px_race run, scale s, candidate c, winner *first)
{
    double score = (double)((c.logit - s.best) * s.factor) + px_race_luck(run, c.id);
    if (score > first->score || (score == first->score && c.id < first->id))
        *first = (winner){.score = score, .id = c.id};
}

/* No less than what the tokens `id` on can score. As -log(u) >= 1 - u, a token's luck is at most
 * -log2 of its number's share, and a float's own bits are a lower bound of its logarithm. */
static inline lanes most_of(px_race run, scale s, words id, lanes logits)
{
    PX_RACE_NUMBER(id, run);
    masks bits = (masks) __builtin_convertvector((masks)id, lanes);
    lanes share = __builtin_convertvector(bits, lanes) * 0x1p-23f - (127 + PX_RACE_BITS);
    return (logits - s.best) * s.factor - share;
}

/* No filter: all tokens run, but only those that might still win are looked at closely. */
static uint32_t draw_all(
    const px_sampler *sampler, px_race run, scale s, candidate best, const float *logits)
{
    winner first = {.score = -INFINITY};
    const float rounding = 1e-3f;
    words id = {0, 1, 2, 3};
    uint32_t i = 0;
    race(run, s, best, &first);
    for (; i + LANES <= sampler->vocabulary; i += LANES, id += (uint32_t)LANES) {
        lanes x = load(logits + i);
        float least = (float)first.score - rounding;
        masks may_win = (most_of(run, s, id, x) > least) & (x <= s.best) & (x > -INFINITY);
        if (!(may_win[0] | may_win[1] | may_win[2] | may_win[3])) continue;
        for (uint32_t j = 0; j < LANES; j++)
            if (may_win[j]) race(run, s, (candidate){x[j], i + j}, &first);
    }
    for (; i < sampler->vocabulary; i++)
        if (logits[i] <= s.best && logits[i] > -INFINITY)
            race(run, s, (candidate){logits[i], i}, &first);
    return first.id;
}

/* The `count` candidates in sampler->heap; the kept ones come to lie at heap[count - 1],
 * heap[count - 2], ... in descending order. */
static uint32_t draw_filtered(px_sampler *sampler, const px_sampling *sampling, scale s,
    double total, uint32_t count, px_race run)
{
    candidate *heap = sampler->heap, *end = heap + count;
    double wanted = sampling->top_p < 1 ? sampling->top_p * total : INFINITY, sum = 0;
    uint32_t left_in_heap = count, kept = 0;
    make_heap(heap, count, before);
    if (sampling->top_k) { /* top-p is a share of what top-k left: sort that first */
        for (uint32_t i = 0; i < count; i++) sum += weight_of(s, pop(heap, &left_in_heap).logit);
        if (sampling->top_p < 1) wanted = sampling->top_p * sum;
        for (sum = 0; kept < count && sum < wanted; kept++)
            sum += weight_of(s, end[-1 - (int64_t)kept].logit);
    } else {
        for (; kept < count && sum < wanted; kept++)
            sum += weight_of(s, pop(heap, &left_in_heap).logit);
    }
    while (kept > 1 && weight_of(s, end[-(int64_t)kept].logit) < sampling->min_p) kept--;
    winner first = {.score = -INFINITY};
    for (uint32_t i = 0; i < kept; i++) race(run, s, end[-1 - (int64_t)i], &first);
    return first.id;
}

int64_t px_sampler_pick(
    px_sampler *sampler, const px_sampling *sampling, uint32_t position, const float *logits)
{
    int64_t best = argmax(logits, sampler->vocabulary);
    bool greedy = sampling->temperature < temperature_least || sampling->top_k == 1;
    if (best < 0 || greedy) return best;

    scale s = {.best = logits[best], .factor = (float)(1 / LN_2) / sampling->temperature};
    px_race run = px_race_at(sampling->seed, (px_random_place){sampling->sequence, position});
    if (sampling->typical_p > 0 && sampling->typical_p < 1) {
        logits = keep_typical(sampler, sampling, s, logits);
        best = argmax(logits, sampler->vocabulary);
        s.best = logits[best];
    }
    uint32_t k = at_most(sampling->top_k, sampler->vocabulary);
    if (k) {
        uint32_t count = select_top(sampler, k, s, logits);
        return draw_filtered(sampler, sampling, s, 0, count, run);
    }
    if (sampling->top_p >= 1 && sampling->min_p == 0)
        return draw_all(sampler, run, s, (candidate){s.best, (uint32_t)best}, logits);
    double total = sampling->top_p < 1 ? sum_all(sampler, s, logits) : 0;
    uint32_t count = select_likely(sampler, sampling, s, total, logits);
    return draw_filtered(sampler, sampling, s, total, count, run);
}
