/* service.h - phalanx.v1.Engine: rank 0 serves its group's engine to routers.
 *
 * One long-lived stream a router, many requests on it. A stream that goes takes its requests with
 * it; a stream that is not read holds up itself alone.
 * Threads: the rpc's polling thread.
 */
#ifndef PX_CLUSTER_SERVICE_H
#define PX_CLUSTER_SERVICE_H

#include "engine/engine.h"
#include "proto/rpc.h"

typedef struct px_service px_service;

typedef struct px_service_options { /* all borrowed, for the service's life */
    px_loop *loop;
    px_rpc *rpc;            /* its on_wake becomes the service's */
    px_engine *engine;      /* whose on_wake calls px_rpc_wake(rpc) */
    const char *address;    /* to listen on, without a port: an ephemeral one is taken */
    const char *secret;     /* what `phalanx-group-secret` must say */
    const char *model_name; /* as clients call it */
} px_service_options;

/* Listens from its return on, so that the address can be told; answers once px_rpc_run() polls.
 * There is no way to end it: a rank's service ends with its process. */
px_status px_service_start(const px_service_options *options, px_service **out) PX_MUST_USE;
int px_service_port(const px_service *service);
/* "127.0.0.1" and 4000 -> "127.0.0.1:4000"; an IPv6 address gets brackets. */
void px_service_endpoint(const char *address, int port, px_buf *out);

#endif
