/* cmd_bench.c - `control-plane bench`: load on a server, and how it bears it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/term.h"
#include "control/bench/report.h"
#include "control/cli/client.h"
#include "control/cli/commands.h"

#define LOAD   "Load"
#define ASKED  "Requests"
#define SERVER "Server"

const px_arg_spec px_cmd_bench_specs[] = {{.name = "server",
                                              .kind = PX_ARG_STR,
                                              .value = "HOST:PORT",
                                              .default_value = "127.0.0.1:8081",
                                              .help = "the control plane to ask, over gRPC",
                                              .group = SERVER},
    {.name = "openai",
        .kind = PX_ARG_STR,
        .value = "URL",
        .help = "ask this server over OpenAI's HTTP instead; OPENAI_API_KEY is sent if it is set",
        .group = SERVER},
    {.name = "model",
        .kind = PX_ARG_STR,
        .value = "NAME",
        .no_env = true,
        .help = "which model; not needed while only one is served",
        .group = SERVER},
    {.name = "tenant",
        .kind = PX_ARG_STR,
        .value = "NAME",
        .no_env = true,
        .help = "whose requests they are, to a control plane",
        .group = SERVER},
    {.name = "requests",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "100",
        .min = 1,
        .max = 1e7,
        .help = "how many are sent in all",
        .group = LOAD},
    {.name = "concurrency",
        .kind = PX_ARG_INT,
        .value = "N",
        .min = 1,
        .max = 65536,
        .help = "keep this many under way (default 8); with --rate: never more than this",
        .group = LOAD},
    {.name = "rate",
        .kind = PX_ARG_REAL,
        .value = "R",
        .min = 1e-3,
        .max = 1e6,
        .help = "send R requests a second, whatever the server does (open loop)",
        .group = LOAD},
    {.name = "burstiness",
        .kind = PX_ARG_REAL,
        .value = "B",
        .default_value = "1",
        .min = 0.01,
        .max = 1e4,
        .help = "1: arrivals are Poisson's; below: in bursts; above: evenly spaced",
        .group = LOAD},
    {.name = "warmups",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "1",
        .min = 0,
        .max = 1000,
        .help = "requests before, one by one, that are not counted",
        .group = LOAD},
    {.name = "skip-first",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1e7,
        .help = "measure without the first N requests, which all come at once in a closed loop",
        .group = LOAD},
    {.name = "seed",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .help = "the same seed makes the same prompts and arrivals",
        .group = LOAD},
    {.name = "prompt-tokens",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "128",
        .min = 1,
        .max = 1 << 22,
        .help = "length of the random prompts",
        .group = ASKED},
    {.name = "shared-prefix",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1 << 22,
        .help = "how many first tokens all of them share",
        .group = ASKED},
    {.name = "vocabulary",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "8000",
        .min = 2,
        .max = INT32_MAX,
        .help = "random prompts are made of token ids below N",
        .group = ASKED},
    {.name = "prompts",
        .kind = PX_ARG_STR,
        .value = "FILE",
        .help = "ask these instead: lines {\"prompt\": ..} or {\"messages\": [..]}, \"max_tokens\" "
                "if you like",
        .group = ASKED},
    {.name = "output-tokens",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "64",
        .min = 1,
        .max = 1 << 22,
        .help = "length of the answers",
        .group = ASKED},
    {.name = "stop-at-eos",
        .kind = PX_ARG_FLAG,
        .help = "let answers end by themselves; by default all have their full length",
        .group = ASKED},
    {.name = "temperature",
        .kind = PX_ARG_REAL,
        .value = "T",
        .default_value = "0",
        .min = 0,
        .max = 100,
        .help = "0: always the likeliest token",
        .group = ASKED},
    {.name = "timeout-s",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "600",
        .min = 1,
        .max = 86400,
        .help = "of one request",
        .group = ASKED},
    {.name = "goal-ttft-ms",
        .kind = PX_ARG_REAL,
        .value = "MS",
        .min = 0,
        .max = 1e9,
        .help = "goodput counts requests whose first token came within this",
        .group = "Goals"},
    {.name = "goal-tpot-ms",
        .kind = PX_ARG_REAL,
        .value = "MS",
        .min = 0,
        .max = 1e9,
        .help = "and whose further tokens took this each",
        .group = "Goals"},
    {.name = "goal-e2e-ms",
        .kind = PX_ARG_REAL,
        .value = "MS",
        .min = 0,
        .max = 1e9,
        .help = "and that ended within this",
        .group = "Goals"},
    {.name = "json", .kind = PX_ARG_FLAG, .help = "print one JSON object"}, {0}};

static const px_command_doc doc = {
    .usage = "control-plane bench [options]",
    .summary = "Puts load on a server and measures what its users would see: time to first token, "
               "time per token, throughput, and goodput under goals. It measures a control plane "
               "over gRPC, or any other server over OpenAI's HTTP, with the same load.",
    .examples =
        "  control-plane bench --concurrency 32 --requests 256\n"
        "  control-plane bench --rate 4 --goal-ttft-ms 200 --goal-tpot-ms 30\n"
        "  control-plane bench --openai http://127.0.0.1:8000 --model NAME --rate 4 --json\n",
};

static px_bench_options options_of(const px_args *args)
{
    const char *model = px_args_str(args, "model");
    bool is_open = px_args_given(args, "rate");
    return (px_bench_options){.model = model ? model : "",
        .tenant = px_args_str(args, "tenant"),
        .requests = (uint32_t)px_args_int(args, "requests"),
        .skip_first = (uint32_t)px_args_int(args, "skip-first"),
        .warmups = (uint32_t)px_args_int(args, "warmups"),
        .concurrency = px_args_given(args, "concurrency")
                           ? (uint32_t)px_args_int(args, "concurrency")
                           : (is_open ? 0 : 8),
        .rate = px_args_real(args, "rate"),
        .burstiness = px_args_real(args, "burstiness"),
        .seed = (uint64_t)px_args_int(args, "seed"),
        .output_tokens = (uint32_t)px_args_int(args, "output-tokens"),
        .ignore_eos = !px_args_flag(args, "stop-at-eos"),
        .temperature = px_args_real(args, "temperature"),
        .timeout_ns = px_args_int(args, "timeout-s") * PX_SEC,
        .goals = {.ttft_ms = px_args_real(args, "goal-ttft-ms"),
            .tpot_ms = px_args_real(args, "goal-tpot-ms"),
            .e2e_ms = px_args_real(args, "goal-e2e-ms")}};
}

static px_status make_prompts(const px_args *args, const px_bench_options *options, px_prompts *out)
{
    const char *path = px_args_str(args, "prompts");
    if (path) return px_prompts_read(path, out);
    uint32_t vocabulary = (uint32_t)px_args_int(args, "vocabulary");
    /* The first ids are often special tokens, on which servers have opinions. */
    px_prompts_random random = {.count = options->requests,
        .tokens = (uint32_t)px_args_int(args, "prompt-tokens"),
        .shared = (uint32_t)px_args_int(args, "shared-prefix"),
        .vocabulary_min = vocabulary / 16,
        .vocabulary_max = vocabulary,
        .seed = options->seed};
    return px_prompts_make(&random, out);
}

