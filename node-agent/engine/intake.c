/* intake.c - the caller's side of the engine: requests checked, tokenised and handed over; events
 * taken.
 *
 * All that can be refused is refused here, on the caller's thread; what the engine thread gets is
 * sound and carries all the memory it needs.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

enum { RENDERED_BYTES_MAX = 64 << 20, RETRY_MS_MIN = 50, RETRY_SECONDS_MAX = 600 };

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

static px_status encode(
    px_engine *engine, px_slice text, bool add_special, size_t ids_max, px_ids *ids)
{
    px_encode_options options = {
        .add_special = add_special, .parse_special = true, .ids_max = ids_max};
    px_status status =
        px_tokenizer_encode(engine->parts.text.tokenizer, text.data, text.length, &options, ids);
    if (status.code == PX_RESOURCE_EXHAUSTED && ids_max)
        return px_fail(PX_INVALID_ARGUMENT, "the prompt is longer than the context of %u tokens",
            engine->parts.info.context);
    return status;
}

static px_status render(px_engine *engine, const px_request *request, px_buf *out)
{
    const px_text *text = &engine->parts.text;
    if (!text->chat)
        return px_fail(PX_FAILED_PRECONDITION,
            "the model '%s' has no chat template: send a plain prompt", engine->parts.info.name);
    px_chat_input input = {.messages = request->messages,
        .tools = request->tools,
        .special_tokens = text->special_tokens,
        .kwargs = request->template_kwargs,
        .add_generation_prompt = true};
    return px_text_render(text, &input, out);
}

static px_status encode_messages(px_engine *engine, const px_request *request, px_ids *ids)
{
    px_buf text;
    px_buf_init(&text, RENDERED_BYTES_MAX);
    px_status status = render(engine, request, &text);
    if (px_is_ok(status))
        status = encode(engine, (px_slice){px_buf_text(&text), text.length}, false,
            engine->parts.info.context, ids);
    px_buf_done(&text);
    return status;
}

static px_status copy_tokens(px_engine *engine, const px_request *request, px_ids *ids)
{
    const px_model_info *info = &engine->parts.info;
    if (request->token_count >= info->context)
        return px_fail(PX_INVALID_ARGUMENT,
            "the prompt has %zu tokens; the context holds %u, the answer included",
            request->token_count, info->context);
    for (size_t i = 0; i < request->token_count; i++)
        if (request->tokens[i] >= info->vocabulary)
            return px_fail(PX_INVALID_ARGUMENT,
                "token %u at place %zu is not below %u, the "
                "vocabulary's size",
                request->tokens[i], i, info->vocabulary);
    ids->data = px_alloc_array(request->token_count, sizeof *ids->data);
    memcpy(ids->data, request->tokens, request->token_count * sizeof *ids->data);
    ids->count = request->token_count;
    return px_ok();
}

static px_status prompt_ids(px_engine *engine, const px_request *request, px_ids *ids)
{
    const px_model_info *info = &engine->parts.info;
    if (request->tokens)
        PX_TRY(copy_tokens(engine, request, ids));
    else if (request->messages)
        PX_TRY(encode_messages(engine, request, ids));
    else
        PX_TRY(encode(engine, request->prompt, engine->parts.text.add_special, info->context, ids));
    if (ids->count == 0) return px_fail(PX_INVALID_ARGUMENT, "the prompt is empty");
    if (ids->count >= info->context)
        return px_fail(PX_INVALID_ARGUMENT,
            "the prompt has %zu tokens; the context holds %u, the answer included", ids->count,
            info->context);
    return px_ok();
}

/* Whose it is, and whom it shares prefixes with. */
static void set_salt(const px_engine *engine, const px_request *request, px_seq *seq)
{
    px_siphash_key key = engine->caller.key;
    seq->tenant_id = px_siphash(key, request->tenant.data, request->tenant.length);
    seq->text.salt = px_salt_of(key, request->tenant, request->cache_salt);
    /* Where rotations depend on the prompt's length, only equal lengths have equal KV. */
    uint32_t varies_from = engine->parts.info.rotation_varies_from;
    if (varies_from && seq->prompt_count > varies_from)
        seq->text.salt.word[1] ^= (uint64_t)seq->prompt_count << 32;
}

static px_status make_seq(px_engine *engine, const px_request *request, px_seq **out)
{
    px_ids ids = {0};
    px_status status = prompt_ids(engine, request, &ids);
    if (px_is_ok(status)) {
        uint32_t context = engine->parts.info.context, count = (uint32_t)ids.count;
        bool bounded = request->max_tokens && request->max_tokens < context - count;
        uint32_t tokens_max = bounded ? count + request->max_tokens : context;
        status = px_seq_create(&ids, tokens_max, request, engine->parts.text.tokenizer, out);
        if (px_is_ok(status)) set_salt(engine, request, *out);
    }
    free(ids.data);
    return status;
}

static px_status check_request(const px_request *request)
{
    PX_TRY(px_sampling_check(&request->sampling));
    if (request->priority < -PX_PRIORITY_MAX || request->priority > PX_PRIORITY_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "priority must be from %d (soonest) to %d, not %d",
            -PX_PRIORITY_MAX, PX_PRIORITY_MAX, request->priority);
    if (request->tenant.length > PX_TENANT_BYTES_MAX ||
        request->cache_salt.length > PX_CACHE_SALT_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "a tenant's name has at most %d bytes, a cache salt %d; these have %zu and %zu",
            PX_TENANT_BYTES_MAX, PX_CACHE_SALT_BYTES_MAX, request->tenant.length,
            request->cache_salt.length);
    if (!(request->tenant_weight >= 0 && request->tenant_weight <= PX_WEIGHT_MAX))
        return px_fail(PX_INVALID_ARGUMENT, "a tenant's weight must be from 0 to %d, not %g",
            PX_WEIGHT_MAX, request->tenant_weight);
    return px_ok();
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
    PX_TRY(check_request(request));
    PX_TRY(check_queue(engine, 0)); /* before work is put into the text */
    px_seq *seq;
    PX_TRY(make_seq(engine, request, &seq));
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
    bool pushed = px_ring_push(&engine->inbox, &seq);
    PX_ASSERT(pushed); /* the inbox has room for all that can live at once */
    px_doorbell_ring(&engine->bell);
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
        .text_length = output.text_length};
    memcpy(out->text, output.text, output.text_length);
    if (out->kind == PX_EVENT_DONE) take_done(engine, output.slot, out);
    return true;
}

px_status px_engine_tokenize(
    px_engine *engine, px_slice text, bool add_special, uint32_t **out_ids, size_t *out_count)
{
    px_ids ids = {0};
    px_status status = encode(engine, text, add_special, 0, &ids);
    if (!px_is_ok(status)) {
        free(ids.data);
        return status;
    }
    *out_ids = ids.data;
    *out_count = ids.count;
    return px_ok();
}
