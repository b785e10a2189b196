/* engine.h - the inference library's whole boundary: open a model, submit requests, take events.
 *
 *   engine = open(options, comm)         every rank of the group
 *   rank 0:  submit / cancel / poll      the caller's thread (one), usually a loop
 *   others:  px_engine_follow(engine)    obeys rank 0 until it closes
 *
 * Threads: open starts the engine thread (rank 0) and the team. submit, cancel, poll and stats are
 *          for one thread of the caller; they meet the engine thread in bounded rings. on_wake runs
 *          on the engine thread and must only wake the caller (px_loop_post, eventfd, px_rpc_wake).
 * Order:   a request's events come in order and end with exactly one PX_EVENT_DONE. Those of its
 *          several answers are mixed, each in its own order.
 * Errors:  submit refuses with a status (INVALID_ARGUMENT: the prompt is longer than the context;
 *          RESOURCE_EXHAUSTED: the queue is full, with retry_ms; FAILED_PRECONDITION: no chat
 * template); what goes wrong later is in the DONE event. A lost peer ends every request with
 * UNAVAILABLE and then px_engine_health() says so: the rank should exit.
 */
#ifndef PX_ENGINE_ENGINE_H
#define PX_ENGINE_ENGINE_H

#include <jansson.h>

#include "base/memory.h"
#include "engine/adapter/names.h"
#include "engine/grammar/kind.h"
#include "engine/model/model.h"
#include "engine/sample/adjust.h"
#include "engine/sample/logprob.h"
#include "engine/speculate/price.h"
#include "parallel/comm.h"

typedef struct px_engine px_engine;

typedef struct px_engine_options {
    const char *model_path;
    uint32_t threads;     /* workers of this rank; 0: cores / ranks on this host, at least 1 */
    uint32_t tp, pp;      /* 0: pp 1, tp = comm size / pp */
    const char *kernels;  /* NULL: the best */
    const char *kv_type;  /* "f32", "f16", "bf16", "q8_0"; NULL: f32 for a model of f32 weights or
                             with the scalar kernels, else f16 */
    uint32_t context_max; /* 0: the model's */
    uint32_t seqs_max;    /* sequences in one step; 0: 64 */
    uint32_t queue_max;   /* requests waiting beyond that; 0: 1024 */
    uint64_t queue_tokens_max; /* of the prompts of those; 0: no bound but queue_max */
    uint64_t kv_tokens;        /* pool size; 0: chosen from memory, context_max and seqs_max */
    uint64_t kv_park_bytes;    /* host memory of each rank for blocks that left the pool; 0: as much
                                  as the pool has, UINT64_MAX: none */
    const char *kv_park_folder; /* there in a file instead; NULL: in memory */
    const char *speculate;      /* how tokens are guessed: "off", "lookup" (from the text itself),
                                   "draft"; NULL: draft if there is one, else lookup */
    const char *draft_path;     /* a small model of the same vocabulary, whole on rank 0 */
    uint32_t speculate_max;     /* tokens guessed for one sequence in one step; 0: 15, at
                                   most PX_PROPOSALS_MAX */
    uint32_t adapters_max;      /* LoRA adapters at once; 0: 16, at most PX_ADAPTERS_MAX */
    uint64_t adapter_bytes;     /* memory of each rank for them; 0: 1/16 of its weights and at least
                                   64 MiB, UINT64_MAX: none, and no adapters */
    bool no_prefix_cache;       /* each request computes its whole prompt */
    uint32_t batch_size;        /* a step's starting token budget; 0: 512 */
    double scale_factor;        /* how far load may stretch budget and latency; 0: 2, at least 1 */
    uint32_t max_latency_ms;    /* a step's bound, and when waiting counts as load; 0: no bound */
    bool pin;                   /* bind workers to cores, if this rank is alone on its host */
    px_progress_fn on_progress; /* while loading */
    void (*on_wake)(void *arg); /* events are waiting (coalesced) */
    void *arg;
} px_engine_options;

/* `comm` is borrowed; NULL: alone. Every rank passes the same options. */
px_status px_engine_open(
    const px_engine_options *options, px_comm *comm, px_engine **out) PX_MUST_USE;
/* Rank 0: ends running requests as CANCELLED (events are dropped), tells the others to stop. */
void px_engine_close(px_engine *engine); /* NULL is fine */
/* Ranks > 0: returns OK when rank 0 closed, else the failure. */
px_status px_engine_follow(px_engine *engine) PX_MUST_USE;
const px_model_info *px_engine_model(const px_engine *engine);

typedef struct px_sampling {
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    float typical_p;   /* 0 or 1: off */
    uint64_t seed;
    uint32_t sequence; /* of several answers to one prompt: each draws numbers of its own */
} px_sampling;

