/* test_rpc_loop.c - the px_loop lives inside the rpc's polling: wakes, descriptors, timers, posts.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "rpc_pair.h"

enum { WAKES = 20000 };

typedef struct waker {
    rpc_pair pair;
    _Atomic int produced; /* by the thread */
    int consumed, wakes;
} waker;

static void on_wake(void *arg)
{
    waker *w = arg;
    w->wakes++;
    w->consumed = w->produced;
    if (w->consumed == WAKES) px_rpc_stop(w->pair.rpc);
}

static void *wake_often(void *arg)
{
    waker *w = arg;
    for (int i = 0; i < WAKES; i++) {
        w->produced++;
        px_rpc_wake(w->pair.rpc);
    }
    return NULL;
}

PX_TEST(a_wake_after_the_last_change_is_never_lost)
{
    waker w = {0};
    pair_open(&w.pair, (px_rpc_server_options){0});
    pair_start(&w.pair);
    px_rpc_on_wake(w.pair.rpc, on_wake, &w);
    pthread_t thread;
    pthread_create(&thread, NULL, wake_often, &w);
    pair_run(&w.pair);
    pthread_join(thread, NULL);
    PX_CHECK(w.consumed == WAKES);
    PX_CHECK(w.wakes <= WAKES);
    pair_close(&w.pair);
}

static void on_readable(void *arg, int fd, unsigned ready)
{
    uint64_t value;
    PX_CHECK(read(fd, &value, sizeof value) == sizeof value);
    px_rpc_stop(((rpc_pair *)arg)->rpc);
}

static void *write_eventfd(void *arg)
{
    px_sleep_ns(5 * PX_MS);
    eventfd_write(*(int *)arg, 1);
    return NULL;
}

PX_TEST(a_descriptor_wakes_the_polling_thread)
{
    rpc_pair pair;
    pair_open(&pair, (px_rpc_server_options){0});
    pair_start(&pair);
    int fd = eventfd(0, 0);
    PX_CHECK_OK(px_loop_watch(pair.loop, fd, PX_LOOP_READ, on_readable, &pair));
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        pthread_create(&thread, NULL, write_eventfd, &fd);
        pair_run(&pair);
        pthread_join(thread, NULL);
    }
    px_loop_unwatch(pair.loop, fd);
    close(fd);
    pair_close(&pair);
}

static void *post_stop(void *arg)
{
    px_sleep_ns(5 * PX_MS);
    px_status posted = px_loop_post(((rpc_pair *)arg)->loop, pair_stop, arg);
    return posted.code == PX_OK ? arg : NULL;
}

PX_TEST(posts_timers_and_signals_arrive)
{
    rpc_pair pair;
    pair_open(&pair, (px_rpc_server_options){0});
    pair_start(&pair);
    PX_CHECK_OK(px_loop_on_terminate(pair.loop, pair_stop, &pair));
    pthread_t thread;
    void *posted;
    pthread_create(&thread, NULL, post_stop, &pair);
    pair_run(&pair);
    pthread_join(thread, &posted);
    PX_CHECK(posted != NULL);
    int64_t start_ns = px_now_ns();
    pair_run_for(&pair, 20 * PX_MS);
    PX_CHECK(px_now_ns() - start_ns >= 20 * PX_MS);
    kill(getpid(), SIGTERM); /* gRPC's threads must not have taken it */
    pair_run(&pair);
    pair_close(&pair);
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return -1;
    int got = fscanf(file, "%ld %ld", &pages, &resident);
    fclose(file);
    return got == 2 ? resident * (sysconf(_SC_PAGESIZE) / 1024) : -1;
}

PX_TEST(an_idle_server_is_small)
{
    rpc_pair pair;
    pair_open(&pair, (px_rpc_server_options){0});
    px_rpc_server_add_health(pair.server);
    px_rpc_server_add_reflection(pair.server);
    pair_start(&pair);
    pair_run_for(&pair, 20 * PX_MS);
    long resident = resident_kib();
    printf("resident: %ld KiB\n", resident);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    PX_CHECK(resident > 0 && resident < 24 * 1024);
#endif
    pair_close(&pair);
}

PX_TEST_MAIN()
