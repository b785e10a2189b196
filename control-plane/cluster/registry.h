/* registry.h - the Cluster service: agents join over one stream each and are lost when they fall
 * silent or their stream stays broken.
 *
 * An agent whose stream breaks keeps its place for PX_REGISTRY_GRACE_NS, so that a network hiccup
 * or a restart of the control plane moves nothing; its ranks meanwhile run on. Owns:    the
 * streams; the entries of `agents` (nobody else adds or removes). Threads: the polling thread.
 */
#ifndef PX_CONTROL_REGISTRY_H
#define PX_CONTROL_REGISTRY_H

#include "control/cluster/agents.h"
#include "proto/rpc.h"

#define PX_REGISTRY_HEARTBEAT_NS (1 * PX_SEC)
#define PX_REGISTRY_SILENCE_NS   (6 * PX_SEC) /* a stream without any message this long is dead */
#define PX_REGISTRY_GRACE_NS     (2 * PX_SEC)
#define PX_REGISTRY_HELLO_NS     (5 * PX_SEC) /* a stream must start with Register by then */

typedef struct px_registry px_registry;

typedef struct px_registry_options {
    px_agents *agents; /* borrowed */
    /* A new agent, or one that is back after its stream broke. Borrowed for the call. */
    void (*on_joined)(void *arg, px_agent *agent, const Phalanx__V1__Register *hello, bool is_back);
    void (*on_message)(void *arg, px_agent *agent, const Phalanx__V1__AgentMessage *message);
    void (*on_lost)(void *arg, px_agent *agent, const char *why); /* removed right after */
    void *arg;
} px_registry_options;

px_registry *px_registry_create(const px_registry_options *options);
/* Streams still open must have been closed by the server. NULL is fine. */
void px_registry_free(px_registry *registry);
/* For px_rpc_server_add(server, px_registry_methods, registry). */
extern const px_rpc_method px_registry_methods[];

/* Closed (the default until opened): every stream is refused with `why`, those open are ended and
 * their agents forgotten without on_lost: they join whoever leads. */
void px_registry_open(px_registry *registry);
void px_registry_close(px_registry *registry, px_status why);
void px_registry_tick(px_registry *registry, int64_t now_ns);

#endif
