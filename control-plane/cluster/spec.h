/* spec.h - what an operator asked for (px_spec) and what was started for it (px_group_record), and
 * how both are written in etcd. These records outlive the process: fields are only ever added.
 */
#ifndef PX_CONTROL_SPEC_H
#define PX_CONTROL_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "control/cluster/adapters.h"
#include "control/cluster/serving.h"

enum {
    PX_NAME_BYTES = 64, /* of a deployment or an agent, its NUL included */
    PX_PATH_BYTES = 1024,
    PX_WORLD_MAX = 64, /* ranks of a group */
    PX_SECRET_BYTES = 33,
};

typedef struct px_spec {
    char name[PX_NAME_BYTES]; /* what clients call it */
    char model_path[PX_PATH_BYTES];
    uint32_t tp, pp;                          /* at least 1 */
    char agents[PX_WORLD_MAX][PX_NAME_BYTES]; /* only these */
    uint32_t agent_count;                     /* 0: any */
    uint32_t threads, context, seqs_max;
    uint64_t kv_tokens;
    char kv_type[16], kernels[16]; /* empty: the agent's choice */
    px_serving serving;
    px_adapters adapters; /* last: they come and go (px_spec_equal) */
} px_spec;

static inline uint32_t px_spec_world(const px_spec *spec)
{
    return spec->tp * spec->pp;
}
/* All but the adapters. */
bool px_spec_equal(const px_spec *a, const px_spec *b);

/* The last start of a group: enough for a new leader to recognise ranks that still run. */
typedef struct px_group_record {
    uint64_t generation; /* of starts; 0: never started */
    char secret[PX_SECRET_BYTES];
    char agents[PX_WORLD_MAX][PX_NAME_BYTES]; /* by rank */
    uint32_t world;
    uint32_t restarts;
    bool ever_ready; /* in any generation: from then on nothing is final but an undeploy */
} px_group_record;

/* 1 to 63 of a-z A-Z 0-9 . _ -, starting with a letter or digit. `what` names it in the sentence.
 */
px_status px_name_check(const char *name, const char *what) PX_MUST_USE;
/* A name that was checked, or came from a record. */
void px_name_copy(char out[PX_NAME_BYTES], const char *name);
/* tp, pp and the world within bounds, names and path well formed. */
px_status px_spec_check(const px_spec *spec) PX_MUST_USE;

/* JSON, appended. */
void px_spec_encode(px_buf *out, const px_spec *spec);
void px_group_record_encode(px_buf *out, const px_group_record *record);
/* INVALID_ARGUMENT: not such a record (someone else wrote it). */
px_status px_spec_decode(px_slice json, px_spec *out) PX_MUST_USE;
px_status px_group_record_decode(px_slice json, px_group_record *out) PX_MUST_USE;

#endif
