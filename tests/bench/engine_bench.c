/* engine_bench.c - what the engine costs and how it shares, with the forward replaced by a timer.
 *
 *   engine_bench                 all scenarios; one JSON object a line
 *   engine_bench cost|pressure|prefix|fair|many
 *
 * cost      256 streams: processor time of scheduler, sampler, text and events for each token
 * pressure  a pool for a quarter of what runs: tokens computed twice, with and without parking
 * prefix    32 requests that share a beginning: hits beside those counted by hand
 * fair      one tenant alone, then beside another that asks for 100 times as much: p99 TTFT
 * many      a million short requests: memory before and after
 *
 * The fake forward keeps a hash of each sequence's history in its KV places (fake_engine.h), so in
 * `pressure` and `prefix` every answer is checked as well.
 */
#include <sys/resource.h>
#include <time.h>

#include "../test.h"

#include "../unit/engine/fake_engine.h" /* needs PX_CHECK */

static px_doorbell bell;

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* --- requests in a closed loop ------------------------------------------------------------ */

enum { CLIENTS_MAX = 1024, PROMPT_MAX = 2048 };

typedef struct client {
    uint64_t id, asked; /* asked: requests so far */
    int64_t idle_until_ns;
    const char *tenant;
    uint32_t prompt_tokens, answer_tokens;
} client;

typedef struct loop {
    px_engine *engine;
    client clients[CLIENTS_MAX];
    uint32_t count;
    uint64_t ended, refused, tokens;
    double *ttft_ms; /* of the first tenant's, NULL: not kept */
    uint32_t ttft_count, ttft_max;
    bool with_same_prompts;
} loop;

static void ask(loop *l, client *c)
{
    static uint32_t tokens[PROMPT_MAX];
    uint64_t seed = l->with_same_prompts ? 0 : (uint64_t)(c - l->clients) << 32 | c->asked;
    for (uint32_t i = 0; i < c->prompt_tokens; i++)
        tokens[i] = (uint32_t)(fake_mix(seed, i) >> 40) % 256;
    px_request request = {.tokens = tokens,
        .token_count = c->prompt_tokens,
        .max_tokens = c->answer_tokens,
        .ignore_eos = true,
        .sampling = {.top_p = 1},
        .tenant = {c->tenant, c->tenant ? strlen(c->tenant) : 0}};
    c->asked++;
    px_status status = px_engine_submit(l->engine, &request, &c->id);
    if (!px_is_ok(status)) {
        l->refused++;
        c->id = 0;
    }
}

static void take(loop *l, const px_event *event)
{
    if (event->kind == PX_EVENT_TOKEN) {
        l->tokens += event->has_token;
        return;
    }
    client *c = l->clients;
    while (c->id != event->id) c++;
    l->ended++;
    c->id = 0;
    if (l->ttft_ms && c->tenant == l->clients[0].tenant && l->ttft_count < l->ttft_max)
        l->ttft_ms[l->ttft_count++] = (double)event->ttft_ns / PX_MS;
}

/* Until `requests` have ended, or those of the first tenant `ttft_max` times. */
static void run_until(loop *l, uint64_t requests)
{
    while (l->ended < requests && (!l->ttft_max || l->ttft_count < l->ttft_max)) {
        uint32_t seen = px_doorbell_look(&bell);
        px_event event;
        while (px_engine_poll(l->engine, &event)) take(l, &event);
        int64_t now_ns = px_now_ns();
        for (uint32_t i = 0; i < l->count; i++) {
            client *c = &l->clients[i];
            if (c->id || now_ns < c->idle_until_ns) continue;
            if (c->idle_until_ns >= 0 && c->tenant && i == 0)
                c->idle_until_ns = now_ns + 30 * PX_MS; /* the light one thinks between requests */
            ask(l, c);
        }
        px_doorbell_wait(&bell, seen, PX_MS);
    }
}

static void drain(loop *l)
{
    px_event event;
    for (uint32_t i = 0; i < l->count; i++)
        if (l->clients[i].id) px_engine_cancel(l->engine, l->clients[i].id);
    for (bool open = true; open;) {
        open = false;
        while (px_engine_poll(l->engine, &event)) take(l, &event);
        for (uint32_t i = 0; i < l->count; i++) open |= l->clients[i].id != 0;
        px_sleep_ns(PX_MS / 10);
    }
}

