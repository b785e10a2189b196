/* test_engine_vectors.c - vectors of texts through the whole engine, over a real (tiny, random)
 * model: the same bits whatever the batch, the chunks and what is known; labels and lengths right.
 */
#include "test.h"

#include "base/clock.h"
#include "engine/doorbell.h"
#include "engine/engine.h"
#include "tiny_model.h"

enum { INPUTS = 7, LABELS = 3, LONGEST = 120 };

static char folder[] = "/tmp/px_vectors_XXXXXX";
static px_doorbell bell;
static uint32_t tokens[INPUTS][LONGEST];
static px_input inputs[INPUTS];

static void on_wake(void *arg)
{
    px_doorbell_ring(&bell);
}

/* They share their beginnings. */
static void make_inputs(void)
{
    for (uint32_t i = 0; i < INPUTS; i++) {
        uint32_t count = i ? 17 * i : 1;
        for (uint32_t k = 0; k < count; k++) tokens[i][k] = (k < 30 ? k * 7 : k * (i + 3)) % 300;
        inputs[i] = (px_input){.tokens = tokens[i], .token_count = count};
    }
}

static px_engine *open_with(px_engine_options options)
{
    px_engine *engine = NULL;
    options.model_path = folder;
    options.on_wake = on_wake;
    PX_CHECK_OK(px_engine_open(&options, NULL, &engine));
    return engine;
}

static px_event next(px_engine *engine)
{
    px_event event = {.kind = PX_EVENT_DONE};
    int64_t give_up_ns = px_now_ns() + 30 * PX_SEC;
    for (;;) {
        uint32_t seen = px_doorbell_look(&bell);
        if (px_engine_poll(engine, &event)) return event;
        if (px_now_ns() > give_up_ns) return event;
        px_doorbell_wait(&bell, seen, PX_SEC);
    }
}

typedef struct vectors {
    float values[INPUTS][TINY_HIDDEN];
    uint32_t counts[INPUTS], answered;
    px_event done;
} vectors;

static vectors ask(px_engine *engine, px_wanted_vectors wanted)
{
    vectors v = {.answered = 0};
    uint64_t id;
    px_request request = {.vectors = wanted};
    if (!wanted.inputs) {
        request.vectors.inputs = inputs;
        request.vectors.input_count = INPUTS;
    }
    PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    while ((v.done = next(engine)).kind != PX_EVENT_DONE) {
        uint32_t i = v.done.index;
        PX_CHECK(v.done.kind == PX_EVENT_ANSWERED && v.done.id == id && !v.counts[i]);
        PX_CHECK(v.done.prompt_tokens == request.vectors.inputs[i].token_count);
        v.counts[i] = v.done.value_count;
        memcpy(v.values[i], v.done.values, v.counts[i] * sizeof *v.values[i]);
        v.answered++;
    }
    PX_CHECK_OK(v.done.status);
    PX_CHECK(v.answered == request.vectors.input_count && v.done.output_tokens == 0);
    return v;
}

static double length_of(const float *values, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

PX_TEST(vectors_are_the_same_bits_whatever_happens_around_them)
{
    static const px_engine_options options[] = {{.batch_size = 512},
        {.batch_size = 3, .scale_factor = 1, .seqs_max = 2, .threads = 2},
        {.batch_size = 40, .seqs_max = 3, .context_max = 160, .kv_tokens = 160},
        {.batch_size = 64, .no_prefix_cache = true}};
    static vectors known[PX_POOL_COUNT];
    make_inputs();
    tiny_model_write(folder);
    for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
        px_engine *engine = open_with(options[o]);
        for (int again = 0; again < 2; again++) /* the second time the texts are known */
            for (int pool = PX_POOL_LAST; pool < PX_POOL_COUNT; pool++) {
                vectors v = ask(engine, (px_wanted_vectors){.pool = (px_pool)pool});
                if (!known[pool].answered) known[pool] = v;
                PX_CHECK(memcmp(v.values, known[pool].values, sizeof v.values) == 0);
                bool serves = pool == PX_POOL_LAST && again && !options[o].no_prefix_cache;
                if (o == 0) PX_CHECK((v.done.cached_tokens > 300) == serves);
            }
        px_engine_close(engine);
    }
    for (int pool = PX_POOL_LAST; pool < PX_POOL_COUNT; pool++) {
        for (uint32_t i = 0; i < INPUTS; i++) /* usual for what says nothing: normed */
            PX_CHECK(fabs(length_of(known[pool].values[i], TINY_HIDDEN) - 1) < 1e-6);
        PX_CHECK(memcmp(known[pool].values[0], known[1].values[0], sizeof known[0].values[0]) == 0);
        if (pool > 1) PX_CHECK(memcmp(known[pool].values[3], known[1].values[3], 64) != 0);
    }
}

