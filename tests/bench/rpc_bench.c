/* rpc_bench.c - what a call, a streamed token, a wake and a cancel cost.
 *
 *   rpc_bench          a server process and a client process over loopback
 *
 * First checks that the answers are right, then times. The two share the machine's cores, so these
 * are end-to-end figures of both sides, not limits.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "phalanx/v1/inference.pb-c.h"
#include "proto/rpc.h"

enum { ROUND_CALLS = 20000, STREAM_PARTS = 100000, WAKES = 100000, CANCELS = 200 };

static void require(px_status status)
{
    if (status.code == PX_OK) return;
    fprintf(stderr, "rpc_bench: %s\n", status.text);
    exit(1);
}

/* --- the server process --- */

typedef struct stream_state {
    uint32_t sent, total; /* total 0: send one part, then wait to be cancelled */
} stream_state;

static px_status send_part(px_rpc_call *call, uint32_t id)
{
    Phalanx__V1__GenerateResponse part = PHALANX__V1__GENERATE_RESPONSE__INIT;
    part.n_token_ids = 1;
    part.token_ids = &id;
    part.text = (ProtobufCBinaryData){.len = 5, .data = (uint8_t *)" word"};
    return px_rpc_call_send(call, &part.base);
}

static void on_tokenize(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    Phalanx__V1__TokenizeResponse response = PHALANX__V1__TOKENIZE_RESPONSE__INIT;
    uint32_t ids[4] = {1, 2, 3, 4};
    response.n_ids = 4;
    response.ids = ids;
    px_rpc_call_finish(call, px_rpc_call_send(call, &response.base));
}

static void pump(void *service, px_rpc_call *call)
{
    stream_state *state = px_rpc_call_user(call);
    for (; state->sent < state->total; state->sent++)
        if (send_part(call, state->sent).code != PX_OK) return;
    px_rpc_call_finish(call, px_ok());
}

static void on_generate(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__GenerateRequest *request = (const void *)message;
    stream_state *state = calloc(1, sizeof *state);
    px_rpc_call_set_user(call, state);
    if (request->stopping) state->total = request->stopping->max_tokens;
    if (state->total)
        pump(service, call);
    else
        require(send_part(call, 0));
}

static void on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    free(px_rpc_call_user(call));
    int64_t now_ns = px_now_ns();
    if (cancelled && write(*(int *)service, &now_ns, sizeof now_ns) < 0) exit(1);
}

static const px_rpc_method methods[] = {{.path = "/phalanx.v1.Inference/Tokenize",
                                            .kind = PX_RPC_UNARY,
                                            .request = &phalanx__v1__tokenize_request__descriptor,
                                            .on_message = on_tokenize},
    {.path = "/phalanx.v1.Inference/Generate",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &phalanx__v1__generate_request__descriptor,
        .on_message = on_generate,
        .on_closed = on_closed,
        .on_writable = pump},
    {0}};

__attribute__((noreturn)) static void serve(int report_fd)
{
    px_loop *loop;
    px_rpc *rpc;
    px_rpc_server *server;
    require(px_loop_create(&loop));
    require(px_rpc_create(loop, &rpc));
    require(px_rpc_server_create(rpc, &(px_rpc_server_options){.listen = "127.0.0.1:0"}, &server));
    px_rpc_server_add(server, methods, &report_fd);
    require(px_rpc_server_start(server));
    int64_t port = px_rpc_server_port(server);
    if (write(report_fd, &port, sizeof port) < 0) exit(1);
    px_rpc_run(rpc); /* until killed */
    exit(0);
}

/* --- the client process --- */

typedef struct bench {
    px_loop *loop;
    px_rpc *rpc;
    px_rpc_channel *channel;
    int report_fd;
    int started, done, limit;
    uint32_t parts;
    int64_t cancelled_ns;
    _Atomic int64_t woken_ns;
} bench;

static void require_true(bool fine, const char *what)
{
    if (fine) return;
    fprintf(stderr, "rpc_bench: wrong answer: %s\n", what);
    exit(1);
}

static void on_tokenized(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    require_true(((const Phalanx__V1__TokenizeResponse *)message)->n_ids == 4, "ids");
}

static void start_unary(bench *b);

static void on_unary_done(void *arg, px_rpc_stream *stream, px_status status)
{
    bench *b = arg;
    require(status);
    b->done++;
    if (b->started < b->limit) start_unary(b);
    if (b->done == b->limit) px_rpc_stop(b->rpc);
}

static void start_unary(bench *b)
{
    px_rpc_client_call call = {.path = "/phalanx.v1.Inference/Tokenize",
        .response = &phalanx__v1__tokenize_response__descriptor,
        .on_message = on_tokenized,
        .on_done = on_unary_done,
        .arg = b};
    px_rpc_stream *stream;
    Phalanx__V1__TokenizeRequest request = PHALANX__V1__TOKENIZE_REQUEST__INIT;
    b->started++;
    require(px_rpc_stream_open(b->channel, &call, &stream));
    require(px_rpc_stream_send(stream, &request.base));
    px_rpc_stream_half_close(stream);
}

