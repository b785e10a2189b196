/* intake.c - the caller's side of the engine: requests checked, tokenised and handed over; events
 * taken.
 *
 * All that can be refused is refused here, on the caller's thread; what the engine thread gets is
 * sound and carries all the memory it needs.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

enum { RETRY_MS_MIN = 50, RETRY_SECONDS_MAX = 600 };

void px_caller_side_create(px_engine *engine, uint32_t capacity)
{
    px_caller_side *side = &engine->caller;
    side->capacity = capacity;
    side->key = px_siphash_random_key();
    side->live = px_alloc_array(capacity, sizeof *side->live);
    side->free_slots = px_alloc_array(capacity, sizeof *side->free_slots);
    while (side->free_count < capacity) {
        side->free_slots[side->free_count] = capacity - 1 - side->free_count;
        side->free_count++;
    }
}

void px_caller_side_free(px_engine *engine)
{
    px_caller_side *side = &engine->caller;
    for (uint32_t i = 0; i < side->capacity; i++) px_seq_free(side->live[i]);
    free(side->live);
    free(side->free_slots);
}

/* When a place will be free: requests end, tokens are computed at a known pace. */
static uint32_t retry_ms(const px_engine *engine, uint64_t excess_tokens)
{
    const px_counters *c = &engine->counters;
    int64_t row_ns = atomic_load_explicit(&c->row_ns, memory_order_relaxed);
    int64_t finish_ns = atomic_load_explicit(&c->finish_ns, memory_order_relaxed);
    double ns = excess_tokens ? (double)excess_tokens * (double)row_ns : (double)finish_ns;
    double ms = ns / PX_MS, most = RETRY_SECONDS_MAX * 1000.0;
    if (!(ms >= RETRY_MS_MIN)) ms = RETRY_MS_MIN;
    return (uint32_t)(ms < most ? ms : most);
}

static px_status check_queue(const px_engine *engine, uint32_t prompt_tokens)
{
    const px_caller_side *side = &engine->caller;
    uint64_t waiting = side->queued_tokens - atomic_load_explicit(&engine->counters.dequeued_tokens,
                                                 memory_order_relaxed);
    uint64_t most = engine->options.queue_tokens_max, wanted = waiting + prompt_tokens;
    if (!side->free_count)
        return px_retry_after(
            px_fail(PX_RESOURCE_EXHAUSTED,
                "the engine's queue is full: %u requests are running or waiting", side->capacity),
            retry_ms(engine, 0));
    if (most && waiting && wanted > most)
        return px_retry_after(
            px_fail(PX_RESOURCE_EXHAUSTED,
                "the engine's queue is full: prompts of %llu tokens wait, %u more make over %llu",
                (unsigned long long)waiting, prompt_tokens, (unsigned long long)most),
            retry_ms(engine, wanted - most));
    return px_ok();
}

px_status px_engine_submit(px_engine *engine, const px_request *request, uint64_t *out_id)
{
    px_caller_side *side = &engine->caller;
    int64_t now_ns = px_now_ns();
    PX_TRY(px_engine_health(engine));
    PX_TRY(px_engine_check_request(engine, request));
    PX_TRY(check_queue(engine, 0)); /* before work is put into the text */
    px_seq *seq;
    PX_TRY(px_engine_make_seq(engine, request, &seq));
    px_status status = check_queue(engine, seq->prompt_count);
    if (!px_is_ok(status)) {
        px_seq_free(seq);
        return status;
    }
    uint32_t slot = side->free_slots[--side->free_count];
    seq->id = ++side->submitted * side->capacity + slot;
    seq->submitted_ns = now_ns;
    side->queued_tokens += seq->prompt_count;
    side->live[slot] = seq;
    *out_id = seq->id;
    if (seq->has_form) { /* it comes to the engine when its grammar is compiled */
        px_forms_submit(engine->forms, seq);
    } else {
        bool pushed = px_ring_push(&engine->inbox, &seq);
        PX_ASSERT(pushed); /* the inbox has room for all that can live at once */
        px_doorbell_ring(&engine->bell);
    }
    return px_ok();
}

void px_engine_cancel(px_engine *engine, uint64_t id)
{
    px_seq *seq = engine->caller.live[id % engine->caller.capacity];
    if (!seq || seq->id != id) return;
    atomic_store_explicit(&seq->cancelled, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->cancels, 1, memory_order_release);
    px_doorbell_ring(&engine->bell);
}

/* The sequence is the caller's again: its end becomes the event, its memory is freed. */
static void take_done(px_engine *engine, uint32_t slot, px_event *out)
{
    px_caller_side *side = &engine->caller;
    px_seq *seq = side->live[slot];
    int64_t submitted_ns = seq->submitted_ns;
    out->finish = seq->finish;
    out->status = seq->status;
    out->prompt_tokens = seq->prompt_count;
    out->output_tokens = seq->count - seq->prompt_count;
    out->cached_tokens = seq->cached;
    out->queue_ns = (seq->started_ns ? seq->started_ns : seq->ended_ns) - submitted_ns;
    out->ttft_ns = seq->first_token_ns ? seq->first_token_ns - submitted_ns : 0;
    out->total_ns = seq->ended_ns - submitted_ns;
    side->live[slot] = NULL;
    side->free_slots[side->free_count++] = slot;
    px_forms_release(engine->forms, seq->form);
    px_seq_free(seq);
}

bool px_engine_poll(px_engine *engine, px_event *out)
{
    px_output output;
    if (!px_ring_pop(&engine->outbox, &output)) {
        /* From here on new events wake the caller again; look once more for those that came
         * before it said so. */
        atomic_exchange_explicit(&engine->is_waking, false, memory_order_acq_rel);
        if (!px_ring_pop(&engine->outbox, &output)) return false;
    }
    *out = (px_event){.id = engine->caller.live[output.slot]->id,
        .kind = (px_event_kind)output.kind,
        .has_token = output.has_token,
        .token = output.token,
        .has_logprobs = output.has_logprobs,
        .text_length = output.text_length};
    if (output.has_logprobs) out->logprobs = output.logprobs;
    memcpy(out->text, output.text, output.text_length);
    if (out->kind == PX_EVENT_DONE) take_done(engine, output.slot, out);
    return true;
}

px_status px_engine_tokenize(
    px_engine *engine, px_slice text, bool add_special, uint32_t **out_ids, size_t *out_count)
{
    px_ids ids = {0};
    px_status status = px_engine_encode(engine, text, add_special, 0, &ids);
    if (!px_is_ok(status)) {
        free(ids.data);
        return status;
    }
    *out_ids = ids.data;
    *out_count = ids.count;
    return px_ok();
}
