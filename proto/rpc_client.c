/* rpc_client.c - channels, and one call at the client from its opening to its status.
 *
 * In flight on a stream: the receive of the next message, one send (sender.h), and the wait for
 * the status. on_done is told when the status is there and every message before it was handed on.
 */
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proto/codec.h"
#include "proto/sender.h"
#include "proto/retry.h"

#define MESSAGE_BYTES_MAX    ((size_t)16 << 20)
#define KEEPALIVE_NS         (10 * PX_SEC) /* servers of ours allow pings each 5 s */
#define KEEPALIVE_TIMEOUT_NS (5 * PX_SEC)
#define BACKOFF_FIRST_NS     (100 * PX_MS)
#define BACKOFF_MAX_NS       (2 * PX_SEC)
#define CONNECT_PATIENCE_NS  (5 * PX_SEC)

struct px_rpc_channel {
    px_rpc *rpc;
    grpc_channel *channel;
};

struct px_rpc_stream {
    int references; /* operations in flight */
    px_rpc *rpc;
    px_rpc_stream *next, **link; /* in rpc->streams */
    px_rpc_client_call options;
    grpc_call *call;

    px_rpc_sender sender;
    px_rpc_flush flush;
    grpc_metadata send_metadata;
    grpc_metadata_array initial_metadata, trailing_metadata;
    px_rpc_tag receive_tag, status_tag;
    grpc_byte_buffer *received;
    grpc_status_code code;
    grpc_slice code_text;
    px_status failure;                   /* ours, which caused a cancel; OK: none */
    bool receive_ended, status_received; /* both: done */
    bool cancelled;
};

/* --- channels --- */

px_status px_rpc_channel_create(px_rpc *rpc, const char *target, px_rpc_channel **out)
{
    char address[512];
    int used = snprintf(address, sizeof address, "dns:///%s", target);
    if (!strchr(target, ':') || used >= (int)sizeof address)
        return px_fail(PX_INVALID_ARGUMENT, "'%.100s' is not an address; write HOST:PORT", target);
    grpc_arg args[PX_RPC_COMMON_ARGS + 11];
    size_t count = px_rpc_common_args(rpc, MESSAGE_BYTES_MAX, args, 0);
    args[count++] = px_rpc_int_arg(GRPC_ARG_ENABLE_RETRIES, 0); /* the caller decides */
    args[count++] = px_rpc_int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    args[count++] = px_rpc_int_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
    args[count++] = px_rpc_int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    args[count++] = px_rpc_int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_NS / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_NS / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    args[count++] = px_rpc_int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, BACKOFF_FIRST_NS / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, BACKOFF_MAX_NS / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_PATIENCE_NS / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    px_rpc_channel *channel = px_alloc(sizeof *channel);
    channel->rpc = rpc;
    channel->channel = grpc_channel_create(
        address, credentials, &(grpc_channel_args){.num_args = count, .args = args});
    grpc_channel_credentials_release(credentials);
    *out = channel;
    return px_ok();
}

void px_rpc_channel_free(px_rpc_channel *channel)
{
    if (!channel) return;
    grpc_channel_destroy(channel->channel);
    free(channel);
}

/* --- the end of a stream --- */

static px_status final_status(const px_rpc_stream *stream)
{
    if (stream->failure.code != PX_OK) return stream->failure;
    if (stream->code == GRPC_STATUS_OK) return px_ok();
    size_t length = GRPC_SLICE_LENGTH(stream->code_text);
    px_code code = (unsigned)stream->code < PX_CODE_COUNT ? (px_code)stream->code : PX_UNKNOWN;
    px_status status =
        px_fail(code, "%.*s", (int)length, (const char *)GRPC_SLICE_START_PTR(stream->code_text));
    status.retry_ms = px_rpc_retry_read(&stream->trailing_metadata);
    return status;
}

static void stream_unref(px_rpc_stream *stream)
{
    if (--stream->references > 0) return;
    *stream->link = stream->next;
    if (stream->next) stream->next->link = stream->link;
    px_rpc_sender_done(&stream->sender);
    grpc_call_unref(stream->call);
    grpc_metadata_array_destroy(&stream->initial_metadata);
    grpc_metadata_array_destroy(&stream->trailing_metadata);
    grpc_slice_unref(stream->send_metadata.key);
    grpc_slice_unref(stream->send_metadata.value);
    grpc_slice_unref(stream->code_text);
    free(stream);
}

static void maybe_done(px_rpc_stream *stream)
{
    if (!stream->receive_ended || !stream->status_received) return;
    px_rpc_sender_break(&stream->sender);
    stream->options.on_done(stream->options.arg, stream, final_status(stream));
}

static void on_status(void *owner, bool ok)
{
    px_rpc_stream *stream = owner;
    stream->status_received = true;
    maybe_done(stream);
    stream_unref(stream);
}

void px_rpc_stream_cancel(px_rpc_stream *stream)
{
    if (stream->cancelled) return;
    stream->cancelled = true;
    if (stream->failure.code == PX_OK)
        stream->failure = px_fail(PX_CANCELLED, "the call was cancelled");
    grpc_call_cancel(stream->call, NULL);
}

void px_rpc_cancel_streams(px_rpc *rpc)
{
    for (px_rpc_stream *stream = rpc->streams; stream; stream = stream->next)
        px_rpc_stream_cancel(stream);
}

/* --- receiving --- */

static void receive(px_rpc_stream *stream)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->received};
    stream->references++;
    px_rpc_start_batch(stream->call, &op, 1, &stream->receive_tag);
}

