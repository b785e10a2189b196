/* test_engine_adapters.c - LoRA adapters through the whole engine, over a tiny random model:
 * several in one batch, loaded and unloaded while serving, and what is wrong with one said.
 *
 * That the logits are right is the golden tests' matter; here: an answer does not depend on its
 * company, on ranks or on what the cache holds of others.
 */
#include "test.h"

#include "base/clock.h"
#include "engine/doorbell.h"
#include "group.h"
#include "tiny_adapter.h"

enum { REQUESTS = 24, ANSWER_MAX = 40, ADAPTERS = 3 };

static char model[] = "/tmp/px_tiny_XXXXXX";
static char adapters[ADAPTERS][40];
static const char *const names[] = {"", "one", "two", "three"};
static px_doorbell bell;

static void on_wake(void *arg)
{
    (void)arg;
    px_doorbell_ring(&bell);
}

static px_slice slice(const char *text)
{
    return (px_slice){text, strlen(text)};
}

typedef struct answers {
    uint32_t ids[REQUESTS][ANSWER_MAX], count[REQUESTS], cached[REQUESTS];
    px_status status[REQUESTS];
} answers;

/* The next event; fails the test when none comes. */
static px_event next_event(px_engine *engine)
{
    px_event event = {.kind = PX_EVENT_DONE, .status = px_fail(PX_UNKNOWN, "no event")};
    for (int64_t end_ns = px_now_ns() + 60 * PX_SEC; px_now_ns() < end_ns;) {
        uint32_t seen = px_doorbell_look(&bell);
        if (px_engine_poll(engine, &event)) return event;
        px_doorbell_wait(&bell, seen, PX_SEC);
    }
    PX_CHECK_OK(event.status);
    return event;
}

/* Takes events until one ends: a request (its number) or an adapter's job (-1, *out_status). */
static int take_end(px_engine *engine, const uint64_t *ids, answers *out, px_status *out_status)
{
    for (;;) {
        px_event event = next_event(engine);
        int i = 0;
        if (event.kind == PX_EVENT_ADAPTER) {
            *out_status = event.status;
            return -1;
        }
        while (i < REQUESTS - 1 && ids[i] != event.id) i++;
        if (event.kind == PX_EVENT_DONE) {
            out->cached[i] = event.cached_tokens;
            out->status[i] = event.status;
            return i;
        }
        if (event.has_token) out->ids[i][out->count[i]++] = event.token;
    }
}

static px_status load(px_engine *engine, const char *name, const char *path)
{
    uint64_t id, none[REQUESTS] = {0};
    answers unused;
    px_status status = px_engine_load_adapter(engine, slice(name), slice(path), &id);
    if (px_is_ok(status)) (void)take_end(engine, none, &unused, &status);
    return status;
}

static px_status unload(px_engine *engine, const char *name)
{
    uint64_t id, none[REQUESTS] = {0};
    answers unused;
    px_status status = px_engine_unload_adapter(engine, slice(name), &id);
    if (px_is_ok(status)) (void)take_end(engine, none, &unused, &status);
    return status;
}

static void load_all(px_engine *engine)
{
    for (int i = 0; i < ADAPTERS; i++) PX_CHECK_OK(load(engine, names[i + 1], adapters[i]));
}

/* Request `index`: adapter index % 4, in turn with none. */
static uint64_t submit(px_engine *engine, uint32_t index)
{
    uint32_t tokens[128];
    uint64_t id = 0;
    px_request request = {.tokens = tokens,
        .token_count = 1 + (size_t)(px_random_unit(index, 0) * 90),
        .max_tokens = 1 + (uint32_t)(px_random_unit(index, 1) * (ANSWER_MAX - 1)),
        .ignore_eos = true,
        .adapter = slice(names[index % (ADAPTERS + 1)]),
        .sampling = {.temperature = index % 3 ? 1.0f : 0, .top_p = 1, .seed = index}};
    for (uint32_t i = 0; i < request.token_count; i++)
        tokens[i] = (uint32_t)(px_random_unit(index, 2 + i) * TINY_VOCABULARY);
    PX_CHECK_OK(px_engine_submit(engine, &request, &id));
    return id;
}

