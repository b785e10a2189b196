/* loop.c - epoll, a heap of timers, and a bounded queue of posts behind an eventfd; see loop.h. */
#include "base/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum { EVENTS_A_ROUND = 64, POSTS_MAX = 4096, WATCHES_MAX = 1 << 20 };

/* What an fd is watched for. The generation tells an event of this watch from one of an earlier
 * watch of the same number that was still waiting in this round's batch. */
typedef struct watch {
    px_loop_fd_fn fn; /* NULL: not watched */
    void *arg;
    uint32_t generation;
} watch;

struct px_loop_timer {
    int64_t due_ns, period_ns; /* period 0: fires once */
    uint64_t sequence;         /* equal times fire in the order they were asked for */
    px_loop_fn fn;
    void *arg;
    int heap_index; /* -1: not in the heap, because it is firing now */
    bool cancelled; /* while firing */
};

typedef struct post {
    px_loop_fn fn;
    void *arg;
} post;

struct px_loop {
    int epoll_fd, wake_fd, signal_fd; /* signal_fd -1: terminate not asked for */
    watch *watches;                   /* by fd */
    int watch_capacity;
    px_loop_timer **heap; /* earliest first */
    int timer_count, timer_capacity;
    uint64_t next_sequence;
    pthread_mutex_t post_mutex; /* guards the three below */
    post *posts;                /* [POSTS_MAX], a ring */
    uint32_t post_head, post_count;
    px_loop_fn on_terminate;
    void *terminate_arg;
    _Atomic bool stopped;
};

/* --- descriptors --- */

static void grow_watches(px_loop *loop, int fd)
{
    if (fd < loop->watch_capacity) return;
    int capacity = loop->watch_capacity ? loop->watch_capacity : 64;
    while (capacity <= fd) capacity *= 2;
    watch *grown = px_alloc_array((size_t)capacity, sizeof *grown);
    if (loop->watches) memcpy(grown, loop->watches, (size_t)loop->watch_capacity * sizeof *grown);
    free(loop->watches);
    loop->watches = grown;
    loop->watch_capacity = capacity;
}

px_status px_loop_watch(px_loop *loop, int fd, unsigned events, px_loop_fd_fn fn, void *arg)
{
    if (events == 0) {
        px_loop_unwatch(loop, fd);
        return px_ok();
    }
    if (fd < 0 || fd >= WATCHES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "cannot watch descriptor %d", fd);
    grow_watches(loop, fd);
    watch *w = &loop->watches[fd];
    bool known = w->fn != NULL;
    uint32_t generation = known ? w->generation : w->generation + 1;
    struct epoll_event event = {
        .events = (events & PX_LOOP_READ ? EPOLLIN : 0u) | (events & PX_LOOP_WRITE ? EPOLLOUT : 0u),
        .data.u64 = (uint64_t)generation << 32 | (uint32_t)fd,
    };
    if (epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        return px_fail_errno(errno, "cannot watch descriptor %d", fd);
    *w = (watch){.fn = fn, .arg = arg, .generation = generation};
    return px_ok();
}

void px_loop_unwatch(px_loop *loop, int fd)
{
    if (fd < 0 || fd >= loop->watch_capacity || !loop->watches[fd].fn) return;
    loop->watches[fd].fn = NULL;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* fails only for a closed fd */
}

static unsigned ready_bits(uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) return PX_LOOP_READ | PX_LOOP_WRITE;
    return (events & EPOLLIN ? PX_LOOP_READ : 0u) | (events & EPOLLOUT ? PX_LOOP_WRITE : 0u);
}

static void run_ready_descriptors(px_loop *loop)
{
    struct epoll_event events[EVENTS_A_ROUND];
    int count = epoll_wait(loop->epoll_fd, events, EVENTS_A_ROUND, 0);
    for (int i = 0; i < count; i++) { /* count is -1 when a signal came between: next round */
        int fd = (int)(uint32_t)events[i].data.u64;
        watch w = loop->watches[fd]; /* a copy: the callback may grow the table */
        if (w.fn && w.generation == (uint32_t)(events[i].data.u64 >> 32))
            w.fn(w.arg, fd, ready_bits(events[i].events));
    }
}

/* --- timers --- */

static bool fires_before(const px_loop_timer *a, const px_loop_timer *b)
{
    if (a->due_ns != b->due_ns) return a->due_ns < b->due_ns;
    return a->sequence < b->sequence;
}

static void heap_put(px_loop *loop, int index, px_loop_timer *timer)
{
    loop->heap[index] = timer;
    timer->heap_index = index;
}

