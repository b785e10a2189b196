/* cmd_score.c - node-agent score: how likely a model finds given tokens, and its logits.
 *
 * Runs the forward by itself, without the engine: one sequence, in chunks of rows, every row with
 * logits. What it prints is what the model says, so its KV is float32 unless told otherwise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/adapter/load.h"
#include "engine/kv/kvpool.h"
#include "offline/commands.h"
#include "offline/session.h"
#include "offline/token_file.h"

enum { CHUNK_ROWS_MAX = 256, CHUNK_ROWS_MIN = 16, CHUNK_LOGITS_BYTES = 64 << 20 };

const px_arg_spec px_cmd_score_specs[] = {PX_SESSION_MODEL_SPEC,
    {"tokens", PX_ARG_STR, "FILE", NULL, "ids separated by white space, used as they are",
        .required = true, .no_env = true},
    {"logits", PX_ARG_STR, "FILE", NULL,
        "write the logits as raw little-endian float32 [tokens, vocabulary]", .no_env = true},
    {"adapter", PX_ARG_STR, "PATH", NULL, "a folder with a LoRA adapter (PEFT) to score with",
        .no_env = true},
    {"hidden", PX_ARG_STR, "FILE", NULL,
        "write the last hidden states as raw little-endian float32 [tokens, hidden]",
        .no_env = true},
    PX_SESSION_RANK_SPECS, {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line"}, {0}};

static const px_command_doc doc = {.usage = "node-agent score --model PATH --tokens FILE [options]",
    .summary =
        "Prints the negative log-likelihood and perplexity of tokens; writes logits and hidden "
        "states.",
    .examples = "node-agent tokenize --model model.gguf < lines.jsonl\n"
                "node-agent score --model model.gguf --tokens ids.txt --logits logits.f32"};

typedef struct score_job {
    const px_args *args;
    const px_kernels *kernels;
    px_dtype kv_type;
    uint32_t *ids;
    size_t count;
    /* Rank 0's alone: */
    bool leads;                      /* this process has it */
    FILE *logits_file, *hidden_file; /* NULL: not wanted */
    bool has_nll;                    /* models of embeddings have none */
    double nll_sum;
} score_job;

typedef struct scorer { /* one rank */
    score_job *job;
    px_model_file *file;
    px_team *team;
    px_model *model;
    px_adapter *adapter; /* NULL: none */
    px_kvpool *pool;
    px_forward *forward;
    px_model_info info;
    uint32_t chunk_rows;
    uint32_t *blocks; /* the sequence's */
    px_kv_row *at;
    uint32_t *rows;         /* 0, 1, 2, ...: every row wants logits */
    float *logits, *hidden; /* [chunk_rows, vocabulary or hidden], if any; rank 0 */
    size_t logits_bytes, hidden_bytes;
    double *nll; /* [chunk_rows] */
} scorer;

/* --- opening ------------------------------------------------------------------------------ */

static px_status load_model(scorer *s, px_comm *comm, const px_world *world)
{
    const px_model_info *info = &s->info;
    px_plan_shape shape;
    px_plan plan;
    const px_args *args = s->job->args;
    PX_TRY(px_model_file_open(px_args_str(args, "model"), &s->file));
    PX_TRY(px_model_describe(s->file, &s->info, &shape));
    if (px_args_str(args, "logits") || !px_args_str(args, "hidden"))
        PX_TRY(px_model_check_generates(info));
    for (size_t i = 0; i < s->job->count; i++)
        if (s->job->ids[i] >= info->vocabulary)
            return px_fail(PX_INVALID_ARGUMENT, "token %zu is %u; the model's vocabulary has %u", i,
                s->job->ids[i], info->vocabulary);
    if (s->job->count > info->context)
        return px_fail(PX_INVALID_ARGUMENT, "%zu tokens are more than the model's context of %u",
            s->job->count, info->context);
    PX_TRY(px_plan_make(&shape, world->tp, world->pp, NULL, &plan));
    PX_TRY(px_team_create(world->threads_each, px_args_flag(args, "pin"), &s->team));
    px_model_options options = {
        .kernels = s->job->kernels, .rank = px_comm_rank(comm), .plan = &plan, .team = s->team};
    PX_TRY(px_model_load(s->file, &options, &s->model));
    px_adapter_options adapter = {.model = s->model,
        .kernels = s->job->kernels,
        .folder = px_args_str(args, "adapter"),
        .bytes_max = UINT64_MAX};
    return adapter.folder ? px_adapter_load(&adapter, &s->adapter) : px_ok();
}

static px_status open_file(const score_job *job, const char *option, FILE **out)
{
    const char *path = px_args_str(job->args, option);
    if (path && !(*out = fopen(path, "wb")))
        return px_fail(PX_UNAVAILABLE, "%s: cannot be written", path);
    return px_ok();
}

