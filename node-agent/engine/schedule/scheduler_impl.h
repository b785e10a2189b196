/* scheduler_impl.h - the scheduler's own state, and its parts: scheduler.c (life, the order of a
 * plan, what is told), admission.c (blocks and slots), proposals.c (guessed tokens), rows.c (a
 * step's rows).
 */
#ifndef PX_ENGINE_SCHEDULER_IMPL_H
#define PX_ENGINE_SCHEDULER_IMPL_H

#include "engine/schedule/scheduler.h"

struct px_scheduler {
    px_scheduler_options options;
    px_kvcache *cache;
    px_fair fair;
    px_pace pace;
    px_speculator *speculator; /* NULL: nothing is guessed */
    px_seq_list running;
    px_seq **slots;       /* [limits.slots] */
    uint32_t *free_slots; /* a stack */
    uint32_t free_slot_count;
    uint32_t budget; /* rows of the plan being made */
    uint64_t plans;  /* so far: the number of the plan being made */
    uint64_t salts;  /* given out, where prefixes are not shared */
    int64_t finished_ns;
    double row_ns, finish_ns; /* means; 0: not known */
    px_scheduler_stats total;
};

enum { PX_ANSWER_COST = 2 /* tokens that one of an answer is charged as */ };

/* Tokens whose KV is not there. */
static inline uint32_t px_seq_missing(const px_seq *seq)
{
    return seq->count - seq->computed;
}

/* admission.c */
/* What of its tokens need not be computed. */
px_kv_match px_scheduler_match(const px_scheduler *scheduler, const px_seq *seq);
/* Those whose KV is no longer right, as they have grown longer than it was rotated for. */
void px_scheduler_turn(px_scheduler *scheduler);
void px_scheduler_grow(px_scheduler *scheduler, px_step *step);
void px_scheduler_admit(px_scheduler *scheduler, int64_t now_ns, px_step *step);
/* Off its slot, out of the pool. */
void px_scheduler_leave(px_scheduler *scheduler, px_seq *seq, px_kv_release how);
void px_scheduler_queue(px_scheduler *scheduler, px_seq *seq);
void px_scheduler_unqueue(px_scheduler *scheduler, px_seq *seq);

/* proposals.c: sets `proposed` of those that run. */
void px_scheduler_propose(px_scheduler *scheduler, px_step *step);

/* rows.c */
uint32_t px_scheduler_budget(const px_scheduler *scheduler, int64_t now_ns);
/* What a step of `tenant`'s may take, so that one of a favoured tenant that comes meanwhile does
 * not wait for long; INT64_MAX: nobody is favoured over it. */
int64_t px_scheduler_share_ns(
    const px_scheduler *scheduler, const px_tenant *tenant, int64_t now_ns);
void px_scheduler_share_rows(px_scheduler *scheduler, int64_t now_ns, px_step *step);

#endif
