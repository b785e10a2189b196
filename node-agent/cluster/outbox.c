/* outbox.c - see outbox.h. */
#include "cluster/outbox.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_ANSWERS = 128, BATCH_BYTES = 256 * 1024 };

typedef Phalanx__V1__EngineEvent msg_event;

void px_outbox_init(px_outbox *box, px_outbox_send_fn send, void *arg)
{
    *box = (px_outbox){.send = send, .arg = arg};
    px_idmap_init(&box->by_id, PX_OUTBOX_ANSWERS_MAX);
}

void px_answer_free(px_answer *answer)
{
    PX_ASSERT(!answer->box);
    px_buf_done(&answer->text);
    px_buf_done(&answer->tokens);
    px_buf_done(&answer->logprobs);
    free(answer);
}

/* The stream no longer knows the answer. It must not be queued. */
static void detach(px_answer *answer)
{
    px_outbox *box = answer->box;
    if (answer->prev)
        answer->prev->next = answer->next;
    else
        box->first = answer->next;
    if (answer->next) answer->next->prev = answer->prev;
    px_idmap_remove(&box->by_id, answer->id);
    answer->box = NULL;
}

void px_outbox_done(px_outbox *box, void (*orphan)(void *arg, px_answer *answer), void *arg)
{
    box->queued_first = box->queued_last = NULL;
    while (box->first) {
        px_answer *answer = box->first;
        detach(answer);
        if (answer->running)
            orphan(arg, answer);
        else
            px_answer_free(answer);
    }
    px_idmap_done(&box->by_id);
}

px_status px_outbox_open(px_outbox *box, uint64_t id, px_answer **out)
{
    if (px_idmap_get(&box->by_id, id))
        return px_fail(
            PX_ALREADY_EXISTS, "request id %llu is in use on this stream", (unsigned long long)id);
    px_answer *answer = px_alloc(sizeof *answer);
    if (!px_idmap_put(&box->by_id, id, answer)) {
        free(answer);
        return px_fail(
            PX_RESOURCE_EXHAUSTED, "more than %d requests on one stream", PX_OUTBOX_ANSWERS_MAX);
    }
    *answer = (px_answer){.id = id, .box = box, .next = box->first};
    px_buf_init(&answer->text, PX_ANSWER_TEXT_MAX);
    px_buf_init(&answer->tokens, PX_ANSWER_TOKENS_MAX * sizeof(uint32_t));
    px_buf_init(&answer->logprobs, PX_ANSWER_TOKENS_MAX * sizeof(px_logprobs));
    if (box->first) box->first->prev = answer;
    box->first = answer;
    *out = answer;
    return px_ok();
}

px_answer *px_outbox_find(const px_outbox *box, uint64_t id)
{
    return px_idmap_get(&box->by_id, id);
}

static void enqueue(px_answer *answer)
{
    px_outbox *box = answer->box;
    if (answer->is_queued) return;
    answer->is_queued = true;
    answer->next_queued = NULL;
    if (box->queued_last)
        box->queued_last->next_queued = answer;
    else
        box->queued_first = answer;
    box->queued_last = answer;
}

static px_answer *dequeue(px_outbox *box)
{
    px_answer *answer = box->queued_first;
    box->queued_first = answer->next_queued;
    if (!box->queued_first) box->queued_last = NULL;
    answer->is_queued = false;
    return answer;
}

void px_answer_fail(px_answer *answer, px_status why)
{
    if (answer->ended || !answer->box) return;
    answer->ended = true;
    answer->failure = why;
    enqueue(answer);
}

static void finish(px_answer *answer, const px_event *event)
{
    phalanx__v1__done__init(&answer->done);
    answer->done.finish_reason = event->finish == PX_FINISH_LENGTH
                                     ? PHALANX__V1__FINISH_REASON__FINISH_REASON_LENGTH
                                     : PHALANX__V1__FINISH_REASON__FINISH_REASON_STOP;
    answer->done.prompt_tokens = event->prompt_tokens;
    answer->done.output_tokens = event->output_tokens;
    answer->done.cached_tokens = event->cached_tokens;
    answer->done.queue_us = (uint64_t)(event->queue_ns / 1000);
    answer->done.ttft_us = (uint64_t)(event->ttft_ns / 1000);
    answer->done.total_us = (uint64_t)(event->total_ns / 1000);
    answer->ended = true;
    enqueue(answer);
}

bool px_answer_add(px_answer *answer, const px_event *event)
{
    if (answer->ended || !answer->box) return true;
    if (event->kind == PX_EVENT_DONE) {
        if (px_is_ok(event->status))
            finish(answer, event);
        else
            px_answer_fail(answer, event->status);
        return true;
    }
    if (event->has_token) px_buf_append(&answer->tokens, &event->token, sizeof event->token);
    if (event->has_logprobs)
        px_buf_append(&answer->logprobs, &event->logprobs, sizeof event->logprobs);
    px_buf_append(&answer->text, event->text, event->text_length);
    if (answer->tokens.overflowed || answer->text.overflowed) {
        px_answer_fail(answer, px_fail(PX_RESOURCE_EXHAUSTED,
                                   "the answer was not read while %u KiB of it were waiting",
                                   (unsigned)(answer->text.length / 1024)));
        return false;
    }
    enqueue(answer);
    return true;
}

