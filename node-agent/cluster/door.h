/* door.h - the agent's unix socket: its ranks report here, remote-start helpers ask here.
 *
 * Only processes of the agent's own user (or root) are heard; a connection has ten seconds to say
 * what it is; what it says is checked by groups.h and relay.h. Whoever breaks the protocol is
 * refused with a sentence and nobody else notices.
 * Threads: the loop's thread.
 */
#ifndef PX_CLUSTER_DOOR_H
#define PX_CLUSTER_DOOR_H

#include "cluster/groups.h"
#include "cluster/relay.h"

enum { PX_DOOR_PEERS_MAX = 2048 };

typedef struct px_door px_door;

typedef struct px_door_options { /* borrowed for the door's life */
    const char *path;
    px_groups *groups;
    px_relay *relay;
} px_door_options;

px_status px_door_open(px_loop *loop, const px_door_options *options, px_door **out) PX_MUST_USE;

#endif
