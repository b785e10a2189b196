/* uplink.c - see uplink.h.
 *
 *   dial -> (Register) -> waiting -> (Registered) -> up -> (stream ends) -> backoff -> dial …
 */
#include "cluster/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

enum {
    BACKOFF_FIRST_MS = 100,
    BACKOFF_LAST_MS = 5000,
    ANSWER_S = 5, /* without Registered for so long: say that nobody answers */
    HEARTBEAT_MS = 1000,
    HEARTBEAT_MIN_MS = 50,
    HEARTBEAT_MAX_MS = 60000
};

struct px_uplink {
    px_uplink_options options;
    px_rpc_channel *channel;
    px_rpc_stream *stream; /* NULL: between two attempts */
    bool up, closed;
    int64_t last_up_ns, backoff_ms;
    px_loop_timer *retry, *patience, *heartbeat;
    char said[256]; /* why it is down, as logged last */
};

static void dial(void *arg);

/* Log why there is no connection, once for each reason. */
static void complain(px_uplink *u, const char *why)
{
    if (strcmp(u->said, why) == 0) return;
    snprintf(u->said, sizeof u->said, "%s", why);
    px_log(PX_WARN, "control.unreachable", PX_S("server", u->options.server), PX_S("message", why));
}

static void cancel_timer(px_uplink *u, px_loop_timer **timer)
{
    px_loop_cancel(u->options.loop, *timer);
    *timer = NULL;
}

/* Up to a third of jitter keeps a cluster's agents from dialling in step after an outage; the
 * clock's low digits are random enough for that. */
static void dial_later(px_uplink *u)
{
    int64_t delay_ns = u->backoff_ms * PX_MS;
    delay_ns += px_now_ns() % (delay_ns / 3);
    u->backoff_ms = u->backoff_ms * 2 < BACKOFF_LAST_MS ? u->backoff_ms * 2 : BACKOFF_LAST_MS;
    u->retry = px_loop_after(u->options.loop, delay_ns, dial, u);
}

static void on_impatient(void *arg)
{
    px_uplink *u = arg;
    u->patience = NULL;
    complain(u, "the control plane does not answer; trying on");
}

/* ----------------------------------------------------------------------------- sending */

/* A control plane that does not read is as good as gone: dial anew and register from scratch. */
static void send(px_uplink *u, const px_msg_agent *message)
{
    if (!px_is_ok(px_rpc_stream_send(u->stream, &message->base))) px_rpc_stream_cancel(u->stream);
}

void px_uplink_send(px_uplink *u, const px_msg_agent *message)
{
    if (u->up) send(u, message);
}

static void on_heartbeat(void *arg)
{
    px_uplink *u = arg;
    Phalanx__V1__Heartbeat heartbeat = PHALANX__V1__HEARTBEAT__INIT;
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    heartbeat.memory_free_bytes = u->options.memory_free(u->options.arg);
    message.kind_case = PX_AGENT(HEARTBEAT);
    message.heartbeat = &heartbeat;
    px_uplink_send(u, &message);
}

/* --------------------------------------------------------------------------- receiving */

static void on_registered(px_uplink *u, const Phalanx__V1__Registered *registered)
{
    uint64_t period_ms = registered->heartbeat_ms ? registered->heartbeat_ms : HEARTBEAT_MS;
    if (period_ms < HEARTBEAT_MIN_MS) period_ms = HEARTBEAT_MIN_MS;
    if (period_ms > HEARTBEAT_MAX_MS) period_ms = HEARTBEAT_MAX_MS;
    cancel_timer(u, &u->patience);
    cancel_timer(u, &u->heartbeat);
    u->heartbeat = px_loop_every(u->options.loop, (int64_t)period_ms * PX_MS, on_heartbeat, u);
    u->up = true;
    u->backoff_ms = BACKOFF_FIRST_MS;
    u->said[0] = '\0';
    px_log(PX_INFO, "control.joined", PX_S("server", u->options.server));
    u->options.on_up(u->options.arg);
}

static void on_message(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    px_uplink *u = arg;
    const px_msg_control *control = (const px_msg_control *)message;
    if (u->closed) return;
    if (control->kind_case == PX_CONTROL(REGISTERED)) {
        if (!u->up) on_registered(u, control->registered);
    } else if (u->up) {
        u->options.on_control(u->options.arg, control);
    }
}

static void on_done(void *arg, px_rpc_stream *stream, px_status status)
{
    px_uplink *u = arg;
    bool was_up = u->up;
    u->stream = NULL;
    u->up = false;
    if (u->closed) return;
    cancel_timer(u, &u->patience);
    cancel_timer(u, &u->heartbeat);
    if (was_up) {
        u->last_up_ns = px_now_ns();
        u->options.on_down(u->options.arg);
    }
    complain(u, status.text[0] ? status.text : "the control plane closed the stream");
    dial_later(u);
}

/* ------------------------------------------------------------------------------ dialling */

static px_status open_stream(px_uplink *u)
{
    px_status why = px_ok();
    Phalanx__V1__Register *registration = u->options.registration(u->options.arg, &why);
    if (!registration) return why;
    px_rpc_client_call call = {.path = "/phalanx.v1.Cluster/Join",
        .response = &phalanx__v1__control_message__descriptor,
        .wait_for_ready = true,
        .on_message = on_message,
        .on_done = on_done,
        .arg = u};
    PX_TRY(px_rpc_stream_open(u->channel, &call, &u->stream));
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(REGISTER_);
    message.register_ = registration;
    send(u, &message);
    return px_ok();
}

static void dial(void *arg)
{
    px_uplink *u = arg;
    u->retry = NULL;
    px_status status = open_stream(u);
    if (!px_is_ok(status)) {
        complain(u, status.text);
        dial_later(u);
        return;
    }
    u->patience = px_loop_after(u->options.loop, ANSWER_S * PX_SEC, on_impatient, u);
}

int64_t px_uplink_last_up_ns(const px_uplink *u)
{
    return u->up ? px_now_ns() : u->last_up_ns;
}

void px_uplink_close(px_uplink *u)
{
    u->closed = true;
    u->up = false;
    cancel_timer(u, &u->retry);
    cancel_timer(u, &u->patience);
    cancel_timer(u, &u->heartbeat);
    if (u->stream) px_rpc_stream_half_close(u->stream);
}

px_status px_uplink_start(const px_uplink_options *options, px_uplink **out)
{
    px_uplink *u = px_alloc(sizeof *u);
    *u =
        (px_uplink){.options = *options, .backoff_ms = BACKOFF_FIRST_MS, .last_up_ns = px_now_ns()};
    px_status status = px_rpc_channel_create(options->rpc, options->server, &u->channel);
    if (!px_is_ok(status)) {
        free(u);
        return status;
    }
    dial(u);
    *out = u;
    return px_ok();
}
