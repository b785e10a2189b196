#include "control/cluster/remote.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { STARTS_MAX = 1024, EXIT_NOT_STARTED = 255 /* as ssh does */ };

typedef struct remote_start {
    uint64_t id;
    char launcher[PX_NAME_BYTES], target[PX_NAME_BYTES];
    char group[PX_NAME_BYTES];
    uint64_t generation;
} remote_start;

struct px_remote {
    const px_agents *agents;
    const px_deployer *deployer;
    remote_start starts[STARTS_MAX];
    uint32_t count;
};

px_remote *px_remote_create(const px_agents *agents, const px_deployer *deployer)
{
    px_remote *remote = px_alloc(sizeof *remote);
    remote->agents = agents;
    remote->deployer = deployer;
    return remote;
}

void px_remote_free(px_remote *remote)
{
    free(remote);
}

static remote_start *find(px_remote *remote, uint64_t id)
{
    for (uint32_t i = 0; i < remote->count; i++)
        if (remote->starts[i].id == id) return &remote->starts[i];
    return NULL;
}

static void forget(px_remote *remote, remote_start *start)
{
    *start = remote->starts[--remote->count];
}

/* ------------------------------------------------------------------------------ messages out */

static px_status send_start(
    px_remote *remote, const char *target, const Phalanx__V1__RemoteStartRequest *request)
{
    Phalanx__V1__RemoteStart start = PHALANX__V1__REMOTE_START__INIT;
    start.id = request->id;
    start.group = request->group;
    start.generation = request->generation;
    start.argv = request->argv;
    start.n_argv = request->n_argv;
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_REMOTE_START;
    message.remote_start = &start;
    return px_agents_send(remote->agents, target, &message);
}

static void send_exit(px_remote *remote, const char *to, Phalanx__V1__RemoteExit *exit)
{
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_REMOTE_EXIT;
    message.remote_exit = exit;
    px_ignore(px_agents_send(remote->agents, to, &message));
}

static void send_failure(px_remote *remote, const char *to, uint64_t id, const char *sentence)
{
    Phalanx__V1__RemoteExit failure = PHALANX__V1__REMOTE_EXIT__INIT;
    failure.id = id;
    failure.exit_code = EXIT_NOT_STARTED;
    failure.message = (char *)sentence;
    send_exit(remote, to, &failure);
}

static void send_signal(px_remote *remote, const remote_start *start, int signal_number)
{
    Phalanx__V1__RemoteSignal signal = PHALANX__V1__REMOTE_SIGNAL__INIT;
    signal.id = start->id;
    signal.signal = signal_number;
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_REMOTE_SIGNAL;
    message.remote_signal = &signal;
    px_ignore(px_agents_send(remote->agents, start->target, &message));
}

/* ------------------------------------------------------------------------------ messages in */

/* The agent of the group at `host`: an address as the launcher knows it, or a name. */
static const char *find_target(px_remote *remote, const px_deployment *d, const char *host)
{
    for (uint32_t rank = 0; rank < d->record.world; rank++) {
        const px_agent *agent = px_agents_find(remote->agents, d->record.agents[rank]);
        if (agent && (strcmp(agent->address, host) == 0 || strcmp(agent->name, host) == 0))
            return agent->name;
    }
    return NULL;
}

static px_status start(
    px_remote *remote, const px_agent *launcher, const Phalanx__V1__RemoteStartRequest *request)
{
    const px_deployment *d = px_deployer_find(remote->deployer, request->group);
    if (!d || d->record.generation != request->generation || !d->record.world ||
        strcmp(d->record.agents[0], launcher->name) != 0)
        return px_fail(PX_PERMISSION_DENIED, "'%s' does not launch generation %llu of '%s'",
            launcher->name, (unsigned long long)request->generation, request->group);
    const char *target = find_target(remote, d, request->host);
    if (!target)
        return px_fail(PX_NOT_FOUND, "no agent of '%s' is at '%s'", request->group, request->host);
    if (remote->count == STARTS_MAX || find(remote, request->id))
        return px_fail(PX_RESOURCE_EXHAUSTED, "too many remote starts, or this id is taken");
    PX_TRY(send_start(remote, target, request));
    remote_start *entry = &remote->starts[remote->count++];
    *entry = (remote_start){.id = request->id, .generation = request->generation};
    px_name_copy(entry->launcher, launcher->name);
    px_name_copy(entry->target, target);
    px_name_copy(entry->group, d->spec.name);
    return px_ok();
}

static void pass_output(px_remote *remote, const px_agent *from, Phalanx__V1__RemoteOutput *output)
{
    remote_start *entry = find(remote, output->id);
    if (!entry || strcmp(entry->target, from->name) != 0) return;
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_REMOTE_OUTPUT;
    message.remote_output = output;
    px_ignore(px_agents_send(remote->agents, entry->launcher, &message));
}

static void pass_exit(px_remote *remote, const px_agent *from, Phalanx__V1__RemoteExit *exit)
{
    remote_start *entry = find(remote, exit->id);
    if (!entry || strcmp(entry->target, from->name) != 0) return;
    send_exit(remote, entry->launcher, exit);
    forget(remote, entry);
}

/* mpirun is gone: its daemons should be, too. */
static void end_launch(
    px_remote *remote, const px_agent *from, const Phalanx__V1__LaunchEnded *ended)
{
    for (uint32_t i = 0; i < remote->count; i++) {
        remote_start *entry = &remote->starts[i];
        if (strcmp(entry->launcher, from->name) == 0 && strcmp(entry->group, ended->group) == 0 &&
            entry->generation == ended->generation)
            send_signal(remote, entry, SIGTERM);
    }
}

void px_remote_agent_message(
    px_remote *remote, const px_agent *from, const Phalanx__V1__AgentMessage *message)
{
    remote_start *entry;
    px_status status;
    switch (message->kind_case) {
    case PHALANX__V1__AGENT_MESSAGE__KIND_REMOTE_START:
        status = start(remote, from, message->remote_start);
        if (!px_is_ok(status))
            send_failure(remote, from->name, message->remote_start->id, status.text);
        break;
    case PHALANX__V1__AGENT_MESSAGE__KIND_REMOTE_OUTPUT:
        pass_output(remote, from, message->remote_output);
        break;
    case PHALANX__V1__AGENT_MESSAGE__KIND_REMOTE_EXIT:
        pass_exit(remote, from, message->remote_exit);
        break;
    case PHALANX__V1__AGENT_MESSAGE__KIND_REMOTE_SIGNAL:
        entry = find(remote, message->remote_signal->id);
        if (entry && strcmp(entry->launcher, from->name) == 0)
            send_signal(remote, entry, message->remote_signal->signal);
        break;
    case PHALANX__V1__AGENT_MESSAGE__KIND_LAUNCH_ENDED:
        end_launch(remote, from, message->launch_ended);
        break;
    default: break;
    }
}

void px_remote_agent_lost(px_remote *remote, const char *agent)
{
    for (uint32_t i = remote->count; i-- > 0;) {
        remote_start *entry = &remote->starts[i];
        bool launcher_lost = strcmp(entry->launcher, agent) == 0;
        bool target_lost = strcmp(entry->target, agent) == 0;
        if (launcher_lost)
            send_signal(remote, entry, SIGKILL);
        else if (target_lost)
            send_failure(remote, entry->launcher, entry->id, "its agent was lost");
        if (launcher_lost || target_lost) forget(remote, entry);
    }
}
