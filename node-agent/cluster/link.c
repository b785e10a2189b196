/* link.c - see link.h. State shared by the threads stands under one mutex; the loop and the wire
 * belong to the link's thread alone. */
#include "cluster/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/wire.h"

enum { WELCOME_DEADLINE_S = 10, END_DEADLINE_S = 1, BEAT_MS = 250 };

struct px_link {
    px_link_options options;
    px_loop *loop;
    px_wire *wire;
    pthread_t thread;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* welcome, refusal, loss, or the last word sent */
    char *secret;           /* set once, by the welcome */
    bool opened;            /* px_link_open() returned OK: a loss from now on ends the process */
    bool end_sent;
    px_status refused; /* OK: not refused */
    px_rank_state state;
    double progress;
    const px_engine *engine; /* once ready */
    char *address;
    px_status end;
};

/* Resident bytes of this process; 0 if the kernel does not say. */
static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The whole state as one beat. Under the mutex. */
static px_status send_beat(px_link *link)
{
    if (!link->wire) return px_fail(PX_UNAVAILABLE, "the socket is closed");
    px_msg_report report = PHALANX__V1__RANK_REPORT__INIT;
    report.group = (char *)link->options.group;
    report.generation = link->options.generation;
    report.rank = link->options.rank;
    report.state = (Phalanx__V1__RankState)link->state;
    report.progress = link->progress;
    report.engine_address = link->address ? link->address : (char *)"";
    report.resident_bytes = resident_bytes();
    report.message = link->end.text;
    report.code = link->end.code;
    report.pid = (uint32_t)getpid();

    px_msg_beat beat = PHALANX__V1__RANK_BEAT__INIT;
    beat.report = &report;
    if (link->engine) {
        px_engine_stats stats;
        px_engine_get_stats(link->engine, &stats);
        report.steps = stats.steps;
        if (stats.step_started_ns)
            beat.step_age_us = (uint64_t)((px_now_ns() - stats.step_started_ns) / 1000);
    }
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(BEAT);
    message.beat = &beat;
    return px_wire_send(link->wire, &message);
}

/* The process ends here. The agent learns why if it still listens. */
_Noreturn static void end_process(px_link *link, px_status why)
{
    if (!px_is_ok(why))
        px_log(PX_ERROR, "rank.end", PX_S("group", link->options.group),
            PX_U("rank", link->options.rank), PX_S("code", px_code_name(why.code)),
            PX_S("message", why.text));
    _exit(px_is_ok(why) ? 0 : 1);
}

static void on_beat(void *arg)
{
    px_link *link = arg;
    if (!link->wire) return; /* closed in this very round */
    pthread_mutex_lock(&link->mutex);
    px_status health = link->engine ? px_engine_health(link->engine) : px_ok();
    if (!px_is_ok(health)) {
        link->state = PX_RANK_ENDED;
        link->end = health;
    }
    px_status sent = send_beat(link);
    pthread_mutex_unlock(&link->mutex);
    if (!px_is_ok(health)) end_process(link, health);
    if (!px_is_ok(sent)) end_process(link, px_prefix(sent, "the agent"));
}

/* Posted by px_link_end(): the last word. */
static void on_end(void *arg)
{
    px_link *link = arg;
    pthread_mutex_lock(&link->mutex);
    px_ignore(send_beat(link)); /* the process ends either way */
    link->end_sent = true;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->mutex);
}

static void on_state(void *arg)
{
    px_link *link = arg;
    pthread_mutex_lock(&link->mutex);
    px_ignore(send_beat(link)); /* a lost agent shows at the next beat */
    pthread_mutex_unlock(&link->mutex);
}

static void on_message(void *arg, px_wire *wire, const px_msg_local *message)
{
    px_link *link = arg;
    pthread_mutex_lock(&link->mutex);
    if (message->kind_case == PX_LOCAL(WELCOME) && !link->secret) {
        if (message->welcome->secret[0])
            link->secret = px_strdup(message->welcome->secret);
        else
            link->refused = px_fail(PX_INTERNAL, "the agent gave no secret");
    } else if (message->kind_case == PX_LOCAL(REFUSAL)) {
        unsigned code = message->refusal->code;
        link->refused = px_fail(code && code < PX_CODE_COUNT ? (px_code)code : PX_UNKNOWN,
            "the agent refuses this rank: %s", message->refusal->message);
    }
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->mutex);
}

