/* draws.c - see draws.h. */
#include "engine/draws.h"

#include <stdlib.h>
#include <string.h>

static size_t words_for(uint32_t tokens)
{
    return (tokens + 31) / 32;
}

px_status px_draws_init(px_draws *draws, const px_draws_options *options)
{
    *draws = (px_draws){
        .at = px_alloc_array(options->draws_max, sizeof *draws->at),
        .masks = px_alloc_array(
            options->draws_max * words_for(options->vocabulary), sizeof *draws->masks),
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
    free(draws->masks);
    free(draws->at);
}

/* Whoever waits for the prompt draws as its first does. */
static void add_followers(px_draws *draws, px_draw it)
{
    while ((it.seq = it.seq->next_choice)) draws->at[draws->count++] = it;
}

void px_draws_plan(px_draws *draws, const px_step *step, const px_scheduler *scheduler)
{
    const uint32_t *ids = step->ids; /* of the entry */
    uint32_t row = 0;
    draws->count = 0;
    for (uint32_t i = 0; i < step->seq_count; i++) {
        const px_step_seq *entry = &step->seqs[i];
        px_seq *seq = px_scheduler_at(scheduler, entry->slot);
        for (uint32_t at = entry->rows - entry->logit_rows; at < entry->rows; at++) {
            px_draw it = {.seq = seq,
                .row = row++,
                .position = entry->position + at + 1,
                .of_prompt = entry->position + at + 1 < seq->prompt_count,
                .proposal = at + 1 < entry->rows ? (int64_t)ids[at + 1] : -1};
            if (it.of_prompt) it.token = seq->tokens[it.position];
            draws->at[draws->count++] = it;
            if (seq->followers && !it.of_prompt) add_followers(draws, it);
        }
        ids += entry->rows;
    }
}

static uint32_t *mask_of(const px_draws *draws, const px_draw *it)
{
    return draws->masks + (size_t)(it - draws->at) * words_for(draws->vocabulary);
}

/* No mask: nothing is allowed, and nothing will be picked. */
static void copy_mask(px_draws *draws, px_draw *it, px_guide *guide, uint32_t words)
{
    const uint32_t *mask = guide ? px_guide_mask(guide) : NULL;
    if (mask)
        memcpy(mask_of(draws, it), mask, words * sizeof *mask);
    else
        memset(mask_of(draws, it), 0, words * sizeof *mask);
    it->may_end = guide && px_guide_may_end(guide);
}

/* Grammars are shared between sequences and for one thread at a time, so what each allows is copied
 * before the draws are shared out. Along guessed tokens a second guide goes ahead; where the form
 * does not let it, no draw behind that will count. */
static void copy_masks(px_draws *draws)
{
    px_guide ahead = {0};
    bool follows = false; /* the form has allowed all guesses so far */
    for (uint32_t i = 0; i < draws->count; i++) {
        px_draw *it = &draws->at[i];
        px_seq *seq = it->seq;
        if (!seq->form || it->of_prompt) continue;
        if (it->position > seq->count) {
            follows = follows && px_guide_accept(&ahead, (uint32_t)draws->at[i - 1].proposal);
        } else if (it->proposal >= 0) {
            px_guide_end(&ahead);
            px_guide_fork(&seq->guide, &ahead);
            follows = true;
        }
        bool is_guessed = it->position > seq->count;
        px_guide *guide = is_guessed ? (follows ? &ahead : NULL) : &seq->guide;
        copy_mask(draws, it, guide, px_guide_mask_words(&seq->guide, draws->vocabulary));
    }
    px_guide_end(&ahead);
}

typedef struct drawing {
    px_draws *draws;
    const px_draws_input *input;
} drawing;

static void tell_prompt(const drawing *d, px_draw *it, const float *logits)
{
    px_logprob_row told = {.logits = logits,
        .vocabulary = d->draws->vocabulary,
        .token = (uint32_t)it->token,
        .top = it->seq->top_prompt_logprobs};
    px_logprobs_of(&told, &it->logprobs);
}

static void draw(const drawing *d, px_sampler *sampler, px_draw *it)
{
    const px_seq *seq = it->seq;
    uint32_t vocabulary = d->draws->vocabulary;
    const float *logits = d->input->logits + (size_t)it->row * vocabulary;
    if (it->of_prompt) {
        tell_prompt(d, it, logits);
        return;
    }
    if (seq->vector) {
        px_vector_weigh(seq->vector, logits, vocabulary);
        return;
    }
    px_pick pick = {.seq = seq,
        .position = it->position,
        .mask = mask_of(d->draws, it),
        .vocabulary = vocabulary,
        .may_end = it->may_end};
    if (seq->form) pick.mask_words = px_guide_mask_words(&seq->guide, vocabulary);
    it->token = px_pick_token(&pick, sampler, logits);
    if (!(seq->wants_logprobs || seq->is_ranked) || it->token < 0) return;
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
    copy_masks(draws);
    if (draws->count > 1)
        px_team_run(input->team, draw_share, &d);
    else
        draw_share(&d, 0, 1);
}