enum { PX_STOPS_MAX = 16, PX_STOP_BYTES_MAX = 256, PX_STOP_TOKENS_MAX = 64 };

typedef struct px_bounds { /* on what an answer may say; all lists borrowed. See adjust.h */
    float repetition_penalty, presence_penalty, frequency_penalty; /* 0: off */
    const px_token_bias *biases;
    uint32_t bias_count;
    px_token_list allowed;     /* none: all */
    const px_slice *bad_words; /* texts that must not come */
    uint32_t bad_word_count;
    uint32_t min_tokens; /* no end before */
    bool has_form;       /* the answer keeps to a grammar: form_kind and form */
    px_grammar_kind form_kind;
    px_slice form;
} px_bounds;

/* What is made of texts instead of answers. */
typedef enum px_pool {
    PX_POOL_MODEL,
    PX_POOL_LAST,
    PX_POOL_FIRST,
    PX_POOL_MEAN,
    PX_POOL_COUNT
} px_pool;
typedef enum px_norm { PX_NORM_MODEL, PX_NORM_ONE, PX_NORM_NONE } px_norm;

typedef struct px_input { /* tokens, or text as a prompt is */
    const uint32_t *tokens;
    size_t token_count;
    px_slice text;
} px_input;

enum { PX_INPUTS_MAX = 1024, PX_LABELS_MAX = 256 };

typedef struct px_wanted_vectors { /* of each input; all borrowed */
    const px_input *inputs;
    uint32_t input_count;
    /* The log probability of each of these tokens behind the input; none: what its hidden states
     * are pooled to, an embedding or the scores of the model's head. */
    px_token_list labels;
    /* An embedding is asked for, or scores: a model that makes the other refuses. */
    bool wants_scores;
    px_pool pool;        /* MODEL: as the model says */
    px_norm norm;        /* embeddings' length: as the model says, 1, as it comes */
    uint32_t dimensions; /* the first so many (of models trained for that); 0: all */
} px_wanted_vectors;

typedef struct px_request { /* one of tokens, prompt, messages; all borrowed for the call */
    const uint32_t *tokens;
    size_t token_count;
    px_slice prompt;
    const json_t *messages, *tools, *template_kwargs;
    /* Or vectors (input_count is not 0): then all up to the deadline is not looked at. Each input
     * ends with ANSWERED, under its index. */
    px_wanted_vectors vectors;
    px_sampling sampling;
    px_bounds bounds;
    uint32_t max_tokens; /* 0: up to the context */
    /* Answers to the one prompt, which is computed once: answer i draws as one with
     * sampling.sequence + i would alone. best_of: of so many the n likeliest, by the mean of their
     * tokens' log probabilities, told at the end. 0: n is 1, best_of is n. */
    uint32_t n, best_of;
    /* An answer's first tokens, that were given out already: it goes on behind them as if it had
     * never stopped. They count as its tokens; no events are sent for them. */
    px_token_list resumed;
    bool wants_logprobs; /* of each token; with the `top_logprobs` likeliest beside it */
    uint32_t top_logprobs;
    /* Of each token of the prompt as well, but the first, with so many of the likeliest beside it.
     * Such a prompt is computed as a whole, whatever of it is known. */
    bool wants_prompt_logprobs;
    uint32_t top_prompt_logprobs;
    px_token_list stop_tokens; /* end the answer, as its model's own end-of-text tokens do */
    px_slice stops[PX_STOPS_MAX];
    uint32_t stop_count;
    bool ignore_eos;
    int64_t deadline_ns;  /* px_now_ns() scale; 0: none. Passed: DONE with DEADLINE_EXCEEDED; not
                             to be met by the first token: DONE with RESOURCE_EXHAUSTED at once */
    px_slice tenant;      /* whom it is counted for; empty: all that name none */
    double tenant_weight; /* that tenant's share against others; 0: 1 */
    int32_t priority;     /* orders a tenant's own: each level below 0 (more urgent) is worth
                             PX_PRIORITY_SECONDS of waiting, each above costs as much */
    px_slice cache_salt;  /* prefixes are shared within a tenant between equal salts only */
    px_slice adapter;     /* the name of one that is loaded; empty: the model as it is. NOT_FOUND
                             names those there are */
} px_request;

enum {
    PX_CHOICES_MAX = 128, /* best_of */
    PX_PRIORITY_SECONDS = 30,
    PX_PRIORITY_MAX = 100,
    PX_WEIGHT_MAX = 1000000,
    PX_TENANT_BYTES_MAX = 128,
    PX_CACHE_SALT_BYTES_MAX = 256
};

