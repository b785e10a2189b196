/* events.h - what happened in the cluster: a bounded log in memory and in etcd, and its followers.
 *
 * The last PX_EVENTS_MAX are kept; older ones are deleted from etcd as new ones are written.
 * Writing is asynchronous and in batches; while etcd is away events wait in memory, the oldest of
 * them lost first. Threads: the polling thread.
 */
#ifndef PX_CONTROL_EVENTS_H
#define PX_CONTROL_EVENTS_H

#include "control/cluster/leader.h"

enum { PX_EVENTS_MAX = 1000, PX_EVENT_FOLLOWERS_MAX = 64 };

typedef struct px_event {
    uint64_t sequence; /* counts up by one; 0: none */
    uint64_t wall_ms;
    char kind[32];    /* "group.ready" */
    char subject[64]; /* a node or a deployment */
    char message[256];
} px_event;

typedef struct px_events px_events;
/* `leader` NULL: memory only. Borrowed. */
px_events *px_events_create(px_leader *leader);
void px_events_free(px_events *events); /* NULL is fine */
/* What etcd holds under events/, once, before the first add. */
void px_events_restore(px_events *events, const px_etcd_kv *kvs, size_t count);

void px_events_add(px_events *events, const char *kind, const char *subject, const char *message);

/* Sequence of the newest; 0: none yet. */
uint64_t px_events_newest(const px_events *events);
/* NULL: forgotten, or not yet. Borrowed until the next add. */
const px_event *px_events_get(const px_events *events, uint64_t sequence);

/* fn runs after each add until unfollow. RESOURCE_EXHAUSTED: too many followers. */
px_status px_events_follow(px_events *events, void (*fn)(void *arg), void *arg) PX_MUST_USE;
void px_events_unfollow(px_events *events, const void *arg);

#endif
