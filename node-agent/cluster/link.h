/* link.h - a rank's line to its agent: who it is, how far it is, that it lives, why it ends.
 *
 * A thread of its own keeps beating while the rank's main thread loads weights, waits in MPI or
 * runs the engine, so that silence means a stopped or dead process and nothing else.
 *
 * Crash-only: when the agent goes, when the engine reports that it is broken, or at px_link_end(),
 * the process exits at once, from whatever it was doing.
 * Threads:    px_link_loading() any; the rest the rank's main thread.
 */
#ifndef PX_CLUSTER_LINK_H
#define PX_CLUSTER_LINK_H

#include "engine/engine.h"

typedef struct px_link px_link;

typedef struct px_link_options { /* strings are copied */
    const char *socket_path;     /* the agent's */
    const char *group;
    uint64_t generation;
    uint32_t rank;
} px_link_options;

/* Connects, introduces the rank and waits (10 s at most) until the agent welcomes it. */
px_status px_link_open(const px_link_options *options, px_link **out) PX_MUST_USE;
/* Of the group: whoever opens the Engine stream must show it. Never empty. */
const char *px_link_secret(const px_link *link);

void px_link_loading(px_link *link, double fraction);
/* From now on beats carry the engine's steps, and its health ends the process. `engine` stays open
 * until the process exits. `address`: "host:port" of rank 0's service; NULL for the others. */
void px_link_ready(px_link *link, const px_engine *engine, const char *address);
/* Tells the agent why (OK: an orderly end) and exits the process: 0 for OK, else 1. */
_Noreturn void px_link_end(px_link *link, px_status why);

#endif