static void run_group(px_engine_options options, bool together, answers *out)
{
    group g;
    uint64_t ids[REQUESTS] = {0};
    px_status unused;
    options.model_path = model;
    options.on_wake = on_wake;
    memset(out, 0, sizeof *out);
    PX_REQUIRE(group_open(&g, options));
    load_all(g.engine);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        ids[i] = submit(g.engine, i);
        if (!together) PX_CHECK(take_end(g.engine, ids, out, &unused) == (int)i);
    }
    for (uint32_t i = 0; together && i < REQUESTS; i++)
        PX_CHECK(take_end(g.engine, ids, out, &unused) >= 0);
    for (uint32_t i = 0; i < REQUESTS; i++) PX_CHECK_OK(out->status[i]);
    group_close(&g);
}

static bool is_same(const answers *a, uint32_t i, const answers *b, uint32_t j)
{
    return a->count[i] == b->count[j] &&
           memcmp(a->ids[i], b->ids[j], a->count[i] * sizeof(uint32_t)) == 0;
}

static uint32_t difference(const answers *a, const answers *b)
{
    uint32_t different = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) different += !is_same(a, i, b, i);
    return different;
}

/* --- one batch ---------------------------------------------------------------------------- */

static answers alone; /* each request by itself: what all others are compared with */

PX_TEST(three_adapters_and_none_in_a_batch_answer_as_each_alone)
{
    static const px_engine_options ways[] = {
        {.tp = 1, .pp = 1, .threads = 1, .seqs_max = REQUESTS},
        {.tp = 1, .pp = 1, .threads = 2, .seqs_max = 7, .batch_size = 7},
        {.tp = 1, .pp = 1, .threads = 3, .seqs_max = 5, .batch_size = 100, .kv_tokens = 160},
    };
    static answers got;
    tiny_model_write(model);
    for (int i = 0; i < ADAPTERS; i++) {
        static const uint32_t ranks[ADAPTERS] = {4, 1, 17};
        snprintf(adapters[i], sizeof adapters[i], "/tmp/px_tiny_adapter_XXXXXX");
        tiny_adapter_write(adapters[i], (tiny_adapter){.seed = 1 + (uint64_t)i, .rank = ranks[i]});
    }
    run_group((px_engine_options){.tp = 1, .pp = 1, .threads = 1, .seqs_max = 1}, false, &alone);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        run_group(ways[i], true, &got);
        PX_CHECK(difference(&got, &alone) == 0);
    }
}

PX_TEST(ranks_change_no_token_with_adapters)
{
    static const px_engine_options ways[] = {
        {.tp = 2, .pp = 1, .threads = 1},
        {.tp = 3, .pp = 1, .threads = 2},
        {.tp = 1, .pp = 2, .threads = 1},
        {.tp = 2, .pp = 2, .threads = 1},
    };
    static answers got;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        run_group(ways[i], true, &got);
        PX_CHECK(difference(&got, &alone) == 0);
    }
}

/* --- coming and going --------------------------------------------------------------------- */

static px_status submit_greedy(
    px_engine *engine, const char *adapter, uint32_t max_tokens, uint64_t *out_id)
{
    uint32_t tokens[40];
    for (uint32_t i = 0; i < 40; i++) tokens[i] = i * 7 % TINY_VOCABULARY;
    px_request request = {.tokens = tokens,
        .token_count = 40,
        .max_tokens = max_tokens,
        .ignore_eos = true,
        .adapter = slice(adapter),
        .sampling = {.top_p = 1}};
    return px_engine_submit(engine, &request, out_id);
}

