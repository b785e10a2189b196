/* rows.c - whose rows a step carries.
 *
 * Alone, a tenant's generating sequences come first and prompts get what is left of the budget.
 * With others about who were served less, its prompts are cut shorter: one of theirs that comes now
 * waits for the step to end, and should not wait for more than a part of what its own prompt takes.
 * When it has come, its prompt goes before all, and for that time, but not longer than is bearable,
 * the others' sequences generate nothing.
 */
#include <string.h>

#include "base/clock.h"
#include "engine/schedule/scheduler_impl.h"

enum {
    PROMPT_ROWS_MIN = 16, /* of prompts in a step, however many generate */
    WAIT_SHARE = 4,       /* of a favoured prompt's own time, a step of others may take one part, */
    FIXED_COSTS = 2,      /* but at least as much as this many steps cost without any row */
    PAUSE_STEPS = 2 /* of the longest kind, that others may have to pause for a favoured one */
};
static const int64_t pause_unbounded_ns = 200 * PX_MS; /* where no latency is asked for */

static px_pace_load load_of(const px_scheduler *scheduler, int64_t now_ns)
{
    px_pace_load load = {0};
    for (const px_seq *seq = scheduler->running.first; seq; seq = seq->next)
        load.rows_wanted += px_seq_missing(seq);
    for (uint32_t i = 0; i < scheduler->fair.count; i++) {
        const px_tenant *tenant = &scheduler->fair.tenants[i];
        const px_seq *first = tenant->waiting.first;
        load.rows_wanted += tenant->waiting_tokens;
        if (!first) continue;
        int64_t waited_ns = now_ns - (first->entered ? first->served_ns : first->submitted_ns);
        if (waited_ns > load.waited_ns) load.waited_ns = waited_ns;
    }
    return load;
}

uint32_t px_scheduler_budget(const px_scheduler *scheduler, int64_t now_ns)
{
    return px_pace_budget(&scheduler->pace, load_of(scheduler, now_ns));
}

int64_t px_scheduler_share_ns(
    const px_scheduler *scheduler, const px_tenant *tenant, int64_t now_ns)
{
    double prompt = px_fair_favoured_prompt(&scheduler->fair, tenant, now_ns);
    if (!prompt) return INT64_MAX;
    int64_t share_ns = px_pace_predict(&scheduler->pace, (uint32_t)prompt) / WAIT_SHARE;
    int64_t least_ns = FIXED_COSTS * px_pace_fixed_ns(&scheduler->pace);
    return share_ns > least_ns ? share_ns : least_ns;
}

typedef struct sharing { /* of one step's rows */
    px_scheduler *scheduler;
    px_step *step;
    int64_t now_ns;
    const px_tenant *preferred; /* whose prompt goes before all; NULL: nobody's */
} sharing;

/* A sequence that generates has exactly its newest token uncomputed. */
static bool generates(const px_seq *seq)
{
    return px_seq_missing(seq) == 1;
}

static bool is_planned(const sharing *s, const px_seq *seq)
{
    return seq->planned == s->scheduler->plans;
}

/* Of its next `rows` rows, the last that have not told their part of the prompt: all, unless some
 * were lost and are computed again. */
static uint32_t told_rows(const px_seq *seq, uint32_t rows)
{
    uint32_t again = seq->prompt_told - seq->computed;
    return rows > again ? rows - again : 0;
}

/* As many of its next `rows` as there is room for their logits, beside one row of everybody else's
 * that may come into the step. */
static uint32_t prompt_rows(const sharing *s, const px_seq *seq, uint32_t rows)
{
    const px_step_limits *limits = &s->scheduler->options.limits;
    uint32_t others = limits->slots - 1 - s->step->seq_count;
    uint32_t room = limits->logit_rows - s->step->logit_row_count - others;
    uint32_t told = told_rows(seq, rows);
    return told > room ? rows - (told - room) : rows;
}

/* What its next `rows` rows can be cut to. Where tokens see those after them, all or none, unless
 * nobody else is there. */
static uint32_t shorten(const sharing *s, const px_seq *seq, uint32_t rows)
{
    uint32_t left = px_seq_missing(seq);
    if (s->scheduler->options.whole_texts && rows < left) return s->step->row_count ? 0 : left;
    return px_seq_tells_prompt(seq) && !seq->vector ? prompt_rows(s, seq, rows) : rows;
}

typedef struct outcome { /* of the last rows of a sequence's */
    uint32_t logit_rows, hidden_rows;
} outcome;

static outcome outcome_of(const px_seq *seq, uint32_t rows)
{
    uint32_t left = px_seq_missing(seq), last = rows < left ? 0 : rows - left + 1;
    if (seq->vector && seq->vector->labels.count) return (outcome){.logit_rows = last};
    uint32_t wanted = px_seq_tells_prompt(seq) ? told_rows(seq, rows) : last;
    return seq->vector ? (outcome){.hidden_rows = wanted} : (outcome){.logit_rows = wanted};
}

