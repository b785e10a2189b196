#include "control/cluster/agents.h"

#include <stdlib.h>
#include <string.h>

static void free_models(px_agent *agent)
{
    for (uint32_t i = 0; i < agent->model_count; i++) {
        free(agent->models[i].name);
        free(agent->models[i].path);
    }
    free(agent->models);
    agent->models = NULL;
    agent->model_count = 0;
}

static void agent_free(px_agent *agent)
{
    free_models(agent);
    free(agent->machine);
    free(agent->address);
    free(agent->socket_path);
    free(agent->program);
    free(agent->version);
    free(agent);
}

static void replace(char **text, const char *with)
{
    free(*text);
    *text = px_strdup(with);
}

px_status px_agent_check(const Phalanx__V1__Register *hello)
{
    PX_TRY(px_name_check(hello->agent, "the agent's name"));
    const char *const texts[] = {
        hello->machine, hello->address, hello->socket_path, hello->program, hello->version};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strlen(texts[i]) >= PX_PATH_BYTES)
            return px_fail(PX_INVALID_ARGUMENT, "a text in Register is longer than %d bytes",
                PX_PATH_BYTES - 1);
    if (hello->n_models > PX_AGENT_MODELS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "an agent may list at most %d models, not %zu",
            PX_AGENT_MODELS_MAX, hello->n_models);
    return px_ok();
}

static void insert(px_agents *agents, px_agent *agent)
{
    uint32_t at = agents->count++;
    for (; at > 0 && strcmp(agents->entries[at - 1]->name, agent->name) > 0; at--)
        agents->entries[at] = agents->entries[at - 1];
    agents->entries[at] = agent;
}

px_status px_agents_put(
    px_agents *agents, const Phalanx__V1__Register *hello, int64_t now_ns, px_agent **out)
{
    px_agent *agent = px_agents_find(agents, hello->agent);
    if (!agent) {
        if (agents->count == PX_AGENTS_MAX)
            return px_fail(
                PX_RESOURCE_EXHAUSTED, "%d agents have joined, and no more can", PX_AGENTS_MAX);
        agent = px_alloc(sizeof *agent);
        px_name_copy(agent->name, hello->agent);
        agent->joined_ns = now_ns;
        insert(agents, agent);
    }
    replace(&agent->machine, hello->machine);
    replace(&agent->address, hello->address);
    replace(&agent->socket_path, hello->socket_path);
    replace(&agent->program, hello->program);
    replace(&agent->version, hello->version);
    agent->cores = hello->cores;
    agent->gpus = (uint32_t)hello->n_gpus;
    agent->memory_bytes = hello->memory_bytes;
    agent->memory_free_bytes = hello->memory_free_bytes;
    agent->bandwidth_bytes_s = hello->bandwidth_bytes_s;
    agent->flops = hello->flops;
    agent->heard_ns = now_ns;
    free_models(agent);
    agent->models = px_alloc_array(hello->n_models + 1, sizeof *agent->models);
    agent->model_count = (uint32_t)hello->n_models;
    for (uint32_t i = 0; i < agent->model_count; i++)
        agent->models[i] = (px_agent_model){px_strdup(hello->models[i]->name),
            px_strdup(hello->models[i]->path), hello->models[i]->bytes};
    *out = agent;
    return px_ok();
}

void px_agents_remove(px_agents *agents, px_agent *agent)
{
    uint32_t i = 0;
    while (agents->entries[i] != agent) i++;
    agents->count--;
    memmove(&agents->entries[i], &agents->entries[i + 1],
        (agents->count - i) * sizeof *agents->entries);
    agent_free(agent);
}

void px_agents_clear(px_agents *agents)
{
    while (agents->count) agent_free(agents->entries[--agents->count]);
}

px_agent *px_agents_find(const px_agents *agents, const char *name)
{
    for (uint32_t i = 0; i < agents->count; i++)
        if (strcmp(agents->entries[i]->name, name) == 0) return agents->entries[i];
    return NULL;
}

const px_agent_model *px_agent_model_find(const px_agent *agent, const char *wanted)
{
    for (uint32_t i = 0; i < agent->model_count; i++)
        if (strcmp(agent->models[i].name, wanted) == 0 ||
            strcmp(agent->models[i].path, wanted) == 0)
            return &agent->models[i];
    return NULL;
}

px_status px_agents_send(
    const px_agents *agents, const char *name, const Phalanx__V1__ControlMessage *message)
{
    px_agent *agent = px_agents_find(agents, name);
    if (!agent) return px_fail(PX_UNAVAILABLE, "agent '%s' is gone", name);
    return px_prefix(agent->send(agent, message), "agent '%s'", name);
}
