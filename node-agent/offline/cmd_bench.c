/* cmd_bench.c - node-agent bench: prefill and decode speed, through the engine that serves.
 *
 *   ppN     one prompt of N tokens: submit to first token
 *   tgN     one sequence from a single token on: N tokens, submit to end
 *   tgN@C   N tokens after a prompt of C: their rate from first token to end
 *   batchN  N sequences at once, each after a short prompt of its own: their tokens from when all
 *           have begun to the end of the last
 *
 * All times are the engine's own, so a late reader of its events changes nothing.
 * Verified before it is timed: other prompts must give other answers, the same prompt the same one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/term.h"
#include "engine/kv/kvpool.h"
#include "engine/random.h"
#include "offline/commands.h"
#include "offline/session.h"

enum {
    SIZES_MAX = 16,
    BATCH_SEQS_MAX = 1024,
    BATCH_PROMPT_TOKENS = 8,
    BATCH_ROWS_MIN = 512,
    BATCH_ROWS_MAX = 4096,
    VERIFY_PROMPT_TOKENS = 8,
    VERIFY_GEN_TOKENS = 4,
    REPEAT_MAX = 100
};

const px_arg_spec px_cmd_bench_specs[] = {PX_SESSION_MODEL_SPEC,
    {"prompt-tokens", PX_ARG_INT, "N", "512", "length of the prefill test; 0: skip it",
        .max = 1 << 20},
    {"gen-tokens", PX_ARG_INT, "N", "128", "tokens to generate; 0: skip the decode test",
        .max = 1 << 20},
    {"context", PX_ARG_INT, "N", "0", "also decode after a prompt of N tokens; 0: skip it",
        .max = 1 << 20},
    {"batch", PX_ARG_STR, "N,N", NULL, "also decode with this many sequences at once"},
    {"repeat", PX_ARG_INT, "N", "3", "runs of each test; the median counts", .min = 1,
        .max = REPEAT_MAX},
    PX_SESSION_RANK_SPECS, {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line"}, {0}};

static const px_command_doc doc = {.usage = "node-agent bench --model PATH [options]",
    .summary = "Measures prefill and decode speed after checking that the answers are sound.",
    .examples = "node-agent bench --model model.gguf --threads 2 --batch 8,32\n"
                "mpirun -n 2 node-agent bench --model model.gguf --threads 1"};

typedef struct bench_seq {
    uint64_t id;
    int64_t submitted_ns, first_ns, end_ns; /* first: of its tokens */
    uint32_t tokens;
} bench_seq;

typedef struct bench_job {
    const px_args *args;
    uint32_t prompt_tokens, gen_tokens, context, repeat;
    uint32_t batches[SIZES_MAX], batch_count, seqs_max;
    uint32_t *prompt; /* scratch for one prompt */
    bench_seq *seqs;  /* [seqs_max] of the run at hand */
    px_table *table;  /* NULL with --json */
} bench_job;

typedef struct bench_load { /* one run: sequences alike but for their prompts */
    uint32_t seqs, prompt_tokens, gen_tokens;
    uint32_t variant; /* another variant has other prompts */
} bench_load;

typedef struct bench_outcome {
    int64_t ttft_ns, total_ns; /* of the sequence that ended last */
    double decode_rate;        /* tokens per second while all sequences decode */
    uint64_t hash;             /* of one sequence's tokens */
} bench_outcome;

/* --- one run ------------------------------------------------------------------------------ */

/* Prompts come from the lower half of the vocabulary, where special tokens are few. */
static void fill_prompt(bench_job *job, px_engine *engine, const bench_load *load, uint32_t seq)
{
    uint32_t vocabulary = px_engine_model(engine)->vocabulary;
    uint64_t seed = (uint64_t)load->variant << 32 | seq;
    for (uint32_t i = 0; i < load->prompt_tokens; i++)
        job->prompt[i] = (uint32_t)(px_random_unit(seed, i) * vocabulary / 2);
}

static px_status submit_all(bench_job *job, px_session *session, const bench_load *load)
{
    px_engine *engine = px_session_engine(session);
    for (uint32_t i = 0; i < load->seqs; i++) {
        fill_prompt(job, engine, load, i);
        px_request request = {.tokens = job->prompt,
            .token_count = load->prompt_tokens,
            .sampling = {.top_p = 1},
            .max_tokens = load->gen_tokens,
            .ignore_eos = true};
        job->seqs[i].submitted_ns = px_now_ns();
        PX_TRY(px_engine_submit(engine, &request, &job->seqs[i].id));
    }
    return px_ok();
}

static void note_end(bench_job *job, const px_event *event, bench_outcome *out)
{
    bench_seq *seq = job->seqs;
    while (seq->id != event->id) seq++;
    seq->first_ns = seq->submitted_ns + event->ttft_ns;
    seq->end_ns = seq->submitted_ns + event->total_ns;
    seq->tokens = event->output_tokens;
    out->ttft_ns = event->ttft_ns;
    out->total_ns = event->total_ns;
}

