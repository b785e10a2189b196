#include "control/bench/measure.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, size_t count, double share)
{
    double at = share * (double)(count - 1);
    size_t below = (size_t)at;
    size_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (sorted[above] - sorted[below]) * (at - (double)below);
}

px_distribution px_distribution_of(double *values, size_t count)
{
    if (!count) return (px_distribution){0};
    qsort(values, count, sizeof *values, by_value);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return (px_distribution){.count = count,
        .mean = sum / (double)count,
        .p50 = percentile(values, count, 0.5),
        .p90 = percentile(values, count, 0.9),
        .p99 = percentile(values, count, 0.99),
        .max = values[count - 1]};
}

static double ms_between(int64_t from_ns, int64_t to_ns)
{
    return (double)(to_ns - from_ns) / PX_MS;
}

static double ttft_ms(const px_sample *s)
{
    return ms_between(s->sent_ns, s->first_ns);
}
static double e2e_ms(const px_sample *s)
{
    return ms_between(s->sent_ns, s->last_ns);
}
static double tpot_ms(const px_sample *s)
{
    return s->output_tokens < 2 ? 0 : ms_between(s->first_ns, s->last_ns) / (s->output_tokens - 1);
}

static bool meets(const px_sample *s, const px_goals *goals)
{
    return (!goals->ttft_ms || ttft_ms(s) <= goals->ttft_ms) &&
           (!goals->tpot_ms || tpot_ms(s) <= goals->tpot_ms) &&
           (!goals->e2e_ms || e2e_ms(s) <= goals->e2e_ms);
}

/* `of` over the completed requests with `tokens_min` tokens or more. */
static px_distribution over_requests(const px_measure_input *input,
    double (*of)(const px_sample *sample), uint32_t tokens_min, double *values)
{
    size_t count = 0;
    for (size_t i = 0; i < input->sample_count; i++) {
        const px_sample *s = &input->samples[i];
        if (s->completed && s->output_tokens >= tokens_min) values[count++] = of(s);
    }
    return px_distribution_of(values, count);
}

static void count_up(const px_measure_input *input, px_measures *out)
{
    int64_t first_ns = INT64_MAX, last_ns = INT64_MIN;
    uint32_t good = 0;
    for (size_t i = 0; i < input->sample_count; i++) {
        const px_sample *s = &input->samples[i];
        if (!s->completed) {
            out->failed++;
            continue;
        }
        out->completed++;
        out->prompt_tokens += s->prompt_tokens;
        out->output_tokens += s->output_tokens;
        good += meets(s, &input->goals);
        if (s->sent_ns < first_ns) first_ns = s->sent_ns;
        if (s->last_ns > last_ns) last_ns = s->last_ns;
    }
    if (!out->completed || last_ns <= first_ns) return;
    out->duration_s = (double)(last_ns - first_ns) / PX_SEC;
    out->requests_per_s = out->completed / out->duration_s;
    out->goodput_per_s = good / out->duration_s;
    out->output_tokens_per_s = (double)out->output_tokens / out->duration_s;
    out->total_tokens_per_s = (double)(out->prompt_tokens + out->output_tokens) / out->duration_s;
}

void px_measure(const px_measure_input *input, px_measures *out)
{
    *out = (px_measures){0};
    count_up(input, out);
    size_t most = input->sample_count > input->gap_count ? input->sample_count : input->gap_count;
    double *values = px_alloc_array(most + 1, sizeof *values);
    out->ttft_ms = over_requests(input, ttft_ms, 1, values);
    out->tpot_ms = over_requests(input, tpot_ms, 2, values);
    out->e2e_ms = over_requests(input, e2e_ms, 1, values);
    for (size_t i = 0; i < input->gap_count; i++) values[i] = input->gaps_ms[i];
    out->itl_ms = px_distribution_of(values, input->gap_count);
    free(values);
}
