/* admission.c - who gets a slot and blocks, and who makes room for it. */
#include <string.h>

#include "base/clock.h"
#include "engine/schedule/scheduler_impl.h"

enum { LOOKED_AT_MAX = 16 /* of a tenant's queue, past those that wait for another's prefix */ };
static const double prompt_learning_rate = 0.1;

/* --- queues and slots --- */

/* One that ran before is found again, but for its newest token. */
static uint32_t queued_tokens(const px_seq *seq)
{
    return seq->entered ? 1 : seq->count;
}

void px_scheduler_queue(px_scheduler *scheduler, px_seq *seq)
{
    px_seq_list_insert(&seq->tenant->waiting, seq);
    seq->tenant->waiting_tokens += queued_tokens(seq);
    scheduler->total.waiting++;
}

void px_scheduler_unqueue(px_scheduler *scheduler, px_seq *seq)
{
    px_seq_list_remove(&seq->tenant->waiting, seq);
    seq->tenant->waiting_tokens -= queued_tokens(seq);
    scheduler->total.waiting--;
}

void px_scheduler_leave(px_scheduler *scheduler, px_seq *seq, px_kv_release how)
{
    px_kvcache_release(scheduler->cache, &seq->hold, &seq->text, seq->computed, how);
    seq->computed = seq->blocks_told = 0;
    if (seq->guess) seq->guess->drafted = 0;
    scheduler->slots[seq->slot] = NULL;
    scheduler->free_slots[scheduler->free_slot_count++] = seq->slot;
    px_seq_list_remove(&scheduler->running, seq);
    seq->tenant->running--;
}

static void preempt(px_scheduler *scheduler, px_seq *seq)
{
    px_scheduler_leave(scheduler, seq, PX_KV_PIN);
    seq->state = PX_SEQ_WAITING;
    px_scheduler_queue(scheduler, seq);
    scheduler->total.preemptions++;
}

/* --- turning --- */

static bool must_turn(const px_scheduler *scheduler, const px_seq *seq)
{
    uint32_t at = scheduler->options.turns_at;
    return seq->count > at && seq->rotated_for <= at;
}

/* Whoever has a pin on its KV, as it was. */
static void turn_waiting(px_scheduler *scheduler, px_seq_list *waiting)
{
    for (px_seq *seq = waiting->first; seq; seq = seq->next) {
        if (!must_turn(scheduler, seq)) continue;
        px_kvcache_unpin(scheduler->cache, &seq->hold);
        px_seq_turn(seq);
    }
}

void px_scheduler_turn(px_scheduler *scheduler)
{
    if (!scheduler->options.turns_at) return;
    for (uint32_t i = 0; i < scheduler->fair.count; i++)
        turn_waiting(scheduler, &scheduler->fair.tenants[i].waiting);
    bool shares = scheduler->options.shares_prefixes;
    for (px_seq *seq = scheduler->running.first, *next; seq; seq = next) {
        next = seq->next;
        if (!must_turn(scheduler, seq)) continue;
        px_scheduler_leave(scheduler, seq, shares ? PX_KV_KEEP : PX_KV_FORGET);
        px_seq_turn(seq);
        seq->state = PX_SEQ_WAITING;
        px_scheduler_queue(scheduler, seq);
    }
}

/* --- growing --- */

/* The last of the most served tenant; never the most urgent of all. */
static px_seq *victim_of_growth(const px_scheduler *scheduler)
{
    px_seq *victim = scheduler->running.last;
    for (px_seq *seq = victim; seq && seq->previous; seq = seq->previous)
        if (seq->tenant->served > victim->tenant->served) victim = seq;
    return victim;
}

/* Blocks for all its tokens; false: it had to make room itself. */
static bool grow(px_scheduler *scheduler, px_seq *seq, px_step *step)
{
    uint32_t wanted =
        px_kv_blocks_for(seq->count); /* less than it has, maybe: for what it guessed */
    uint32_t missing = wanted > seq->hold.count ? wanted - seq->hold.count : 0;
    while (missing > px_kvcache_available(scheduler->cache)) {
        px_seq *victim = victim_of_growth(scheduler);
        preempt(scheduler, victim);
        if (victim == seq) return false;
    }
    px_kvcache_grow(scheduler->cache, &seq->hold, missing, &step->moves);
    return true;
}

