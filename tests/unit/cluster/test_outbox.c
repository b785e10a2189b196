/* Answers to one router: gathered by step, in order, bounded when the stream is not read. */
#include <string.h>

#include "cluster/outbox.h"
#include "test.h"

/* What a router would have seen. */
typedef struct seen {
    int messages, outputs, failures, done;
    bool full; /* the stream takes nothing */
    char text[64];
    size_t tokens;
    size_t prompt, prompt_logprobs, largest_prompt; /* tokens */
    uint32_t tokens_of[4], ends;                    /* by answer */
    uint64_t failed_id;
    unsigned failed_code;
} seen;

static px_status send(void *arg, const Phalanx__V1__EngineEvent *event)
{
    seen *s = arg;
    if (s->full) return px_fail(PX_RESOURCE_EXHAUSTED, "full");
    s->messages++;
    if (event->kind_case == PHALANX__V1__ENGINE_EVENT__KIND_FAILED) {
        s->failures++;
        s->failed_id = event->failed->id;
        s->failed_code = event->failed->code;
        return px_ok();
    }
    for (size_t i = 0; i < event->outputs->n_outputs; i++) {
        const Phalanx__V1__GenerateResponse *part = event->outputs->outputs[i]->part;
        size_t length = strlen(s->text);
        s->outputs++;
        s->tokens += part->n_token_ids;
        s->tokens_of[part->index % 4] += (uint32_t)part->n_token_ids;
        if (part->end) s->ends += part->end->output_tokens;
        s->prompt += part->n_prompt;
        if (part->n_prompt > s->largest_prompt) s->largest_prompt = part->n_prompt;
        for (size_t k = 0; k < part->n_prompt; k++) {
            PX_CHECK(!s->tokens && part->prompt[k]->token == s->prompt - part->n_prompt + k);
            s->prompt_logprobs +=
                part->prompt[k]->logprobs && part->prompt[k]->logprobs->n_top == 2;
        }
        s->done += part->done != NULL;
        if (part->text.len && length + part->text.len < sizeof s->text)
            memcpy(s->text + length, part->text.data, part->text.len);
    }
    return px_ok();
}

static px_event token(const char *text)
{
    px_event event = {.kind = PX_EVENT_TOKEN, .has_token = true, .token = 5};
    event.text_length = (uint32_t)strlen(text);
    memcpy(event.text, text, event.text_length);
    return event;
}

static px_event done(px_status status)
{
    return (px_event){.kind = PX_EVENT_DONE,
        .finish = px_is_ok(status) ? PX_FINISH_LENGTH : PX_FINISH_ERROR,
        .status = status,
        .output_tokens = 2};
}

static void no_orphan(void *arg, px_answer *answer)
{
    PX_CHECK(!"an orphan");
}

PX_TEST(a_step_is_one_message)
{
    px_outbox box;
    seen s = {0};
    px_answer *a, *b;
    px_event hello = token("he"), llo = token("llo"), end = done(px_ok());
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 1, &a));
    PX_CHECK_OK(px_outbox_open(&box, 2, &b));
    PX_CHECK(px_answer_add(a, &hello) && px_answer_add(b, &hello) && px_answer_add(a, &llo));
    px_outbox_flush(&box);
    PX_CHECK(s.messages == 1 && s.outputs == 2 && s.tokens == 3);
    PX_CHECK(px_answer_add(a, &end) && px_answer_add(b, &end));
    px_outbox_flush(&box);
    PX_CHECK(s.messages == 2 && s.done == 2 && s.failures == 0);
    PX_CHECK(!px_outbox_find(&box, 1) && !px_outbox_find(&box, 2)); /* over and forgotten */
    px_outbox_flush(&box);
    PX_CHECK(s.messages == 2);
    px_outbox_done(&box, no_orphan, NULL);
}

PX_TEST(nothing_is_lost_while_the_stream_is_full)
{
    px_outbox box;
    seen s = {.full = true};
    px_answer *a;
    px_event parts[] = {token("one "), token("two "), token("three")};
    px_event end = done(px_fail(PX_UNAVAILABLE, "a peer was lost"));
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 9, &a));
    for (int i = 0; i < 3; i++) {
        PX_CHECK(px_answer_add(a, &parts[i]));
        px_outbox_flush(&box);
    }
    PX_CHECK(px_answer_add(a, &end));
    px_outbox_flush(&box);
    PX_CHECK(s.messages == 0 && px_outbox_find(&box, 9) == a);
    s.full = false;
    px_outbox_flush(&box);
    PX_CHECK_STR(s.text, "one two three"); /* all it said, and then its end */
    PX_CHECK(s.failures == 1 && s.failed_id == 9 && s.failed_code == PX_UNAVAILABLE && s.done == 0);
    PX_CHECK(!px_outbox_find(&box, 9));
    px_outbox_done(&box, no_orphan, NULL);
}

