/* cmd_look.c - `control-plane status | nodes | models`: what there is, for people or as JSON. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/term.h"
#include "control/cli/client.h"
#include "control/cli/commands.h"
#include "control/cli/message_json.h"
#include "phalanx/v1/admin.pb-c.h"

#define TIMEOUT_NS (10 * PX_SEC)

typedef struct look { /* how an answer is shown */
    bool as_json;
    void (*print)(const ProtobufCMessage *message);
    void (*print_json)(const ProtobufCMessage *message);
} look;

static void on_answer(void *arg, const ProtobufCMessage *message)
{
    const look *l = arg;
    if (l->as_json)
        l->print_json(message);
    else
        l->print(message);
}

static px_status ask(px_client *client, const px_args *args, look how, px_client_request request)
{
    how.as_json = px_args_flag(args, "json");
    request.timeout_ns = TIMEOUT_NS;
    request.on_message = on_answer;
    request.arg = &how;
    return px_client_call(client, &request);
}

/* "a, b, c" of at most `room` bytes. */
static const char *join(char *const *texts, size_t count, char *out, size_t room)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%s", i ? ", " : "", texts[i]);
    if (!count) snprintf(out, room, "-");
    return out;
}

/* ------------------------------------------------------------------------------ status */

const px_arg_spec px_cmd_status_specs[] = {PX_CLIENT_SPECS, {0}};

static const px_command_doc status_doc = {
    .usage = "control-plane status [options]",
    .summary = "Shows the cluster as a whole: who leads, how many nodes and models there are and "
               "what they have done.",
    .examples = "  control-plane status\n  control-plane status --json | jq .nodes\n",
};

static void print_status(const ProtobufCMessage *message)
{
    const Phalanx__V1__StatusResponse *s = (const Phalanx__V1__StatusResponse *)message;
    char uptime[32];
    printf("version      %s\n", s->version);
    printf("leader       %s\n", s->leader[0] ? s->leader : "none at the moment");
    printf("etcd         %s\n", s->etcd);
    printf("up           %s\n", px_format_duration((int64_t)s->uptime_s * PX_SEC, uptime));
    printf("nodes        %u\n", s->nodes);
    printf("deployments  %u, %u ready\n", s->deployments, s->deployments_ready);
    printf("requests     %u running, %llu so far, %llu failed\n", s->requests_running,
        (unsigned long long)s->requests_total, (unsigned long long)s->requests_failed);
    printf("tokens out   %llu\n", (unsigned long long)s->output_tokens_total);
}

static px_status run_status(px_client *client, const px_args *args)
{
    Phalanx__V1__StatusRequest request = PHALANX__V1__STATUS_REQUEST__INIT;
    return ask(client, args, (look){.print = print_status, .print_json = px_message_print_json},
        (px_client_request){.path = "/phalanx.v1.Admin/Status",
            .message = &request.base,
            .response = &phalanx__v1__status_response__descriptor});
}

int px_cmd_status(int argc, char **argv)
{
    return px_client_main(
        &(px_client_command){px_cmd_status_specs, &status_doc, run_status}, argc, argv);
}

/* ------------------------------------------------------------------------------ nodes */

const px_arg_spec px_cmd_nodes_specs[] = {PX_CLIENT_SPECS, {0}};

static const px_command_doc nodes_doc = {
    .usage = "control-plane nodes [options]",
    .summary = "Lists the agents that have joined: what they have and which ranks they run.",
    .examples = "  control-plane nodes\n",
};

static void print_nodes(const ProtobufCMessage *message)
{
    const Phalanx__V1__ListNodesResponse *list = (const Phalanx__V1__ListNodesResponse *)message;
    static const char *const headers[] = {
        "NAME", "ADDRESS", ">CORES", ">GPUS", ">FREE", ">MEMORY", ">GB/S", ">SEEN", "RANKS"};
    px_table *table = px_table_create(headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < list->n_nodes; i++) {
        const Phalanx__V1__Node *node = list->nodes[i];
        char cores[16], gpus[16], speed[16], total[32], left[32], seen[32], ranks[256];
        snprintf(cores, sizeof cores, "%u", node->cores);
        snprintf(gpus, sizeof gpus, "%u", node->gpus);
        snprintf(speed, sizeof speed, "%.1f", (double)node->bandwidth_bytes_s / 1e9);
        const char *const cells[] = {node->name, node->address, cores, gpus,
            px_format_bytes(node->memory_free_bytes, left),
            px_format_bytes(node->memory_bytes, total), speed,
            px_format_duration((int64_t)node->heartbeat_age_ms * PX_MS, seen),
            join(node->ranks, node->n_ranks, ranks, sizeof ranks)};
        px_table_row(table, cells);
    }
    px_table_print(table, stdout);
    px_table_free(table);
    if (!list->n_nodes)
        fputs("no agent has joined: start one with 'node-agent join --server HOST:PORT'\n", stderr);
}