void px_scheduler_grow(px_scheduler *scheduler, px_step *step)
{
    px_seq *seq = scheduler->running.first;
    while (seq) /* whoever has grown already needs nothing the second time */
        seq = grow(scheduler, seq, step) ? seq->next : scheduler->running.first;
}

/* --- admission --- */

typedef struct candidate {
    px_seq *seq;
    px_kv_match match;
} candidate;

px_kv_match px_scheduler_match(const px_scheduler *scheduler, const px_seq *seq)
{
    /* The last token is always computed: its logits are wanted. */
    uint32_t limit = px_seq_tells_prompt(seq) ? seq->prompt_told : seq->count - 1;
    return px_kvcache_match(scheduler->cache, &seq->hold, &seq->text, limit, seq->count);
}

static bool same_salt(const px_seq *a, const px_seq *b)
{
    return a->text.salt.word[0] == b->text.salt.word[0] &&
           a->text.salt.word[1] == b->text.salt.word[1];
}

/* Somebody stands where the match ends and is about to compute the very block that is missing. */
static bool is_being_computed(const px_scheduler *scheduler, const candidate *c)
{
    size_t at = (size_t)c->match.blocks * PX_KV_BLOCK_TOKENS, end = at + PX_KV_BLOCK_TOKENS;
    if (end >= c->seq->count || px_seq_tells_prompt(c->seq)) return false;
    for (const px_seq *seq = scheduler->running.first; seq; seq = seq->next)
        if (px_seq_missing(seq) > 1 && seq->hold.tip == c->match.tip &&
            seq->hold.in_tree == c->match.blocks && !seq->hold.diverged && end <= seq->count &&
            same_salt(seq, c->seq) &&
            memcmp(seq->tokens + at, c->seq->tokens + at,
                PX_KV_BLOCK_TOKENS * sizeof *seq->tokens) == 0)
            return true;
    return false;
}

/* The first of the tenant's queue that need not wait for another's prefix. */
static bool first_ready(const px_scheduler *scheduler, const px_tenant *tenant, candidate *out)
{
    uint32_t looked_at = 0;
    for (px_seq *seq = tenant->waiting.first; seq && looked_at < LOOKED_AT_MAX; seq = seq->next) {
        *out = (candidate){.seq = seq, .match = px_scheduler_match(scheduler, seq)};
        if (!is_being_computed(scheduler, out)) return true;
        looked_at++;
    }
    return false;
}

/* Of the least served tenant that has one; between equals, of the one that runs less. */
static bool find_candidate(px_scheduler *scheduler, candidate *out)
{
    const px_tenant *asked[PX_TENANTS_MAX];
    uint32_t asked_count = 0;
    for (;;) {
        const px_tenant *least = NULL;
        for (uint32_t i = 0; i < scheduler->fair.count; i++) {
            const px_tenant *tenant = &scheduler->fair.tenants[i];
            bool was_asked = false;
            for (uint32_t j = 0; j < asked_count; j++) was_asked |= asked[j] == tenant;
            if (!tenant->waiting.count || was_asked) continue;
            if (!least || tenant->served < least->served ||
                (tenant->served == least->served && tenant->running < least->running))
                least = tenant;
        }
        if (!least) return false;
        if (first_ready(scheduler, least, out)) return true;
        asked[asked_count++] = least;
    }
}

/* Who makes room for one of `tenant`: the last of the most served tenant that it is favoured over,
 * unless it came in by this very plan. */
static px_seq *victim_of_admission(const px_scheduler *scheduler, const px_tenant *tenant)
{
    px_seq *victim = NULL;
    for (px_seq *seq = scheduler->running.last; seq; seq = seq->previous) {
        if (seq->entered == scheduler->plans) continue;
        if (!px_fair_favours(&scheduler->fair, tenant, seq->tenant)) continue;
        if (!victim || seq->tenant->served > victim->tenant->served) victim = seq;
    }
    return victim;
}

