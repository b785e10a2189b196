/* acting.h - what exists only while this control plane leads: the cluster's state and its keepers.
 *
 *   agents' streams ─▶ registry ─▶ deployer ─▶ etcd (through the leader's fenced writes)
 *                          │          ├──────▶ agents (launch, stop)
 *                          └▶ remote   └──────▶ router (attach, detach)
 *
 * Made from what etcd holds when elected, dropped whole when deposed: the groups run on and the
 * next leader adopts them. Threads: the polling thread.
 */
#ifndef PX_CONTROL_ACTING_H
#define PX_CONTROL_ACTING_H

#include "control/cluster/deployer.h"
#include "control/cluster/events.h"
#include "control/cluster/leader.h"
#include "control/cluster/registry.h"
#include "control/router/router.h"

typedef struct px_acting px_acting;

typedef struct px_acting_options { /* borrowed */
    px_loop *loop;
    px_etcd *etcd;
    px_leader *leader;
    px_agents *agents;
    px_router *router;
    /* A deployment changed its state or its progress, or is gone (`removed`). */
    void (*on_changed)(void *arg, const px_deployment *deployment);
    void *arg;
} px_acting_options;

/* `kvs`: all keys under PX_KEY_ROOT. */
px_acting *px_acting_create(const px_acting_options *options, const px_etcd_kv *kvs, size_t count);
void px_acting_free(px_acting *acting); /* NULL is fine */
px_deployer *px_acting_deployer(const px_acting *acting);
px_events *px_acting_events(const px_acting *acting);

void px_acting_tick(px_acting *acting, int64_t now_ns);
/* What the registry says; see px_registry_options. */
void px_acting_agent_joined(
    px_acting *acting, px_agent *agent, const Phalanx__V1__Register *hello, bool is_back);
void px_acting_agent_message(
    px_acting *acting, px_agent *agent, const Phalanx__V1__AgentMessage *message);
void px_acting_agent_lost(px_acting *acting, px_agent *agent, const char *why);

#endif
