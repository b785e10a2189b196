/* test_engine_choices.c - several answers to one request, over the fake forward: the prompt is
 * computed once, answer i is what a request of its own would get, the best are the likeliest.
 */
#include "test.h"

#include "engine/random.h"

#include "fake_engine.h"

enum { CONTEXT = 256, PROMPT = 37, ANSWER = 12, ANSWERS_MAX = 8 };

static px_doorbell bell;
static uint32_t prompt[PROMPT];

static fake_model roomy(void)
{
    return (fake_model){.slots = 16, .rows = 64, .blocks = 200, .context = CONTEXT};
}

static px_request asking(uint32_t n, uint32_t best_of)
{
    for (uint32_t i = 0; i < PROMPT; i++) prompt[i] = 'A' + i % 26;
    return (px_request){.tokens = prompt,
        .token_count = PROMPT,
        .max_tokens = ANSWER,
        .ignore_eos = true,
        .n = n,
        .best_of = best_of,
        .sampling = {.temperature = 1, .top_p = 1, .seed = 7}};
}

typedef struct answers { /* all events of one request */
    uint64_t id;
    uint32_t ids[ANSWERS_MAX][ANSWER], counts[ANSWERS_MAX], answered, logprobs;
    double logprob_sums[ANSWERS_MAX]; /* as told */
    double summed[ANSWERS_MAX];       /* of the tokens' own */
    px_finish finishes[ANSWERS_MAX];
    px_event done;
} answers;

static bool take(px_engine *engine, answers *a)
{
    px_event event;
    memset(&a->done, 0, sizeof a->done);
    while (fake_next(engine, &bell, &event)) {
        PX_CHECK(event.id == a->id && event.index < ANSWERS_MAX);
        if (event.id != a->id || event.index >= ANSWERS_MAX) return false;
        uint32_t i = event.index;
        if (event.kind == PX_EVENT_DONE) {
            a->done = event;
            PX_CHECK(!px_engine_poll(engine, &event)); /* nothing comes behind it */
            return true;
        }
        if (event.kind == PX_EVENT_ANSWERED) {
            a->answered++;
            a->logprob_sums[i] = event.logprob_sum;
            a->finishes[i] = event.finish;
            PX_CHECK(event.output_tokens == a->counts[i]);
        } else if (event.has_token) {
            a->ids[i][a->counts[i]++] = event.token;
            a->logprobs += event.has_logprobs;
            if (event.has_logprobs) a->summed[i] += (double)event.logprobs.picked.logprob;
        }
    }
    return false;
}

static answers ask(px_engine *engine, const px_request *request)
{
    answers a = {.id = 0};
    PX_CHECK_OK(px_engine_submit(engine, request, &a.id));
    PX_CHECK(take(engine, &a));
    return a;
}

/* What a request of its own with the i-th stream of random numbers gets. */
static answers alone(px_engine *engine, px_request request, uint32_t i)
{
    request.n = request.best_of = 0;
    request.sampling.sequence = i;
    return ask(engine, &request);
}

static void check_same(const answers *a, uint32_t i, const answers *b, uint32_t j)
{
    PX_CHECK(a->counts[i] == b->counts[j] && a->counts[i] > 0);
    PX_CHECK(memcmp(a->ids[i], b->ids[j], a->counts[i] * sizeof *a->ids[i]) == 0);
}

PX_TEST(the_prompt_is_computed_once)
{
    for (uint32_t tokens = PROMPT - 6; tokens <= PROMPT; tokens++) { /* 31, 32, 33, ... */
        fake_model model = roomy();
        px_engine *engine = fake_open(&model, &bell);
        px_request request = asking(5, 0);
        request.token_count = tokens;
        answers a = ask(engine, &request);
        PX_CHECK(a.done.prompt_tokens == tokens && a.done.output_tokens == 5 * ANSWER);
        PX_CHECK(a.done.cached_tokens == 0 && a.answered == 5);
        /* Each answer's first token comes out of the prompt's last row. */
        PX_CHECK(atomic_load(&model.rows_seen) == tokens + 5 * (ANSWER - 1));
        px_engine_stats stats;
        px_engine_get_stats(engine, &stats);
        PX_CHECK(stats.prompt_tokens == tokens && stats.output_tokens == 5 * ANSWER);
        PX_CHECK(stats.preemptions == 0 && stats.recomputed_tokens == 0);
        px_engine_close(engine);
    }
}

