/* draft_parts.h - the draft model from disk: described before memory is shared out, then loaded
 * beside the target, whole, on rank 0.
 *
 * Owns:    all its parts; px_draft_parts_done() frees them.
 * Threads: made on the thread that will run the steps.
 */
#ifndef PX_SPECULATE_DRAFT_PARTS_H
#define PX_SPECULATE_DRAFT_PARTS_H

#include "engine/runner.h"
#include "engine/text/tokenizer.h"

typedef struct px_draft_setting { /* all borrowed, the kernels for good */
    const char *path;
    const px_kernels *kernels;
    const px_model_info *target;
    uint32_t slots, context, threads; /* of the engine */
} px_draft_setting;

typedef struct px_draft_parts {
    px_forward_fn forward; /* NULL: there is no draft model */
    void *forward_self;
    uint32_t context, rows; /* of its forward */
    /* What it will take: for good, and for each KV block. */
    uint64_t weight_bytes, work_bytes, block_bytes;

    px_model_file *file; /* behind the forward; NULL in tests */
    px_model_info info;
    px_plan plan; /* of one rank */
    px_forward_limits limits;
    const px_kernels *kernels;
    px_dtype kv_type;
    px_comm *comm; /* with itself */
    px_model *model;
    px_kvpool *pool;
    px_forward *model_forward;
} px_draft_parts;

/* Touches no weights. INVALID_ARGUMENT: it makes no text, or its vocabulary is not as large as the
 * target's. */
px_status px_draft_parts_describe(const px_draft_setting *setting, px_draft_parts *out) PX_MUST_USE;
/* `team` is borrowed; `blocks` as many as the target's pool has. */
px_status px_draft_parts_load(px_draft_parts *parts, px_team *team, uint32_t blocks) PX_MUST_USE;
/* INVALID_ARGUMENT names the first token that is not the same in both vocabularies. */
px_status px_draft_parts_check(const px_draft_parts *parts, const px_tokenizer *target) PX_MUST_USE;
void px_draft_parts_done(px_draft_parts *parts); /* half-made ones too */

#endif
