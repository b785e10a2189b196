/* presence.h - the agents' keys in etcd: nodes/NAME lives while its agent does.
 *
 * Each agent has a lease of its own, kept alive from here while the agent is joined. When the agent
 * is lost the lease is revoked; when this process dies it runs out.
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_PRESENCE_H
#define PX_CONTROL_PRESENCE_H

#include "control/cluster/agents.h"
#include "control/cluster/leader.h"

typedef struct px_presence px_presence;

px_presence *px_presence_create(px_loop *loop, px_etcd *etcd, px_leader *leader); /* borrowed */
void px_presence_free(px_presence *presence); /* the keys run out by themselves; NULL is fine */
void px_presence_put(px_presence *presence, const px_agent *agent); /* new, or news of it */
void px_presence_remove(px_presence *presence, const char *agent);

#endif