static void bench_unary(bench *b, int in_flight)
{
    b->started = b->done = 0;
    b->limit = in_flight == 1 ? ROUND_CALLS / 4 : ROUND_CALLS;
    int64_t start_ns = px_now_ns();
    for (int i = 0; i < in_flight; i++) start_unary(b);
    px_rpc_run(b->rpc);
    double seconds = (double)(px_now_ns() - start_ns) / PX_SEC;
    printf("unary, %2d in flight     %8.0f calls/s  %6.1f us each\n", in_flight, b->limit / seconds,
        seconds * 1e6 / b->limit);
}

static void on_part(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    bench *b = arg;
    const Phalanx__V1__GenerateResponse *part = (const void *)message;
    require_true(part->n_token_ids == 1 && part->token_ids[0] == b->parts, "order of parts");
    b->parts++;
    if (b->limit) return;
    b->cancelled_ns = px_now_ns();
    px_rpc_stream_cancel(stream);
}

static void on_stream_done(void *arg, px_rpc_stream *stream, px_status status)
{
    bench *b = arg;
    if (b->limit) require(status);
    px_rpc_stop(b->rpc);
}

static void run_stream(bench *b, int parts)
{
    px_rpc_client_call call = {.path = "/phalanx.v1.Inference/Generate",
        .response = &phalanx__v1__generate_response__descriptor,
        .on_message = on_part,
        .on_done = on_stream_done,
        .arg = b};
    px_rpc_stream *stream;
    Phalanx__V1__GenerateRequest request = PHALANX__V1__GENERATE_REQUEST__INIT;
    Phalanx__V1__Stopping stopping = PHALANX__V1__STOPPING__INIT;
    b->limit = parts;
    b->parts = 0;
    stopping.max_tokens = (uint32_t)parts;
    request.stopping = &stopping;
    require(px_rpc_stream_open(b->channel, &call, &stream));
    require(px_rpc_stream_send(stream, &request.base));
    px_rpc_stream_half_close(stream);
    px_rpc_run(b->rpc);
}

static void bench_stream(bench *b)
{
    int64_t start_ns = px_now_ns();
    run_stream(b, STREAM_PARTS);
    require_true(b->parts == STREAM_PARTS, "count of parts");
    double seconds = (double)(px_now_ns() - start_ns) / PX_SEC;
    printf("one stream              %8.0f parts/s  %6.1f us each\n", STREAM_PARTS / seconds,
        seconds * 1e6 / STREAM_PARTS);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(const char *what, int64_t *ns, size_t count)
{
    qsort(ns, count, sizeof *ns, compare_ns);
    printf("%-22s  p50 %6.1f us  p99 %6.1f us\n", what, (double)ns[count / 2] / 1e3,
        (double)ns[count * 99 / 100] / 1e3);
}

static void bench_cancel(bench *b)
{
    static int64_t took_ns[CANCELS];
    for (int i = 0; i < CANCELS; i++) {
        int64_t seen_ns = 0;
        run_stream(b, 0);
        if (read(b->report_fd, &seen_ns, sizeof seen_ns) != sizeof seen_ns) exit(1);
        took_ns[i] = seen_ns - b->cancelled_ns;
    }
    print_quantiles("cancel to server", took_ns, CANCELS);
}

static void on_wake(void *arg)
{
    bench *b = arg;
    b->woken_ns = px_now_ns();
}

static void *wake_from_a_thread(void *arg)
{
    bench *b = arg;
    static int64_t took_ns[WAKES / 100];
    int64_t start_ns = px_now_ns();
    for (int i = 0; i < WAKES; i++) px_rpc_wake(b->rpc);
    printf("px_rpc_wake()           %8.3f us a call, coalescing\n",
        (double)(px_now_ns() - start_ns) / 1e3 / WAKES);
    for (int i = 0; i < WAKES / 100; i++) {
        px_sleep_ns(PX_MS / 5);
        b->woken_ns = 0;
        int64_t asked_ns = px_now_ns();
        px_rpc_wake(b->rpc);
        while (b->woken_ns == 0) px_sleep_ns(PX_MS / 50);
        took_ns[i] = b->woken_ns - asked_ns;
    }
    print_quantiles("wake to callback", took_ns, WAKES / 100);
    px_rpc_stop(b->rpc);
    return NULL;
}

int main(void)
{
    int report[2];
    int64_t port;
    if (pipe(report) != 0) return 1;
    pid_t server = fork(); /* before any gRPC */
    if (server == 0) serve(report[1]);
    if (server < 0 || read(report[0], &port, sizeof port) != sizeof port) return 1;
    bench b = {.report_fd = report[0]};
    char target[64];
    snprintf(target, sizeof target, "127.0.0.1:%d", (int)port);
    require(px_loop_create(&b.loop));
    require(px_rpc_create(b.loop, &b.rpc));
    require(px_rpc_channel_create(b.rpc, target, &b.channel));
    px_rpc_on_wake(b.rpc, on_wake, &b);

    bench_unary(&b, 1);
    bench_unary(&b, 64);
    bench_stream(&b);
    bench_cancel(&b);
    pthread_t thread;
    pthread_create(&thread, NULL, wake_from_a_thread, &b);
    px_rpc_run(b.rpc);
    pthread_join(thread, NULL);

    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    px_rpc_channel_free(b.channel);
    px_rpc_free(b.rpc);
    px_loop_free(b.loop);
    return 0;
}