/* What rank 0 alone has: files and rows to write into them. */
static px_status open_results(scorer *s)
{
    score_job *job = s->job;
    job->leads = true;
    job->has_nll = s->info.generates;
    PX_TRY(open_file(job, "logits", &job->logits_file));
    PX_TRY(open_file(job, "hidden", &job->hidden_file));
    if (job->has_nll) {
        s->logits_bytes = (size_t)s->chunk_rows * s->info.vocabulary * sizeof *s->logits;
        PX_TRY(px_big_alloc(s->logits_bytes, "the logits", (void **)&s->logits));
    }
    if (!job->hidden_file) return px_ok();
    s->hidden_bytes = (size_t)s->chunk_rows * s->info.hidden * sizeof *s->hidden;
    return px_big_alloc(s->hidden_bytes, "the hidden states", (void **)&s->hidden);
}

/* Where tokens see those after them, all must be in one step. */
static uint32_t choose_chunk(const scorer *s)
{
    size_t rows = CHUNK_LOGITS_BYTES / (s->info.vocabulary * sizeof(float));
    if (s->info.both_ways) return (uint32_t)s->job->count;
    return rows > CHUNK_ROWS_MAX   ? CHUNK_ROWS_MAX
           : rows < CHUNK_ROWS_MIN ? CHUNK_ROWS_MIN
                                   : (uint32_t)rows;
}

static px_status open_forward(scorer *s, px_comm *comm)
{
    uint32_t blocks = (uint32_t)(s->job->count / PX_KV_BLOCK_TOKENS + 1);
    PX_TRY(px_kvpool_create(px_forward_kv_shape(s->model), s->job->kv_type, blocks, &s->pool));
    s->blocks = px_alloc_array(blocks, sizeof *s->blocks);
    for (uint32_t i = 0; i < blocks; i++) s->blocks[i] = i;

    s->chunk_rows = choose_chunk(s);
    s->at = px_alloc_array(s->chunk_rows, sizeof *s->at);
    s->rows = px_alloc_array(s->chunk_rows, sizeof *s->rows);
    s->nll = px_alloc_array(s->chunk_rows, sizeof *s->nll);
    for (uint32_t i = 0; i < s->chunk_rows; i++) s->rows[i] = i;
    if (px_comm_rank(comm) == 0) PX_TRY(open_results(s));
    px_forward_limits limits = {.rows_max = s->chunk_rows,
        .logit_rows_max = s->info.generates ? s->chunk_rows : 0,
        .adapters = s->adapter != NULL,
        .position_max = (uint32_t)s->job->count};
    return px_forward_create(
        s->model, s->job->kernels, comm, s->team, px_kvpool_layers(s->pool), &limits, &s->forward);
}

static void close_scorer(scorer *s)
{
    px_forward_free(s->forward);
    px_kvpool_free(s->pool);
    px_adapter_free(s->adapter);
    px_model_free(s->model);
    px_team_free(s->team);
    px_model_file_close(s->file);
    px_big_free(s->logits, s->logits_bytes);
    px_big_free(s->hidden, s->hidden_bytes);
    free(s->blocks);
    free(s->at);
    free(s->rows);
    free(s->nll);
}

/* --- scoring ------------------------------------------------------------------------------ */

typedef struct nll_job {
    scorer *s;
    const uint32_t *next; /* [rows]: the token that each row should have predicted */
    uint32_t rows;
} nll_job;

/* -log softmax(logits)[target], in double. */
static double nll_of(const float *logits, uint32_t count, uint32_t target)
{
    double largest = (double)logits[0], sum = 0;
    for (uint32_t i = 1; i < count; i++) largest = fmax(largest, (double)logits[i]);
    for (uint32_t i = 0; i < count; i++) sum += exp((double)logits[i] - largest);
    return largest + log(sum) - (double)logits[target];
}

static void nll_part(void *arg, uint32_t worker, uint32_t workers)
{
    const nll_job *job = arg;
    const scorer *s = job->s;
    for (uint32_t i = worker; i < job->rows; i += workers)
        s->nll[i] =
            nll_of(s->logits + (size_t)i * s->info.vocabulary, s->info.vocabulary, job->next[i]);
}

static void add_nll(scorer *s, size_t first, uint32_t rows)
{
    score_job *job = s->job;
    uint32_t predicted = first + rows < job->count ? rows : rows - 1;
    px_team_run(
        s->team, nll_part, &(nll_job){.s = s, .next = job->ids + first + 1, .rows = predicted});
    for (uint32_t i = 0; i < predicted; i++) job->nll_sum += s->nll[i];
}

/* `rows` is NULL on other ranks than 0, `file` where they are not wanted. */
static px_status write_rows(FILE *file, const float *rows, size_t count)
{
    if (file && rows && fwrite(rows, sizeof *rows, count, file) != count)
        return px_fail(PX_UNAVAILABLE, "the results cannot be written: is the disk full?");
    return px_ok();
}

