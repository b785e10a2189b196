/* serve.c - rank 0's engine thread: take requests, plan, run, sample, give out; sleep when idle.
 *
 *   inbox -> scheduler -> step -> the other ranks and our runner -> logits -> draws -> output
 *
 * The loop allocates nothing and waits for nothing but its peers (who answer within the comm's
 * deadline) and room in the outbox.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

enum { OUTPUTS_EACH = 16 };

static px_status make_draft(const px_parts *parts, px_draft **out)
{
    const px_draft_parts *from = &parts->draft;
    if (!from->forward) return px_ok();
    return px_draft_create(&(px_draft_options){.forward = from->forward,
                               .forward_self = from->forward_self,
                               .slots = parts->limits.slots,
                               .rows = from->rows,
                               .vocabulary = parts->info.vocabulary,
                               .context = from->context},
        out);
}

px_status px_engine_side_create(px_engine *engine)
{
    const px_parts *parts = &engine->parts;
    px_engine_side *side = &engine->side;
    uint32_t slots = parts->limits.slots;
    PX_TRY(make_draft(parts, &side->draft));
    side->scheduler = px_scheduler_create(&(px_scheduler_options){.limits = parts->limits,
        .pace = parts->pace,
        .shares_prefixes = !engine->options.no_prefix_cache && !parts->info.both_ways,
        .whole_texts = parts->info.both_ways,
        .speculation = {parts->guesser, side->draft, parts->proposals_max},
        .turns_at = parts->info.rotation_turns_at});
    side->runner = px_parts_make_runner(parts);
    px_step_init(&side->step, &parts->limits);
    side->message = px_alloc(px_message_bytes_max(parts));
    side->next_deadline_ns = INT64_MAX;
    px_ring_init(&engine->inbox, sizeof(px_seq *), slots + parts->queue_max);
    px_ring_init(&engine->adapter_inbox, sizeof(px_adapter_entry *), parts->limits.adapters + 1);
    px_ring_init(&engine->outbox, sizeof(px_output), slots * OUTPUTS_EACH);
    atomic_store(&engine->counters.blocks_free, parts->limits.blocks);

    px_draws_options draws = {.draws_max = parts->limits.logit_rows + slots + parts->queue_max,
        .workers = px_team_count(parts->team),
        .vocabulary = parts->info.vocabulary};
    PX_TRY(px_draws_init(&side->draws, &draws));
    side->logits_bytes = (size_t)parts->limits.logit_rows * parts->info.vocabulary * sizeof(float);
    void *logits;
    PX_TRY(px_big_alloc(side->logits_bytes, "the logits", &logits));
    side->logits = logits;
    if (!parts->pooling) return px_ok();
    side->hidden_bytes = (size_t)parts->limits.rows * parts->info.hidden * sizeof(float);
    void *hidden;
    PX_TRY(px_big_alloc(side->hidden_bytes, "the hidden states", &hidden));
    side->hidden = hidden;
    return px_ok();
}

void px_engine_side_free(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    px_scheduler_free(side->scheduler);
    px_draft_free(side->draft);
    px_runner_free(side->runner);
    px_step_done(&side->step);
    free(side->message);
    px_draws_done(&side->draws);
    px_big_free(side->logits, side->logits_bytes);
    px_big_free(side->hidden, side->hidden_bytes);
}

void px_engine_break(px_engine *engine, px_status cause)
{
    if (atomic_load(&engine->has_failed)) return;
    engine->failure = cause;
    atomic_store_explicit(&engine->has_failed, true, memory_order_release);
}

/* Before anything is computed for it: a request that cannot have its first token in time is better
 * told so, and when it would be different. */
static bool is_too_late(px_engine *engine, px_seq *seq, px_status *out_why)
{
    int64_t now_ns = engine->side.now_ns;
    if (!seq->deadline_ns || seq->deadline_ns <= now_ns) return false; /* the sweep's business */
    int64_t ttft_ns = px_scheduler_ttft_ns(engine->side.scheduler, seq, now_ns);
    int64_t late_ns = now_ns + ttft_ns - seq->deadline_ns;
    if (late_ns <= 0) return false;
    px_status why = px_fail(PX_RESOURCE_EXHAUSTED,
        "the first token would take %.0f ms and the deadline is in %.0f ms",
        (double)ttft_ns / PX_MS, (double)(seq->deadline_ns - now_ns) / PX_MS);
    *out_why = px_retry_after(why, (uint32_t)(late_ns / PX_MS));
    return true;
}

static void take_request(px_engine *engine, px_seq *seq)
{
    px_status why = seq->status; /* of compiling its form */
    bool refused = px_is_ok(why) && is_too_late(engine, seq, &why);
    px_scheduler_add(engine->side.scheduler, seq, engine->side.now_ns);
    if (!px_is_ok(why)) {
        px_output_end(engine, seq, PX_FINISH_ERROR, why);
        if (refused) atomic_fetch_add_explicit(&engine->counters.refused, 1, memory_order_relaxed);
    } else if (px_output_begin(engine, seq) && seq->deadline_ns &&
               seq->deadline_ns < engine->side.next_deadline_ns) {
        engine->side.next_deadline_ns = seq->deadline_ns;
    }
}

static void take_requests(px_engine *engine)
{
    px_seq *seq;
    while (px_ring_pop(&engine->inbox, &seq)) take_request(engine, seq);
    while (px_forms_take(engine->forms, &seq)) take_request(engine, seq);
}