/* The first to be submitted begins before the others are there: of its tokens those count, by its
 * mean pace, that came when all had begun. */
static double rate_of_all(const bench_seq *seqs, uint32_t count)
{
    int64_t begin_ns = 0, end_ns = 0;
    double tokens = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (seqs[i].first_ns > begin_ns) begin_ns = seqs[i].first_ns;
        if (seqs[i].end_ns > end_ns) end_ns = seqs[i].end_ns;
    }
    for (uint32_t i = 0; i < count; i++)
        if (seqs[i].end_ns > begin_ns)
            tokens += (seqs[i].tokens - 1) * (double)(seqs[i].end_ns - begin_ns) /
                      (double)(seqs[i].end_ns - seqs[i].first_ns);
    return tokens * 1e9 / (double)(end_ns - begin_ns);
}

static px_status run_load(
    bench_job *job, px_session *session, const bench_load *load, bench_outcome *out)
{
    static const uint64_t fnv_basis = UINT64_C(14695981039346656037);
    static const uint64_t fnv_prime = UINT64_C(1099511628211);
    *out = (bench_outcome){.hash = fnv_basis};
    PX_TRY(submit_all(job, session, load));
    for (uint32_t running = load->seqs; running;) {
        px_event event;
        if (!px_session_next(session, &event)) return px_fail(PX_CANCELLED, "interrupted");
        if (event.kind == PX_EVENT_TOKEN) {
            if (event.has_token && event.id == job->seqs[0].id)
                out->hash = (out->hash ^ event.token) * fnv_prime;
            continue;
        }
        PX_TRY(event.status);
        note_end(job, &event, out);
        running--;
    }
    out->decode_rate = rate_of_all(job->seqs, load->seqs);
    return px_ok();
}

/* --- the tests ---------------------------------------------------------------------------- */

/* Tokens per second of a run, as the file's banner defines them. */
typedef double (*rate_fn)(const bench_load *load, const bench_outcome *outcome);

static double prefill_rate(const bench_load *load, const bench_outcome *outcome)
{
    return load->prompt_tokens * 1e9 / (double)outcome->ttft_ns;
}

static double decode_rate(const bench_load *load, const bench_outcome *outcome)
{
    return load->gen_tokens * 1e9 / (double)outcome->total_ns;
}

