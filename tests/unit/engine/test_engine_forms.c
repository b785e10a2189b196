/* test_engine_forms.c - what a request may ask of an answer beside its sampling, through the whole
 * engine on a tiny random model whose tokens are bytes: forms, bounds, log probabilities, resuming.
 */
#include <math.h>
#include <stdlib.h>

#include "test.h"

#include "base/clock.h"
#include "engine/doorbell.h"
#include "engine/engine.h"
#include "tiny_model.h"

enum { ANSWER_MAX = 200, TOGETHER = 8 };

static char folder[] = "/tmp/px_forms_XXXXXX";
static px_doorbell bell;

static void on_wake(void *arg)
{
    px_doorbell_ring(&bell);
}

static void remove_model(void)
{
    tiny_model_remove(folder);
}

static px_engine *open_engine(void)
{
    static bool is_written;
    if (!is_written) {
        tiny_model_write(folder);
        atexit(remove_model);
        is_written = true;
    }
    px_engine *engine = NULL;
    px_engine_options options = {.model_path = folder,
        .threads = 2,
        .context_max = 400,
        .seqs_max = TOGETHER,
        .kv_tokens = 4000,
        .on_wake = on_wake};
    PX_CHECK_OK(px_engine_open(&options, NULL, &engine));
    return engine;
}

typedef struct answer {
    uint64_t id;
    uint32_t ids[ANSWER_MAX], count;
    px_logprobs logprobs[ANSWER_MAX];
    char text[4096];
    size_t length;
    px_finish finish;
    px_status status;
    bool done;
} answer;

static answer *answer_of(answer *answers, uint64_t id)
{
    while (answers->id != id) answers++;
    return answers;
}

static void note(answer *a, const px_event *event)
{
    if (event->kind == PX_EVENT_DONE) {
        a->finish = event->finish;
        a->status = event->status;
        a->done = true;
        return;
    }
    if (event->has_logprobs) a->logprobs[a->count] = event->logprobs;
    if (event->has_token) a->ids[a->count++] = event->token;
    memcpy(a->text + a->length, event->text, event->text_length);
    a->length += event->text_length;
    a->text[a->length] = '\0';
}

/* All at once; a refusal at submit is the answer's status too. */
static void ask_all(px_engine *engine, const px_request *requests, uint32_t count, answer *out)
{
    uint32_t open = 0;
    memset(out, 0, count * sizeof *out);
    for (uint32_t i = 0; i < count; i++) {
        out[i].status = px_engine_submit(engine, &requests[i], &out[i].id);
        open += px_is_ok(out[i].status);
    }
    for (int64_t end_ns = px_now_ns() + 60 * PX_SEC; open && px_now_ns() < end_ns;) {
        uint32_t seen = px_doorbell_look(&bell);
        px_event event;
        while (px_engine_poll(engine, &event)) {
            note(answer_of(out, event.id), &event);
            open -= event.kind == PX_EVENT_DONE;
        }
        if (open) px_doorbell_wait(&bell, seen, PX_SEC);
    }
    PX_CHECK(open == 0);
}

static answer ask(px_engine *engine, px_request request)
{
    static answer a;
    ask_all(engine, &request, 1, &a);
    return a;
}

static const char prompt_text[] = "Some prompt or other";

static px_request request_of(uint64_t seed)
{
    return (px_request){.prompt = {prompt_text, sizeof prompt_text - 1},
        .max_tokens = ANSWER_MAX,
        .sampling = {.temperature = 1, .top_p = 1, .seed = seed}};
}

static px_request with_form(px_request request, px_grammar_kind kind, const char *text)
{
    request.bounds.has_form = true;
    request.bounds.form_kind = kind;
    request.bounds.form = (px_slice){text, strlen(text)};
    return request;
}

/* --------------------------------------------------------------------------------- forms */

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":6},"
    "\"size\":{\"type\":\"integer\",\"minimum\":3,\"maximum\":700},\"kind\":{\"enum\":[\"a\",\"b\"]"
    "}},"
    "\"required\":[\"name\",\"size\",\"kind\"]}";

