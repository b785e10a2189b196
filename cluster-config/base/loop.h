/* loop.h - the event loop of a process: descriptors, timers, posts from other threads, signals.
 *
 * Threads: everything runs on the thread that dispatches, except px_loop_post() and
 *          px_loop_stop(), which any thread (and px_loop_stop a signal handler) may call.
 * Owns:    its epoll descriptor and timers, never the descriptors watched.
 * A process with gRPC does not call px_loop_run(): its polling thread is the completion queue's
 * (proto/rpc.h), which calls px_loop_dispatch() when px_loop_fd() turns readable or a timer is due.
 */
#ifndef PX_BASE_LOOP_H
#define PX_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct px_loop px_loop;
typedef struct px_loop_timer px_loop_timer; /* a handle; invalid after it fired or was cancelled */

px_status px_loop_create(px_loop **out_loop) PX_MUST_USE;
void px_loop_free(px_loop *loop); /* NULL is fine; pending timers and posts are dropped uncalled */

enum { PX_LOOP_READ = 1, PX_LOOP_WRITE = 2 };
typedef void (*px_loop_fd_fn)(void *arg, int fd, unsigned ready); /* ready: PX_LOOP_* bits; an
    error or hang-up reports both */
/* Watch `fd` (level-triggered); a second call for the same fd changes its events and callback.
 * events == 0 stops watching; safe inside callbacks, also for other descriptors. */
px_status px_loop_watch(
    px_loop *loop, int fd, unsigned events, px_loop_fd_fn fn, void *arg) PX_MUST_USE;
void px_loop_unwatch(px_loop *loop, int fd); /* before close(fd); unknown fd is fine */

typedef void (*px_loop_fn)(void *arg);
/* Call fn once after delay_ns (>= 0). */
px_loop_timer *px_loop_after(px_loop *loop, int64_t delay_ns, px_loop_fn fn, void *arg);
/* Call fn every period_ns, first after one period, until cancelled. */
px_loop_timer *px_loop_every(px_loop *loop, int64_t period_ns, px_loop_fn fn, void *arg);
void px_loop_cancel(px_loop *loop, px_loop_timer *timer); /* NULL is fine; also from within fn */

/* Any thread: run fn(arg) on the loop's thread soon. RESOURCE_EXHAUSTED beyond 4096 pending. */
px_status px_loop_post(px_loop *loop, px_loop_fn fn, void *arg) PX_MUST_USE;

/* SIGINT and SIGTERM call fn on the loop's thread (signalfd; blocks both for the whole process,
 * so call it before threads start). */
px_status px_loop_on_terminate(px_loop *loop, px_loop_fn fn, void *arg) PX_MUST_USE;

int px_loop_fd(const px_loop *loop);              /* readable when px_loop_dispatch has work */
int64_t px_loop_next_due_ns(const px_loop *loop); /* px_now_ns() scale; INT64_MAX: no timer */
/* Wait at most timeout_ns (0: do not wait) and run what is ready. */
void px_loop_dispatch(px_loop *loop, int64_t timeout_ns);
void px_loop_run(px_loop *loop);  /* until px_loop_stop() */
void px_loop_stop(px_loop *loop); /* any thread, signal handler */

#endif
