/* draws.h - what the rows of logits of a step are for: whose next token each of them gives, or how
 * likely the prompt's was.
 *
 *   step's entries -> px_draws_plan -> [row, sequence] ... -> px_draws_run (all workers) -> picks
 *
 * Every draw depends on its row, its sequence's settings, its text and its position alone: neither
 * on who draws beside it nor on which worker does.
 * Owns:    the list and a sampler for each worker, sized in create. Sequences are borrowed for the
 *          step.
 * Threads: engine thread; runs the team inside.
 */
#ifndef PX_ENGINE_DRAWS_H
#define PX_ENGINE_DRAWS_H

#include "engine/forms.h"
#include "engine/pick.h"
#include "engine/schedule/scheduler.h"
#include "parallel/team.h"

typedef struct px_draw {
    px_seq *seq;
    uint32_t row;         /* of logits */
    uint32_t position;    /* where the token will stand; what the row stands on may be guessed */
    int64_t proposal;     /* what the step's next row takes it to be; -1: there is none */
    bool of_prompt;       /* `token` is known, and only told about */
    bool may_end;         /* the sequence's form may be complete here */
    int64_t token;        /* picked; -1: none could be */
    px_logprobs logprobs; /* if the sequence asked, or is ranked */
} px_draw;

typedef struct px_draws {
    px_draw *at; /* [count] */
    uint32_t count;
    uint32_t *masks;       /* [count, words of the vocabulary]: what a form allows each */
    px_sampler **samplers; /* [team] */
    uint32_t workers, vocabulary;
} px_draws;

typedef struct px_draws_options {
    uint32_t draws_max, workers, vocabulary;
} px_draws_options;

px_status px_draws_init(px_draws *draws, const px_draws_options *options) PX_MUST_USE;
void px_draws_done(px_draws *draws); /* half-made ones too */

/* All draws of a step, in its order. Sequences that wait for a prompt draw from its last row too,
 * behind the one that computed it. */
void px_draws_plan(px_draws *draws, const px_step *step, const px_scheduler *scheduler);

typedef struct px_draws_input {
    px_team *team;
    const float *logits; /* [step's logit rows, vocabulary] */
} px_draws_input;
void px_draws_run(px_draws *draws, const px_draws_input *input);

#endif
