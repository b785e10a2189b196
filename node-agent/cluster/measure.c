/* measure.c - see measure.h. Each worker reads its own slice, then multiplies in registers; both
 * for a fixed time, so the whole ends when it must on any machine. */
#include "cluster/measure.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

#define BUFFER_BYTES (UINT64_C(64) << 20)
enum { PHASE_MS = 40, THREADS_MAX = 1024, ACCUMULATORS = 6, FLOP_ROUNDS = 20000 };

typedef float vec __attribute__((vector_size(64)));
enum { LANES = sizeof(vec) / sizeof(float) };

/* Written once for the compiler to widen: each variant below is the same body for another ISA. */
static inline __attribute__((always_inline)) float read_body(const vec *data, size_t count)
{
    vec sums[4] = {0};
    for (size_t i = 0; i + 4 <= count; i += 4)
        for (int k = 0; k < 4; k++) sums[k] += data[i + (size_t)k];
    vec sum = sums[0] + sums[1] + sums[2] + sums[3];
    return sum[0];
}

static inline __attribute__((always_inline)) float flops_body(float start)
{
    vec factor = start + (vec){0};
    vec sums[ACCUMULATORS] = {0};
    for (int round = 0; round < FLOP_ROUNDS; round++)
        for (int k = 0; k < ACCUMULATORS; k++) sums[k] = sums[k] * factor + factor;
    vec sum = {0};
    for (int k = 0; k < ACCUMULATORS; k++) sum += sums[k];
    return sum[0];
}

static float read_plain(const vec *data, size_t count)
{
    return read_body(data, count);
}
static float flops_plain(float start)
{
    return flops_body(start);
}

typedef float (*read_fn)(const vec *data, size_t count);
typedef float (*flops_fn)(float start);

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float read_avx2(const vec *data, size_t count)
{
    return read_body(data, count);
}
__attribute__((target("avx2,fma"))) static float flops_avx2(float start)
{
    return flops_body(start);
}
__attribute__((target("avx512f"))) static float read_avx512(const vec *data, size_t count)
{
    return read_body(data, count);
}
__attribute__((target("avx512f"))) static float flops_avx512(float start)
{
    return flops_body(start);
}

static void choose(read_fn *out_read, flops_fn *out_flops)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f");
    *out_read = avx512 ? read_avx512 : avx2 ? read_avx2 : read_plain;
    *out_flops = avx512 ? flops_avx512 : avx2 ? flops_avx2 : flops_plain;
}
#else
static void choose(read_fn *out_read, flops_fn *out_flops)
{
    *out_read = read_plain;
    *out_flops = flops_plain;
}
#endif

typedef struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    vec *slice;
    size_t count;
    double read_bytes_s, flops;
    float sink; /* keeps the compiler from dropping the work */
} worker;

static double measure_reads(worker *w, read_fn read)
{
    int64_t begin = px_now_ns(), now = begin;
    double bytes = 0;
    while (now - begin < PHASE_MS * PX_MS) {
        size_t chunk = 8192; /* 512 KiB between looks at the clock */
        for (size_t at = 0; at < w->count && now - begin < PHASE_MS * PX_MS; at += chunk) {
            size_t count = w->count - at < chunk ? w->count - at : chunk;
            w->sink += read(w->slice + at, count);
            bytes += (double)(count * sizeof(vec));
            now = px_now_ns();
        }
    }
    return bytes / ((double)(now - begin) / 1e9);
}

static double measure_flops(worker *w, flops_fn flops)
{
    int64_t begin = px_now_ns(), now = begin;
    double done = 0;
    while (now - begin < PHASE_MS * PX_MS) {
        w->sink += flops(w->sink * 0 + 0.5f);
        done += 2.0 * LANES * ACCUMULATORS * FLOP_ROUNDS;
        now = px_now_ns();
    }
    return done / ((double)(now - begin) / 1e9);
}

static void *work(void *arg)
{
    worker *w = arg;
    read_fn read;
    flops_fn flops;
    choose(&read, &flops);
    memset(w->slice, 1, w->count * sizeof(vec)); /* real pages, on this thread's memory node */
    pthread_barrier_wait(w->start);
    w->read_bytes_s = measure_reads(w, read);
    pthread_barrier_wait(w->start);
    w->flops = measure_flops(w, flops);
    return NULL;
}

px_status px_measure_run(uint32_t threads, px_measure *out)
{
    if (threads < 1) threads = 1;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    void *buffer;
    PX_TRY(px_big_alloc(BUFFER_BYTES, "the bandwidth measurement", &buffer));
    worker *workers = px_alloc_array(threads, sizeof *workers);
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads);
    size_t count = BUFFER_BYTES / sizeof(vec) / threads;
    for (uint32_t i = 0; i < threads; i++)
        workers[i] = (worker){.start = &start, .slice = (vec *)buffer + i * count, .count = count};
    for (uint32_t i = 1; i < threads; i++)
        PX_ASSERT(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    work(&workers[0]);
    double bytes_s = workers[0].read_bytes_s, flops = workers[0].flops;
    for (uint32_t i = 1; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        bytes_s += workers[i].read_bytes_s;
        flops += workers[i].flops;
    }
    *out = (px_measure){.read_bytes_s = (uint64_t)bytes_s, .flops = (uint64_t)flops};
    pthread_barrier_destroy(&start);
    free(workers);
    px_big_free(buffer, BUFFER_BYTES);
    return px_ok();
}
