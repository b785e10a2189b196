/* pick.h - from a row of logits to a token: what the request changes about the row, then the
 * sampler.
 *
 * A function of (row, the sequence's settings, its text before the position, the mask) alone: the
 * model's own rows and a draft model's are picked from in the same way, with the same random number
 * for a position, so that the two agree as often as their distributions do.
 * Threads: the sampler's; reads the sequence.
 */
#ifndef PX_ENGINE_PICK_H
#define PX_ENGINE_PICK_H

#include "engine/sampler.h"
#include "engine/seq.h"

typedef struct px_pick {
    const px_seq *seq;
    uint32_t position;    /* where the token will stand: what lies between seq->count and this is
                             guessed, and stands in seq->tokens */
    const uint32_t *mask; /* what the sequence's form allows; looked at only where it has one */
    uint32_t mask_words, vocabulary;
    bool may_end; /* the form may be complete here */
} px_pick;

/* -1: nothing can be picked. logits [vocabulary]. */
int64_t px_pick_token(const px_pick *pick, px_sampler *sampler, const float *logits);

#endif
