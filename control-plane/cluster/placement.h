/* placement.h - which agent runs which rank: a pure function.
 *
 * Spreads the ranks over distinct agents first, the least busy and fastest ones, and puts several
 * on one only when the others are used up or too small. Ranks that end up on one machine become
 * neighbours, because neighbouring ranks (one tensor-parallel place after the other) talk most.
 * Units: bytes. Memory is a check, not a preference: a rank goes only where its share fits.
 */
#ifndef PX_CONTROL_PLACEMENT_H
#define PX_CONTROL_PLACEMENT_H

#include <stdint.h>

#include "base/status.h"
#include "control/cluster/spec.h"

typedef struct px_placement_agent { /* strings borrowed */
    const char *name;
    const char *machine;
    uint32_t cores;
    uint32_t ranks; /* of other groups, already there */
    uint64_t memory_free_bytes;
    uint64_t bandwidth_bytes_s;
    bool has_model; /* its store lists the model */
} px_placement_agent;

typedef struct px_placement_request {
    uint32_t world;                    /* ranks to place, 1..PX_WORLD_MAX */
    uint64_t model_bytes;              /* 0: unknown, memory is then left to the ranks' own check */
    const char (*only)[PX_NAME_BYTES]; /* names of the agents allowed; */
    uint32_t only_count;               /* 0: all */
} px_placement_request;

/* What one rank takes beside its share of the weights: the program and the smallest KV pool. */
#define PX_PLACEMENT_RANK_BYTES (UINT64_C(64) << 20)

/* out_agents[rank] = index into `agents`, [world]. UNAVAILABLE: no agent that may be used (named
 * ones not joined included); RESOURCE_EXHAUSTED: they have too little memory, with the arithmetic.
 */
px_status px_place(const px_placement_request *request, const px_placement_agent *agents,
    uint32_t agent_count, uint32_t *out_agents) PX_MUST_USE;

#endif
