#include "control/bench/bench.h"

#include <stdlib.h>

#include "base/clock.h"
#include "control/bench/arrivals.h"

typedef struct bench bench;

typedef struct request { /* one sample in the making */
    bench *bench;
    px_sample sample;
    uint32_t tokens; /* that parts have brought */
    bool ended;
} request;

typedef struct gap { /* between two parts of an answer, which may yet fail */
    const request *of;
    float ms;
} gap;

struct bench {
    px_loop *loop;
    px_target *target;
    const px_prompts *prompts;
    const px_bench_options *options;
    px_bench_result *result;
    request *requests;
    int64_t *arrivals_ns; /* open loop: after started_ns; else NULL */
    int64_t started_ns;
    uint32_t sent, ended, due; /* due: open loop, how many should have been sent by now */
    uint32_t warmups_left;
    px_status warmup_status;
    gap *gaps;
    size_t gap_count, gap_room;
};

static void send_due(bench *b);

static void add_gap(const request *r, int64_t gap_ns)
{
    bench *b = r->bench;
    if (b->gap_count == b->gap_room) {
        b->gap_room = b->gap_room ? b->gap_room * 2 : 4096;
        b->gaps = realloc(b->gaps, b->gap_room * sizeof *b->gaps);
        PX_ASSERT(b->gaps);
    }
    b->gaps[b->gap_count++] = (gap){.of = r, .ms = (float)gap_ns / PX_MS};
}

static px_target_ask ask_of(const bench *b, uint32_t index)
{
    const px_prompt *prompt = &b->prompts->items[index % b->prompts->count];
    return (px_target_ask){.prompt = prompt,
        .model = b->options->model,
        .tenant = b->options->tenant,
        .max_tokens = prompt->max_tokens ? prompt->max_tokens : b->options->output_tokens,
        .ignore_eos = b->options->ignore_eos,
        .temperature = b->options->temperature,
        .seed = b->options->seed + index,
        .timeout_ns = b->options->timeout_ns};
}

/* ----------------------------------------------------------------------------- measured */

static void on_part(void *arg, uint32_t tokens)
{
    request *r = arg;
    int64_t now_ns = px_now_ns();
    if (!r->tokens)
        r->sample.first_ns = now_ns;
    else
        add_gap(r, now_ns - r->sample.last_ns);
    r->sample.last_ns = now_ns;
    r->tokens += tokens;
}

static void on_done(void *arg, px_status status, px_target_usage usage)
{
    request *r = arg;
    bench *b = r->bench;
    r->sample.completed = px_is_ok(status) && r->tokens;
    r->sample.prompt_tokens = usage.prompt_tokens;
    r->sample.output_tokens = usage.output_tokens ? usage.output_tokens : r->tokens;
    if (px_is_ok(status) && !r->tokens) status = px_fail(PX_UNKNOWN, "an answer without a token");
    if (b->result->interrupted) return; /* cut off, not answered: as if it was never sent */
    if (!px_is_ok(status) && px_is_ok(b->result->first_failure)) b->result->first_failure = status;
    r->ended = true;
    b->ended++;
    if (b->options->on_progress) b->options->on_progress(b->options->arg, b->ended);
    if (b->ended == b->options->requests)
        b->target->stop(b->target);
    else
        send_due(b);
}

static void send_one(bench *b)
{
    request *r = &b->requests[b->sent];
    int64_t now_ns = px_now_ns();
    bool on_time = b->arrivals_ns && !b->options->concurrency;
    *r = (request){.bench = b};
    r->sample.sent_ns = on_time ? b->started_ns + b->arrivals_ns[b->sent] : now_ns;
    px_target_ask ask = ask_of(b, b->sent++);
    ask.on_part = on_part;
    ask.on_done = on_done;
    ask.arg = r;
    b->target->ask(b->target, &ask);
}

static void send_due(bench *b)
{
    uint32_t most = b->options->concurrency ? b->options->concurrency : UINT32_MAX;
    while (b->sent < b->due && b->sent - b->ended < most) send_one(b);
}

