/* parts.h - what one rank's engine is made of: loaded from a model, or put together by a test.
 *
 * Owns:    everything but `comm`; px_parts_done() frees it.
 * Threads: made on the thread that will run the steps.
 */
#ifndef PX_ENGINE_PARTS_H
#define PX_ENGINE_PARTS_H

#include "engine/engine.h"
#include "engine/adapter/slots.h"
#include "engine/kv/kvpark.h"
#include "engine/model/pooling.h"
#include "engine/runner.h"
#include "engine/speculate/draft_parts.h"
#include "engine/speculate/guess.h"
#include "engine/schedule/pace.h"
#include "engine/text/text.h"

typedef struct px_parts {
    px_model_info info; /* with the engine's own context */
    px_step_limits limits;
    px_comm *comm; /* borrowed */
    px_team *team;
    px_kvpool *pool;
    px_kvpark *park;
    px_adapter_slots *adapters; /* NULL: limits.adapters is 0 */
    px_pace_options pace;
    px_forward_fn forward;
    void *forward_self;
    px_draft_parts draft; /* rank 0; without a forward: there is none */
    px_text text;         /* rank 0 only */
    uint32_t queue_max;
    px_guesser guesser;
    uint32_t proposals_max;          /* guessed tokens of one sequence in one step; 0: none */
    px_pooling *pooling;             /* rank 0 only; NULL: nothing can be pooled, */
    px_status pooling_status;        /* for this reason */
    uint64_t weight_bytes, kv_bytes; /* resident on this rank */

    px_model_file *file; /* behind the forward; NULL in tests */
    px_model *model;
    px_forward *model_forward;
} px_parts;

typedef px_status (*px_parts_fn)(const px_engine_options *options, px_comm *comm, px_parts *out);

/* Opens the model, agrees with the other ranks on the pool's size, loads. When one rank fails, all
 * fail with its sentence. */
px_status px_parts_load(const px_engine_options *options, px_comm *comm, px_parts *out) PX_MUST_USE;
/* What a step may have in an engine of this model that is told nothing but how many sequences it
 * holds (0: the default) and how long they are. */
px_forward_limits px_parts_default_limits(
    const px_model_info *info, uint32_t seqs, uint32_t context);
void px_parts_done(px_parts *parts);                    /* half-made ones too */
px_runner *px_parts_make_runner(const px_parts *parts); /* over these parts */

/* px_engine_open() with other parts than a model's. */
px_status px_engine_open_with(
    px_parts_fn make, const px_engine_options *options, px_comm *comm, px_engine **out) PX_MUST_USE;

#endif
