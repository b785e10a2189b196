#include "control/cluster/deployer.h"

#include <stdlib.h>
#include <string.h>

#include "control/cluster/launch.h"
#include "etcd/keys.h"

struct px_deployer {
    const px_deploy_ports *ports;
    px_deployment *all[PX_DEPLOYMENTS_MAX]; /* sorted by name */
    uint32_t count;
};

px_deployer *px_deployer_create(const px_deploy_ports *ports)
{
    px_deployer *deployer = px_alloc(sizeof *deployer);
    deployer->ports = ports;
    return deployer;
}

void px_deployer_free(px_deployer *deployer)
{
    if (!deployer) return;
    for (uint32_t i = 0; i < deployer->count; i++) px_deployment_free(deployer->all[i]);
    free(deployer);
}

/* ------------------------------------------------------------------------------ the set */

uint32_t px_deployer_count(const px_deployer *deployer)
{
    return deployer->count;
}

const px_deployment *px_deployer_at(const px_deployer *deployer, uint32_t index)
{
    return deployer->all[index];
}

static px_deployment *find(const px_deployer *deployer, const char *name)
{
    for (uint32_t i = 0; i < deployer->count; i++)
        if (strcmp(deployer->all[i]->spec.name, name) == 0) return deployer->all[i];
    return NULL;
}

const px_deployment *px_deployer_find(const px_deployer *deployer, const char *name)
{
    return find(deployer, name);
}

static void insert(px_deployer *deployer, px_deployment *d)
{
    uint32_t at = deployer->count++;
    for (; at > 0 && strcmp(deployer->all[at - 1]->spec.name, d->spec.name) > 0; at--)
        deployer->all[at] = deployer->all[at - 1];
    deployer->all[at] = d;
}

static void remove_at(px_deployer *deployer, uint32_t index)
{
    px_deployment *d = deployer->all[index];
    deployer->count--;
    memmove(&deployer->all[index], &deployer->all[index + 1],
        (deployer->count - index) * sizeof *deployer->all);
    deployer->ports->changed(deployer->ports->arg, d);
    px_deployment_free(d);
}

uint32_t px_deployer_ranks_on(const px_deployer *deployer, const char *agent)
{
    uint32_t ranks = 0;
    for (uint32_t i = 0; i < deployer->count; i++) {
        const px_group_record *record = &deployer->all[i]->record;
        for (uint32_t rank = 0; rank < record->world; rank++)
            ranks += strcmp(record->agents[rank], agent) == 0;
    }
    return ranks;
}

/* ------------------------------------------------------------------------------ what etcd holds */

static const px_etcd_kv *find_key(const px_etcd_kv *kvs, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(kvs[i].key, key) == 0) return &kvs[i];
    return NULL;
}

/* The record of a spec's last start; one of generation 0 when it was never started. */
static px_status find_record(
    const px_etcd_kv *kvs, size_t count, const char *name, px_group_record *out)
{
    *out = (px_group_record){0};
    const px_etcd_kv *kv = find_key(kvs, count, px_key_of(PX_KEY_GROUPS, name).text);
    return kv ? px_group_record_decode(kv->value, out) : px_ok();
}

void px_deployer_restore(px_deployer *deployer, const px_etcd_kv *kvs, size_t count, int64_t now_ns,
    uint32_t *out_skipped)
{
    *out_skipped = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(kvs[i].key, PX_KEY_DEPLOYMENTS, strlen(PX_KEY_DEPLOYMENTS)) != 0) continue;
        px_spec spec;
        px_group_record record;
        px_status status = px_spec_decode(kvs[i].value, &spec);
        if (px_is_ok(status)) status = find_record(kvs, count, spec.name, &record);
        if (!px_is_ok(status) || deployer->count == PX_DEPLOYMENTS_MAX) {
            ++*out_skipped;
            continue;
        }
        insert(deployer,
            px_deployment_restore(deployer->ports, &spec, &record, kvs[i].create_revision, now_ns));
    }
}

/* ------------------------------------------------------------------------------ what operators ask
 */

static px_status check_existing(px_deployment *d, const px_spec *spec)
{
    if (d->state == PX_DEPLOY_STOPPING)
        return px_fail(
            PX_FAILED_PRECONDITION, "'%s' is being undeployed: try again in a moment", spec->name);
    if (!px_spec_equal(&d->spec, spec))
        return px_fail(PX_ALREADY_EXISTS,
            "'%s' is deployed with other options: undeploy it first, or choose another --name",
            spec->name);
    for (uint32_t i = 0; i < spec->adapters.count; i++) {
        const px_adapter_spec *wanted = &spec->adapters.items[i];
        const px_adapter_spec *has = px_adapters_find(&d->spec.adapters, wanted->name);
        if (!has || strcmp(has->path, wanted->path) != 0)
            return px_fail(PX_ALREADY_EXISTS,
                "'%s' is deployed without that adapter '%s': 'control-plane adapter load' does it",
                spec->name, wanted->name);
    }
    return px_ok();
}

