/* wording.c - see wording.h. */
#include "engine/wording.h"

#include <string.h>

enum { TEXT_BYTES_MAX = 1 << 20, TEXT_BYTES = 1 << 12 };

void px_wording_init(px_wording *wording, uint32_t tokens_known)
{
    *wording = (px_wording){.tokens_known = tokens_known};
    px_buf_init(&wording->decoded, TEXT_BYTES_MAX);
    px_buf_init(&wording->text, TEXT_BYTES_MAX);
    px_buf_reserve(&wording->decoded, TEXT_BYTES);
    px_buf_reserve(&wording->text, TEXT_BYTES);
}

void px_wording_done(px_wording *wording)
{
    px_buf_done(&wording->decoded);
    px_buf_done(&wording->text);
}

/* --- text --------------------------------------------------------------------------------- */

/* What was decoded goes through the stop strings; true: one is complete. They are looked for from
 * the token on that could be an end-of-text token, too. */
static bool release(px_wording *wording, px_seq *seq)
{
    px_slice decoded = {px_buf_text(&wording->decoded), wording->decoded.length};
    if (seq->stops)
        return px_stops_push(seq->stops, decoded, seq->told > seq->min_tokens, &wording->text);
    px_buf_append(&wording->text, decoded.data, decoded.length);
    return false;
}

/* The text of one more token; *out_stops: it completes a stop string. */
static px_status say(px_wording *wording, px_seq *seq, uint32_t token, bool *out_stops)
{
    px_buf_reset(&wording->decoded);
    px_buf_reset(&wording->text);
    if (token < wording->tokens_known) PX_TRY(px_detok_push(seq->detok, token, &wording->decoded));
    *out_stops = release(wording, seq);
    return px_ok();
}

/* What was still held back: half a character, the beginning of a stop string. */
static bool say_rest(px_wording *wording, px_seq *seq)
{
    px_buf_reset(&wording->decoded);
    px_detok_finish(seq->detok, &wording->decoded);
    if (release(wording, seq)) return true;
    if (seq->stops) px_stops_finish(seq->stops, &wording->text);
    return false;
}

px_status px_wording_resume(px_wording *wording, px_seq *seq)
{
    for (uint32_t i = 0; i < seq->resumed; i++) {
        uint32_t token = seq->tokens[seq->prompt_count + i];
        bool ended = px_seq_is_end(seq, token);
        seq->told++;
        if (!ended) PX_TRY(say(wording, seq, token, &ended));
        if (ended)
            return px_fail(
                PX_INVALID_ARGUMENT, "the answer that is to be resumed had ended at token %u", i);
    }
    return px_ok();
}

/* --- outputs ------------------------------------------------------------------------------ */

static void end(px_seq *seq, px_finish finish, px_status status)
{
    seq->over_finish = finish;
    seq->over_status = status;
    atomic_store_explicit(&seq->is_over, true, memory_order_relaxed);
}

bool px_wording_take(px_wording *wording, px_seq *seq, const px_output *output)
{
    bool was_over = atomic_load_explicit(&seq->is_over, memory_order_relaxed);
    if (was_over && output->kind == PX_EVENT_TOKEN) return false;
    wording->seq = seq;
    wording->output = *output;
    wording->told = 0;
    if (output->kind != PX_EVENT_TOKEN) return false;

    seq->told++;
    if (output->has_logprobs) seq->logprob_sum += (double)output->logprobs.picked.logprob;
    bool stops = false;
    uint32_t token = output->has_text ? output->token : UINT32_MAX;
    px_status status = say(wording, seq, token, &stops);
    if (!stops && output->is_last) stops = say_rest(wording, seq);
    if (!px_is_ok(status))
        end(seq, PX_FINISH_ERROR, status);
    else if (stops)
        end(seq, PX_FINISH_STOP, px_ok());
    else
        return false;
    return true;
}

/* --- events ------------------------------------------------------------------------------- */

/* Bytes of the next event's text: whole characters. */
static size_t piece_length(const char *text, size_t length)
{
    if (length <= PX_EVENT_TEXT_MAX) return length;
    size_t cut = PX_EVENT_TEXT_MAX;
    while (((unsigned char)text[cut] & 0xC0) == 0x80) cut--; /* not before a continuation byte */
    return cut;
}

/* The sequence is the caller's again: what was told counts, not what the engine said beyond. */
static void tell_end(px_wording *wording, px_event *out)
{
    px_seq *seq = wording->seq;
    seq->count = seq->prompt_count + seq->told;
    if (atomic_load_explicit(&seq->is_over, memory_order_relaxed)) {
        seq->finish = seq->over_finish;
        seq->status = seq->over_status;
    }
    px_seq_outcome(seq, out);
    wording->seq = NULL;
}

static void tell_token(const px_output *output, px_event *out)
{
    out->has_token = true;
    out->token = output->token;
    out->has_logprobs = output->has_logprobs;
    if (output->has_logprobs) out->logprobs = output->logprobs;
}

static void tell_prompt(px_wording *wording, px_event *out)
{
    out->kind = PX_EVENT_PROMPT;
    tell_token(&wording->output, out);
    wording->seq = NULL;
}

/* One event with the token, and as many more as the text needs. */
static void tell_text(px_wording *wording, px_event *out)
{
    const char *text = px_buf_text(&wording->text) + wording->told;
    size_t length = piece_length(text, wording->text.length - wording->told);
    out->kind = PX_EVENT_TOKEN;
    if (!wording->told) { /* the first piece, maybe empty */
        tell_token(&wording->output, out);
        out->has_logprobs &= wording->seq->wants_logprobs;
    }
    out->text_length = (uint32_t)length;
    memcpy(out->text, text, length);
    wording->told += length;
    if (wording->told == wording->text.length) wording->seq = NULL;
}

bool px_wording_next(px_wording *wording, px_event *out)
{
    if (!wording->seq) return false;
    *out = (px_event){.id = wording->seq->id};
    if (wording->output.kind == PX_EVENT_DONE)
        tell_end(wording, out);
    else if (wording->output.kind == PX_EVENT_PROMPT)
        tell_prompt(wording, out);
    else
        tell_text(wording, out);
    return true;
}
