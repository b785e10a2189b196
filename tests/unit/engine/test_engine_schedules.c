/* test_engine_schedules.c - promise 3: a sequence's logits are bitwise the same whatever happens
 * around it.
 *
 * A real (tiny, random) model answers the same requests under hundreds of random schedules: alone
 * and in company, prompts cut into chunks of any size, beginnings found in the cache, sequences
 * turned out and brought back from where they were parked (memory or a file) or computed again,
 * several tenants, urgent and patient ones, some with several answers, some cancelled half-way,
 * with and without tokens guessed ahead. Between the engine and the model every row of logits is
 * hashed and kept by request and position; the next schedule must give the same bits. Rows that
 * stand on a wrong guess are left out: they never count. For each number of ranks by itself: sums
 * over ranks are their own.
 */
#include "test.h"

#include <pthread.h>

#include "base/clock.h"
#include "engine/doorbell.h"
#include "engine/parts.h"
#include "tiny_model.h"

enum {
    REQUESTS = 14,
    PROMPT_LEAST = 5,
    PROMPT_MORE = 11,
    ANSWER_MAX = 30,
    ANSWERS = 3, /* to some of the requests */
    CONTEXT = 192,
    SCHEDULES = PX_TEST_SANITIZED ? 20 : 200,
    GROUPS = 2,     /* one rank, two ranks */
    GROUP_EVERY = 8 /* of the schedules, one with two ranks */
};

static char folder[] = "/tmp/px_tiny_XXXXXX";
static px_doorbell bell;

/* --- every row of logits ------------------------------------------------------------------ */

/* Prompts have different lengths, so a row's prompt says whose it is; which of several answers' it
 * is, nothing: a row of theirs may be any of as many as there are answers. */
static uint64_t row_hashes[GROUPS][CONTEXT + 1][CONTEXT][ANSWERS];
static uint64_t rows_compared, rows_different, rows_guessed_wrong;
static bool guesses;   /* the schedule that runs */
static uint32_t group; /* of the schedule that runs */

typedef struct answer {
    uint64_t id;
    uint32_t ids[ANSWERS][ANSWER_MAX], counts[ANSWERS];
    bool is_open;
} answer;

static answer known[GROUPS][REQUESTS];

typedef struct watch { /* the real forward */
    px_forward_fn forward;
    void *self;
    uint32_t vocabulary;
} watch;

static uint64_t hash_of(const float *logits, uint32_t count)
{
    uint64_t hash = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        hash = (hash ^ bits) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    return hash | 1;
}

static uint32_t index_of(uint32_t prompt_length)
{
    return (prompt_length - PROMPT_LEAST) / PROMPT_MORE;
}

static uint32_t answers_of(uint32_t index)
{
    return index % 4 == 1 ? ANSWERS : 1;
}

static bool is_true(const px_kv_row *at, uint32_t id);

static px_status watched_step(void *self, const px_batch *batch, float *out_logits)
{
    watch *w = self;
    PX_TRY(w->forward(w->self, batch, out_logits));
    uint32_t wrong_prompt = 0; /* of the sequence that goes on from a wrong guess */
    for (uint32_t i = 0; out_logits && i < batch->logit_rows; i++) {
        uint32_t row = batch->logit_at[i];
        const px_kv_row *at = &batch->at[row];
        uint32_t answers = at->position < at->prompt ? 1 : answers_of(index_of(at->prompt));
        if (answers > 1 && guesses) continue; /* nobody can tell which of them are wrong */
        bool goes_on = row && batch->at[row - 1].blocks == at->blocks;
        if (!goes_on) wrong_prompt = 0;
        if (!is_true(at, batch->ids[row])) wrong_prompt = at->prompt;
        rows_guessed_wrong += wrong_prompt != 0;
        if (wrong_prompt) continue;
        uint64_t *kept = row_hashes[group][at->prompt][at->position], *end = kept + answers;
        uint64_t hash = hash_of(out_logits + (size_t)i * w->vocabulary, w->vocabulary);
        while (kept < end && *kept && *kept != hash) kept++;
        rows_different += kept == end;
        rows_compared += kept < end && *kept == hash;
        if (kept < end) *kept = hash;
    }
    return px_ok();
}

static watch watches[GROUPS]; /* by rank */

static px_status watched_parts(const px_engine_options *options, px_comm *comm, px_parts *out)
{
    PX_TRY(px_parts_load(options, comm, out));
    watch *w = &watches[px_comm_rank(comm)];
    *w = (watch){out->forward, out->forward_self, out->info.vocabulary};
    out->forward = watched_step;
    out->forward_self = w;
    return px_ok();
}

