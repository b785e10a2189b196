/* measure.h - from when tokens came to the figures that people compare: pure functions.
 *
 * Terms, as vLLM's benchmark defines them (AIPerf's name in brackets where it differs):
 *   TTFT  sent to first token
 *   ITL   the gap between two streamed parts, pooled over all requests [ICL]
 *   TPOT  (E2E - TTFT) / (output tokens - 1), once for each request with two tokens or more [ITL]
 *   E2E   sent to last token
 *   goodput  requests that met every goal, per second; TPOT of a single token counts as 0
 * Failed requests are counted and take part in nothing else.
 */
#ifndef PX_CONTROL_MEASURE_H
#define PX_CONTROL_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct px_sample { /* one request; px_now_ns() scale */
    int64_t sent_ns, first_ns, last_ns;
    uint32_t prompt_tokens, output_tokens;
    bool completed; /* with one token at least */
} px_sample;

typedef struct px_goals { /* 0: no such goal */
    double ttft_ms, tpot_ms, e2e_ms;
} px_goals;

typedef struct px_distribution {
    size_t count;
    double mean, p50, p90, p99, max; /* all 0 when count is 0 */
} px_distribution;

typedef struct px_measures {
    uint32_t completed, failed;
    uint64_t prompt_tokens, output_tokens;
    double duration_s; /* first sent to last token */
    double requests_per_s, output_tokens_per_s, total_tokens_per_s;
    double goodput_per_s; /* of all completed ones when no goal is set */
    px_distribution ttft_ms, tpot_ms, itl_ms, e2e_ms;
} px_measures;

typedef struct px_measure_input {
    const px_sample *samples;
    size_t sample_count;
    const float *gaps_ms; /* of completed requests, in any order */
    size_t gap_count;
    px_goals goals;
} px_measure_input;

void px_measure(const px_measure_input *input, px_measures *out);

/* Sorts `values`. Percentiles are interpolated between the neighbours, as numpy does. */
px_distribution px_distribution_of(double *values, size_t count);

#endif
