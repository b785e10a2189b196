#include "control/cluster/registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

typedef struct join { /* one stream; agent->link points here while it is the agent's */
    px_registry *registry;
    struct join *next, **link;
    px_rpc_call *call;
    px_agent *agent; /* NULL before Register, and once the stream was replaced */
    int64_t opened_ns;
    bool finished;
} join;

typedef struct absence { /* an agent without a stream, still in its grace */
    px_agent *agent;
    int64_t since_ns;
} absence;

struct px_registry {
    px_agents *agents;
    void (*on_joined)(void *arg, px_agent *agent, const Phalanx__V1__Register *hello, bool is_back);
    void (*on_message)(void *arg, px_agent *agent, const Phalanx__V1__AgentMessage *message);
    void (*on_lost)(void *arg, px_agent *agent, const char *why);
    void *arg;
    px_status closed; /* not OK: why nobody may join */
    join *joins;
    absence absences[PX_AGENTS_MAX];
    uint32_t absence_count;
};

px_registry *px_registry_create(const px_registry_options *options)
{
    px_registry *registry = px_alloc(sizeof *registry);
    registry->agents = options->agents;
    registry->on_joined = options->on_joined;
    registry->on_message = options->on_message;
    registry->on_lost = options->on_lost;
    registry->arg = options->arg;
    registry->closed = px_fail(PX_UNAVAILABLE, "this control plane is starting");
    return registry;
}

void px_registry_free(px_registry *registry)
{
    if (!registry) return;
    px_agents_clear(registry->agents);
    free(registry);
}

/* ------------------------------------------------------------------------------ streams */

static px_status send_to(px_agent *agent, const Phalanx__V1__ControlMessage *message)
{
    join *stream = agent->link;
    if (!stream) return px_fail(PX_UNAVAILABLE, "its stream is broken");
    return px_rpc_call_send(stream->call, &message->base);
}

static void finish(join *stream, px_status status)
{
    if (stream->finished) return;
    stream->finished = true;
    px_rpc_call_finish(stream->call, status);
}

static void on_open(void *service, px_rpc_call *call)
{
    px_registry *registry = service;
    if (!px_is_ok(registry->closed)) {
        px_rpc_call_finish(call, registry->closed);
        return;
    }
    join *stream = px_alloc(sizeof *stream);
    *stream = (join){.registry = registry,
        .next = registry->joins,
        .link = &registry->joins,
        .call = call,
        .opened_ns = px_now_ns()};
    if (stream->next) stream->next->link = &stream->next;
    registry->joins = stream;
    px_rpc_call_set_user(call, stream);
}

static absence *find_absence(px_registry *registry, const px_agent *agent)
{
    for (uint32_t i = 0; i < registry->absence_count; i++)
        if (registry->absences[i].agent == agent) return &registry->absences[i];
    return NULL;
}

static void end_absence(px_registry *registry, const px_agent *agent)
{
    absence *entry = find_absence(registry, agent);
    if (entry) *entry = registry->absences[--registry->absence_count];
}

static void begin_absence(px_registry *registry, px_agent *agent)
{
    agent->link = NULL;
    agent->connected = false;
    registry->absences[registry->absence_count++] = (absence){agent, px_now_ns()};
}

static void lose(px_registry *registry, px_agent *agent, const char *why)
{
    end_absence(registry, agent);
    registry->on_lost(registry->arg, agent, why);
    px_agents_remove(registry->agents, agent);
}

/* The same agent started again takes its stream over; another one of that name is refused. */
static px_status take_over(px_registry *registry, const Phalanx__V1__Register *hello)
{
    px_agent *agent = px_agents_find(registry->agents, hello->agent);
    join *old = agent ? agent->link : NULL;
    if (!old) return px_ok();
    if (strcmp(agent->machine, hello->machine) != 0 ||
        strcmp(agent->socket_path, hello->socket_path) != 0)
        return px_fail(PX_ALREADY_EXISTS,
            "an agent named '%s' has joined from another place: choose another name with --name",
            hello->agent);
    old->agent = NULL;
    begin_absence(registry, agent);
    finish(old, px_fail(PX_ABORTED, "this agent has joined anew"));
    return px_ok();
}

