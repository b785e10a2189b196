/* engine_impl.h - the engine's own state: what each of its two threads owns, and where they meet.
 *
 *   caller's thread          inbox: px_seq *         engine thread
 *   submit, cancel, poll  ------------------->  scheduler, runner, draws
 *                         <-------------------
 *                          outbox: px_output
 *
 * Included by engine.c (opening and closing), prepare.c and intake.c (the caller's side), serve.c
 * (the engine thread), output.c (from tokens to events).
 */
#ifndef PX_ENGINE_IMPL_H
#define PX_ENGINE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/ring.h"
#include "engine/adapter/order.h"
#include "engine/choices.h"
#include "engine/doorbell.h"
#include "engine/draws.h"
#include "engine/forms.h"
#include "engine/parts.h"
#include "engine/salt.h"
#include "engine/schedule/scheduler.h"
#include "engine/wording.h"

typedef enum px_adapter_state {
    PX_ADAPTER_FREE,
    PX_ADAPTER_LOADING,  /* the engine thread has a job with it, as in DROPPING */
    PX_ADAPTER_READY,    /* requests can name it */
    PX_ADAPTER_LEAVING,  /* they cannot any more; some still have it */
    PX_ADAPTER_DROPPING, /* none has */
} px_adapter_state;

/* One of the caller's adapters. While the engine thread has a job with it, the caller leaves it
 * alone, and `status` and `bytes` are that thread's. */
typedef struct px_adapter_entry {
    px_adapter_state state;
    char name[PX_ADAPTER_NAME_MAX], path[PX_ADAPTER_PATH_MAX];
    uint32_t requests;   /* submitted and not yet done */
    uint64_t job;        /* id of the event to come */
    uint64_t generation; /* counts what was loaded */
    uint64_t bytes;
    px_status status;
} px_adapter_entry;

typedef struct px_caller_side {
    px_siphash_key key;
    px_seq **live;        /* [capacity] submitted and not yet done */
    uint32_t *free_slots; /* a stack */
    uint32_t free_count, capacity;
    uint64_t submitted;     /* in total; id = submitted * capacity + slot */
    uint64_t queued_tokens; /* of prompts, in total; less those dequeued: what waits */
    px_wording wording;
    px_choices *telling;        /* all its answers have ended, and are told next; NULL: none */
    px_adapter_entry *adapters; /* [limits.adapters], by slot */
    uint64_t adapter_jobs;      /* in total */
} px_caller_side;

typedef struct px_engine_side {
    px_scheduler *scheduler;
    px_runner *runner;
    px_draft *draft; /* NULL: there is no draft model */
    px_step step;
    void *message; /* the step as the other ranks get it */
    float *logits; /* [limits.logit_rows, vocabulary] */
    size_t logits_bytes;
    float *hidden; /* [limits.rows, hidden]; NULL: nothing can be pooled */
    size_t hidden_bytes;
    px_draws draws;
    int64_t now_ns;            /* of this turn; after the forward, of its end */
    px_adapter_entry *adapter; /* that is loading; NULL: none */
    uint64_t cancels_seen;
    int64_t next_deadline_ns; /* the earliest of all sequences; INT64_MAX: none */
    bool wrote;               /* events since the caller was last woken */
} px_engine_side;

typedef struct px_counters {
    _Atomic uint64_t steps, prompt_tokens, output_tokens;
    _Atomic int64_t step_started_ns;
    _Atomic uint32_t running, waiting, blocks_free, blocks_parked;
    _Atomic uint64_t prefix_queries, prefix_hits, preemptions, recomputed, refused;
    _Atomic uint64_t proposed, accepted;
    _Atomic uint64_t dequeued_tokens;  /* of prompts, in total: let in, or ended before */
    _Atomic int64_t row_ns, finish_ns; /* px_scheduler_stats */
} px_counters;

struct px_engine {
    px_engine_options options;
    px_parts parts;
    px_comm *own_comm; /* when the caller gave none */
    pthread_t thread;  /* rank 0 */
    px_parts_fn make;

    px_caller_side caller;
    px_engine_side side;

    px_forms *forms;       /* rank 0 */
    px_ring inbox;         /* px_seq * */
    px_ring adapter_inbox; /* px_adapter_entry * with a job */
    px_ring outbox;        /* px_output */
    px_doorbell bell;      /* rung for the engine thread */
    px_doorbell opened;    /* rung by it, once, when loading ended */
    px_status open_status; /* valid once is_open */
    atomic_bool is_open, is_closing, is_waking;
    _Atomic uint64_t cancels;
    px_counters counters;
    atomic_bool has_failed;
    px_status failure; /* valid once has_failed */
};

