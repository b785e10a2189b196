/* rpc.h - gRPC for this project: one polling thread and one completion queue a process.
 *
 * Every callback runs on the thread inside px_rpc_run(), which also dispatches the px_loop (timers,
 * descriptors, posts), so a process keeps its state on one thread without locks. What a callback
 * sends leaves once it has returned.
 * Threads: px_rpc_wake() and px_rpc_stop() from any thread; everything else on the polling thread
 *          (or before run).
 * Memory:  requests are unpacked under a budget (max_message_bytes and an amplification bound);
 *          malformed ones end as INVALID_ARGUMENT before a handler sees them.
 * Messages are protobuf-c's; the descriptor travels with the method.
 */
#ifndef PX_PROTO_RPC_H
#define PX_PROTO_RPC_H

#include <protobuf-c/protobuf-c.h>

#include "base/loop.h"
#include "base/status.h"

typedef struct px_rpc px_rpc;

/* `loop` is borrowed and must outlive the rpc. */
px_status px_rpc_create(px_loop *loop, px_rpc **out) PX_MUST_USE;
/* Cancels what is still open, on both sides; its on_closed and on_done are called in here, so the
 * services must still be there. Frees the servers; the channels must be freed already. NULL is
 * fine. */
void px_rpc_free(px_rpc *rpc);
/* Polls until px_rpc_stop(). */
void px_rpc_run(px_rpc *rpc);
void px_rpc_stop(px_rpc *rpc);
/* Any thread: have on_wake run on the polling thread soon; wakes coalesce; about 0.2 us. */
void px_rpc_wake(px_rpc *rpc);
void px_rpc_on_wake(px_rpc *rpc, void (*fn)(void *arg), void *arg);

/* ------------------------------------------------------------------------------ server */

typedef struct px_rpc_server px_rpc_server;
typedef struct px_rpc_call px_rpc_call;

typedef enum px_rpc_kind { PX_RPC_UNARY, PX_RPC_SERVER_STREAM, PX_RPC_BIDI } px_rpc_kind;

typedef struct px_rpc_method {
    const char *path; /* "/phalanx.v1.Inference/Generate" */
    px_rpc_kind kind;
    const ProtobufCMessageDescriptor *request;
    /* BIDI: the stream opened; set a user pointer, or finish to refuse. NULL: nothing to do. */
    void (*on_open)(void *service, px_rpc_call *call);
    /* A request (the only one, unless BIDI). `message` is borrowed for the call. */
    void (*on_message)(void *service, px_rpc_call *call, const ProtobufCMessage *message);
    /* BIDI: the client sends no more (a cancel may look so too; then on_closed follows). NULL: the
     * call is finished with OK. */
    void (*on_half_close)(void *service, px_rpc_call *call);
    /* Always the last callback of a call that was opened or got a message: it ended, finished by us
     * (cancelled false) or gone (cancelled, deadline, lost connection: true). Drop all pointers to
     * the call here. */
    void (*on_closed)(void *service, px_rpc_call *call, bool cancelled);
    /* The send queue drained to half its bound after px_rpc_call_send reported it full. NULL:
     * nothing to do. */
    void (*on_writable)(void *service, px_rpc_call *call);
} px_rpc_method;

typedef struct px_rpc_server_options {
    const char *listen; /* "127.0.0.1:8081"; port 0: an ephemeral one below the TIME-WAIT range */
    size_t max_message_bytes;     /* 0: 16 MiB */
    size_t send_queue_bytes;      /* bound of one call's unsent messages; 0: 1 MiB */
    int64_t min_ping_interval_ns; /* keepalive pings clients may send; 0: 5 s */
} px_rpc_server_options;

px_status px_rpc_server_create(
    px_rpc *rpc, const px_rpc_server_options *options, px_rpc_server **out) PX_MUST_USE;
/* Before start. `methods` ends with {0} and is borrowed, as is `service`. */
void px_rpc_server_add(px_rpc_server *server, const px_rpc_method *methods, void *service);
/* grpc.health.v1 for "" (the whole server), every service added, and every name given to
 * set_health; what was not set is said to serve from the start on. */
