/* need.h - what one rank's engine will hold besides KV: exact arithmetic before anything loads.
 *
 * Weights as their kernels pack them, a step's scratch, the rows of logits and the layers after a
 * pooling are what they will be, to the byte. What the tokenizer takes is a bound by the size of
 * its vocabulary.
 */
#ifndef PX_ENGINE_NEED_H
#define PX_ENGINE_NEED_H

#include "engine/model/forward.h"

typedef struct px_need_options {
    px_model_options model; /* kernels, plan and rank; no team */
    px_dtype kv_type;
    uint32_t threads, vocabulary;
    px_forward_limits limits;
} px_need_options;

typedef struct px_need {
    uint64_t weight_bytes, scratch_bytes, logit_bytes, pooling_bytes, text_bytes;
} px_need;

px_status px_need_reckon(
    const px_model_file *file, const px_need_options *options, px_need *out) PX_MUST_USE;
static inline uint64_t px_need_work_bytes(const px_need *need)
{
    return need->scratch_bytes + need->logit_bytes + need->pooling_bytes + need->text_bytes;
}

#endif