/* Of what goes from rank 0 to the others: a step or an order. */
static inline size_t px_message_bytes_max(const px_parts *parts)
{
    size_t step = px_step_message_bytes_max(&parts->limits);
    return step > PX_ADAPTER_ORDER_BYTES_MAX ? step : PX_ADAPTER_ORDER_BYTES_MAX;
}

/* serve.c: rank 0's thread, until px_engine_close(). */
px_status px_engine_side_create(px_engine *engine) PX_MUST_USE;
void px_engine_side_free(px_engine *engine);
void px_engine_serve(px_engine *engine);
/* The engine cannot go on: the first cause stays. Engine thread. */
void px_engine_break(px_engine *engine, px_status cause);

/* output.c: engine thread. */
/* The sequence got its next token (-1: none could be picked), and what its form forces behind it.
 * False: it ended by one of them, and is not to be touched any more. `logprobs`: NULL unless it
 * asked or is ranked. */
bool px_output_token(px_engine *engine, px_seq *seq, int64_t picked, const px_logprobs *logprobs);
/* What a token of the prompt was worth; NULL: nothing stands before it. */
void px_output_prompt(
    px_engine *engine, const px_seq *seq, uint32_t token, const px_logprobs *logprobs);
/* Before its first step: its guide stands where the tokens it is resumed with lead; those of the
 * answers that wait for its prompt, at their beginning. False: it has ended. */
bool px_output_begin(px_engine *engine, px_seq *seq);
/* Ends it, wherever it is, and those that wait for its prompt: gives its blocks back, sends DONE.
 */
void px_output_end(px_engine *engine, px_seq *seq, px_finish finish, px_status status);
/* The job with an adapter ended as its entry says. */
void px_output_adapter(px_engine *engine, const px_adapter_entry *entry);
/* The events so far are worth waking the caller for. */
void px_output_flush(px_engine *engine);

/* prepare.c: caller's thread. */
px_status px_engine_check_request(const px_engine *engine, const px_request *request) PX_MUST_USE;
/* With several answers: the first of their chain. */
px_status px_engine_make_seq(
    px_engine *engine, const px_request *request, px_seq **out) PX_MUST_USE;
/* Whose it is, and whom it shares prefixes with. */
void px_engine_set_owner(
    const px_engine *engine, const px_request *request, uint32_t adapter, px_seq *seq);
/* Appends to `ids`; ids_max 0: no bound. */
px_status px_engine_encode(
    px_engine *engine, px_slice text, bool add_special, size_t ids_max, px_ids *ids) PX_MUST_USE;

/* vectors.c: what is made of texts instead of answers. */
/* Caller's thread: refuses, and makes a sequence for each input, in a chain. */
px_status px_engine_check_vectors(const px_engine *engine, const px_request *request) PX_MUST_USE;
px_status px_engine_make_vectors(
    px_engine *engine, const px_request *request, px_seq **out) PX_MUST_USE;
/* Engine thread: takes the hidden states of the step just run, and ends whoever has had all. */
void px_engine_pool(px_engine *engine);

/* How many sequences it takes: one for each input; or for each answer that is made, best_of, else
 * n, else 1. */
static inline uint32_t px_request_answers(const px_request *request)
{
    if (request->vectors.input_count) return request->vectors.input_count;
    uint32_t n = request->n ? request->n : 1;
    return request->best_of ? request->best_of : n;
}

/* adapters.c: caller's thread. */
void px_adapters_create(px_engine *engine);
void px_adapters_free(px_engine *engine);
/* The slot and 1 of the adapter that a request names, 0 for none. */
px_status px_adapters_find(
    const px_engine *engine, px_slice name, uint32_t *out_adapter) PX_MUST_USE;
void px_adapters_hold(px_engine *engine, uint32_t adapter);    /* a sequence with it is submitted */
void px_adapters_release(px_engine *engine, uint32_t adapter); /* and is done */
void px_adapters_take_done(px_engine *engine, uint32_t slot, px_event *out);
/* adapters.c: engine thread, between two steps. */
void px_adapters_serve(px_engine *engine);
/* A follower's part: `message` is an order. */
px_status px_adapters_follow(px_engine *engine, const void *message, size_t bytes) PX_MUST_USE;

/* intake.c: caller's thread. */
void px_caller_side_create(px_engine *engine, uint32_t capacity);
void px_caller_side_free(px_engine *engine);

#endif