/* ------------------------------------------------------------------------------- sending */

typedef struct batch {
    Phalanx__V1__EngineOutput outputs[BATCH_ANSWERS], *pointers[BATCH_ANSWERS];
    Phalanx__V1__GenerateResponse parts[BATCH_ANSWERS];
    size_t answers, outputs_count, bytes; /* answers looked at, of them with something to say */
} batch;

/* One allocation for all that `logprobs` becomes; the caller frees it. */
static Phalanx__V1__TokenLogprobs **logprob_messages(const px_buf *logprobs, size_t count)
{
    typedef struct entry {
        Phalanx__V1__TokenLogprobs message;
        Phalanx__V1__TokenLogprob top[PX_TOP_LOGPROBS_MAX], *pointers[PX_TOP_LOGPROBS_MAX];
    } entry;
    Phalanx__V1__TokenLogprobs **list = px_alloc(count * (sizeof *list + sizeof(entry)));
    entry *entries = (entry *)(void *)(list + count);
    for (size_t i = 0; i < count; i++) {
        px_logprobs from;
        entry *to = &entries[i];
        memcpy(&from, logprobs->data + i * sizeof from, sizeof from);
        phalanx__v1__token_logprobs__init(&to->message);
        to->message.logprob = from.picked.logprob;
        to->message.rank = from.rank;
        to->message.n_top = from.top_count;
        to->message.top = to->pointers;
        for (uint32_t k = 0; k < from.top_count; k++) {
            phalanx__v1__token_logprob__init(&to->top[k]);
            to->top[k].token = from.top[k].token;
            to->top[k].logprob = from.top[k].logprob;
            to->pointers[k] = &to->top[k];
        }
        list[i] = &to->message;
    }
    return list;
}

static void add_output(batch *b, px_answer *answer)
{
    bool done = answer->ended && px_is_ok(answer->failure);
    if (!done && !answer->text.length && !answer->tokens.length) return;
    Phalanx__V1__EngineOutput *output = &b->outputs[b->outputs_count];
    Phalanx__V1__GenerateResponse *part = &b->parts[b->outputs_count];
    phalanx__v1__engine_output__init(output);
    phalanx__v1__generate_response__init(part);
    part->text.data = (uint8_t *)answer->text.data;
    part->text.len = answer->text.length;
    part->token_ids = (uint32_t *)(void *)answer->tokens.data;
    part->n_token_ids = answer->tokens.length / sizeof(uint32_t);
    part->done = done ? &answer->done : NULL;
    part->n_logprobs = answer->logprobs.length / sizeof(px_logprobs);
    if (part->n_logprobs) part->logprobs = logprob_messages(&answer->logprobs, part->n_logprobs);
    output->id = answer->id;
    output->part = part;
    b->pointers[b->outputs_count++] = output;
    b->bytes += answer->text.length + answer->tokens.length + answer->logprobs.length;
}

/* One message with what the first queued answers have to say. */
static px_status send_outputs(px_outbox *box, batch *b)
{
    b->answers = b->outputs_count = b->bytes = 0;
    for (px_answer *answer = box->queued_first;
         answer && b->answers < BATCH_ANSWERS && b->bytes < BATCH_BYTES;
         answer = answer->next_queued) {
        add_output(b, answer);
        b->answers++;
    }
    if (!b->outputs_count) return px_ok();
    Phalanx__V1__EngineEvents events = PHALANX__V1__ENGINE_EVENTS__INIT;
    events.outputs = b->pointers;
    events.n_outputs = b->outputs_count;
    msg_event event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_OUTPUTS;
    event.outputs = &events;
    px_status status = box->send(box->arg, &event);
    for (size_t i = 0; i < b->outputs_count; i++) free(b->parts[i].logprobs);
    return status;
}

static px_status send_failure(px_outbox *box, px_answer *answer)
{
    Phalanx__V1__EngineFailed failed = PHALANX__V1__ENGINE_FAILED__INIT;
    failed.id = answer->id;
    failed.code = answer->failure.code;
    failed.message = answer->failure.text;
    failed.retry_ms = answer->failure.retry_ms;
    msg_event event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_FAILED;
    event.failed = &failed;
    return box->send(box->arg, &event);
}

void px_outbox_flush(px_outbox *box)
{
    batch b;
    while (box->queued_first) {
        if (!px_is_ok(send_outputs(box, &b))) return;
        for (size_t i = 0; i < b.answers; i++) {
            px_answer *answer = box->queued_first;
            px_buf_reset(&answer->text);
            px_buf_reset(&answer->tokens);
            px_buf_reset(&answer->logprobs);
            if (answer->ended && !px_is_ok(answer->failure) && !px_is_ok(send_failure(box, answer)))
                return;
            dequeue(box);
            if (!answer->ended) continue;
            detach(answer);
            if (!answer->running) px_answer_free(answer);
        }
    }
}
