/* test_engine_model.c - a real (tiny, random) model through the whole engine: the same tokens
 * whatever the batch, the chunks, the preemptions, the ranks; and steps that allocate nothing.
 */
#include "test.h"

#include "base/clock.h"
#include "engine/doorbell.h"
#include "engine/parts.h"
#include "group.h"
#include "tiny_adapter.h"

/* --- an allocator that counts on the engine thread --- */

static _Thread_local bool is_engine_thread;
static atomic_bool is_counting;
static atomic_int allocations;

#if !PX_TEST_SANITIZED
#define COUNTS_ALLOCATIONS 1
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *memory, size_t bytes);

static void count_allocation(void)
{
    if (is_engine_thread && atomic_load(&is_counting)) atomic_fetch_add(&allocations, 1);
}

void *malloc(size_t bytes)
{
    count_allocation();
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    count_allocation();
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count_allocation();
    return __libc_realloc(memory, bytes);
}
#else
#define COUNTS_ALLOCATIONS 0
#endif

/* --- running requests --- */

enum { REQUESTS = 24, ANSWER_MAX = 60 };

static char folder[] = "/tmp/px_tiny_XXXXXX";

typedef struct answers {
    uint32_t ids[REQUESTS][ANSWER_MAX], count[REQUESTS];
} answers;

static px_doorbell bell;

/* Runs on the engine thread. */
static void on_wake(void *arg)
{
    is_engine_thread = true;
    px_doorbell_ring(&bell);
}

static px_request request_of(uint32_t index, uint32_t *tokens)
{
    px_request request = {.tokens = tokens,
        .token_count = 1 + (size_t)(px_random_unit(index, 0) * 90),
        .max_tokens = 1 + (uint32_t)(px_random_unit(index, 1) * (ANSWER_MAX - 1)),
        .ignore_eos = true,
        .sampling = {.temperature = index % 3 ? 1.0f : 0,
            .top_p = index % 3 == 2 ? 0.8f : 1,
            .seed = index}};
    for (uint32_t i = 0; i < request.token_count; i++)
        tokens[i] = (uint32_t)(px_random_unit(index, 2 + i) * TINY_VOCABULARY);
    return request;
}

static bool take(px_engine *engine, const uint64_t *ids, answers *out)
{
    px_event event;
    for (int64_t end_ns = px_now_ns() + 60 * PX_SEC; px_now_ns() < end_ns;) {
        uint32_t seen = px_doorbell_look(&bell);
        while (px_engine_poll(engine, &event)) {
            uint32_t i = 0;
            while (ids[i] != event.id) i++;
            if (event.kind == PX_EVENT_DONE) {
                PX_CHECK_OK(event.status);
                return true;
            }
            if (event.has_token) out->ids[i][out->count[i]++] = event.token;
        }
        px_doorbell_wait(&bell, seen, PX_SEC);
    }
    return false;
}

static void run_all(px_engine *engine, bool together, answers *out)
{
    uint64_t ids[REQUESTS] = {0};
    uint32_t tokens[128];
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        px_request request = request_of(i, tokens);
        PX_CHECK_OK(px_engine_submit(engine, &request, &ids[i]));
        if (!together) PX_CHECK(take(engine, ids, out));
    }
    for (uint32_t i = 0; together && i < REQUESTS; i++) PX_CHECK(take(engine, ids, out));
}

/* All requests on a group of tp x pp ranks that are threads. */
static void run_group(px_engine_options options, bool together, answers *out)
{
    group g;
    options.model_path = folder;
    options.on_wake = on_wake;
    PX_REQUIRE(group_open(&g, options));
    run_all(g.engine, together, out);
    group_close(&g);
}

static uint32_t difference(const answers *a, const answers *b)
{
    uint32_t different = 0;
    for (uint32_t i = 0; i < REQUESTS; i++)
        different += a->count[i] != b->count[i] ||
                     memcmp(a->ids[i], b->ids[i], a->count[i] * sizeof(uint32_t)) != 0;
    return different;
}

static answers alone; /* each request by itself: what all others are compared with */

PX_TEST(the_model_answers_and_its_answers_vary)
{
    tiny_model_write(folder);
    run_group((px_engine_options){.tp = 1, .pp = 1, .threads = 1, .seqs_max = 1}, false, &alone);
    bool seen[TINY_VOCABULARY] = {false};
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < REQUESTS; i++)
        for (uint32_t j = 0; j < alone.count[i]; j++) {
            distinct += !seen[alone.ids[i][j]];
            seen[alone.ids[i][j]] = true;
        }
    PX_CHECK(distinct > 100);
}

