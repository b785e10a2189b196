/* scheduler.h - decides what runs in the next step and who holds which KV blocks.
 *
 * A step has a budget of rows. Sequences that generate get their row first; then prompts, oldest
 * first, are cut to what is left of the budget; then waiting sequences are let in, in order of
 * arrival, while a slot and blocks are there. Sequences join and leave between steps only.
 *
 * Blocks: a sequence enters with blocks for all tokens it has, all or none, if beyond them one
 * spare block remains for each that runs; then it grows block by block. When a running sequence
 * needs a block and none is free, the youngest one gives its blocks back and waits, in its place by
 * arrival, to be computed again. The oldest is never the victim and fits the pool alone (submit
 * sees to it), so it always ends: no deadlock, nobody is turned out for good, nobody starves.
 * (Reserving prompt + max_tokens instead would need no way out, but max_tokens is mostly a large
 * bound that is never reached, and the pool would stand empty.)
 *
 * Owns:    lists and slots; never the sequences. Nothing is allocated after create.
 * Threads: engine thread only.
 */
#ifndef PX_ENGINE_SCHEDULER_H
#define PX_ENGINE_SCHEDULER_H

#include "engine/kv/kvpool.h"
#include "engine/seq.h"
#include "engine/step.h"

typedef struct px_scheduler px_scheduler;

/* `pool` is borrowed. limits->rows is the budget of a step; at least limits->slots. */
px_scheduler *px_scheduler_create(const px_step_limits *limits, px_kvpool *pool);
void px_scheduler_free(px_scheduler *scheduler); /* NULL is fine */

void px_scheduler_add(px_scheduler *scheduler, px_seq *seq);
/* The sequence ended, for whatever reason and in whatever state: slot and blocks are free again. */
void px_scheduler_remove(px_scheduler *scheduler, px_seq *seq);

/* Fills the next step; false: nothing can run, because there is nothing. The step's rows count as
 * computed from here on. */
bool px_scheduler_plan(px_scheduler *scheduler, px_step *out_step);

px_seq *px_scheduler_at(const px_scheduler *scheduler, uint32_t slot);
const px_seq_list *px_scheduler_running(const px_scheduler *scheduler);
const px_seq_list *px_scheduler_waiting(const px_scheduler *scheduler);
uint64_t px_scheduler_preemptions(const px_scheduler *scheduler); /* in total */

#endif
