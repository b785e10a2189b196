#include "control/front/admin_messages.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/term.h"

/* ------------------------------------------------------------------------------ requests */

static px_status copy_text(const char *from, const char *field, size_t room, char *out)
{
    size_t length = strlen(from);
    if (length >= room)
        return px_fail(PX_INVALID_ARGUMENT, "'%s' is longer than %zu bytes", field, room - 1);
    if (px_utf8_valid_prefix(from, length) != length)
        return px_fail(PX_INVALID_ARGUMENT, "'%s' is not valid UTF-8", field);
    memcpy(out, from, length + 1);
    return px_ok();
}

static bool is_version(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isdigit((unsigned char)text[i])) return false;
    return length > 0;
}

/* The last part of the path that is not a version number, without .gguf. */
static void name_of_path(const char *path, char out[PX_NAME_BYTES])
{
    size_t end = strlen(path), begin;
    for (;;) {
        while (end > 0 && path[end - 1] == '/') end--;
        begin = end;
        while (begin > 0 && path[begin - 1] != '/') begin--;
        if (!is_version(path + begin, end - begin) || begin == 0) break;
        end = begin;
    }
    static const char extension[] = ".gguf";
    size_t length = end - begin, tail = sizeof extension - 1;
    if (length > tail && memcmp(path + end - tail, extension, tail) == 0) length -= tail;
    snprintf(out, PX_NAME_BYTES, "%.*s", (int)length, path + begin);
}

px_status px_admin_spec(const Phalanx__V1__DeployRequest *request, px_spec *out)
{
    px_spec spec = {.tp = request->tp ? request->tp : 1,
        .pp = request->pp ? request->pp : 1,
        .threads = request->threads,
        .context = request->context,
        .seqs_max = request->seqs_max,
        .kv_tokens = request->kv_tokens};
    PX_TRY(copy_text(request->model_path, "model_path", sizeof spec.model_path, spec.model_path));
    PX_TRY(copy_text(request->kv_type, "kv_type", sizeof spec.kv_type, spec.kv_type));
    PX_TRY(copy_text(request->kernels, "kernels", sizeof spec.kernels, spec.kernels));
    PX_TRY(copy_text(request->name, "name", sizeof spec.name, spec.name));
    if (!spec.name[0]) name_of_path(spec.model_path, spec.name);
    if (request->n_agents > PX_WORLD_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "more than %d agents are named", PX_WORLD_MAX);
    for (size_t i = 0; i < request->n_agents; i++)
        PX_TRY(copy_text(request->agents[i], "agents", sizeof spec.agents[i], spec.agents[i]));
    spec.agent_count = (uint32_t)request->n_agents;
    PX_TRY(px_serving_take(request->serving, &spec.serving));
    PX_TRY(px_adapters_take(request->adapters, request->n_adapters, &spec.adapters));
    *out = spec;
    return px_ok();
}

/* ------------------------------------------------------------------------------ deployments */

static void fill_deployment(
    Phalanx__V1__Deployment *out, const px_deployment *d, const px_router *router)
{
    px_router_load load = {0};
    if (px_router_load_of(router, d->spec.name, &load)) {
        out->requests_total = load.requests_total;
        out->running = load.said.running;
        out->waiting = load.said.waiting;
        out->kv_blocks = load.said.kv_blocks;
        out->kv_blocks_free = load.said.kv_blocks_free;
        out->kv_blocks_parked = load.said.kv_blocks_parked;
        out->prompt_tokens = load.said.prompt_tokens;
        out->output_tokens = load.said.output_tokens;
        out->prefix_queries = load.said.prefix_queries;
        out->prefix_hits = load.said.prefix_hits;
        out->preemptions = load.said.preemptions;
        out->recomputed_tokens = load.said.recomputed_tokens;
        out->refused = load.said.refused;
    }
    out->name = (char *)d->spec.name;
    out->model_path = (char *)d->spec.model_path;
    out->tp = d->spec.tp;
    out->pp = d->spec.pp;
    out->state = (char *)px_deploy_state_name(d->state);
    out->generation = d->record.generation;
    out->restarts = d->record.restarts;
    out->progress = px_deployment_progress(d);
    out->message = (char *)d->message;
    out->architecture = (char *)d->model_architecture;
    out->context = d->model.context;
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        out->resident_bytes += d->ranks[rank].resident_bytes;
}

Phalanx__V1__Deployment *px_admin_deployment(
    px_arena *arena, const px_deployment *d, const px_router *router)
{
    Phalanx__V1__Deployment *out = px_arena_alloc(arena, sizeof *out);
    char **agents = px_arena_alloc(arena, (d->record.world + 1) * sizeof *agents);
    if (!out || !agents) return NULL;
    phalanx__v1__deployment__init(out);
    fill_deployment(out, d, router);
    out->agents = agents;
    out->n_agents = d->record.world;
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        agents[rank] = (char *)d->record.agents[rank];
    return out;
}

