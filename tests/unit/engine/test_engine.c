/* test_engine.c - requests through the whole engine over a fake forward: answers, ends, refusals.
 */
#include "test.h"

#include "engine/random.h"

#include "fake_engine.h"

static px_doorbell bell;

static fake_model roomy(void)
{
    return (fake_model){.slots = 8, .rows = 64, .blocks = 256, .context = 256, .queue_max = 64};
}

static px_request prompt_of(const char *text)
{
    return (px_request){.prompt = {text, strlen(text)}, .sampling = {.top_p = 1}, .max_tokens = 20};
}

static px_engine_stats stats_of(const px_engine *engine)
{
    px_engine_stats stats;
    px_engine_get_stats(engine, &stats);
    return stats;
}

static fake_answer ask(px_engine *engine, const px_request *request)
{
    fake_answer answer = {0};
    PX_CHECK_OK(px_engine_submit(engine, request, &answer.id));
    if (answer.id) PX_CHECK(fake_collect(engine, &bell, &answer, 1));
    return answer;
}

/* What the fake model says, computed without the engine. */
static void check_greedy(const fake_answer *answer, const char *prompt, uint32_t tokens)
{
    uint64_t state = 0;
    for (const char *at = prompt; *at; at++) state = fake_mix(state, (unsigned char)*at);
    PX_CHECK(answer->count == tokens && answer->length == tokens);
    for (uint32_t i = 0; i < answer->count; i++) {
        uint32_t want = fake_greedy(state);
        PX_CHECK(answer->ids[i] == want && answer->text[i] == (char)want);
        state = fake_mix(state, want);
    }
}

PX_TEST(an_answer_is_streamed_and_ends_once)
{
    fake_model model = roomy();
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("Tell me");
    fake_answer answer = ask(engine, &request);
    check_greedy(&answer, "Tell me", 20);
    PX_CHECK(answer.done.finish == PX_FINISH_LENGTH && px_is_ok(answer.done.status));
    PX_CHECK(answer.done.prompt_tokens == 7 && answer.done.output_tokens == 20);
    PX_CHECK(answer.done.ttft_ns > 0 && answer.done.total_ns >= answer.done.ttft_ns &&
             answer.done.queue_ns <= answer.done.ttft_ns);
    PX_CHECK_STR(px_finish_name(answer.done.finish), "length");
    px_engine_stats stats;
    px_engine_get_stats(engine, &stats);
    PX_CHECK(stats.steps == 20 && stats.prompt_tokens == 7 && stats.output_tokens == 20);
    PX_CHECK(stats.kv_blocks == 256);
    px_engine_close(engine);
}

PX_TEST(the_end_token_and_stop_strings_end_an_answer)
{
    fake_model model = roomy();
    model.script = "x one two three$ four";
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("x");
    fake_answer answer = ask(engine, &request);
    PX_CHECK_STR(answer.text, " one two three");
    PX_CHECK(answer.done.finish == PX_FINISH_STOP);
    PX_CHECK(answer.count == 15 && answer.ids[14] == FAKE_EOS); /* counted, without text */

    request.ignore_eos = true;
    answer = ask(engine, &request);
    PX_CHECK_STR(answer.text, " one two three four"); /* the end token is special: no text */
    PX_CHECK(answer.done.finish == PX_FINISH_LENGTH && answer.count == 20);

    request.stops[request.stop_count++] = (px_slice){"two t", 5};
    request.stops[request.stop_count++] = (px_slice){"three", 5};
    answer = ask(engine, &request);
    PX_CHECK_STR(answer.text, " one ");
    PX_CHECK(answer.done.finish == PX_FINISH_STOP);

    request.max_tokens = 8; /* ends within what could have become a stop string */
    answer = ask(engine, &request);
    PX_CHECK_STR(answer.text, " one two");
    PX_CHECK(answer.done.finish == PX_FINISH_LENGTH);
    px_engine_close(engine);
}