static double batch_rate(const bench_load *load, const bench_outcome *outcome)
{
    return outcome->decode_rate;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(bench_job *job, const char *name, uint32_t threads, double *rates)
{
    qsort(rates, job->repeat, sizeof *rates, by_value);
    double median = (rates[(job->repeat - 1) / 2] + rates[job->repeat / 2]) / 2;
    double least = rates[0], most = rates[job->repeat - 1];
    if (!job->table) {
        printf("{\"test\":\"%s\",\"threads\":%u,\"tokens_per_s\":%.2f,\"tokens_per_s_min\":%.2f,"
               "\"tokens_per_s_max\":%.2f}\n",
            name, threads, median, least, most);
        fflush(stdout);
        return;
    }
    char cells[4][32];
    snprintf(cells[0], sizeof cells[0], "%u", threads);
    snprintf(cells[1], sizeof cells[1], "%.1f", median);
    snprintf(cells[2], sizeof cells[2], "%.1f", least);
    snprintf(cells[3], sizeof cells[3], "%.1f", most);
    px_table_row(job->table, (const char *[]){name, cells[0], cells[1], cells[2], cells[3]});
}

/* A warm-up run and `repeat` timed ones. */
static px_status measure(
    bench_job *job, px_session *session, const char *name, const bench_load *load, rate_fn rate)
{
    double rates[REPEAT_MAX];
    bench_outcome outcome;
    PX_TRY(run_load(job, session, load, &outcome));
    for (uint32_t i = 0; i < job->repeat; i++) {
        PX_TRY(run_load(job, session, load, &outcome));
        rates[i] = rate(load, &outcome);
    }
    report(job, name, px_session_threads(session), rates);
    return px_ok();
}

/* A model that always says the same would be fast and useless. */
static px_status verify(bench_job *job, px_session *session)
{
    enum { OTHERS = 4 };
    bench_load load = {
        .seqs = 1, .prompt_tokens = VERIFY_PROMPT_TOKENS, .gen_tokens = VERIFY_GEN_TOKENS};
    bench_outcome first, again;
    PX_TRY(run_load(job, session, &load, &first));
    PX_TRY(run_load(job, session, &load, &again));
    if (first.hash != again.hash)
        return px_fail(PX_DATA_LOSS, "the same prompt gave two different answers");
    for (load.variant = 1; load.variant <= OTHERS; load.variant++) {
        PX_TRY(run_load(job, session, &load, &again));
        if (first.hash != again.hash) return px_ok();
    }
    return px_fail(PX_DATA_LOSS, "%d different prompts gave the same answer", OTHERS + 1);
}

static px_status run_tests(void *arg, px_session *session)
{
    bench_job *job = arg;
    char name[32];
    PX_TRY(verify(job, session));
    if (job->prompt_tokens) {
        snprintf(name, sizeof name, "pp%u", job->prompt_tokens);
        bench_load load = {.seqs = 1, .prompt_tokens = job->prompt_tokens, .gen_tokens = 1};
        PX_TRY(measure(job, session, name, &load, prefill_rate));
    }
    if (job->gen_tokens) {
        snprintf(name, sizeof name, "tg%u", job->gen_tokens);
        bench_load load = {.seqs = 1, .prompt_tokens = 1, .gen_tokens = job->gen_tokens};
        PX_TRY(measure(job, session, name, &load, decode_rate));
    }
    if (job->context && job->gen_tokens > 1) {
        snprintf(name, sizeof name, "tg%u@%u", job->gen_tokens, job->context);
        bench_load load = {.seqs = 1, .prompt_tokens = job->context, .gen_tokens = job->gen_tokens};
        PX_TRY(measure(job, session, name, &load, batch_rate));
    }
    for (uint32_t i = 0; i < job->batch_count; i++) {
        snprintf(name, sizeof name, "batch%u", job->batches[i]);
        bench_load load = {.seqs = job->batches[i],
            .prompt_tokens = BATCH_PROMPT_TOKENS,
            .gen_tokens = job->gen_tokens};
        PX_TRY(measure(job, session, name, &load, batch_rate));
    }
    if (job->table) px_table_print(job->table, stdout);
    return px_ok();
}

/* --- the command -------------------------------------------------------------------------- */

static px_status parse_batches(bench_job *job, const char *text)
{
    while (text && *text) {
        char *end;
        unsigned long seqs = strtoul(text, &end, 10);
        if (end == text || seqs == 0 || seqs > BATCH_SEQS_MAX || (*end && *end != ','))
            return px_args_fail(
                "--batch wants numbers from 1 to %d with commas, not '%s'", BATCH_SEQS_MAX, text);
        if (job->batch_count == SIZES_MAX)
            return px_args_fail("--batch takes at most %d numbers", SIZES_MAX);
        job->batches[job->batch_count++] = (uint32_t)seqs;
        if (seqs > job->seqs_max) job->seqs_max = (uint32_t)seqs;
        text = *end ? end + 1 : end;
    }
    if (job->batch_count && job->gen_tokens < 2)
        return px_args_fail("--batch needs --gen-tokens of at least 2");
    return px_ok();
}

static uint64_t at_least(uint64_t value, uint64_t least)
{
    return value > least ? value : least;
}

static px_status run(const px_args *args)
{
    bench_job job = {.args = args,
        .prompt_tokens = (uint32_t)px_args_int(args, "prompt-tokens"),
        .gen_tokens = (uint32_t)px_args_int(args, "gen-tokens"),
        .context = (uint32_t)px_args_int(args, "context"),
        .repeat = (uint32_t)px_args_int(args, "repeat"),
        .seqs_max = 1};
    PX_TRY(parse_batches(&job, px_args_str(args, "batch")));
    uint64_t longest = at_least(job.prompt_tokens, job.context);
    longest = at_least(longest, at_least(VERIFY_PROMPT_TOKENS, BATCH_PROMPT_TOKENS));
    job.prompt = px_alloc_array(longest, sizeof *job.prompt);
    job.seqs = px_alloc_array(job.seqs_max, sizeof *job.seqs);
    if (!px_args_flag(args, "json"))
        job.table =
            px_table_create((const char *[]){"TEST", ">THREADS", ">TOKENS/S", ">MIN", ">MAX"}, 5);

    uint64_t each = px_kv_blocks_for(BATCH_PROMPT_TOKENS + job.gen_tokens) * PX_KV_BLOCK_TOKENS;
    uint64_t rows = at_least((uint64_t)BATCH_PROMPT_TOKENS * job.seqs_max, BATCH_ROWS_MIN);
    px_session_options options = {.seqs_max = job.seqs_max,
        .speculate = "off", /* every token takes its step */
        .batch_size =
            (uint32_t)(rows < BATCH_ROWS_MAX ? rows : BATCH_ROWS_MAX), /* start together */
        .kv_tokens =
            at_least(longest + at_least(job.gen_tokens, VERIFY_GEN_TOKENS), each * job.seqs_max) +
            PX_KV_BLOCK_TOKENS};
    px_status status = px_session_run(args, &options, run_tests, &job);
    if (job.table) px_table_free(job.table);
    free(job.prompt);
    free(job.seqs);
    return status;
}

int px_cmd_bench(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_bench_specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(px_cmd_bench_specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        status = run(args);
        px_args_free(args);
    }
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
