/* relay.h - remote starts between agents: mpirun's daemons on other machines, without ssh.
 *
 * The launcher's agent asks for a program on another host; the relay finds the agent of the same
 * group there, passes the request on, and output, exit and signals between the two by the
 * launcher's random 64-bit id. Only agents of a group can start something for it, and only on each
 * other.
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_RELAY_H
#define PX_CONTROL_RELAY_H

#include "control/cluster/deployer.h"

typedef struct px_relay px_relay;

px_relay *px_relay_create(const px_agents *agents, const px_deployer *deployer); /* both borrowed */
void px_relay_free(px_relay *relay);                                             /* NULL is fine */
/* The remote_* messages; others are not the relay's. A launch_ended signals what it left behind. */
void px_relay_agent_message(
    px_relay *relay, const px_agent *from, const Phalanx__V1__AgentMessage *message);
void px_relay_agent_lost(px_relay *relay, const char *agent);

#endif
