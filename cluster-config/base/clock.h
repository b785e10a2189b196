/* clock.h - time. Monotonic nanoseconds for all logic; wall time for people and files only. */
#ifndef PX_BASE_CLOCK_H
#define PX_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define PX_MS  INT64_C(1000000)
#define PX_SEC INT64_C(1000000000)

static inline int64_t px_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * PX_SEC + t.tv_nsec;
}

static inline int64_t px_wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * PX_SEC + t.tv_nsec;
}

static inline void px_sleep_ns(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / PX_SEC, .tv_nsec = ns % PX_SEC};
    nanosleep(&t, NULL);
}

#endif
