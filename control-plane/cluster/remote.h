/* remote.h - remote starts between agents: mpirun's daemons on other machines, without ssh.
 *
 * The launcher's agent asks for a program on another host; this finds the agent of the same
 * group there, passes the request on, and output, exit and signals between the two by the
 * launcher's random 64-bit id. Only agents of a group can start something for it, and only on each
 * other.
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_REMOTE_H
#define PX_CONTROL_REMOTE_H

#include "control/cluster/deployer.h"

typedef struct px_remote px_remote;

px_remote *px_remote_create(
    const px_agents *agents, const px_deployer *deployer); /* both borrowed */
void px_remote_free(px_remote *remote);                    /* NULL is fine */
/* The remote_* messages; others are left alone. A launch_ended signals what it left behind. */
void px_remote_agent_message(
    px_remote *remote, const px_agent *from, const Phalanx__V1__AgentMessage *message);
void px_remote_agent_lost(px_remote *remote, const char *agent);

#endif