PX_TEST(adapters_come_and_go_while_requests_run)
{
    group g;
    static answers got;
    uint64_t ids[REQUESTS] = {0}, job;
    px_status status;
    uint32_t jobs = 0, loaded_at = 0, ended = 0;
    PX_REQUIRE(group_open(&g, (px_engine_options){.model_path = model,
                                  .tp = 2,
                                  .pp = 1,
                                  .threads = 1,
                                  .seqs_max = 8,
                                  .on_wake = on_wake}));
    PX_CHECK_OK(load(g.engine, "one", adapters[0]));
    memset(&got, 0, sizeof got);
    for (uint32_t i = 0; i < 8; i++)
        PX_CHECK_OK(submit_greedy(g.engine, i % 2 ? "one" : "", ANSWER_MAX, &ids[i]));
    PX_CHECK_OK(px_engine_load_adapter(g.engine, slice("two"), slice(adapters[1]), &job));
    PX_CHECK_OK(px_engine_unload_adapter(g.engine, slice("one"), &job));
    PX_CHECK(px_engine_unload_adapter(g.engine, slice("one"), &job).code == PX_FAILED_PRECONDITION);
    PX_CHECK(submit_greedy(g.engine, "one", 1, &ids[8]).code == PX_NOT_FOUND);
    while (jobs < 2 || ended < 8) {
        if (take_end(g.engine, ids, &got, &status) >= 0) {
            ended++;
            continue;
        }
        PX_CHECK_OK(status);
        if (jobs++ == 0) loaded_at = ended;
    }
    PX_CHECK(loaded_at < 8); /* beside what ran; the unloading waited for those that had it */
    for (uint32_t i = 0; i < 8; i++) PX_CHECK_OK(got.status[i]);
    for (uint32_t i = 2; i < 8; i++) PX_CHECK(is_same(&got, i, &got, i % 2));
    PX_CHECK(!is_same(&got, 0, &got, 1));

    status = submit_greedy(g.engine, "one", 1, &ids[8]);
    PX_CHECK(status.code == PX_NOT_FOUND && strstr(status.text, "loaded are 'two'"));
    px_adapter_info info;
    PX_CHECK(px_engine_adapter_at(g.engine, 0, &info) && strcmp(info.name, "two") == 0);
    PX_CHECK(info.is_ready && info.bytes > 0 && !info.requests);
    PX_CHECK(!px_engine_adapter_at(g.engine, 1, &info));
    PX_CHECK_OK(unload(g.engine, "two"));
    PX_CHECK(unload(g.engine, "two").code == PX_NOT_FOUND);
    group_close(&g);
}

PX_TEST(what_one_adapter_computed_is_not_found_by_another)
{
    group g;
    static answers got;
    static const char *const order[] = {"", "one", "", "one", "two", "one"};
    uint64_t ids[REQUESTS] = {0};
    px_status status;
    memset(&got, 0, sizeof got);
    PX_REQUIRE(group_open(
        &g, (px_engine_options){
                .model_path = model, .tp = 1, .pp = 1, .threads = 1, .on_wake = on_wake}));
    load_all(g.engine);
    for (uint32_t i = 0; i < 6; i++) {
        if (i == 5) { /* of the same name, but with other weights */
            PX_CHECK_OK(unload(g.engine, "one"));
            PX_CHECK_OK(load(g.engine, "one", adapters[1]));
        }
        PX_CHECK_OK(submit_greedy(g.engine, order[i], ANSWER_MAX, &ids[i]));
        PX_CHECK(take_end(g.engine, ids, &got, &status) == (int)i);
    }
    PX_CHECK(!got.cached[0] && !got.cached[1] && !got.cached[4] && !got.cached[5]);
    PX_CHECK(got.cached[2] && got.cached[3]);
    PX_CHECK(is_same(&got, 2, &got, 0) && is_same(&got, 3, &got, 1) && is_same(&got, 5, &got, 4));
    PX_CHECK(!is_same(&got, 0, &got, 1) && !is_same(&got, 1, &got, 4));
    group_close(&g);
}

/* --- vectors of texts --------------------------------------------------------------------- */

enum { INPUTS = 3, INPUT_TOKENS = 40, LABELS = 4 };

typedef struct vectors {
    uint64_t id;
    float values[INPUTS][TINY_HIDDEN];
    uint32_t answered;
} vectors;

/* Of the same texts for every adapter; pooled, or how likely LABELS tokens are behind each. */
static void ask(px_engine *engine, const char *adapter, bool labelled, vectors *out)
{
    static const uint32_t labels[LABELS] = {3, 50, 150, 299};
    uint32_t tokens[INPUTS][INPUT_TOKENS];
    px_input inputs[INPUTS];
    for (uint32_t i = 0; i < INPUTS; i++) {
        for (uint32_t k = 0; k < INPUT_TOKENS; k++) tokens[i][k] = (k * (i + 3) + i) % 300;
        inputs[i] = (px_input){.tokens = tokens[i], .token_count = INPUT_TOKENS - 9 * i};
    }
    px_request request = {.adapter = slice(adapter),
        .vectors = {.inputs = inputs,
            .input_count = INPUTS,
            .labels = {labels, labelled ? LABELS : 0},
            .pool = PX_POOL_MEAN}};
    memset(out, 0, sizeof *out);
    PX_CHECK_OK(px_engine_submit(engine, &request, &out->id));
}

