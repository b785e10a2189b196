/* launch.h - the command line that starts a group: a pure function of what the control plane asks.
 *
 *   one rank                    node-agent rank …
 *   several, all on this machine  mpirun … -np N node-agent rank …
 *   over machines               mpirun … --host A:n -np n node-agent rank … : --host B:m -np m …
 *
 * Each run of ranks that share an agent is one application context of mpirun, so that it carries
 * that agent's program and socket. Machines are reached by the address their agent reports; mpirun
 * starts its daemon there through `node-agent remote-start`, which asks this agent, in place of
 * ssh. The group's secret is in neither arguments nor environment: a rank gets it from its agent.
 */
#ifndef PX_CLUSTER_LAUNCH_H
#define PX_CLUSTER_LAUNCH_H

#include "base/memory.h"
#include "cluster/messages.h"

enum { PX_LAUNCH_RANKS_MAX = 1024, PX_GROUP_NAME_MAX = 128 };

typedef struct px_launch_here {  /* the launching agent; all borrowed */
    const char *agent, *machine; /* its name; which machine it is on */
    const char *program;         /* path of node-agent */
    const char *socket_path;     /* its own */
    const char *scratch;         /* folder for Open MPI's session files */
    const char *path;            /* PATH as it stands */
    bool is_root;                /* mpirun wants to be told that root means it */
} px_launch_here;

typedef struct px_launch_command { /* NULL-terminated; memory of the arena */
    const char **argv;
    const char **env; /* additions */
    bool uses_mpirun, uses_remote_start;
} px_launch_command;

/* INVALID_ARGUMENT with a sentence when the launch makes no sense. Strings of `launch` and `here`
 * are borrowed by the result. */
px_status px_launch_build(const px_msg_launch *launch, const px_launch_here *here, px_arena *arena,
    px_launch_command *out) PX_MUST_USE;

/* A group's name: 1 to PX_GROUP_NAME_MAX printable characters without blanks, not led by '-'. */
px_status px_launch_check_group(const char *name) PX_MUST_USE;

/* The smallest IPv4 network that holds all addresses, as "10.1.0.0/22": how Open MPI is told which
 * interface to use where their names differ. False: an address is not IPv4, or they have fewer than
 * 8 leading bits in common; then Open MPI chooses by itself. */
bool px_launch_network(const char *const *addresses, size_t count, char out[32]);

#endif
