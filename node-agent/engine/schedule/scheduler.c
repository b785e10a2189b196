/* scheduler.c - see scheduler.h: the life of a sequence in it, the order of a plan, what is told.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/schedule/scheduler_impl.h"

enum { FULL_STEP_ROWS = 32 /* from here on a row costs about what it costs in a full step */ };
static const double learning_rate = 0.1, default_rate = 1000; /* tokens/s, until one is known */

px_scheduler *px_scheduler_create(const px_scheduler_options *options)
{
    const px_step_limits *limits = &options->limits;
    PX_ASSERT(limits->rows >= limits->slots);
    px_scheduler *scheduler = px_alloc(sizeof *scheduler);
    scheduler->options = *options;
    scheduler->cache = px_kvcache_create(
        &(px_kvcache_options){.blocks = limits->blocks, .slots = limits->park_slots});
    px_fair_set_rate(&scheduler->fair, default_rate);
    px_pace_init(&scheduler->pace, &options->pace);
    if (options->speculation.guesser != PX_GUESS_NONE)
        scheduler->speculator = px_speculator_create(&options->speculation);
    scheduler->slots = px_alloc_array(limits->slots, sizeof *scheduler->slots);
    scheduler->free_slots = px_alloc_array(limits->slots, sizeof *scheduler->free_slots);
    while (scheduler->free_slot_count < limits->slots) {
        uint32_t slot = limits->slots - 1 - scheduler->free_slot_count;
        scheduler->free_slots[scheduler->free_slot_count++] = slot;
    }
    return scheduler;
}

void px_scheduler_free(px_scheduler *scheduler)
{
    if (!scheduler) return;
    px_kvcache_free(scheduler->cache);
    px_speculator_free(scheduler->speculator);
    free(scheduler->slots);
    free(scheduler->free_slots);
    free(scheduler);
}

/* --- joining and leaving ------------------------------------------------------------------ */

void px_scheduler_add(px_scheduler *scheduler, px_seq *seq, int64_t now_ns)
{
    seq->state = PX_SEQ_WAITING;
    seq->urgency_ns = px_seq_urgency(seq);
    seq->tenant = px_fair_join(&scheduler->fair, seq->tenant_id, seq->tenant_weight, now_ns);
    if (!scheduler->options.shares_prefixes) /* then nobody else ever has the same salt */
        seq->text.salt.word[0] = ++scheduler->salts;
    px_scheduler_queue(scheduler, seq);
}

void px_scheduler_fork(px_scheduler *scheduler, px_seq *first)
{
    px_scheduler_leave(scheduler, first, PX_KV_PIN);
    for (px_seq *seq = first->next_choice; seq; seq = seq->next_choice) {
        seq->text.salt = first->text.salt;
        seq->tenant = first->tenant;
        seq->urgency_ns = first->urgency_ns;
        seq->entered = first->entered;
        seq->computed_max = first->computed_max;
        seq->cached = first->cached;
        seq->started_ns = first->started_ns;
        seq->served_ns = first->served_ns;
        px_kvcache_pin_too(scheduler->cache, &first->hold, &seq->hold);
    }
    first->followers = 0;
    for (px_seq *seq = first; seq; seq = seq->next_choice) {
        seq->state = PX_SEQ_WAITING;
        px_scheduler_queue(scheduler, seq);
    }
}

static void note_finish(px_scheduler *scheduler, int64_t now_ns)
{
    double since_ns = (double)(now_ns - scheduler->finished_ns);
    if (scheduler->finished_ns && scheduler->finish_ns)
        scheduler->finish_ns += learning_rate * (since_ns - scheduler->finish_ns);
    else if (scheduler->finished_ns)
        scheduler->finish_ns = since_ns;
    scheduler->finished_ns = now_ns;
}

void px_scheduler_remove(px_scheduler *scheduler, px_seq *seq, int64_t now_ns)
{
    if (seq->state == PX_SEQ_RUNNING) {
        bool shares = scheduler->options.shares_prefixes;
        px_scheduler_leave(scheduler, seq, shares ? PX_KV_KEEP : PX_KV_FORGET);
        note_finish(scheduler, now_ns);
    } else if (seq->state == PX_SEQ_WAITING) {
        px_scheduler_unqueue(scheduler, seq);
        px_kvcache_unpin(scheduler->cache, &seq->hold);
        if (!seq->entered) scheduler->total.dequeued_tokens += seq->prompt_count;
    }
    seq->state = PX_SEQ_ENDED;
}

