/* watch.h - follow all keys with a prefix: the state once, then every change in order.
 *
 * A reader that applies on_state and then on_change in turn always holds what etcd held at some
 * revision, whatever happens between: lost connections and members (the watch resumes behind the
 * last revision seen), compaction (a fresh on_state), members that freeze (an idle stream is
 * dropped and resumed elsewhere).
 * Threads: the loop's thread; callbacks run from the loop.
 */
#ifndef PX_ETCD_WATCH_H
#define PX_ETCD_WATCH_H

#include "etcd/etcd.h"

typedef struct px_etcd_watch px_etcd_watch;

typedef struct px_etcd_watch_options {
    const char *prefix; /* copied; a whole key is a prefix too */
    int64_t idle_ns;    /* resume elsewhere after this silence; 0: 30 s */
    /* All keys with the prefix; what the reader held before is void. Borrowed for the call. */
    void (*on_state)(void *arg, const px_etcd_kv *kvs, size_t count);
    void (*on_change)(void *arg, const px_etcd_change *change); /* borrowed for the call */
    void *arg;
} px_etcd_watch_options;

/* Keeps trying until stopped; failures are not reported, for there is nothing else to do. */
void px_etcd_watch_start(
    px_etcd *etcd, const px_etcd_watch_options *options, px_etcd_watch **out_watch);
/* No callback follows; allowed within callbacks. NULL is fine. */
void px_etcd_watch_stop(px_etcd_watch *watch);

#endif