static px_status score_chunks(scorer *s)
{
    const score_job *job = s->job;
    for (size_t first = 0; first < job->count; first += s->chunk_rows) {
        size_t left = job->count - first;
        uint32_t rows = left < s->chunk_rows ? (uint32_t)left : s->chunk_rows;
        for (uint32_t i = 0; i < rows; i++)
            s->at[i] = (px_kv_row){.blocks = s->blocks,
                .position = (uint32_t)first + i,
                .prompt = (uint32_t)job->count};
        bool wants_hidden = px_args_str(job->args, "hidden") != NULL;
        px_batch batch = {.rows = rows,
            .ids = job->ids + first,
            .at = s->at,
            .logit_rows = s->info.generates ? rows : 0,
            .logit_at = s->rows,
            .hidden_rows = wants_hidden ? rows : 0,
            .hidden_at = s->rows,
            .out_hidden = s->hidden,
            .spans = &(px_adapter_span){s->adapter, {.count = rows}, {.count = rows}},
            .span_count = s->adapter != NULL};
        PX_TRY(px_forward_step(s->forward, &batch, s->logits));
        if (s->logits) add_nll(s, first, rows);
        PX_TRY(write_rows(job->logits_file, s->logits, (size_t)rows * s->info.vocabulary));
        PX_TRY(write_rows(job->hidden_file, s->hidden, (size_t)rows * s->info.hidden));
    }
    return px_ok();
}

/* Ranks begin together or not at all, so that none waits for one that could not load. */
static px_status agree(px_comm *comm, px_status mine)
{
    float failed = px_is_ok(mine) ? 0 : 1;
    px_status status = px_comm_all_reduce(comm, &failed, 1);
    if (!px_is_ok(mine)) return mine;
    PX_TRY(status);
    return failed == 0 ? px_ok() : px_fail(PX_UNAVAILABLE, "another rank could not load the model");
}

static px_status score_rank(void *arg, px_comm *comm, const px_world *world)
{
    scorer s = {.job = arg};
    px_status status = load_model(&s, comm, world);
    status = agree(comm, status);
    if (px_is_ok(status)) status = open_forward(&s, comm);
    if (px_is_ok(status)) status = score_chunks(&s);
    close_scorer(&s);
    return status;
}

/* --- the command -------------------------------------------------------------------------- */

/* The first token is given, each other is predicted from those before it: of one token there is
 * nothing to tell. */
static void print_result(const score_job *job)
{
    bool json = px_args_flag(job->args, "json");
    if (!job->has_nll) {
        printf(json ? "{\"tokens\":%zu}\n" : "%zu tokens\n", job->count);
        return;
    }
    if (job->count == 1) {
        puts(json ? "{\"tokens\":1,\"nll_sum\":0.000000,\"perplexity\":null}"
                  : "1 token: it follows nothing, so it has no perplexity");
        return;
    }
    double perplexity = exp(job->nll_sum / (double)(job->count - 1));
    printf(json ? "{\"tokens\":%zu,\"nll_sum\":%.6f,\"perplexity\":%.6f}\n"
                : "%zu tokens, negative log-likelihood %.4f, perplexity %.4f\n",
        job->count, job->nll_sum, perplexity);
}

static px_status choose(score_job *job)
{
    const char *kernels = px_args_str(job->args, "kernels");
    const char *kv_type = px_args_str(job->args, "kv-type");
    job->kernels = px_kernels_find(kernels);
    if (!job->kernels)
        return px_fail(
            PX_INVALID_ARGUMENT, "kernels '%s' are not to be had on this machine", kernels);
    job->kv_type = PX_F32;
    if (kv_type && (!px_dtype_parse(kv_type, &job->kv_type) || !px_dtype_can_encode(job->kv_type)))
        return px_fail(
            PX_INVALID_ARGUMENT, "KV type '%s' is not one of f32, f16, bf16, q8_0", kv_type);
    return px_token_file_read(px_args_str(job->args, "tokens"), &job->ids, &job->count);
}

static px_status score(const px_args *args)
{
    score_job job = {.args = args};
    px_status status = choose(&job);
    if (px_is_ok(status))
        status = px_world_run((uint32_t)px_args_int(args, "tp"), (uint32_t)px_args_int(args, "pp"),
            (uint32_t)px_args_int(args, "threads"), score_rank, &job);
    FILE *const files[] = {job.logits_file, job.hidden_file};
    for (int i = 0; i < 2; i++)
        if (files[i] && fclose(files[i]) != 0 && px_is_ok(status))
            status = px_fail(PX_UNAVAILABLE, "the results cannot be written: is the disk full?");
    free(job.ids);
    if (px_is_ok(status) && job.leads) print_result(&job);
    return status;
}

int px_cmd_score(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_score_specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(px_cmd_score_specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        status = score(args);
        px_args_free(args);
    }
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
