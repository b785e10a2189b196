/* leader.h - one control plane acts at a time: the holder of a key in etcd, under a lease.
 *
 * Whoever finds the key absent takes it; the others watch it and wait. The holder keeps its lease
 * alive and steps down by its own clock before etcd could have given the key to another. Every
 * write of a leader carries the key's revision as a condition, so that one who has lost the key
 * without knowing cannot change anything any more.
 * Threads: the polling thread.
 */
#ifndef PX_CONTROL_LEADER_H
#define PX_CONTROL_LEADER_H

#include "base/loop.h"
#include "etcd/etcd.h"

typedef struct px_leader px_leader;

typedef struct px_leader_options {
    const char *address; /* ours, for the others to name; copied */
    int64_t ttl_s;       /* of the lease; 0: 5 */
    bool sole;           /* the etcd is ours alone: a key found there is a dead predecessor's */
    void (*on_elected)(void *arg);
    void (*on_deposed)(void *arg, px_status why);         /* stop acting before returning */
    void (*on_following)(void *arg, const char *address); /* of another, who leads now */
    void *arg;
} px_leader_options;

/* Campaigns until freed. `loop` and `etcd` are borrowed and outlive it. */
px_leader *px_leader_create(px_loop *loop, px_etcd *etcd, const px_leader_options *options);
/* Gives the key back (so that the next one need not wait for the lease); NULL is fine. */
void px_leader_free(px_leader *leader);
bool px_leader_is_elected(const px_leader *leader);
const char *px_leader_address(const px_leader *leader); /* of whoever leads; "" when not known */

/* A transaction of the leader's. ABORTED: not elected any more; nothing was written. */
void px_leader_write(px_leader *leader, const px_etcd_op *ops, size_t count,
    void (*fn)(void *arg, px_status status, int64_t revision), void *arg);
/* Drops writes started with `arg`, uncalled. */
void px_leader_forget(px_leader *leader, const void *arg);

#endif
