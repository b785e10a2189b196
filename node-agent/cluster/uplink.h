/* uplink.h - the agent's stream to the control plane: dialled for ever, registered each time anew.
 *
 * Nothing is queued while the stream is down: what matters is told again when registering, so a
 * reconnect can neither lose nor repeat anything. Why it is down is logged once for each reason.
 * Threads: the rpc's polling thread.
 */
#ifndef PX_CLUSTER_UPLINK_H
#define PX_CLUSTER_UPLINK_H

#include "cluster/messages.h"
#include "proto/rpc.h"

typedef struct px_uplink px_uplink;

typedef struct px_uplink_options { /* borrowed for the uplink's life */
    px_loop *loop;
    px_rpc *rpc;
    const char *server; /* "host:port" of any replica of the control plane */
    /* The Register message, as of now; borrowed until the next call. NULL with *out_why: not yet.
     */
    Phalanx__V1__Register *(*registration)(void *arg, px_status *out_why);
    void (*on_up)(void *arg);                                     /* registered */
    void (*on_control)(void *arg, const px_msg_control *message); /* everything but Registered */
    void (*on_down)(void *arg);
    uint64_t (*memory_free)(void *arg); /* for heartbeats */
    void *arg;
} px_uplink_options;

px_status px_uplink_start(const px_uplink_options *options, px_uplink **out) PX_MUST_USE;
/* Dropped unless registered. */
void px_uplink_send(px_uplink *uplink, const px_msg_agent *message);
/* px_now_ns() of the last moment it was registered (now, if it is). */
int64_t px_uplink_last_up_ns(const px_uplink *uplink);
void px_uplink_close(px_uplink *uplink); /* says goodbye; no callbacks follow */

#endif