void px_rpc_server_add_health(px_rpc_server *server);
void px_rpc_server_set_health(px_rpc_server *server, const char *service, bool serving);
/* grpc.reflection v1 and v1alpha: the services added, and the descriptors of all our protos. */
void px_rpc_server_add_reflection(px_rpc_server *server);
/* A busy port is FAILED_PRECONDITION with a sentence that names it. */
px_status px_rpc_server_start(px_rpc_server *server) PX_MUST_USE;
int px_rpc_server_port(const px_rpc_server *server);
/* Health says NOT_SERVING, new calls get UNAVAILABLE, running ones have `grace_ns` to end, then are
 * cancelled; then `fn` (NULL: nobody). The server itself is freed with the rpc. */
void px_rpc_server_shutdown(px_rpc_server *server, int64_t grace_ns, px_loop_fn fn, void *arg);

void px_rpc_call_set_user(px_rpc_call *call, void *user);
void *px_rpc_call_user(const px_rpc_call *call);
/* px_now_ns() scale; INT64_MAX: none. */
int64_t px_rpc_call_deadline_ns(const px_rpc_call *call);
/* Both are borrowed until on_closed. */
const char *px_rpc_call_peer(px_rpc_call *call);                      /* "ipv4:127.0.0.1:40112" */
const char *px_rpc_call_metadata(px_rpc_call *call, const char *key); /* lower case; NULL: absent */
/* Queues a message, packed at once. Never blocks. RESOURCE_EXHAUSTED: the queue is over its bound
 * (the message was not queued); the caller pauses until on_writable or finishes the call. A single
 * message may be larger than the bound. FAILED_PRECONDITION: finished; CANCELLED: gone. */
px_status px_rpc_call_send(px_rpc_call *call, const ProtobufCMessage *message) PX_MUST_USE;
/* Ends the call after what is queued; the first status counts, its retry_ms goes into trailers. A
 * unary call sends its answer first with px_rpc_call_send. */
void px_rpc_call_finish(px_rpc_call *call, px_status status);
/* Ends the call at once: what is queued is dropped, the client sees `status` (not OK), on_closed
 * follows with cancelled true. For peers that do not read. */
void px_rpc_call_abort(px_rpc_call *call, px_status status);

/* ------------------------------------------------------------------------------ client */

typedef struct px_rpc_channel px_rpc_channel;
typedef struct px_rpc_stream px_rpc_stream;

/* Connects lazily and again after a loss, with backoff. `target` "host:port". Streams still
 * open when it is freed may end with UNAVAILABLE. */
px_status px_rpc_channel_create(px_rpc *rpc, const char *target, px_rpc_channel **out) PX_MUST_USE;
void px_rpc_channel_free(px_rpc_channel *channel);

typedef struct px_rpc_client_call {
    const char *path;
    const ProtobufCMessageDescriptor *response;
    int64_t timeout_ns;  /* 0: none */
    bool wait_for_ready; /* keep dialling instead of failing at once with UNAVAILABLE */
    const char *metadata_key, *metadata_value; /* one pair, or NULL */
    void (*on_message)(
        void *arg, px_rpc_stream *stream, const ProtobufCMessage *message); /* borrowed */
    /* Once, last; the stream is freed after it. OK, the server's status, or UNAVAILABLE. */
    void (*on_done)(void *arg, px_rpc_stream *stream, px_status status);
    void *arg;
} px_rpc_client_call;

/* Opens a call of any kind; send the request(s) with px_rpc_stream_send, then half_close. The
 * options' strings are not needed after it. Answers over 16 MiB end as RESOURCE_EXHAUSTED; requests
 * that wait to be sent are bounded by as much. */
px_status px_rpc_stream_open(
    px_rpc_channel *channel, const px_rpc_client_call *call, px_rpc_stream **out) PX_MUST_USE;
px_status px_rpc_stream_send(px_rpc_stream *stream, const ProtobufCMessage *message) PX_MUST_USE;
void px_rpc_stream_half_close(px_rpc_stream *stream);
void px_rpc_stream_cancel(px_rpc_stream *stream); /* on_done follows with CANCELLED */

#endif
