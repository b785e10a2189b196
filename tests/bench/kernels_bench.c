/* kernels_bench.c - what every op reaches, beside what the machine can do, in one run.
 *
 *   kernels_bench [--kernels NAME] [--threads N] [--cols N] [--rows N] [--only TEXT]
 *
 * Matmul is shown as Gop/s (a multiply-add is two) for 2 to 512 rows of x, and as GB/s of packed
 * weights for one row, with weights larger than the caches. The peaks are measured by loops
 * of independent instructions. Every figure is the best of several short runs.
 */
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/kernels.h"

enum { THREADS_MAX = 64, RUNS = 5 };

static const px_kernels *kernels;
static uint32_t threads = 1;
static const char *only;

/* The thread's own time: what other programs take of its core is no part of what a kernel costs. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "cannot allocate %zu bytes\n", bytes);
        exit(1);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

/* --- running one function on all threads ------------------------------------------------------ */

typedef void (*work_fn)(void *arg, px_part part);

typedef struct job {
    work_fn fn;
    void *arg;
    px_part part;
    pthread_barrier_t *start;
    double seconds; /* for one call */
} job;

static void *run_job(void *arg)
{
    job *j = arg;
    j->fn(j->arg, j->part); /* warm */
    double best = 1e30;
    int calls = 1;
    for (int run = 0; run < RUNS; run++) {
        pthread_barrier_wait(j->start);
        double begin = now(), end;
        int done = 0;
        do {
            for (int i = 0; i < calls; i++) j->fn(j->arg, j->part);
            done += calls;
            end = now();
        } while (end - begin < 0.04);
        if ((end - begin) / done < best) best = (end - begin) / done;
    }
    j->seconds = best;
    return NULL;
}

/* Seconds for one call, by the slowest thread. */
static double measure(work_fn fn, void *arg)
{
    pthread_barrier_t start;
    pthread_t handles[THREADS_MAX];
    job jobs[THREADS_MAX];
    double slowest = 0;
    pthread_barrier_init(&start, NULL, threads);
    for (uint32_t i = 0; i < threads; i++) {
        jobs[i] = (job){fn, arg, {.index = i, .count = threads}, &start, 0};
        pthread_create(&handles[i], NULL, run_job, &jobs[i]);
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        if (jobs[i].seconds > slowest) slowest = jobs[i].seconds;
    }
    pthread_barrier_destroy(&start);
    return slowest;
}

/* --- the machine ------------------------------------------------------------------------------ */

enum { PEAK_STEPS = 1 << 20, READ_BYTES = 512 << 20 };

__attribute__((target("avx2"))) static void read_all(void *arg, px_part part)
{
    const unsigned char *from = (unsigned char *)arg + (size_t)READ_BYTES / part.count * part.index;
    size_t bytes = (size_t)READ_BYTES / part.count / 256 * 256;
    __m256i sums[8] = {0};
    for (size_t i = 0; i < bytes; i += 256) {
        for (int k = 0; k < 8; k++) {
            sums[k] = _mm256_add_epi64(
                sums[k], _mm256_load_si256((const __m256i *)(from + i + 32 * (size_t)k)));
        }
    }
    for (int k = 1; k < 8; k++) sums[0] = _mm256_xor_si256(sums[0], sums[k]);
    __asm__ volatile("" ::"x"(sums[0]));
}

#define PEAK(name, isa, type, zero, step)                                                          \
    __attribute__((target(isa))) static void name(void *arg, px_part part)                         \
    {                                                                                              \
        type acc[10], a = zero, b = zero;                                                          \
        __asm__ volatile("" : "+x"(a), "+x"(b));                                                   \
        _Pragma("GCC unroll 10") for (int k = 0; k < 10; k++) acc[k] = zero;                       \
        for (int i = 0; i < PEAK_STEPS; i++) {                                                     \
            _Pragma("GCC unroll 10") for (int k = 0; k < 10; k++)                                  \
            {                                                                                      \
                __asm__ volatile("" : "+x"(a), "+x"(b));                                           \
                acc[k] = step;                                                                     \
                __asm__ volatile("" : "+x"(acc[k]));                                               \
            }                                                                                      \
        }                                                                                          \
        _Pragma("GCC unroll 10") for (int k = 0; k < 10; k++) __asm__ volatile("" ::"x"(acc[k]));  \
    }

