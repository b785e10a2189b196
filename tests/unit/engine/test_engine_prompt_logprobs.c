/* test_engine_prompt_logprobs.c - each token of a prompt is told with its log probability, once, in
 * order and before the answer, whatever else runs and whatever is known of the prompt.
 */
#include "test.h"

#include "engine/random.h"

#include "fake_engine.h"

enum { CONTEXT = 256, PROMPT_MAX = 100, ANSWER = 30, REQUESTS = 12, TOP = 3 };

static px_doorbell bell;

typedef struct asked {
    uint64_t id;
    uint32_t tokens[PROMPT_MAX], count;
    uint32_t told, answered; /* events so far */
    bool is_done, wants_prompt;
} asked;

static void make_prompt(asked *a, uint32_t index)
{
    a->count = 1 + index * 9;
    for (uint32_t i = 0; i < a->count; i++) /* they share their beginnings */
        a->tokens[i] = 'a' + (i < 40 ? i % 7 : i * (index + 2) % 11);
}

static px_request request_of(asked *a)
{
    return (px_request){.tokens = a->tokens,
        .token_count = a->count,
        .max_tokens = ANSWER,
        .ignore_eos = true,
        .wants_prompt_logprobs = a->wants_prompt,
        .top_prompt_logprobs = TOP,
        .sampling = {.top_p = 1}};
}

/* What the fake model finds of the token at `position`. */
static px_logprobs expected(const fake_model *model, const asked *a, uint32_t position)
{
    float logits[FAKE_VOCABULARY];
    uint64_t state = 0;
    px_logprobs want;
    for (uint32_t i = 0; i < position; i++) state = fake_mix(state, a->tokens[i]);
    fake_logits(model, state, position - 1, logits);
    px_logprob_row row = {logits, FAKE_VOCABULARY, a->tokens[position], TOP};
    px_logprobs_of(&row, &want);
    return want;
}

static void check_event(const fake_model *model, asked *a, const px_event *event)
{
    PX_CHECK(!a->is_done);
    a->is_done = event->kind == PX_EVENT_DONE;
    if (a->is_done) {
        PX_CHECK(px_is_ok(event->status));
        PX_CHECK(a->told == (a->wants_prompt ? a->count : 0) && a->answered == ANSWER);
        if (a->wants_prompt) PX_CHECK(event->cached_tokens == 0);
    } else if (event->kind == PX_EVENT_TOKEN) {
        a->answered++;
    } else {
        PX_CHECK(event->kind == PX_EVENT_PROMPT && event->has_token && !a->answered);
        PX_CHECK(event->token == a->tokens[a->told] && event->has_logprobs == (a->told > 0));
        if (event->has_logprobs) {
            px_logprobs want = expected(model, a, a->told), got = event->logprobs;
            PX_CHECK(got.picked.token == want.picked.token && got.rank == want.rank);
            PX_CHECK(got.picked.logprob == want.picked.logprob && got.top_count == TOP);
            PX_CHECK(memcmp(got.top, want.top, TOP * sizeof *got.top) == 0);
        }
        a->told++;
    }
}

static void run_all(px_engine *engine, const fake_model *model, asked *all, uint32_t count)
{
    for (uint32_t open = count; open;) {
        px_event event;
        uint32_t i = 0;
        PX_REQUIRE(fake_next(engine, &bell, &event));
        while (all[i].id != event.id) i++;
        check_event(model, &all[i], &event);
        open -= all[i].is_done;
    }
}

/* Prompts that tell and prompts that do not, cut into chunks by the step's rows and by the room for
 * logits, some computed before, in pools that turn them out. */
PX_TEST(every_token_of_a_prompt_is_told_once_and_in_order)
{
    uint64_t preemptions = 0, recomputed = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        fake_model model = {.slots = 1 + (uint32_t)(px_random_unit(seed, 0) * 8),
            .context = CONTEXT,
            .queue_max = 2 * REQUESTS,
            .blocks = 9 + (uint32_t)(px_random_unit(seed, 1) * 20),
            .park_slots = seed % 3 ? 0 : 30,
            .logit_rows_more = (uint32_t)(px_random_unit(seed, 2) * 30)};
        model.rows = model.slots + (uint32_t)(px_random_unit(seed, 3) * 40);
        px_engine *engine = fake_open(&model, &bell);
        for (int round = 0; round < 2; round++) { /* the second time much is known */
            asked all[REQUESTS] = {{0}};
            for (uint32_t i = 0; i < REQUESTS; i++) {
                make_prompt(&all[i], (i * 5 + (uint32_t)seed) % 11);
                all[i].wants_prompt = px_random_unit(seed, 10 + i) < 0.6;
                px_request request = request_of(&all[i]);
                PX_CHECK_OK(px_engine_submit(engine, &request, &all[i].id));
            }
            run_all(engine, &model, all, REQUESTS);
        }
        px_engine_stats stats;
        px_engine_get_stats(engine, &stats);
        preemptions += stats.preemptions;
        recomputed += stats.recomputed_tokens;
        px_engine_close(engine);
    }
    printf("     %llu preemptions, %llu tokens computed again\n", (unsigned long long)preemptions,
        (unsigned long long)recomputed);
    PX_CHECK(preemptions > 50 && recomputed > 50); /* it did happen */
}

PX_TEST(of_several_answers_the_prompt_is_told_once_and_at_once)
{
    fake_model model = {.slots = 8, .rows = 64, .blocks = 100, .context = CONTEXT};
    px_engine *engine = fake_open(&model, &bell);
    asked a = {.wants_prompt = true};
    make_prompt(&a, 5);
    px_request request = request_of(&a);
    request.best_of = 4;
    request.sampling.temperature = 1;
    PX_CHECK_OK(px_engine_submit(engine, &request, &a.id));
    run_all(engine, &model, &a, 1);
    px_engine_close(engine);
}

PX_TEST(what_cannot_be_told_is_refused)
{
    fake_model model = {.slots = 2, .rows = 64, .blocks = 100, .context = CONTEXT};
    px_engine *engine = fake_open(&model, &bell);
    asked a = {.wants_prompt = true};
    make_prompt(&a, 5);
    px_request request = request_of(&a);
    request.top_prompt_logprobs = PX_TOP_LOGPROBS_MAX + 1;
    PX_CHECK(px_engine_submit(engine, &request, &a.id).code == PX_INVALID_ARGUMENT);
    request = request_of(&a);
    request.resumed = (px_token_list){a.tokens, 1};
    PX_CHECK(px_engine_submit(engine, &request, &a.id).code == PX_INVALID_ARGUMENT);
    px_engine_close(engine);
}

PX_TEST_MAIN()
