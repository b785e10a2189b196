/* seq.h - one request inside the engine: its tokens, its place in the pool, its text, its end.
 *
 * Owns:     all memory it will ever need, in one arena, taken at submit: the engine thread neither
 *           allocates nor frees. The caller's thread makes it and, once its DONE event was taken,
 *           frees it.
 * Threads:  made by the caller's thread, handed to the engine thread through a ring, handed back
 *           with the DONE event. In between only `cancelled` and `is_over` are shared, and what is
 *           marked as the caller's thread's stays its own. Of several answers to one
 *           request only the first travels; the others hang from it.
 */
#ifndef PX_ENGINE_SEQ_H
#define PX_ENGINE_SEQ_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/grammar/grammar.h"
#include "engine/kv/kvcache.h"
#include "engine/speculate/guess.h"
#include "engine/stops.h"
#include "engine/text/tokenizer.h"
#include "engine/vector.h"

typedef enum px_seq_state {
    PX_SEQ_APART, /* not in the scheduler: another computes its prompt */
    PX_SEQ_WAITING,
    PX_SEQ_RUNNING,
    PX_SEQ_ENDED,
    PX_SEQ_STATE_COUNT
} px_seq_state;

typedef struct px_seq {
    uint64_t id; /* ascending in order of arrival */
    px_arena arena;
    atomic_bool cancelled;

    uint32_t *tokens; /* [tokens_max]: the prompt, then the answer */
    uint32_t prompt_count, count, tokens_max;
    uint32_t rotated_for; /* the length by which its KV is rotated (px_kv_row.prompt) */
    px_sampling sampling;

    /* The answer's text (wording.h), the caller's thread's. */
    px_detok *detok;
    px_stops *stops;     /* NULL: none */
    uint32_t min_tokens; /* no stop string is one before */
    uint32_t told;       /* tokens of the answer, those it was resumed with too */
    double logprob_sum;  /* of them; 0 where nobody asks for it */
    atomic_bool is_over; /* it ended in its text: the engine need not go on */
    px_finish over_finish;
    px_status over_status;

    px_token_list ends; /* tokens that end the answer */
    px_adjust *adjust;  /* NULL: nothing to change about its logits */
    bool wants_logprobs;
    uint32_t top_logprobs;
    bool wants_prompt_logprobs;
    uint32_t top_prompt_logprobs;
    px_vector *vector;    /* is made of it; NULL: it is answered */
    uint32_t prompt_told; /* rows of the prompt whose logits or hidden states were asked for */
    bool is_ranked;       /* against the other answers, by logprob_sum */
    uint32_t resumed;     /* first tokens of the answer that it came with */
    bool has_form;
    px_grammar_kind form_kind;
    px_slice form_text;
    struct px_form *form; /* from px_forms on; with it the guide */
    px_guide guide;

    /* Several answers to one prompt: the first's sequence computes it, the others begin behind it.
     */
    struct px_choices *choices; /* the caller's thread's; NULL: the only answer */
    struct px_seq *next_choice;
    uint32_t choice;    /* which one */
    uint32_t followers; /* that wait for the prompt that this one computes */

    px_seq_state state;
    uint32_t slot;         /* while running */
    uint32_t computed;     /* tokens whose KV is in the pool, those of the planned step included */
    uint32_t computed_max; /* ever: what is below and computed again was lost */
    uint32_t proposed;     /* guessed tokens behind `count` that the plan being made tries */
    px_guess *guess;       /* NULL: nothing is guessed for it */
    uint32_t cached;       /* of the prompt, what was there when it was let in */
    px_kv_hold hold;
    px_kv_text text;
    uint32_t adapter;               /* 0: none; else its slot and 1 */
    uint32_t blocks_told;           /* of those held, how many the runners know */
    struct px_seq *next, *previous; /* in one of the scheduler's lists */

    uint64_t tenant_id; /* with adapter and text.salt: whoever makes it sets them */
    double tenant_weight;
    int32_t priority;
    struct px_tenant *tenant;  /* the scheduler's, from add on */
    int64_t urgency_ns;        /* px_seq_urgency() */
    uint64_t entered, planned; /* the plans that let it in and that last gave it rows */
    int64_t served_ns;         /* when it last had rows */

    int64_t submitted_ns, started_ns, first_token_ns, ended_ns, deadline_ns; /* 0: not yet, none */
    px_finish finish;
    px_status status; /* of the DONE event */
} px_seq;

bool px_seq_is_end(const px_seq *seq, uint32_t token); /* of its answer */

typedef struct px_seq_options { /* all is copied */
    const px_ids *prompt;       /* at least one token */
    uint32_t choice;            /* which of several answers */
    bool is_ranked;             /* against the others */
    uint32_t tokens_max;        /* of prompt and answer; larger than what there is already */
    const px_request *request;
    const px_adjust_options *adjust;
    px_token_list ends;
    px_guesser guesser; /* of what it says next */
    const px_tokenizer *tokenizer;
    const px_vector_options *vector; /* NULL: it is answered */
} px_seq_options;
px_status px_seq_create(const px_seq_options *options, px_seq **out) PX_MUST_USE;
void px_seq_free(px_seq *seq);       /* NULL is fine */
void px_seq_free_chain(px_seq *seq); /* with all choices behind it */
/* It has ended: what its DONE event says. Leaves id and index alone. */
void px_seq_outcome(const px_seq *seq, px_event *out);

/* It is longer than where rotations turn (px_model_info): it shares KV with others of that kind
 * alone. */
static inline void px_seq_turn(px_seq *seq)
{
    seq->rotated_for = seq->count;
    seq->text.salt.word[1] ^= (uint64_t)1 << 63;
}

/* Rows of its prompt still have something to tell, and may not be taken as known: of log
 * probabilities all but the last (each tells the token behind it), of hidden states those that a
 * vector is pooled from. */
static inline bool px_seq_tells_prompt(const px_seq *seq)
{
    if (seq->vector) return px_vector_wants_all(seq->vector) && seq->prompt_told < seq->count;
    return seq->wants_prompt_logprobs && seq->prompt_told + 1 < seq->prompt_count;
}

/* When it is due, as a time that orders it among its tenant's own: its deadline, at most
 * PX_SEQ_PATIENCE_SECONDS after it came, earlier or later by its priority. It never changes, so
 * whoever waits is overtaken only by those that come within a bounded time after it. */
enum { PX_SEQ_PATIENCE_SECONDS = 60 };
int64_t px_seq_urgency(const px_seq *seq);

/* The most urgent first; equals in order of arrival. */
typedef struct px_seq_list {
    px_seq *first, *last;
    uint32_t count;
} px_seq_list;

void px_seq_list_insert(px_seq_list *list, px_seq *seq);
void px_seq_list_remove(px_seq_list *list, px_seq *seq);

#endif
