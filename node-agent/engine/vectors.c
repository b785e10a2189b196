/* vectors.c - embeddings, scores and labels through the engine: inputs to sequences, rows to
 * vectors.
 *
 * Every input is a sequence of its own that computes a prompt and says nothing: it shares steps,
 * blocks and prefixes with all others. Where the last token alone is pooled, or asked for labels, a
 * cached prefix serves; where all tokens are, they are computed.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

/* --- the caller's thread ------------------------------------------------------------------ */

static px_status check_labels(const px_engine *engine, px_token_list labels)
{
    PX_TRY(px_model_check_generates(&engine->parts.info));
    if (labels.count > PX_LABELS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "at most %d labels may be asked for, not %u",
            PX_LABELS_MAX, labels.count);
    for (uint32_t i = 0; i < labels.count; i++)
        if (labels.ids[i] >= engine->parts.info.vocabulary)
            return px_fail(PX_INVALID_ARGUMENT,
                "label %u is token %u, which is not below %u, the vocabulary's size", i,
                labels.ids[i], engine->parts.info.vocabulary);
    return px_ok();
}

static px_status check_pooling(const px_engine *engine, const px_wanted_vectors *wanted)
{
    PX_TRY(engine->parts.pooling_status);
    px_pooling_info pooling = px_pooling_describe(engine->parts.pooling);
    if (wanted->dimensions > pooling.width)
        return px_fail(PX_INVALID_ARGUMENT, "the model's vectors have %u dimensions, not %u",
            pooling.width, wanted->dimensions);
    if (pooling.is_scores != wanted->wants_scores)
        return px_fail(PX_FAILED_PRECONDITION,
            pooling.is_scores
                ? "the model '%s' scores texts and embeds none: ask for scores, with a template"
                : "the model '%s' has no head that scores texts: give labels, or no template",
            engine->parts.info.name);
    if (pooling.is_scores && wanted->dimensions)
        return px_fail(
            PX_INVALID_ARGUMENT, "scores cannot be cut to %u dimensions", wanted->dimensions);
    return px_ok();
}

px_status px_engine_check_vectors(const px_engine *engine, const px_request *request)
{
    const px_wanted_vectors *wanted = &request->vectors;
    uint32_t capacity = engine->caller.capacity;
    uint32_t most = capacity < PX_INPUTS_MAX ? capacity : PX_INPUTS_MAX;
    if (wanted->input_count > most)
        return px_fail(PX_INVALID_ARGUMENT, "at most %u inputs may come at once, not %u", most,
            wanted->input_count);
    return wanted->labels.count ? check_labels(engine, wanted->labels)
                                : check_pooling(engine, wanted);
}

static px_status check_ids(const px_engine *engine, const px_ids *ids)
{
    const px_model_info *info = &engine->parts.info;
    if (!ids->count) return px_fail(PX_INVALID_ARGUMENT, "is empty");
    if (ids->count > info->context)
        return px_fail(
            PX_INVALID_ARGUMENT, "has %zu tokens; the context holds %u", ids->count, info->context);
    for (size_t i = 0; i < ids->count; i++)
        if (ids->data[i] >= info->vocabulary)
            return px_fail(PX_INVALID_ARGUMENT,
                "has token %u at place %zu, which is not below %u, the vocabulary's size",
                ids->data[i], i, info->vocabulary);
    return px_ok();
}

static px_status read_input(px_engine *engine, const px_input *input, px_ids *out)
{
    const px_model_info *info = &engine->parts.info;
    if (!input->tokens) {
        PX_TRY(px_engine_encode(
            engine, input->text, engine->parts.text.add_special, info->context, out));
        return check_ids(engine, out);
    }
    const px_ids given = {
        .data = (uint32_t *)(uintptr_t)input->tokens, .count = input->token_count};
    PX_TRY(check_ids(engine, &given));
    out->data = px_alloc_array(given.count, sizeof *out->data);
    memcpy(out->data, given.data, given.count * sizeof *out->data);
    out->count = given.count;
    return px_ok();
}

/* `plain` asks for nothing that belongs to answers. */
static px_status make_one(px_engine *engine, const px_request *plain, uint32_t index, px_seq **out)
{
    px_ids ids = {0};
    px_status status = read_input(engine, &plain->vectors.inputs[index], &ids);
    bool pools = !plain->vectors.labels.count;
    px_pooling_info pooling;
    if (pools) pooling = px_pooling_describe(engine->parts.pooling);
    px_vector_options vector = {.wanted = &plain->vectors, .pooling = pools ? &pooling : NULL};
    px_adjust_options adjust = {
        .vocabulary = engine->parts.info.vocabulary, .tokens_max = (uint32_t)ids.count + 1};
    px_seq_options options = {.prompt = &ids,
        .choice = index,
        .tokens_max = (uint32_t)ids.count + 1,
        .request = plain,
        .adjust = &adjust,
        .tokenizer = engine->parts.text.tokenizer,
        .vector = &vector};
    if (px_is_ok(status)) status = px_seq_create(&options, out);
    free(ids.data);
    return px_prefix(status, "input %u", index);
}

px_status px_engine_make_vectors(px_engine *engine, const px_request *request, px_seq **out)
{
    px_request plain = {.vectors = request->vectors,
        .deadline_ns = request->deadline_ns,
        .tenant_weight = request->tenant_weight,
        .priority = request->priority};
    px_seq *first = NULL, **end = &first;
    uint32_t adapter;
    PX_TRY(px_adapters_find(engine, request->adapter, &adapter));
    for (uint32_t i = 0; i < plain.vectors.input_count; i++) {
        px_status status = make_one(engine, &plain, i, end);
        if (!px_is_ok(status)) {
            px_seq_free_chain(first);
            return status;
        }
        px_engine_set_owner(engine, request, adapter, *end);
        end = &(*end)->next_choice;
    }
    *out = first;
    return px_ok();
}

/* --- the engine thread -------------------------------------------------------------------- */

void px_engine_pool(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    const float *hidden = side->hidden;
    for (uint32_t i = 0; i < side->step.seq_count; i++) {
        const px_step_seq *entry = &side->step.seqs[i];
        if (!entry->hidden_rows) continue;
        px_seq *seq = px_scheduler_at(side->scheduler, entry->slot);
        uint32_t end = entry->position + entry->rows;
        px_vector_rows rows = {.hidden = hidden,
            .position = end - entry->hidden_rows,
            .rows = entry->hidden_rows,
            .length = seq->count};
        px_vector_take(seq->vector, &rows);
        hidden += (size_t)entry->hidden_rows * engine->parts.info.hidden;
        if (end < seq->count) continue;
        px_vector_finish(seq->vector, engine->parts.pooling, seq->count);
        side->now_ns = px_now_ns();
        px_output_end(engine, seq, PX_FINISH_STOP, px_ok());
    }
}