PX_TEST(several_answers_come_under_their_index)
{
    px_outbox box;
    seen s = {0};
    px_answer *a;
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 1, &a));
    for (uint32_t i = 0; i < 12; i++) {
        px_event event = token("x");
        event.index = i * 7 % 3;
        PX_CHECK(px_answer_add(a, &event));
        if (i % 5 == 4) px_outbox_flush(&box);
    }
    for (uint32_t i = 0; i < 3; i++) {
        px_event event = {.kind = PX_EVENT_ANSWERED, .index = i, .output_tokens = 4};
        PX_CHECK(px_answer_add(a, &event));
        px_outbox_flush(&box);
        PX_CHECK(s.ends == 4 * (i + 1) && s.done == 0);
    }
    px_event end = done(px_ok());
    PX_CHECK(px_answer_add(a, &end));
    px_outbox_flush(&box);
    PX_CHECK(s.tokens_of[0] == 4 && s.tokens_of[1] == 4 && s.tokens_of[2] == 4);
    PX_CHECK(s.done == 1 && !px_outbox_find(&box, 1));
    px_outbox_done(&box, no_orphan, NULL);
}

PX_TEST(a_long_prompt_is_told_in_pieces_before_the_answer)
{
    px_outbox box;
    seen s = {.full = true};
    px_answer *a;
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 1, &a));
    for (uint32_t i = 0; i < 3000; i++) {
        px_event event = {.kind = PX_EVENT_PROMPT, .has_token = true, .token = i};
        event.has_logprobs = i > 0;
        event.logprobs.top_count = 2;
        PX_CHECK(px_answer_add(a, &event));
    }
    px_event text = token("x"), end = done(px_ok());
    PX_CHECK(px_answer_add(a, &text) && px_answer_add(a, &end));
    px_outbox_flush(&box);
    s.full = false;
    px_outbox_flush(&box);
    PX_CHECK(s.prompt == 3000 && s.prompt_logprobs == 2999 && s.largest_prompt <= 512);
    PX_CHECK(s.tokens == 1 && s.done == 1 && !px_outbox_find(&box, 1));
    px_outbox_done(&box, no_orphan, NULL);
}

PX_TEST(an_answer_that_runs_over_fails_alone)
{
    px_outbox box;
    seen s = {.full = true};
    px_answer *greedy, *modest;
    px_event part = token("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 1, &greedy));
    PX_CHECK_OK(px_outbox_open(&box, 2, &modest));
    greedy->running = modest->running = true;
    PX_CHECK(px_answer_add(modest, &part));
    int added = 0;
    while (added < 1000000 && px_answer_add(greedy, &part)) added++;
    PX_CHECK(added <= PX_ANSWER_TEXT_MAX / 64);
    PX_CHECK(px_answer_add(greedy, &part)); /* what still comes is dropped */
    s.full = false;
    px_outbox_flush(&box);
    PX_CHECK(s.failures == 1 && s.failed_id == 1 && s.failed_code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(px_outbox_find(&box, 2) == modest);
    PX_CHECK(!greedy->box && greedy->running); /* the engine lets go of it later */
    px_answer_free(greedy);
    modest->running = false;
    px_outbox_done(&box, no_orphan, NULL);
}

static void count_orphan(void *arg, px_answer *answer)
{
    *(uint64_t *)arg += answer->id;
    px_answer_free(answer);
}

PX_TEST(a_lost_stream_hands_back_what_runs)
{
    px_outbox box;
    seen s = {.full = true};
    px_answer *running, *ended;
    uint64_t orphans = 0;
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 40, &running));
    PX_CHECK_OK(px_outbox_open(&box, 2, &ended));
    running->running = true;
    px_answer_fail(ended, px_fail(PX_INVALID_ARGUMENT, "no"));
    px_outbox_done(&box, count_orphan, &orphans);
    PX_CHECK(orphans == 40);
}

PX_TEST(ids_are_unique_and_bounded)
{
    px_outbox box;
    seen s = {0};
    px_answer *a;
    px_outbox_init(&box, send, &s);
    PX_CHECK_OK(px_outbox_open(&box, 1, &a));
    PX_CHECK(px_outbox_open(&box, 1, &a).code == PX_ALREADY_EXISTS);
    for (uint64_t id = 2; id <= PX_OUTBOX_ANSWERS_MAX; id++)
        PX_CHECK_OK(px_outbox_open(&box, id, &a));
    PX_CHECK(px_outbox_open(&box, 0, &a).code == PX_RESOURCE_EXHAUSTED);
    px_outbox_done(&box, no_orphan, NULL);
}

PX_TEST_MAIN()