/* --- a plan ------------------------------------------------------------------------------- */

bool px_scheduler_plan(px_scheduler *scheduler, int64_t now_ns, px_step *out_step)
{
    px_step_reset(out_step, PX_STEP_RUN);
    scheduler->plans++;
    scheduler->budget = px_scheduler_budget(scheduler, now_ns);
    px_scheduler_turn(scheduler);
    px_scheduler_grow(scheduler, out_step);
    px_scheduler_admit(scheduler, now_ns, out_step);
    px_scheduler_propose(scheduler, out_step);
    px_scheduler_share_rows(scheduler, now_ns, out_step);
    PX_ASSERT(out_step->seq_count || !(scheduler->running.count || scheduler->total.waiting));
    return out_step->seq_count > 0;
}

void px_scheduler_observe(px_scheduler *scheduler, const px_step *step, int64_t ns)
{
    px_pace_observe(&scheduler->pace, step->row_count, ns);
    if (scheduler->speculator && step->logit_row_count == step->row_count)
        px_speculator_observe(scheduler->speculator, step->row_count, ns);
    if (step->row_count < FULL_STEP_ROWS) return;
    double row_ns = (double)ns / step->row_count;
    scheduler->row_ns += (scheduler->row_ns ? learning_rate : 1) * (row_ns - scheduler->row_ns);
    px_fair_set_rate(&scheduler->fair, PX_SEC / scheduler->row_ns);
}

/* --- what is told ------------------------------------------------------------------------- */

/* Prompt tokens that go before those of `tenant`'s next request: all of its own; of each other
 * tenant's as much as its share while those are served. */
static double tokens_ahead(const px_scheduler *scheduler, uint64_t tenant_id, double own)
{
    double ahead = own;
    for (const px_seq *seq = scheduler->running.first; seq; seq = seq->next)
        ahead += px_seq_missing(seq);
    for (uint32_t i = 0; i < scheduler->fair.count; i++)
        if (scheduler->fair.tenants[i].id == tenant_id)
            own += (double)scheduler->fair.tenants[i].waiting_tokens;
    for (uint32_t i = 0; i < scheduler->fair.count; i++) {
        const px_tenant *tenant = &scheduler->fair.tenants[i];
        double theirs = (double)tenant->waiting_tokens, share = own * tenant->weight;
        ahead += tenant->id == tenant_id || theirs < share ? theirs : share;
    }
    return ahead;
}

int64_t px_scheduler_ttft_ns(const px_scheduler *scheduler, const px_seq *seq, int64_t now_ns)
{
    if (!scheduler->row_ns) return 0;
    double own = seq->count - px_scheduler_match(scheduler, seq).tokens;
    double ns = tokens_ahead(scheduler, seq->tenant_id, own) * scheduler->row_ns;
    /* Every step also carries what others generate. */
    double budget = px_scheduler_budget(scheduler, now_ns);
    double generating = scheduler->running.count;
    if (generating > budget / 2) generating = budget / 2;
    ns *= budget / (budget - generating);
    double wait_ns = 0; /* for a slot */
    if (scheduler->total.waiting + 1 > scheduler->free_slot_count)
        wait_ns =
            scheduler->finish_ns * (scheduler->total.waiting + 1 - scheduler->free_slot_count);
    return (int64_t)(wait_ns > ns ? wait_ns : ns);
}

px_seq *px_scheduler_at(const px_scheduler *scheduler, uint32_t slot)
{
    return scheduler->slots[slot];
}

const px_seq_list *px_scheduler_running(const px_scheduler *scheduler)
{
    return &scheduler->running;
}

const px_seq_list *px_scheduler_waiting(const px_scheduler *scheduler, uint32_t tenant)
{
    return tenant < scheduler->fair.count ? &scheduler->fair.tenants[tenant].waiting : NULL;
}

px_scheduler_stats px_scheduler_stats_of(const px_scheduler *scheduler)
{
    px_scheduler_stats stats = scheduler->total;
    stats.running = scheduler->running.count;
    stats.blocks_free = px_kvcache_available(scheduler->cache);
    stats.blocks_parked = px_kvcache_stats_of(scheduler->cache).parked_now;
    stats.row_ns = (int64_t)scheduler->row_ns;
    stats.finish_ns = (int64_t)scheduler->finish_ns;
    return stats;
}
