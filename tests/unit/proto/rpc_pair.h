/* rpc_pair.h - a server and a client of ours in one process, over loopback, on one thread.
 *
 * Messages are TokenizeRequest and TokenizeResponse: a name, bytes, and a list of numbers.
 */
#ifndef PX_TEST_RPC_PAIR_H
#define PX_TEST_RPC_PAIR_H

#include "base/clock.h"
#include "phalanx/v1/inference.pb-c.h"
#include "proto/rpc.h"
#include "test.h"

typedef Phalanx__V1__TokenizeRequest test_request;
typedef Phalanx__V1__TokenizeResponse test_response;
#define TEST_REQUEST  (&phalanx__v1__tokenize_request__descriptor)
#define TEST_RESPONSE (&phalanx__v1__tokenize_response__descriptor)

enum { PATIENCE_S = 20 }; /* far more than anything here takes; then the test fails */

typedef struct rpc_pair {
    px_loop *loop;
    px_rpc *rpc;
    px_rpc_server *server;
    px_rpc_channel *channel;
    bool late;
} rpc_pair;

/* Without a server yet: add services, then pair_start(). */
static inline void pair_open(rpc_pair *pair, px_rpc_server_options options)
{
    *pair = (rpc_pair){0};
    if (!options.listen) options.listen = "127.0.0.1:0";
    PX_CHECK_OK(px_loop_create(&pair->loop));
    PX_CHECK_OK(px_rpc_create(pair->loop, &pair->rpc));
    PX_CHECK_OK(px_rpc_server_create(pair->rpc, &options, &pair->server));
}

static inline void pair_start(rpc_pair *pair)
{
    char target[64];
    PX_CHECK_OK(px_rpc_server_start(pair->server));
    snprintf(target, sizeof target, "127.0.0.1:%d", px_rpc_server_port(pair->server));
    PX_CHECK_OK(px_rpc_channel_create(pair->rpc, target, &pair->channel));
}

static inline void pair_close(rpc_pair *pair)
{
    px_rpc_channel_free(pair->channel);
    px_rpc_free(pair->rpc);
    px_loop_free(pair->loop);
}

static inline void pair_too_late(void *arg)
{
    rpc_pair *pair = arg;
    pair->late = true;
    px_rpc_stop(pair->rpc);
}

/* Runs until something calls px_rpc_stop(). */
static inline void pair_run(rpc_pair *pair)
{
    px_loop_timer *limit = px_loop_after(pair->loop, PATIENCE_S * PX_SEC, pair_too_late, pair);
    px_rpc_run(pair->rpc);
    PX_CHECK(!pair->late);
    if (!pair->late) px_loop_cancel(pair->loop, limit);
}

static inline void pair_stop(void *arg)
{
    px_rpc_stop(((rpc_pair *)arg)->rpc);
}

static inline void pair_run_for(rpc_pair *pair, int64_t ns)
{
    px_loop_after(pair->loop, ns, pair_stop, pair);
    px_rpc_run(pair->rpc);
}

/* What a client saw of one call. */
typedef struct client_log {
    rpc_pair *pair;
    px_rpc_stream *stream;
    px_status status;
    int messages, done;
    uint32_t last_id, count_ids; /* of the responses */
    int cancel_after;            /* messages; 0: never */
    bool keep_running;           /* do not stop the loop on the end */
} client_log;

static inline void log_message(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    client_log *log = arg;
    const test_response *response = (const test_response *)message;
    log->messages++;
    log->count_ids += (uint32_t)response->n_ids;
    if (response->n_ids) log->last_id = response->ids[response->n_ids - 1];
    if (log->messages == log->cancel_after) px_rpc_stream_cancel(stream);
}

static inline void log_done(void *arg, px_rpc_stream *stream, px_status status)
{
    client_log *log = arg;
    log->done++;
    log->status = status;
    log->stream = NULL;
    if (!log->keep_running) px_rpc_stop(log->pair->rpc);
}

/* Opens a call whose events go to `log`. */
static inline void client_open(client_log *log, px_rpc_client_call call)
{
    call.response = TEST_RESPONSE;
    call.on_message = log_message;
    call.on_done = log_done;
    call.arg = log;
    PX_CHECK_OK(px_rpc_stream_open(log->pair->channel, &call, &log->stream));
}

static inline px_status client_send(client_log *log, const char *model, size_t text_bytes)
{
    test_request request = PHALANX__V1__TOKENIZE_REQUEST__INIT;
    static uint8_t text[1 << 20];
    request.model = (char *)model;
    request.text = (ProtobufCBinaryData){.len = text_bytes, .data = text};
    return px_rpc_stream_send(log->stream, &request.base);
}

/* One request, run to its end. */
static inline void client_ask(client_log *log, px_rpc_client_call call, const char *model)
{
    client_open(log, call);
    PX_CHECK_OK(client_send(log, model, 0));
    px_rpc_stream_half_close(log->stream);
    pair_run(log->pair);
}

#endif
