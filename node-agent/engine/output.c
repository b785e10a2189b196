/* output.c - from a sampled token to what the caller is told of it, or of the sequence's end. What
 * it says is put into words on the caller's thread (wording.h). */
#include <string.h>

#include "engine/engine_impl.h"

enum { STALL_LIMIT_SECONDS = 10, FORCED_BYTES_MAX = 256 };

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

typedef struct picked { /* a token, and what was asked to be told about it */
    uint32_t token;
    const px_logprobs *logprobs; /* NULL: nothing */
} picked;

void px_output_adapter(px_engine *engine, const px_adapter_entry *entry)
{
    px_output output = {
        .slot = (uint32_t)(entry - engine->caller.adapters), .kind = PX_EVENT_ADAPTER};
    push(engine, &output);
}

static void end_one(px_engine *engine, px_seq *seq, px_finish finish, px_status status)
{
    px_scheduler_remove(engine->side.scheduler, seq, engine->side.now_ns);
    px_guide_end(&seq->guide);
    seq->finish = finish;
    seq->status = status;
    seq->ended_ns = engine->side.now_ns;
    push(engine, &(px_output){.slot = slot_of(engine, seq), .kind = PX_EVENT_DONE});
}

void px_output_end(px_engine *engine, px_seq *seq, px_finish finish, px_status status)
{
    /* The caller may free all of them as soon as it has seen the last one's end. */
    px_seq *next = seq->followers ? seq->next_choice : NULL;
    end_one(engine, seq, finish, status);
    while (next) {
        px_seq *waiting = next;
        next = waiting->next_choice;
        end_one(engine, waiting, finish, status);
    }
}

/* The answer has one more token; false: it ended by it. */
static bool take_token(px_engine *engine, px_seq *seq, picked one)
{
    px_engine_side *side = &engine->side;
    uint32_t token = one.token;
    seq->tokens[seq->count++] = token;
    if (seq->adjust) px_adjust_note(seq->adjust, token, true);
    if (!seq->first_token_ns) seq->first_token_ns = side->now_ns;
    atomic_fetch_add_explicit(&engine->counters.output_tokens, 1, memory_order_relaxed);

    bool eos = px_seq_is_end(seq, token), full = seq->count == seq->tokens_max;
    bool keeps = !seq->form || eos || px_guide_accept(&seq->guide, token);
    bool complete = eos || (seq->form && keeps && px_guide_must_end(&seq->guide));
    px_output output = {.slot = slot_of(engine, seq), .kind = PX_EVENT_TOKEN, .token = token};
    output.has_text = !eos;
    output.is_last = complete || full;
    output.has_logprobs = one.logprobs != NULL;
    if (one.logprobs) output.logprobs = *one.logprobs;
    push(engine, &output);
    if (!keeps)
        px_output_end(engine, seq, PX_FINISH_ERROR,
            px_fail(PX_INTERNAL, "token %u does not keep to the answer's form", token));
    else if (complete)
        px_output_end(engine, seq, PX_FINISH_STOP, px_ok());
    else if (full)
        px_output_end(engine, seq, PX_FINISH_LENGTH, px_ok());
    else
        return true;
    return false;
}

/* What the form leaves no choice about needs no step of the model each: it joins the text now, and
 * the next step computes all of it together. The last token is left to the model, as a longer one
 * may begin there, unless the answer ends with it. False: it ended. */
static bool force_tokens(px_engine *engine, px_seq *seq)
{
    char bytes[FORCED_BYTES_MAX];
    bool ends;
    const px_vocabulary *vocabulary = px_forms_vocabulary(engine->forms);
    /* Nobody could tell their probabilities. */
    if (!seq->form || seq->wants_logprobs || seq->is_ranked) return true;
    if (seq->adjust && px_adjust_bans(seq->adjust)) return true;
    size_t left = px_guide_forced(&seq->guide, bytes, sizeof bytes, &ends);
    for (const char *at = bytes; left;) {
        uint32_t token = px_vocabulary_longest(vocabulary, (px_slice){at, left});
        if (token == UINT32_MAX) return true;
        size_t length = px_vocabulary_bytes(vocabulary, token).length;
        if (length == left && !ends) return true;
        if (!take_token(engine, seq, (picked){.token = token})) return false;
        at += length;
        left -= length;
    }
    return true;
}

/* Why no token could be picked. */
static px_status nothing_picked(const px_seq *seq)
{
    uint32_t said = seq->count - seq->prompt_count;
    if (seq->adjust && px_adjust_bans(seq->adjust))
        return px_fail(PX_INVALID_ARGUMENT,
            "after %u tokens none is left to say: allowed_token_ids, bad_words%s ban all others",
            said, seq->form ? " and the form" : " and min_tokens");
    if (seq->form)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "after %u tokens the answer's form leads too many ways at once or nests too deep: make "
            "it simpler",
            said);
    return px_fail(PX_INTERNAL, "the model computed no finite logit at position %u", seq->count);
}

bool px_output_token(px_engine *engine, px_seq *seq, int64_t pick, const px_logprobs *logprobs)
{
    if (pick < 0) {
        px_output_end(engine, seq, PX_FINISH_ERROR, nothing_picked(seq));
        return false;
    }
    return take_token(engine, seq, (picked){(uint32_t)pick, logprobs}) && force_tokens(engine, seq);
}

void px_output_prompt(
    px_engine *engine, const px_seq *seq, uint32_t token, const px_logprobs *logprobs)
{
    px_output output = {.slot = slot_of(engine, seq),
        .kind = PX_EVENT_PROMPT,
        .token = token,
        .has_logprobs = logprobs != NULL};
    if (logprobs) output.logprobs = *logprobs;
    push(engine, &output);
}

/* Where the tokens lead that the answer is resumed with; false: they did not keep to its form. */
static bool retrace(px_seq *seq)
{
    for (uint32_t i = 0; i < seq->resumed; i++)
        if (!px_guide_accept(&seq->guide, seq->tokens[seq->prompt_count + i]) ||
            px_guide_must_end(&seq->guide))
            return false;
    return true;
}

bool px_output_begin(px_engine *engine, px_seq *seq)
{
    for (px_seq *each = seq; each; each = each->next_choice)
        if (each->form) px_guide_begin(px_form_grammar(each->form), &each->guide);
    if (seq->form && !retrace(seq)) {
        px_output_end(engine, seq, PX_FINISH_ERROR,
            px_fail(PX_INVALID_ARGUMENT,
                "the answer that is to be resumed had ended, or did not keep to its form"));
        return false;
    }
    if (seq->wants_prompt_logprobs) px_output_prompt(engine, seq, seq->tokens[0], NULL);
    return true;
}
