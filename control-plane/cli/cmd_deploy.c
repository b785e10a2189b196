/* cmd_deploy.c - `control-plane deploy | undeploy`. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/term.h"
#include "control/cli/client.h"
#include "control/cli/commands.h"
#include "control/cli/message_json.h"
#include "control/cluster/spec.h"
#include "phalanx/v1/admin.pb-c.h"

#define UNDEPLOY_TIMEOUT_NS (30 * PX_SEC)

/* ------------------------------------------------------------------------------ deploy */

const px_arg_spec px_cmd_deploy_specs[] = {PX_CLIENT_SPECS,
    {.name = "model",
        .kind = PX_ARG_STR,
        .value = "MODEL",
        .no_env = true,
        .help = "the model, as an option instead of the first argument"},
    {.name = "name",
        .kind = PX_ARG_STR,
        .value = "NAME",
        .no_env = true,
        .help = "what clients call it; by default the file's or folder's name"},
    {.name = "tp",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "1",
        .min = 1,
        .max = PX_WORLD_MAX,
        .help = "tensor-parallel ranks: each layer is cut over them"},
    {.name = "pp",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "1",
        .min = 1,
        .max = PX_WORLD_MAX,
        .help = "pipeline stages: the layers are dealt out to them"},
    {.name = "agents",
        .kind = PX_ARG_STR,
        .value = "A,B",
        .no_env = true,
        .help = "only on these agents, which are waited for; by default on any"},
    {.name = "threads",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1024,
        .help = "worker threads of each rank; 0: the agent's choice"},
    {.name = "context",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = INT_MAX,
        .help = "longest sequence in tokens; 0: the model's"},
    {.name = "seqs",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 4096,
        .help = "requests answered at once; 0: the engine's choice"},
    {.name = "kv-tokens",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1e15,
        .help = "size of the KV pool in tokens, at most a context for each of --seqs; 0: the "
                "engine's choice"},
    {.name = "kv-type",
        .kind = PX_ARG_STR,
        .value = "TYPE",
        .help = "how keys and values are kept: f32, f16, bf16 or q8_0"},
    {.name = "batch-size",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 65536,
        .help = "tokens in a step while there is little to do, more under load; 0: 512"},
    {.name = "max-latency-ms",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 3600000,
        .help = "what a step may take, and what a request may wait before load counts as high; "
                "0: 100"},
    {.name = "scale-factor",
        .kind = PX_ARG_REAL,
        .value = "X",
        .default_value = "2",
        .min = 1,
        .max = 64,
        .help = "how far load may stretch both"},
    {.name = "queue-max",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1e6,
        .help = "requests that may wait; more are refused; 0: 1024"},
    {.name = "queue-tokens-max",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 1e12,
        .help = "tokens of the prompts that may wait; 0: no bound"},
    {.name = "kv-park-bytes",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = -1,
        .max = 1e15,
        .help = "host memory of each rank for KV that left the pool; 0: as much as the pool, "
                "if there is; -1: none, what is evicted is computed again"},
    {.name = "kv-park-folder",
        .kind = PX_ARG_STR,
        .value = "FOLDER",
        .no_env = true,
        .help = "park KV in a file in this folder of the agents, not in memory"},
    {.name = "no-prefix-cache",
        .kind = PX_ARG_FLAG,
        .no_env = true,
        .help = "compute every prompt whole, even if it begins as another did"},
    {.name = "speculate",
        .kind = PX_ARG_STR,
        .value = "HOW",
        .no_env = true,
        .help = "guess tokens and try several in one step, where that is faster; answers stay the "
                "same: lookup (from the text itself), draft (by --draft-model), off; by default "
                "draft if there is one, else lookup"},
    {.name = "draft-model",
        .kind = PX_ARG_STR,
        .value = "PATH",
        .no_env = true,
        .help = "a small model of the same vocabulary, where the agents have it"},
    {.name = "speculate-max",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = 31,
        .help = "tokens guessed for one answer in one step; 0: 15"},
    {.name = "kernels",
        .kind = PX_ARG_STR,
        .value = "NAME",
        .help =
            "scalar, avx2, avx512, or avx512_bf16, which rounds what BF16 weights are multiplied "
            "with to bfloat16 as well, as other servers do: faster, less exact, never chosen "
            "by itself; by default the best of the exact ones"},
    {.name = "adapter",
        .kind = PX_ARG_STR,
        .value = "NAME=PATH",
        .repeatable = true,
        .no_env = true,
        .help = "a LoRA adapter to have loaded when it is ready: a folder as PEFT saves it, which "
                "every agent of the group has; 'adapter load' adds more while it serves"},
    {.name = "detach",
        .kind = PX_ARG_FLAG,
        .no_env = true,
        .help = "do not wait until it is ready; wait for memory if there is too little"},
    {.name = "timeout-s",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "600",
        .min = 1,
        .max = 86400,
        .help = "how long to wait until it is ready"},
    {0}};

