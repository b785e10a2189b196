/* test_loop.c - order of timers, descriptors that vanish in callbacks, posts from threads, signals.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "test.h"

static px_loop *new_loop(void)
{
    px_loop *loop = NULL;
    PX_CHECK_OK(px_loop_create(&loop));
    return loop;
}

static void stop(void *arg)
{
    px_loop_stop(arg);
}

/* Appends its letter to a string. */
typedef struct letter {
    char *text;
    char c;
    px_loop *loop;
    px_loop_timer *timer;
    int limit;
} letter;

static void write_letter(void *arg)
{
    letter *l = arg;
    size_t length = strlen(l->text);
    l->text[length] = l->c;
    l->text[length + 1] = '\0';
    if (l->limit > 0 && --l->limit == 0) px_loop_cancel(l->loop, l->timer);
}

PX_TEST(timers_fire_in_order_of_time_and_then_of_asking)
{
    px_loop *loop = new_loop();
    char text[32] = "";
    letter a = {text, 'a'}, b = {text, 'b'}, c = {text, 'c'}, d = {text, 'd'};
    px_loop_after(loop, 3 * PX_MS, write_letter, &c);
    px_loop_after(loop, 1 * PX_MS, write_letter, &a);
    px_loop_after(loop, 2 * PX_MS, write_letter, &b);
    px_loop_timer *never = px_loop_after(loop, 2 * PX_MS, write_letter, &d);
    px_loop_after(loop, 4 * PX_MS, stop, loop);
    px_loop_cancel(loop, never);
    px_loop_cancel(loop, NULL);
    px_loop_run(loop);
    PX_CHECK_STR(text, "abc");
    PX_CHECK(px_loop_next_due_ns(loop) == INT64_MAX);
    px_loop_free(loop);
}

PX_TEST(a_timer_is_never_early_and_a_cancelled_heap_stays_ordered)
{
    enum { COUNT = 500 };
    px_loop *loop = new_loop();
    char text[2 * COUNT] = "";
    static letter letters[COUNT];
    px_loop_timer *timers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        letters[i] = (letter){.text = text, .c = 'x'};
        timers[i] = px_loop_after(loop, (i * 7919) % 1000 * 1000, write_letter, &letters[i]);
    }
    for (int i = 0; i < COUNT; i += 2) px_loop_cancel(loop, timers[i]);
    int64_t start_ns = px_now_ns();
    px_loop_after(loop, 20 * PX_MS, stop, loop);
    px_loop_run(loop);
    PX_CHECK(px_now_ns() - start_ns >= 20 * PX_MS);
    PX_CHECK(strlen(text) == COUNT / 2);
    px_loop_free(loop);
}

PX_TEST(a_period_repeats_until_cancelled_from_within)
{
    px_loop *loop = new_loop();
    char text[32] = "";
    letter e = {.text = text, .c = 'e', .loop = loop, .limit = 3};
    e.timer = px_loop_every(loop, PX_MS, write_letter, &e);
    px_loop_after(loop, 30 * PX_MS, stop, loop);
    px_loop_run(loop);
    PX_CHECK_STR(text, "eee");
    px_loop_free(loop);
}

static void ask_again(void *arg)
{
    letter *l = arg;
    write_letter(l);
    px_loop_after(l->loop, 0, ask_again, l);
}

PX_TEST(a_timer_that_asks_again_at_once_does_not_hold_the_loop)
{
    px_loop *loop = new_loop();
    char text[64] = "";
    letter z = {.text = text, .c = 'z', .loop = loop};
    px_loop_after(loop, 0, ask_again, &z);
    for (int i = 0; i < 3; i++) px_loop_dispatch(loop, PX_SEC);
    PX_CHECK_STR(text, "zzz");
    px_loop_free(loop); /* the pending one is dropped uncalled */
}

/* --- descriptors --- */

typedef struct pair {
    px_loop *loop;
    int fds[2], calls;
} pair;

static void on_either(void *arg, int fd, unsigned ready)
{
    pair *p = arg;
    p->calls++;
    PX_CHECK(ready == PX_LOOP_READ);
    for (int i = 0; i < 2; i++) { /* the other one's event of this round must not arrive */
        px_loop_unwatch(p->loop, p->fds[i]);
        close(p->fds[i]);
        p->fds[i] = eventfd(1, 0); /* very likely the same number again */
        PX_CHECK_OK(px_loop_watch(p->loop, p->fds[i], PX_LOOP_READ, on_either, p));
    }
}

