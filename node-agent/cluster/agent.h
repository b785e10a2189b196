/* agent.h - one host's part of the cluster: everything that `node-agent join` does.
 *
 *   uplink   the stream to the control plane           door     the unix socket
 *   groups   the ranks that are ours, and launches     relay    remote starts, both ends
 *
 * One thread runs all of it (gRPC's polling thread dispatches the loop); MPI stays out of it.
 */
#ifndef PX_CLUSTER_AGENT_H
#define PX_CLUSTER_AGENT_H

#include <stdint.h>

#include "base/status.h"

typedef struct px_agent_settings { /* borrowed */
    const char *name;              /* unique in the cluster; NULL: the host's name */
    const char *server;            /* "host:port" of the control plane */
    const char *address;           /* how other machines reach this one; NULL: found by routing */
    const char *data_dir;          /* NULL: var/agent-NAME below the working folder */
    const char *models_dir;        /* NULL: no store to report */
    int64_t step_ns, silent_ns, load_ns; /* when a rank counts as stuck (groups.h) */
    int64_t orphan_ns;                   /* ranks are ended after so long without a control plane */
} px_agent_settings;

/* Joins and serves until SIGINT or SIGTERM, then ends its ranks and returns OK. Fails at once only
 * for what waiting cannot mend: a bad name or server, an unusable or busy data folder. */
px_status px_agent_run(const px_agent_settings *settings) PX_MUST_USE;

#endif