/* Text is made on the caller's thread: the engine learns of a stop string when it has gone on. */
PX_TEST(what_is_said_behind_a_stop_string_is_not_told)
{
    fake_model model = roomy();
    model.script = "x one two three four ";
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("x");
    request.stops[request.stop_count++] = (px_slice){"two", 3};
    request.max_tokens = 100;
    fake_answer late = {0};
    PX_CHECK_OK(px_engine_submit(engine, &request, &late.id));
    while (stats_of(engine).output_tokens < 100) px_sleep_ns(PX_MS / 10); /* nobody listens */
    PX_CHECK(fake_collect(engine, &bell, &late, 1));
    PX_CHECK_STR(late.text, " one ");
    PX_CHECK(late.done.finish == PX_FINISH_STOP && px_is_ok(late.done.status));
    PX_CHECK(late.count == 8 && late.done.output_tokens == 8);

    model.step_ns = 2 * PX_MS;
    uint64_t steps = stats_of(engine).steps;
    fake_answer heard = ask(engine, &request);
    PX_CHECK_STR(heard.text, late.text);
    PX_CHECK(heard.count == 8 && heard.done.output_tokens == 8);
    PX_CHECK(stats_of(engine).steps - steps < 100); /* it did not say all of it */
    while (stats_of(engine).running) px_sleep_ns(PX_MS / 10);
    PX_CHECK(stats_of(engine).kv_blocks_free == model.blocks);
    px_engine_close(engine);
}

static bool whole(const px_event *event)
{
    return px_utf8_valid_prefix(event->text, event->text_length) == event->text_length;
}

PX_TEST(characters_come_whole_and_long_texts_in_pieces)
{
    fake_model model = roomy();
    model.script = "x\xc3\xa9\xe6\x97\xa5#\xf0\x9f";
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("x");
    request.max_tokens = 8;
    uint64_t id;
    PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    px_event event;
    fake_answer answer = {.id = id};
    uint32_t textless = 0, tokenless = 0;
    while (!answer.is_done && fake_next(engine, &bell, &event)) {
        if (event.kind == PX_EVENT_TOKEN) {
            PX_CHECK(whole(&event));
            textless += event.text_length == 0;
            tokenless += !event.has_token;
        }
        fake_take(&answer, &event);
    }
    PX_CHECK(textless == 4 && tokenless == 3); /* halves of characters; 400 bytes in 4 events */
    PX_CHECK(answer.length == 2 + 3 + 400 + 3 && memcmp(answer.text, "é日===", 8) == 0);
    PX_CHECK_STR(answer.text + 405, "\xef\xbf\xbd"); /* the half at the end */
    px_engine_close(engine);
}

PX_TEST(the_context_bounds_prompt_and_answer)
{
    fake_model model = roomy();
    model.context = 32;
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("twenty characters...");
    request.max_tokens = 0;
    fake_answer answer = ask(engine, &request);
    check_greedy(&answer, "twenty characters...", 12);
    PX_CHECK(answer.done.finish == PX_FINISH_LENGTH);
    request.max_tokens = 1000;
    answer = ask(engine, &request);
    PX_CHECK(answer.count == 12);

    uint64_t id;
    request = prompt_of("thirty-two characters of prompt..");
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    request = prompt_of("");
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    uint32_t tokens[32] = {FAKE_VOCABULARY};
    request = (px_request){.tokens = tokens, .token_count = 1, .sampling = {.top_p = 1}};
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    request.token_count = 32;
    tokens[0] = 1;
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    request.token_count = 31;
    answer = ask(engine, &request);
    PX_CHECK(answer.count == 1);
    request.sampling.top_p = 0;
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "hi");
    request = (px_request){.messages = messages, .sampling = {.top_p = 1}};
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_FAILED_PRECONDITION);
    json_decref(messages);
    px_engine_close(engine);
}

