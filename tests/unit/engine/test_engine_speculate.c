/* test_engine_speculate.c - guessed tokens change how fast an answer comes and nothing else.
 *
 * The same requests, of every kind there is, go through an engine that guesses nothing and through
 * others that guess from the text itself, by a draft model that is always right, and by one that is
 * often wrong; in a pool so small that some are turned out. The fake forward makes every answer
 * depend on all KV that it should have read: a place written by a wrong guess and read, shared or
 * kept would change it. So would the draft's own places: it is always right only if none is wrong.
 */
#include "test.h"

#include "engine/random.h"

#include "fake_engine.h"

enum { REQUESTS = 24, ENGINES = 4, ANSWER_MAX = 120, SLOTS = 6, BLOCKS = 20 };

static px_doorbell bell;

typedef struct told { /* an answer, and the log probabilities beside it */
    fake_answer answer;
    px_logprobs logprobs[ANSWER_MAX + 1];
    uint32_t logprob_count;
} told;

static told answers[ENGINES][REQUESTS];

/* Every one is different in what may get in the way of a guess. */
static px_request request_of(uint32_t index, px_slice *words, px_token_bias *bias)
{
    static const char *const prompts[] = {
        "Say it again and again and again: ", "one two three one two three one two",
        "xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxy", "The quick brown fox"};
    const char *prompt = prompts[index % 4];
    px_request request = {.prompt = {prompt, strlen(prompt)},
        .max_tokens = 30 + index * 7 % 90,
        .sampling = {.temperature = index % 3 ? 0.35f : 0, .top_p = 1, .seed = index}};
    px_bounds *bounds = &request.bounds;
    switch (index / 4) {
    case 1:
        bounds->repetition_penalty = 1.2f;
        bounds->frequency_penalty = 0.4f;
        bounds->presence_penalty = 0.2f;
        break;
    case 2:
        request.wants_logprobs = true;
        request.top_logprobs = 3;
        request.sampling.top_k = 20;
        break;
    case 3:
        *words = (px_slice){"th", 2};
        bounds->bad_words = words;
        bounds->bad_word_count = 1;
        *bias = (px_token_bias){'q', 1.5f};
        bounds->biases = bias;
        bounds->bias_count = 1;
        bounds->min_tokens = 25;
        break;
    case 4:
        bounds->has_form = true;
        bounds->form_kind = PX_GRAMMAR_REGEX;
        bounds->form = (px_slice){"(abc[a-m]{3}-){4,9}end of it", 28};
        break;
    case 5:
        request.stops[0] = (px_slice){"ee", 2};
        request.stops[1] = (px_slice){"zz", 2};
        request.stop_count = 2;
        request.ignore_eos = true;
        break;
    }
    return request;
}

static void take(told *all, const px_event *event)
{
    told *one = all;
    while (one->answer.id != event->id) one++;
    if (event->has_logprobs && one->logprob_count <= ANSWER_MAX)
        one->logprobs[one->logprob_count++] = event->logprobs;
    fake_take(&one->answer, event);
}

static px_engine_stats run(fake_model *model, told *all)
{
    px_engine *engine = fake_open(model, &bell);
    px_engine_stats stats = {0};
    PX_CHECK(engine);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        px_slice words;
        px_token_bias bias;
        px_request request = request_of(i, &words, &bias);
        all[i] = (told){0};
        PX_CHECK_OK(px_engine_submit(engine, &request, &all[i].answer.id));
    }
    px_event event;
    for (uint32_t done = 0; done < REQUESTS && fake_next(engine, &bell, &event);) {
        take(all, &event);
        done += event.kind == PX_EVENT_DONE;
    }
    px_engine_get_stats(engine, &stats);
    px_engine_close(engine);
    return stats;
}

static void check_same(const told *got, const told *want)
{
    const fake_answer *a = &got->answer, *b = &want->answer;
    PX_CHECK(a->is_done && b->is_done);
    PX_CHECK(a->count == b->count && memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0);
    PX_CHECK_STR(a->text, b->text);
    PX_CHECK(a->done.finish == b->done.finish && a->done.output_tokens == b->done.output_tokens);
    PX_CHECK(a->done.status.code == b->done.status.code);
    PX_CHECK(got->logprob_count == want->logprob_count);
    for (uint32_t i = 0; i < got->logprob_count; i++)
        PX_CHECK(memcmp(&got->logprobs[i], &want->logprobs[i], sizeof got->logprobs[i]) == 0);
}

static fake_model model_of(px_guesser guesser, fake_model *draft)
{
    return (fake_model){.slots = SLOTS,
        .rows = 96,
        .blocks = BLOCKS,
        .park_slots = 12,
        .context = 256,
        .queue_max = 64,
        .step_ns = 200 * 1000, /* rows cost nothing: everything that has a chance is tried */
        .guesser = guesser,
        .draft = draft};
}

static void check_engines(const char *script)
{
    fake_model right = {.script = script}, wrong = {.script = script, .wrong_every = 3};
    fake_model drafts[ENGINES] = {{0}, {0}, right, wrong};
    static const px_guesser guessers[ENGINES] = {
        PX_GUESS_NONE, PX_GUESS_LOOKUP, PX_GUESS_DRAFT, PX_GUESS_DRAFT};
    px_engine_stats stats[ENGINES];
    uint64_t preemptions = 0;
    for (uint32_t e = 0; e < ENGINES; e++) {
        drafts[e].slots = SLOTS;
        drafts[e].blocks = BLOCKS;
        fake_model model = model_of(guessers[e], &drafts[e]);
        model.script = script;
        stats[e] = run(&model, answers[e]);
        for (uint32_t i = 0; i < REQUESTS; i++) check_same(&answers[e][i], &answers[0][i]);
        printf("     %llu steps; of %llu tokens guessed %llu were right; %llu preemptions\n",
            (unsigned long long)stats[e].steps, (unsigned long long)stats[e].proposed,
            (unsigned long long)stats[e].accepted, (unsigned long long)stats[e].preemptions);
        preemptions += stats[e].preemptions;
    }
    PX_CHECK(preemptions > 0 && stats[0].proposed == 0);
    PX_CHECK(stats[1].proposed > 10 && stats[1].accepted < stats[1].proposed);
    /* What a form forces is said without being drawn, and the guess may have been another. */
    PX_CHECK(stats[2].proposed > 300 && stats[2].accepted > stats[2].proposed * 9 / 10);
    PX_CHECK(stats[2].steps < stats[0].steps * 2 / 3);
    PX_CHECK(stats[3].proposed > 100 && stats[3].accepted < stats[3].proposed * 9 / 10);
}

PX_TEST(answers_are_the_same_with_and_without_guesses)
{
    check_engines(NULL);
}

PX_TEST(answers_that_repeat_themselves_are_the_same_too)
{
    check_engines("the same words over and over and the same words over $");
}

PX_TEST_MAIN()