/* --- one schedule ------------------------------------------------------------------------- */

typedef struct dice {
    uint64_t seed;
    uint32_t at;
} dice;

static uint32_t below(dice *d, uint32_t limit)
{
    return (uint32_t)(px_random_unit(d->seed, d->at++) * limit);
}

static px_engine_options options_of(dice *d)
{
    bool is_first = !known[group][0].counts[0];
    static const int64_t park_bytes[] = {-1, 0, 30000, 200000};
    return (px_engine_options){.model_path = folder,
        .tp = group + 1,
        .pp = 1,
        .threads = 1 + below(d, 2),
        .context_max = CONTEXT,
        .seqs_max = 1 + below(d, REQUESTS),
        .batch_size = 1 + below(d, 150),
        .scale_factor = 1 + below(d, 3),
        .max_latency_ms = below(d, 3),
        .kv_tokens = CONTEXT + below(d, 2) * below(d, 800),
        .kv_park_bytes = park_bytes[below(d, 4)],
        .kv_park_folder = below(d, 4) ? NULL : "/tmp",
        .speculate = is_first || below(d, 2) ? "off" : NULL,
        .draft_path = below(d, 3) ? NULL : folder,
        .speculate_max = 1 + below(d, PX_PROPOSALS_MAX),
        .no_prefix_cache = below(d, 5) == 0};
}

/* Families of requests begin with the same tokens; how many is a matter of the request. */
static px_request request_of(uint32_t index, uint32_t *tokens)
{
    px_request request = {.tokens = tokens,
        .token_count = PROMPT_LEAST + index * PROMPT_MORE,
        .n = answers_of(index),
        .max_tokens = 1 + (uint32_t)(px_random_unit(index, 1) * (ANSWER_MAX - 1)),
        .ignore_eos = true,
        .sampling = {.temperature = index % 3 ? 1.0f : 0, .top_p = 1, .seed = index}};
    uint32_t shared = (uint32_t)(px_random_unit(index, 0) * (double)request.token_count);
    for (uint32_t i = 0; i < request.token_count; i++) {
        uint64_t seed = i < shared ? 100 + index % 3 : 200 + index;
        tokens[i] = (uint32_t)(px_random_unit(seed, i) * TINY_VOCABULARY);
    }
    return request;
}

/* As far as is known: the first schedule of each group guesses nothing. */
static bool is_true(const px_kv_row *at, uint32_t id)
{
    uint32_t index = index_of(at->prompt), answered = at->position - at->prompt;
    const answer *truth = &known[group][index];
    return at->position < at->prompt || answers_of(index) > 1 || answered >= truth->counts[0] ||
           truth->ids[0][answered] == id;
}

static void on_wake(void *arg)
{
    px_doorbell_ring(&bell);
}

static px_engine_stats total;

/* Takes events until at most `most` requests are open. */
static void take_until(px_engine *engine, answer *answers, uint32_t count, uint32_t most)
{
    int64_t give_up_ns = px_now_ns() + 60 * PX_SEC;
    for (;;) {
        uint32_t open = 0, seen = px_doorbell_look(&bell);
        px_event event;
        while (px_engine_poll(engine, &event)) {
            answer *a = answers;
            while (a->id != event.id) a++;
            if (event.kind == PX_EVENT_DONE) {
                a->is_open = false;
                PX_CHECK(px_is_ok(event.status) || event.status.code == PX_CANCELLED);
            } else if (event.has_token) {
                a->ids[event.index][a->counts[event.index]++] = event.token;
            }
        }
        for (uint32_t i = 0; i < count; i++) open += answers[i].is_open;
        if (open <= most) return;
        PX_REQUIRE(px_now_ns() < give_up_ns);
        px_doorbell_wait(&bell, seen, PX_SEC);
    }
}

static void check_answer(uint32_t index, const answer *got)
{
    answer *want = &known[group][index];
    if (!want->counts[0]) *want = *got;
    for (uint32_t i = 0; i < answers_of(index); i++) {
        PX_CHECK(got->counts[i] > 0 && got->counts[i] == want->counts[i]);
        PX_CHECK(memcmp(got->ids[i], want->ids[i], got->counts[i] * sizeof *got->ids[i]) == 0);
    }
}

