/* parts.c - see parts.h: from a model on disk to an engine's parts.
 *
 *   file -> describe -> plan -> memory of all ranks -> weights -> KV pool -> forward
 *                 \-> tokenizer and template, on a thread of their own (rank 0) --^
 */
#include "engine/parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/kv/kvsize.h"
#include "engine/need.h"
#include "parallel/cpus.h"

enum {
    SLOTS_DEFAULT = 64,
    SLOTS_MAX = 4096,
    QUEUE_DEFAULT = 1024,
    BATCH_DEFAULT = 512,
    BATCH_MAX = 1 << 16,
    WHOLE_TEXT_MAX = 8192, /* tokens, where each sees those after it */
    PROPOSALS_DEFAULT = 15,
    PROMPT_LOGIT_ROWS = 32, /* of prompts whose log probabilities are asked for, in a step */
    ADAPTERS_DEFAULT = 16,
    ADAPTER_SHARE = 16, /* of the weights: one part for adapters */
    ADAPTER_BYTES_MIN = 64 << 20
};
static const double scale_default = 2, scale_max = 64;
static const int64_t load_deadline_ns = 15 * 60 * PX_SEC; /* the slowest disk among the ranks */

/* --- what ranks tell each other --- */

typedef struct report {
    px_status status;
    px_memory_report memory;
    uint64_t kv_tokens; /* rank 0's wish is the group's, as is: */
    int64_t park_bytes;
} report;

/* Every rank gets every rank's report, in rank order at out_all [size]. */
static px_status exchange(px_comm *comm, const report *mine, report *out_all)
{
    int size = px_comm_size(comm);
    if (size == 1) {
        *out_all = *mine;
        return px_ok();
    }
    size_t *bytes = px_alloc_array((size_t)size, sizeof *bytes);
    for (int i = 0; i < size; i++) bytes[i] = sizeof *mine;
    px_status status = px_comm_gather(comm, mine, bytes, out_all);
    free(bytes);
    PX_TRY(status);
    return px_comm_broadcast(comm, out_all, (size_t)size * sizeof *mine);
}

/* The first failure among all ranks, on all of them. */
static px_status agree(px_comm *comm, report *mine, report *out_all)
{
    PX_TRY(exchange(comm, mine, out_all));
    int size = px_comm_size(comm);
    for (int i = 0; i < size; i++)
        if (!px_is_ok(out_all[i].status))
            return size == 1 ? out_all[i].status : px_prefix(out_all[i].status, "rank %d", i);
    return px_ok();
}

/* --- text, beside the weights --- */

typedef struct text_job {
    pthread_t thread;
    bool started;
    const px_model_file *file;
    px_text *out;
    px_status status;
} text_job;

static void *open_text(void *arg)
{
    text_job *job = arg;
    job->status = px_text_open(px_model_file_path(job->file), job->file, job->out);
    return NULL;
}

static void text_start(text_job *job)
{
    job->started = pthread_create(&job->thread, NULL, open_text, job) == 0;
    if (!job->started) open_text(job);
}

static px_status text_finish(text_job *job)
{
    if (job->started) pthread_join(job->thread, NULL);
    return job->status;
}

/* --- the choices --- */

typedef struct loading { /* everything load decides on the way */
    const px_engine_options *options;
    px_comm *comm;
    px_plan plan;
    const px_kernels *kernels;
    px_dtype kv_type;
    uint32_t slots;
    uint32_t adapters;      /* 0: none can be loaded */
    uint64_t adapter_bytes; /* for their weights */
    report *reports;        /* [ranks] */
} loading;

static bool mostly_f32(const px_model_file *file)
{
    uint64_t f32_bytes = 0;
    for (uint32_t i = 0; i < px_model_file_tensor_count(file); i++) {
        const px_tensor *tensor = px_model_file_tensor_at(file, i);
        if (tensor->dtype == PX_F32) f32_bytes += tensor->bytes;
    }
    return f32_bytes > px_model_file_bytes(file) / 2;
}