static loop *loop_of(px_engine *engine, uint32_t clients, uint32_t prompt, uint32_t answer)
{
    loop *l = px_alloc(sizeof *l);
    l->engine = engine;
    l->count = clients;
    for (uint32_t i = 0; i < clients; i++)
        l->clients[i] =
            (client){.prompt_tokens = prompt, .answer_tokens = answer, .idle_until_ns = -1};
    return l;
}

/* --- the scenarios ------------------------------------------------------------------------ */

static void cost(void)
{
    enum { STREAMS = 256, PROMPT = 128, ANSWER = 64, REQUESTS = 4096 };
    fake_model model = {.slots = STREAMS,
        .rows = 1024,
        .blocks = STREAMS * 13,
        .context = 256,
        .queue_max = STREAMS,
        .only_waits = true,
        .guesser = PX_GUESS_LOOKUP,
        .step_ns = PX_MS};
    loop *l = loop_of(fake_open(&model, &bell), STREAMS, PROMPT, ANSWER);
    run_until(l, STREAMS); /* warm */
    uint64_t tokens = l->tokens, steps = atomic_load(&model.steps);
    double cpu = cpu_seconds(), wall_s = (double)px_now_ns() / PX_SEC;
    run_until(l, REQUESTS);
    cpu = cpu_seconds() - cpu;
    wall_s = (double)px_now_ns() / PX_SEC - wall_s;
    tokens = l->tokens - tokens;
    steps = atomic_load(&model.steps) - steps;
    printf("{\"scenario\":\"cost\",\"streams\":%d,\"tokens\":%llu,\"steps\":%llu,"
           "\"cpu_us_per_token\":%.2f,\"wall_us_per_token\":%.2f}\n",
        STREAMS, (unsigned long long)tokens, (unsigned long long)steps, cpu * 1e6 / (double)tokens,
        (wall_s * 1e6 - (double)steps * 1000) / (double)tokens);
    drain(l);
    px_engine_close(l->engine);
    free(l);
}

static void pressure(void)
{
    enum { SEQS = 32, PROMPT = 200, ANSWER = 200, REQUESTS = 400 };
    for (int parks = 0; parks < 2; parks++) {
        fake_model model = {.slots = SEQS,
            .rows = 256,
            .blocks = SEQS * 25 / 4,
            .context = 512,
            .queue_max = SEQS,
            .park_slots = parks ? SEQS * 25 : 0};
        loop *l = loop_of(fake_open(&model, &bell), SEQS, PROMPT, ANSWER);
        run_until(l, REQUESTS);
        px_engine_stats stats;
        px_engine_get_stats(l->engine, &stats);
        uint64_t computed = atomic_load(&model.rows_seen);
        printf("{\"scenario\":\"pressure\",\"parks\":%s,\"preemptions\":%llu,"
               "\"computed_tokens\":%llu,\"recomputed_tokens\":%llu,\"recomputed_percent\":%.2f}\n",
            parks ? "true" : "false", (unsigned long long)stats.preemptions,
            (unsigned long long)computed, (unsigned long long)stats.recomputed_tokens,
            100.0 * (double)stats.recomputed_tokens / (double)computed);
        drain(l);
        px_engine_close(l->engine);
        free(l);
    }
}