PEAK(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(a, b, acc[k]))
PEAK(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(a, b, acc[k]))
PEAK(int8_avx2, "avx2", __m256i, _mm256_setzero_si256(),
    _mm256_add_epi32(acc[k], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), b)))
PEAK(int8_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(),
    _mm512_dpbusd_epi32(acc[k], a, b))
PEAK(bf16_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(),
    _mm512_dpbf16_ps(acc[k], (__m512bh)a, (__m512bh)b))

static void machine(void)
{
    void *memory = allocate(READ_BYTES);
    memset(memory, 1, READ_BYTES);
    printf("read %.1f GB/s\n", READ_BYTES / measure(read_all, memory) * 1e-9);
    munmap(memory, READ_BYTES);
    double steps = (double)PEAK_STEPS * 10 * threads * 2e-9; /* lanes x this = Gop */
    printf("fma avx2 %.0f Gop/s, int8 avx2 %.0f Gop/s", 8 * steps / measure(fma_avx2, NULL),
        32 * steps / measure(int8_avx2, NULL));
    if (px_kernels_avx512()) {
        printf(", fma avx512 %.0f Gop/s, vnni %.0f Gop/s", 16 * steps / measure(fma_avx512, NULL),
            64 * steps / measure(int8_avx512, NULL));
    }
    if (px_kernels_avx512_bf16()) {
        printf(", bf16 %.0f Gop/s", 32 * steps / measure(bf16_avx512, NULL));
    }
    printf("\n");
}

/* --- matmul ----------------------------------------------------------------------------------- */

static void matmul(void *arg, px_part part)
{
    kernels->matmul(arg, part);
}

static void pack(void *arg, px_part part)
{
    kernels->pack(arg, part);
}

static void fill_weights(px_dtype dtype, unsigned char *bytes, size_t size)
{
    unsigned seed = 1;
    for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(rand_r(&seed) >> 8);
    /* Random bytes are fair quants; as scales or floats they may be NaN, which can be slow. */
    const px_dtype_traits *t = px_dtype_of(dtype);
    size_t step = t->block_elements > 1 ? 1 : t->block_bytes;
    for (size_t i = step > 1 ? step - 1 : 1; i<size; i += step> 1 ? step : 2) bytes[i] &= 0x3b;
}

static void bench_matmul(px_dtype dtype, uint32_t rows, uint32_t cols)
{
    size_t row_bytes = px_dtype_bytes(dtype, cols);
    size_t packed_bytes = kernels->pack_bytes(dtype, rows, cols);
    unsigned char *file = allocate(row_bytes * rows);
    fill_weights(dtype, file, row_bytes * rows);
    px_matrix w;
    px_pack packing = {.dtype = dtype,
        .rows = rows,
        .cols = cols,
        .from = file,
        .from_row_bytes = row_bytes,
        .to = packed_bytes ? allocate(packed_bytes) : NULL,
        .out = &w};
    double pack_seconds = measure(pack, &packing);

    enum { BATCH = 512 };
    float *x = allocate((size_t)BATCH * cols * 4), *y = allocate((size_t)BATCH * rows * 4);
    for (size_t i = 0; i < (size_t)BATCH * cols; i++) x[i] = (float)(i % 251) / 125 - 1;
    px_act act = {.kind = kernels->act_kind(dtype), .rows = BATCH, .cols = cols};
    act.row_bytes = kernels->act_row_bytes(act.kind, cols);
    act.data = allocate(act.row_bytes * BATCH);
    kernels->prepare(&(px_prepare){.x = x, .x_stride = cols, .to = &act}, (px_part){0, 1, NULL});

    double ops = 2e-9 * rows * cols;
    double bytes = (double)(packed_bytes ? packed_bytes : row_bytes * rows) * 1e-9;
    px_matmul op = {.w = &w, .x = &act, .y = y, .y_stride = rows};
    printf("%-8s %6.2f bits", px_dtype_of(dtype)->name, bytes * 8e9 / rows / cols);
    static const uint32_t batches[] = {1, 2, 4, 8, 32, BATCH};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        act.rows = batches[i];
        double seconds = measure(matmul, &op);
        if (i == 0) printf("  1 row %5.1f GB/s %6.1f Gop/s", bytes / seconds, ops / seconds);
        if (i > 0) printf("  %u: %6.1f", batches[i], ops * batches[i] / seconds);
    }
    printf(" Gop/s  pack %.2f GB/s\n", (double)row_bytes * rows * 1e-9 / pack_seconds);
    munmap(file, row_bytes * rows);
    if (packed_bytes) munmap(packing.to, packed_bytes);
    munmap(x, (size_t)BATCH * cols * 4);
    munmap(y, (size_t)BATCH * rows * 4);
    munmap(act.data, act.row_bytes * BATCH);
}

