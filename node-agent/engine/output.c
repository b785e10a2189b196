/* output.c - from a sampled token to events: its text, stop strings, the end of the sequence. */
#include <string.h>

#include "engine/engine_impl.h"

enum { STALL_LIMIT_SECONDS = 10 };

/* Waits for room: nothing is ever dropped. A caller that takes nothing for long has hung, and so
 * the whole rank is called broken; the wait itself ends with room or with closing. */
static void push(px_engine *engine, const px_output *output)
{
    int64_t nap_ns = 50 * 1000, waited_ns = 0;
    engine->side.wrote = true;
    while (!px_ring_push(&engine->outbox, output)) {
        if (atomic_load_explicit(&engine->is_closing, memory_order_acquire)) return;
        px_output_flush(engine);
        engine->side.wrote = true;
        px_sleep_ns(nap_ns);
        waited_ns += nap_ns;
        if (nap_ns < PX_MS) nap_ns *= 2;
        if (waited_ns > STALL_LIMIT_SECONDS * PX_SEC)
            px_engine_break(
                engine, px_fail(PX_UNAVAILABLE, "nobody has taken the engine's events for %d s",
                            STALL_LIMIT_SECONDS));
    }
}

void px_output_flush(px_engine *engine)
{
    if (!engine->side.wrote) return;
    engine->side.wrote = false;
    bool already = atomic_exchange_explicit(&engine->is_waking, true, memory_order_acq_rel);
    if (!already && engine->options.on_wake) engine->options.on_wake(engine->options.arg);
}

static uint32_t slot_of(const px_engine *engine, const px_seq *seq)
{
    return (uint32_t)(seq->id % engine->caller.capacity);
}

/* Bytes of the next event's text: whole characters. */
static size_t piece_length(const char *text, size_t length)
{
    if (length <= PX_EVENT_TEXT_MAX) return length;
    size_t cut = PX_EVENT_TEXT_MAX;
    while (((unsigned char)text[cut] & 0xC0) == 0x80) cut--; /* not before a continuation byte */
    return cut;
}

/* One event with the token (unless -1) and as many more as the text needs. */
static void send_text(px_engine *engine, const px_seq *seq, int64_t token, const px_buf *text)
{
    px_output output = {.slot = slot_of(engine, seq), .kind = PX_EVENT_TOKEN};
    output.has_token = token >= 0;
    output.token = token >= 0 ? (uint32_t)token : 0;
    const char *at = px_buf_text(text);
    size_t left = text->length;
    while (left || output.has_token) {
        size_t length = piece_length(at, left);
        output.text_length = (uint8_t)length;
        memcpy(output.text, at, length);
        push(engine, &output);
        output.has_token = 0;
        at += length;
        left -= length;
    }
}

void px_output_end(px_engine *engine, px_seq *seq, px_finish finish, px_status status)
{
    px_scheduler_remove(engine->side.scheduler, seq, engine->side.now_ns);
    seq->finish = finish;
    seq->status = status;
    seq->ended_ns = engine->side.now_ns;
    push(engine, &(px_output){.slot = slot_of(engine, seq), .kind = PX_EVENT_DONE});
}

static bool ends_answer(const px_engine *engine, const px_seq *seq, uint32_t token)
{
    const px_model_info *info = &engine->parts.info;
    for (uint32_t i = 0; !seq->ignore_eos && i < info->eos_count; i++)
        if (info->eos_ids[i] == token) return true;
    return false;
}

/* Text through the stop strings into side.released; true: a stop string is complete. */
static bool release(px_engine_side *side, px_seq *seq)
{
    px_buf_reset(&side->released);
    if (seq->stops)
        return px_stops_push(seq->stops, side->decoded.data, side->decoded.length, &side->released);
    px_buf_append(&side->released, px_buf_text(&side->decoded), side->decoded.length);
    return false;
}

/* The text that was still held back goes out: half a character, the beginning of a stop string. */
static bool release_rest(px_engine_side *side, px_seq *seq)
{
    px_buf_reset(&side->decoded);
    px_detok_finish(seq->detok, &side->decoded);
    if (seq->stops && px_stops_push(seq->stops, px_buf_text(&side->decoded), side->decoded.length,
                          &side->released))
        return true;
    if (seq->stops)
        px_stops_finish(seq->stops, &side->released);
    else
        px_buf_append(&side->released, px_buf_text(&side->decoded), side->decoded.length);
    return false;
}

void px_output_token(px_engine *engine, px_seq *seq, int64_t picked)
{
    px_engine_side *side = &engine->side;
    if (picked < 0) {
        px_status status =
            px_fail(PX_INTERNAL, "the model computed no finite logit at position %u", seq->count);
        px_output_end(engine, seq, PX_FINISH_ERROR, status);
        return;
    }
    uint32_t token = (uint32_t)picked;
    seq->tokens[seq->count++] = token;
    if (!seq->first_token_ns) seq->first_token_ns = side->now_ns;
    atomic_fetch_add_explicit(&engine->counters.output_tokens, 1, memory_order_relaxed);

    bool eos = ends_answer(engine, seq, token), full = seq->count == seq->tokens_max;
    /* Vocabularies are padded: a model may say ids that its tokenizer does not know. */
    bool has_text = !eos && token < px_tokenizer_size(engine->parts.text.tokenizer);
    px_buf_reset(&side->decoded);
    px_status status = has_text ? px_detok_push(seq->detok, token, &side->decoded) : px_ok();
    bool stopped = release(side, seq);
    if (!stopped && (eos || full)) stopped = release_rest(side, seq);
    send_text(engine, seq, token, &side->released);
    if (!px_is_ok(status))
        px_output_end(engine, seq, PX_FINISH_ERROR, status);
    else if (stopped || eos)
        px_output_end(engine, seq, PX_FINISH_STOP, px_ok());
    else if (full)
        px_output_end(engine, seq, PX_FINISH_LENGTH, px_ok());
}
