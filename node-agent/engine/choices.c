/* choices.c - see choices.h. */
#include "engine/choices.h"

#include <stdlib.h>
#include <string.h>

typedef struct held_event { /* then the log probabilities, if any, and the text */
    uint32_t token;
    uint8_t has_token, has_logprobs, text_length;
} held_event;

px_choices *px_choices_create(px_seq *first, uint32_t wanted)
{
    px_choices *choices = px_alloc(sizeof *choices);
    *choices = (px_choices){.first = first, .wanted = wanted, .failure = px_ok()};
    for (px_seq *seq = first; seq; seq = seq->next_choice) {
        seq->choices = choices;
        choices->count++;
    }
    choices->open = choices->count;
    choices->best = px_alloc_array(choices->count, sizeof(px_seq *));
    if (wanted == choices->count) return choices;
    choices->held = px_alloc_array(choices->count, sizeof *choices->held);
    for (uint32_t i = 0; i < choices->count; i++)
        px_buf_init(&choices->held[i], PX_CHOICES_HELD_BYTES_MAX / choices->count);
    return choices;
}

void px_choices_free(px_choices *choices)
{
    if (!choices) return;
    for (uint32_t i = 0; choices->held && i < choices->count; i++) px_buf_done(&choices->held[i]);
    free(choices->held);
    free(choices->best);
    free(choices);
}

/* --- while they are made ------------------------------------------------------------------ */

static void fail(px_choices *choices, px_status why)
{
    if (!px_is_ok(choices->failure)) return;
    choices->failure = why;
    choices->is_failing = true;
}

static void hold(px_choices *choices, uint32_t choice, const px_event *event)
{
    px_buf *held = &choices->held[choice];
    held_event head = {
        event->token, event->has_token, event->has_logprobs, (uint8_t)event->text_length};
    px_buf_append(held, &head, sizeof head);
    if (event->has_logprobs) px_buf_append(held, &event->logprobs, sizeof event->logprobs);
    px_buf_append(held, event->text, event->text_length);
    if (held->overflowed)
        fail(choices,
            px_fail(PX_RESOURCE_EXHAUSTED,
                "%u answers, of which the best are wanted, take more than the %d MiB that are kept "
                "for them: ask for fewer or shorter ones",
                choices->count, PX_CHOICES_HELD_BYTES_MAX >> 20));
}

bool px_choices_take(px_choices *choices, const px_seq *seq, px_event *event)
{
    event->id = choices->first->id;
    event->index = seq->choice;
    if (event->kind == PX_EVENT_PROMPT) return true;
    if (event->kind != PX_EVENT_DONE) {
        if (!choices->held) return true;
        hold(choices, seq->choice, event);
        return false;
    }
    choices->open--;
    if (!px_is_ok(event->status)) {
        fail(choices, event->status);
        return false;
    }
    event->kind = PX_EVENT_ANSWERED;
    return !choices->held;
}

/* --- when all have ended ------------------------------------------------------------------ */

static double mean_of(const px_seq *seq)
{
    uint32_t tokens = seq->count - seq->prompt_count;
    return tokens ? seq->logprob_sum / tokens : 0;
}

/* All of them, in `best`: sorted by insertion, for there are few. */
static void rank(px_choices *choices)
{
    uint32_t count = 0;
    for (px_seq *seq = choices->first; seq; seq = seq->next_choice) {
        uint32_t at = count++;
        for (; choices->held && at && mean_of(choices->best[at - 1]) < mean_of(seq); at--)
            choices->best[at] = choices->best[at - 1];
        choices->best[at] = seq;
    }
}

static void take_bytes(const px_buf *held, size_t *at, void *to, size_t length)
{
    memcpy(to, held->data + *at, length);
    *at += length;
}

static void read_held(const px_buf *held, size_t *at, px_event *out)
{
    held_event head;
    take_bytes(held, at, &head, sizeof head);
    out->kind = PX_EVENT_TOKEN;
    out->token = head.token;
    out->has_token = head.has_token;
    out->has_logprobs = head.has_logprobs;
    out->text_length = head.text_length;
    if (head.has_logprobs) take_bytes(held, at, &out->logprobs, sizeof out->logprobs);
    take_bytes(held, at, out->text, head.text_length);
}

/* The next of the best's; false: all was told. */
static bool tell_held(px_choices *choices, px_event *out)
{
    while (choices->held && choices->telling < choices->wanted) {
        const px_seq *seq = choices->best[choices->telling];
        const px_buf *held = &choices->held[seq->choice];
        out->index = choices->telling;
        if (choices->told < held->length) {
            read_held(held, &choices->told, out);
            return true;
        }
        choices->telling++;
        choices->told = 0;
        if (choices->wanted == 1) continue; /* DONE says it all */
        px_seq_outcome(seq, out);
        out->kind = PX_EVENT_ANSWERED;
        return true;
    }
    return false;
}

/* Of the request: the first answer's end, everybody's tokens, from the first begun to the last
 * ended. */
static void tell_done(const px_choices *choices, px_event *out)
{
    px_seq_outcome(choices->best[0], out);
    px_event each;
    uint32_t tokens = 0, prompts = 0, cached = 0;
    bool has_vectors = choices->first->vector != NULL; /* then each has a prompt of its own */
    int64_t first_ns = 0;
    for (const px_seq *seq = choices->first; seq; seq = seq->next_choice) {
        px_seq_outcome(seq, &each);
        tokens += each.output_tokens;
        prompts += each.prompt_tokens;
        cached += each.cached_tokens;
        if (each.ttft_ns && (!first_ns || each.ttft_ns < first_ns)) first_ns = each.ttft_ns;
        if (each.total_ns > out->total_ns) out->total_ns = each.total_ns;
    }
    out->kind = PX_EVENT_DONE;
    out->values = NULL;
    out->output_tokens = tokens;
    if (has_vectors) out->prompt_tokens = prompts, out->cached_tokens = cached;
    out->ttft_ns = first_ns;
    if (px_is_ok(choices->failure)) return;
    out->finish = PX_FINISH_ERROR;
    out->status = choices->failure;
}

void px_choices_next(px_choices *choices, px_event *out)
{
    PX_ASSERT(!choices->open);
    if (!choices->best[0]) rank(choices);
    *out = (px_event){.id = choices->first->id};
    if (!px_is_ok(choices->failure) || !tell_held(choices, out)) tell_done(choices, out);
}