static void hand_on(px_rpc_stream *stream)
{
    const ProtobufCMessage *message;
    px_status status =
        px_rpc_decode(&stream->rpc->scratch, stream->options.response, stream->received, &message);
    if (status.code != PX_OK) {
        stream->failure = px_fail(PX_INTERNAL, "the server's answer is malformed");
        px_rpc_stream_cancel(stream);
        return;
    }
    stream->options.on_message(stream->options.arg, stream, message);
}

static void on_received(void *owner, bool ok)
{
    px_rpc_stream *stream = owner;
    if (ok && stream->received) {
        if (!stream->cancelled) hand_on(stream);
        grpc_byte_buffer_destroy(stream->received);
        stream->received = NULL;
        receive(stream);
    } else {
        stream->receive_ended = true;
        maybe_done(stream);
    }
    stream_unref(stream);
}

/* --- sending --- */

static void kick(px_rpc_stream *stream)
{
    if (px_rpc_sender_kick(&stream->sender)) stream->references++;
}

static void on_flush(void *owner)
{
    px_rpc_stream *stream = owner;
    kick(stream);
    stream_unref(stream);
}

static void flush_later(px_rpc_stream *stream)
{
    if (px_rpc_flush_later(stream->rpc, &stream->flush)) stream->references++;
}

static void on_sent(void *owner, bool ok)
{
    px_rpc_stream *stream = owner;
    (void)px_rpc_sender_completed(&stream->sender, ok);
    kick(stream);
    stream_unref(stream);
}

px_status px_rpc_stream_send(px_rpc_stream *stream, const ProtobufCMessage *message)
{
    PX_TRY(px_rpc_sender_push(&stream->sender, message));
    flush_later(stream);
    return px_ok();
}

void px_rpc_stream_half_close(px_rpc_stream *stream)
{
    if (stream->sender.ending) return;
    px_rpc_sender_end(&stream->sender, (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT});
    flush_later(stream);
}

/* --- the beginning --- */

static px_status set_metadata(px_rpc_stream *stream)
{
    const char *key = stream->options.metadata_key, *value = stream->options.metadata_value;
    if (!key || !value) return px_ok();
    stream->send_metadata.key = grpc_slice_from_copied_string(key);
    stream->send_metadata.value = grpc_slice_from_copied_string(value);
    if (!grpc_header_key_is_legal(stream->send_metadata.key) ||
        !grpc_header_nonbin_value_is_legal(stream->send_metadata.value))
        return px_fail(PX_INVALID_ARGUMENT, "'%.40s' cannot be sent as metadata", key);
    grpc_op *initial = &stream->sender.initial;
    initial->data.send_initial_metadata.count = 1;
    initial->data.send_initial_metadata.metadata = &stream->send_metadata;
    return px_ok();
}

/* Asks for all that comes back. The metadata follows once the caller has had its chance to send
 * the request with it; it goes out in any case, so that the server sees the call. */
static void start(px_rpc_stream *stream)
{
    grpc_op status_op = {
        .op = GRPC_OP_RECV_STATUS_ON_CLIENT,
        .data.recv_status_on_client = {.trailing_metadata = &stream->trailing_metadata,
            .status = &stream->code,
            .status_details = &stream->code_text},
    };
    stream->references++;
    px_rpc_start_batch(stream->call, &status_op, 1, &stream->status_tag);
    grpc_op first_ops[2] = {
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
            .data.recv_initial_metadata.recv_initial_metadata = &stream->initial_metadata},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->received},
    };
    stream->references++;
    px_rpc_start_batch(stream->call, first_ops, 2, &stream->receive_tag);
    stream->sender.opening = true;
    flush_later(stream);
}

px_status px_rpc_stream_open(
    px_rpc_channel *channel, const px_rpc_client_call *options, px_rpc_stream **out)
{
    px_rpc *rpc = channel->rpc;
    if (rpc->closing) return px_fail(PX_UNAVAILABLE, "this process is shutting down");
    px_rpc_stream *stream = px_alloc(sizeof *stream);
    stream->rpc = rpc;
    stream->options = *options;
    stream->send_metadata.key = stream->send_metadata.value = grpc_empty_slice();
    stream->code_text = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial_metadata);
    grpc_metadata_array_init(&stream->trailing_metadata);
    stream->receive_tag = (px_rpc_tag){on_received, stream};
    stream->status_tag = (px_rpc_tag){on_status, stream};
    stream->flush = (px_rpc_flush){.fn = on_flush, .owner = stream};

    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (options->timeout_ns > 0)
        deadline = gpr_time_add(
            gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(options->timeout_ns, GPR_TIMESPAN));
    grpc_slice path = grpc_slice_from_copied_string(options->path);
    stream->call = grpc_channel_create_call(
        channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, rpc->queue, path, NULL, deadline, NULL);
    grpc_slice_unref(path);

    px_rpc_sender_init(
        &stream->sender, stream->call, (px_rpc_tag){on_sent, stream}, MESSAGE_BYTES_MAX);
    if (options->wait_for_ready)
        stream->sender.initial.flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY;
    stream->next = rpc->streams;
    stream->link = &rpc->streams;
    if (stream->next) stream->next->link = &stream->next;
    rpc->streams = stream;

    px_status status = set_metadata(stream);
    if (status.code != PX_OK) {
        stream->references = 1;
        stream_unref(stream);
        return status;
    }
    start(stream);
    *out = stream;
    return px_ok();
}
