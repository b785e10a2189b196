/* speculator.c - see speculator.h. */
#include "engine/speculate/speculator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct px_speculator {
    uint32_t proposals_max;
    px_trust all;
    px_price price;
    px_bid bids[PX_PRICE_ROWS_MAX]; /* by the sequence's place among the running */
};

px_speculator *px_speculator_create(uint32_t proposals_max)
{
    px_speculator *speculator = px_alloc(sizeof *speculator);
    speculator->proposals_max = proposals_max;
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
    px_guess_text text = {seq->tokens, seq->count};
    *out_bid = (px_bid){0};
    if (!seq->guess) return;
    uint32_t most = at_most(seq->tokens_max - seq->count - 1, speculator->proposals_max);
    px_guess_judge(seq->guess, &speculator->all, text);
    px_guess_look(seq->guess, &speculator->all, text, most, out_bid);
    for (uint32_t i = 0; i < out_bid->count; i++)
        if (px_seq_is_end(seq, seq->guess->tokens[i])) out_bid->count = i + 1;
}

void px_speculator_plan(px_speculator *speculator, const px_speculation *plan)
{
    uint32_t count = plan->running->count, i = 0;
    if (!count || count >= at_most(plan->rows_max, PX_PRICE_ROWS_MAX)) return;
    for (px_seq *seq = plan->running->first; seq; seq = seq->next)
        bid_for(speculator, seq, &speculator->bids[i++]);
    px_price_auction(&speculator->price,
        &(px_auction){.bids = speculator->bids,
            .count = count,
            .rows = count,
            .rows_max = plan->rows_max,
            .ns_max = plan->ns_max == INT64_MAX ? (double)INFINITY : (double)plan->ns_max});
    i = 0;
    for (px_seq *seq = plan->running->first; seq; seq = seq->next, i++) {
        seq->proposed = speculator->bids[i].rows;
        if (seq->proposed)
            memcpy(
                seq->tokens + seq->count, seq->guess->tokens, seq->proposed * sizeof *seq->tokens);
    }
}
