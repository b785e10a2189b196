/* decode_bench.c - one decode step beside the read bandwidth of the same moment.
 *
 *   decode_bench --model FILE [--threads N] [--batch N] [--context N] [--kernels NAME]
 *                [--kv-type TYPE] [--rounds N] [--scattered] [--json]
 *
 * The bandwidth of a shared machine changes from one moment to the next, so the workers of the team
 * read PROBE_BYTES in order, make a step, read again, and so on. A round's fraction is the bytes
 * that the step must read (packed weights once, and the KV of each sequence) by its time, over the
 * mean of the probes before and after it. The medians count. Sequences all stand at `context`, over
 * a cache whose contents are made up; the step is the model's forward alone, without the engine.
 */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/args.h"
#include "base/clock.h"
#include "base/memory.h"
#include "engine/kv/kvpool.h"
#include "engine/model/weights.h"
#include "parallel/comm.h"

enum { THREADS_MAX = 64, BATCH_MAX = 256, ROUNDS_MAX = 1000, WARM_STEPS = 3 };
static const size_t probe_bytes = (size_t)256 << 20;

static const px_arg_spec specs[] = {
    {"model", PX_ARG_STR, "PATH", NULL, "what px_model_file_open takes", .required = true},
    {"threads", PX_ARG_INT, "N", "2", "workers", .min = 1, .max = THREADS_MAX},
    {"batch", PX_ARG_INT, "N", "1", "sequences in a step", .min = 1, .max = BATCH_MAX},
    {"context", PX_ARG_INT, "N", "64", "position of every sequence", .min = 1, .max = 1 << 20},
    {"kernels", PX_ARG_STR, "NAME", "auto", "scalar, avx2, avx512, avx512_bf16"},
    {"kv-type", PX_ARG_STR, "TYPE", "f16", "f32, f16, bf16, q8_0"},
    {"rounds", PX_ARG_INT, "N", "41", "steps that count", .min = 1, .max = ROUNDS_MAX},
    {"scattered", PX_ARG_FLAG, NULL, NULL, "KV blocks lie anywhere in the pool, not in a row"},
    {"json", PX_ARG_FLAG, NULL, NULL, "print one JSON object"}, {0}};
static const px_command_doc doc = {.usage = "decode_bench --model PATH [options]",
    .summary = "Times decode steps against the read bandwidth measured around each of them."};

typedef struct rig {
    const px_args *args;
    const px_kernels *kernels;
    px_dtype kv_type;
    px_model_file *file;
    px_model_info info;
    px_team *team;
    px_model *model;
    px_comm *comm;
    px_kvpool *pool;
    px_forward *forward;
    uint32_t batch, context;
    uint32_t *blocks; /* [batch, blocks_each]: every sequence has its own */
    px_batch step;
    float *logits;
    void *probe;
    double bytes; /* that a step must read */
} rig;

static uint32_t blocks_each(const rig *r)
{
    return px_kv_blocks_for(r->context + 1);
}

static px_status open_model(rig *r)
{
    px_plan_shape shape;
    px_plan plan;
    PX_TRY(px_model_file_open(px_args_str(r->args, "model"), &r->file));
    PX_TRY(px_model_describe(r->file, &r->info, &shape));
    PX_TRY(px_plan_make(&shape, 1, 1, NULL, &plan));
    PX_TRY(px_team_create((uint32_t)px_args_int(r->args, "threads"), true, &r->team));
    PX_TRY(px_comm_self(&r->comm));
    px_model_options options = {.kernels = r->kernels, .plan = &plan, .team = r->team};
    return px_model_load(r->file, &options, &r->model);
}

/* Small numbers of every type, written so that every page is there. */
static px_status open_cache(rig *r)
{
    uint32_t blocks = blocks_each(r) * r->batch;
    PX_TRY(px_kvpool_create(px_forward_kv_shape(r->model), r->kv_type, blocks, &r->pool));
    unsigned char *block = px_alloc_array(px_kvpool_bytes_each(r->pool), 1);
    memset(block, 0x2c, px_kvpool_bytes_each(r->pool));
    for (uint32_t i = 0; i < blocks; i++) px_kvpool_load(r->pool, i, block);
    free(block);
    px_forward_limits limits = {
        .rows_max = r->batch, .logit_rows_max = r->batch, .position_max = r->context + 1};
    return px_forward_create(
        r->model, r->kernels, r->comm, r->team, px_kvpool_layers(r->pool), &limits, &r->forward);
}

/* Every sequence has blocks of its own: in a row, or in an order of chance, always the same. */
static void hand_out_blocks(rig *r)
{
    uint32_t count = r->batch * blocks_each(r);
    uint64_t chance = 1;
    r->blocks = px_alloc_array(count, sizeof *r->blocks);
    for (uint32_t i = 0; i < count; i++) r->blocks[i] = i;
    if (!px_args_flag(r->args, "scattered")) return;
    for (uint32_t i = count - 1; i > 0; i--) {
        chance = chance * UINT64_C(6364136223846793005) + 1;
        uint32_t j = (uint32_t)((chance >> 33) % (i + 1)), block = r->blocks[i];
        r->blocks[i] = r->blocks[j];
        r->blocks[j] = block;
    }
}

