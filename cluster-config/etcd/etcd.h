/* etcd.h - client of etcd 3.4 and later over its JSON gateway, asynchronous on a px_loop.
 *
 * Owns:     its connections and calls in flight.
 * Threads:  the loop's thread. Callbacks run from the loop, never from within the call that started
 *           them, and each is called exactly once unless the client is freed first.
 * Errors:   a member that does not answer is left for the next endpoint, again and again, until the
 *           request's deadline; the last failure is then reported. A write whose answer was lost
 * may have been applied and is sent again, so a transaction that compares can find itself already
 * done: read before deciding.
 */
#ifndef PX_ETCD_ETCD_H
#define PX_ETCD_ETCD_H

#include "base/loop.h"
#include "etcd/codec.h"

typedef struct px_etcd px_etcd;

typedef struct px_etcd_options {
    const char *endpoints; /* "http://10.0.0.1:2379,http://10.0.0.2:2379" */
    int64_t timeout_ns;    /* of a request, failover included; 0: 5 s */
} px_etcd_options;

/* INVALID_ARGUMENT: an endpoint is not http://host:port or https://host:port. */
px_status px_etcd_create(px_loop *loop, const px_etcd_options *options, px_etcd **out) PX_MUST_USE;
/* Calls in flight are dropped uncalled; watches must have been stopped. NULL is fine. */
void px_etcd_free(px_etcd *etcd);

/* Drops the calls in flight that were started with `arg`, uncalled (a write may still take place):
 * for owners that go before the client does. */
void px_etcd_forget(px_etcd *etcd, const void *arg);

/* No call is in flight. */
bool px_etcd_is_idle(const px_etcd *etcd);

/* `result` is borrowed for the call, and empty when `status` is not OK. */
typedef void (*px_etcd_fn)(void *arg, px_status status, const px_etcd_result *result);

/* Keys in order, with values, from a linearizable read. `op` is a RANGE. */
void px_etcd_range(px_etcd *etcd, const px_etcd_op *op, px_etcd_fn fn, void *arg);
/* All of `ops` if all of `compares` hold, else nothing; result->succeeded tells which. */
void px_etcd_txn(px_etcd *etcd, const px_etcd_compare *compares, size_t compare_count,
    const px_etcd_op *ops, size_t op_count, px_etcd_fn fn, void *arg);
/* result->lease is the new one; result->ttl_s at least what was asked for (etcd's minimum is 2). */
void px_etcd_lease_grant(px_etcd *etcd, int64_t ttl_s, px_etcd_fn fn, void *arg);
/* NOT_FOUND: the lease has run out. */
void px_etcd_lease_keep_alive(px_etcd *etcd, int64_t lease, px_etcd_fn fn, void *arg);
/* Deletes the lease's keys at once. */
void px_etcd_lease_revoke(px_etcd *etcd, int64_t lease, px_etcd_fn fn, void *arg);

#endif
