/* rpc.c - the completion queue, the polling loop around it and the px_loop, and waking.
 *
 * One thread polls: more threads on one queue only add wake-ups to gRPC's single designated poller
 * (README.md has the measurement). gRPC offers no way to wait for a foreign descriptor, so a small
 * thread waits for the loop's and wakes the queue; it then sleeps until the loop has run, because
 * the descriptor stays readable until that moment.
 */
#include <errno.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "proto/rpc_internal.h"

#define QUOTA_BYTES        ((size_t)128 << 20)
#define FREE_PATIENCE_NS   (5 * PX_SEC) /* for calls to end after px_rpc_free() cancelled them */
#define WATCHER_STACK_SIZE (256 * 1024)

static void no_log(gpr_log_func_args *args) {} /* our statuses say it; libraries are silent */

/* --- tags and batches --- */

void px_rpc_start_batch(grpc_call *call, const grpc_op *ops, size_t count, px_rpc_tag *tag)
{
    grpc_call_error error = grpc_call_start_batch(call, ops, count, tag, NULL);
    PX_ASSERT(error == GRPC_CALL_OK);
}

/* Any thread: `tag` comes out of the queue soon. */
static void post_tag(px_rpc *rpc, px_rpc_tag *tag)
{
    px_rpc_start_batch(rpc->lame_call, NULL, 0, tag);
}

grpc_arg px_rpc_int_arg(const char *key, int64_t value)
{
    int bounded = value > INT_MAX ? INT_MAX : (int)value;
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = bounded};
}

size_t px_rpc_common_args(px_rpc *rpc, size_t max_message_bytes, grpc_arg *args, size_t count)
{
    args[count++] = px_rpc_int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int64_t)max_message_bytes);
    args[count++] = px_rpc_int_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, -1);
    args[count++] = px_rpc_int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
    args[count++] = px_rpc_int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    args[count++] = px_rpc_int_arg(GRPC_ARG_MAX_METADATA_SIZE, 8 * 1024);
    args[count++] = (grpc_arg){.type = GRPC_ARG_POINTER,
        .key = GRPC_ARG_RESOURCE_QUOTA,
        .value.pointer = {.p = rpc->quota, .vtable = grpc_resource_quota_arg_vtable()}};
    return count;
}

/* --- waking --- */

static void on_wake_tag(void *owner, bool ok)
{
    px_rpc *rpc = owner;
    atomic_store(&rpc->wake_pending, false); /* before the callback: a later wake comes again */
    if (rpc->on_wake && !rpc->closing) rpc->on_wake(rpc->wake_arg);
}

void px_rpc_wake(px_rpc *rpc)
{
    if (!atomic_exchange(&rpc->wake_pending, true)) post_tag(rpc, &rpc->wake_tag);
}

void px_rpc_on_wake(px_rpc *rpc, void (*fn)(void *arg), void *arg)
{
    rpc->on_wake = fn;
    rpc->wake_arg = arg;
}

static void on_stop_tag(void *owner, bool ok) {} /* px_rpc_run() looks at `stopped` by itself */

void px_rpc_stop(px_rpc *rpc)
{
    atomic_store(&rpc->stopped, true);
    post_tag(rpc, &rpc->stop_tag);
}

/* --- after a callback --- */

bool px_rpc_flush_later(px_rpc *rpc, px_rpc_flush *flush)
{
    if (flush->queued) return false;
    flush->queued = true;
    flush->next = rpc->flushes;
    rpc->flushes = flush;
    return true;
}

static void run_flushes(px_rpc *rpc)
{
    while (rpc->flushes) {
        px_rpc_flush *flush = rpc->flushes;
        rpc->flushes = flush->next;
        flush->queued = false; /* before the call, which may free it */
        flush->fn(flush->owner);
    }
}

/* --- the loop's descriptor --- */

static void on_loop_tag(void *owner, bool ok)
{
    px_rpc *rpc = owner;
    if (rpc->closing) return;
    px_loop_dispatch(rpc->loop, 0);
    sem_post(&rpc->dispatched);
}

static void *watch_loop(void *arg)
{
    px_rpc *rpc = arg;
    struct pollfd fds[2] = {
        {.fd = px_loop_fd(rpc->loop), .events = POLLIN},
        {.fd = rpc->watcher_quit_fd, .events = POLLIN},
    };
    for (;;) {
        if (poll(fds, 2, -1) < 0) continue; /* EINTR: its only possible error */
        if (fds[1].revents) return NULL;
        post_tag(rpc, &rpc->loop_tag);
        while (sem_wait(&rpc->dispatched) != 0) {
        }
    }
}

static px_status start_watcher(px_rpc *rpc)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, WATCHER_STACK_SIZE);
    int error = pthread_create(&rpc->watcher, &attributes, watch_loop, rpc);
    pthread_attr_destroy(&attributes);
    if (error != 0) return px_fail_errno(error, "cannot start a thread");
    rpc->watcher_started = true;
    return px_ok();
}

