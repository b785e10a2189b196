/* seq.c - see seq.h. */
#include "engine/seq.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Tokens, blocks, stop strings, what is changed about logits: the arena's bound for the longest
 * context is never the obstacle. */
static size_t arena_limit(const px_seq_options *o)
{
    return (size_t)o->tokens_max * 2 * sizeof(uint32_t) +
           (size_t)PX_STOPS_MAX * PX_STOP_BYTES_MAX * 8 + px_adjust_bytes(o->adjust) +
           o->request->bounds.form.length + (o->vector ? px_vector_bytes(o->vector) : 0) +
           px_guess_bytes(o->guesser, o->tokens_max) + 64 * 1024;
}

static void *keep(px_seq *seq, const void *from, size_t bytes)
{
    void *to = px_arena_alloc(&seq->arena, bytes + 1);
    PX_ASSERT(to);
    if (bytes) memcpy(to, from, bytes);
    return to;
}

static void keep_form(px_seq *seq, const px_seq_options *o)
{
    const px_bounds *bounds = &o->request->bounds;
    seq->has_form = bounds->has_form;
    if (!seq->has_form) return;
    seq->form_kind = bounds->form_kind;
    seq->form_text =
        (px_slice){keep(seq, bounds->form.data, bounds->form.length), bounds->form.length};
}

/* The prompt, and what it is resumed with as the answer's first tokens. */
static void keep_tokens(px_seq *seq, const px_seq_options *o)
{
    px_token_list resumed = o->request->resumed;
    seq->tokens = px_arena_alloc(&seq->arena, (size_t)o->tokens_max * sizeof *seq->tokens);
    PX_ASSERT(seq->tokens);
    seq->text.tokens = seq->tokens;
    memcpy(seq->tokens, o->prompt->data, o->prompt->count * sizeof *o->prompt->data);
    seq->prompt_count = seq->rotated_for = seq->count = (uint32_t)o->prompt->count;
    seq->resumed = resumed.count;
    for (uint32_t i = 0; i < resumed.count; i++) seq->tokens[seq->count++] = resumed.ids[i];
    for (uint32_t i = 0; seq->adjust && i < seq->count; i++)
        px_adjust_note(seq->adjust, seq->tokens[i], i >= seq->prompt_count);
}

px_status px_seq_create(const px_seq_options *o, px_seq **out)
{
    const px_request *request = o->request;
    PX_ASSERT(o->prompt->count > 0);
    PX_ASSERT(o->prompt->count + request->resumed.count < o->tokens_max);
    px_seq *seq = px_alloc(sizeof *seq);
    px_arena_init(&seq->arena, arena_limit(o));
    px_status status = px_ok();
    PX_TRY_GOTO(
        px_stops_create(request->stops, request->stop_count, &seq->arena, &seq->stops), fail);
    seq->min_tokens = request->bounds.min_tokens;
    PX_TRY_GOTO(px_adjust_create(o->adjust, &seq->arena, &seq->adjust), fail);
    uint32_t blocks_max = px_kv_blocks_for(o->tokens_max);
    seq->hold = (px_kv_hold){.tip = PX_KV_NONE, .pinned = PX_KV_NONE};
    seq->hold.blocks = px_arena_alloc(&seq->arena, blocks_max * sizeof *seq->hold.blocks);
    PX_ASSERT(seq->hold.blocks);
    keep_tokens(seq, o);
    keep_form(seq, o);
    seq->ends =
        (px_token_list){keep(seq, o->ends.ids, o->ends.count * sizeof *o->ends.ids), o->ends.count};
    seq->tokens_max = o->tokens_max;
    px_guess_text text = {seq->tokens, seq->count};
    seq->guess = px_guess_create(o->guesser, text, o->tokens_max, &seq->arena);
    if (o->vector) seq->vector = px_vector_create(o->vector, &seq->arena);
    seq->sampling = request->sampling;
    seq->sampling.sequence += o->choice;
    seq->choice = o->choice;
    seq->is_ranked = o->is_ranked;
    seq->wants_logprobs = request->wants_logprobs;
    seq->top_logprobs = request->top_logprobs;
    seq->wants_prompt_logprobs = request->wants_prompt_logprobs && o->choice == 0;
    seq->top_prompt_logprobs = request->top_prompt_logprobs;
    seq->deadline_ns = request->deadline_ns;
    seq->tenant_weight = request->tenant_weight;
    seq->priority = request->priority;
    seq->detok = px_detok_create(o->tokenizer, true);
    atomic_init(&seq->cancelled, false);
    atomic_init(&seq->is_over, false);
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

bool px_seq_is_end(const px_seq *seq, uint32_t token)
{
    for (uint32_t i = 0; i < seq->ends.count; i++)
        if (seq->ends.ids[i] == token) return true;
    return false;
}

void px_seq_free_chain(px_seq *seq)
{
    while (seq) {
        px_seq *next = seq->next_choice;
        px_seq_free(seq);
        seq = next;
    }
}

void px_seq_outcome(const px_seq *seq, px_event *out)
{
    int64_t submitted_ns = seq->submitted_ns;
    out->kind = PX_EVENT_DONE;
    out->finish = seq->finish;
    out->status = seq->status;
    out->prompt_tokens = seq->prompt_count;
    out->output_tokens = seq->count - seq->prompt_count;
    out->logprob_sum = seq->logprob_sum;
    out->values = seq->vector ? seq->vector->values : NULL;
    out->value_count = seq->vector ? seq->vector->count : 0;
    out->cached_tokens = seq->cached;
    out->queue_ns = (seq->started_ns ? seq->started_ns : seq->ended_ns) - submitted_ns;
    out->ttft_ns = seq->first_token_ns ? seq->first_token_ns - submitted_ns : 0;
    out->total_ns = seq->ended_ns - submitted_ns;
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