static px_status choose_kv_type(loading *l, const px_parts *parts)
{
    const char *name = l->options->kv_type;
    if (!name) {
        bool exact = l->kernels == px_kernels_scalar() || mostly_f32(parts->file);
        l->kv_type = exact ? PX_F32 : PX_F16;
        return px_ok();
    }
    if (!px_dtype_parse(name, &l->kv_type) || (l->kv_type != PX_F32 && l->kv_type != PX_F16 &&
                                                  l->kv_type != PX_BF16 && l->kv_type != PX_Q8_0))
        return px_fail(
            PX_INVALID_ARGUMENT, "KV type '%s' is not one of f32, f16, bf16, q8_0", name);
    uint32_t block = px_dtype_of(l->kv_type)->block_elements;
    if (parts->info.k_dim % block || parts->info.v_dim % block)
        return px_fail(PX_INVALID_ARGUMENT,
            "KV type '%s' comes in blocks of %u; this model's heads have %u and %u channels", name,
            block, parts->info.k_dim, parts->info.v_dim);
    return px_ok();
}

static px_status choose_pace(const px_engine_options *options, uint32_t slots, px_pace_options *out)
{
    uint32_t batch = options->batch_size ? options->batch_size : BATCH_DEFAULT;
    double scale = options->scale_factor > 0 ? options->scale_factor : scale_default;
    if (batch > BATCH_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "batch_size %u; at most %d", batch, BATCH_MAX);
    if (!(scale >= 1 && scale <= scale_max))
        return px_fail(
            PX_INVALID_ARGUMENT, "scale_factor %g; it is from 1 to %g", scale, scale_max);
    double rows = batch * scale < BATCH_MAX ? batch * scale : BATCH_MAX;
    *out = (px_pace_options){.batch_size = batch,
        .rows_max = (uint32_t)rows > slots ? (uint32_t)rows : slots,
        .scale_factor = scale,
        .latency_ns = options->max_latency_ms * PX_MS};
    return px_ok();
}

static px_status choose_guesser(const px_engine_options *options, px_parts *parts)
{
    const char *how = options->speculate ? options->speculate : "lookup";
    if (!options->speculate && options->draft_path) how = "draft";
    uint32_t most = options->speculate_max ? options->speculate_max : PROPOSALS_DEFAULT;
    if (strcmp(how, "off") == 0) return px_ok();
    if (strcmp(how, "lookup") != 0 && strcmp(how, "draft") != 0)
        return px_fail(PX_INVALID_ARGUMENT, "speculate '%s' is not one of off, lookup, draft", how);
    parts->guesser = strcmp(how, "draft") == 0 ? PX_GUESS_DRAFT : PX_GUESS_LOOKUP;
    if (parts->guesser == PX_GUESS_DRAFT && !options->draft_path)
        return px_fail(PX_INVALID_ARGUMENT, "speculate 'draft' wants a draft model");
    if (most > PX_PROPOSALS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "speculate_max %u; at most %d", most, PX_PROPOSALS_MAX);
    parts->proposals_max = most;
    return px_ok();
}

/* Where tokens see those after them, a text's rows come in one step. */
static void fit_whole_texts(const px_model_info *info, uint32_t *context, uint32_t *rows_max)
{
    if (!info->both_ways) return;
    if (*context > WHOLE_TEXT_MAX) *context = WHOLE_TEXT_MAX;
    if (*rows_max < *context) *rows_max = *context;
}

static px_status choose_limits(loading *l, px_parts *parts)
{
    const px_engine_options *options = l->options;
    l->slots = options->seqs_max ? options->seqs_max : SLOTS_DEFAULT;
    if (l->slots > SLOTS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "%u sequences at once; at most %d", l->slots, SLOTS_MAX);
    PX_TRY(choose_pace(options, l->slots, &parts->pace));
    PX_TRY(choose_guesser(options, parts));
    if (options->context_max > parts->info.context)
        return px_fail(PX_INVALID_ARGUMENT,
            "a context of %u tokens was asked for; the model was made for %u", options->context_max,
            parts->info.context);
    if (options->context_max) parts->info.context = options->context_max;
    fit_whole_texts(&parts->info, &parts->info.context, &parts->pace.rows_max);
    parts->queue_max = options->queue_max ? options->queue_max : QUEUE_DEFAULT;
    return px_ok();
}

