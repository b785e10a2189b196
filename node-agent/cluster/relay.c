/* relay.c - see relay.h. */
#include "cluster/relay.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/log.h"
#include "cluster/daemon.h"

enum { ARENA_BYTES = 256 * 1024, SWEEP_MS = 1000 };

struct px_relay_ask {
    px_relay *relay;
    uint64_t id;
    char group[PX_GROUP_NAME_MAX + 1];
    uint64_t generation;
    char *host;
    px_wire *wire;
    bool ended; /* the exit came: the daemon needs no signal any more */
    px_relay_ask *next;
};

typedef struct daemon_run { /* an orted that another agent asked for */
    px_relay *relay;
    uint64_t id;
    char group[PX_GROUP_NAME_MAX + 1];
    uint64_t generation;
    px_child *child;
    bool stopping;
    struct daemon_run *next;
} daemon_run;

struct px_relay {
    px_relay_options options;
    px_loop *loop;
    px_relay_ask *asks;
    daemon_run *runs;
    unsigned count; /* of both */
};

/* --------------------------------------------------------------------------- asking end */

px_status px_relay_begin(
    px_relay *relay, px_wire *wire, const px_msg_remote_ask *request, px_relay_ask **out)
{
    if (!px_groups_launches(relay->options.groups, request->group, request->generation))
        return px_fail(PX_PERMISSION_DENIED, "'%.60s' generation %llu is not being launched here",
            request->group, (unsigned long long)request->generation);
    if (relay->count == PX_RELAY_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "%d remote starts are running", PX_RELAY_MAX);
    px_relay_ask *ask = px_alloc(sizeof *ask);
    *ask = (px_relay_ask){
        .relay = relay, .generation = request->generation, .wire = wire, .next = relay->asks};
    if (getrandom(&ask->id, sizeof ask->id, 0) != (ssize_t)sizeof ask->id) {
        free(ask);
        return px_fail(PX_INTERNAL, "the kernel gives no random numbers");
    }
    snprintf(ask->group, sizeof ask->group, "%s", request->group); /* a group here: it fits */
    ask->host = px_strdup(request->host);
    relay->asks = ask;
    relay->count++;
    *out = ask;

    px_msg_remote_ask forward = *request;
    forward.id = ask->id;
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(REMOTE_START);
    message.remote_start = &forward;
    relay->options.send(relay->options.arg, &message);
    px_log(PX_INFO, "remote.asked", PX_S("group", ask->group), PX_S("host", ask->host));
    return px_ok();
}

void px_relay_signal(px_relay_ask *ask, int signal_number)
{
    Phalanx__V1__RemoteSignal forward = PHALANX__V1__REMOTE_SIGNAL__INIT;
    forward.id = ask->id;
    forward.signal = signal_number;
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(REMOTE_SIGNAL);
    message.remote_signal = &forward;
    if (!ask->ended) ask->relay->options.send(ask->relay->options.arg, &message);
}

void px_relay_gone(px_relay_ask *ask)
{
    px_relay *relay = ask->relay;
    px_relay_signal(ask, SIGTERM);
    for (px_relay_ask **at = &relay->asks; *at; at = &(*at)->next)
        if (*at == ask) {
            *at = ask->next;
            break;
        }
    relay->count--;
    free(ask->host);
    free(ask);
}

static px_relay_ask *find_ask(px_relay *relay, uint64_t id)
{
    for (px_relay_ask *ask = relay->asks; ask; ask = ask->next)
        if (ask->id == id) return ask;
    return NULL;
}

static void answer_output(px_relay *relay, Phalanx__V1__RemoteOutput *output)
{
    px_relay_ask *ask = find_ask(relay, output->id);
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(REMOTE_OUTPUT);
    message.remote_output = output;
    if (ask) px_ignore(px_wire_send(ask->wire, &message)); /* mpirun's chatter may be lost */
}

static void answer_exit(px_relay *relay, px_relay_ask *ask, int exit_code, const char *why)
{
    Phalanx__V1__RemoteExit ended = PHALANX__V1__REMOTE_EXIT__INIT;
    ended.exit_code = exit_code;
    ended.message = (char *)why;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(REMOTE_EXIT);
    message.remote_exit = &ended;
    if (why[0]) {
        px_status blame = px_fail(PX_ABORTED, "starting on %s: %s", ask->host, why);
        px_groups_blame(relay->options.groups, ask->group, ask->generation, blame.text);
    }
    ask->ended = true;
    px_ignore(px_wire_send(ask->wire, &message)); /* if it is gone, its wire says so */
}

void px_relay_lost(px_relay *relay)
{
    for (px_relay_ask *ask = relay->asks; ask; ask = ask->next)
        if (!ask->ended) answer_exit(relay, ask, 255, "the control plane is out of reach");
}

/* ------------------------------------------------------------------------ answering end */

static void send_exit(px_relay *relay, uint64_t id, int exit_code, const char *why)
{
    Phalanx__V1__RemoteExit ended = PHALANX__V1__REMOTE_EXIT__INIT;
    ended.id = id;
    ended.exit_code = exit_code;
    ended.message = (char *)why;
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(REMOTE_EXIT);
    message.remote_exit = &ended;
    relay->options.send(relay->options.arg, &message);
}

