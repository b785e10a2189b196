/* speculator.c - see speculator.h. */
#include "engine/speculate/speculator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CATCH_UP_STEPS = 16 /* that a draft model's catching up is paid off in */ };

struct px_speculator {
    px_speculator_options options;
    px_trust all;
    px_price price;
    px_bid bids[PX_PRICE_ROWS_MAX]; /* by the sequence's place among the running */
};

px_speculator *px_speculator_create(const px_speculator_options *options)
{
    px_speculator *speculator = px_alloc(sizeof *speculator);
    speculator->options = *options;
    speculator->all = px_guess_trust(options->guesser);
    return speculator;
}

void px_speculator_free(px_speculator *speculator)
{
    free(speculator);
}

void px_speculator_observe(px_speculator *speculator, uint32_t rows, int64_t ns)
{
    px_price_observe(&speculator->price, rows, ns);
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
    return value < limit ? value : limit;
}

/* Behind the last guessed token there must be place for the one that is picked then; an end token
 * is the last that makes sense. */
static void bid_for(px_speculator *speculator, px_seq *seq, px_bid *out_bid)
{
    const px_speculator_options *o = &speculator->options;
    px_guess_text text = {seq->tokens, seq->count};
    *out_bid = (px_bid){0};
    if (!seq->guess) return;
    uint32_t most = at_most(seq->tokens_max - seq->count - 1, o->proposals_max);
    px_guess_judge(seq->guess, &speculator->all, text);
    if (o->draft) {
        most = at_most(most, px_draft_room(o->draft, seq));
        px_guess_expect(seq->guess, &speculator->all, most, out_bid);
        return;
    }
    px_guess_look(seq->guess, &speculator->all, text, most, out_bid);
    for (uint32_t i = 0; i < out_bid->count; i++)
        if (px_seq_is_end(seq, seq->guess->tokens[i])) out_bid->count = i + 1;
}

/* What guessing itself takes, where a model does it. */
static void add_draft_ns(
    const px_speculator *speculator, const px_seq_list *running, px_auction *auction)
{
    const px_draft *draft = speculator->options.draft;
    if (!draft) return;
    auction->ns_a_depth = px_draft_depth_ns(draft, running->count);
    for (const px_seq *seq = running->first; seq; seq = seq->next)
        if (seq->guess) auction->ns_before += px_draft_catch_up_ns(draft, seq) / CATCH_UP_STEPS;
}

void px_speculator_plan(px_speculator *speculator, const px_speculation *plan)
{
    uint32_t count = plan->running->count, i = 0;
    if (!count || count >= at_most(plan->rows_max, PX_PRICE_ROWS_MAX)) return;
    for (px_seq *seq = plan->running->first; seq; seq = seq->next)
        bid_for(speculator, seq, &speculator->bids[i++]);
    px_auction auction = {.bids = speculator->bids,
        .count = count,
        .rows = count,
        .rows_max = plan->rows_max,
        .ns_max = plan->ns_max == INT64_MAX ? (double)INFINITY : (double)plan->ns_max};
    add_draft_ns(speculator, plan->running, &auction);
    px_price_auction(&speculator->price, &auction);
    i = 0;
    for (px_seq *seq = plan->running->first; seq; seq = seq->next)
        seq->proposed = speculator->bids[i++].rows;
}

void px_speculator_guess(px_speculator *speculator, const px_seq_list *running)
{
    bool drafts = speculator->options.draft != NULL;
    for (px_seq *seq = running->first; seq; seq = seq->next) {
        if (!seq->guess) continue;
        if (drafts && !seq->proposed) px_guess_rest(seq->guess, &speculator->all);
        if (!drafts && seq->proposed)
            memcpy(
                seq->tokens + seq->count, seq->guess->tokens, seq->proposed * sizeof *seq->tokens);
    }
    if (drafts) px_draft_guess(speculator->options.draft, running);
}