PX_TEST(answers_keep_to_their_form)
{
    px_engine *engine = open_engine();
    px_request requests[TOGETHER];
    static answer answers[TOGETHER];
    for (uint64_t seed = 0; seed < TOGETHER; seed++)
        requests[seed] = with_form(request_of(seed), PX_GRAMMAR_JSON_SCHEMA, schema);
    ask_all(engine, requests, TOGETHER, answers);
    for (int i = 0; i < TOGETHER; i++) {
        json_t *value = NULL;
        PX_CHECK_OK(answers[i].status);
        PX_CHECK(answers[i].finish == PX_FINISH_STOP);
        PX_CHECK_OK(px_json_parse(answers[i].text, answers[i].length, "answer", &value));
        json_int_t size = json_integer_value(json_object_get(value, "size"));
        PX_CHECK(json_object_size(value) == 3 && size >= 3 && size <= 700);
        json_decref(value);
        answer alone = ask(engine, requests[i]);
        PX_CHECK_STR(alone.text, answers[i].text);
    }
    px_engine_close(engine);
}

PX_TEST(what_the_form_forces_takes_no_step)
{
    px_engine *engine = open_engine();
    px_engine_stats before, after;
    px_engine_get_stats(engine, &before);
    answer a = ask(engine, with_form(request_of(3), PX_GRAMMAR_REGEX,
                               "(yes|no), and that is all that there is to say about it"));
    px_engine_get_stats(engine, &after);
    PX_CHECK(a.finish == PX_FINISH_STOP && a.count == a.length && a.count > 40);
    PX_CHECK(after.steps - before.steps <= 4);
    px_engine_close(engine);
}

PX_TEST(a_form_that_cannot_be_is_refused_in_its_own_words)
{
    px_engine *engine = open_engine();
    answer a = ask(engine, with_form(request_of(1), PX_GRAMMAR_REGEX, "(unfinished"));
    PX_CHECK(a.status.code == PX_INVALID_ARGUMENT && strstr(a.status.text, "')' is missing"));
    answer b = ask(engine, with_form(request_of(1), PX_GRAMMAR_CHOICE, "[\"one\",\"two\"]"));
    PX_CHECK_OK(b.status);
    PX_CHECK(!strcmp(b.text, "one") || !strcmp(b.text, "two"));
    px_engine_close(engine);
}

/* -------------------------------------------------------------------------------- bounds */

PX_TEST(only_allowed_tokens_come_and_banned_ones_do_not)
{
    px_engine *engine = open_engine();
    static const uint32_t allowed[] = {'x', 'y', 'z'};
    static const px_slice words[] = {{"xy", 2}};
    px_request request = request_of(5);
    request.bounds.allowed = (px_token_list){allowed, 3};
    request.bounds.bad_words = words;
    request.bounds.bad_word_count = 1;
    request.max_tokens = 100;
    answer a = ask(engine, request);
    PX_CHECK(a.count == 100 && strspn(a.text, "xyz") == 100 && !strstr(a.text, "xy"));
    request.bounds.bad_word_count = 0;
    PX_CHECK(strstr(ask(engine, request).text, "xy"));
    px_engine_close(engine);
}

PX_TEST(a_form_forces_no_token_that_is_not_allowed)
{
    px_engine *engine = open_engine();
    static const uint32_t allowed[] = {'x', 'y', 'a'};
    px_request request = with_form(request_of(4), PX_GRAMMAR_REGEX, "[xy]ab|[xy]ax");
    request.bounds.allowed = (px_token_list){allowed, 3};
    answer a = ask(engine, request);
    PX_CHECK(a.finish == PX_FINISH_STOP && a.count == 3 && a.text[2] == 'x');
    request = with_form(request, PX_GRAMMAR_REGEX, "[xy]ab");
    a = ask(engine, request);
    PX_CHECK(a.status.code == PX_INVALID_ARGUMENT && a.count == 2);
    PX_CHECK(strstr(a.status.text, "allowed_token_ids") != NULL);
    px_engine_close(engine);
}