PX_TEST(cancel_and_deadline_end_a_request_and_free_its_blocks)
{
    fake_model model = roomy();
    model.step_ns = PX_MS / 5;
    model.context = 100000;
    model.blocks = 7000;
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("forever");
    request.max_tokens = 90000;
    fake_answer answers[2] = {0};
    PX_CHECK_OK(px_engine_submit(engine, &request, &answers[0].id));
    request.deadline_ns = px_now_ns() + 400 * PX_MS; /* ample for a cancel, however busy */
    PX_CHECK_OK(px_engine_submit(engine, &request, &answers[1].id));
    px_event event;
    PX_CHECK(fake_next(engine, &bell, &event));
    px_engine_cancel(engine, answers[0].id);
    px_engine_cancel(engine, answers[0].id); /* twice is once */
    PX_CHECK(fake_collect(engine, &bell, answers, 2));
    PX_CHECK(answers[0].done.status.code == PX_CANCELLED);
    PX_CHECK(answers[1].done.status.code == PX_DEADLINE_EXCEEDED);
    PX_CHECK(answers[0].done.finish == PX_FINISH_ERROR);
    PX_CHECK(answers[0].done.total_ns < answers[1].done.total_ns);
    px_engine_cancel(engine, answers[0].id); /* long gone */
    request = prompt_of("next");
    fake_answer next = ask(engine, &request);
    check_greedy(&next, "next", 20);
    px_engine_stats stats;
    do px_engine_get_stats(engine, &stats);
    while (stats.running); /* published at the next turn of the loop */
    PX_CHECK(stats.kv_blocks_free == 7000);
    px_engine_close(engine);
}

PX_TEST(a_full_queue_refuses_and_recovers)
{
    fake_model model = roomy();
    model.slots = 2;
    model.queue_max = 3;
    model.step_ns = PX_MS;
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("queue");
    fake_answer answers[5] = {0};
    for (int i = 0; i < 5; i++) PX_CHECK_OK(px_engine_submit(engine, &request, &answers[i].id));
    uint64_t id;
    px_status full = px_engine_submit(engine, &request, &id);
    PX_CHECK(full.code == PX_RESOURCE_EXHAUSTED && full.retry_ms > 0);
    PX_CHECK(fake_collect(engine, &bell, answers, 5));
    for (int i = 0; i < 5; i++) check_greedy(&answers[i], "queue", 20);
    fake_answer again = ask(engine, &request);
    check_greedy(&again, "queue", 20);
    px_engine_close(engine);
}

PX_TEST(prompts_that_wait_are_bounded_in_tokens_too)
{
    fake_model model = roomy();
    model.slots = 1;
    model.step_ns = 5 * PX_MS;
    model.queue_tokens_max = 40;
    px_engine *engine = fake_open(&model, &bell);
    char text[61];
    memset(text, 'x', 60);
    text[60] = '\0';
    fake_answer answers[3] = {0};
    px_request request = prompt_of(text); /* too long for the queue, but nothing waits */
    request.max_tokens = 0;               /* a second at least, however busy this machine is */
    PX_CHECK_OK(px_engine_submit(engine, &request, &answers[0].id));
    while (!stats_of(engine).steps) px_sleep_ns(PX_MS / 10);
    request = prompt_of("twenty characters...");
    PX_CHECK_OK(px_engine_submit(engine, &request, &answers[1].id));
    PX_CHECK_OK(px_engine_submit(engine, &request, &answers[2].id));
    uint64_t id;
    request = prompt_of("!");
    px_status full = px_engine_submit(engine, &request, &id);
    PX_CHECK(full.code == PX_RESOURCE_EXHAUSTED && full.retry_ms > 0);
    PX_CHECK(strstr(full.text, "40 tokens wait") != NULL);
    px_engine_cancel(engine, answers[0].id);
    PX_CHECK(fake_collect(engine, &bell, answers, 3));
    fake_answer again = ask(engine, &request);
    check_greedy(&again, "!", 20);
    px_engine_close(engine);
}