/* One for each sequence, and for what one of them guesses twice over or prompts tell. */
static uint32_t logit_rows(uint32_t slots, uint32_t proposals_max)
{
    uint32_t guessed = 2 * proposals_max;
    return slots + (guessed > PROMPT_LOGIT_ROWS ? guessed : PROMPT_LOGIT_ROWS);
}

static px_status choose_adapters(loading *l)
{
    const px_engine_options *options = l->options;
    l->adapters = options->adapters_max ? options->adapters_max : ADAPTERS_DEFAULT;
    l->adapter_bytes = options->adapter_bytes;
    if (l->adapter_bytes == UINT64_MAX) l->adapters = 0;
    if (l->adapters > PX_ADAPTERS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "%u adapters at once; at most %d", l->adapters, PX_ADAPTERS_MAX);
    return px_ok();
}

/* Where nobody says how much memory adapters may have. */
static uint64_t adapter_share(uint64_t weight_bytes)
{
    uint64_t share = weight_bytes / ADAPTER_SHARE;
    return share > ADAPTER_BYTES_MIN ? share : ADAPTER_BYTES_MIN;
}

static px_status choose_plan(loading *l, const px_plan_shape *shape)
{
    uint32_t size = (uint32_t)px_comm_size(l->comm);
    uint32_t pp = l->options->pp ? l->options->pp : 1;
    uint32_t tp = l->options->tp ? l->options->tp : size / pp;
    if ((uint64_t)tp * pp != size)
        return px_fail(PX_INVALID_ARGUMENT, "tp %u x pp %u needs %llu ranks; the group has %u", tp,
            pp, (unsigned long long)tp * pp, size);
    return px_plan_make(shape, tp, pp, NULL, &l->plan);
}

/* Of one KV block on this rank, before its weights are there. */
static uint64_t block_bytes(const loading *l, const px_parts *parts)
{
    px_kv_shape shape = px_forward_kv_shape_of(&parts->info, &l->plan, px_comm_rank(l->comm));
    return px_kvpool_block_bytes(shape, l->kv_type);
}

/* What a step may have; the context may yet become shorter. */
static px_forward_limits step_limits(const loading *l, const px_parts *parts)
{
    return (px_forward_limits){.rows_max = parts->pace.rows_max,
        .logit_rows_max = parts->info.generates ? logit_rows(l->slots, parts->proposals_max) : 0,
        .position_max = parts->info.context,
        .adapters = l->adapters != 0};
}

px_forward_limits px_parts_default_limits(
    const px_model_info *info, uint32_t seqs, uint32_t context)
{
    uint32_t slots = seqs ? seqs : SLOTS_DEFAULT;
    px_pace_options pace = {0};
    px_ignore(choose_pace(&(px_engine_options){0}, slots, &pace)); /* the defaults are possible */
    fit_whole_texts(info, &context, &pace.rows_max);
    return (px_forward_limits){.rows_max = pace.rows_max,
        .logit_rows_max = info->generates ? logit_rows(slots, PROPOSALS_DEFAULT) : 0,
        .position_max = context,
        .adapters = true};
}

static px_status reckon(const loading *l, const px_parts *parts, px_need *out)
{
    px_need_options options = {
        .model = {.kernels = l->kernels, .rank = px_comm_rank(l->comm), .plan = &l->plan},
        .kv_type = l->kv_type,
        .threads = px_cpus_claim(l->comm, l->options->threads),
        .vocabulary = parts->info.vocabulary,
        .limits = step_limits(l, parts)};
    return px_need_reckon(parts->file, &options, out);
}

