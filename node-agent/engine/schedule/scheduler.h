/* scheduler.h - decides what runs in the next step, who holds which KV blocks, who must make room.
 *
 * Between tenants the one that was served least goes first (fair.h); among a tenant's own, the most
 * urgent (seq.h). A step has a budget of rows (pace.h). A plan goes in this order:
 *
 *   turn    who has grown past where rotations turn gives up its KV and comes back for another
 *   grow    whoever runs gets blocks for its newest token; when none is left, the last of the most
 *           served tenant makes room
 *   admit   waiting sequences get a slot and blocks for all their tokens, all or none, leaving a
 *           spare block for each that runs and each answer that will come out of their prompts; a
 *           favoured tenant's may turn out another's
 *   propose if nobody has a prompt to compute: tokens that may come next, to be tried in the same
 *           step
 *   rows    favoured tenants first; then everybody's generated tokens; then prompts, cut to what is
 *           left of the budget
 *
 * Making room: the sequence's blocks stay findable by its tokens, or are parked (kvcache.h), and it
 * waits in its place to come back. The most urgent that runs is never turned out to let others
 * grow, and fits the pool alone (submit sees to it): no deadlock, and nobody starves.
 * A prompt whose next block another sequence is about to compute waits for that instead of
 * computing it too.
 *
 * Owns:    lists and slots; never the sequences. Nothing is allocated after create.
 * Threads: engine thread only.
 */
#ifndef PX_ENGINE_SCHEDULER_H
#define PX_ENGINE_SCHEDULER_H

#include "engine/kv/kvcache.h"
#include "engine/schedule/fair.h"
#include "engine/schedule/pace.h"
#include "engine/speculate/speculator.h"
#include "engine/step.h"

typedef struct px_scheduler px_scheduler;

typedef struct px_scheduler_options {
    px_step_limits limits; /* rows: at least slots */
    px_pace_options pace;  /* rows_max is limits.rows */
    bool shares_prefixes;
    bool whole_texts; /* a sequence's rows come in one step: limits.rows of them, at most */
    px_speculator_options speculation; /* PX_GUESS_NONE: nothing is guessed */
    uint32_t turns_at;                 /* px_model_info.rotation_turns_at */
} px_scheduler_options;

px_scheduler *px_scheduler_create(const px_scheduler_options *options);
void px_scheduler_free(px_scheduler *scheduler); /* NULL is fine */

void px_scheduler_add(px_scheduler *scheduler, px_seq *seq, int64_t now_ns);
/* The sequence ended, for whatever reason and in whatever state: slot and blocks are free again. */
void px_scheduler_remove(px_scheduler *scheduler, px_seq *seq, int64_t now_ns);
/* The prompt of `first` is computed, by the step just run: the answers that wait for it begin
 * behind it. All of them, the first too, come back through admission and find the prompt's KV,
 * whole blocks shared and the last one copied. */
void px_scheduler_fork(px_scheduler *scheduler, px_seq *first);
/* How long a new request would wait for its first token; 0: nothing is known yet. */
int64_t px_scheduler_ttft_ns(const px_scheduler *scheduler, const px_seq *seq, int64_t now_ns);

/* Fills the next step; false: nothing can run, because there is nothing. The step's rows count as
 * computed from here on. */
bool px_scheduler_plan(px_scheduler *scheduler, int64_t now_ns, px_step *out_step);
/* The next token of what the step tried for the sequence is the one that was picked: its KV counts
 * as computed. What was tried behind the first that is not never counts. */
void px_scheduler_accept(px_scheduler *scheduler, px_seq *seq);
/* The planned step took that long: what later budgets are made of. */
void px_scheduler_observe(px_scheduler *scheduler, const px_step *step, int64_t ns);

px_seq *px_scheduler_at(const px_scheduler *scheduler, uint32_t slot);
const px_seq_list *px_scheduler_running(const px_scheduler *scheduler);
/* Those of one tenant, by index; NULL behind the last. */
const px_seq_list *px_scheduler_waiting(const px_scheduler *scheduler, uint32_t tenant);

typedef struct px_scheduler_stats {
    uint32_t running, waiting, blocks_free, blocks_parked;
    uint64_t preemptions, prefix_queries, prefix_hits, recomputed; /* tokens, but the first */
    uint64_t proposed, accepted; /* guessed tokens: tried; right */
    uint64_t dequeued_tokens;    /* of prompts: let in for the first time, or ended before */
    int64_t row_ns;              /* what a row of a full step takes; 0: not known */
    int64_t finish_ns;           /* from one sequence's end to the next; 0: not known */
} px_scheduler_stats;
px_scheduler_stats px_scheduler_stats_of(const px_scheduler *scheduler);

#endif