PX_TEST(a_deadline_that_cannot_be_met_is_refused_before_anything_is_computed)
{
    fake_model model = roomy();
    model.step_ns = 10 * PX_MS;
    model.slots = 2;
    model.rows = 32;
    px_engine *engine = fake_open(&model, &bell);
    static char text[201];
    memset(text, 'x', 200);
    px_request request = prompt_of(text);
    request.max_tokens = 2;
    fake_answer first = ask(engine, &request), answers[6] = {0}; /* teaches what a row takes */
    PX_CHECK_OK(first.done.status);
    for (int i = 0; i < 5; i++) { /* a second of prompts, no two alike */
        text[0] = (char)('a' + i);
        PX_CHECK_OK(px_engine_submit(engine, &request, &answers[i].id));
    }
    text[0] = 'z';
    request.deadline_ns = px_now_ns() + 100 * PX_MS;
    PX_CHECK_OK(px_engine_submit(engine, &request, &answers[5].id));
    PX_CHECK(fake_collect(engine, &bell, answers, 6));
    const px_event *done = &answers[5].done;
    PX_CHECK(done->status.code == PX_RESOURCE_EXHAUSTED && done->status.retry_ms > 0);
    PX_CHECK(answers[5].count == 0 && done->total_ns < 100 * PX_MS);
    PX_CHECK(stats_of(engine).refused == 1);
    for (int i = 0; i < 5; i++) PX_CHECK_OK(answers[i].done.status);
    px_engine_close(engine);
}

PX_TEST(prefixes_are_found_within_a_tenant_and_a_salt_only)
{
    fake_model model = roomy();
    px_engine *engine = fake_open(&model, &bell);
    static const struct {
        const char *tenant, *salt;
        uint32_t cached; /* of 47 tokens, the last of which is always computed */
    } steps[] = {{"", "", 0}, {"", "", 46}, {"red", "", 0}, {"red", "", 46}, {"", "red", 0},
        {"re", "d", 0}, {"", "", 46}};
    const char *text = "forty-seven characters that begin the same way.";
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        px_request request = prompt_of(text);
        request.tenant = (px_slice){steps[i].tenant, strlen(steps[i].tenant)};
        request.cache_salt = (px_slice){steps[i].salt, strlen(steps[i].salt)};
        fake_answer answer = ask(engine, &request);
        PX_CHECK(answer.done.prompt_tokens == 47);
        PX_CHECK(answer.done.cached_tokens == steps[i].cached);
        check_greedy(&answer, text, 20);
    }
    px_engine_stats stats = stats_of(engine);
    PX_CHECK(stats.prefix_queries == 7 * 47 && stats.prefix_hits == 3 * 46);
    px_request request = prompt_of("x");
    uint64_t id;
    request.priority = PX_PRIORITY_MAX + 1;
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    request.priority = 0;
    request.tenant_weight = -1;
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    px_engine_close(engine);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * 4;
}

/* A million of them is engine_bench's. */
PX_TEST(many_requests_leave_memory_as_it_was)
{
    enum { AT_ONCE = 16, ROUNDS = 1500 };
    fake_model model = roomy();
    model.park_slots = 64;
    px_engine *engine = fake_open(&model, &bell);
    long warm_kib = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        static fake_answer answers[AT_ONCE];
        memset(answers, 0, sizeof answers);
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            char text[32];
            snprintf(text, sizeof text, "%u of round %u", i, round);
            px_request request = prompt_of(text);
            request.max_tokens = 2;
            PX_CHECK_OK(px_engine_submit(engine, &request, &answers[i].id));
        }
        PX_REQUIRE(fake_collect(engine, &bell, answers, AT_ONCE));
        if (round == ROUNDS / 3) warm_kib = resident_kib();
    }
    long grown_kib = resident_kib() - warm_kib;
    PX_CHECK(PX_TEST_SANITIZED || grown_kib < 1024);
    PX_CHECK(stats_of(engine).kv_blocks == 256 && grown_kib < 1 << 20);
    px_engine_close(engine);
}

