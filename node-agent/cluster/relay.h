/* relay.h - starting mpirun's daemon on another machine, both ends of it.
 *
 *   mpirun -> remote-start -> [socket] this agent -> control plane -> that agent -> orted
 *          <- output, exit <-                    <-               <-           <-
 *
 * The asking end allows it for groups this agent launches, the answering end for groups it was told
 * to expect, and then only the command that daemon.h lets through. A daemon whose group is no
 * longer expected is ended.
 * Threads: the loop's thread.
 */
#ifndef PX_CLUSTER_RELAY_H
#define PX_CLUSTER_RELAY_H

#include "cluster/groups.h"

enum { PX_RELAY_MAX = 1024 };

typedef struct px_relay px_relay;
typedef struct px_relay_ask px_relay_ask; /* one remote-start helper; valid until px_relay_gone() */

typedef struct px_relay_options { /* borrowed for the relay's life */
    px_groups *groups;
    const char *scratch; /* folder for Open MPI's session files */
    int64_t grace_ns;    /* between SIGTERM and SIGKILL for a daemon */
    void (*send)(void *arg, const px_msg_agent *message); /* to the control plane */
    void *arg;
} px_relay_options;

px_relay *px_relay_create(px_loop *loop, const px_relay_options *options);

/* --- the asking end: from the local socket --- */
/* PERMISSION_DENIED: the group is not launched here. Answers go to `wire`. */
px_status px_relay_begin(px_relay *relay, px_wire *wire, const px_msg_remote_ask *request,
    px_relay_ask **out) PX_MUST_USE;
void px_relay_signal(px_relay_ask *ask, int signal_number);
void px_relay_gone(px_relay_ask *ask); /* the helper's wire closed: its daemon is not wanted */

/* --- from the control plane; messages that are not the relay's are ignored --- */
void px_relay_control(px_relay *relay, const px_msg_control *message);

/* The control plane is out of reach: helpers cannot be served. */
void px_relay_lost(px_relay *relay);

#endif
