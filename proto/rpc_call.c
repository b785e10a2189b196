/* rpc_call.c - one call at the server, from its acceptance to its end.
 *
 *   accepted → [on_open] → message, message ... → [half-close] → finish → closed
 *
 * Three kinds of operation are in flight on a call: the receive of the next message, one send
 * (sender.h), and the watch for the call's end, a batch of its own so that a cancel is seen at
 * once. Each holds a reference; the memory goes with the last.
 */
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proto/codec.h"
#include "proto/rpc_server.h"
#include "proto/sender.h"
#include "proto/retry.h"

/* A call whose request does not come holds memory for nothing. */
#define REQUEST_PATIENCE_NS (30 * PX_SEC)

typedef struct metadata_copy { /* a value with the NUL that gRPC's slices lack */
    struct metadata_copy *next;
    size_t index; /* in the metadata array */
    char text[];
} metadata_copy;

struct px_rpc_call {
    int references; /* operations in flight */
    px_rpc_server *server;
    const px_rpc_method *method; /* NULL: unknown */
    void *service, *user;
    grpc_call *call;
    grpc_metadata_array metadata;
    metadata_copy *metadata_copies;
    char *peer;
    int64_t deadline_ns;
    px_loop_timer *request_timer; /* until the request is there */

    px_rpc_sender sender;
    px_rpc_flush flush;
    grpc_slice status_text;
    px_rpc_retry retry;
    px_rpc_tag receive_tag, close_tag;
    grpc_byte_buffer *received;
    int cancelled;
    bool announced; /* the service knows the call, so it gets on_closed */
    bool finished;  /* by us */
    bool closed;    /* nothing more is told to the service */
};

static void call_unref(px_rpc_call *call)
{
    if (--call->references > 0) return;
    px_rpc_sender_done(&call->sender);
    grpc_call_unref(call->call);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_slice_unref(call->status_text);
    px_rpc_retry_done(&call->retry);
    if (call->peer) gpr_free(call->peer);
    while (call->metadata_copies) {
        metadata_copy *next = call->metadata_copies->next;
        free(call->metadata_copies);
        call->metadata_copies = next;
    }
    px_rpc_server_call_ended(call->server);
    free(call);
}

static void kick(px_rpc_call *call)
{
    if (px_rpc_sender_kick(&call->sender)) call->references++;
}

static void on_flush(void *owner)
{
    px_rpc_call *call = owner;
    kick(call);
    call_unref(call);
}

static void flush_later(px_rpc_call *call)
{
    if (px_rpc_flush_later(call->server->rpc, &call->flush)) call->references++;
}

static void stop_request_timer(px_rpc_call *call)
{
    px_loop_cancel(call->server->rpc->loop, call->request_timer);
    call->request_timer = NULL;
}

/* --- receiving --- */

static void receive(px_rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->received};
    call->references++;
    px_rpc_start_batch(call->call, &op, 1, &call->receive_tag);
}

/* The client sends no more, or the call is gone: then the close follows at once. */
static void on_no_more(px_rpc_call *call)
{
    if (call->method->kind != PX_RPC_BIDI)
        px_rpc_call_finish(call, px_fail(PX_INVALID_ARGUMENT, "the call ended without a request"));
    else if (call->method->on_half_close)
        call->method->on_half_close(call->service, call);
    else
        px_rpc_call_finish(call, px_ok());
}

static void on_request(px_rpc_call *call)
{
    const ProtobufCMessage *message;
    px_status status =
        px_rpc_decode(&call->server->rpc->scratch, call->method->request, call->received, &message);
    grpc_byte_buffer_destroy(call->received);
    call->received = NULL;
    if (status.code != PX_OK) {
        px_rpc_call_finish(call, status);
        return;
    }
    call->announced = true;
    call->method->on_message(call->service, call, message);
    if (call->method->kind == PX_RPC_BIDI && !call->finished && !call->closed) receive(call);
}

static void on_received(void *owner, bool ok)
{
    px_rpc_call *call = owner;
    stop_request_timer(call);
    if (call->finished || call->closed) {
        if (call->received) grpc_byte_buffer_destroy(call->received);
    } else if (ok && call->received) {
        on_request(call);
    } else {
        on_no_more(call);
    }
    call_unref(call);
}

static void on_request_late(void *arg)
{
    px_rpc_call *call = arg;
    call->request_timer = NULL;
    px_rpc_call_finish(call, px_fail(PX_DEADLINE_EXCEEDED, "the request did not arrive in time"));
}

/* --- sending --- */

static void on_sent(void *owner, bool ok)
{
    px_rpc_call *call = owner;
    bool room_again = px_rpc_sender_completed(&call->sender, ok);
    kick(call);
    if (room_again && !call->closed && call->method->on_writable)
        call->method->on_writable(call->service, call);
    call_unref(call);
}

px_status px_rpc_call_send(px_rpc_call *call, const ProtobufCMessage *message)
{
    PX_TRY(px_rpc_sender_push(&call->sender, message));
    flush_later(call);
    return px_ok();
}