static void prefix(void)
{
    enum { REQUESTS = 32, PROMPT = 512 };
    fake_model model = {
        .slots = 8, .rows = 256, .blocks = 1024, .context = 1024, .queue_max = REQUESTS};
    loop *l = loop_of(fake_open(&model, &bell), 8, PROMPT, 8);
    l->with_same_prompts = true;
    run_until(l, REQUESTS);
    px_engine_stats stats;
    px_engine_get_stats(l->engine, &stats);
    uint64_t others = stats.prefix_queries / PROMPT - 1; /* all but the first that came in */
    printf("{\"scenario\":\"prefix\",\"queries\":%llu,\"hits\":%llu,\"hits_at_least\":%llu,"
           "\"hits_at_most\":%llu}\n",
        (unsigned long long)stats.prefix_queries, (unsigned long long)stats.prefix_hits,
        (unsigned long long)others * (PROMPT - PX_KV_BLOCK_TOKENS),
        (unsigned long long)others * (PROMPT - 1));
    drain(l);
    px_engine_close(l->engine);
    free(l);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* p50 and p99 of the light tenant's TTFT, with `flood` requests of the other's in flight. */
static void measure_ttft(uint32_t flood, double out_ms[2], uint64_t *out_tokens)
{
    enum { SAMPLES = 200 };
    static double ttft_ms[SAMPLES];
    /* A quarter of what a model of 135 million weights takes on two cores. */
    fake_model model = {.slots = 64,
        .rows = 1024,
        .blocks = 1500,
        .park_slots = 1500,
        .context = 512,
        .queue_max = 200,
        .only_waits = true,
        .step_ns = PX_MS,
        .row_ns = 90 * 1000,
        .pace = {
            .batch_size = 512, .rows_max = 1024, .scale_factor = 2, .latency_ns = 100 * PX_MS}};
    loop *l = loop_of(fake_open(&model, &bell), 1 + flood, 128, 64);
    for (uint32_t i = 0; i <= flood; i++) l->clients[i].tenant = i ? "flood" : "light";
    l->clients[0].idle_until_ns = 0;
    l->clients[0].answer_tokens = 8;
    l->ttft_ms = ttft_ms;
    l->ttft_max = SAMPLES / 10;
    run_until(l, UINT64_MAX); /* warm */
    l->ttft_count = 0;
    l->ttft_max = SAMPLES;
    run_until(l, UINT64_MAX);
    qsort(ttft_ms, SAMPLES, sizeof *ttft_ms, by_value);
    out_ms[0] = ttft_ms[SAMPLES / 2];
    out_ms[1] = ttft_ms[SAMPLES * 99 / 100];
    *out_tokens = l->tokens;
    drain(l);
    px_engine_close(l->engine);
    free(l);
}

static void fair(void)
{
    double solo[2], beside[2];
    uint64_t tokens;
    measure_ttft(0, solo, &tokens);
    measure_ttft(100, beside, &tokens);
    printf("{\"scenario\":\"fair\",\"solo_ttft_ms\":{\"p50\":%.1f,\"p99\":%.1f},"
           "\"flooded_ttft_ms\":{\"p50\":%.1f,\"p99\":%.1f},\"p99_ratio\":%.2f}\n",
        solo[0], solo[1], beside[0], beside[1], beside[1] / solo[1]);
}

static void many(void)
{
    enum { STREAMS = 64, WARM = 20000, REQUESTS = 1000000 };
    fake_model model = {.slots = STREAMS,
        .rows = 512,
        .blocks = 512,
        .park_slots = 512,
        .context = 128,
        .queue_max = STREAMS,
        .guesser = PX_GUESS_LOOKUP,
        .only_waits = true};
    loop *l = loop_of(fake_open(&model, &bell), STREAMS, 8, 2);
    run_until(l, WARM);
    long before = resident_kib();
    double wall_s = (double)px_now_ns() / PX_SEC;
    run_until(l, WARM + REQUESTS);
    wall_s = (double)px_now_ns() / PX_SEC - wall_s;
    long after = resident_kib();
    printf("{\"scenario\":\"many\",\"requests\":%d,\"resident_kib_before\":%ld,"
           "\"resident_kib_after\":%ld,\"requests_per_s\":%.0f}\n",
        REQUESTS, before, after, REQUESTS / wall_s);
    drain(l);
    px_engine_close(l->engine);
    free(l);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } scenarios[] = {
        {"cost", cost}, {"pressure", pressure}, {"prefix", prefix}, {"fair", fair}, {"many", many}};
    bool found = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        if (argc > 1 && strcmp(argv[1], scenarios[i].name) != 0) continue;
        scenarios[i].run();
        found = true;
    }
    if (!found) fprintf(stderr, "engine_bench: there is no scenario '%s'\n", argv[1]);
    return found && !px_test_failures ? 0 : 1;
}