/* Whatever runs beside it, however full the pool: the answer is the same. */
PX_TEST(random_company_changes_no_answer)
{
    enum { REQUESTS = 120 };
    static fake_answer answers[REQUESTS], alone;
    static char prompts[REQUESTS][64];
    fake_model model = roomy();
    model.blocks = 20; /* two or three fit: preemption all the time */
    model.park_slots = 30;
    model.context = 160;
    model.queue_max = REQUESTS;
    px_engine *engine = fake_open(&model, &bell);
    memset(answers, 0, sizeof answers);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        int length = 1 + (int)(px_random_unit(i, 0) * 60);
        for (int j = 0; j < length; j++)
            prompts[i][j] = (char)('A' + (int)(px_random_unit(i, 1 + (uint32_t)j) * 26));
        px_request request = prompt_of(prompts[i]);
        request.max_tokens = 1 + (uint32_t)(px_random_unit(i, 100) * 90);
        request.sampling = (px_sampling){.temperature = i % 2 ? 0.3f : 0, .top_p = 0.9f, .seed = i};
        PX_CHECK_OK(px_engine_submit(engine, &request, &answers[i].id));
    }
    PX_CHECK(fake_collect(engine, &bell, answers, REQUESTS));
    PX_CHECK(stats_of(engine).preemptions > 0);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        px_request request = prompt_of(prompts[i]);
        request.max_tokens = answers[i].count;
        request.sampling = (px_sampling){.temperature = i % 2 ? 0.3f : 0, .top_p = 0.9f, .seed = i};
        alone = ask(engine, &request);
        PX_CHECK(alone.count == answers[i].count);
        PX_CHECK(memcmp(alone.ids, answers[i].ids, alone.count * sizeof *alone.ids) == 0);
        if (i % 2 == 0) check_greedy(&answers[i], prompts[i], answers[i].count);
    }
    px_engine_close(engine);
}

PX_TEST(a_lost_peer_ends_every_request_and_the_engine_says_so)
{
    fake_model model = roomy();
    model.slots = 2;
    model.step_ns = 2 * PX_MS;
    model.broken_after = 5;
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("doomed");
    fake_answer answers[4] = {0};
    uint32_t taken = 0; /* on a machine that stalls, it breaks before all are submitted */
    while (taken < 4 && px_is_ok(px_engine_submit(engine, &request, &answers[taken].id))) taken++;
    PX_CHECK(taken > 0 && fake_collect(engine, &bell, answers, taken));
    for (uint32_t i = 0; i < taken; i++) {
        PX_CHECK(answers[i].done.status.code == PX_UNAVAILABLE);
        PX_CHECK_STR(answers[i].done.status.text, "rank 1 does not answer");
    }
    PX_CHECK(px_engine_health(engine).code == PX_UNAVAILABLE);
    uint64_t id;
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_UNAVAILABLE);
    px_engine_close(engine);
}

PX_TEST(an_idle_engine_runs_nothing_and_closing_needs_no_poll)
{
    fake_model model = roomy();
    model.step_ns = PX_MS / 10;
    px_engine *engine = fake_open(&model, &bell);
    px_request request = prompt_of("first");
    fake_answer answer = ask(engine, &request);
    uint32_t steps = atomic_load(&model.steps);
    px_sleep_ns(20 * PX_MS);
    PX_CHECK(answer.is_done && atomic_load(&model.steps) == steps);
    /* More events than the outbox holds, none taken: close must not wait for the caller. */
    request.max_tokens = 0;
    uint64_t id;
    for (int i = 0; i < 40; i++) PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    px_sleep_ns(100 * PX_MS);
    px_engine_close(engine);
}

PX_TEST_MAIN()