PX_TEST(stop_tokens_end_but_not_before_min_tokens)
{
    px_engine *engine = open_engine();
    static const uint32_t allowed[] = {'x', 'y'}, stops[] = {'y'};
    px_request request = request_of(2);
    request.bounds.allowed = (px_token_list){allowed, 2};
    request.stop_tokens = (px_token_list){stops, 1};
    request.bounds.min_tokens = 20;
    answer a = ask(engine, request);
    PX_CHECK(a.finish == PX_FINISH_STOP && a.count >= 21 && a.ids[a.count - 1] == 'y');
    for (uint32_t i = 0; i + 1 < a.count; i++) PX_CHECK(a.ids[i] == 'x');
    PX_CHECK(a.length == a.count - 1); /* what ends an answer is no text of it */
    px_engine_close(engine);
}

PX_TEST(stop_strings_end_but_not_before_min_tokens)
{
    px_engine *engine = open_engine();
    static const uint32_t allowed[] = {'x', 'y'};
    px_request request = request_of(2);
    request.bounds.allowed = (px_token_list){allowed, 2};
    request.stops[0] = (px_slice){"y", 1};
    request.stop_count = 1;
    answer first = ask(engine, request);
    PX_CHECK(first.finish == PX_FINISH_STOP && first.count < 20 && !strchr(first.text, 'y'));
    request.bounds.min_tokens = 20;
    answer a = ask(engine, request);
    PX_CHECK(a.finish == PX_FINISH_STOP && a.count >= 21 && a.ids[a.count - 1] == 'y');
    PX_CHECK(a.length == a.count - 1 && strchr(a.text, 'y'));
    PX_CHECK(memcmp(a.ids, first.ids, first.count * sizeof *a.ids) == 0);
    /* Resumed, it ends at the same place. */
    static answer whole;
    whole = a;
    request.resumed = (px_token_list){whole.ids, 10};
    a = ask(engine, request);
    PX_CHECK(a.count == whole.count - 10 && a.finish == PX_FINISH_STOP);
    PX_CHECK_STR(a.text, whole.text + 10);
    px_engine_close(engine);
}

PX_TEST(a_request_that_bans_all_is_told_so)
{
    px_engine *engine = open_engine();
    static const uint32_t allowed[] = {'x'};
    px_request request = request_of(2);
    request.bounds.allowed = request.stop_tokens = (px_token_list){allowed, 1};
    request.bounds.min_tokens = 3;
    answer a = ask(engine, request);
    PX_CHECK(a.status.code == PX_INVALID_ARGUMENT && a.count == 0);
    PX_CHECK(strstr(a.status.text, "allowed_token_ids") && strstr(a.status.text, "min_tokens"));
    request.bounds.min_tokens = 0;
    PX_CHECK(ask(engine, request).finish == PX_FINISH_STOP);
    px_engine_close(engine);
}

PX_TEST(a_heavy_penalty_leaves_nothing_said_twice)
{
    px_engine *engine = open_engine();
    px_request request = request_of(9);
    request.sampling.temperature = 0;
    request.bounds.presence_penalty = 100;
    request.ignore_eos = true;
    answer a = ask(engine, request);
    PX_CHECK(a.count == ANSWER_MAX);
    for (uint32_t i = 0; i < a.count; i++)
        for (uint32_t k = 0; k < i; k++) PX_CHECK(a.ids[i] != a.ids[k]);
    px_engine_close(engine);
}

/* --------------------------------------------------------------- probabilities, resuming */