/* --- attention -------------------------------------------------------------------------------- */

static void attention(void *arg, px_part part)
{
    kernels->attention(arg, part);
}

/* The last `rows` positions of `context`, in each of `sequences`. */
typedef struct attention_case {
    uint32_t sequences, rows, context;
} attention_case;

/* 9 heads of 64 over 3 KV heads, as in SmolLM2-135M. */
static void bench_attention(px_dtype dtype, attention_case c)
{
    enum { HEADS = 9, KV_HEADS = 3, DIM = 64 };
    uint32_t blocks = (c.context + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS * c.sequences;
    size_t share_bytes = px_dtype_bytes(dtype, PX_KV_BLOCK_TOKENS * DIM);
    size_t head_bytes = 2 * share_bytes * blocks, bytes = KV_HEADS * head_bytes;
    unsigned char *pool = allocate(bytes);
    px_kv_layer kv = {.k = {pool, head_bytes, 2 * share_bytes},
        .v = {pool + share_bytes, head_bytes, 2 * share_bytes},
        .dtype = dtype,
        .kv_heads = KV_HEADS,
        .k_dim = DIM,
        .v_dim = DIM};
    uint32_t *ids = calloc(blocks, sizeof *ids), rows = c.sequences * c.rows;
    size_t cols = HEADS * DIM, tokens = (size_t)c.sequences * c.context;
    px_kv_row *at = calloc(tokens, sizeof *at), *last = calloc(rows, sizeof *at);
    float *values = allocate(tokens * cols * 4);
    for (uint32_t i = 0; i < blocks; i++) ids[i] = i;
    for (uint32_t i = 0; i < tokens; i++)
        at[i] =
            (px_kv_row){ids + i / c.context * (blocks / c.sequences), .position = i % c.context};
    for (uint32_t i = 0; i < rows; i++)
        last[i] = at[i / c.rows * c.context + c.context - c.rows + i % c.rows];
    for (size_t i = 0; i < tokens * cols; i++) values[i] = (float)(i % 97) / 48 - 1;
    kernels->kv_store(&(px_kv_store){&kv, at, values, values, cols, cols, (uint32_t)tokens},
        (px_part){0, 1, NULL});

    px_attention op = {.kv = &kv,
        .at = last,
        .q = values,
        .out = allocate(rows * cols * 4),
        .q_stride = cols,
        .out_stride = cols,
        .rows = rows,
        .heads = HEADS,
        .group = HEADS / KV_HEADS,
        .scale = 0.125f,
        .position_max = c.context - 1};
    size_t scratch = kernels->attention_scratch_floats(&op) * threads + 1;
    op.scratch = allocate(scratch * 4);
    double seconds = measure(attention, &op), visible = 0;
    for (uint32_t i = 0; i < rows; i++) visible += last[i].position + 1;
    printf("attention %-5s %2u x %4u rows, context %5u  %7.1f us  %6.1f Gop/s  %6.1f GB/s of KV\n",
        px_dtype_of(dtype)->name, c.sequences, c.rows, c.context, seconds * 1e6,
        visible * HEADS * DIM * 4e-9 / seconds, 1e-9 * (double)bytes / seconds);
    munmap(pool, bytes);
    munmap(values, tokens * cols * 4);
    munmap(op.out, rows * cols * 4);
    munmap(op.scratch, scratch * 4);
    free(ids);
    free(at);
    free(last);
}

/* --- the rest of a layer ---------------------------------------------------------------------- */

typedef struct rest {
    float *x, *y, *weight, *cosine;
    uint32_t rows, cols;
    px_act act;
} rest;

static void rmsnorm(void *arg, px_part part)
{
    rest *r = arg;
    kernels->rmsnorm(
        &(px_rmsnorm){r->x, r->weight, r->y, r->cols, r->cols, r->rows, 1, r->cols, 1e-5f, 0},
        part);
}

static void glu(void *arg, px_part part)
{
    rest *r = arg;
    kernels->glu(
        &(px_glu){r->x, r->x, r->y, r->rows, r->cols, r->cols, r->cols, r->cols, PX_SILU, 0}, part);
}

static void rope(void *arg, px_part part)
{
    rest *r = arg;
    kernels->rope(&(px_rope){.x = r->y,
                      .x_stride = r->cols,
                      .cos = r->cosine,
                      .sin = r->cosine,
                      .rows = r->rows,
                      .heads = r->cols / 64,
                      .head_dim = 64,
                      .dims = 64},
        part);
}

static void add(void *arg, px_part part)
{
    rest *r = arg;
    kernels->add(&(px_add){r->x, r->y, r->rows, r->cols, r->cols, r->cols, 1e-9f}, part);
}

static void prepare(void *arg, px_part part)
{
    rest *r = arg;
    kernels->prepare(&(px_prepare){.x = r->x, .x_stride = r->cols, .to = &r->act}, part);
}

static void bench_rest(void)
{
    static const struct {
        const char *name;
        work_fn fn;
    } ops[] = {
        {"rmsnorm", rmsnorm}, {"glu", glu}, {"rope", rope}, {"add", add}, {"prepare", prepare}};
    rest r = {.rows = 512, .cols = 1536};
    size_t floats = (size_t)r.rows * r.cols;
    r.x = allocate(floats * 4);
    r.y = allocate(floats * 4);
    r.weight = allocate(r.cols * 4);
    r.cosine = allocate((size_t)r.rows * 32 * 4);
    for (size_t i = 0; i < floats; i++) r.x[i] = (float)(i % 97) / 48 - 1;
    for (uint32_t i = 0; i < r.cols; i++) r.weight[i] = 1;
    for (uint32_t i = 0; i < r.rows * 32; i++) r.cosine[i] = 0.7071f;
    r.act = (px_act){.kind = kernels->act_kind(PX_Q8_0), .rows = r.rows, .cols = r.cols};
    r.act.row_bytes = kernels->act_row_bytes(r.act.kind, r.cols);
    r.act.data = allocate(r.act.row_bytes * r.rows);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (only && !strstr(ops[i].name, only)) continue;
        double seconds = measure(ops[i].fn, &r);
        printf("%-8s %u x %u  %6.1f us  %5.2f Gelement/s\n", ops[i].name, r.rows, r.cols,
            seconds * 1e6, (double)floats * 1e-9 / seconds);
    }
}