typedef struct progress {
    px_progress *bar;
    uint32_t requests;
} progress;

static void on_progress(void *arg, uint32_t ended)
{
    const progress *p = arg;
    char note[64];
    snprintf(note, sizeof note, "%u of %u", ended, p->requests);
    px_progress_update(p->bar, (double)ended / p->requests, note);
}

static px_status run_with(px_loop *loop, const px_args *args, px_bench_options *options)
{
    const char *openai = px_args_str(args, "openai"), *server = px_args_str(args, "server");
    px_prompts prompts;
    px_target *target;
    px_bench_result result;
    PX_TRY(make_prompts(args, options, &prompts));
    px_status status = openai ? px_target_openai(loop, openai, getenv("OPENAI_API_KEY"), &target)
                              : px_target_grpc(loop, server, &target);
    if (px_is_ok(status)) {
        progress p = {px_progress_create(stderr, "requests"), options->requests};
        options->on_progress = on_progress;
        options->arg = &p;
        status = px_bench_run(loop, target, &prompts, options, &result);
        px_progress_done(p.bar, NULL);
    }
    px_report report = {openai ? openai : server, options, &prompts, &result};
    if (px_is_ok(status) && px_args_flag(args, "json"))
        px_report_print_json(&report);
    else if (px_is_ok(status))
        px_report_print(&report);
    if (px_is_ok(status) && !result.measures.completed) status = result.first_failure;
    px_prompts_done(&prompts);
    return openai ? px_prefix(status, "%s", openai) : px_client_explain(status, server);
}

/* --openai and --server may both be given: the latter often stands in the environment. */
static px_status check(const px_args *args)
{
    if (px_args_given(args, "openai") && px_args_given(args, "tenant"))
        return px_args_fail("--tenant is told over gRPC; it does not go with --openai");
    if (px_args_int(args, "skip-first") >= px_args_int(args, "requests"))
        return px_args_fail("--skip-first must be less than --requests: else nothing is measured");
    if (px_args_int(args, "shared-prefix") > px_args_int(args, "prompt-tokens"))
        return px_args_fail("--shared-prefix must be at most --prompt-tokens");
    return px_ok();
}

static px_status run(const px_args *args)
{
    px_loop *loop;
    px_bench_options options = options_of(args);
    PX_TRY(check(args));
    PX_TRY(px_loop_create(&loop));
    px_status status = run_with(loop, args, &options);
    px_loop_free(loop);
    return status;
}

int px_cmd_bench(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_bench_specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(px_cmd_bench_specs, &doc, stdout);
        return 0;
    }
    status = run(args);
    px_args_free(args);
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
