/* sampler.c - see sampler.h.
 *
 * The filters keep a prefix of the tokens in descending order, so only that prefix is sorted: a
 * heap over the tokens that can take part gives it one by one.
 */
#include "engine/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "engine/random.h"

typedef struct candidate {
    float weight; /* exp((logit - best) / temperature): probability up to a factor, at most 1 */
    uint32_t id;
} candidate;

struct px_sampler {
    uint32_t vocabulary;
    size_t bytes;
    candidate *heap; /* [vocabulary] */
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
    return px_ok();
}

px_status px_sampler_create(uint32_t vocabulary, px_sampler **out)
{
    px_sampler *sampler = px_alloc(sizeof *sampler);
    sampler->vocabulary = vocabulary;
    sampler->bytes = (size_t)vocabulary * sizeof *sampler->heap;
    void *heap;
    px_status status = px_big_alloc(sampler->bytes, "the sampler's candidates", &heap);
    if (!px_is_ok(status)) {
        free(sampler);
        return status;
    }
    sampler->heap = heap;
    *out = sampler;
    return px_ok();
}

void px_sampler_free(px_sampler *sampler)
{
    if (!sampler) return;
    px_big_free(sampler->heap, sampler->bytes);
    free(sampler);
}

/* The first of the largest finite values. Two plain passes: the first has no dependence between
 * lanes, so the compiler makes vector code of it. */
static int64_t argmax(const float *x, uint32_t count)
{
    enum { LANES = 16 };
    float lane[LANES];
    for (int j = 0; j < LANES; j++) lane[j] = -INFINITY;
    uint32_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    float best = -INFINITY;
    for (; i < count; i++) best = x[i] > best ? x[i] : best;
    for (int j = 0; j < LANES; j++) best = lane[j] > best ? lane[j] : best;
    if (!isfinite(best)) { /* nothing, or an infinity among the values: look at each */
        best = -INFINITY;
        for (i = 0; i < count; i++)
            if (isfinite(x[i]) && x[i] > best) best = x[i];
        if (!isfinite(best)) return -1;
    }
    for (i = 0; x[i] != best; i++) {
    }
    return i;
}

static float weight_of(float logit, float best, float temperature)
{
    return isfinite(logit) ? expf((logit - best) / temperature) : 0;
}

static bool before(candidate a, candidate b)
{
    return a.weight > b.weight || (a.weight == b.weight && a.id < b.id);
}

static void sift_down(candidate *heap, uint32_t count, uint32_t at)
{
    candidate moved = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Moves the best candidate behind the heap, where the sorted prefix grows downwards. */
static candidate pop(candidate *heap, uint32_t *count)
{
    candidate top = heap[0];
    heap[0] = heap[--*count];
    if (*count) sift_down(heap, *count, 0);
    heap[*count] = top;
    return top;
}

/* No filter: walk the distribution in id order. */
static uint32_t draw_all(const float *logits, const px_sampling *sampling, uint32_t vocabulary,
    float best, double total, double unit)
{
    double left = unit * total;
    uint32_t last = 0;
    for (uint32_t i = 0; i < vocabulary; i++) {
        float weight = weight_of(logits[i], best, sampling->temperature);
        if (weight == 0) continue;
        last = i;
        left -= weight;
        if (left < 0) break;
    }
    return last; /* rounding may leave a crumb: then it is the last token that can be drawn */
}

/* Filters keep the `kept` best, which lie at heap[end-1], heap[end-2], ... in descending order. */
static uint32_t draw_filtered(
    px_sampler *sampler, const px_sampling *sampling, uint32_t count, double total, double unit)
{
    candidate *heap = sampler->heap;
    uint32_t end = count;
    for (uint32_t i = count / 2; i-- > 0;) sift_down(heap, count, i);

    uint32_t limit = sampling->top_k && sampling->top_k < end ? sampling->top_k : end;
    double wanted = sampling->top_p < 1 ? sampling->top_p * total : INFINITY;
    double sum = 0;
    uint32_t kept = 0;
    if (sampling->top_k) { /* top-p is a share of what top-k left: sort that first */
        for (uint32_t i = 0; i < limit; i++) sum += pop(heap, &count).weight;
        if (sampling->top_p < 1) wanted = sampling->top_p * sum;
        for (sum = 0; kept < limit && sum < wanted; kept++) sum += heap[end - 1 - kept].weight;
    } else {
        for (; kept < limit && sum < wanted; kept++) sum += pop(heap, &count).weight;
    }
    while (kept > 1 && heap[end - kept].weight < sampling->min_p) /* the best one's weight is 1 */
        sum -= heap[end - kept--].weight;

    double left = unit * sum;
    uint32_t pick = 0;
    for (; pick + 1 < kept; pick++) {
        left -= heap[end - 1 - pick].weight;
        if (left < 0) break;
    }
    return heap[end - 1 - pick].id;
}

int64_t px_sampler_pick(
    px_sampler *sampler, const px_sampling *sampling, uint32_t position, const float *logits)
{
    uint32_t vocabulary = sampler->vocabulary;
    int64_t best_id = argmax(logits, vocabulary);
    if (best_id < 0 || sampling->temperature == 0 || sampling->top_k == 1) return best_id;

    float best = logits[best_id];
    double total = 0;
    for (uint32_t i = 0; i < vocabulary; i++)
        total += weight_of(logits[i], best, sampling->temperature);
    double unit = px_random_unit(sampling->seed, position);
    if (!sampling->top_k && sampling->top_p >= 1 && sampling->min_p == 0)
        return draw_all(logits, sampling, vocabulary, best, total, unit);

    /* All tokens below (1 - top_p) / vocabulary together weigh less than 1 - top_p, so the nucleus
     * never reaches them; those below min-p go anyway. With top-k the shares are of what it leaves,
     * which is known only after sorting. */
    double floor = 0;
    if (!sampling->top_k) {
        floor = (1 - (double)sampling->top_p) / vocabulary * total;
        if (floor < sampling->min_p) floor = sampling->min_p;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < vocabulary; i++) {
        float weight = weight_of(logits[i], best, sampling->temperature);
        if (weight > 0 && weight >= floor)
            sampler->heap[count++] = (candidate){.weight = weight, .id = i};
    }
    return draw_filtered(sampler, sampling, count, total, unit);
}
