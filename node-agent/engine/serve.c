/* serve.c - rank 0's engine thread: take requests, plan, run, sample, give out; sleep when idle.
 *
 *   inbox -> scheduler -> step -> the other ranks and our runner -> logits -> sampler -> output
 *
 * The loop allocates nothing and waits for nothing but its peers (who answer within the comm's
 * deadline) and room in the outbox.
 */
#include <stdlib.h>

#include "engine/engine_impl.h"

enum { TOKEN_TEXT_BYTES_MAX = 1 << 20, TOKEN_TEXT_BYTES = 1 << 12, OUTPUTS_EACH = 16 };

px_status px_engine_side_create(px_engine *engine)
{
    const px_parts *parts = &engine->parts;
    px_engine_side *side = &engine->side;
    uint32_t slots = parts->limits.slots, workers = px_team_count(parts->team);
    side->scheduler = px_scheduler_create(&parts->limits, parts->pool);
    side->runner = px_runner_create(&parts->limits, parts->forward, parts->forward_self);
    px_step_init(&side->step, &parts->limits);
    side->message = px_alloc(px_step_message_bytes_max(&parts->limits));
    side->picks = px_alloc_array(slots, sizeof *side->picks);
    px_buf_init(&side->decoded, TOKEN_TEXT_BYTES_MAX);
    px_buf_init(&side->released, TOKEN_TEXT_BYTES_MAX);
    px_buf_reserve(&side->decoded, TOKEN_TEXT_BYTES);
    px_buf_reserve(&side->released, TOKEN_TEXT_BYTES);
    side->next_deadline_ns = INT64_MAX;
    px_ring_init(&engine->inbox, sizeof(px_seq *), slots + parts->queue_max);
    px_ring_init(&engine->outbox, sizeof(px_output), slots * OUTPUTS_EACH);
    atomic_store(&engine->counters.blocks_free, px_kvpool_blocks_free(parts->pool));

    side->samplers = px_alloc_array(workers, sizeof(px_sampler *));
    for (uint32_t i = 0; i < workers; i++)
        PX_TRY(px_sampler_create(parts->info.vocabulary, &side->samplers[i]));
    side->logits_bytes = (size_t)slots * parts->info.vocabulary * sizeof(float);
    void *logits;
    PX_TRY(px_big_alloc(side->logits_bytes, "the logits", &logits));
    side->logits = logits;
    return px_ok();
}

void px_engine_side_free(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    px_scheduler_free(side->scheduler);
    px_runner_free(side->runner);
    px_step_done(&side->step);
    free(side->message);
    free(side->picks);
    px_buf_done(&side->decoded);
    px_buf_done(&side->released);
    for (uint32_t i = 0; side->samplers && i < px_team_count(engine->parts.team); i++)
        px_sampler_free(side->samplers[i]);
    free(side->samplers);
    px_big_free(side->logits, side->logits_bytes);
}

void px_engine_break(px_engine *engine, px_status cause)
{
    if (atomic_load(&engine->has_failed)) return;
    engine->failure = cause;
    atomic_store_explicit(&engine->has_failed, true, memory_order_release);
}

static void take_requests(px_engine *engine)
{
    px_seq *seq;
    while (px_ring_pop(&engine->inbox, &seq)) {
        px_scheduler_add(engine->side.scheduler, seq);
        if (seq->deadline_ns && seq->deadline_ns < engine->side.next_deadline_ns)
            engine->side.next_deadline_ns = seq->deadline_ns;
    }
}

/* Ends whoever must not see the next step: everybody, if the engine is broken. */
static void sweep(px_engine *engine, const px_seq_list *list, px_status broken)
{
    px_engine_side *side = &engine->side;
    for (px_seq *seq = list->first, *next; seq; seq = next) {
        next = seq->next;
        px_status status = broken;
        if (atomic_load_explicit(&seq->cancelled, memory_order_relaxed))
            status = px_fail(PX_CANCELLED, "the request was cancelled");
        else if (seq->deadline_ns && seq->deadline_ns <= side->now_ns)
            status = px_fail(PX_DEADLINE_EXCEEDED, "the request's deadline passed after %u tokens",
                seq->count - seq->prompt_count);
        if (!px_is_ok(status))
            px_output_end(engine, seq, PX_FINISH_ERROR, status);
        else if (seq->deadline_ns && seq->deadline_ns < side->next_deadline_ns)
            side->next_deadline_ns = seq->deadline_ns;
    }
}

