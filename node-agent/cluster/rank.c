/* rank.c - `node-agent rank`: one rank of one group, from its agent's welcome to its end.
 *
 *   link -> comm -> engine -> rank 0: service on the polling thread | others: follow rank 0
 *
 * Crash-only: nothing is undone on the way out; whatever ends the rank ends the process, and the
 * agent hears why.
 */
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/commands.h"
#include "cluster/link.h"
#include "cluster/service.h"

const px_arg_spec px_cmd_rank_specs[] = {
    {"agent-socket", PX_ARG_STR, "PATH", NULL, "where this rank's agent listens", .required = true,
        .no_env = true},
    {"group", PX_ARG_STR, "NAME", NULL, "the group this rank belongs to", .required = true,
        .no_env = true},
    {"generation", PX_ARG_INT, "N", "1", "the group's generation", .min = 0, .max = 9e15,
        .no_env = true},
    {"model", PX_ARG_STR, "PATH", NULL, "model folder or GGUF file", .required = true,
        .no_env = true},
    {"served-name", PX_ARG_STR, "NAME", NULL,
        "what clients call the model; default: the group's name", .no_env = true},
    {"listen", PX_ARG_STR, "ADDRESS", "127.0.0.1", "where rank 0 serves routers", .no_env = true},
    {"tp", PX_ARG_INT, "N", "1", "tensor-parallel degree", .min = 1, .max = PX_PLAN_TP_MAX,
        .no_env = true},
    {"pp", PX_ARG_INT, "N", "1", "pipeline-parallel degree", .min = 1, .max = PX_PLAN_PP_MAX,
        .no_env = true},
    {"threads", PX_ARG_INT, "N", "0", "workers of each rank; 0: this machine's cores shared out",
        .min = 0, .max = 1024, .no_env = true},
    {"context", PX_ARG_INT, "N", "0", "longest sequence; 0: the model's", .min = 0,
        .max = UINT32_MAX, .no_env = true},
    {"kv-type", PX_ARG_STR, "TYPE", NULL, "f32, f16, bf16 or q8_0; default: the engine's choice",
        .no_env = true},
    {"kv-tokens", PX_ARG_INT, "N", "0",
        "size of the KV pool in tokens, at most a context for each sequence; 0: from memory",
        .min = 0, .max = 1e12, .no_env = true},
    {"seqs-max", PX_ARG_INT, "N", "0", "sequences in one step; 0: the engine's choice", .min = 0,
        .max = 4096, .no_env = true},
    {"kernels", PX_ARG_STR, "NAME", NULL, "kernel backend; default: the best here", .no_env = true},
    {"batch-size", PX_ARG_INT, "N", "0", "a step's starting token budget; 0: the engine's choice",
        .min = 0, .max = 65536, .no_env = true},
    {"max-latency-ms", PX_ARG_INT, "N", "100",
        "a step's bound, and when waiting counts as load; 0: no bound", .min = 0, .max = 3600000,
        .no_env = true},
    {"scale-factor", PX_ARG_REAL, "X", "2", "how far load may stretch both", .min = 1, .max = 64,
        .no_env = true},
    {"queue-max", PX_ARG_INT, "N", "0", "requests that may wait; 0: the engine's choice", .min = 0,
        .max = 1e6, .no_env = true},
    {"queue-tokens-max", PX_ARG_INT, "N", "0", "tokens of their prompts; 0: no bound", .min = 0,
        .max = 1e12, .no_env = true},
    {"kv-park-bytes", PX_ARG_INT, "N", "0",
        "host memory for KV that left the pool; 0: at most as much as the pool, -1: none",
        .min = -1, .max = 1e15, .no_env = true},
    {"kv-park-folder", PX_ARG_STR, "FOLDER", NULL, "park KV in a file there, not in memory",
        .no_env = true},
    {"no-prefix-cache", PX_ARG_FLAG, NULL, NULL, "compute every prompt whole", .no_env = true},
    {"adapter", PX_ARG_STR, "NAME=PATH", NULL, "a LoRA adapter to load before serving",
        .repeatable = true, .no_env = true},
    {"speculate", PX_ARG_STR, "HOW", NULL,
        "guess tokens: off, lookup or draft; default: draft if there is one, else lookup",
        .no_env = true},
    {"draft-model", PX_ARG_STR, "PATH", NULL, "a small model of the same vocabulary that guesses",
        .no_env = true},
    {"speculate-max", PX_ARG_INT, "N", "0", "guessed tokens in one step; 0: the engine's choice",
        .min = 0, .max = PX_PROPOSALS_MAX, .no_env = true},
    {0}};

static const px_command_doc doc = {
    .usage = "node-agent rank --agent-socket PATH --group NAME --model PATH [options]",
    .summary = "one rank of a model, started by its agent: alone or, with others, by mpirun",
};

typedef struct rank {
    const px_args *args;
    px_rank_open_fn open;
    px_link *link;
    px_loop *loop; /* rank 0 */
    px_rpc *rpc;   /* rank 0 */
    px_engine *engine;
} rank;

