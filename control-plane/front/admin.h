/* admin.h - the Admin service: what the operator's CLI speaks (proto/phalanx/v1/admin.proto).
 *
 * Deploy streams progress until the deployment is READY or FAILED (or `detach` was asked for);
 * Undeploy answers when the ranks have ended. Status is answered by standbys too.
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_ADMIN_H
#define PX_CONTROL_ADMIN_H

#include "control/cluster/deployer.h"
#include "control/cluster/events.h"
#include "control/cluster/leader.h"
#include "control/router/router.h"
#include "proto/rpc.h"

struct px_admin_wait;
struct px_adapter_wait;

typedef struct px_admin { /* all borrowed */
    px_router *router;
    px_leader *leader; /* NULL: etcd is not there yet */
    px_agents *agents;
    px_events *events;
    px_deployer *deployer; /* NULL: not acting, see refusal */
    px_status refusal;     /* the answer while `deployer` is NULL */
    char etcd[320];        /* "private, http://127.0.0.1:23791" */
    int64_t started_ns;
    struct px_admin_wait *waits;           /* owned: streams and calls that wait for a change */
    struct px_adapter_wait *adapter_waits; /* owned: those that wait for an engine */
} px_admin;

/* For px_rpc_server_add(server, px_admin_methods, admin). */
extern const px_rpc_method px_admin_methods[];

/* px_deploy_ports' `changed`: tells whoever waits for it. */
void px_admin_deployment_changed(px_admin *admin, const px_deployment *deployment);
/* Ends everything that waits, with `why`: before `deployer` or `events` go. */
void px_admin_end_waits(px_admin *admin, px_status why);

#endif
