/* speculator.h - which sequences try how many guessed tokens in the next step.
 *
 *   every sequence that generates:  judge the last guess, look for a new one  guess.h
 *   all of them together:           as many rows as are worth their time      price.h
 *   or, with a draft model:         it guesses so many                        draft.h
 *
 * A guessed token is a row behind the sequence's newest one; its logits are wanted too. The token
 * picked at each place is the one that would have been picked there without any guess, as picking
 * depends on (logits, settings, seed, position) alone: a guess that it equals is accepted, and the
 * first that it does not ends the sequence's share of the step. So an answer's tokens are the same
 * with and without, greedy or sampled.
 * Owns:    records and scratch, sized in create. Sequences are borrowed.
 * Threads: engine thread.
 */
#ifndef PX_SPECULATE_SPECULATOR_H
#define PX_SPECULATE_SPECULATOR_H

#include "engine/seq.h"
#include "engine/speculate/draft.h"

typedef struct px_speculator px_speculator;

typedef struct px_speculator_options {
    px_guesser guesser;
    px_draft *draft;        /* borrowed; NULL: the text itself is looked at */
    uint32_t proposals_max; /* for one sequence in one step */
} px_speculator_options;
px_speculator *px_speculator_create(const px_speculator_options *options);
void px_speculator_free(px_speculator *speculator); /* NULL is fine */

typedef struct px_speculation {
    const px_seq_list *running; /* all of them generate: one row each */
    uint32_t rows_max;          /* of the step */
    int64_t ns_max;             /* of the step; INT64_MAX: no bound */
} px_speculation;
/* How many tokens each sequence is to try: sets its `proposed`. */
void px_speculator_plan(px_speculator *speculator, const px_speculation *plan);
/* Then, for as many of these as have blocks: writes them behind the sequence's own. A draft model
 * may come to fewer: it lowers `proposed`. */
void px_speculator_guess(px_speculator *speculator, const px_seq_list *running);
/* A step of `rows` rows, each with logits, took `ns`. */
void px_speculator_observe(px_speculator *speculator, uint32_t rows, int64_t ns);

#endif
