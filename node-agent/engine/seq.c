/* seq.c - see seq.h. */
#include "engine/seq.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Tokens, blocks, stop strings: the arena's bound for the longest context is never the obstacle. */
static size_t arena_limit(uint32_t tokens_max)
{
    return (size_t)tokens_max * 2 * sizeof(uint32_t) +
           (size_t)PX_STOPS_MAX * PX_STOP_BYTES_MAX * 8 + 64 * 1024;
}

px_status px_seq_create(const px_ids *prompt, uint32_t tokens_max, const px_request *request,
    const px_tokenizer *tokenizer, px_seq **out)
{
    PX_ASSERT(prompt->count > 0 && prompt->count < tokens_max);
    px_seq *seq = px_alloc(sizeof *seq);
    px_arena_init(&seq->arena, arena_limit(tokens_max));
    px_status status = px_ok();
    PX_TRY_GOTO(
        px_stops_create(request->stops, request->stop_count, &seq->arena, &seq->stops), fail);
    seq->tokens = px_arena_alloc(&seq->arena, (size_t)tokens_max * sizeof *seq->tokens);
    uint32_t blocks_max = px_kv_blocks_for(tokens_max);
    seq->hold = (px_kv_hold){.tip = PX_KV_NONE, .pinned = PX_KV_NONE};
    seq->hold.blocks = px_arena_alloc(&seq->arena, blocks_max * sizeof *seq->hold.blocks);
    PX_ASSERT(seq->tokens && seq->hold.blocks);
    seq->text.tokens = seq->tokens;
    memcpy(seq->tokens, prompt->data, prompt->count * sizeof *prompt->data);
    seq->prompt_count = seq->count = (uint32_t)prompt->count;
    seq->tokens_max = tokens_max;
    seq->sampling = request->sampling;
    seq->ignore_eos = request->ignore_eos;
    seq->deadline_ns = request->deadline_ns;
    seq->tenant_weight = request->tenant_weight;
    seq->priority = request->priority;
    seq->detok = px_detok_create(tokenizer, true);
    atomic_init(&seq->cancelled, false);
    *out = seq;
    return status;
fail:
    px_seq_free(seq);
    return status;
}

void px_seq_free(px_seq *seq)
{
    if (!seq) return;
    px_detok_free(seq->detok);
    px_arena_done(&seq->arena);
    free(seq);
}

int64_t px_seq_urgency(const px_seq *seq)
{
    int64_t due_ns = seq->submitted_ns + PX_SEQ_PATIENCE_SECONDS * PX_SEC;
    if (seq->deadline_ns && seq->deadline_ns < due_ns) due_ns = seq->deadline_ns;
    return due_ns + seq->priority * PX_PRIORITY_SECONDS * PX_SEC;
}

static bool is_before(const px_seq *a, const px_seq *b)
{
    return a->urgency_ns != b->urgency_ns ? a->urgency_ns < b->urgency_ns : a->id < b->id;
}

void px_seq_list_insert(px_seq_list *list, px_seq *seq)
{
    px_seq *before = list->last; /* almost always it belongs at the end */
    while (before && is_before(seq, before)) before = before->previous;
    seq->previous = before;
    seq->next = before ? before->next : list->first;
    *(before ? &before->next : &list->first) = seq;
    *(seq->next ? &seq->next->previous : &list->last) = seq;
    list->count++;
}

void px_seq_list_remove(px_seq_list *list, px_seq *seq)
{
    *(seq->previous ? &seq->previous->next : &list->first) = seq->next;
    *(seq->next ? &seq->next->previous : &list->last) = seq->previous;
    seq->next = seq->previous = NULL;
    list->count--;
}