static void stop_watcher(px_rpc *rpc)
{
    if (!rpc->watcher_started) return;
    eventfd_write(rpc->watcher_quit_fd, 1);
    sem_post(&rpc->dispatched); /* in case it waits for a dispatch that will not come */
    pthread_join(rpc->watcher, NULL);
    rpc->watcher_started = false;
}

/* --- polling --- */

static gpr_timespec gpr_monotonic(int64_t ns) /* px_now_ns() is the same clock */
{
    if (ns == INT64_MAX) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return (gpr_timespec){.tv_sec = ns / PX_SEC,
        .tv_nsec = (int32_t)(ns % PX_SEC),
        .clock_type = GPR_CLOCK_MONOTONIC};
}

/* Finishes what earlier callbacks began, waits for one event until `until_ns`, tells its owner. */
static void poll_once(px_rpc *rpc, int64_t until_ns)
{
    run_flushes(rpc);
    grpc_event event = grpc_completion_queue_next(rpc->queue, gpr_monotonic(until_ns), NULL);
    if (event.type != GRPC_OP_COMPLETE) return;
    px_rpc_tag *tag = event.tag;
    tag->fn(tag->owner, event.success != 0);
}

void px_rpc_run(px_rpc *rpc)
{
    while (!atomic_load(&rpc->stopped)) {
        poll_once(rpc, px_loop_next_due_ns(rpc->loop));
        if (px_loop_next_due_ns(rpc->loop) <= px_now_ns()) px_loop_dispatch(rpc->loop, 0);
    }
    atomic_store(&rpc->stopped, false);
}

/* --- life --- */

/* A listener that once fails to accept for want of descriptors stays deaf (CVE-2023-4785). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static px_status create_parts(px_rpc *rpc)
{
    rpc->queue = grpc_completion_queue_create_for_next(NULL);
    rpc->quota = grpc_resource_quota_create(NULL);
    grpc_resource_quota_resize(rpc->quota, QUOTA_BYTES);
    rpc->lame_channel = grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "");
    rpc->lame_call = grpc_channel_create_call(rpc->lame_channel, NULL, 0, rpc->queue,
        grpc_slice_from_static_string("/wake"), NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    rpc->watcher_quit_fd = eventfd(0, EFD_CLOEXEC);
    if (rpc->watcher_quit_fd < 0) return px_fail_errno(errno, "cannot make an eventfd");
    return start_watcher(rpc);
}

px_status px_rpc_create(px_loop *loop, px_rpc **out)
{
    px_rpc *rpc = px_alloc(sizeof *rpc);
    rpc->loop = loop;
    rpc->wake_tag = (px_rpc_tag){on_wake_tag, rpc};
    rpc->loop_tag = (px_rpc_tag){on_loop_tag, rpc};
    rpc->stop_tag = (px_rpc_tag){on_stop_tag, rpc};
    rpc->watcher_quit_fd = -1;
    sem_init(&rpc->dispatched, 0, 0);
    px_arena_init(&rpc->scratch, 0);
    raise_descriptor_limit();
    if (!getenv("GRPC_VERBOSITY")) gpr_set_log_function(no_log);

    /* Signals belong to the loop's thread, so the threads made here must not take any. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    grpc_init();
    px_status status = create_parts(rpc);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status.code != PX_OK)
        px_rpc_free(rpc);
    else
        *out = rpc;
    return status;
}

static bool has_open_calls(const px_rpc *rpc)
{
    if (rpc->streams) return true;
    for (const px_rpc_server *server = rpc->servers; server; server = px_rpc_server_next(server))
        if (px_rpc_server_is_busy(server)) return true;
    return false;
}

/* Ends all calls and serves the queue until their owners have been told. */
static void end_all_calls(px_rpc *rpc)
{
    for (px_rpc_server *server = rpc->servers; server; server = px_rpc_server_next(server))
        px_rpc_server_abort(server);
    px_rpc_cancel_streams(rpc);
    int64_t patience_ns = px_now_ns() + FREE_PATIENCE_NS;
    while (has_open_calls(rpc) && px_now_ns() < patience_ns) poll_once(rpc, patience_ns);
    PX_ASSERT(!has_open_calls(rpc));
}

static void drain_queue(px_rpc *rpc)
{
    grpc_completion_queue_shutdown(rpc->queue);
    while (grpc_completion_queue_next(rpc->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(rpc->queue);
}

void px_rpc_free(px_rpc *rpc)
{
    if (!rpc) return;
    rpc->closing = true;
    stop_watcher(rpc);
    end_all_calls(rpc);
    while (rpc->servers) {
        px_rpc_server *server = rpc->servers;
        rpc->servers = px_rpc_server_next(server);
        px_rpc_server_free(server);
    }
    grpc_call_unref(rpc->lame_call);
    grpc_channel_destroy(rpc->lame_channel);
    drain_queue(rpc);
    grpc_resource_quota_unref(rpc->quota);
    grpc_shutdown_blocking();
    if (rpc->watcher_quit_fd >= 0) close(rpc->watcher_quit_fd);
    sem_destroy(&rpc->dispatched);
    px_arena_done(&rpc->scratch);
    free(rpc);
}