static void on_closed(void *arg, px_wire *wire, px_status why)
{
    px_link *link = arg;
    link->wire = NULL;
    pthread_mutex_lock(&link->mutex);
    bool opened = link->opened;
    if (px_is_ok(link->refused)) link->refused = px_prefix(why, "the agent");
    px_status last = link->refused;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->mutex);
    if (opened) end_process(link, last);
    px_loop_stop(link->loop); /* px_link_open() still waits and returns the refusal */
}

static void *link_thread(void *arg)
{
    px_link *link = arg;
    px_loop_run(link->loop);
    return NULL;
}

/* Sleeps until the link's thread changed something. Under the mutex; false: too late. */
static bool wait_changed(px_link *link, int64_t deadline_ns)
{
    int64_t left = deadline_ns - px_now_ns();
    if (left <= 0) return false;
    int64_t until = px_wall_ns() + left;
    struct timespec t = {.tv_sec = until / PX_SEC, .tv_nsec = until % PX_SEC};
    return pthread_cond_timedwait(&link->changed, &link->mutex, &t) == 0 ||
           px_now_ns() < deadline_ns;
}

px_status px_link_open(const px_link_options *options, px_link **out)
{
    px_link *link = px_alloc(sizeof *link);
    *link = (px_link){.options = *options, .state = PX_RANK_STARTED};
    link->options.group = px_strdup(options->group);
    link->options.socket_path = px_strdup(options->socket_path);
    pthread_mutex_init(&link->mutex, NULL);
    pthread_cond_init(&link->changed, NULL);

    PX_TRY(px_loop_create(&link->loop));
    px_wire_events events = {.on_message = on_message, .on_closed = on_closed, .arg = link};
    PX_TRY(px_wire_connect(link->loop, options->socket_path, &events, &link->wire));
    PX_TRY(send_beat(link));
    px_loop_every(link->loop, BEAT_MS * PX_MS, on_beat, link);
    int error = pthread_create(&link->thread, NULL, link_thread, link);
    if (error) return px_fail(PX_RESOURCE_EXHAUSTED, "no thread: %s", strerror(error));

    int64_t deadline_ns = px_now_ns() + WELCOME_DEADLINE_S * PX_SEC;
    pthread_mutex_lock(&link->mutex);
    while (!link->secret && px_is_ok(link->refused))
        if (!wait_changed(link, deadline_ns)) break;
    px_status status = link->refused;
    if (px_is_ok(status) && !link->secret)
        status = px_fail(PX_DEADLINE_EXCEEDED, "the agent at '%s' did not answer within %d s",
            options->socket_path, WELCOME_DEADLINE_S);
    link->opened = px_is_ok(status);
    pthread_mutex_unlock(&link->mutex);
    if (px_is_ok(status)) *out = link;
    return status; /* on failure the process is about to exit: the thread is left to that */
}

const char *px_link_secret(const px_link *link)
{
    return link->secret;
}

void px_link_loading(px_link *link, double fraction)
{
    pthread_mutex_lock(&link->mutex);
    bool first = link->state == PX_RANK_STARTED;
    link->state = PX_RANK_LOADING;
    link->progress = fraction; /* NaN or out of range is the agent's to refuse */
    pthread_mutex_unlock(&link->mutex);
    if (first) px_ignore(px_loop_post(link->loop, on_state, link)); /* else the beat tells */
}

void px_link_ready(px_link *link, const px_engine *engine, const char *address)
{
    pthread_mutex_lock(&link->mutex);
    link->state = PX_RANK_READY;
    link->progress = 1;
    link->engine = engine;
    link->address = address ? px_strdup(address) : NULL;
    pthread_mutex_unlock(&link->mutex);
    px_ignore(px_loop_post(link->loop, on_state, link)); /* if it is full, the beat tells */
}

_Noreturn void px_link_end(px_link *link, px_status why)
{
    int64_t deadline_ns = px_now_ns() + END_DEADLINE_S * PX_SEC;
    pthread_mutex_lock(&link->mutex);
    link->state = PX_RANK_ENDED;
    link->end = why;
    bool posted = px_is_ok(px_loop_post(link->loop, on_end, link));
    while (posted && !link->end_sent)
        if (!wait_changed(link, deadline_ns)) break;
    pthread_mutex_unlock(&link->mutex);
    end_process(link, why);
}