/* Its uncomputed tokens and what is proposed behind them, up to `rows_max`. */
static void add_rows(sharing *s, px_seq *seq, uint32_t rows_max)
{
    px_step *step = s->step;
    const px_step_limits *limits = &s->scheduler->options.limits;
    uint32_t left = px_seq_missing(seq), wanted = left + seq->proposed;
    uint32_t rows = wanted < rows_max ? wanted : rows_max;
    uint32_t told = seq->blocks_told, blocks = seq->hold.count - told;
    if (step->row_count + rows > limits->rows) rows = limits->rows - step->row_count;
    rows = shorten(s, seq, rows);
    if (!rows || step->block_count + blocks > px_step_blocks_max(limits)) return;
    outcome out = outcome_of(seq, rows);
    step->seqs[step->seq_count++] = (px_step_seq){.slot = seq->slot,
        .position = seq->computed,
        .rows = rows,
        .logit_rows = out.logit_rows,
        .hidden_rows = out.hidden_rows,
        .block_at = told,
        .prompt = seq->rotated_for,
        .adapter = seq->adapter,
        .blocks = blocks};
    memcpy(step->ids + step->row_count, seq->tokens + seq->computed, rows * sizeof *step->ids);
    memcpy(
        step->blocks + step->block_count, seq->hold.blocks + told, blocks * sizeof *step->blocks);
    step->row_count += rows;
    step->logit_row_count += out.logit_rows;
    step->block_count += blocks;
    seq->blocks_told = seq->hold.count;
    if (px_seq_tells_prompt(seq)) seq->prompt_told += told_rows(seq, rows);
    seq->computed += rows < left ? rows : left;
    s->scheduler->total.proposed += rows < left ? 0 : rows - left;
    seq->proposed = 0;
    if (seq->computed > seq->computed_max) seq->computed_max = seq->computed;
    seq->planned = s->scheduler->plans;
    seq->served_ns = s->now_ns;
    if (left == 1) px_fair_charge(seq->tenant, PX_ANSWER_COST);
    px_kvcache_note(s->scheduler->cache, &seq->hold, &seq->text, seq->computed);
}

/* Of the least served tenant that is favoured, if it has a prompt to compute. */
static const px_tenant *find_preferred(const sharing *s)
{
    const px_tenant *least = NULL;
    for (const px_seq *seq = s->scheduler->running.first; seq; seq = seq->next)
        if (!generates(seq) && (!least || seq->tenant->served < least->served)) least = seq->tenant;
    bool favoured = least && px_fair_is_favoured(&s->scheduler->fair, least, s->now_ns);
    return favoured ? least : NULL;
}

static bool has_to_pause(const sharing *s, const px_seq *seq)
{
    if (!s->preferred || !px_fair_favours(&s->scheduler->fair, s->preferred, seq->tenant))
        return false;
    int64_t latency_ns = s->scheduler->options.pace.latency_ns;
    int64_t pause_ns = latency_ns ? PAUSE_STEPS * latency_ns : pause_unbounded_ns;
    return s->now_ns - seq->served_ns < pause_ns;
}

/* The smallest above `adapter` that a running sequence has; 0: none. */
static uint32_t next_adapter(const sharing *s, uint32_t adapter)
{
    uint32_t next = 0;
    for (const px_seq *seq = s->scheduler->running.first; seq; seq = seq->next)
        if (seq->adapter > adapter && (!next || seq->adapter < next)) next = seq->adapter;
    return next;
}

/* Adapter by adapter: then each multiplies its rows in one go. */
static void add_generating(sharing *s)
{
    uint32_t adapter = 0;
    do {
        for (px_seq *seq = s->scheduler->running.first; seq; seq = seq->next)
            if (seq->adapter == adapter && generates(seq) && !is_planned(s, seq) &&
                !has_to_pause(s, seq))
                add_rows(s, seq, 1 + seq->proposed);
    } while ((adapter = next_adapter(s, adapter)));
}

/* The prompt that is next, of `tenant` or (NULL) of the least served one. */
static px_seq *next_prompt(const sharing *s, const px_tenant *tenant)
{
    px_seq *next = NULL;
    for (px_seq *seq = s->scheduler->running.first; seq; seq = seq->next) {
        if (generates(seq) || is_planned(s, seq) || (tenant && seq->tenant != tenant)) continue;
        if (!next || seq->tenant->served < next->tenant->served) next = seq;
    }
    return next;
}

/* The whole step's rows once this tenant's prompt is in it. */
static uint32_t rows_for(const sharing *s, const px_tenant *tenant)
{
    int64_t share_ns = px_scheduler_share_ns(s->scheduler, tenant, s->now_ns);
    if (share_ns == INT64_MAX) return s->scheduler->budget;
    uint32_t rows = px_pace_rows_within(&s->scheduler->pace, share_ns);
    return rows < s->scheduler->budget ? rows : s->scheduler->budget;
}

static void add_prompts(sharing *s, const px_tenant *tenant)
{
    uint32_t before = s->step->row_count;
    for (px_seq *seq; (seq = next_prompt(s, tenant));) {
        uint32_t limit = rows_for(s, seq->tenant), least = before + PROMPT_ROWS_MIN;
        if (limit < least) limit = least;
        if (s->step->row_count >= limit) return;
        uint32_t rows = s->step->row_count;
        add_rows(s, seq, limit - rows);
        if (s->step->row_count == rows) return; /* the step is full */
    }
}

void px_scheduler_share_rows(px_scheduler *scheduler, int64_t now_ns, px_step *step)
{
    sharing s = {.scheduler = scheduler, .step = step, .now_ns = now_ns};
    s.preferred = find_preferred(&s);
    if (s.preferred) add_prompts(&s, s.preferred);
    add_generating(&s);
    if (!s.preferred) add_prompts(&s, NULL);
}