px_status px_deployer_deploy(px_deployer *deployer, const px_spec *spec, bool patient,
    int64_t now_ns, const px_deployment **out)
{
    PX_TRY(px_spec_check(spec));
    px_deployment *d = find(deployer, spec->name);
    if (d) {
        PX_TRY(check_existing(d, spec));
        px_deployment_retry(d, now_ns);
        *out = d;
        return px_ok();
    }
    if (deployer->count == PX_DEPLOYMENTS_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "there are %d deployments already, the most there can be", PX_DEPLOYMENTS_MAX);
    char agents[PX_WORLD_MAX][PX_NAME_BYTES];
    px_status room = px_deploy_place(deployer->ports, spec, agents);
    if (room.code == PX_RESOURCE_EXHAUSTED && !patient) return room;
    d = px_deployment_create(deployer->ports, spec, now_ns);
    insert(deployer, d);
    *out = d;
    return px_ok();
}

px_status px_deployer_undeploy(px_deployer *deployer, const char *name, int64_t now_ns)
{
    px_deployment *d = find(deployer, name);
    if (!d) return px_fail(PX_NOT_FOUND, "nothing is deployed as '%s'", name);
    px_deployment_stop(d, now_ns);
    return px_ok();
}

px_status px_deployer_note_adapter(px_deployer *deployer, const char *name,
    const px_adapter_change *change, int64_t now_ns, uint32_t *out_change)
{
    px_deployment *d = find(deployer, name);
    if (!d) return px_fail(PX_NOT_FOUND, "nothing is deployed as '%s' any more", name);
    px_adapters adapters = d->spec.adapters;
    if (change->unloads)
        px_adapters_remove(&adapters, change->adapter.name);
    else
        PX_TRY(px_adapters_add(&adapters, &change->adapter));
    px_deployment_set_adapters(d, &adapters, now_ns);
    *out_change = d->adapter_changes;
    return px_ok();
}

/* ------------------------------------------------------------------------------ what happens */

void px_deployer_tick(px_deployer *deployer, int64_t now_ns)
{
    for (uint32_t i = deployer->count; i-- > 0;) {
        px_deployment_tick(deployer->all[i], now_ns);
        if (deployer->all[i]->removed) remove_at(deployer, i);
    }
}

void px_deployer_written(px_deployer *deployer, const char *name, uint64_t ticket, px_status status,
    int64_t revision, int64_t now_ns)
{
    px_deployment *d = find(deployer, name);
    if (d) px_deployment_written(d, ticket, status, revision, now_ns);
}

void px_deployer_agent_joined(px_deployer *deployer, const char *agent,
    Phalanx__V1__RankReport *const *reports, size_t count, int64_t now_ns)
{
    for (uint32_t i = 0; i < deployer->count; i++)
        px_deployment_agent_joined(deployer->all[i], agent, reports, count, now_ns);
    for (size_t i = 0; i < count; i++)
        if (!find(deployer, reports[i]->group))
            px_launch_send_stop(
                deployer->ports->agents, agent, reports[i]->group, reports[i]->generation);
}

void px_deployer_agent_lost(px_deployer *deployer, const char *agent, int64_t now_ns)
{
    for (uint32_t i = 0; i < deployer->count; i++)
        px_deployment_agent_lost(deployer->all[i], agent, now_ns);
}

void px_deployer_agent_message(px_deployer *deployer, const char *agent,
    const Phalanx__V1__AgentMessage *message, int64_t now_ns)
{
    px_deployment *d;
    switch (message->kind_case) {
    case PHALANX__V1__AGENT_MESSAGE__KIND_RANK:
        d = find(deployer, message->rank->group);
        if (d) px_deployment_rank_report(d, agent, message->rank, now_ns);
        break;
    case PHALANX__V1__AGENT_MESSAGE__KIND_LAUNCH_ENDED:
        d = find(deployer, message->launch_ended->group);
        if (d) px_deployment_launch_ended(d, agent, message->launch_ended, now_ns);
        break;
    default: break;
    }
}

void px_deployer_engine_up(px_deployer *deployer, const char *name, uint64_t generation,
    const Phalanx__V1__ModelInfo *model, int64_t now_ns)
{
    px_deployment *d = find(deployer, name);
    if (d) px_deployment_engine_up(d, generation, model, now_ns);
}

void px_deployer_engine_down(
    px_deployer *deployer, const char *name, uint64_t generation, px_status why, int64_t now_ns)
{
    px_deployment *d = find(deployer, name);
    if (d) px_deployment_engine_down(d, generation, why, now_ns);
}