static void heap_sift_up(px_loop *loop, int index, px_loop_timer *timer)
{
    while (index > 0) {
        int parent = (index - 1) / 2;
        if (!fires_before(timer, loop->heap[parent])) break;
        heap_put(loop, index, loop->heap[parent]);
        index = parent;
    }
    heap_put(loop, index, timer);
}

static void heap_sift_down(px_loop *loop, int index, px_loop_timer *timer)
{
    for (;;) {
        int child = 2 * index + 1;
        if (child >= loop->timer_count) break;
        if (child + 1 < loop->timer_count && fires_before(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!fires_before(loop->heap[child], timer)) break;
        heap_put(loop, index, loop->heap[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

static void heap_insert(px_loop *loop, px_loop_timer *timer)
{
    if (loop->timer_count == loop->timer_capacity) {
        int capacity = loop->timer_capacity ? 2 * loop->timer_capacity : 16;
        px_loop_timer **grown = px_alloc_array((size_t)capacity, sizeof *grown);
        if (loop->heap) memcpy(grown, loop->heap, (size_t)loop->timer_count * sizeof *grown);
        free(loop->heap);
        loop->heap = grown;
        loop->timer_capacity = capacity;
    }
    timer->sequence = loop->next_sequence++;
    heap_sift_up(loop, loop->timer_count++, timer);
}

static void heap_remove(px_loop *loop, px_loop_timer *timer)
{
    int index = timer->heap_index;
    px_loop_timer *last = loop->heap[--loop->timer_count];
    timer->heap_index = -1;
    if (last == timer) return;
    if (index > 0 && fires_before(last, loop->heap[(index - 1) / 2]))
        heap_sift_up(loop, index, last);
    else
        heap_sift_down(loop, index, last);
}

static px_loop_timer *add_timer(px_loop *loop, px_loop_timer wanted, int64_t delay_ns)
{
    px_loop_timer *timer = px_alloc(sizeof *timer);
    *timer = wanted;
    if (__builtin_add_overflow(px_now_ns(), delay_ns < 0 ? 0 : delay_ns, &timer->due_ns))
        timer->due_ns = INT64_MAX;
    heap_insert(loop, timer);
    return timer;
}

px_loop_timer *px_loop_after(px_loop *loop, int64_t delay_ns, px_loop_fn fn, void *arg)
{
    return add_timer(loop, (px_loop_timer){.fn = fn, .arg = arg}, delay_ns);
}

px_loop_timer *px_loop_every(px_loop *loop, int64_t period_ns, px_loop_fn fn, void *arg)
{
    PX_ASSERT(period_ns > 0);
    return add_timer(
        loop, (px_loop_timer){.fn = fn, .arg = arg, .period_ns = period_ns}, period_ns);
}

void px_loop_cancel(px_loop *loop, px_loop_timer *timer)
{
    if (!timer) return;
    if (timer->heap_index < 0) { /* firing now: fire() frees it */
        timer->cancelled = true;
        return;
    }
    heap_remove(loop, timer);
    free(timer);
}

static void fire(px_loop *loop, px_loop_timer *timer, int64_t now_ns)
{
    heap_remove(loop, timer);
    timer->fn(timer->arg);
    if (timer->period_ns == 0 || timer->cancelled) {
        free(timer);
        return;
    }
    timer->due_ns += timer->period_ns;
    if (timer->due_ns <= now_ns) timer->due_ns = now_ns + timer->period_ns; /* skip missed ones */
    heap_insert(loop, timer);
}

static void run_due_timers(px_loop *loop)
{
    int64_t now_ns = px_now_ns();
    uint64_t newer = loop->next_sequence; /* timers made by these callbacks wait for next round */
    while (
        loop->timer_count > 0 && loop->heap[0]->due_ns <= now_ns && loop->heap[0]->sequence < newer)
        fire(loop, loop->heap[0], now_ns);
}

int64_t px_loop_next_due_ns(const px_loop *loop)
{
    return loop->timer_count > 0 ? loop->heap[0]->due_ns : INT64_MAX;
}

/* --- posts, stop and signals --- */

static void wake(px_loop *loop) /* async-signal-safe */
{
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof one); /* fails only when already readable */
    (void)written;
}

px_status px_loop_post(px_loop *loop, px_loop_fn fn, void *arg)
{
    pthread_mutex_lock(&loop->post_mutex);
    bool full = loop->post_count == POSTS_MAX, first = loop->post_count == 0;
    if (!full) {
        loop->posts[(loop->post_head + loop->post_count) % POSTS_MAX] = (post){fn, arg};
        loop->post_count++;
    }
    pthread_mutex_unlock(&loop->post_mutex);
    if (full)
        return px_fail(PX_RESOURCE_EXHAUSTED, "%d calls are already waiting for the event loop",
            (int)POSTS_MAX);
    if (first) wake(loop); /* later ones ride on the same wake-up */
    return px_ok();
}

static bool take_post(px_loop *loop, post *out)
{
    pthread_mutex_lock(&loop->post_mutex);
    bool any = loop->post_count > 0;
    if (any) {
        *out = loop->posts[loop->post_head];
        loop->post_head = (loop->post_head + 1) % POSTS_MAX;
        loop->post_count--;
    }
    pthread_mutex_unlock(&loop->post_mutex);
    return any;
}

/* Runs at most one ring full, so that callbacks which post again cannot hold the loop. */
static void run_posts(void *arg, int fd, unsigned ready)
{
    px_loop *loop = arg;
    uint64_t wakes;
    ssize_t got = read(fd, &wakes, sizeof wakes);
    (void)got;
    post p;
    for (int i = 0; i < POSTS_MAX && take_post(loop, &p); i++) p.fn(p.arg);
    pthread_mutex_lock(&loop->post_mutex);
    bool more = loop->post_count > 0;
    pthread_mutex_unlock(&loop->post_mutex);
    if (more) wake(loop);
}

static void read_signals(void *arg, int fd, unsigned ready)
{
    px_loop *loop = arg;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info)
        loop->on_terminate(loop->terminate_arg);
}

px_status px_loop_on_terminate(px_loop *loop, px_loop_fn fn, void *arg)
{
    loop->on_terminate = fn;
    loop->terminate_arg = arg;
    if (loop->signal_fd >= 0) return px_ok();
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    int error = pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (error != 0) return px_fail_errno(error, "cannot block signals");
    loop->signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (loop->signal_fd < 0) return px_fail_errno(errno, "cannot watch signals");
    return px_loop_watch(loop, loop->signal_fd, PX_LOOP_READ, read_signals, loop);
}

/* --- the loop itself --- */

px_status px_loop_create(px_loop **out_loop)
{
    px_loop *loop = px_alloc(sizeof *loop);
    px_status status;
    loop->signal_fd = -1;
    pthread_mutex_init(&loop->post_mutex, NULL);
    loop->posts = px_alloc_array(POSTS_MAX, sizeof *loop->posts);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0) {
        status = px_fail_errno(errno, "cannot create an event loop");
        goto out;
    }
    PX_TRY_GOTO(px_loop_watch(loop, loop->wake_fd, PX_LOOP_READ, run_posts, loop), out);
    *out_loop = loop;
    return status;
out:
    px_loop_free(loop);
    return status;
}

void px_loop_free(px_loop *loop)
{
    if (!loop) return;
    if (loop->signal_fd >= 0) close(loop->signal_fd);
    if (loop->wake_fd >= 0) close(loop->wake_fd);
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    for (int i = 0; i < loop->timer_count; i++) free(loop->heap[i]);
    free(loop->heap);
    free(loop->watches);
    free(loop->posts);
    pthread_mutex_destroy(&loop->post_mutex);
    free(loop);
}

int px_loop_fd(const px_loop *loop)
{
    return loop->epoll_fd;
}

/* Waiting in ppoll() rather than epoll_wait() keeps timers finer than a millisecond. */
static void wait_ready(px_loop *loop, int64_t timeout_ns)
{
    int64_t due_ns = px_loop_next_due_ns(loop);
    if (due_ns != INT64_MAX) {
        int64_t until_due_ns = due_ns - px_now_ns();
        if (until_due_ns < timeout_ns) timeout_ns = until_due_ns;
    }
    if (timeout_ns <= 0) return;
    struct pollfd poll_fd = {.fd = loop->epoll_fd, .events = POLLIN};
    struct timespec timeout = {.tv_sec = timeout_ns / PX_SEC, .tv_nsec = timeout_ns % PX_SEC};
    (void)ppoll(&poll_fd, 1, &timeout, NULL);
}

void px_loop_dispatch(px_loop *loop, int64_t timeout_ns)
{
    wait_ready(loop, timeout_ns);
    run_ready_descriptors(loop);
    run_due_timers(loop);
}

void px_loop_run(px_loop *loop)
{
    while (!atomic_exchange(&loop->stopped, false)) px_loop_dispatch(loop, INT64_MAX);
}

void px_loop_stop(px_loop *loop)
{
    atomic_store(&loop->stopped, true);
    wake(loop);
}