/* Generating for one more must still end in time. */
static bool ends_in_time(const px_scheduler *scheduler, const px_seq *seq, int64_t now_ns)
{
    if (!scheduler->running.count) return true;
    int64_t since_ns = seq->entered ? seq->served_ns : seq->submitted_ns;
    int64_t bound_ns = px_pace_bound_ns(&scheduler->pace, now_ns - since_ns);
    int64_t share_ns = px_scheduler_share_ns(scheduler, seq->tenant, now_ns);
    if (share_ns < bound_ns) bound_ns = share_ns;
    return px_pace_predict(&scheduler->pace, scheduler->running.count + 1) <= bound_ns;
}

/* Blocks to be left: one for each that runs, one for each answer that will come out of a prompt.
 * Who would run alone needs to leave none. */
static uint32_t spare_blocks(const px_scheduler *scheduler, const px_seq *seq)
{
    if (!scheduler->running.count) return 0;
    uint32_t spare = scheduler->running.count + seq->followers;
    for (const px_seq *other = scheduler->running.first; other; other = other->next)
        spare += other->followers;
    return spare;
}

static bool make_room(px_scheduler *scheduler, candidate *c, int64_t now_ns, const px_step *step)
{
    for (;;) {
        bool fits = scheduler->free_slot_count && ends_in_time(scheduler, c->seq, now_ns) &&
                    px_kvcache_fits(
                        scheduler->cache, &c->match, &step->moves, spare_blocks(scheduler, c->seq));
        if (fits) return true;
        px_seq *victim = victim_of_admission(scheduler, c->seq->tenant);
        if (!victim) return false;
        preempt(scheduler, victim);
        c->match = px_scheduler_match(scheduler, c->seq);
    }
}

/* What it is charged for and what was found. */
static void note_entry(px_scheduler *scheduler, px_seq *seq, uint32_t found)
{
    if (seq->entered) {
        if (seq->computed_max > found) scheduler->total.recomputed += seq->computed_max - found;
        return;
    }
    double cost = seq->prompt_count - found;
    px_tenant *tenant = seq->tenant;
    seq->cached = found;
    scheduler->total.dequeued_tokens += seq->prompt_count;
    scheduler->total.prefix_queries += seq->prompt_count;
    scheduler->total.prefix_hits += found;
    px_fair_charge(tenant, cost);
    tenant->prompt_tokens +=
        (tenant->prompt_tokens ? prompt_learning_rate : 1) * (cost - tenant->prompt_tokens);
}

static void enter(px_scheduler *scheduler, const candidate *c, px_step *step)
{
    px_seq *seq = c->seq;
    px_scheduler_unqueue(scheduler, seq);
    note_entry(scheduler, seq, c->match.tokens);
    seq->slot = scheduler->free_slots[--scheduler->free_slot_count];
    scheduler->slots[seq->slot] = seq;
    seq->state = PX_SEQ_RUNNING;
    seq->entered = scheduler->plans;
    seq->computed = c->match.tokens;
    px_seq_list_insert(&scheduler->running, seq);
    seq->tenant->running++;
    px_kvcache_take(scheduler->cache, &seq->hold, &c->match, &step->moves);
    px_kvcache_grow(
        scheduler->cache, &seq->hold, px_kv_blocks_for(seq->count) - seq->hold.count, &step->moves);
}

/* The step has no rows left for more prompts: who came now would only hold blocks. */
static bool is_step_full(const px_scheduler *scheduler)
{
    uint32_t rows = 0;
    for (const px_seq *seq = scheduler->running.first; seq; seq = seq->next)
        rows += px_seq_missing(seq);
    return rows >= scheduler->budget && scheduler->running.count;
}

void px_scheduler_admit(px_scheduler *scheduler, int64_t now_ns, px_step *step)
{
    candidate c;
    while (find_candidate(scheduler, &c)) {
        bool is_favoured = px_fair_is_favoured(&scheduler->fair, c.seq->tenant, now_ns);
        if (is_step_full(scheduler) && !is_favoured) return;
        if (!make_room(scheduler, &c, now_ns, step)) return;
        enter(scheduler, &c, step);
    }
}