PX_TEST(an_event_of_a_closed_descriptor_does_not_reach_its_successor)
{
    px_loop *loop = new_loop();
    pair p = {.loop = loop};
    for (int i = 0; i < 2; i++) {
        p.fds[i] = eventfd(1, 0);
        PX_CHECK_OK(px_loop_watch(loop, p.fds[i], PX_LOOP_READ, on_either, &p));
    }
    px_loop_dispatch(loop, PX_SEC);
    PX_CHECK(p.calls == 1);
    for (int i = 0; i < 2; i++) {
        px_loop_unwatch(loop, p.fds[i]);
        close(p.fds[i]);
    }
    px_loop_free(loop);
}

static void count_ready(void *arg, int fd, unsigned ready)
{
    *(unsigned *)arg |= ready;
}

PX_TEST(interest_can_change_and_a_hang_up_reports_both)
{
    px_loop *loop = new_loop();
    int ends[2];
    unsigned seen = 0;
    PX_REQUIRE(pipe(ends) == 0);
    PX_CHECK_OK(px_loop_watch(loop, ends[0], PX_LOOP_READ, count_ready, &seen));
    PX_CHECK_OK(px_loop_watch(loop, ends[1], PX_LOOP_WRITE, count_ready, &seen));
    px_loop_dispatch(loop, 0);
    PX_CHECK(seen == PX_LOOP_WRITE);
    PX_CHECK_OK(px_loop_watch(loop, ends[1], 0, count_ready, &seen)); /* 0 stops watching */
    seen = 0;
    px_loop_dispatch(loop, 0);
    PX_CHECK(seen == 0);
    close(ends[1]);
    px_loop_dispatch(loop, PX_SEC);
    PX_CHECK(seen == (PX_LOOP_READ | PX_LOOP_WRITE));
    px_loop_unwatch(loop, ends[0]);
    px_loop_unwatch(loop, ends[0]); /* unknown by now: fine */
    close(ends[0]);
    px_status bad = px_loop_watch(loop, -1, PX_LOOP_READ, count_ready, &seen);
    PX_CHECK(bad.code == PX_INVALID_ARGUMENT);
    px_loop_free(loop);
}

/* --- posts --- */

enum { THREADS = 4, POSTS_A_THREAD = 5000 };
typedef struct counter {
    px_loop *loop;
    int seen; /* loop's thread only */
} counter;

static void count_post(void *arg)
{
    counter *c = arg;
    if (++c->seen == THREADS * POSTS_A_THREAD) px_loop_stop(c->loop);
}

static void *post_many(void *arg)
{
    counter *c = arg;
    for (int i = 0; i < POSTS_A_THREAD; i++)
        while (px_loop_post(c->loop, count_post, c).code != PX_OK) px_sleep_ns(PX_MS / 10);
    return NULL;
}

PX_TEST(every_accepted_post_runs_once)
{
    counter c = {.loop = new_loop()};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, post_many, &c);
    px_loop_run(c.loop);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    PX_CHECK(c.seen == THREADS * POSTS_A_THREAD);
    px_loop_free(c.loop);
}

PX_TEST(posts_are_bounded)
{
    counter c = {.loop = new_loop()};
    for (int i = 0; i < 4096; i++) PX_CHECK_OK(px_loop_post(c.loop, count_post, &c));
    PX_CHECK(px_loop_post(c.loop, count_post, &c).code == PX_RESOURCE_EXHAUSTED);
    px_loop_dispatch(c.loop, 0);
    PX_CHECK(c.seen == 4096);
    PX_CHECK_OK(px_loop_post(c.loop, count_post, &c));
    px_loop_free(c.loop); /* dropped uncalled */
    PX_CHECK(c.seen == 4096);
}

PX_TEST(terminate_arrives_on_the_loop)
{
    px_loop *loop = new_loop();
    PX_CHECK_OK(px_loop_on_terminate(loop, stop, loop));
    px_loop_timer *late = px_loop_after(loop, 10 * PX_SEC, stop, loop);
    kill(getpid(), SIGTERM);
    px_loop_run(loop);
    PX_CHECK(px_loop_next_due_ns(loop) != INT64_MAX); /* it was the signal that ended the run */
    px_loop_cancel(loop, late);
    px_loop_free(loop);
}

PX_TEST_MAIN()
