/* The load generator: its arithmetic against figures worked out by hand, its loads from seeds, and
 * a whole run against a scripted OpenAI server. */
#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "control/bench/arrivals.h"
#include "control/bench/bench.h"
#include "control/bench/event_stream.h"
#include "test.h"

static bool is_near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (fabs(a) + fabs(b) + 1);
}

/* ------------------------------------------------------------------------------ measure */

static px_sample sample(int64_t sent_ms, int64_t first_ms, int64_t last_ms, uint32_t tokens)
{
    return (px_sample){.sent_ns = sent_ms * PX_MS,
        .first_ns = first_ms * PX_MS,
        .last_ns = last_ms * PX_MS,
        .prompt_tokens = 10,
        .output_tokens = tokens,
        .completed = true};
}

PX_TEST(percentiles_are_interpolated)
{
    double values[] = {40, 10, 30, 20};
    px_distribution d = px_distribution_of(values, 4);
    PX_CHECK(d.count == 4 && is_near(d.mean, 25) && is_near(d.max, 40));
    PX_CHECK(is_near(d.p50, 25) && is_near(d.p90, 37) && is_near(d.p99, 39.7));
    PX_CHECK(px_distribution_of(values, 1).p99 == 10);
    PX_CHECK(px_distribution_of(values, 0).count == 0);
}

PX_TEST(figures_have_their_published_meaning)
{
    /* TTFT 100, 200, 50; TPOT 10 (100 ms over 10 gaps), 100; the third has a single token. */
    px_sample samples[] = {sample(0, 100, 200, 11), sample(1000, 1200, 1300, 2),
        sample(1500, 1550, 1550, 1), {.sent_ns = 5 * PX_SEC}};
    float gaps[] = {1, 3};
    px_measures m;
    px_measure(&(px_measure_input){.samples = samples,
                   .sample_count = 4,
                   .gaps_ms = gaps,
                   .gap_count = 2,
                   .goals = {.ttft_ms = 150, .tpot_ms = 20}},
        &m);
    PX_CHECK(m.completed == 3 && m.failed == 1 && m.output_tokens == 14 && m.prompt_tokens == 30);
    PX_CHECK(is_near(m.duration_s, 1.55));
    PX_CHECK(m.ttft_ms.count == 3 && is_near(m.ttft_ms.p50, 100) && is_near(m.ttft_ms.max, 200));
    PX_CHECK(m.tpot_ms.count == 2 && is_near(m.tpot_ms.mean, 55));
    PX_CHECK(m.e2e_ms.count == 3 && is_near(m.e2e_ms.p50, 200));
    PX_CHECK(m.itl_ms.count == 2 && is_near(m.itl_ms.p50, 2));
    PX_CHECK(is_near(m.goodput_per_s, 2 / 1.55)); /* the first, and the one of a single token */
    PX_CHECK(is_near(m.output_tokens_per_s, 14 / 1.55));
}

/* ----------------------------------------------------------------------------- arrivals */

enum { ARRIVALS = 20000 };

/* Variance of the gaps by their squared mean: 1 / shape for a gamma distribution. */
static double scatter(double burstiness, double *out_mean_s)
{
    static int64_t at[ARRIVALS];
    px_arrivals_make(&(px_arrivals){.rate = 50, .burstiness = burstiness, .seed = 7}, ARRIVALS, at);
    double mean = (double)at[ARRIVALS - 1] / ARRIVALS, sum = 0;
    for (int i = 0; i < ARRIVALS; i++) {
        double gap = (double)(at[i] - (i ? at[i - 1] : 0));
        sum += (gap - mean) * (gap - mean);
    }
    *out_mean_s = mean / 1e9;
    return sum / ARRIVALS / (mean * mean);
}

PX_TEST(arrivals_follow_their_distribution)
{
    static const double shapes[] = {0.5, 1, 4};
    for (int i = 0; i < 3; i++) {
        double mean_s, scattered = scatter(shapes[i], &mean_s);
        PX_CHECK(fabs(mean_s * 50 - 1) < 0.04);
        PX_CHECK(fabs(scattered * shapes[i] - 1) < 0.1);
    }
}