/* Rank 0: what the draft model will be. */
static px_status describe_draft(const loading *l, px_parts *parts)
{
    if (parts->guesser != PX_GUESS_DRAFT || px_comm_rank(l->comm) != 0) return px_ok();
    px_draft_setting setting = {.path = l->options->draft_path,
        .kernels = l->kernels,
        .target = &parts->info,
        .slots = l->slots,
        .context = parts->info.context,
        .threads = px_cpus_claim(l->comm, l->options->threads)};
    return px_draft_parts_describe(&setting, &parts->draft);
}

static px_status describe(loading *l, px_parts *parts, px_memory_report *out)
{
    px_plan_shape shape;
    PX_TRY(px_model_file_open(l->options->model_path, &parts->file));
    PX_TRY(px_model_describe(parts->file, &parts->info, &shape));
    l->kernels = px_kernels_find(l->options->kernels);
    if (!l->kernels)
        return px_fail(PX_INVALID_ARGUMENT, "kernels '%s' are not to be had on this machine",
            l->options->kernels);
    PX_TRY(choose_plan(l, &shape));
    PX_TRY(choose_limits(l, parts));
    PX_TRY(choose_kv_type(l, parts));
    PX_TRY(choose_adapters(l));
    px_need need;
    PX_TRY(reckon(l, parts, &need));
    if (l->adapters && !l->adapter_bytes) l->adapter_bytes = adapter_share(need.weight_bytes);
    PX_TRY(describe_draft(l, parts));
    *out = (px_memory_report){
        .weight_bytes = need.weight_bytes + parts->draft.weight_bytes,
        .work_bytes = px_need_work_bytes(&need) + parts->draft.work_bytes +
                      (l->adapters ? l->adapter_bytes : 0),
        .block_bytes = block_bytes(l, parts) + parts->draft.block_bytes,
        .available_bytes = px_memory_available(),
    };
    gethostname(out->host, sizeof out->host - 1);
    return px_ok();
}

/* --- loading --- */

static px_status load_weights(loading *l, px_parts *parts)
{
    /* Ranks that share a host would all pin to its first cores; mpirun binds them apart itself. */
    bool pin = l->options->pin && px_comm_host_size(l->comm) == 1;
    PX_TRY(px_team_create(px_cpus_claim(l->comm, l->options->threads), pin, &parts->team));
    px_model_options options = {.kernels = l->kernels,
        .rank = px_comm_rank(l->comm),
        .plan = &l->plan,
        .team = parts->team,
        .on_progress = l->options->on_progress,
        .progress_arg = l->options->arg};
    PX_TRY(px_model_load(parts->file, &options, &parts->model));
    px_kv_shape shape = px_forward_kv_shape(parts->model);
    PX_TRY(px_kvpool_create(shape, l->kv_type, parts->limits.blocks, &parts->pool));
    px_kvpark_options park = {.block_bytes = px_kvpool_bytes_each(parts->pool),
        .slots = parts->limits.park_slots,
        .folder = l->options->kv_park_folder};
    PX_TRY(px_kvpark_create(&park, &parts->park));
    parts->weight_bytes = px_model_resident_bytes(parts->model);
    parts->kv_bytes = parts->limits.blocks * px_kvpool_block_bytes(shape, l->kv_type);
    px_forward_limits limits = step_limits(l, parts);
    if (l->adapters)
        parts->adapters = px_adapter_slots_create(&(px_adapter_slots_options){.model = parts->model,
            .kernels = l->kernels,
            .count = l->adapters,
            .bytes_max = l->adapter_bytes});
    return px_forward_create(parts->model, l->kernels, l->comm, parts->team,
        px_kvpool_layers(parts->pool), &limits, &parts->model_forward);
}

/* Rank 0: once the target and its tokenizer are there. */
static px_status load_draft(const loading *l, px_parts *parts)
{
    if (!parts->draft.file) return px_ok();
    PX_TRY(px_draft_parts_check(&parts->draft, parts->text.tokenizer));
    PX_TRY(px_draft_parts_load(&parts->draft, parts->team, parts->limits.blocks));
    parts->weight_bytes += px_model_resident_bytes(parts->draft.model);
    parts->kv_bytes += parts->limits.blocks * parts->draft.block_bytes;
    return px_ok();
}

