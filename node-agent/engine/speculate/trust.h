/* trust.h - how often proposals of a kind were right: learnt for all sequences together and for
 * each by itself.
 *
 * A kind is what is known about a proposal before it is tried: how long the text agreed before it,
 * or how many of the draft model's own stand before it. Old outcomes fade. A sequence's own record
 * is judged beside everybody's, which counts as a few outcomes of its own. Threads: one at a time.
 */
#ifndef PX_SPECULATE_TRUST_H
#define PX_SPECULATE_TRUST_H

#include <stdbool.h>
#include <stdint.h>

enum { PX_TRUST_KINDS = 8 };

typedef struct px_trust { /* zeroed: nothing known. Outcomes, the older the less they count */
    float tried[PX_TRUST_KINDS], right[PX_TRUST_KINDS];
    float unknown[PX_TRUST_KINDS]; /* everybody's: the share thought right before any outcome */
} px_trust;

/* One outcome; `memory`: about how many of them count. */
void px_trust_note(px_trust *trust, uint32_t kind, bool was_right, float memory);
/* Nothing was tried: what was learnt counts less, in time, so that it is tried again. */
void px_trust_fade(px_trust *trust, float memory);
/* The share that will be right, from 0 to 1. */
double px_trust_of(const px_trust *own, const px_trust *all, uint32_t kind);

/* Of a proposal behind `length` tokens that agree. */
uint32_t px_trust_kind_of_length(uint32_t length);
/* Of a draft model's proposal behind `depth` others of its own. */
uint32_t px_trust_kind_of_depth(uint32_t depth);

#endif