PX_TEST(a_seed_makes_one_load)
{
    px_prompts_random options = {
        .count = 5, .tokens = 8, .shared = 3, .vocabulary_min = 10, .vocabulary_max = 500};
    px_prompts a, b, c;
    PX_CHECK_OK(px_prompts_make(&options, &a));
    PX_CHECK_OK(px_prompts_make(&options, &b));
    options.seed = 1;
    PX_CHECK_OK(px_prompts_make(&options, &c));
    PX_CHECK(a.hash == b.hash && a.hash != c.hash && a.count == 5);
    const uint32_t *first = a.items[0].ids, *last = a.items[4].ids;
    PX_CHECK(memcmp(first, last, 3 * sizeof *first) == 0);
    PX_CHECK(memcmp(first + 3, last + 3, 5 * sizeof *first) != 0);
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t k = 0; k < 8; k++)
            PX_CHECK(a.items[i].ids[k] >= 10 && a.items[i].ids[k] < 500);
    px_prompts_done(&a);
    px_prompts_done(&b);
    px_prompts_done(&c);
}

static px_status read_text(const char *text, px_prompts *out)
{
    char path[] = "/tmp/px_bench_XXXXXX";
    int fd = mkstemp(path);
    PX_ASSERT(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    px_status status = px_prompts_read(path, out);
    unlink(path);
    return status;
}

PX_TEST(prompts_of_a_file)
{
    px_prompts p;
    PX_CHECK_OK(read_text("{\"prompt\":\"a\",\"max_tokens\":3}\n\n"
                          "{\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}",
        &p));
    PX_CHECK(p.count == 2 && strcmp(p.items[0].text, "a") == 0 && p.items[0].max_tokens == 3);
    PX_CHECK(json_array_size(p.items[1].messages) == 1 && !p.items[1].text);
    px_prompts_done(&p);
    static const char *const bad[] = {"", "[]", "{}", "{\"prompt\":1}", "{\"prompt\":\"a\"",
        "{\"prompt\":\"a\",\"max_tokens\":-1}", "{\"messages\":[]}", "{\"messages\":[{}]}",
        "{\"prompt\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"b\"}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        PX_CHECK(!px_is_ok(read_text(bad[i], &p)));
    PX_CHECK(strstr(read_text("{\"prompt\":\"a\"}\n{}", &p).text, "line 2"));
}

/* ------------------------------------------------------------------------- event stream */

static void collect(void *arg, px_slice data)
{
    px_buf_append(arg, data.data, data.length);
    px_buf_putc(arg, '|');
}

PX_TEST(events_whatever_the_pieces)
{
    static const char text[] = ": hello\r\ndata: one\r\n\r\nevent: x\ndata:two\ndata: three\n\n\n"
                               "data: unfinished";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        px_buf found;
        px_buf_init(&found, 1000);
        px_event_stream stream = {.on_event = collect, .arg = &found};
        px_event_stream_init(&stream, 100);
        for (size_t at = 0; at < sizeof text - 1; at += piece)
            px_event_stream_feed(&stream,
                (px_slice){text + at, sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece});
        PX_CHECK(strcmp(px_buf_text(&found), "one|two\nthree|") == 0);
        PX_CHECK(!px_event_stream_overflowed(&stream));
        px_event_stream_done(&stream);
        px_buf_done(&found);
    }
}

PX_TEST(an_endless_line_ends_the_reading)
{
    px_event_stream stream = {.on_event = collect};
    px_event_stream_init(&stream, 100);
    for (int i = 0; i < 200; i++) px_event_stream_feed(&stream, (px_slice){"x", 1});
    PX_CHECK(px_event_stream_overflowed(&stream));
    px_event_stream_done(&stream);
}

/* ------------------------------------------------------------------------ a scripted run */

typedef struct script { /* a server that gives every request the same answer, or two in turn */
    int listener, port;
    const char *answer, *other; /* other: to every second request; NULL: none */
    atomic_int asked;
    pthread_t thread;
} script;

/* Reads one request whole; false: the client has gone. */
static bool read_request(int fd)
{
    char text[65536];
    size_t length = 0;
    for (;;) {
        ssize_t got = read(fd, text + length, sizeof text - 1 - length);
        if (got <= 0) return false;
        text[length += (size_t)got] = '\0';
        const char *end = strstr(text, "\r\n\r\n"), *size = strcasestr(text, "content-length:");
        if (end && size && text + length >= end + 4 + strtoul(size + 15, NULL, 10)) return true;
    }
}

static void *serve(void *arg)
{
    script *s = arg;
    int fd;
    while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
        if (read_request(fd)) {
            const char *answer = s->other && s->asked % 2 ? s->other : s->answer;
            s->asked++;
            PX_ASSERT(write(fd, answer, strlen(answer)) == (ssize_t)strlen(answer));
        }
        close(fd);
    }
    return NULL;
}