/* Also with fewer slots than answers, with a pool that holds few of them, without parking. */
PX_TEST(each_answer_is_what_it_would_be_alone)
{
    const fake_model models[] = {roomy(),
        {.slots = 2, .rows = 8, .blocks = 200, .context = CONTEXT, .queue_max = 20},
        {.slots = 16, .rows = 64, .blocks = 16, .context = CONTEXT, .park_slots = 16},
        {.slots = 16, .rows = 64, .blocks = 16, .context = CONTEXT}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        fake_model model = models[m];
        px_engine *engine = fake_open(&model, &bell);
        px_request request = asking(6, 0);
        answers together = ask(engine, &request), apart[6];
        for (uint32_t i = 0; i < 6; i++) {
            apart[i] = alone(engine, request, i);
            check_same(&together, i, &apart[i], 0);
            for (uint32_t j = 0; j < i; j++) /* seven streams of one seed do differ */
                PX_CHECK(memcmp(apart[i].ids, apart[j].ids, sizeof apart[i].ids[0]) != 0);
        }
        request.n = 2;
        answers fewer = ask(engine, &request);
        check_same(&fewer, 0, &together, 0);
        check_same(&fewer, 1, &together, 1);
        px_engine_close(engine);
    }
}

PX_TEST(of_all_made_the_likeliest_are_told_best_first)
{
    fake_model model = roomy();
    px_engine *engine = fake_open(&model, &bell);
    px_request request = asking(3, 7);
    uint32_t ends[40]; /* some answers are shorter */
    for (uint32_t i = 0; i < 40; i++) ends[i] = i;
    request.stop_tokens = (px_token_list){ends, 40};
    request.wants_logprobs = true;
    double means[7];
    answers apart[7], best = ask(engine, &request);
    uint32_t order[7], made = 0, lengths = 0;
    for (uint32_t i = 0; i < 7; i++) {
        apart[i] = alone(engine, request, i);
        means[i] = apart[i].summed[0] / apart[i].counts[0];
        made += apart[i].counts[0];
        lengths += apart[i].counts[0] != apart[0].counts[0];
        uint32_t at = i;
        for (; at && means[order[at - 1]] < means[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    PX_CHECK(lengths > 0 && best.answered == 3 && best.done.output_tokens == made);
    for (uint32_t i = 0; i < 3; i++) {
        check_same(&best, i, &apart[order[i]], 0);
        PX_CHECK(best.logprob_sums[i] == best.summed[i]);
        PX_CHECK(best.summed[i] == apart[order[i]].summed[0]);
    }
    request.n = 0; /* the best one alone: nothing but its tokens and DONE; no log probabilities */
    request.wants_logprobs = false;
    answers one = ask(engine, &request);
    check_same(&one, 0, &best, 0);
    PX_CHECK(one.answered == 0 && one.logprobs == 0 && one.done.output_tokens == made);
    PX_CHECK(one.done.logprob_sum == best.summed[0]);
    px_engine_close(engine);
}

PX_TEST(answers_end_one_by_one_and_each_keeps_to_the_form)
{
    fake_model model = roomy();
    px_engine *engine = fake_open(&model, &bell);
    px_request request = asking(5, 0);
    request.bounds.has_form = true;
    request.bounds.form_kind = PX_GRAMMAR_REGEX;
    request.bounds.form = (px_slice){"[ab]{2,9}c", 10};
    answers a = ask(engine, &request);
    PX_CHECK(a.answered == 5 && px_is_ok(a.done.status));
    for (uint32_t i = 0; i < 5; i++) {
        answers one = alone(engine, request, i);
        check_same(&a, i, &one, 0);
        PX_CHECK(a.finishes[i] == PX_FINISH_STOP && a.ids[i][a.counts[i] - 1] == 'c');
    }
    request.bounds.form = (px_slice){"[", 1};
    a = ask(engine, &request);
    PX_CHECK(a.done.status.code == PX_INVALID_ARGUMENT && a.answered == 0);
    px_engine_close(engine);
}

/* Whenever it comes: before the prompt is computed, between, while answers are made. */
PX_TEST(cancelling_ends_all_answers_and_frees_their_blocks)
{
    for (int64_t wait_ms = 0; wait_ms < 30; wait_ms += 3) {
        fake_model model = roomy();
        model.step_ns = PX_MS;
        model.rows = 16; /* the prompt takes three steps */
        px_engine *engine = fake_open(&model, &bell);
        px_request request = asking(6, wait_ms % 2 ? 8 : 6);
        request.max_tokens = 200;
        answers a = {.id = 0};
        PX_CHECK_OK(px_engine_submit(engine, &request, &a.id));
        px_sleep_ns(wait_ms * PX_MS);
        px_engine_cancel(engine, a.id);
        px_event event;
        do PX_REQUIRE(fake_next(engine, &bell, &event));
        while (event.kind != PX_EVENT_DONE);
        PX_CHECK(event.status.code == PX_CANCELLED);
        px_engine_stats stats;
        int64_t give_up_ns = px_now_ns() + 5 * PX_SEC;
        do px_engine_get_stats(engine, &stats);
        while (stats.kv_blocks_free != model.blocks && px_now_ns() < give_up_ns);
        PX_CHECK(stats.kv_blocks_free == model.blocks && !stats.running && !stats.waiting);
        answers next = ask(
            engine, &(px_request){.prompt = {"x", 1}, .max_tokens = 3, .sampling = {.top_p = 1}});
        PX_CHECK(px_is_ok(next.done.status)); /* its slots can be used again */
        px_engine_close(engine);
    }
}

PX_TEST(one_that_fails_ends_them_all)
{
    fake_model model = roomy();
    px_engine *engine = fake_open(&model, &bell);
    px_request request = asking(8, 0);
    static const uint32_t allowed[] = {'a', 'b', 'c'};
    request.sampling = (px_sampling){.temperature = 5, .top_p = 1, .seed = 1}; /* b or c */
    request.bounds.allowed = (px_token_list){allowed, 3};
    request.wants_logprobs = true;  /* nothing is forced then */
    request.bounds.has_form = true; /* whoever says c comes to where nothing is allowed */
    request.bounds.form_kind = PX_GRAMMAR_REGEX;
    request.bounds.form = (px_slice){"a(b{3}|cccd)", 12};
    answers a = ask(engine, &request);
    PX_CHECK(a.done.status.code == PX_INVALID_ARGUMENT && a.done.finish == PX_FINISH_ERROR);
    PX_CHECK(a.answered > 0 && a.answered < 8); /* some had ended well before */
    px_engine_close(engine);
}

PX_TEST(what_cannot_be_is_refused_with_a_sentence)
{
    fake_model model = roomy();
    model.queue_max = 4;
    px_engine *engine = fake_open(&model, &bell);
    static const uint32_t bad[][2] = {{129, 0}, {1, 129}, {UINT32_MAX, 0}, {3, 2}, {0, UINT32_MAX},
        {21, 0} /* of 20 sequences that may be there */};
    uint64_t id;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        px_request request = asking(bad[i][0], bad[i][1]);
        px_status status = px_engine_submit(engine, &request, &id);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && status.text[0]);
    }
    px_request request = asking(2, 0);
    request.resumed = (px_token_list){(uint32_t[]){'a'}, 1};
    PX_CHECK(px_engine_submit(engine, &request, &id).code == PX_INVALID_ARGUMENT);
    request = asking(16, 0);
    PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    px_status status = px_engine_submit(engine, &request, &id);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && status.retry_ms);
    px_engine_close(engine); /* with all of them in flight */
}

PX_TEST_MAIN()