static const px_command_doc deploy_doc = {
    .usage = "control-plane deploy MODEL [options]",
    .summary = "Places a model on agents, starts its ranks and waits until it answers. MODEL is a "
               "path on the agents (a folder, a GGUF file, or a folder that holds one) or the "
               "name of a model in their stores. Asked again for the same, it says how that is.",
    .examples = "  control-plane deploy models/SmolLM2-135M-Instruct/1 --name smollm2 --tp 2\n"
                "  control-plane deploy SmolLM2-135M-Instruct --tp 2 --pp 2 --agents a1,a2,a3,a4\n",
    .positional_max = 1,
};

typedef struct watcher {
    bool as_json;
    px_progress *progress;
    char done[512]; /* the closing line */
} watcher;

static void on_progress(void *arg, const ProtobufCMessage *message)
{
    watcher *w = arg;
    const Phalanx__V1__DeployProgress *step = (const Phalanx__V1__DeployProgress *)message;
    const Phalanx__V1__Deployment *d = step->deployment;
    if (!d) return;
    if (w->as_json) {
        px_message_print_json(&d->base);
        return;
    }
    char note[320];
    snprintf(note, sizeof note, "%s%s%s", d->state, d->message[0] ? ": " : "", d->message);
    px_progress_update(w->progress, d->progress, note);
    size_t used = (size_t)snprintf(
        w->done, sizeof w->done, "%s is %s: tp %u, pp %u", d->name, d->state, d->tp, d->pp);
    for (size_t i = 0; i < d->n_agents && used < sizeof w->done; i++)
        used += (size_t)snprintf(
            w->done + used, sizeof w->done - used, "%s%s", i ? ", " : ", on ", d->agents[i]);
}

/* A path that exists here is sent whole, for agents have another working folder; anything else is
 * the agents' own path or a name in their stores. */
/* What is no path here may be one where the agents are. */
static void resolve_path(const char *path, char out[PATH_MAX])
{
    if (!realpath(path, out)) snprintf(out, PATH_MAX, "%s", path);
}

static px_status resolve_model(const px_args *args, char out[PATH_MAX])
{
    bool is_argument = px_args_positional_count(args) == 1;
    const char *model = is_argument ? px_args_positional(args, 0) : px_args_str(args, "model");
    if (!model || (is_argument && px_args_given(args, "model")))
        return px_args_fail("name one model: 'control-plane deploy MODEL'");
    resolve_path(model, out);
    return px_ok();
}

static size_t split_agents(char *list, char *out[PX_WORLD_MAX + 1])
{
    size_t count = 0;
    for (char *rest = NULL, *name = strtok_r(list, ",", &rest); name && count <= PX_WORLD_MAX;
         name = strtok_r(NULL, ",", &rest))
        out[count++] = name;
    return count;
}

typedef struct adapter_list { /* of --adapter, as a request has it */
    Phalanx__V1__Adapter items[PX_ADAPTERS_MAX], *pointers[PX_ADAPTERS_MAX];
    char *texts[PX_ADAPTERS_MAX]; /* owned: "NAME" NUL "PATH" */
    char paths[PX_ADAPTERS_MAX][PATH_MAX];
    size_t count;
} adapter_list;

static px_status read_adapters(const px_args *args, adapter_list *out)
{
    int count = px_args_str_count(args, "adapter");
    if (count > PX_ADAPTERS_MAX) return px_args_fail("at most %d times --adapter", PX_ADAPTERS_MAX);
    for (int i = 0; i < count; i++) {
        const char *text = px_args_str_at(args, "adapter", i), *equals = strchr(text, '=');
        if (!equals || equals == text)
            return px_args_fail("--adapter wants NAME=PATH, not '%s'", text);
        size_t at = out->count++;
        out->texts[at] = px_strdup(text);
        out->texts[at][equals - text] = '\0';
        if (!realpath(equals + 1, out->paths[at]))
            snprintf(out->paths[at], PATH_MAX, "%s", equals + 1);
        phalanx__v1__adapter__init(&out->items[at]);
        out->items[at].name = out->texts[at];
        out->items[at].path = out->paths[at];
        out->pointers[at] = &out->items[at];
    }
    return px_ok();
}

static void adapter_list_done(adapter_list *list)
{
    for (size_t i = 0; i < list->count; i++) free(list->texts[i]);
}

static char *text_or_empty(const px_args *args, const char *name)
{
    const char *text = px_args_str(args, name);
    return (char *)(text ? text : "");
}

static Phalanx__V1__Serving serving_of(const px_args *args)
{
    Phalanx__V1__Serving serving = PHALANX__V1__SERVING__INIT;
    serving.batch_size = (uint32_t)px_args_int(args, "batch-size");
    serving.max_latency_ms = (uint32_t)px_args_int(args, "max-latency-ms");
    serving.scale_factor = px_args_real(args, "scale-factor");
    serving.queue_max = (uint32_t)px_args_int(args, "queue-max");
    serving.queue_tokens_max = (uint64_t)px_args_int(args, "queue-tokens-max");
    serving.kv_park_bytes = px_args_int(args, "kv-park-bytes");
    serving.kv_park_folder = text_or_empty(args, "kv-park-folder");
    serving.no_prefix_cache = px_args_flag(args, "no-prefix-cache");
    serving.speculate = text_or_empty(args, "speculate");
    serving.draft_model = text_or_empty(args, "draft-model");
    serving.speculate_max = (uint32_t)px_args_int(args, "speculate-max");
    return serving;
}

