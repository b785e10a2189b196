/* agents.h - the table of agents that have joined: what each has, where it is, how to reach it.
 *
 * Owns:    its entries and copies of all that they say. An agent's address stays the same until it
 *          is removed.
 * Threads: the polling thread.
 * The registry (registry.h) fills it from the agents' streams; the deployer reads it and sends.
 */
#ifndef PX_CONTROL_AGENTS_H
#define PX_CONTROL_AGENTS_H

#include "control/cluster/spec.h"
#include "phalanx/v1/cluster.pb-c.h"

enum { PX_AGENTS_MAX = 1024, PX_AGENT_MODELS_MAX = 256 };

typedef struct px_agent_model {
    char *name, *path;
    uint64_t bytes;
} px_agent_model;

typedef struct px_agent {
    char name[PX_NAME_BYTES];
    char *machine, *address, *socket_path, *program, *version;
    uint32_t cores, gpus;
    uint64_t memory_bytes, memory_free_bytes;
    uint64_t bandwidth_bytes_s, flops;
    px_agent_model *models;
    uint32_t model_count;
    int64_t joined_ns, heard_ns; /* px_now_ns() */
    /* Queues a message to it; not OK: its stream is broken or full, and `message` was not sent. */
    px_status (*send)(struct px_agent *agent, const Phalanx__V1__ControlMessage *message);
    void *link;     /* of whoever set `send` */
    bool connected; /* its stream is open; else it is in its grace and gets nothing new */
} px_agent;

typedef struct px_agents {
    px_agent *entries[PX_AGENTS_MAX]; /* by name, so that listings and placements repeat */
    uint32_t count;
} px_agents;

/* What a Register says, checked: names and sizes within bounds. INVALID_ARGUMENT says what is not.
 */
px_status px_agent_check(const Phalanx__V1__Register *hello) PX_MUST_USE;
/* Adds, or updates the entry of that name in place. RESOURCE_EXHAUSTED: the table is full. */
px_status px_agents_put(px_agents *agents, const Phalanx__V1__Register *hello, int64_t now_ns,
    px_agent **out) PX_MUST_USE;
void px_agents_remove(px_agents *agents, px_agent *agent);
void px_agents_clear(px_agents *agents);
px_agent *px_agents_find(const px_agents *agents, const char *name); /* NULL: not there */

/* The model that `wanted` means in this agent's store, by name or by path; NULL: not listed. */
const px_agent_model *px_agent_model_find(const px_agent *agent, const char *wanted);

/* UNAVAILABLE: no such agent, or not reachable now. */
px_status px_agents_send(const px_agents *agents, const char *name,
    const Phalanx__V1__ControlMessage *message) PX_MUST_USE;

#endif
