/* sampler.h - picks the next token from one row of logits.
 *
 * Order of the filters: temperature, typical, top-k, top-p, min-p (the order of vLLM, where it has
 * them). Typical: the tokens whose surprise is nearest to the expected one, until they make up
 * typical_p (Meister et al., "Locally typical sampling", 2023).
 * Every choice depends on (logits, sampling, position) alone: ties go to the lower id, sums run in
 * id order in double precision, and what the filters leave is raced (sample/race.h) with numbers
 * keyed by (seed, sequence, position, id).
 * Owns:    scratch for one vocabulary: candidates, and a row of logits; sized in create.
 * Threads: one thread at a time; one sampler for each worker.
 */
#ifndef PX_ENGINE_SAMPLER_H
#define PX_ENGINE_SAMPLER_H

#include "engine/engine.h"

typedef struct px_sampler px_sampler;

/* INVALID_ARGUMENT naming the value and its range. */
px_status px_sampling_check(const px_sampling *sampling) PX_MUST_USE;

px_status px_sampler_create(uint32_t vocabulary, px_sampler **out) PX_MUST_USE;
void px_sampler_free(px_sampler *sampler); /* NULL is fine */

/* [vocabulary]: where the caller may make a changed copy of a row; pick may then get it as logits.
 */
float *px_sampler_row(px_sampler *sampler);

/* logits [vocabulary]. `position` is where the picked token will stand in its sequence.
 * Returns -1 when no logit is a finite number (NaN and infinities are never picked). */
int64_t px_sampler_pick(
    px_sampler *sampler, const px_sampling *sampling, uint32_t position, const float *logits);

#endif
