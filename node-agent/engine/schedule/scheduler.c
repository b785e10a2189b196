/* scheduler.c - see scheduler.h. */
#include "engine/schedule/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct px_scheduler {
    px_step_limits limits;
    px_kvpool *pool;
    px_seq_list running, waiting;
    px_seq **slots;       /* [limits.slots] */
    uint32_t *free_slots; /* a stack */
    uint32_t free_slot_count;
    uint64_t preemptions;
};

px_scheduler *px_scheduler_create(const px_step_limits *limits, px_kvpool *pool)
{
    PX_ASSERT(limits->rows >= limits->slots);
    px_scheduler *scheduler = px_alloc(sizeof *scheduler);
    scheduler->limits = *limits;
    scheduler->pool = pool;
    scheduler->slots = px_alloc_array(limits->slots, sizeof *scheduler->slots);
    scheduler->free_slots = px_alloc_array(limits->slots, sizeof *scheduler->free_slots);
    while (scheduler->free_slot_count < limits->slots) {
        uint32_t slot = limits->slots - 1 - scheduler->free_slot_count;
        scheduler->free_slots[scheduler->free_slot_count++] = slot;
    }
    return scheduler;
}

void px_scheduler_free(px_scheduler *scheduler)
{
    if (!scheduler) return;
    free(scheduler->slots);
    free(scheduler->free_slots);
    free(scheduler);
}

void px_scheduler_add(px_scheduler *scheduler, px_seq *seq)
{
    seq->state = PX_SEQ_WAITING;
    px_seq_list_insert(&scheduler->waiting, seq);
}

static void give_back(px_scheduler *scheduler, px_seq *seq)
{
    px_kvpool_release(scheduler->pool, seq->blocks, seq->block_count);
    seq->block_count = seq->blocks_known = seq->computed = 0;
    scheduler->slots[seq->slot] = NULL;
    scheduler->free_slots[scheduler->free_slot_count++] = seq->slot;
    px_seq_list_remove(&scheduler->running, seq);
}

void px_scheduler_remove(px_scheduler *scheduler, px_seq *seq)
{
    if (seq->state == PX_SEQ_RUNNING)
        give_back(scheduler, seq);
    else
        px_seq_list_remove(&scheduler->waiting, seq);
    seq->state = PX_SEQ_ENDED;
}

static void preempt(px_scheduler *scheduler, px_seq *seq)
{
    give_back(scheduler, seq);
    px_scheduler_add(scheduler, seq);
    scheduler->preemptions++;
}

/* Blocks for all of the sequence's tokens. False: not even by preempting all younger ones than it,
 * so it was preempted itself. */
static bool hold_blocks(px_scheduler *scheduler, px_seq *seq)
{
    uint32_t missing = px_kv_blocks_for(seq->count) - seq->block_count;
    while (missing > px_kvpool_blocks_free(scheduler->pool)) {
        px_seq *youngest = scheduler->running.last;
        preempt(scheduler, youngest);
        if (youngest == seq) return false;
    }
    px_status status = px_kvpool_acquire(scheduler->pool, missing, seq->blocks + seq->block_count);
    PX_ASSERT(px_is_ok(status));
    seq->block_count += missing;
    return true;
}

static void add_rows(px_scheduler *scheduler, px_step *step, px_seq *seq)
{
    uint32_t left = seq->count - seq->computed, budget = scheduler->limits.rows - step->row_count;
    uint32_t rows = left < budget ? left : budget;
    px_step_seq *entry = &step->seqs[step->seq_count++];
    *entry = (px_step_seq){.slot = seq->slot,
        .position = seq->computed,
        .rows = rows,
        .wants_logits = rows == left,
        .block_at = seq->blocks_known,
        .prompt = seq->prompt_count,
        .blocks = seq->block_count - seq->blocks_known};
    memcpy(step->ids + step->row_count, seq->tokens + seq->computed, rows * sizeof *step->ids);
    memcpy(step->blocks + step->block_count, seq->blocks + seq->blocks_known,
        entry->blocks * sizeof *step->blocks);
    step->row_count += rows;
    step->block_count += entry->blocks;
    seq->blocks_known = seq->block_count;
    seq->computed += rows;
}

/* A sequence that generates has exactly its newest token uncomputed. */
static bool generates(const px_seq *seq)
{
    return seq->count - seq->computed == 1;
}

/* First all blocks, then all rows: whoever is preempted must not be in the step already. */
static void plan_generating(px_scheduler *scheduler, px_step *step)
{
    px_seq *holder = scheduler->running.first;
    while (holder && hold_blocks(scheduler, holder)) holder = holder->next;
    for (px_seq *seq = scheduler->running.first; seq; seq = seq->next)
        if (generates(seq)) add_rows(scheduler, step, seq);
}

static void plan_prompts(px_scheduler *scheduler, px_step *step)
{
    for (px_seq *seq = scheduler->running.first; seq; seq = seq->next) {
        if (step->row_count == scheduler->limits.rows) return;
        if (seq->computed < seq->count) add_rows(scheduler, step, seq);
    }
}

static bool fits(const px_scheduler *scheduler, const px_seq *seq)
{
    uint64_t spare = scheduler->running.count;
    return px_kv_blocks_for(seq->count) + spare <= px_kvpool_blocks_free(scheduler->pool);
}

static void admit_waiting(px_scheduler *scheduler, px_step *step)
{
    while (scheduler->waiting.first && scheduler->free_slot_count &&
           step->row_count < scheduler->limits.rows && fits(scheduler, scheduler->waiting.first)) {
        px_seq *seq = scheduler->waiting.first;
        px_seq_list_remove(&scheduler->waiting, seq);
        seq->slot = scheduler->free_slots[--scheduler->free_slot_count];
        scheduler->slots[seq->slot] = seq;
        seq->state = PX_SEQ_RUNNING;
        px_seq_list_insert(&scheduler->running, seq);
        bool held = hold_blocks(scheduler, seq);
        PX_ASSERT(held);
        add_rows(scheduler, step, seq);
    }
}

bool px_scheduler_plan(px_scheduler *scheduler, px_step *out_step)
{
    px_step_reset(out_step, PX_STEP_RUN);
    plan_generating(scheduler, out_step);
    plan_prompts(scheduler, out_step);
    admit_waiting(scheduler, out_step);
    PX_ASSERT(out_step->seq_count || !(scheduler->running.count || scheduler->waiting.count));
    return out_step->seq_count > 0;
}

px_seq *px_scheduler_at(const px_scheduler *scheduler, uint32_t slot)
{
    return scheduler->slots[slot];
}

const px_seq_list *px_scheduler_running(const px_scheduler *scheduler)
{
    return &scheduler->running;
}

const px_seq_list *px_scheduler_waiting(const px_scheduler *scheduler)
{
    return &scheduler->waiting;
}

uint64_t px_scheduler_preemptions(const px_scheduler *scheduler)
{
    return scheduler->preemptions;
}
