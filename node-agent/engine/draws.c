/* draws.c - see draws.h. */
#include "engine/draws.h"

#include <stdlib.h>
#include <string.h>


px_status px_draws_init(px_draws *draws, const px_draws_options *options)
{
    *draws = (px_draws){
        .at = px_alloc_array(options->draws_max, sizeof *draws->at),
        .samplers = px_alloc_array(options->workers, sizeof(px_sampler *)),
        .workers = options->workers,
        .vocabulary = options->vocabulary,
    };
    for (uint32_t i = 0; i < options->workers; i++)
        PX_TRY(px_sampler_create(options->vocabulary, &draws->samplers[i]));
    return px_ok();
}

void px_draws_done(px_draws *draws)
{
    for (uint32_t i = 0; i < draws->workers; i++) px_sampler_free(draws->samplers[i]);
    free(draws->samplers);
    free(draws->at);
}

void px_draws_plan(px_draws *draws, const px_step *step, const px_scheduler *scheduler)
{
    uint32_t row = 0;
    draws->count = 0;
    for (uint32_t i = 0; i < step->seq_count; i++) {
        px_seq *seq = px_scheduler_at(scheduler, step->seqs[i].slot);
        for (uint32_t left = step->seqs[i].logit_rows; left; left--)
            draws->at[draws->count++] = (px_draw){.seq = seq, .row = row++};
    }
}

/* Of a grammar's mask; the tokenizer may know fewer tokens than the model, or more. */
static uint32_t mask_words(const px_draws *draws, const px_draws_input *input)
{
    uint32_t tokens = input->vocabulary->size, most = draws->vocabulary;
    return ((tokens < most ? tokens : most) + 31) / 32;
}

/* Grammars are shared between sequences and for one thread at a time, so what each allows is copied
 * before the draws are shared out. No mask: nothing is allowed, and nothing will be picked. */
static void copy_masks(const px_draws *draws, const px_draws_input *input)
{
    for (uint32_t i = 0; i < draws->count; i++) {
        px_seq *seq = draws->at[i].seq;
        if (!seq->form) continue;
        const uint32_t *mask = px_guide_mask(&seq->guide);
        size_t bytes = mask_words(draws, input) * sizeof *mask;
        if (mask)
            memcpy(seq->mask, mask, bytes);
        else
            memset(seq->mask, 0, bytes);
    }
}

typedef struct drawing {
    px_draws *draws;
    const px_draws_input *input;
} drawing;

/* The row with what the request changes about it; the row itself if that is nothing. */
static const float *changed_row(
    const drawing *d, px_sampler *sampler, const px_seq *seq, const float *logits)
{
    uint32_t vocabulary = d->draws->vocabulary;
    if (!seq->adjust && !seq->form) return logits;
    float *row = px_sampler_row(sampler);
    memcpy(row, logits, vocabulary * sizeof *row);
    if (seq->adjust) {
        px_adjust_text text = {seq->tokens, seq->count, seq->count - seq->prompt_count};
        px_adjust_apply(seq->adjust, &text, row);
    }
    if (seq->form) {
        px_adjust_mask mask = {.words = seq->mask,
            .word_count = mask_words(d->draws, d->input),
            .ends = seq->ends,
            .may_end = px_guide_may_end(&seq->guide)};
        px_adjust_apply_mask(&mask, vocabulary, row);
    }
    return row;
}

static void draw(const drawing *d, px_sampler *sampler, px_draw *it)
{
    const px_seq *seq = it->seq;
    uint32_t vocabulary = d->draws->vocabulary;
    const float *logits = d->input->logits + (size_t)it->row * vocabulary;
    const float *changed = changed_row(d, sampler, seq, logits);
    it->token = px_sampler_pick(sampler, &seq->sampling, seq->count, changed);
    if (!seq->wants_logprobs || it->token < 0) return;
    px_logprob_row told = {logits, vocabulary, (uint32_t)it->token, seq->top_logprobs};
    px_logprobs_of(&told, &it->logprobs);
}

static void draw_share(void *arg, uint32_t worker, uint32_t workers)
{
    const drawing *d = arg;
    for (uint32_t i = worker; i < d->draws->count; i += workers)
        draw(d, d->draws->samplers[worker], &d->draws->at[i]);
}

void px_draws_run(px_draws *draws, const px_draws_input *input)
{
    drawing d = {.draws = draws, .input = input};
    copy_masks(draws, input);
    if (draws->count > 1)
        px_team_run(input->team, draw_share, &d);
    else
        draw_share(&d, 0, 1);
}