static void on_daemon_line(void *arg, const char *line)
{
    daemon_run *run = arg;
    px_buf text;
    px_buf_init(&text, 8192);
    px_buf_printf(&text, "%s\n", line);
    Phalanx__V1__RemoteOutput output = PHALANX__V1__REMOTE_OUTPUT__INIT;
    output.id = run->id;
    output.is_stderr = true; /* a daemon has nothing to say but complaints */
    output.data.data = (uint8_t *)text.data;
    output.data.len = text.length;
    px_msg_agent message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PX_AGENT(REMOTE_OUTPUT);
    message.remote_output = &output;
    run->relay->options.send(run->relay->options.arg, &message);
    px_buf_done(&text);
}

static void stop_daemon(daemon_run *run)
{
    if (run->stopping) return;
    run->stopping = true;
    px_child_stop(run->child, run->relay->options.grace_ns);
}

/* Daemons do not outlive what they were started for. */
static void on_sweep(void *arg)
{
    px_relay *relay = arg;
    for (daemon_run *run = relay->runs; run; run = run->next)
        if (!px_groups_expects(relay->options.groups, run->group, run->generation))
            stop_daemon(run);
}

static void on_daemon_exit(void *arg, int exit_code, int signal_number)
{
    daemon_run *run = arg;
    px_relay *relay = run->relay;
    px_log(PX_INFO, "remote.ended", PX_I("code", exit_code), PX_I("signal", signal_number));
    send_exit(relay, run->id, signal_number ? 128 + signal_number : exit_code, "");
    for (daemon_run **at = &relay->runs; *at; at = &(*at)->next)
        if (*at == run) {
            *at = run->next;
            break;
        }
    relay->count--;
    free(run);
}

static px_status start_daemon(px_relay *relay, const px_msg_remote_start *start, px_arena *arena)
{
    if (!px_groups_expects(relay->options.groups, start->group, start->generation))
        return px_fail(PX_PERMISSION_DENIED, "no rank of '%.60s' generation %llu is expected here",
            start->group, (unsigned long long)start->generation);
    if (relay->count == PX_RELAY_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "%d remote starts are running", PX_RELAY_MAX);
    px_daemon_words words = {.list = start->argv, .count = start->n_argv};
    const char *const *argv;
    PX_TRY(px_daemon_command(&words, arena, &argv));
    px_buf scratch;
    px_buf_init(&scratch, 8192);
    px_buf_printf(&scratch, "TMPDIR=%s", relay->options.scratch);
    daemon_run *run = px_alloc(sizeof *run);
    *run = (daemon_run){
        .relay = relay, .id = start->id, .generation = start->generation, .next = relay->runs};
    snprintf(run->group, sizeof run->group, "%s", start->group); /* a group here: it fits */
    px_child_options child = {.argv = argv,
        .env = (const char *[]){px_buf_text(&scratch), NULL},
        .on_line = on_daemon_line,
        .on_exit = on_daemon_exit,
        .arg = run};
    px_status status = px_child_start(relay->loop, &child, &run->child);
    px_buf_done(&scratch);
    if (!px_is_ok(status)) {
        free(run);
        if (status.code == PX_NOT_FOUND)
            return px_fail(PX_FAILED_PRECONDITION,
                "orted is missing on that machine; install it with: apt-get install openmpi-bin");
        return status;
    }
    relay->runs = run;
    relay->count++;
    px_log(PX_INFO, "remote.started", PX_S("group", start->group),
        PX_U("generation", start->generation), PX_I("pid", px_child_pid(run->child)));
    return px_ok();
}

static void answer_start(px_relay *relay, const px_msg_remote_start *start)
{
    px_arena arena;
    px_arena_init(&arena, ARENA_BYTES);
    px_status status = start_daemon(relay, start, &arena);
    px_arena_done(&arena);
    if (px_is_ok(status)) return;
    px_log(PX_WARN, "remote.refused", PX_S("group", start->group), PX_S("message", status.text));
    send_exit(relay, start->id, 1, status.text);
}

/* Whatever the signal, a daemon is only ever asked to end. */
static void answer_signal(px_relay *relay, uint64_t id)
{
    for (daemon_run *run = relay->runs; run; run = run->next)
        if (run->id == id) stop_daemon(run);
}

void px_relay_control(px_relay *relay, const px_msg_control *message)
{
    px_relay_ask *ask;
    switch (message->kind_case) {
    case PX_CONTROL(REMOTE_START): answer_start(relay, message->remote_start); break;
    case PX_CONTROL(REMOTE_SIGNAL): answer_signal(relay, message->remote_signal->id); break;
    case PX_CONTROL(REMOTE_OUTPUT): answer_output(relay, message->remote_output); break;
    case PX_CONTROL(REMOTE_EXIT):
        ask = find_ask(relay, message->remote_exit->id);
        if (ask && !ask->ended)
            answer_exit(relay, ask, message->remote_exit->exit_code, message->remote_exit->message);
        break;
    default: break;
    }
}

px_relay *px_relay_create(px_loop *loop, const px_relay_options *options)
{
    px_relay *relay = px_alloc(sizeof *relay);
    *relay = (px_relay){.options = *options, .loop = loop};
    px_loop_every(loop, SWEEP_MS * PX_MS, on_sweep, relay);
    return relay;
}
