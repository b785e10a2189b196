/* runner.h - runs a step on one rank: moves KV blocks, keeps the slots' block tables, lays out the
 * batch, calls the forward.
 *
 * Every rank has one and feeds it the same steps. The forward comes as a function so that the
 * engine can be tested without a model.
 * Owns:    block tables and batch arrays, sized once.
 * Threads: the engine thread.
 */
#ifndef PX_ENGINE_RUNNER_H
#define PX_ENGINE_RUNNER_H

#include "engine/adapter/slots.h"
#include "engine/model/forward.h"
#include "engine/step.h"

/* px_forward_step or a test's double. `logits` [batch->logit_rows, vocabulary], NULL off rank 0. */
typedef px_status (*px_forward_fn)(void *self, const px_batch *batch, float *out_logits);

typedef struct px_runner px_runner;

typedef struct px_runner_options { /* all but the limits are borrowed */
    px_step_limits limits;
    px_forward_fn forward;
    void *forward_self;
    px_kvpool *pool;
    px_kvpark *park;
    const px_adapter_slots *adapters; /* NULL: limits.adapters is 0 */
} px_runner_options;

px_runner *px_runner_create(const px_runner_options *options);
void px_runner_free(px_runner *runner); /* NULL is fine */
typedef struct px_runner_room { /* for what a step makes, its rows in the step's order; on rank 0 */
    float *logits;              /* [logit rows, vocabulary] */
    float *hidden;              /* [hidden rows, hidden] */
} px_runner_room;
/* DATA_LOSS when a sequence has fewer blocks than positions (a follower whose tables do not match).
 */
px_status px_runner_step(px_runner *runner, const px_step *step, px_runner_room room) PX_MUST_USE;

#endif
