/* admin_messages.h - the control plane's own records as Admin messages, and requests as specs.
 *
 * Messages are built in an arena and borrow texts from the records; NULL: the arena's limit.
 * Threads: pure functions.
 */
#ifndef PX_CONTROL_ADMIN_MESSAGES_H
#define PX_CONTROL_ADMIN_MESSAGES_H

#include "control/cluster/deployer.h"
#include "control/router/router.h"
#include "phalanx/v1/admin.pb-c.h"

/* Defaults filled in; an empty name becomes the file's or folder's: "/m/SmolLM2/1" is SmolLM2.
 * INVALID_ARGUMENT: a text is too long or not UTF-8. px_deployer_deploy() checks the rest. */
px_status px_admin_spec(const Phalanx__V1__DeployRequest *request, px_spec *out) PX_MUST_USE;

Phalanx__V1__Deployment *px_admin_deployment(
    px_arena *arena, const px_deployment *deployment, const px_router *router);
Phalanx__V1__ListDeploymentsResponse *px_admin_deployments(
    px_arena *arena, const px_deployer *deployer, const px_router *router);
Phalanx__V1__ListNodesResponse *px_admin_nodes(
    px_arena *arena, const px_agents *agents, const px_deployer *deployer, int64_t now_ns);

#endif