static void script_start(script *s, const char *answer, const char *other)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    *s = (script){.answer = answer, .other = other, .listener = socket(AF_INET, SOCK_STREAM, 0)};
    PX_ASSERT(bind(s->listener, (struct sockaddr *)&at, sizeof at) == 0);
    PX_ASSERT(listen(s->listener, 64) == 0);
    PX_ASSERT(getsockname(s->listener, (struct sockaddr *)&at, &length) == 0);
    s->port = ntohs(at.sin_port);
    PX_ASSERT(pthread_create(&s->thread, NULL, serve, s) == 0);
}

static void script_end(script *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

/* 6 requests, and warm-ups, against a server with these answers. */
static px_status run_against_two(
    const char *answer, const char *other, px_bench_options options, px_bench_result *out)
{
    script s;
    script_start(&s, answer, other);
    px_loop *loop;
    px_target *target;
    px_prompts prompts;
    char base[64];
    snprintf(base, sizeof base, "http://127.0.0.1:%d/", s.port);
    PX_CHECK_OK(px_loop_create(&loop));
    PX_CHECK_OK(px_target_openai(loop, base, "key", &target));
    PX_CHECK_OK(px_prompts_make(
        &(px_prompts_random){.count = 3, .tokens = 4, .vocabulary_max = 9}, &prompts));
    options.model = "m";
    options.requests = 6;
    options.output_tokens = 3;
    options.timeout_ns = 20 * PX_SEC;
    px_status status = px_bench_run(loop, target, &prompts, &options, out);
    if (px_is_ok(status)) PX_CHECK(s.asked == 6 + (int)options.warmups);
    px_prompts_done(&prompts);
    px_loop_free(loop);
    script_end(&s);
    return status;
}

static px_status run_against(const char *answer, px_bench_options options, px_bench_result *out)
{
    options.warmups = 2;
    return run_against_two(answer, NULL, options, out);
}

static const char good[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    "data: {\"choices\":[{\"text\":\"a\"}]}\n\n"
    "data: {\"choices\":[{\"text\":\"b\"}],\"usage\":null}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":3}}\n\n"
    "data: [DONE]\n\n";

PX_TEST(a_closed_loop_counts_what_the_server_says)
{
    px_bench_result result;
    PX_CHECK_OK(run_against(good, (px_bench_options){.concurrency = 2}, &result));
    PX_CHECK(result.measures.completed == 6 && result.measures.failed == 0);
    PX_CHECK(result.measures.prompt_tokens == 24 && result.measures.output_tokens == 18);
    PX_CHECK(result.measures.itl_ms.count == 6 && result.measures.tpot_ms.count == 6);
}

PX_TEST(the_first_requests_may_be_left_out_of_what_is_measured)
{
    px_bench_result result;
    PX_CHECK_OK(run_against(good, (px_bench_options){.concurrency = 2, .skip_first = 4}, &result));
    PX_CHECK(result.measures.completed == 2 && result.measures.output_tokens == 6);
    PX_CHECK(result.measures.ttft_ms.count == 2 && result.measures.itl_ms.count == 2);
}

PX_TEST(an_open_loop_sends_them_all)
{
    px_bench_result result;
    PX_CHECK_OK(run_against(good, (px_bench_options){.rate = 500, .burstiness = 1}, &result));
    PX_CHECK(result.measures.completed == 6 && result.measures.failed == 0);
}

PX_TEST(gaps_of_answers_that_fail_later_are_not_counted)
{
    static const char fails[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        "data: {\"choices\":[{\"text\":\"a\"}]}\n\n"
        "data: {\"choices\":[{\"text\":\"b\"}]}\n\n"
        "data: {\"choices\":[{\"text\":\"c\"}]}\n\n"
        "data: {\"error\":{\"message\":\"lost\"}}\n\n";
    px_bench_result result;
    PX_CHECK_OK(run_against_two(good, fails, (px_bench_options){.concurrency = 1}, &result));
    PX_CHECK(result.measures.completed == 3 && result.measures.failed == 3);
    PX_CHECK(strstr(result.first_failure.text, "lost"));
    PX_CHECK(result.measures.itl_ms.count == 3); /* one of each good answer */
}

PX_TEST(a_refusal_is_told_in_the_servers_words)
{
    px_bench_result result;
    px_status status =
        run_against("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 32\r\nConnection: close\r\n"
                    "\r\n{\"error\":{\"message\":\"come later\"}}",
            (px_bench_options){.concurrency = 2}, &result);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && strstr(status.text, "come later"));
}

PX_TEST(an_answer_that_is_no_stream_is_a_failure)
{
    px_bench_result result;
    px_status status = run_against("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: nonsense\n\n",
        (px_bench_options){.concurrency = 2}, &result);
    PX_CHECK(!px_is_ok(status));
}

PX_TEST_MAIN()
