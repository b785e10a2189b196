/* proposals.c - guessed tokens in a step: only where everybody generates, on blocks that are free.
 *
 * A step that carries prompts has no rows to spare: each is worth a token to a prompt, for certain.
 */
#include "engine/schedule/scheduler_impl.h"

static bool all_generate(const px_scheduler *scheduler)
{
    for (const px_seq *seq = scheduler->running.first; seq; seq = seq->next)
        if (px_seq_missing(seq) != 1 || seq->followers || seq->vector) return false;
    return true;
}

static uint32_t rows_max(const px_scheduler *scheduler)
{
    const px_step_limits *limits = &scheduler->options.limits;
    uint32_t rows = scheduler->budget < limits->rows ? scheduler->budget : limits->rows;
    return rows < limits->logit_rows ? rows : limits->logit_rows;
}

/* What is guessed turns nobody out, and leaves a block for each that runs. */
static void find_blocks(px_scheduler *scheduler, px_seq *seq, px_step *step)
{
    while (px_kv_blocks_for(seq->count + seq->proposed) > seq->hold.count) {
        if (px_kvcache_available(scheduler->cache) <= scheduler->running.count) {
            seq->proposed = seq->hold.count * PX_KV_BLOCK_TOKENS - seq->count;
            return;
        }
        px_kvcache_grow(scheduler->cache, &seq->hold, 1, &step->moves);
    }
}

/* What lies behind the place where rotations turn is not to be had with the KV before it. */
static void hold_back(const px_scheduler *scheduler, px_seq *seq)
{
    uint32_t at = scheduler->options.turns_at;
    if (at && seq->rotated_for <= at && seq->proposed > at - seq->count)
        seq->proposed = at - seq->count;
}

void px_scheduler_propose(px_scheduler *scheduler, px_step *step)
{
    px_speculation plan = {.running = &scheduler->running,
        .rows_max = rows_max(scheduler),
        .ns_max = px_pace_bound_ns(&scheduler->pace, 0)};
    if (!scheduler->speculator || !all_generate(scheduler)) return;
    px_speculator_plan(scheduler->speculator, &plan);
    for (px_seq *seq = scheduler->running.first; seq; seq = seq->next) {
        hold_back(scheduler, seq);
        find_blocks(scheduler, seq, step);
    }
    px_speculator_guess(scheduler->speculator, &scheduler->running);
}

void px_scheduler_accept(px_scheduler *scheduler, px_seq *seq)
{
    seq->computed++;
    if (seq->computed > seq->computed_max) seq->computed_max = seq->computed;
    px_fair_charge(seq->tenant, PX_ANSWER_COST);
    scheduler->total.accepted++;
}