/* Takes the vectors of `count` requests that run. */
static void take_vectors(px_engine *engine, vectors *all, uint32_t count)
{
    for (uint32_t done = 0; done < count;) {
        px_event event = next_event(engine);
        uint32_t r = 0;
        while (r < count - 1 && all[r].id != event.id) r++;
        PX_CHECK_OK(event.status);
        done += event.kind == PX_EVENT_DONE;
        if (event.kind != PX_EVENT_ANSWERED) continue;
        memcpy(all[r].values[event.index], event.values, event.value_count * sizeof(float));
        all[r].answered++;
    }
}

static void check_vectors(px_engine *engine, bool labelled)
{
    static vectors single[ADAPTERS + 1], together[ADAPTERS + 1];
    for (int i = 0; i <= ADAPTERS; i++) {
        ask(engine, names[i], labelled, &single[i]);
        take_vectors(engine, &single[i], 1);
        PX_CHECK(single[i].answered == INPUTS);
        for (int k = 0; k < i; k++)
            PX_CHECK(memcmp(single[i].values, single[k].values, sizeof single[i].values) != 0);
    }
    for (int i = 0; i <= ADAPTERS; i++) ask(engine, names[i], labelled, &together[i]);
    take_vectors(engine, together, ADAPTERS + 1);
    for (int i = 0; i <= ADAPTERS; i++)
        PX_CHECK(memcmp(single[i].values, together[i].values, sizeof single[i].values) == 0);
}

PX_TEST(vectors_are_of_the_adapter_that_their_request_names)
{
    group g;
    vectors unused;
    PX_REQUIRE(group_open(
        &g, (px_engine_options){
                .model_path = model, .tp = 2, .pp = 1, .threads = 1, .on_wake = on_wake}));
    load_all(g.engine);
    check_vectors(g.engine, false);
    check_vectors(g.engine, true);
    px_request request = {.adapter = slice("nine"),
        .vectors = {
            .inputs = &(px_input){.tokens = (uint32_t[]){1}, .token_count = 1}, .input_count = 1}};
    PX_CHECK(px_engine_submit(g.engine, &request, &unused.id).code == PX_NOT_FOUND);
    group_close(&g);
}

/* --- what is refused ---------------------------------------------------------------------- */

static px_engine *open_alone(uint64_t adapter_bytes)
{
    px_engine *engine = NULL;
    px_engine_options options = {.model_path = model,
        .threads = 1,
        .adapters_max = 2,
        .adapter_bytes = adapter_bytes,
        .on_wake = on_wake};
    PX_CHECK_OK(px_engine_open(&options, NULL, &engine));
    return engine;
}

static void check_refused(px_engine *engine, tiny_adapter adapter, const char *words)
{
    char path[] = "/tmp/px_tiny_adapter_XXXXXX";
    tiny_adapter_write(path, adapter);
    px_status status = load(engine, "bad", path);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, words));
    if (!strstr(status.text, words)) printf("  got: %s\n", status.text);
    tiny_adapter_remove(path);
}

