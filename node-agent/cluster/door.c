/* door.c - see door.h. */
#include "cluster/door.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { INTRODUCE_S = 10, SWEEP_S = 2 };

typedef struct peer { /* a connection: at most one of rank and ask is set */
    px_door *door;
    px_wire *wire;
    px_rank *rank;
    px_relay_ask *ask;
    int64_t since_ns;
    struct peer *prev, *next;
} peer;

struct px_door {
    px_door_options options;
    px_loop *loop;
    int fd;
    peer *first;
    unsigned count;
};

/* Forget the connection; its wire is closed or closing. */
static void drop(peer *p, px_status why)
{
    if (p->rank) px_rank_gone(p->rank, why);
    if (p->ask) px_relay_gone(p->ask);
    if (p->prev)
        p->prev->next = p->next;
    else
        p->door->first = p->next;
    if (p->next) p->next->prev = p->prev;
    p->door->count--;
    free(p);
}

static void refuse(peer *p, px_status why)
{
    Phalanx__V1__Refusal refusal = PHALANX__V1__REFUSAL__INIT;
    refusal.code = why.code;
    refusal.message = why.text;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(REFUSAL);
    message.refusal = &refusal;
    px_log(PX_WARN, "socket.refused", PX_S("message", why.text));
    px_ignore(px_wire_send(p->wire, &message)); /* it is dropped either way */
    px_wire_close(p->wire);
    drop(p, why);
}

static px_status welcome(peer *p, const px_msg_beat *beat)
{
    Phalanx__V1__RankWelcome hello = PHALANX__V1__RANK_WELCOME__INIT;
    const char *secret;
    PX_TRY(px_groups_admit(p->door->options.groups, p->wire, beat, &p->rank, &secret));
    hello.secret = (char *)secret;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(WELCOME);
    message.welcome = &hello;
    return px_wire_send(p->wire, &message);
}

static px_status introduce(peer *p, const px_msg_local *message)
{
    switch (message->kind_case) {
    case PX_LOCAL(BEAT): return welcome(p, message->beat);
    case PX_LOCAL(REMOTE_START):
        return px_relay_begin(p->door->options.relay, p->wire, message->remote_start, &p->ask);
    default:
        return px_fail(PX_INVALID_ARGUMENT, "a connection begins with a beat or a remote start");
    }
}

static void on_message(void *arg, px_wire *wire, const px_msg_local *message)
{
    peer *p = arg;
    px_status status = px_ok();
    if (p->rank && message->kind_case == PX_LOCAL(BEAT))
        px_rank_beat(p->rank, message->beat);
    else if (p->ask && message->kind_case == PX_LOCAL(REMOTE_SIGNAL))
        px_relay_signal(p->ask, message->remote_signal->signal);
    else if (p->rank || p->ask)
        status = px_fail(PX_INVALID_ARGUMENT, "this message is not for a connection of this kind");
    else
        status = introduce(p, message);
    if (!px_is_ok(status)) refuse(p, status);
}

static void on_closed(void *arg, px_wire *wire, px_status why)
{
    if (why.code == PX_INVALID_ARGUMENT)
        px_log(PX_WARN, "socket.malformed", PX_S("message", why.text));
    drop(arg, why);
}

static void on_connection(void *arg, int fd, unsigned ready)
{
    px_door *door = arg;
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (connection < 0) return;
    if (door->count == PX_DOOR_PEERS_MAX) {
        close(connection);
        return;
    }
    peer *p = px_alloc(sizeof *p);
    *p = (peer){.door = door, .since_ns = px_now_ns()};
    px_wire_events events = {.on_message = on_message, .on_closed = on_closed, .arg = p};
    if (!px_is_ok(px_wire_open(door->loop, connection, &events, &p->wire))) {
        free(p);
        return;
    }
    p->next = door->first;
    if (p->next) p->next->prev = p;
    door->first = p;
    door->count++;
    pid_t pid;
    uid_t uid;
    px_status status = px_wire_peer(p->wire, &pid, &uid);
    if (px_is_ok(status) && uid != 0 && uid != geteuid())
        status = px_fail(PX_PERMISSION_DENIED, "user %u may not talk to this agent", (unsigned)uid);
    if (!px_is_ok(status)) refuse(p, status);
}

static void on_sweep(void *arg)
{
    px_door *door = arg;
    int64_t since_ns = px_now_ns() - INTRODUCE_S * PX_SEC;
    for (peer *p = door->first, *next; p; p = next) {
        next = p->next;
        if (!p->rank && !p->ask && p->since_ns < since_ns)
            refuse(p, px_fail(PX_DEADLINE_EXCEEDED, "%d s passed without a word", INTRODUCE_S));
    }
}

px_status px_door_open(px_loop *loop, const px_door_options *options, px_door **out)
{
    px_door *door = px_alloc(sizeof *door);
    *door = (px_door){.options = *options, .loop = loop, .fd = -1};
    px_status status = px_wire_listen(options->path, &door->fd);
    if (px_is_ok(status)) status = px_loop_watch(loop, door->fd, PX_LOOP_READ, on_connection, door);
    if (!px_is_ok(status)) {
        if (door->fd >= 0) close(door->fd);
        free(door);
        return status;
    }
    px_loop_every(loop, SWEEP_S * PX_SEC, on_sweep, door);
    *out = door;
    return px_ok();
}