/* Open loop: what has come due is sent, and the next arrival waited for. */
static void on_arrival(void *arg)
{
    bench *b = arg;
    int64_t passed_ns = px_now_ns() - b->started_ns;
    while (b->due < b->options->requests && b->arrivals_ns[b->due] <= passed_ns) b->due++;
    if (b->due < b->options->requests)
        px_loop_after(b->loop, b->arrivals_ns[b->due] - passed_ns, on_arrival, b);
    send_due(b);
}

static void start(void *arg)
{
    bench *b = arg;
    b->started_ns = px_now_ns();
    if (b->arrivals_ns) {
        on_arrival(b);
        return;
    }
    b->due = b->options->requests;
    send_due(b);
}

/* ----------------------------------------------------------------------------- warm-ups */

static void warm_up(void *arg);

static void on_warm_part(void *arg, uint32_t tokens) {}

static void on_warm(void *arg, px_status status, px_target_usage usage)
{
    bench *b = arg;
    b->warmup_status = status;
    if (b->result->interrupted) return;
    b->warmups_left--;
    if (!px_is_ok(status))
        b->target->stop(b->target);
    else /* from the loop, not from within the target's callback */
        px_loop_after(b->loop, 0, b->warmups_left ? warm_up : start, b);
}

static void warm_up(void *arg)
{
    bench *b = arg;
    /* From the end of the set, so that a prefix cache does not know the first ones already. */
    px_target_ask ask = ask_of(b, b->prompts->count - 1);
    ask.on_part = on_warm_part;
    ask.on_done = on_warm;
    ask.arg = b;
    b->target->ask(b->target, &ask);
}

/* ---------------------------------------------------------------------------------- run */

static void on_terminate(void *arg)
{
    bench *b = arg;
    b->result->interrupted = true;
    b->target->stop(b->target);
}

static bool is_measured(const bench *b, const request *r)
{
    return r->ended && r >= b->requests + b->options->skip_first;
}

/* Of the requests that completed, from the front of `out`, which has room for all. */
static size_t take_gaps(const bench *b, float *out)
{
    size_t count = 0;
    for (size_t i = 0; i < b->gap_count; i++) {
        const request *r = b->gaps[i].of;
        if (is_measured(b, r) && r->sample.completed) out[count++] = b->gaps[i].ms;
    }
    return count;
}

static void measure(bench *b)
{
    px_sample *samples = px_alloc_array(b->ended + 1, sizeof *samples);
    float *gaps_ms = px_alloc_array(b->gap_count + 1, sizeof *gaps_ms);
    size_t count = 0;
    for (uint32_t i = 0; i < b->sent; i++)
        if (is_measured(b, &b->requests[i])) samples[count++] = b->requests[i].sample;
    px_measure_input input = {.samples = samples,
        .sample_count = count,
        .gaps_ms = gaps_ms,
        .gap_count = take_gaps(b, gaps_ms),
        .goals = b->options->goals};
    px_measure(&input, &b->result->measures);
    free(gaps_ms);
    free(samples);
}

px_status px_bench_run(px_loop *loop, px_target *target, const px_prompts *prompts,
    const px_bench_options *options, px_bench_result *out)
{
    *out = (px_bench_result){.first_failure = px_ok()};
    bench b = {.loop = loop,
        .target = target,
        .prompts = prompts,
        .options = options,
        .result = out,
        .requests = px_alloc_array(options->requests, sizeof *b.requests),
        .warmups_left = options->warmups,
        .warmup_status = px_ok()};
    if (options->rate > 0) {
        b.arrivals_ns = px_alloc_array(options->requests, sizeof *b.arrivals_ns);
        px_arrivals arrivals = {options->rate, options->burstiness, options->seed};
        px_arrivals_make(&arrivals, options->requests, b.arrivals_ns);
    }
    px_status status = px_loop_on_terminate(loop, on_terminate, &b);
    if (px_is_ok(status)) {
        px_loop_after(loop, 0, b.warmups_left ? warm_up : start, &b);
        target->run(target);
        status = b.warmup_status;
    }
    target->free(target);
    if (px_is_ok(status)) measure(&b);
    free(b.requests);
    free(b.arrivals_ns);
    free(b.gaps);
    return status;
}