PX_TEST(batch_chunks_and_preemption_change_no_token)
{
    static const px_engine_options ways[] = {
        {.tp = 1, .pp = 1, .threads = 1, .seqs_max = REQUESTS},
        {.tp = 1, .pp = 1, .threads = 2, .seqs_max = 7, .batch_size = 7},
        {.tp = 1, .pp = 1, .threads = 2, .seqs_max = 16, .batch_size = 33, .kv_tokens = 320},
        {.tp = 1, .pp = 1, .threads = 3, .seqs_max = 5, .batch_size = 100, .kv_tokens = 160},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        static answers got;
        run_group(ways[i], true, &got);
        PX_CHECK(difference(&got, &alone) == 0);
    }
}

PX_TEST(ranks_change_no_token_whatever_the_batch)
{
    static const px_engine_options ways[] = {
        {.tp = 2, .pp = 1, .threads = 1},
        {.tp = 3, .pp = 1, .threads = 1},
        {.tp = 1, .pp = 2, .threads = 1},
        {.tp = 2, .pp = 2, .threads = 1},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        static answers single, batched;
        run_group(ways[i], false, &single);
        run_group(ways[i], true, &batched);
        PX_CHECK(difference(&single, &batched) == 0);
        PX_CHECK(difference(&single, &alone) == 0);
    }
}

static void load_tiny_adapter(px_engine *engine)
{
    char path[] = "/tmp/px_tiny_adapter_XXXXXX";
    uint64_t id;
    px_event event = {.kind = PX_EVENT_TOKEN};
    tiny_adapter_write(path, (tiny_adapter){.seed = 1, .rank = 4});
    PX_CHECK_OK(
        px_engine_load_adapter(engine, (px_slice){"tiny", 4}, (px_slice){path, strlen(path)}, &id));
    while (event.kind != PX_EVENT_ADAPTER) {
        uint32_t seen = px_doorbell_look(&bell);
        if (!px_engine_poll(engine, &event)) px_doorbell_wait(&bell, seen, PX_SEC);
    }
    PX_CHECK_OK(event.status);
    tiny_adapter_remove(path);
}

PX_TEST(a_thousand_steps_allocate_nothing)
{
    px_engine *engine;
    px_engine_options options = {
        .model_path = folder, .threads = 2, .seqs_max = 4, .on_wake = on_wake};
    PX_REQUIRE(px_is_ok(px_engine_open(&options, NULL, &engine)));
    static answers warm;
    run_all(engine, true, &warm); /* also makes the thread known */
    load_tiny_adapter(engine);
    uint64_t ids[REQUESTS] = {0};
    uint32_t tokens[128];
    px_engine_stats before, after;
    for (uint32_t i = 0; i < REQUESTS; i++) { /* 24 in turn over 4 slots */
        px_request request = request_of(i, tokens);
        request.max_tokens = 200;
        request.n = i == 5 ? 3 : 1; /* answers that begin behind one prompt, too */
        if (i % 2) request.adapter = (px_slice){"tiny", 4};
        PX_CHECK_OK(px_engine_submit(engine, &request, &ids[i]));
    }
    px_engine_get_stats(engine, &before);
    atomic_store(&is_counting, true);
    static answers got;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        memset(&got, 0, sizeof got);
        px_event event;
        do {
            uint32_t seen = px_doorbell_look(&bell);
            if (!px_engine_poll(engine, &event)) {
                event.kind = PX_EVENT_TOKEN;
                px_doorbell_wait(&bell, seen, PX_SEC);
            }
        } while (event.kind != PX_EVENT_DONE);
        PX_CHECK(event.output_tokens == 200 * (event.id == ids[5] ? 3 : 1));
    }
    atomic_store(&is_counting, false);
    px_engine_get_stats(engine, &after);
    PX_CHECK(after.steps - before.steps >= 1000);
    if (COUNTS_ALLOCATIONS) PX_CHECK(atomic_load(&allocations) == 0);
    px_engine_close(engine);
}

PX_TEST(a_pool_that_cannot_be_is_refused_with_the_arithmetic)
{
    px_engine *engine;
    px_engine_options options = {
        .model_path = folder, .seqs_max = 4096, .kv_tokens = UINT64_C(1) << 50};
    px_status status = px_engine_open(&options, NULL, &engine);
    if (px_is_ok(status)) px_engine_close(engine); /* 4096 contexts of a tiny model do fit */
    options = (px_engine_options){.model_path = folder, .context_max = TINY_CONTEXT + 1};
    PX_CHECK(px_engine_open(&options, NULL, &engine).code == PX_INVALID_ARGUMENT);
    options =
        (px_engine_options){.model_path = folder, .kv_type = "q8_0"}; /* heads of 8 channels */
    PX_CHECK(px_engine_open(&options, NULL, &engine).code == PX_INVALID_ARGUMENT);
    options = (px_engine_options){.model_path = folder, .kernels = "abacus"};
    PX_CHECK(px_engine_open(&options, NULL, &engine).code == PX_INVALID_ARGUMENT);
    options = (px_engine_options){.model_path = "/nonexistent"};
    PX_CHECK(!px_is_ok(px_engine_open(&options, NULL, &engine)));
    tiny_model_remove(folder);
}

PX_TEST_MAIN()
