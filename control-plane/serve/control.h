/* control.h - a control plane from its start to its end: the port, etcd, the election, the drain.
 *
 *   listen ─▶ etcd healthy ─▶ campaign ─▶ elected: read etcd, act ◀─▶ deposed: stand by
 *
 * A standby listens too: it answers Status and health, and refuses the rest with UNAVAILABLE and
 * the leader's address. Threads: the polling thread.
 */
#ifndef PX_CONTROL_CONTROL_H
#define PX_CONTROL_CONTROL_H

#include "proto/rpc.h"

typedef struct px_control px_control;

typedef struct px_control_options {
    px_loop *loop;              /* borrowed */
    px_rpc *rpc;                /* borrowed */
    const char *listen;         /* HOST:PORT */
    const char *etcd;           /* URLs with commas; NULL: a private one */
    const char *data_dir;       /* of the private one */
    const char *tenant_weights; /* px_tenants_parse(); NULL: all weigh the same */
    int64_t drain_ns;           /* how long requests in flight may take once stopping */
    /* It cannot start or go on, or it has stopped as asked (OK). Once, and never from within
     * create. */
    void (*on_end)(void *arg, px_status status);
    void *arg;
} px_control_options;

/* FAILED_PRECONDITION: a busy port, a missing etcd program. */
px_status px_control_create(const px_control_options *options, px_control **out) PX_MUST_USE;
int px_control_port(const px_control *control);
/* Refuse new requests, let those in flight end, give the leader's key back; then on_end. Called
 * again: end those in flight. */
void px_control_stop(px_control *control);
/* After on_end, before px_rpc_free(). NULL is fine. */
void px_control_free(px_control *control);

#endif