PX_TEST(lengths_and_dimensions_are_what_was_asked_for)
{
    px_engine *engine = open_with((px_engine_options){.batch_size = 64});
    vectors plain = ask(engine, (px_wanted_vectors){.norm = PX_NORM_NONE});
    vectors normed = ask(engine, (px_wanted_vectors){.norm = PX_NORM_ONE});
    vectors cut = ask(engine, (px_wanted_vectors){.dimensions = 10});
    vectors rough = ask(engine, (px_wanted_vectors){.dimensions = 10, .norm = PX_NORM_NONE});
    for (uint32_t i = 0; i < INPUTS; i++) {
        double all = length_of(plain.values[i], TINY_HIDDEN), ten = length_of(plain.values[i], 10);
        PX_CHECK(fabs(all - 1) > 1e-3 && cut.counts[i] == 10 && rough.counts[i] == 10);
        PX_CHECK(memcmp(rough.values[i], plain.values[i], 10 * sizeof(float)) == 0);
        for (uint32_t k = 0; k < TINY_HIDDEN; k++)
            PX_CHECK(fabs(normed.values[i][k] - plain.values[i][k] / all) < 1e-6);
        for (uint32_t k = 0; k < 10; k++)
            PX_CHECK(fabs(cut.values[i][k] - plain.values[i][k] / ten) < 1e-6);
    }
    px_engine_close(engine);
}

/* A label's log probability is what the prompt's is told to be with the label as its last token. */
PX_TEST(labels_are_weighed_as_tokens_are)
{
    static const uint32_t labels[LABELS] = {5, 299, 123};
    px_engine *engine = open_with((px_engine_options){.batch_size = 64});
    vectors v = ask(engine, (px_wanted_vectors){.labels = {labels, LABELS}});
    for (uint32_t i = 0; i < INPUTS; i++)
        for (uint32_t k = 0; k < LABELS; k++) {
            uint32_t text[LONGEST + 1], count = (uint32_t)inputs[i].token_count;
            memcpy(text, inputs[i].tokens, count * sizeof *text);
            text[count] = labels[k];
            px_request request = {.tokens = text,
                .token_count = count + 1,
                .max_tokens = 1,
                .wants_prompt_logprobs = true,
                .sampling = {.top_p = 1}};
            uint64_t id;
            PX_CHECK_OK(px_engine_submit(engine, &request, &id));
            px_event event, last = {0};
            while ((event = next(engine)).kind != PX_EVENT_DONE)
                if (event.kind == PX_EVENT_PROMPT) last = event;
            PX_CHECK(fabs((double)last.logprobs.picked.logprob - (double)v.values[i][k]) < 1e-5);
        }
    px_engine_close(engine);
}

PX_TEST(what_cannot_be_is_refused_and_cancelling_ends_all)
{
    px_engine *engine = open_with((px_engine_options){.batch_size = 8, .queue_max = 10});
    static const uint32_t beyond[] = {300};
    const px_input bad[] = {inputs[0], {.tokens = beyond, .token_count = 1}},
                   empty = {.text = {"", 0}};
    static px_input many[200];
    for (int i = 0; i < 200; i++) many[i] = inputs[0];
    const px_wanted_vectors wrong[] = {{.inputs = bad, .input_count = 2},
        {.inputs = &empty, .input_count = 1}, {.inputs = many, .input_count = 200},
        {.inputs = inputs, .input_count = 1, .dimensions = TINY_HIDDEN + 1},
        {.inputs = inputs, .input_count = 1, .labels = {beyond, 1}},
        {.inputs = inputs, .input_count = 1, .labels = {beyond, PX_LABELS_MAX + 1}}};
    uint64_t id;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        px_request request = {.vectors = wrong[i]};
        px_status status = px_engine_submit(engine, &request, &id);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && status.text[0]);
    }
    px_request request = {.vectors = {.inputs = inputs, .input_count = INPUTS}};
    PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    px_engine_cancel(engine, id);
    px_event event;
    do event = next(engine);
    while (event.kind != PX_EVENT_DONE);
    PX_CHECK(event.status.code == PX_CANCELLED || px_is_ok(event.status));
    ask(engine, (px_wanted_vectors){.pool = PX_POOL_MEAN});
    px_engine_stats stats;
    int64_t give_up_ns = px_now_ns() + 5 * PX_SEC; /* told by the turn after */
    do px_engine_get_stats(engine, &stats);
    while (stats.kv_blocks_free != stats.kv_blocks && px_now_ns() < give_up_ns);
    PX_CHECK(stats.kv_blocks_free == stats.kv_blocks);
    px_engine_close(engine);
    tiny_model_remove(folder);
}

PX_TEST_MAIN()