/* Only looks at the sequences when somebody cancelled, a deadline is due, or the engine broke. */
static void end_cancelled_and_late(px_engine *engine, uint64_t cancels)
{
    px_engine_side *side = &engine->side;
    px_status broken = px_engine_health(engine);
    if (cancels == side->cancels_seen && side->now_ns < side->next_deadline_ns && px_is_ok(broken))
        return;
    side->cancels_seen = cancels;
    side->next_deadline_ns = INT64_MAX;
    sweep(engine, px_scheduler_running(side->scheduler), broken);
    sweep(engine, px_scheduler_waiting(side->scheduler), broken);
}

static px_status send_step(px_engine *engine)
{
    if (px_comm_size(engine->parts.comm) == 1) return px_ok();
    size_t bytes = px_step_encode(&engine->side.step, engine->side.message);
    return px_comm_plan_send(engine->parts.comm, engine->side.message, bytes);
}

/* The sequence of the `index`-th row of logits; sequences without logits have none. */
static px_seq *next_sampled(const px_engine_side *side, uint32_t *entry)
{
    while (*entry < side->step.seq_count && !side->step.seqs[*entry].wants_logits) ++*entry;
    if (*entry == side->step.seq_count) return NULL;
    return px_scheduler_at(side->scheduler, side->step.seqs[(*entry)++].slot);
}

static void sample_rows(void *arg, uint32_t worker, uint32_t count)
{
    px_engine *engine = arg;
    px_engine_side *side = &engine->side;
    uint32_t entry = 0, row = 0;
    for (px_seq *seq; (seq = next_sampled(side, &entry)); row++) {
        if (row % count != worker) continue;
        const float *logits = side->logits + (size_t)row * engine->parts.info.vocabulary;
        side->picks[row] =
            px_sampler_pick(side->samplers[worker], &seq->sampling, seq->count, logits);
    }
}

static void sample(px_engine *engine)
{
    uint32_t rows = 0, entry = 0;
    while (next_sampled(&engine->side, &entry)) rows++;
    if (rows > 1)
        px_team_run(engine->parts.team, sample_rows, engine);
    else
        sample_rows(engine, 0, 1);

    engine->side.now_ns = px_now_ns();
    entry = rows = 0;
    for (px_seq *seq; (seq = next_sampled(&engine->side, &entry)); rows++)
        px_output_token(engine, seq, engine->side.picks[rows]);
}

static void note_start(px_engine *engine)
{
    int64_t now_ns = engine->side.now_ns;
    const px_step *step = &engine->side.step;
    atomic_store_explicit(&engine->counters.step_started_ns, now_ns, memory_order_relaxed);
    for (uint32_t i = 0; i < step->seq_count; i++) {
        px_seq *seq = px_scheduler_at(engine->side.scheduler, step->seqs[i].slot);
        if (seq->started_ns) continue;
        seq->started_ns = now_ns;
        atomic_fetch_add_explicit(
            &engine->counters.prompt_tokens, seq->prompt_count, memory_order_relaxed);
    }
}

static void run_step(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    note_start(engine);
    px_status status = send_step(engine);
    if (px_is_ok(status)) status = px_runner_step(side->runner, &side->step, side->logits);
    if (px_is_ok(status)) {
        sample(engine);
        atomic_fetch_add_explicit(&engine->counters.steps, 1, memory_order_relaxed);
    } else {
        px_engine_break(engine, status);
    }
    atomic_store_explicit(&engine->counters.step_started_ns, 0, memory_order_relaxed);
}

static void publish_load(px_engine *engine)
{
    px_counters *c = &engine->counters;
    const memory_order any = memory_order_relaxed;
    atomic_store_explicit(&c->running, px_scheduler_running(engine->side.scheduler)->count, any);
    atomic_store_explicit(&c->waiting, px_scheduler_waiting(engine->side.scheduler)->count, any);
    atomic_store_explicit(&c->blocks_free, px_kvpool_blocks_free(engine->parts.pool), any);
}

void px_engine_serve(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    while (!atomic_load_explicit(&engine->is_closing, memory_order_acquire)) {
        uint32_t seen = px_doorbell_look(&engine->bell);
        /* Read before the inbox: every request cancelled up to here is then in the scheduler. */
        uint64_t cancels = atomic_load_explicit(&engine->cancels, memory_order_acquire);
        take_requests(engine);
        side->now_ns = px_now_ns();
        end_cancelled_and_late(engine, cancels);
        bool busy = px_scheduler_plan(side->scheduler, &side->step);
        publish_load(engine);
        if (busy) run_step(engine);
        px_output_flush(engine);
        if (!busy) px_doorbell_wait(&engine->bell, seen, PX_SEC);
    }
    px_step_reset(&side->step, PX_STEP_CLOSE);
    px_ignore(send_step(engine)); /* a peer that is gone needs no farewell */
}