static void print_nodes_json(const ProtobufCMessage *message)
{
    const Phalanx__V1__ListNodesResponse *list = (const Phalanx__V1__ListNodesResponse *)message;
    for (size_t i = 0; i < list->n_nodes; i++) px_message_print_json(&list->nodes[i]->base);
}

static px_status run_nodes(px_client *client, const px_args *args)
{
    Phalanx__V1__ListNodesRequest request = PHALANX__V1__LIST_NODES_REQUEST__INIT;
    return ask(client, args, (look){.print = print_nodes, .print_json = print_nodes_json},
        (px_client_request){.path = "/phalanx.v1.Admin/ListNodes",
            .message = &request.base,
            .response = &phalanx__v1__list_nodes_response__descriptor});
}

int px_cmd_nodes(int argc, char **argv)
{
    return px_client_main(
        &(px_client_command){px_cmd_nodes_specs, &nodes_doc, run_nodes}, argc, argv);
}

/* ------------------------------------------------------------------------------ models */

const px_arg_spec px_cmd_models_specs[] = {PX_CLIENT_SPECS, {0}};

static const px_command_doc models_doc = {
    .usage = "control-plane models [options]",
    .summary = "Lists what is deployed: its state, where its ranks run, and its load. PARKED: KV "
               "blocks that left the pool and can come back; CACHED: of the prompts' tokens, those "
               "that another request had computed; RECOMPUTED: tokens whose KV was lost in "
               "between. --json has more.",
    .examples = "  control-plane models\n",
};

static void print_percent(char *out, size_t room, uint64_t part, uint64_t whole)
{
    snprintf(out, room, "%.0f%%", whole ? 100.0 * (double)part / (double)whole : 0);
}

static void print_models(const ProtobufCMessage *message)
{
    const Phalanx__V1__ListDeploymentsResponse *list =
        (const Phalanx__V1__ListDeploymentsResponse *)message;
    static const char *const headers[] = {"NAME", "STATE", "ARCH", ">TP", ">PP", "AGENTS",
        ">CONTEXT", ">RUNNING", ">WAITING", ">KV FREE", ">PARKED", ">CACHED", ">RECOMPUTED",
        ">RESTARTS", "MESSAGE"};
    px_table *table = px_table_create(headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < list->n_deployments; i++) {
        const Phalanx__V1__Deployment *d = list->deployments[i];
        char state[32], tp[16], pp[16], agents[256], context[16], running[16], waiting[16], kv[32],
            parked[16], cached[32], recomputed[32], restarts[16];
        snprintf(state, sizeof state, "%s", d->state);
        if (strcmp(d->state, "LOADING") == 0)
            snprintf(state, sizeof state, "LOADING %.0f%%", 100 * d->progress);
        snprintf(tp, sizeof tp, "%u", d->tp);
        snprintf(pp, sizeof pp, "%u", d->pp);
        snprintf(context, sizeof context, "%u", d->context);
        snprintf(running, sizeof running, "%u", d->running);
        snprintf(waiting, sizeof waiting, "%u", d->waiting);
        print_percent(kv, sizeof kv, d->kv_blocks_free, d->kv_blocks);
        print_percent(cached, sizeof cached, d->prefix_hits, d->prefix_queries);
        snprintf(parked, sizeof parked, "%u", d->kv_blocks_parked);
        snprintf(recomputed, sizeof recomputed, "%llu", (unsigned long long)d->recomputed_tokens);
        snprintf(restarts, sizeof restarts, "%u", d->restarts);
        const char *const cells[] = {d->name, state, d->architecture[0] ? d->architecture : "-", tp,
            pp, join(d->agents, d->n_agents, agents, sizeof agents), context, running, waiting, kv,
            parked, cached, recomputed, restarts, d->message};
        px_table_row(table, cells);
    }
    px_table_print(table, stdout);
    px_table_free(table);
    if (!list->n_deployments)
        fputs("nothing is deployed: 'control-plane deploy PATH' does that\n", stderr);
}

static void print_models_json(const ProtobufCMessage *message)
{
    const Phalanx__V1__ListDeploymentsResponse *list =
        (const Phalanx__V1__ListDeploymentsResponse *)message;
    for (size_t i = 0; i < list->n_deployments; i++)
        px_message_print_json(&list->deployments[i]->base);
}

static px_status run_models(px_client *client, const px_args *args)
{
    Phalanx__V1__ListDeploymentsRequest request = PHALANX__V1__LIST_DEPLOYMENTS_REQUEST__INIT;
    return ask(client, args, (look){.print = print_models, .print_json = print_models_json},
        (px_client_request){.path = "/phalanx.v1.Admin/ListDeployments",
            .message = &request.base,
            .response = &phalanx__v1__list_deployments_response__descriptor});
}

int px_cmd_models(int argc, char **argv)
{
    return px_client_main(
        &(px_client_command){px_cmd_models_specs, &models_doc, run_models}, argc, argv);
}
