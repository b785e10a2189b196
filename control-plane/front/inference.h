/* inference.h - the Inference service: checks requests, finds their model, streams the answers.
 *
 * A model that is deployed but not ready refuses at once with UNAVAILABLE and says how far it is:
 * the client decides whether to wait, nothing queues here. A client that reads too slowly fills the
 * bounded queue of its own call and is cancelled with RESOURCE_EXHAUSTED. A client that goes away,
 * or whose deadline passes, is cancelled at its engine at once. Threads: the polling thread.
 */
#ifndef PX_CONTROL_INFERENCE_H
#define PX_CONTROL_INFERENCE_H

#include "control/cluster/deployer.h"
#include "control/front/tenants.h"
#include "control/router/router.h"
#include "proto/rpc.h"

typedef struct px_inference {
    px_router *router;           /* borrowed; set before the server starts */
    const px_deployer *deployer; /* borrowed; NULL: not acting, see refusal */
    const px_tenants *tenants;   /* borrowed; their weights */
    px_status refusal;           /* the answer to everything while `deployer` is NULL */
} px_inference;

/* For px_rpc_server_add(server, px_inference_methods, inference). */
extern const px_rpc_method px_inference_methods[];

#endif
