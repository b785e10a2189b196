#include "control/cluster/launch.h"

#include <stdlib.h>
#include <string.h>

/* First rank that runs on the same agent as `rank`. */
static uint32_t first_rank_there(const px_group_record *record, uint32_t rank)
{
    uint32_t first = 0;
    while (strcmp(record->agents[first], record->agents[rank]) != 0) first++;
    return first;
}

static px_status send_expect(const px_deployment *d, uint32_t first)
{
    uint32_t ranks[PX_WORLD_MAX];
    Phalanx__V1__Expect expect = PHALANX__V1__EXPECT__INIT;
    for (uint32_t rank = first; rank < d->record.world; rank++)
        if (first_rank_there(&d->record, rank) == first) ranks[expect.n_ranks++] = rank;
    expect.group = (char *)d->spec.name;
    expect.generation = d->record.generation;
    expect.ranks = ranks;
    expect.secret = (char *)d->record.secret;
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_EXPECT;
    message.expect = &expect;
    return px_agents_send(d->ports->agents, d->record.agents[first], &message);
}

static px_status fill_places(const px_deployment *d, Phalanx__V1__RankPlace *places)
{
    for (uint32_t rank = 0; rank < d->record.world; rank++) {
        const px_agent *agent = px_agents_find(d->ports->agents, d->record.agents[rank]);
        if (!agent) return px_fail(PX_UNAVAILABLE, "agent '%s' is gone", d->record.agents[rank]);
        Phalanx__V1__RankPlace *place = &places[rank];
        phalanx__v1__rank_place__init(place);
        place->agent = (char *)agent->name;
        place->machine = agent->machine;
        place->address = agent->address;
        place->socket_path = agent->socket_path;
        place->program = agent->program;
    }
    return px_ok();
}

static px_status send_launch(const px_deployment *d)
{
    Phalanx__V1__RankPlace places[PX_WORLD_MAX], *pointers[PX_WORLD_MAX];
    PX_TRY(fill_places(d, places));
    for (uint32_t rank = 0; rank < d->record.world; rank++) pointers[rank] = &places[rank];
    const px_agent *launcher = px_agents_find(d->ports->agents, d->record.agents[0]);
    const px_agent_model *stored = px_agent_model_find(launcher, d->spec.model_path);
    Phalanx__V1__Launch launch = PHALANX__V1__LAUNCH__INIT;
    launch.group = launch.served_name = (char *)d->spec.name;
    launch.generation = d->record.generation;
    launch.model_path = stored ? stored->path : (char *)d->spec.model_path;
    launch.tp = d->spec.tp;
    launch.pp = d->spec.pp;
    launch.threads = d->spec.threads;
    launch.context = d->spec.context;
    launch.kv_tokens = d->spec.kv_tokens;
    launch.seqs_max = d->spec.seqs_max;
    Phalanx__V1__Serving serving;
    px_serving_fill(&d->spec.serving, &serving);
    launch.serving = &serving;
    Phalanx__V1__Adapter adapters[PX_ADAPTERS_MAX], *adapter_pointers[PX_ADAPTERS_MAX];
    px_adapters_fill(&d->spec.adapters, adapters, adapter_pointers);
    launch.adapters = adapter_pointers;
    launch.n_adapters = d->spec.adapters.count;
    launch.kv_type = (char *)d->spec.kv_type;
    launch.kernels = (char *)d->spec.kernels;
    launch.secret = (char *)d->record.secret;
    launch.ranks = pointers;
    launch.n_ranks = d->record.world;
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_LAUNCH;
    message.launch = &launch;
    return px_agents_send(d->ports->agents, launcher->name, &message);
}

px_status px_launch_send(const px_deployment *d)
{
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        if (first_rank_there(&d->record, rank) == rank) PX_TRY(send_expect(d, rank));
    return send_launch(d);
}

void px_launch_send_stop(
    const px_agents *agents, const char *agent, const char *group, uint64_t generation)
{
    Phalanx__V1__Stop stop = PHALANX__V1__STOP__INIT;
    stop.group = (char *)group;
    stop.generation = generation;
    Phalanx__V1__ControlMessage message = PHALANX__V1__CONTROL_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__CONTROL_MESSAGE__KIND_STOP;
    message.stop = &stop;
    px_ignore(px_agents_send(agents, agent, &message));
}

void px_launch_send_stops(const px_deployment *d)
{
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        if (first_rank_there(&d->record, rank) == rank)
            px_launch_send_stop(
                d->ports->agents, d->record.agents[rank], d->spec.name, d->record.generation);
}