static px_status forward_step(void *self, const px_batch *batch, float *out_logits)
{
    return px_forward_step(self, batch, out_logits);
}

/* The pool may be smaller than the model's context: then that is what the engine offers. */
static px_status settle_limits(const loading *l, px_parts *parts)
{
    int ranks = px_comm_size(l->comm);
    px_memory_report *memory = px_alloc_array((size_t)ranks, sizeof *memory);
    for (int i = 0; i < ranks; i++) memory[i] = l->reports[i].memory;
    px_kv_wish wish = {.tokens = l->reports[0].kv_tokens,
        .context = parts->info.context,
        .context_wanted = l->options->context_max != 0,
        .slots = l->slots,
        .park_bytes = l->reports[0].park_bytes,
        .park_in_file = l->options->kv_park_folder != NULL};
    px_kv_blocks blocks;
    px_status status = px_kv_size(memory, ranks, &wish, &blocks);
    free(memory);
    PX_TRY(status);
    uint64_t tokens = (uint64_t)blocks.pool * PX_KV_BLOCK_TOKENS;
    if (tokens < parts->info.context) parts->info.context = (uint32_t)tokens;
    parts->limits = (px_step_limits){.slots = l->slots,
        .rows = parts->pace.rows_max,
        .logit_rows = logit_rows(l->slots, parts->proposals_max),
        .seq_blocks = px_kv_blocks_for(parts->info.context),
        .blocks = blocks.pool,
        .park_slots = blocks.parked,
        .vocabulary = parts->info.vocabulary,
        .adapters = l->adapters};
    return px_ok();
}

/* Each stage ends with all ranks of one mind, so none waits for one that gave up. */
static px_status load_stages(loading *l, px_parts *parts)
{
    report mine = {.status = px_ok(),
        .kv_tokens = l->options->kv_tokens,
        .park_bytes = l->options->kv_park_bytes};
    mine.status = describe(l, parts, &mine.memory);
    PX_TRY(agree(l->comm, &mine, l->reports));
    PX_TRY(settle_limits(l, parts));

    text_job text = {.file = parts->file, .out = &parts->text, .status = px_ok()};
    bool leads = px_comm_rank(l->comm) == 0;
    if (leads) text_start(&text);
    if (leads) parts->pooling_status = px_pooling_open(parts->file, &parts->pooling);
    mine.status = load_weights(l, parts);
    px_status text_status = leads ? text_finish(&text) : px_ok();
    if (px_is_ok(mine.status)) mine.status = text_status;
    if (px_is_ok(mine.status)) mine.status = load_draft(l, parts);
    /* A model that answers can do without. */
    if (px_is_ok(mine.status) && leads && !parts->info.generates)
        mine.status = parts->pooling_status;
    parts->forward = forward_step;
    parts->forward_self = parts->model_forward;
    return agree(l->comm, &mine, l->reports);
}

px_status px_parts_load(const px_engine_options *options, px_comm *comm, px_parts *out)
{
    out->comm = comm;
    loading l = {.options = options, .comm = comm};
    l.reports = px_alloc_array((size_t)px_comm_size(comm), sizeof *l.reports);
    px_comm_set_deadline(comm, load_deadline_ns);
    px_status status = load_stages(&l, out);
    px_comm_set_deadline(comm, 0);
    free(l.reports);
    return status;
}

void px_parts_done(px_parts *parts)
{
    px_draft_parts_done(&parts->draft);
    px_forward_free(parts->model_forward);
    px_adapter_slots_free(parts->adapters);
    px_model_free(parts->model);
    px_text_close(&parts->text);
    px_pooling_free(parts->pooling);
    px_model_file_close(parts->file);
    px_kvpool_free(parts->pool);
    px_kvpark_free(parts->park);
    px_team_free(parts->team);
}

px_runner *px_parts_make_runner(const px_parts *parts)
{
    return px_runner_create(&(px_runner_options){.limits = parts->limits,
        .forward = parts->forward,
        .forward_self = parts->forward_self,
        .pool = parts->pool,
        .park = parts->park,
        .adapters = parts->adapters});
}