typedef enum px_finish {
    PX_FINISH_STOP,
    PX_FINISH_LENGTH,
    PX_FINISH_ERROR,
    PX_FINISH_COUNT
} px_finish;
const char *px_finish_name(px_finish finish); /* "stop", "length", "error" */

enum { PX_EVENT_TEXT_MAX = 128 };
typedef enum px_event_kind {
    PX_EVENT_PROMPT, /* one token of the prompt, with its log probability; before any answer */
    PX_EVENT_TOKEN,
    PX_EVENT_ANSWERED,
    PX_EVENT_DONE,
    PX_EVENT_ADAPTER /* an adapter was loaded or unloaded, or why not: `id` and `status` alone */
} px_event_kind;

typedef struct px_event {
    uint64_t id;
    px_event_kind kind;
    uint32_t index; /* TOKEN, ANSWERED: which of the n answers */
    /* TOKEN: one id (has_token) and the text it completed, whole characters, maybe none; long
     * text comes as further TOKEN events without a token. */
    bool has_token;
    uint32_t token;
    bool has_logprobs; /* asked for, and with a token */
    px_logprobs logprobs;
    uint32_t text_length;
    char text[PX_EVENT_TEXT_MAX];
    /* ANSWERED (each answer's last event, where n > 1): finish, output_tokens, logprob_sum; or an
     * input's vector, which stays until DONE is taken.
     * DONE: finish of the first answer, output_tokens of all that were made. */
    px_finish finish;
    px_status status; /* not OK only with PX_FINISH_ERROR: of the first that failed; of ADAPTER */
    uint32_t prompt_tokens, output_tokens;
    const float *values; /* [value_count] */
    uint32_t value_count;
    double logprob_sum;                  /* of the answer's tokens; 0 where nobody asked for it */
    uint32_t cached_tokens;              /* of the prompt, what was not computed for it */
    int64_t queue_ns, ttft_ns, total_ns; /* from submit: to first step, first token, end */
} px_event;

px_status px_engine_submit(
    px_engine *engine, const px_request *request, uint64_t *out_id) PX_MUST_USE;
/* Reaches the engine before its next step; DONE follows with CANCELLED unless it ended before. */
void px_engine_cancel(px_engine *engine, uint64_t id);
bool px_engine_poll(px_engine *engine, px_event *out); /* false: none waiting */

/* LoRA adapters, while requests run (rank 0). A folder as PEFT saves it is read by every rank, from
 * the same path. The end comes as PX_EVENT_ADAPTER with *out_id (which counts apart from requests):
 * from then on requests can name it. ALREADY_EXISTS, RESOURCE_EXHAUSTED: so many are loaded. */
px_status px_engine_load_adapter(
    px_engine *engine, px_slice name, px_slice path, uint64_t *out_id) PX_MUST_USE;
/* No new request can have it; when those that have it are done, its memory is free and the event
 * comes. */
px_status px_engine_unload_adapter(px_engine *engine, px_slice name, uint64_t *out_id) PX_MUST_USE;
typedef struct px_adapter_info {
    const char *name, *path; /* borrowed until the next call */
    bool is_ready;           /* requests can have it; else it is loading, or leaving */
    uint32_t requests;       /* submitted and not yet done */
    uint64_t bytes;          /* on this rank */
} px_adapter_info;
/* The index-th of those loaded, loading or leaving; false: there are no more. */
bool px_engine_adapter_at(const px_engine *engine, uint32_t index, px_adapter_info *out);

/* Text services of the leader, on the caller's thread. */
px_status px_engine_tokenize(px_engine *engine, px_slice text, bool add_special, uint32_t **out_ids,
    size_t *out_count) PX_MUST_USE; /* free(*out_ids) */

typedef struct px_engine_stats {
    uint64_t steps;                     /* finished steps: the liveness counter */
    int64_t step_started_ns;            /* 0: idle; else when the step in progress began */
    uint32_t running, waiting;          /* sequences */
    uint32_t kv_blocks, kv_blocks_free; /* free: held by no sequence */
    uint32_t kv_blocks_parked;
    uint64_t prompt_tokens, output_tokens; /* in total, as all below */
    uint64_t prefix_queries, prefix_hits;  /* tokens of prompts let in; of these, found */
    uint64_t preemptions, recomputed_tokens;
    uint64_t proposed, accepted;     /* guessed tokens: tried; of these, right */
    uint64_t refused;                /* that could not have met their deadline */
    uint64_t weight_bytes, kv_bytes; /* resident on this rank */
} px_engine_stats;
void px_engine_get_stats(const px_engine *engine, px_engine_stats *out); /* any thread */
px_status px_engine_health(const px_engine *engine); /* any thread; not OK: exit this rank */

#endif
