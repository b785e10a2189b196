/* pick.c - see pick.h. */
#include "engine/pick.h"

#include <string.h>

/* The row with what the request changes about it; the row itself if that is nothing. */
static const float *changed_row(const px_pick *pick, px_sampler *sampler, const float *logits)
{
    const px_seq *seq = pick->seq;
    if (!seq->adjust && !seq->form) return logits;
    float *row = px_sampler_row(sampler);
    memcpy(row, logits, pick->vocabulary * sizeof *row);
    if (seq->adjust) {
        px_adjust_text text = {.tokens = seq->tokens,
            .count = pick->position,
            .answer_count = pick->position - seq->prompt_count,
            .guessed = pick->position - seq->count};
        px_adjust_apply(seq->adjust, &text, row);
    }
    if (seq->form) {
        px_adjust_mask mask = {.words = pick->mask,
            .word_count = pick->mask_words,
            .ends = seq->ends,
            .may_end = pick->may_end};
        px_adjust_apply_mask(&mask, pick->vocabulary, row);
    }
    return row;
}

int64_t px_pick_token(const px_pick *pick, px_sampler *sampler, const float *logits)
{
    return px_sampler_pick(
        sampler, &pick->seq->sampling, pick->position, changed_row(pick, sampler, logits));
}