static px_status open_step(rig *r)
{
    uint32_t *ids = px_alloc_array(r->batch, sizeof *ids);
    uint32_t *logit_at = px_alloc_array(r->batch, sizeof *logit_at);
    px_kv_row *at = px_alloc_array(r->batch, sizeof *at);
    hand_out_blocks(r);
    for (uint32_t i = 0; i < r->batch; i++) {
        ids[i] = (i * 7 + 1) % r->info.vocabulary;
        logit_at[i] = i;
        at[i] =
            (px_kv_row){.blocks = r->blocks + (size_t)i * blocks_each(r), .position = r->context};
    }
    r->step = (px_batch){
        .rows = r->batch, .ids = ids, .at = at, .logit_rows = r->batch, .logit_at = logit_at};
    PX_TRY(px_big_alloc((size_t)r->batch * r->info.vocabulary * sizeof *r->logits, "the logits",
        (void **)&r->logits));
    PX_TRY(px_big_alloc(probe_bytes, "the probe", &r->probe));
    memset(r->probe, 1, probe_bytes);
    r->bytes = (double)r->model->packed_bytes +
               (double)(px_kvpool_block_bytes(px_forward_kv_shape(r->model), r->kv_type) /
                        PX_KV_BLOCK_TOKENS) *
                   r->context * r->batch;
    return px_ok();
}

static px_status open_rig(rig *r)
{
    const char *kv_type = px_args_str(r->args, "kv-type");
    r->batch = (uint32_t)px_args_int(r->args, "batch");
    r->context = (uint32_t)px_args_int(r->args, "context");
    r->kernels = px_kernels_find(px_args_str(r->args, "kernels"));
    if (!r->kernels) return px_fail(PX_INVALID_ARGUMENT, "this CPU lacks these kernels");
    if (!px_dtype_parse(kv_type, &r->kv_type) || !px_dtype_can_encode(r->kv_type))
        return px_fail(
            PX_INVALID_ARGUMENT, "KV type '%s' is not one of f32, f16, bf16, q8_0", kv_type);
    PX_TRY(open_model(r));
    PX_TRY(open_cache(r));
    return open_step(r);
}

/* --- timing --- */

__attribute__((target("avx2"))) static void read_share(void *arg, uint32_t worker, uint32_t count)
{
    size_t bytes = probe_bytes / count / 256 * 256;
    const unsigned char *from = (const unsigned char *)arg + bytes * worker;
    __m256i sums[8] = {0};
    for (size_t i = 0; i < bytes; i += 256)
        for (size_t k = 0; k < 8; k++)
            sums[k] = _mm256_add_epi64(
                sums[k], _mm256_load_si256((const __m256i *)(const void *)(from + i + 32 * k)));
    for (int k = 1; k < 8; k++) sums[0] = _mm256_xor_si256(sums[0], sums[k]);
    __asm__ volatile("" ::"x"(sums[0]));
}

/* Bytes per second. */
static double probe(rig *r)
{
    int64_t begin = px_now_ns();
    px_team_run(r->team, read_share, r->probe);
    return (double)probe_bytes * 1e9 / (double)(px_now_ns() - begin);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static px_status measure(rig *r)
{
    static double fraction[ROUNDS_MAX], rate[ROUNDS_MAX], bandwidth[ROUNDS_MAX];
    uint32_t rounds = (uint32_t)px_args_int(r->args, "rounds");
    for (int i = 0; i < WARM_STEPS; i++) PX_TRY(px_forward_step(r->forward, &r->step, r->logits));
    double before = probe(r);
    for (uint32_t i = 0; i < rounds; i++) {
        int64_t begin = px_now_ns();
        PX_TRY(px_forward_step(r->forward, &r->step, r->logits));
        double step_s = (double)(px_now_ns() - begin) * 1e-9, after = probe(r);
        bandwidth[i] = (before + after) / 2;
        rate[i] = r->batch / step_s;
        fraction[i] = r->bytes / step_s / bandwidth[i];
        before = after;
    }
    double f = median(fraction, rounds), t = median(rate, rounds), b = median(bandwidth, rounds);
    uint32_t threads = px_team_count(r->team);
    if (px_args_flag(r->args, "json"))
        printf("{\"threads\":%u,\"batch\":%u,\"context\":%u,\"tokens_per_s\":%.2f,"
               "\"step_bytes\":%.0f,\"read_gb_per_s\":%.2f,\"fraction\":%.3f}\n",
            threads, r->batch, r->context, t, r->bytes, b * 1e-9, f);
    else
        printf("threads %u, batch %u, context %u: %.1f tokens/s, %.1f MB a step, read %.1f GB/s, "
               "fraction %.2f\n",
            threads, r->batch, r->context, t, r->bytes * 1e-6, b * 1e-9, f);
    return px_ok();
}

static void close_rig(rig *r)
{
    px_forward_free(r->forward);
    px_kvpool_free(r->pool);
    px_comm_free(r->comm);
    px_model_free(r->model);
    px_team_free(r->team);
    px_model_file_close(r->file);
    if (r->logits)
        px_big_free(r->logits, (size_t)r->batch * r->info.vocabulary * sizeof *r->logits);
    px_big_free(r->probe, probe_bytes);
    free((void *)(uintptr_t)r->step.ids);
    free((void *)(uintptr_t)r->step.at);
    free((void *)(uintptr_t)r->step.logit_at);
    free(r->blocks);
}

int main(int argc, char **argv)
{
    px_args *args;
    bool help;
    rig r = {0};
    px_status status = px_args_parse(specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        r.args = args;
        status = open_rig(&r);
        if (px_is_ok(status)) status = measure(&r);
        close_rig(&r);
        px_args_free(args);
    }
    if (!px_is_ok(status)) fprintf(stderr, "decode_bench: %s\n", status.text);
    return px_is_ok(status) ? 0 : 1;
}