PX_TEST(settings_of_another_arithmetic_are_refused_by_name)
{
    static const struct {
        const char *config, *words;
    } cases[] = {
        {"", "adapter_config.json"},
        {"[]", "no JSON object"},
        {"{\"peft_type\":\"IA3\"}", "only LORA"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"use_dora\":true}", "DoRA"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"bias\":\"all\"}", "'bias' is 'all'"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"modules_to_save\":[\"lm_head\"]}", "modules_to_save"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"init_lora_weights\":\"pissa_niter_4\"}", "pissa"},
        {"{\"peft_type\":\"LORA\",\"r\":0}", "rank of 0"},
        {"{\"peft_type\":\"LORA\",\"r\":1000}", "rank of 1000"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":1e300}", "lora_alpha"},
        {"{\"peft_type\":\"LORA\",\"r\":8}", "has rank 4, but adapter_config.json says 8"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":[\"q_proj\"]}", "does not target"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":7}", "neither a text nor a list"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":[7]}", "neither a text nor a list"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"target_modules\":\"(\"}", "target_modules"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"exclude_modules\":[\"q_proj\"]}", "does not target"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"layers_to_transform\":[0]}", "does not target"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"layers_to_transform\":\"x\"}", "layers_to_transform"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"rank_pattern\":{\"q_proj\":2}}", "says 2"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"rank_pattern\":{\"q_proj\":-1}}", "rank of -1"},
        {"{\"peft_type\":\"LORA\",\"r\":4,\"alpha_pattern\":{\"q_proj\":[]}}", "no number"},
    };
    px_engine *engine = open_alone(0);
    PX_REQUIRE(engine != NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(engine, (tiny_adapter){.rank = 4, .config = cases[i].config}, cases[i].words);
    px_engine_close(engine);
}

PX_TEST(files_that_do_not_fit_are_refused_and_the_engine_goes_on)
{
    static const struct {
        const char *before, *after; /* of the letter A or B */
        uint32_t rows, cols;        /* of a second tensor; 0: none */
        const char *words;
    } cases[] = {
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_", ".weight", 71, 4, "71 x 72"},
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_", ".weight", 72, 5, "5 columns"},
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_", ".weight", 0, 0, "no lora_B"},
        {"base_model.model.model.layers.7.self_attn.q_proj.lora_", ".weight", 72, 4, "can be"},
        {"base_model.model.model.layers.0.mlp.experts.1.up_proj.lora_", ".weight", 96, 4, "can be"},
        {"model.layers.0.self_attn.q_proj.", "", 72, 4, "not called as PEFT"},
        {"base_model.model.model.embed_tokens.lora_embedding_", "", 72, 4, "token embedding"},
    };
    px_engine *engine = open_alone(0);
    PX_REQUIRE(engine != NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[] = "/tmp/px_tiny_adapter_XXXXXX";
        tiny_adapter_write(path, (tiny_adapter){.rank = 4});
        tiny_writer w = tiny_begin(1);
        tiny_tensor(&w, 4, TINY_HIDDEN, "%sA%s", cases[i].before, cases[i].after);
        if (cases[i].rows)
            tiny_tensor(&w, cases[i].rows, cases[i].cols, "%sB%s", cases[i].before, cases[i].after);
        tiny_finish(&w, path, "adapter_model.safetensors");
        px_status status = load(engine, "bad", path);
        PX_CHECK(!px_is_ok(status) && strstr(status.text, cases[i].words));
        if (!strstr(status.text, cases[i].words)) printf("  got: %s\n", status.text);
        tiny_adapter_remove(path);
    }
    PX_CHECK(load(engine, "bad", "/nonexistent").code == PX_NOT_FOUND);
    PX_CHECK(load(engine, "a b", adapters[0]).code == PX_INVALID_ARGUMENT);
    PX_CHECK(load(engine, "", adapters[0]).code == PX_INVALID_ARGUMENT);
    PX_CHECK_OK(load(engine, "one", adapters[0]));
    PX_CHECK(load(engine, "one", adapters[1]).code == PX_ALREADY_EXISTS);
    PX_CHECK_OK(load(engine, "two", adapters[1]));
    PX_CHECK(load(engine, "three", adapters[2]).code == PX_RESOURCE_EXHAUSTED);
    px_engine_close(engine);
}

PX_TEST(adapters_keep_to_their_memory)
{
    px_engine *engine = open_alone(120 * 1000);
    PX_REQUIRE(engine != NULL);
    PX_CHECK_OK(load(engine, "one", adapters[0])); /* 31 KB of rank 4, 23 of table */
    px_status status = load(engine, "three", adapters[2]);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && strstr(status.text, "left for adapters"));
    PX_CHECK_OK(unload(engine, "one"));
    PX_CHECK_OK(load(engine, "two", adapters[1]));
    px_engine_close(engine);
    engine = open_alone(UINT64_MAX);
    PX_REQUIRE(engine != NULL);
    PX_CHECK(load(engine, "one", adapters[0]).code == PX_RESOURCE_EXHAUSTED);
    px_engine_close(engine);
    for (int i = 0; i < ADAPTERS; i++) tiny_adapter_remove(adapters[i]);
    tiny_model_remove(model);
}

PX_TEST_MAIN()
