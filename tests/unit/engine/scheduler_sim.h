/* scheduler_sim.h - the real scheduler under a virtual clock: sequences come, a step takes what its
 * rows cost, and nothing depends on the machine's own speed.
 */
#ifndef PX_TEST_SCHEDULER_SIM_H
#define PX_TEST_SCHEDULER_SIM_H

#include "base/clock.h"
#include "engine/random.h"
#include "engine/schedule/scheduler.h"

enum { SIM_SEQS_MAX = 4096, SIM_TOKENS = 512, SIM_BLOCKS = SIM_TOKENS / PX_KV_BLOCK_TOKENS };

typedef struct sim_seq {
    px_seq seq;
    uint32_t tokens[SIM_TOKENS], blocks[SIM_BLOCKS];
    int64_t longest_gap_ns, last_token_ns; /* between two of its tokens */
} sim_seq;

typedef struct sim {
    px_scheduler *scheduler;
    px_step step;
    int64_t now_ns, step_ns, row_ns; /* a step takes step_ns and row_ns for each row */
    int64_t longest_step_ns;
    uint64_t ids;
    uint64_t tokens; /* generated */
    void (*on_end)(struct sim *sim, sim_seq *seq);
    void *arg;
} sim;

static inline void sim_start(sim *s, const px_scheduler_options *options)
{
    s->scheduler = px_scheduler_create(options);
    s->now_ns = 1000 * PX_SEC;
    px_step_init(&s->step, &options->limits);
}

static inline void sim_end(sim *s)
{
    px_scheduler_free(s->scheduler);
    px_step_done(&s->step);
}

typedef struct sim_request {
    uint64_t tenant;
    double weight;
    int32_t priority;
    uint32_t prompt, answer;
    uint64_t like; /* equal numbers begin alike; 0: like no other */
} sim_request;

static inline sim_seq *sim_add(sim *s, sim_seq *q, sim_request r)
{
    uint64_t id = ++s->ids, like = r.like ? r.like : id + 1000000;
    *q = (sim_seq){.seq = {.id = id,
                       .prompt_count = r.prompt,
                       .count = r.prompt,
                       .tokens_max = r.prompt + r.answer,
                       .tenant_id = r.tenant,
                       .tenant_weight = r.weight,
                       .priority = r.priority,
                       .submitted_ns = s->now_ns}};
    q->seq.tokens = q->tokens;
    q->seq.text = (px_kv_text){.salt = {{r.tenant, 0}}, .tokens = q->tokens};
    q->seq.hold = (px_kv_hold){.blocks = q->blocks, .tip = PX_KV_NONE, .pinned = PX_KV_NONE};
    for (uint32_t i = 0; i < r.prompt; i++)
        q->tokens[i] = (uint32_t)(px_random_unit(like, i) * 1000);
    px_scheduler_add(s->scheduler, &q->seq, s->now_ns);
    return q;
}

/* One step; false: there was nothing to do, and the clock stands. */
static inline bool sim_step(sim *s)
{
    if (!px_scheduler_plan(s->scheduler, s->now_ns, &s->step)) return false;
    int64_t ns = s->step_ns + s->row_ns * s->step.row_count;
    s->now_ns += ns;
    if (ns > s->longest_step_ns) s->longest_step_ns = ns;
    px_scheduler_observe(s->scheduler, &s->step, ns);
    for (uint32_t i = 0; i < s->step.seq_count; i++) {
        if (!s->step.seqs[i].logit_rows) continue;
        sim_seq *q = (sim_seq *)px_scheduler_at(s->scheduler, s->step.seqs[i].slot);
        px_seq *seq = &q->seq;
        s->tokens++;
        if (!seq->first_token_ns) seq->first_token_ns = s->now_ns;
        if (q->last_token_ns && s->now_ns - q->last_token_ns > q->longest_gap_ns)
            q->longest_gap_ns = s->now_ns - q->last_token_ns;
        q->last_token_ns = s->now_ns;
        seq->tokens[seq->count] = (uint32_t)(seq->id + seq->count) % 1000;
        if (++seq->count < seq->tokens_max) continue;
        px_scheduler_remove(s->scheduler, seq, s->now_ns);
        if (s->on_end) s->on_end(s, q);
    }
    return true;
}

#endif
