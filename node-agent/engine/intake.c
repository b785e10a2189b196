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
    px_wording_init(&side->wording, px_tokenizer_size(engine->parts.text.tokenizer));
    side->key = px_siphash_random_key();
    px_adapters_create(engine);
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
    for (uint32_t i = 0; i < side->capacity; i++) {
        px_seq *seq = side->live[i];
        if (seq && !seq->choice) px_choices_free(seq->choices);
        px_seq_free(seq);
    }
    free(side->live);
    free(side->free_slots);
    px_adapters_free(engine);
    px_wording_done(&side->wording);
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

typedef struct demand { /* of one request */
    uint32_t sequences, prompt_tokens;
} demand;

static px_status check_queue(const px_engine *engine, demand asked)
{
    const px_caller_side *side = &engine->caller;
    uint64_t waiting = side->queued_tokens - atomic_load_explicit(&engine->counters.dequeued_tokens,
                                                 memory_order_relaxed);
    uint64_t most = engine->options.queue_tokens_max, wanted = waiting + asked.prompt_tokens;
    if (side->free_count < asked.sequences)
        return px_retry_after(
            px_fail(PX_RESOURCE_EXHAUSTED,
                "the engine's queue is full: %u of %u sequences are running or "
                "waiting, and %u more are asked for",
                side->capacity - side->free_count, side->capacity, asked.sequences),
            retry_ms(engine, 0));
    if (most && waiting && wanted > most)
        return px_retry_after(
            px_fail(PX_RESOURCE_EXHAUSTED,
                "the engine's queue is full: prompts of %llu tokens wait, %u more make over %llu",
                (unsigned long long)waiting, asked.prompt_tokens, (unsigned long long)most),
            retry_ms(engine, wanted - most));
    return px_ok();
}

static void take_slot(px_caller_side *side, px_seq *seq)
{
    uint32_t slot = side->free_slots[--side->free_count];
    seq->id = ++side->submitted * side->capacity + slot;
    side->live[slot] = seq;
}

/* Answers to one prompt travel with the first of them, inputs by themselves. */
static void hand_over(px_engine *engine, px_seq *first)
{
    bool travels_alone = first->followers == 0;
    for (px_seq *seq = first, *next; seq; seq = next) {
        next = travels_alone ? seq->next_choice : NULL;
        bool pushed = px_ring_push(&engine->inbox, &seq);
        PX_ASSERT(pushed); /* the inbox has room for all that can live at once */
    }
    px_doorbell_ring(&engine->bell);
}

px_status px_engine_submit(px_engine *engine, const px_request *request, uint64_t *out_id)
{
    px_caller_side *side = &engine->caller;
    int64_t now_ns = px_now_ns();
    demand asked = {.sequences = px_request_answers(request)};
    PX_TRY(px_engine_health(engine));
    PX_TRY(px_engine_check_request(engine, request));
    PX_TRY(check_queue(engine, asked)); /* before work is put into the text */
    px_seq *first;
    PX_TRY(px_engine_make_seq(engine, request, &first));
    bool shares_prompt = first->followers != 0; /* then it counts once */
    for (px_seq *seq = first; seq; seq = shares_prompt ? NULL : seq->next_choice)
        asked.prompt_tokens += seq->prompt_count;
    px_status status = check_queue(engine, asked);
    if (px_is_ok(status)) status = px_wording_resume(&side->wording, first);
    if (!px_is_ok(status)) {
        px_seq_free_chain(first);
        return status;
    }
    for (px_seq *seq = first; seq; seq = seq->next_choice) {
        take_slot(side, seq);
        px_adapters_hold(engine, seq->adapter);
        seq->submitted_ns = now_ns;
    }
    if (first->vector)
        px_choices_create(first, asked.sequences);
    else if (first->next_choice)
        px_choices_create(first, request->n ? request->n : 1);
    side->queued_tokens += asked.prompt_tokens;
    *out_id = first->id;
    if (first->has_form) /* it comes to the engine when its grammar is compiled */
        px_forms_submit(engine->forms, first);
    else
        hand_over(engine, first);
    return px_ok();
}

/* The engine looks at all sequences before its next step: one of them need not go on. */
static void have_swept(px_engine *engine)
{
    atomic_fetch_add_explicit(&engine->cancels, 1, memory_order_release);
    px_doorbell_ring(&engine->bell);
}

void px_engine_cancel(px_engine *engine, uint64_t id)
{
    px_seq *first = engine->caller.live[id % engine->caller.capacity];
    if (!first || first->id != id) return;
    for (px_seq *seq = first; seq; seq = seq->next_choice)
        atomic_store_explicit(&seq->cancelled, true, memory_order_relaxed);
    have_swept(engine);
}

/* The sequence was the caller's again, and its end is told: its memory is freed. */
static void let_go(px_engine *engine, px_seq *seq)
{
    px_caller_side *side = &engine->caller;
    uint32_t slot = (uint32_t)(seq->id % side->capacity);
    side->live[slot] = NULL;
    side->free_slots[side->free_count++] = slot;
    px_forms_release(engine->forms, seq->form);
    px_adapters_release(engine, seq->adapter);
    px_seq_free(seq);
}

/* What is left to tell of a request whose answers have all ended. */
static void tell_next(px_engine *engine, px_event *out)
{
    px_choices *choices = engine->caller.telling;
    px_choices_next(choices, out);
    if (out->kind != PX_EVENT_DONE) return;
    for (px_seq *seq = choices->first, *next; seq; seq = next) {
        next = seq->next_choice;
        let_go(engine, seq);
    }
    px_choices_free(choices);
    engine->caller.telling = NULL;
}

/* One of several answers: true if the event is to be told. */
static bool take_choice(px_engine *engine, px_choices *choices, const px_seq *seq, px_event *event)
{
    bool tells = px_choices_take(choices, seq, event);
    if (choices->is_failing) px_engine_cancel(engine, choices->first->id);
    choices->is_failing = false;
    if (!choices->open) engine->caller.telling = choices;
    return tells;
}

static bool next_output(px_engine *engine, px_output *out)
{
    if (px_ring_pop(&engine->outbox, out)) return true;
    /* From here on new events wake the caller again; look once more for those that came before it
     * said so. */
    atomic_exchange_explicit(&engine->is_waking, false, memory_order_acq_rel);
    return px_ring_pop(&engine->outbox, out);
}

/* The next event of any sequence, or (ADAPTER) of none; false: all that was said has been told. */
static bool next_event(px_engine *engine, px_seq **out_seq, px_event *out)
{
    px_wording *wording = &engine->caller.wording;
    px_output output;
    while (!wording->seq) {
        if (!next_output(engine, &output)) return false;
        if (output.kind == PX_EVENT_ADAPTER) {
            px_adapters_take_done(engine, output.slot, out);
            return true;
        }
        if (px_wording_take(wording, engine->caller.live[output.slot], &output)) have_swept(engine);
    }
    *out_seq = wording->seq;
    return px_wording_next(wording, out);
}

bool px_engine_poll(px_engine *engine, px_event *out)
{
    px_seq *seq = NULL;
    for (;;) {
        if (engine->caller.telling) {
            tell_next(engine, out);
            return true;
        }
        if (!next_event(engine, &seq, out)) return false;
        if (out->kind == PX_EVENT_ADAPTER) return true;
        if (seq->choices) {
            if (take_choice(engine, seq->choices, seq, out)) return true;
        } else {
            if (out->kind == PX_EVENT_DONE) let_go(engine, seq);
            return true;
        }
    }
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