/* All requests in any order, at any moment, some twice and one of the two cancelled. */
static void play(px_engine *engine, dice *d)
{
    static answer answers[2 * REQUESTS];
    uint32_t indices[2 * REQUESTS], order[REQUESTS], count = 0, tokens[CONTEXT];
    bool is_cancelled[2 * REQUESTS] = {false};
    memset(answers, 0, sizeof answers);
    for (uint32_t i = 0; i < REQUESTS; i++) { /* shuffled */
        uint32_t j = below(d, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < REQUESTS; i++) {
        bool twice = below(d, 5) == 0;
        for (uint32_t copy = 0; copy <= twice; copy++) {
            static const char *const tenants[] = {"", "red", "blue"};
            px_request request = request_of(order[i], tokens);
            const char *tenant = tenants[below(d, 3)];
            request.tenant = (px_slice){tenant, strlen(tenant)};
            request.priority = (int32_t)below(d, 5) - 2;
            PX_CHECK_OK(px_engine_submit(engine, &request, &answers[count].id));
            answers[count].is_open = true;
            indices[count++] = order[i];
        }
        if (below(d, 3) == 0) take_until(engine, answers, count, below(d, count));
        is_cancelled[count - 1] = twice;
        if (twice) px_engine_cancel(engine, answers[count - 1].id);
    }
    take_until(engine, answers, count, 0);
    for (uint32_t i = 0; i < count; i++)
        if (!is_cancelled[i]) check_answer(indices[i], &answers[i]);
}

typedef struct rank { /* the second one's thread */
    const px_engine_options *options;
    px_comm *comm;
    px_status status;
} rank;

static void *follow(void *arg)
{
    rank *r = arg;
    px_engine *engine = NULL;
    r->status = px_engine_open_with(watched_parts, r->options, r->comm, &engine);
    if (px_is_ok(r->status)) r->status = px_engine_follow(engine);
    px_engine_close(engine);
    return NULL;
}

static void run_schedule(uint64_t seed)
{
    dice d = {.seed = seed};
    group = seed % GROUP_EVERY == GROUP_EVERY - 1;
    px_engine_options options = options_of(&d);
    options.on_wake = on_wake;
    guesses = !options.speculate;
    px_comm *comms[GROUPS];
    PX_REQUIRE(px_is_ok(px_comm_threads((int)group + 1, comms)));
    rank second = {.options = &options, .comm = comms[group]};
    pthread_t thread;
    if (group) pthread_create(&thread, NULL, follow, &second);
    px_engine *engine = NULL;
    PX_CHECK_OK(px_engine_open_with(watched_parts, &options, comms[0], &engine));
    if (engine) play(engine, &d);
    px_engine_stats stats = {0};
    if (engine) px_engine_get_stats(engine, &stats);
    total.preemptions += stats.preemptions;
    total.prefix_hits += stats.prefix_hits;
    total.recomputed_tokens += stats.recomputed_tokens;
    total.proposed += stats.proposed;
    total.accepted += stats.accepted;
    px_engine_close(engine);
    if (group) pthread_join(thread, NULL);
    if (group) PX_CHECK_OK(second.status);
    for (uint32_t i = 0; i <= group; i++) px_comm_free(comms[i]);
}

PX_TEST(no_schedule_changes_a_bit_of_any_logits)
{
    tiny_model_write(folder);
    for (uint64_t seed = 0; seed < SCHEDULES; seed++) run_schedule(seed);
    tiny_model_remove(folder);
    printf("     %llu rows compared; %llu preemptions, %llu tokens found, %llu computed again\n",
        (unsigned long long)rows_compared, (unsigned long long)total.preemptions,
        (unsigned long long)total.prefix_hits, (unsigned long long)total.recomputed_tokens);
    printf("     %llu tokens guessed, %llu right; %llu rows stood on a wrong one\n",
        (unsigned long long)total.proposed, (unsigned long long)total.accepted,
        (unsigned long long)rows_guessed_wrong);
    PX_CHECK(rows_different == 0 && rows_compared > 50 * SCHEDULES);
    PX_CHECK(total.preemptions > SCHEDULES / 2 &&
             total.prefix_hits > 50 * SCHEDULES); /* all of it happened */
    PX_CHECK(total.recomputed_tokens > 0);
    /* Guesses are made where the clock says that they pay: in few schedules, perhaps none. */
    if (!PX_TEST_SANITIZED) PX_CHECK(total.proposed > 10 && total.accepted && rows_guessed_wrong);
}

PX_TEST_MAIN()
