/* deployer.h - all deployments: what operators ask for, and who is told when agents speak.
 *
 * Owns:    the deployments (deployment.h has the life of one).
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_DEPLOYER_H
#define PX_CONTROL_DEPLOYER_H

#include "control/cluster/deployment.h"

enum { PX_DEPLOYMENTS_MAX = 256 };

typedef struct px_deployer px_deployer;

/* `ports` is borrowed. */
px_deployer *px_deployer_create(const px_deploy_ports *ports);
void px_deployer_free(px_deployer *deployer); /* the groups run on; NULL is fine */

/* Takes over what etcd holds under deployments/ and groups/. A record that is not ours is left out;
 * *out_skipped counts them. */
void px_deployer_restore(px_deployer *deployer, const px_etcd_kv *kvs, size_t count, int64_t now_ns,
    uint32_t *out_skipped);

/* Asking again for the same is asking about it (and trying a FAILED one again). ALREADY_EXISTS: one
 * of that name with other options; FAILED_PRECONDITION: it is being undeployed; RESOURCE_EXHAUSTED:
 * too little memory on the agents there are (unless `patient`: then it waits for more). */
px_status px_deployer_deploy(px_deployer *deployer, const px_spec *spec, bool patient,
    int64_t now_ns, const px_deployment **out) PX_MUST_USE;
/* NOT_FOUND. The deployment is gone some time later, when px_deployer_find() says so. */
px_status px_deployer_undeploy(px_deployer *deployer, const char *name, int64_t now_ns) PX_MUST_USE;

typedef struct px_adapter_change {
    bool unloads; /* else it was loaded; then the path counts too */
    px_adapter_spec adapter;
} px_adapter_change;
/* What its engine did, to be remembered: that is so once px_deployment.adapter_changes_saved has
 * reached *out_change. NOT_FOUND: there is no such deployment any more. */
px_status px_deployer_note_adapter(px_deployer *deployer, const char *name,
    const px_adapter_change *change, int64_t now_ns, uint32_t *out_change) PX_MUST_USE;

uint32_t px_deployer_count(const px_deployer *deployer);
const px_deployment *px_deployer_at(const px_deployer *deployer, uint32_t index);     /* by name */
const px_deployment *px_deployer_find(const px_deployer *deployer, const char *name); /* or NULL */
uint32_t px_deployer_ranks_on(const px_deployer *deployer, const char *agent);

/* Frees what is removed and moves what is due; call it every 50 ms or so. */
void px_deployer_tick(px_deployer *deployer, int64_t now_ns);
void px_deployer_written(px_deployer *deployer, const char *name, uint64_t ticket, px_status status,
    int64_t revision, int64_t now_ns);

void px_deployer_agent_joined(px_deployer *deployer, const char *agent,
    Phalanx__V1__RankReport *const *reports, size_t count, int64_t now_ns);
void px_deployer_agent_lost(px_deployer *deployer, const char *agent, int64_t now_ns);
/* `rank` and `launch_ended` messages; others are not the deployer's. */
void px_deployer_agent_message(px_deployer *deployer, const char *agent,
    const Phalanx__V1__AgentMessage *message, int64_t now_ns);
void px_deployer_engine_up(px_deployer *deployer, const char *name, uint64_t generation,
    const Phalanx__V1__ModelInfo *model, int64_t now_ns);
void px_deployer_engine_down(
    px_deployer *deployer, const char *name, uint64_t generation, px_status why, int64_t now_ns);

#endif
