/* outbox.c - see outbox.h. */
#include "cluster/outbox.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_OUTPUTS = 2 * PX_CHOICES_MAX,
    BATCH_BYTES = 256 * 1024,
    VECTOR_BYTES_MAX = 1 << 20,
    PROMPT_PIECE = 512 /* tokens of a prompt in one message */
};

typedef Phalanx__V1__EngineEvent msg_event;
typedef Phalanx__V1__GenerateResponse msg_part;

typedef struct prompt_token { /* an element of px_answer.prompt */
    uint32_t token;
    bool has_logprobs;
    px_logprobs logprobs;
} prompt_token;

void px_outbox_init(px_outbox *box, px_outbox_send_fn send, void *arg)
{
    *box = (px_outbox){.send = send, .arg = arg};
    px_idmap_init(&box->by_id, PX_OUTBOX_ANSWERS_MAX);
}

void px_answer_free(px_answer *answer)
{
    PX_ASSERT(!answer->box);
    for (uint32_t i = 0; i < answer->part_count; i++) {
        px_buf_done(&answer->parts[i].text);
        px_buf_done(&answer->parts[i].tokens);
        px_buf_done(&answer->parts[i].logprobs);
        px_buf_done(&answer->parts[i].values);
    }
    free(answer->parts);
    px_buf_done(&answer->prompt);
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
    px_buf_init(&answer->prompt, PX_ANSWER_PROMPT_MAX * sizeof(prompt_token));
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

static Phalanx__V1__FinishReason reason_of(const px_event *event)
{
    return event->finish == PX_FINISH_LENGTH ? PHALANX__V1__FINISH_REASON__FINISH_REASON_LENGTH
                                             : PHALANX__V1__FINISH_REASON__FINISH_REASON_STOP;
}

static void finish(px_answer *answer, const px_event *event)
{
    phalanx__v1__done__init(&answer->done);
    answer->done.finish_reason = reason_of(event);
    answer->done.prompt_tokens = event->prompt_tokens;
    answer->done.output_tokens = event->output_tokens;
    answer->done.cached_tokens = event->cached_tokens;
    answer->done.queue_us = (uint64_t)(event->queue_ns / 1000);
    answer->done.ttft_us = (uint64_t)(event->ttft_ns / 1000);
    answer->done.total_us = (uint64_t)(event->total_ns / 1000);
    answer->ended = true;
    enqueue(answer);
}

static px_answer_part *part_at(px_answer *answer, uint32_t index)
{
    PX_ASSERT(index < PX_CHOICES_MAX);
    if (index >= answer->part_count) {
        px_answer_part *parts = px_alloc_array(index + 1, sizeof *parts);
        if (answer->part_count) memcpy(parts, answer->parts, answer->part_count * sizeof *parts);
        free(answer->parts);
        answer->parts = parts;
    }
    for (; answer->part_count <= index; answer->part_count++) {
        px_answer_part *part = &answer->parts[answer->part_count];
        px_buf_init(&part->text, PX_ANSWER_TEXT_MAX);
        px_buf_init(&part->tokens, PX_ANSWER_TOKENS_MAX * sizeof(uint32_t));
        px_buf_init(&part->logprobs, PX_ANSWER_TOKENS_MAX * sizeof(px_logprobs));
        px_buf_init(&part->values, VECTOR_BYTES_MAX);
    }
    return &answer->parts[index];
}

/* False: it ran over its bound. */
static bool add_prompt_token(px_answer *answer, const px_event *event)
{
    prompt_token entry = {.token = event->token, .has_logprobs = event->has_logprobs};
    if (entry.has_logprobs) entry.logprobs = event->logprobs;
    px_buf_append(&answer->prompt, &entry, sizeof entry);
    return !answer->prompt.overflowed;
}

static bool add_token(px_answer_part *part, const px_event *event)
{
    if (event->has_token) px_buf_append(&part->tokens, &event->token, sizeof event->token);
    if (event->has_logprobs)
        px_buf_append(&part->logprobs, &event->logprobs, sizeof event->logprobs);
    px_buf_append(&part->text, event->text, event->text_length);
    return !part->tokens.overflowed && !part->text.overflowed;
}

static void end_part(px_answer_part *part, const px_event *event)
{
    if (event->values) {
        px_buf_append(&part->values, event->values, event->value_count * sizeof *event->values);
        part->prompt_tokens = event->prompt_tokens;
        return;
    }
    phalanx__v1__answer_end__init(&part->end);
    part->end.finish_reason = reason_of(event);
    part->end.output_tokens = event->output_tokens;
    part->end.cumulative_logprob = event->logprob_sum;
    part->has_end = true;
}

bool px_answer_add(px_answer *answer, const px_event *event)
{
    bool fits = true;
    if (answer->ended || !answer->box) return true;
    switch (event->kind) {
    case PX_EVENT_PROMPT: fits = add_prompt_token(answer, event); break;
    case PX_EVENT_TOKEN: fits = add_token(part_at(answer, event->index), event); break;
    case PX_EVENT_ANSWERED: end_part(part_at(answer, event->index), event); break;
    case PX_EVENT_DONE:
        if (px_is_ok(event->status))
            finish(answer, event);
        else
            px_answer_fail(answer, event->status);
        return true;
    case PX_EVENT_ADAPTER: return true; /* of no request */
    }
    if (fits)
        enqueue(answer);
    else
        px_answer_fail(answer, px_fail(PX_RESOURCE_EXHAUSTED,
                                   "the answer was not read while more and more of it waited"));
    return fits;
}

/* ------------------------------------------------------------------------------- sending */

typedef struct batch {
    Phalanx__V1__EngineOutput outputs[BATCH_OUTPUTS], *pointers[BATCH_OUTPUTS];
    msg_part parts[BATCH_OUTPUTS];
    Phalanx__V1__EngineVector vectors[BATCH_OUTPUTS];
    size_t answers, count, bytes; /* answers looked at; outputs made of them */
} batch;

typedef struct logprobs_message { /* with the memory of all it points to */
    Phalanx__V1__TokenLogprobs message;
    Phalanx__V1__TokenLogprob top[PX_TOP_LOGPROBS_MAX], *pointers[PX_TOP_LOGPROBS_MAX];
} logprobs_message;

static void fill_logprobs(const px_logprobs *from, logprobs_message *to)
{
    phalanx__v1__token_logprobs__init(&to->message);
    to->message.logprob = from->picked.logprob;
    to->message.rank = from->rank;
    to->message.n_top = from->top_count;
    to->message.top = to->pointers;
    for (uint32_t k = 0; k < from->top_count; k++) {
        phalanx__v1__token_logprob__init(&to->top[k]);
        to->top[k].token = from->top[k].token;
        to->top[k].logprob = from->top[k].logprob;
        to->pointers[k] = &to->top[k];
    }
}

/* One allocation for all that `logprobs` becomes; the caller frees it. */
static Phalanx__V1__TokenLogprobs **logprob_messages(const px_buf *logprobs, size_t count)
{
    Phalanx__V1__TokenLogprobs **list = px_alloc(count * (sizeof *list + sizeof(logprobs_message)));
    logprobs_message *entries = (logprobs_message *)(void *)(list + count);
    for (size_t i = 0; i < count; i++) {
        px_logprobs from;
        memcpy(&from, logprobs->data + i * sizeof from, sizeof from);
        fill_logprobs(&from, &entries[i]);
        list[i] = &entries[i].message;
    }
    return list;
}

/* The same of the first `count` tokens of a prompt. */
static Phalanx__V1__PromptToken **prompt_messages(const px_buf *prompt, size_t count)
{
    typedef struct entry {
        Phalanx__V1__PromptToken message;
        logprobs_message logprobs;
    } entry;
    Phalanx__V1__PromptToken **list = px_alloc(count * (sizeof *list + sizeof(entry)));
    entry *entries = (entry *)(void *)(list + count);
    for (size_t i = 0; i < count; i++) {
        prompt_token from;
        memcpy(&from, prompt->data + i * sizeof from, sizeof from);
        phalanx__v1__prompt_token__init(&entries[i].message);
        entries[i].message.token = from.token;
        if (from.has_logprobs) {
            fill_logprobs(&from.logprobs, &entries[i].logprobs);
            entries[i].message.logprobs = &entries[i].logprobs.message;
        }
        list[i] = &entries[i].message;
    }
    return list;
}

static msg_part *add_output(batch *b, const px_answer *answer)
{
    Phalanx__V1__EngineOutput *output = &b->outputs[b->count];
    msg_part *part = &b->parts[b->count];
    phalanx__v1__engine_output__init(output);
    phalanx__v1__generate_response__init(part);
    output->id = answer->id;
    output->part = part;
    b->pointers[b->count++] = output;
    return part;
}

/* How many tokens of its prompt the next message carries; while some are left, nothing else. */
static size_t prompt_piece(const px_answer *answer)
{
    size_t count = answer->prompt.length / sizeof(prompt_token);
    return count < PROMPT_PIECE ? count : PROMPT_PIECE;
}

static bool has_more_prompt(const px_answer *answer)
{
    return answer->prompt.length > PROMPT_PIECE * sizeof(prompt_token);
}

static bool says_something(const px_answer_part *part)
{
    return part->text.length || part->tokens.length || part->has_end || part->values.length;
}

/* To the last output. */
static void add_vector(batch *b, const px_answer_part *from, uint32_t index)
{
    Phalanx__V1__EngineVector *vector = &b->vectors[b->count - 1];
    phalanx__v1__engine_vector__init(vector);
    vector->index = index;
    vector->values = (float *)(void *)from->values.data;
    vector->n_values = from->values.length / sizeof(float);
    vector->prompt_tokens = from->prompt_tokens;
    b->pointers[b->count - 1]->vector = vector;
    b->bytes += from->values.length;
}

static msg_part *add_part(batch *b, px_answer *answer, uint32_t index)
{
    px_answer_part *from = &answer->parts[index];
    msg_part *part = add_output(b, answer);
    part->index = index;
    part->text.data = (uint8_t *)from->text.data;
    part->text.len = from->text.length;
    part->token_ids = (uint32_t *)(void *)from->tokens.data;
    part->n_token_ids = from->tokens.length / sizeof(uint32_t);
    part->n_logprobs = from->logprobs.length / sizeof(px_logprobs);
    if (part->n_logprobs) part->logprobs = logprob_messages(&from->logprobs, part->n_logprobs);
    part->end = from->has_end ? &from->end : NULL;
    if (from->values.length) add_vector(b, from, index);
    b->bytes += from->text.length + from->tokens.length + from->logprobs.length;
    return part;
}

static void add_answer(batch *b, px_answer *answer)
{
    msg_part *last = NULL;
    size_t prompt = prompt_piece(answer);
    if (prompt) {
        last = add_output(b, answer);
        last->n_prompt = prompt;
        last->prompt = prompt_messages(&answer->prompt, prompt);
        b->bytes += prompt * sizeof(prompt_token);
    }
    if (has_more_prompt(answer)) return;
    for (uint32_t i = 0; i < answer->part_count; i++)
        if (says_something(&answer->parts[i])) last = add_part(b, answer, i);
    if (!answer->ended || !px_is_ok(answer->failure)) return;
    if (!last) last = add_output(b, answer);
    last->done = &answer->done;
}

/* It was sent. True: there is more of its prompt. */
static bool take_sent(px_answer *answer)
{
    if (has_more_prompt(answer)) {
        size_t sent = PROMPT_PIECE * sizeof(prompt_token);
        answer->prompt.length -= sent;
        memmove(answer->prompt.data, answer->prompt.data + sent, answer->prompt.length);
        return true;
    }
    px_buf_reset(&answer->prompt);
    for (uint32_t i = 0; i < answer->part_count; i++) {
        px_answer_part *part = &answer->parts[i];
        px_buf_reset(&part->text);
        px_buf_reset(&part->tokens);
        px_buf_reset(&part->logprobs);
        px_buf_reset(&part->values);
        part->has_end = false;
    }
    return false;
}

/* One message with what the first queued answers have to say. */
static px_status send_outputs(px_outbox *box, batch *b)
{
    b->answers = b->count = b->bytes = 0;
    for (px_answer *answer = box->queued_first;
         answer && b->count + answer->part_count + 1 < BATCH_OUTPUTS && b->bytes < BATCH_BYTES;
         answer = answer->next_queued) {
        add_answer(b, answer);
        b->answers++;
    }
    if (!b->count) return px_ok();
    Phalanx__V1__EngineEvents events = PHALANX__V1__ENGINE_EVENTS__INIT;
    events.outputs = b->pointers;
    events.n_outputs = b->count;
    msg_event event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_OUTPUTS;
    event.outputs = &events;
    px_status status = box->send(box->arg, &event);
    for (size_t i = 0; i < b->count; i++) {
        free(b->parts[i].logprobs);
        free(b->parts[i].prompt);
    }
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
    bool is_full = false;
    while (box->queued_first && !is_full) {
        if (!px_is_ok(send_outputs(box, &b))) return;
        for (size_t i = 0; i < b.answers; i++) { /* all of them were sent: none may stay as it is */
            px_answer *answer = dequeue(box);
            bool has_failed = answer->ended && !px_is_ok(answer->failure);
            bool stays = take_sent(answer);
            if (!stays && has_failed && !px_is_ok(send_failure(box, answer)))
                stays = is_full = true;
            if (stays) enqueue(answer);
            if (stays || !answer->ended) continue;
            detach(answer);
            if (!answer->running) px_answer_free(answer);
        }
    }
}
