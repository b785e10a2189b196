/* launch.h - what the agents of a deployment are told: expect ranks, launch them, stop them. */
#ifndef PX_CONTROL_LAUNCH_H
#define PX_CONTROL_LAUNCH_H

#include "control/cluster/deployment.h"

/* Tells every agent which ranks it will see and rank 0's agent to start them. The first agent that
 * cannot be told ends it with UNAVAILABLE; send stops then. */
px_status px_launch_send(const px_deployment *deployment) PX_MUST_USE;
/* To all agents of the record; those that cannot be reached are told when they join again. */
void px_launch_send_stops(const px_deployment *deployment);
void px_launch_send_stop(
    const px_agents *agents, const char *agent, const char *group, uint64_t generation);

#endif