static px_status deploy(px_client *client, const px_args *args, adapter_list *adapters)
{
    char model[PATH_MAX], draft[PATH_MAX], *agents[PX_WORLD_MAX + 1];
    PX_TRY(resolve_model(args, model));
    PX_TRY(read_adapters(args, adapters));
    char *list = px_strdup(text_or_empty(args, "agents"));
    Phalanx__V1__DeployRequest request = PHALANX__V1__DEPLOY_REQUEST__INIT;
    request.model_path = model;
    request.name = text_or_empty(args, "name");
    request.tp = (uint32_t)px_args_int(args, "tp");
    request.pp = (uint32_t)px_args_int(args, "pp");
    request.threads = (uint32_t)px_args_int(args, "threads");
    request.context = (uint32_t)px_args_int(args, "context");
    request.seqs_max = (uint32_t)px_args_int(args, "seqs");
    request.kv_tokens = (uint64_t)px_args_int(args, "kv-tokens");
    request.kv_type = text_or_empty(args, "kv-type");
    request.kernels = text_or_empty(args, "kernels");
    Phalanx__V1__Serving serving = serving_of(args);
    if (serving.draft_model[0]) {
        resolve_path(serving.draft_model, draft);
        serving.draft_model = draft;
    }
    request.serving = &serving;
    request.detach = px_args_flag(args, "detach");
    request.agents = agents;
    request.n_agents = split_agents(list, agents);
    request.adapters = adapters->pointers;
    request.n_adapters = adapters->count;

    int64_t timeout_s = px_args_int(args, "timeout-s");
    watcher w = {.as_json = px_args_flag(args, "json")};
    if (!w.as_json) w.progress = px_progress_create(stderr, "deploying");
    px_status status =
        px_client_call(client, &(px_client_request){.path = "/phalanx.v1.Admin/Deploy",
                                   .message = &request.base,
                                   .response = &phalanx__v1__deploy_progress__descriptor,
                                   .timeout_ns = timeout_s * PX_SEC,
                                   .on_message = on_progress,
                                   .arg = &w});
    free(list);
    if (status.code == PX_DEADLINE_EXCEEDED)
        status = px_fail(PX_DEADLINE_EXCEEDED,
            "not ready after %lld s, and still being tried; last: %.150s", (long long)timeout_s,
            w.done);
    if (w.progress) px_progress_done(w.progress, px_is_ok(status) ? NULL : "failed");
    if (px_is_ok(status) && !w.as_json) puts(w.done);
    return status;
}

static px_status run_deploy(px_client *client, const px_args *args)
{
    adapter_list *adapters = px_alloc(sizeof *adapters);
    px_status status = deploy(client, args, adapters);
    adapter_list_done(adapters);
    free(adapters);
    return status;
}

int px_cmd_deploy(int argc, char **argv)
{
    return px_client_main(
        &(px_client_command){px_cmd_deploy_specs, &deploy_doc, run_deploy}, argc, argv);
}

/* ------------------------------------------------------------------------------ undeploy */

const px_arg_spec px_cmd_undeploy_specs[] = {PX_CLIENT_SPECS, {0}};

static const px_command_doc undeploy_doc = {
    .usage = "control-plane undeploy NAME [options]",
    .summary = "Stops a model: new requests are refused, those in flight end with UNAVAILABLE, its "
               "ranks end.",
    .examples = "  control-plane undeploy smollm2\n",
    .positional_min = 1,
    .positional_max = 1,
};

static void ignore_answer(void *arg, const ProtobufCMessage *message) {}

static px_status run_undeploy(px_client *client, const px_args *args)
{
    Phalanx__V1__UndeployRequest request = PHALANX__V1__UNDEPLOY_REQUEST__INIT;
    request.name = (char *)px_args_positional(args, 0);
    PX_TRY(px_client_call(client, &(px_client_request){.path = "/phalanx.v1.Admin/Undeploy",
                                      .message = &request.base,
                                      .response = &phalanx__v1__undeploy_response__descriptor,
                                      .timeout_ns = UNDEPLOY_TIMEOUT_NS,
                                      .on_message = ignore_answer}));
    if (px_args_flag(args, "json"))
        puts("{\"undeployed\":true}");
    else
        printf("%s is undeployed\n", request.name);
    return px_ok();
}

int px_cmd_undeploy(int argc, char **argv)
{
    return px_client_main(
        &(px_client_command){px_cmd_undeploy_specs, &undeploy_doc, run_undeploy}, argc, argv);
}