void px_rpc_call_finish(px_rpc_call *call, px_status status)
{
    if (call->finished) return;
    call->finished = true;
    call->status_text = grpc_slice_from_copied_string(status.text);
    px_rpc_retry_init(&call->retry, &status);
    grpc_op final = {
        .op = GRPC_OP_SEND_STATUS_FROM_SERVER,
        .data.send_status_from_server = {.status = (grpc_status_code)status.code,
            .status_details = &call->status_text,
            .trailing_metadata = call->retry.trailers,
            .trailing_metadata_count = call->retry.count},
    };
    px_rpc_sender_end(&call->sender, final);
    flush_later(call);
}

void px_rpc_call_abort(px_rpc_call *call, px_status status)
{
    if (call->closed) return;
    call->finished = true;
    px_rpc_sender_break(&call->sender);
    (void)grpc_call_cancel_with_status(
        call->call, (grpc_status_code)status.code, status.text, NULL);
}

/* --- the end --- */

static void on_closed(void *owner, bool ok)
{
    px_rpc_call *call = owner;
    stop_request_timer(call);
    call->closed = true;
    if (call->cancelled) px_rpc_sender_break(&call->sender);
    if (call->announced && call->method->on_closed)
        call->method->on_closed(call->service, call, call->cancelled != 0);
    call_unref(call);
}

static void watch_close(px_rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
        .data.recv_close_on_server.cancelled = &call->cancelled};
    call->references++;
    px_rpc_start_batch(call->call, &op, 1, &call->close_tag);
}

/* --- the beginning --- */

static int64_t to_monotonic_ns(gpr_timespec deadline)
{
    deadline = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
    if (gpr_time_cmp(deadline, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0) return INT64_MAX;
    return deadline.tv_sec * PX_SEC + deadline.tv_nsec;
}

static px_status admit(const px_rpc_call *call, grpc_slice path)
{
    if (!call->method)
        return px_fail(PX_UNIMPLEMENTED, "there is no method '%.*s' here",
            (int)(GRPC_SLICE_LENGTH(path) < 100 ? GRPC_SLICE_LENGTH(path) : 100),
            (const char *)GRPC_SLICE_START_PTR(path));
    if (call->server->shutting_down) return px_fail(PX_UNAVAILABLE, "the server is shutting down");
    if (call->server->calls_open > PX_RPC_CALLS_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "the server has %d open calls; try again later",
            (int)PX_RPC_CALLS_MAX);
    return px_ok();
}

void px_rpc_call_start(
    px_rpc_server *server, px_rpc_accepted *accepted, const px_rpc_method *method, void *service)
{
    px_rpc_call *call = px_alloc(sizeof *call);
    call->server = server;
    call->method = method;
    call->service = service;
    call->call = accepted->call;
    call->metadata = accepted->metadata;
    call->deadline_ns = to_monotonic_ns(accepted->details.deadline);
    call->status_text = grpc_empty_slice();
    call->receive_tag = (px_rpc_tag){on_received, call};
    call->close_tag = (px_rpc_tag){on_closed, call};
    call->flush = (px_rpc_flush){.fn = on_flush, .owner = call};
    px_rpc_sender_init(
        &call->sender, call->call, (px_rpc_tag){on_sent, call}, server->send_queue_bytes);
    server->calls_open++;
    px_status status = admit(call, accepted->details.method);
    grpc_call_details_destroy(&accepted->details);
    watch_close(call);
    if (status.code != PX_OK) {
        px_rpc_call_finish(call, status);
        return;
    }
    if (method->kind == PX_RPC_BIDI) {
        call->announced = true;
        if (method->on_open) method->on_open(service, call);
        if (call->finished) return;
    } else {
        call->request_timer =
            px_loop_after(server->rpc->loop, REQUEST_PATIENCE_NS, on_request_late, call);
    }
    receive(call);
}

/* --- what a service asks of its call --- */

void px_rpc_call_set_user(px_rpc_call *call, void *user)
{
    call->user = user;
}
void *px_rpc_call_user(const px_rpc_call *call)
{
    return call->user;
}
int64_t px_rpc_call_deadline_ns(const px_rpc_call *call)
{
    return call->deadline_ns;
}

const char *px_rpc_call_peer(px_rpc_call *call)
{
    if (!call->peer) call->peer = grpc_call_get_peer(call->call);
    return call->peer;
}

static const char *copy_metadata(px_rpc_call *call, size_t index)
{
    for (metadata_copy *copy = call->metadata_copies; copy; copy = copy->next)
        if (copy->index == index) return copy->text;
    grpc_slice value = call->metadata.metadata[index].value;
    size_t length = GRPC_SLICE_LENGTH(value);
    metadata_copy *copy = px_alloc(sizeof *copy + length + 1);
    memcpy(copy->text, GRPC_SLICE_START_PTR(value), length);
    copy->index = index;
    copy->next = call->metadata_copies;
    call->metadata_copies = copy;
    return copy->text;
}

const char *px_rpc_call_metadata(px_rpc_call *call, const char *key)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < call->metadata.count; i++) {
        grpc_slice name = call->metadata.metadata[i].key;
        if (GRPC_SLICE_LENGTH(name) == length &&
            memcmp(GRPC_SLICE_START_PTR(name), key, length) == 0)
            return copy_metadata(call, i);
    }
    return NULL;
}