PX_TEST(log_probabilities_come_with_their_tokens)
{
    px_engine *engine = open_engine();
    px_request request = request_of(4);
    request.wants_logprobs = true;
    request.top_logprobs = 5;
    request.max_tokens = 30;
    request.ignore_eos = true;
    answer plain = ask(engine, request_of(4)), a = ask(engine, request);
    for (uint32_t i = 0; i < a.count; i++) {
        const px_logprobs *l = &a.logprobs[i];
        PX_CHECK(a.ids[i] == plain.ids[i] && l->picked.token == a.ids[i]);
        PX_CHECK(l->top_count == 5 && l->picked.logprob <= l->top[0].logprob);
        PX_CHECK(l->rank > 5 || l->top[l->rank - 1].token == a.ids[i]);
        double sum = 0;
        for (int k = 0; k < 5; k++) sum += exp(l->top[k].logprob);
        PX_CHECK(sum > 0 && sum < 1.0001);
    }
    px_engine_close(engine);
}

/* Cut anywhere and resumed, an answer goes on with the same tokens and the same text. */
PX_TEST(a_resumed_answer_goes_on_as_if_it_had_never_stopped)
{
    px_engine *engine = open_engine();
    px_request requests[3] = {
        request_of(11), request_of(12), with_form(request_of(13), PX_GRAMMAR_JSON_SCHEMA, schema)};
    requests[1].sampling.temperature = 0;
    requests[1].bounds.frequency_penalty = 0.5f;
    for (int r = 0; r < 3; r++) {
        requests[r].max_tokens = 60;
        static answer whole;
        whole = ask(engine, requests[r]);
        PX_CHECK_OK(whole.status);
        for (uint32_t cut = 1; cut + 1 < whole.count; cut += 7) {
            px_request resumed = requests[r];
            resumed.resumed = (px_token_list){whole.ids, cut};
            answer rest = ask(engine, resumed);
            PX_CHECK_OK(rest.status);
            PX_CHECK(rest.count == whole.count - cut && rest.finish == whole.finish);
            PX_CHECK(memcmp(rest.ids, whole.ids + cut, rest.count * sizeof *rest.ids) == 0);
            PX_CHECK(rest.length <= whole.length);
            PX_CHECK_STR(rest.text, whole.text + whole.length - rest.length);
        }
    }
    px_engine_close(engine);
}

PX_TEST(what_had_ended_is_not_resumed)
{
    px_engine *engine = open_engine();
    static const uint32_t ended[] = {'a', 299}, whole[] = {'y', 'e', 's'},
                          long_one[ANSWER_MAX] = {1};
    px_request request = request_of(1);
    request.resumed = (px_token_list){ended, 2};
    PX_CHECK(ask(engine, request).status.code == PX_INVALID_ARGUMENT);
    request = with_form(request_of(1), PX_GRAMMAR_CHOICE, "[\"yes\"]");
    request.resumed = (px_token_list){whole, 3};
    PX_CHECK(ask(engine, request).status.code == PX_INVALID_ARGUMENT);
    request = request_of(1);
    request.resumed = (px_token_list){long_one, ANSWER_MAX};
    PX_CHECK(ask(engine, request).status.code == PX_INVALID_ARGUMENT);
    px_engine_close(engine);
}

PX_TEST(what_is_out_of_range_is_refused_at_once)
{
    px_engine *engine = open_engine();
    static const uint32_t unknown[] = {300};
    static const px_slice cut = {"\xc3", 1};
    enum { BAD = 7 };
    px_request bad[BAD];
    for (int i = 0; i < BAD; i++) bad[i] = request_of(1);
    bad[0].top_logprobs = 21;
    bad[1].bounds.allowed = (px_token_list){unknown, 1};
    bad[2].resumed = (px_token_list){unknown, 1};
    bad[3].bounds.presence_penalty = NAN;
    bad[4].stop_tokens = (px_token_list){unknown, 1};
    bad[5].bounds.bad_words = &cut;
    bad[5].bounds.bad_word_count = 1;
    bad[6].bounds.min_tokens = 5;
    bad[6].max_tokens = 4;
    for (int i = 0; i < BAD; i++) {
        uint64_t id;
        PX_CHECK(px_engine_submit(engine, &bad[i], &id).code == PX_INVALID_ARGUMENT);
    }
    px_engine_close(engine);
}

PX_TEST_MAIN()
