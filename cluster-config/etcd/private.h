/* private.h - a one-member etcd of our own: the embedded default when no cluster is named.
 *
 * Runs Debian's `etcd` program on loopback with its data in a folder of ours, on free ports below
 * the ephemeral range, and ends with us. Its log goes to DATA/etcd.log.
 * Threads: the loop's thread.
 */
#ifndef PX_ETCD_PRIVATE_H
#define PX_ETCD_PRIVATE_H

#include <sys/types.h>

#include "base/loop.h"

typedef struct px_etcd_private px_etcd_private;

typedef struct px_etcd_private_options {
    const char *data_dir; /* made if missing; one process at a time uses it */
    int64_t timeout_ns;   /* until it is healthy; 0: 30 s */
    /* Once: it is healthy, or why not (then stop it). `url`: its client endpoint, borrowed. */
    void (*on_ready)(void *arg, px_status status, const char *url);
    /* It ended after it was ready, without being asked. */
    void (*on_lost)(void *arg, px_status status);
    void *arg;
} px_etcd_private_options;

/* FAILED_PRECONDITION: the program is missing, or another process holds the folder. */
px_status px_etcd_private_start(
    px_loop *loop, const px_etcd_private_options *options, px_etcd_private **out) PX_MUST_USE;
pid_t px_etcd_private_pid(const px_etcd_private *etcd);
/* Ends it at once; committed data is safe. No callback follows. NULL is fine. */
void px_etcd_private_stop(px_etcd_private *etcd);

#endif