int main(int argc, char **argv)
{
    const char *name = NULL;
    uint32_t cols = 2048, rows = 32768;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--kernels") == 0)
            name = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0)
            threads = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--cols") == 0)
            cols = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rows") == 0)
            rows = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0)
            only = argv[i + 1];
    }
    kernels = px_kernels_find(name);
    if (!kernels || threads < 1 || threads > THREADS_MAX || cols == 0 || cols % 256 != 0 ||
        rows == 0) {
        fprintf(stderr,
            "this CPU lacks '%s', or --threads (1..%d), --cols (of 256) or --rows is wrong\n",
            name ? name : "auto", THREADS_MAX);
        return 2;
    }
    printf("kernels %s, %u threads\n", kernels->name, threads);
    if (!only || strcmp(only, "machine") == 0) machine();
    for (int dtype = 0; dtype < PX_I32; dtype++) {
        if (only && strcmp(px_dtype_of((px_dtype)dtype)->name, only) != 0) continue;
        bench_matmul((px_dtype)dtype, rows, cols);
    }
    static const px_dtype kv_types[] = {PX_F32, PX_F16, PX_BF16, PX_Q8_0};
    for (int i = 0; i < 4 && (!only || strstr("attention", only)); i++) {
        static const attention_case cases[] = {
            {1, 512, 512}, {4, 128, 128}, {32, 1, 160}, {1, 1, 512}, {1, 1, 8192}};
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            bench_attention(kv_types[i], cases[k]);
    }
    bench_rest();
    return 0;
}