static px_status register_agent(join *stream, const Phalanx__V1__Register *hello)
{
    px_registry *registry = stream->registry;
    PX_TRY(px_agent_check(hello));
    PX_TRY(take_over(registry, hello));
    bool is_back = px_agents_find(registry->agents, hello->agent) != NULL;
    px_agent *agent;
    PX_TRY(px_agents_put(registry->agents, hello, px_now_ns(), &agent));
    end_absence(registry, agent);
    agent->link = stream;
    agent->send = send_to;
    agent->connected = true;
    stream->agent = agent;
    Phalanx__V1__Registered registered = PHALANX__V1__REGISTERED__INIT;
    registered.heartbeat_ms = PX_REGISTRY_HEARTBEAT_NS / PX_MS;
    Phalanx__V1__ControlMessage answer = PHALANX__V1__CONTROL_MESSAGE__INIT;
    answer.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_REGISTERED;
    answer.registered = &registered;
    PX_TRY(px_rpc_call_send(stream->call, &answer.base));
    registry->on_joined(registry->arg, agent, hello, is_back);
    return px_ok();
}

static void on_message(void *service, px_rpc_call *call, const ProtobufCMessage *base)
{
    join *stream = px_rpc_call_user(call);
    const Phalanx__V1__AgentMessage *message = (const Phalanx__V1__AgentMessage *)base;
    if (!stream || stream->finished) return;
    px_agent *agent = stream->agent;
    bool is_hello = message->kind_case == PHALANX__V1__AGENT_MESSAGE__KIND_REGISTER_;
    if (is_hello != (agent == NULL)) {
        finish(stream, px_fail(PX_FAILED_PRECONDITION,
                           "a stream starts with one Register, and only then come other messages"));
        return;
    }
    if (is_hello) {
        px_status status = register_agent(stream, message->register_);
        if (!px_is_ok(status)) finish(stream, status);
        return;
    }
    agent->heard_ns = px_now_ns();
    if (message->kind_case == PHALANX__V1__AGENT_MESSAGE__KIND_HEARTBEAT)
        agent->memory_free_bytes = message->heartbeat->memory_free_bytes;
    else
        stream->registry->on_message(stream->registry->arg, agent, message);
}

static void on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    join *stream = px_rpc_call_user(call);
    if (!stream) return;
    if (stream->agent) begin_absence(stream->registry, stream->agent);
    *stream->link = stream->next;
    if (stream->next) stream->next->link = stream->link;
    free(stream);
}

const px_rpc_method px_registry_methods[] = {
    {.path = "/phalanx.v1.Cluster/Join",
        .kind = PX_RPC_BIDI,
        .request = &phalanx__v1__agent_message__descriptor,
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed},
    {0},
};

/* ------------------------------------------------------------------------------ time */

void px_registry_open(px_registry *registry)
{
    registry->closed = px_ok();
}

void px_registry_close(px_registry *registry, px_status why)
{
    registry->closed = why;
    for (join *stream = registry->joins; stream; stream = stream->next) {
        stream->agent = NULL;
        finish(stream, why);
    }
    registry->absence_count = 0;
    px_agents_clear(registry->agents);
}

static void tick_stream(px_registry *registry, join *stream, int64_t now_ns)
{
    px_agent *agent = stream->agent;
    if (stream->finished) return;
    if (!agent && now_ns - stream->opened_ns > PX_REGISTRY_HELLO_NS) {
        finish(stream, px_fail(PX_DEADLINE_EXCEEDED, "no Register came"));
    } else if (agent && now_ns - agent->heard_ns > PX_REGISTRY_SILENCE_NS) {
        stream->agent = NULL;
        agent->link = NULL;
        finish(stream, px_fail(PX_DEADLINE_EXCEEDED, "no heartbeat came"));
        lose(registry, agent, "its heartbeats stopped");
    }
}

void px_registry_tick(px_registry *registry, int64_t now_ns)
{
    for (join *stream = registry->joins, *next; stream; stream = next) {
        next = stream->next;
        tick_stream(registry, stream, now_ns);
    }
    for (uint32_t i = registry->absence_count; i-- > 0;)
        if (now_ns - registry->absences[i].since_ns > PX_REGISTRY_GRACE_NS)
            lose(registry, registry->absences[i].agent, "its stream broke");
}