/* Open MPI tells a process its rank before MPI_Init, so that a rank that hangs there has a name. */
static uint32_t rank_from_launcher(void)
{
    const char *text = getenv("OMPI_COMM_WORLD_RANK");
    return text && px_comm_mpi_present() ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

static void on_progress(void *arg, double fraction, const char *what)
{
    px_link_loading(((rank *)arg)->link, fraction);
}

static void on_engine_wake(void *arg)
{
    rank *r = arg;
    if (r->rpc) px_rpc_wake(r->rpc);
}

static px_status open_engine(rank *r, px_comm *comm)
{
    px_engine_options options = {
        .model_path = px_args_str(r->args, "model"),
        .threads = (uint32_t)px_args_int(r->args, "threads"),
        .tp = (uint32_t)px_args_int(r->args, "tp"),
        .pp = (uint32_t)px_args_int(r->args, "pp"),
        .kernels = px_args_str(r->args, "kernels"),
        .kv_type = px_args_str(r->args, "kv-type"),
        .context_max = (uint32_t)px_args_int(r->args, "context"),
        .seqs_max = (uint32_t)px_args_int(r->args, "seqs-max"),
        .kv_tokens = (uint64_t)px_args_int(r->args, "kv-tokens"),
        .batch_size = (uint32_t)px_args_int(r->args, "batch-size"),
        .max_latency_ms = (uint32_t)px_args_int(r->args, "max-latency-ms"),
        .scale_factor = px_args_real(r->args, "scale-factor"),
        .queue_max = (uint32_t)px_args_int(r->args, "queue-max"),
        .queue_tokens_max = (uint64_t)px_args_int(r->args, "queue-tokens-max"),
        .kv_park_bytes = px_args_int(r->args, "kv-park-bytes"),
        .kv_park_folder = px_args_str(r->args, "kv-park-folder"),
        .no_prefix_cache = px_args_flag(r->args, "no-prefix-cache"),
        .speculate = px_args_str(r->args, "speculate"),
        .draft_path = px_args_str(r->args, "draft-model"),
        .speculate_max = (uint32_t)px_args_int(r->args, "speculate-max"),
        .on_progress = on_progress,
        .on_wake = on_engine_wake,
        .arg = r,
    };
    px_link_loading(r->link, 0);
    return r->open(&options, comm, &r->engine);
}

static px_status make_comm(uint32_t expected_rank, px_comm **out)
{
    if (!px_comm_mpi_present()) return px_comm_self(out);
    PX_TRY(px_comm_mpi(out));
    if ((uint32_t)px_comm_rank(*out) != expected_rank)
        return px_fail(PX_INTERNAL, "mpirun called this rank %u, MPI calls it %d", expected_rank,
            px_comm_rank(*out));
    return px_ok();
}

static px_status check_world(const rank *r, const px_comm *comm)
{
    int64_t want = px_args_int(r->args, "tp") * px_args_int(r->args, "pp");
    if (px_comm_size(comm) == want) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT, "tp x pp needs %lld ranks, but %d were started",
        (long long)want, px_comm_size(comm));
}

static px_status load_adapter(rank *r, const char *name_and_path)
{
    const char *equals = strchr(name_and_path, '=');
    uint64_t id;
    px_event event;
    if (!equals) return px_args_fail("--adapter wants NAME=PATH, not '%s'", name_and_path);
    px_slice name = {name_and_path, (size_t)(equals - name_and_path)};
    px_slice path = {equals + 1, strlen(equals + 1)};
    PX_TRY(px_engine_load_adapter(r->engine, name, path, &id));
    while (!px_engine_poll(r->engine, &event)) { /* nobody serves yet: nothing waits for us */
        PX_TRY(px_engine_health(r->engine));
        px_sleep_ns(PX_MS);
    }
    return event.status;
}

static px_status load_adapters(rank *r)
{
    for (int i = 0; i < px_args_str_count(r->args, "adapter"); i++)
        PX_TRY(load_adapter(r, px_args_str_at(r->args, "adapter", i)));
    return px_ok();
}

/* Rank 0: serve routers until the process is ended. */
static px_status serve(rank *r)
{
    const char *name = px_args_str(r->args, "served-name");
    const char *address = px_args_str(r->args, "listen");
    px_service_options options = {.loop = r->loop,
        .rpc = r->rpc,
        .engine = r->engine,
        .address = address,
        .secret = px_link_secret(r->link),
        .model_name = name ? name : px_args_str(r->args, "group")};
    px_service *service;
    PX_TRY(px_service_start(&options, &service));
    px_buf endpoint;
    px_buf_init(&endpoint, 512);
    px_service_endpoint(address, px_service_port(service), &endpoint);
    px_link_ready(r->link, r->engine, px_buf_text(&endpoint));
    px_rpc_run(r->rpc);
    return px_fail(PX_INTERNAL, "the polling thread returned");
}

static px_status run(rank *r, uint32_t index)
{
    px_comm *comm;
    PX_TRY(make_comm(index, &comm));
    PX_TRY(check_world(r, comm));
    if (index == 0) {
        PX_TRY(px_loop_create(&r->loop));
        PX_TRY(px_rpc_create(r->loop, &r->rpc));
    }
    PX_TRY(open_engine(r, comm));
    if (index == 0) PX_TRY(load_adapters(r));
    if (index == 0) return serve(r);
    px_link_ready(r->link, r->engine, NULL);
    return px_engine_follow(r->engine);
}

int px_rank_main(int argc, char **argv, px_rank_open_fn open)
{
    rank r = {.open = open};
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_rank_specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(px_cmd_rank_specs, &doc, stdout);
        return 0;
    }
    char program[48];
    uint32_t index = rank_from_launcher();
    snprintf(program, sizeof program, "rank %u", index);
    px_log_init(program, PX_INFO, PX_LOG_AUTO);
    signal(SIGPIPE, SIG_IGN); /* a launcher that went shows on the agent's socket */

    px_link_options link = {.socket_path = px_args_str(args, "agent-socket"),
        .group = px_args_str(args, "group"),
        .generation = (uint64_t)px_args_int(args, "generation"),
        .rank = index};
    r.args = args;
    status = px_link_open(&link, &r.link);
    if (!px_is_ok(status)) return px_command_fail(px_prefix(status, "rank %u", index));
    px_link_end(r.link, run(&r, index));
}

int px_cmd_rank(int argc, char **argv)
{
    return px_rank_main(argc, argv, px_engine_open);
}
