#include "engine/sample/logprob.h"

#include <math.h>
#include <stdbool.h>

static float largest(const px_logprob_row *row)
{
    float best = -INFINITY;
    for (uint32_t i = 0; i < row->vocabulary; i++)
        if (row->logits[i] > best) best = row->logits[i];
    return best;
}

/* log(sum of e^logit), from the largest on. */
static double log_total(const px_logprob_row *row, float best)
{
    double sum = 0;
    for (uint32_t i = 0; i < row->vocabulary; i++)
        if (row->logits[i] > -INFINITY) sum += exp((double)row->logits[i] - best);
    return best + log(sum);
}

/* Puts a token where it belongs among the best so far; there is room for `most`. */
static void insert(px_logprobs *out, uint32_t most, px_logprob one)
{
    if (out->top_count == most && (!most || one.logprob <= out->top[most - 1].logprob)) return;
    uint32_t at = out->top_count < most ? out->top_count++ : most - 1;
    for (; at && out->top[at - 1].logprob < one.logprob; at--) out->top[at] = out->top[at - 1];
    out->top[at] = one;
}

void px_logprobs_of(const px_logprob_row *row, px_logprobs *out)
{
    uint32_t most = row->top < PX_TOP_LOGPROBS_MAX ? row->top : PX_TOP_LOGPROBS_MAX;
    float best = largest(row), picked = row->logits[row->token];
    double total = log_total(row, best);
    *out = (px_logprobs){.picked = {row->token, (float)(picked - total)}, .rank = 1};
    for (uint32_t i = 0; i < row->vocabulary; i++) {
        float logit = row->logits[i];
        if (logit > picked || (logit == picked && i < row->token)) out->rank++;
        if (logit > -INFINITY) insert(out, most, (px_logprob){i, logit});
    }
    for (uint32_t i = 0; i < out->top_count; i++)
        out->top[i].logprob = (float)(out->top[i].logprob - total);
}
