/* seq.h - one request inside the engine: its tokens, its place in the pool, its text, its end.
 *
 * Owns:     all memory it will ever need, in one arena, taken at submit: the engine thread neither
 *           allocates nor frees. The caller's thread makes it and, once its DONE event was taken,
 *           frees it.
 * Threads:  made by the caller's thread, handed to the engine thread through a ring, handed back
 *           with the DONE event. In between only `cancelled` is shared.
 */
#ifndef PX_ENGINE_SEQ_H
#define PX_ENGINE_SEQ_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/stops.h"
#include "engine/text/tokenizer.h"

typedef enum px_seq_state {
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
    px_sampling sampling;
    bool ignore_eos;
    px_detok *detok;
    px_stops *stops; /* NULL: none */

    px_seq_state state;
    uint32_t slot;                      /* while running */
    uint32_t computed;                  /* tokens whose KV is in the pool */
    uint32_t *blocks;                   /* [px_kv_blocks_for(tokens_max)] */
    uint32_t block_count, blocks_known; /* held; of these, told to the runners */
    struct px_seq *next, *previous;     /* in the scheduler's list */

    int64_t submitted_ns, started_ns, first_token_ns, ended_ns, deadline_ns; /* 0: not yet, none */
    px_finish finish;
    px_status status; /* of the DONE event */
} px_seq;

/* `prompt`, at least one token, is copied; tokens_max is larger than its count. */
px_status px_seq_create(const px_ids *prompt, uint32_t tokens_max, const px_request *request,
    const px_tokenizer *tokenizer, px_seq **out) PX_MUST_USE;
void px_seq_free(px_seq *seq); /* NULL is fine */

/* In order of arrival. */
typedef struct px_seq_list {
    px_seq *first, *last;
    uint32_t count;
} px_seq_list;

void px_seq_list_insert(px_seq_list *list, px_seq *seq); /* keeps ids ascending */
void px_seq_list_remove(px_seq_list *list, px_seq *seq);

#endif
