#include "control/serve/acting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/cluster/presence.h"
#include "control/cluster/remote.h"
#include "etcd/keys.h"

typedef struct pending_write { /* from a deployment's write to its answer */
    px_acting *acting;
    struct pending_write *next, **link;
    char name[PX_NAME_BYTES];
    uint64_t ticket;
} pending_write;

struct px_acting {
    px_leader *leader;
    px_router *router;
    px_deploy_ports ports;
    px_deployer *deployer;
    px_events *events;
    px_remote *remote;
    px_presence *presence;
    pending_write *writes;
    void (*on_changed)(void *arg, const px_deployment *deployment);
    void *arg;
};

px_deployer *px_acting_deployer(const px_acting *acting)
{
    return acting->deployer;
}
px_events *px_acting_events(const px_acting *acting)
{
    return acting->events;
}

/* ------------------------------------------------------------------------------ the deployer's
 * ports */

static uint32_t ranks_on(void *arg, const char *agent)
{
    const px_acting *acting = arg;
    return px_deployer_ranks_on(acting->deployer, agent);
}

static void write_free(pending_write *write)
{
    *write->link = write->next;
    if (write->next) write->next->link = write->link;
    free(write);
}

static void on_written(void *arg, px_status status, int64_t revision)
{
    pending_write *write = arg;
    px_acting *acting = write->acting;
    px_deployer_written(
        acting->deployer, write->name, write->ticket, status, revision, px_now_ns());
    write_free(write);
}

static void write_keys(
    void *arg, px_deployment *d, uint64_t ticket, const px_etcd_op *ops, size_t count)
{
    px_acting *acting = arg;
    pending_write *write = px_alloc(sizeof *write);
    *write = (pending_write){
        .acting = acting, .next = acting->writes, .link = &acting->writes, .ticket = ticket};
    if (write->next) write->next->link = &write->next;
    acting->writes = write;
    px_name_copy(write->name, d->spec.name);
    px_leader_write(acting->leader, ops, count, on_written, write);
}

static void attach(void *arg, const px_deployment *d)
{
    px_acting *acting = arg;
    px_router_attach(acting->router, &(px_router_engine){.model = d->spec.name,
                                         .generation = d->record.generation,
                                         .address = d->engine_address,
                                         .secret = d->record.secret});
}

static void detach(void *arg, const px_deployment *d, px_status why)
{
    px_acting *acting = arg;
    px_router_detach(acting->router, d->spec.name, why);
}

static void add_event(px_acting *acting, const char *kind, const char *subject, const char *message)
{
    px_events_add(acting->events, kind, subject, message);
    px_log(PX_INFO, kind, PX_S("subject", subject), PX_S("message", message));
}

static void on_event(void *arg, const px_deployment *d, const char *kind, const char *message)
{
    add_event(arg, kind, d->spec.name, message);
}

static void on_changed(void *arg, const px_deployment *d)
{
    px_acting *acting = arg;
    acting->on_changed(acting->arg, d);
}

/* ------------------------------------------------------------------------------ life */

/* The part of `kvs`, which are in order, whose keys start with `prefix`. */
static const px_etcd_kv *with_prefix(
    const px_etcd_kv *kvs, size_t count, const char *prefix, size_t *out_count)
{
    size_t first = 0, length = strlen(prefix);
    while (first < count && strncmp(kvs[first].key, prefix, length) != 0) first++;
    size_t end = first;
    while (end < count && strncmp(kvs[end].key, prefix, length) == 0) end++;
    *out_count = end - first;
    return kvs + first;
}

px_acting *px_acting_create(const px_acting_options *options, const px_etcd_kv *kvs, size_t count)
{
    px_acting *acting = px_alloc(sizeof *acting);
    acting->leader = options->leader;
    acting->router = options->router;
    acting->on_changed = options->on_changed;
    acting->arg = options->arg;
    acting->ports = (px_deploy_ports){.agents = options->agents,
        .ranks_on = ranks_on,
        .write = write_keys,
        .attach = attach,
        .detach = detach,
        .event = on_event,
        .changed = on_changed,
        .arg = acting};
    size_t event_count;
    const px_etcd_kv *events = with_prefix(kvs, count, PX_KEY_EVENTS, &event_count);
    acting->events = px_events_create(options->leader);
    px_events_restore(acting->events, events, event_count);
    acting->deployer = px_deployer_create(&acting->ports);
    acting->remote = px_remote_create(options->agents, acting->deployer);
    acting->presence = px_presence_create(options->loop, options->etcd, options->leader);
    uint32_t skipped;
    px_deployer_restore(acting->deployer, kvs, count, px_now_ns(), &skipped);
    if (skipped)
        px_log(PX_WARN, "deployments.skipped", PX_U("count", skipped),
            PX_S("message", "etcd holds records that this version does not understand"));
    return acting;
}

void px_acting_free(px_acting *acting)
{
    if (!acting) return;
    while (acting->writes) {
        px_leader_forget(acting->leader, acting->writes);
        write_free(acting->writes);
    }
    for (uint32_t i = 0; i < px_deployer_count(acting->deployer); i++)
        px_router_detach(acting->router, px_deployer_at(acting->deployer, i)->spec.name,
            px_fail(PX_UNAVAILABLE, "this control plane does not lead any more"));
    px_presence_free(acting->presence);
    px_remote_free(acting->remote);
    px_deployer_free(acting->deployer);
    px_events_free(acting->events);
    free(acting);
}

void px_acting_tick(px_acting *acting, int64_t now_ns)
{
    px_deployer_tick(acting->deployer, now_ns);
}

/* ------------------------------------------------------------------------------ agents */

void px_acting_agent_joined(
    px_acting *acting, px_agent *agent, const Phalanx__V1__Register *hello, bool is_back)
{
    char message[128];
    snprintf(message, sizeof message, "%s with %u cores at %s", is_back ? "back" : "joined",
        agent->cores, agent->address);
    add_event(acting, is_back ? "node.back" : "node.joined", agent->name, message);
    px_presence_put(acting->presence, agent);
    px_deployer_agent_joined(
        acting->deployer, agent->name, hello->ranks, hello->n_ranks, px_now_ns());
}

void px_acting_agent_message(
    px_acting *acting, px_agent *agent, const Phalanx__V1__AgentMessage *message)
{
    px_remote_agent_message(acting->remote, agent, message);
    px_deployer_agent_message(acting->deployer, agent->name, message, px_now_ns());
}

void px_acting_agent_lost(px_acting *acting, px_agent *agent, const char *why)
{
    add_event(acting, "node.lost", agent->name, why);
    px_presence_remove(acting->presence, agent->name);
    px_remote_agent_lost(acting->remote, agent->name);
    px_deployer_agent_lost(acting->deployer, agent->name, px_now_ns());
}