/* Ends whoever must not see the next step: everybody, if the engine is broken. */
static void sweep(px_engine *engine, const px_seq_list *list, px_status broken)
{
    px_engine_side *side = &engine->side;
    for (px_seq *seq = list->first, *next; seq; seq = next) {
        next = seq->next;
        px_status status = broken;
        if (atomic_load_explicit(&seq->is_over, memory_order_relaxed)) {
            px_output_end(engine, seq, PX_FINISH_STOP, px_ok());
            continue;
        }
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

/* Only looks at the sequences when somebody cancelled, a stop string was found, a deadline is due,
 * or the engine broke. */
static void end_cancelled_and_late(px_engine *engine, uint64_t cancels)
{
    px_engine_side *side = &engine->side;
    px_status broken = px_engine_health(engine);
    if (cancels == side->cancels_seen && side->now_ns < side->next_deadline_ns && px_is_ok(broken))
        return;
    side->cancels_seen = cancels;
    side->next_deadline_ns = INT64_MAX;
    sweep(engine, px_scheduler_running(side->scheduler), broken);
    const px_seq_list *waiting;
    for (uint32_t i = 0; (waiting = px_scheduler_waiting(side->scheduler, i)); i++)
        sweep(engine, waiting, broken);
}

static px_status send_step(px_engine *engine)
{
    if (px_comm_size(engine->parts.comm) == 1) return px_ok();
    size_t bytes = px_step_encode(&engine->side.step, engine->side.message);
    return px_comm_plan_send(engine->parts.comm, engine->side.message, bytes);
}

/* The sequence takes what was drawn, unless its form has already said what stands there. True: it
 * goes on, and is what the step's next row took it to be. The sequence may be gone otherwise. */
static bool settle(px_engine *engine, px_draw *it)
{
    px_seq *seq = it->seq;
    bool is_open = it->position == seq->count;
    int64_t token = is_open ? it->token : seq->tokens[it->position];
    bool is_right = token >= 0 && token == it->proposal;
    if (is_right) px_scheduler_accept(engine->side.scheduler, seq);
    if (!is_open) return is_right;
    bool has_logprobs = seq->wants_logprobs || seq->is_ranked;
    return px_output_token(engine, seq, token, has_logprobs ? &it->logprobs : NULL) && is_right;
}

static void draw(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    px_draws *draws = &side->draws;
    px_draws_plan(draws, &side->step, side->scheduler);
    px_draws_run(draws, &(px_draws_input){.team = engine->parts.team, .logits = side->logits});
    side->now_ns = px_now_ns();
    const px_seq *over = NULL; /* it has ended, or its next rows stand on what it did not say */
    for (uint32_t i = 0; i < draws->count; i++) {
        px_draw *it = &draws->at[i];
        if (it->of_prompt) {
            px_output_prompt(engine, it->seq, (uint32_t)it->token, &it->logprobs);
            continue;
        }
        if (it->seq == over) continue;
        if (it->seq->vector) {
            px_output_end(engine, it->seq, PX_FINISH_STOP, px_ok());
            continue;
        }
        if (it->seq->followers) px_scheduler_fork(side->scheduler, it->seq);
        if (!settle(engine, it)) over = it->seq;
    }
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
    int64_t started_ns = side->now_ns;
    note_start(engine);
    px_status status = send_step(engine);
    if (px_is_ok(status))
        status =
            px_runner_step(side->runner, &side->step, (px_runner_room){side->logits, side->hidden});
    if (px_is_ok(status)) {
        px_engine_pool(engine);
        draw(engine);
        px_scheduler_observe(side->scheduler, &side->step, side->now_ns - started_ns);
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
    px_scheduler_stats stats = px_scheduler_stats_of(engine->side.scheduler);
    atomic_store_explicit(&c->running, stats.running, any);
    atomic_store_explicit(&c->waiting, stats.waiting, any);
    atomic_store_explicit(&c->blocks_free, stats.blocks_free, any);
    atomic_store_explicit(&c->blocks_parked, stats.blocks_parked, any);
    atomic_store_explicit(&c->preemptions, stats.preemptions, any);
    atomic_store_explicit(&c->prefix_queries, stats.prefix_queries, any);
    atomic_store_explicit(&c->prefix_hits, stats.prefix_hits, any);
    atomic_store_explicit(&c->recomputed, stats.recomputed, any);
    atomic_store_explicit(&c->proposed, stats.proposed, any);
    atomic_store_explicit(&c->accepted, stats.accepted, any);
    atomic_store_explicit(&c->dequeued_tokens, stats.dequeued_tokens, any);
    atomic_store_explicit(&c->row_ns, stats.row_ns, any);
    atomic_store_explicit(&c->finish_ns, stats.finish_ns, any);
}

void px_engine_serve(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    while (!atomic_load_explicit(&engine->is_closing, memory_order_acquire)) {
        uint32_t seen = px_doorbell_look(&engine->bell);
        /* Read before the inbox: every request cancelled up to here is then in the scheduler. */
        uint64_t cancels = atomic_load_explicit(&engine->cancels, memory_order_acquire);
        side->now_ns = px_now_ns();
        take_requests(engine);
        px_adapters_serve(engine);
        end_cancelled_and_late(engine, cancels);
        bool busy = px_scheduler_plan(side->scheduler, side->now_ns, &side->step);
        publish_load(engine);
        if (busy) {
            side->now_ns = px_now_ns(); /* a draft model may have taken its time */
            run_step(engine);
        }
        px_output_flush(engine);
        if (!busy) px_doorbell_wait(&engine->bell, seen, PX_SEC);
    }
    px_step_reset(&side->step, PX_STEP_CLOSE);
    px_ignore(send_step(engine)); /* a peer that is gone needs no farewell */
}
