/* draft.h - a second, small model guesses what sequences will say next.
 *
 *   target's KV block b:  16 tokens   [pool of the target]
 *   draft's KV block b:   the same    [pool of the draft]
 *
 * It keeps its own KV under the same block ids, so that it needs no accounting: a sequence's table
 * serves both, and `drafted` of its guess says how many of its tokens are there. What is missing is
 * computed when it guesses again. Where sequences share a block each may write the draft's half of
 * it: the same tokens give the same bits.
 * Nothing here touches an answer: a wrong guess only costs its time. The draft picks as its target
 * does, with the same random number for each place (pick.h).
 * Ranks:   it runs whole on rank 0 only; the others see its guesses as rows of the step.
 * Owns:    batch arrays and a sampler, sized in create. The forward is borrowed.
 * Threads: engine thread.
 */
#ifndef PX_SPECULATE_DRAFT_H
#define PX_SPECULATE_DRAFT_H

#include "engine/runner.h"
#include "engine/seq.h"

typedef struct px_draft px_draft;

typedef struct px_draft_options {
    px_forward_fn forward;
    void *forward_self;
    uint32_t slots, rows, vocabulary, context; /* of its forward; rows: at least slots */
} px_draft_options;

px_status px_draft_create(const px_draft_options *options, px_draft **out) PX_MUST_USE;
void px_draft_free(px_draft *draft); /* NULL is fine */

/* How many tokens the sequence can still be guessed for. */
uint32_t px_draft_room(const px_draft *draft, const px_seq *seq);
/* What one more guess for each of so many sequences takes; 0: nothing is known yet. */
double px_draft_depth_ns(const px_draft *draft, uint32_t seqs);
/* What must be computed before the sequence's next guess takes, in addition. */
double px_draft_catch_up_ns(const px_draft *draft, const px_seq *seq);

/* Guesses `proposed` tokens for each sequence that has any, on blocks that it holds: into its guess
 * and behind its tokens. Who has more to catch up with than one round should take gets on with that
 * instead: its `proposed` is 0 then. */
void px_draft_guess(px_draft *draft, const px_seq_list *seqs);

#endif