Phalanx__V1__ListDeploymentsResponse *px_admin_deployments(
    px_arena *arena, const px_deployer *deployer, const px_router *router)
{
    uint32_t count = px_deployer_count(deployer);
    Phalanx__V1__ListDeploymentsResponse *out = px_arena_alloc(arena, sizeof *out);
    Phalanx__V1__Deployment **all = px_arena_alloc(arena, (count + 1) * sizeof *all);
    if (!out || !all) return NULL;
    phalanx__v1__list_deployments_response__init(out);
    out->deployments = all;
    for (; out->n_deployments < count; out->n_deployments++) {
        all[out->n_deployments] = px_admin_deployment(
            arena, px_deployer_at(deployer, (uint32_t)out->n_deployments), router);
        if (!all[out->n_deployments]) return NULL;
    }
    return out;
}

/* ------------------------------------------------------------------------------ nodes */

static const char *rank_word(const px_deployment *d, uint32_t rank)
{
    switch (d->ranks[rank].state) {
    case PHALANX__V1__RANK_STATE__RANK_STATE_STARTED: return "started";
    case PHALANX__V1__RANK_STATE__RANK_STATE_LOADING: return "loading";
    case PHALANX__V1__RANK_STATE__RANK_STATE_READY: return "ready";
    case PHALANX__V1__RANK_STATE__RANK_STATE_ENDED: return "ended";
    case PHALANX__V1__RANK_STATE__RANK_STATE_STUCK: return "stuck";
    default: return "expected";
    }
}

static bool fill_ranks(px_arena *arena, Phalanx__V1__Node *node, const px_deployer *deployer)
{
    node->ranks = px_arena_alloc(
        arena, (px_deployer_ranks_on(deployer, node->name) + 1) * sizeof *node->ranks);
    if (!node->ranks) return false;
    for (uint32_t i = 0; i < px_deployer_count(deployer); i++) {
        const px_deployment *d = px_deployer_at(deployer, i);
        for (uint32_t rank = 0; rank < d->record.world; rank++) {
            if (strcmp(d->record.agents[rank], node->name) != 0) continue;
            char text[PX_NAME_BYTES + 32];
            int length =
                snprintf(text, sizeof text, "%s/%u %s", d->spec.name, rank, rank_word(d, rank));
            char *copy = px_arena_copy(arena, text, (size_t)length);
            if (!copy) return false;
            node->ranks[node->n_ranks++] = copy;
        }
    }
    return true;
}

static Phalanx__V1__Node *node_of(
    px_arena *arena, const px_agent *agent, const px_deployer *deployer, int64_t now_ns)
{
    Phalanx__V1__Node *node = px_arena_alloc(arena, sizeof *node);
    char **models = px_arena_alloc(arena, (agent->model_count + 1) * sizeof *models);
    if (!node || !models) return NULL;
    phalanx__v1__node__init(node);
    node->name = (char *)agent->name;
    node->machine = agent->machine;
    node->address = agent->address;
    node->cores = agent->cores;
    node->gpus = agent->gpus;
    node->memory_bytes = agent->memory_bytes;
    node->memory_free_bytes = agent->memory_free_bytes;
    node->bandwidth_bytes_s = agent->bandwidth_bytes_s;
    node->flops = agent->flops;
    node->joined_s = (uint64_t)((now_ns - agent->joined_ns) / PX_SEC);
    node->heartbeat_age_ms = (uint64_t)((now_ns - agent->heard_ns) / PX_MS);
    node->models = models;
    node->n_models = agent->model_count;
    for (uint32_t i = 0; i < agent->model_count; i++) models[i] = agent->models[i].name;
    return fill_ranks(arena, node, deployer) ? node : NULL;
}

Phalanx__V1__ListNodesResponse *px_admin_nodes(
    px_arena *arena, const px_agents *agents, const px_deployer *deployer, int64_t now_ns)
{
    Phalanx__V1__ListNodesResponse *out = px_arena_alloc(arena, sizeof *out);
    Phalanx__V1__Node **nodes = px_arena_alloc(arena, (agents->count + 1) * sizeof *nodes);
    if (!out || !nodes) return NULL;
    phalanx__v1__list_nodes_response__init(out);
    out->nodes = nodes;
    for (; out->n_nodes < agents->count; out->n_nodes++) {
        nodes[out->n_nodes] = node_of(arena, agents->entries[out->n_nodes], deployer, now_ns);
        if (!nodes[out->n_nodes]) return NULL;
    }
    return out;
}
