/* prepare.c - from a request to a sequence: checked, rendered, tokenised, with all the memory it
 * will need. The caller's thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/engine_impl.h"

enum { RENDERED_BYTES_MAX = 64 << 20 };

px_status px_engine_encode(
    px_engine *engine, px_slice text, bool add_special, size_t ids_max, px_ids *ids)
{
    px_encode_options options = {
        .add_special = add_special, .parse_special = true, .ids_max = ids_max};
    px_status status =
        px_tokenizer_encode(engine->parts.text.tokenizer, text.data, text.length, &options, ids);
    if (status.code == PX_RESOURCE_EXHAUSTED && ids_max)
        return px_fail(PX_INVALID_ARGUMENT, "the prompt is longer than the context of %u tokens",
            engine->parts.info.context);
    return status;
}

static px_status render(px_engine *engine, const px_request *request, px_buf *out)
{
    const px_text *text = &engine->parts.text;
    if (!text->chat)
        return px_fail(PX_FAILED_PRECONDITION,
            "the model '%s' has no chat template: send a plain prompt", engine->parts.info.name);
    px_chat_input input = {.messages = request->messages,
        .tools = request->tools,
        .special_tokens = text->special_tokens,
        .kwargs = request->template_kwargs,
        .add_generation_prompt = true};
    return px_text_render(text, &input, out);
}

static px_status encode_messages(px_engine *engine, const px_request *request, px_ids *ids)
{
    px_buf text;
    px_buf_init(&text, RENDERED_BYTES_MAX);
    px_status status = render(engine, request, &text);
    if (px_is_ok(status))
        status = px_engine_encode(engine, (px_slice){px_buf_text(&text), text.length}, false,
            engine->parts.info.context, ids);
    px_buf_done(&text);
    return status;
}

static px_status copy_tokens(px_engine *engine, const px_request *request, px_ids *ids)
{
    const px_model_info *info = &engine->parts.info;
    if (request->token_count >= info->context)
        return px_fail(PX_INVALID_ARGUMENT,
            "the prompt has %zu tokens; the context holds %u, the answer included",
            request->token_count, info->context);
    for (size_t i = 0; i < request->token_count; i++)
        if (request->tokens[i] >= info->vocabulary)
            return px_fail(PX_INVALID_ARGUMENT,
                "token %u at place %zu is not below %u, the "
                "vocabulary's size",
                request->tokens[i], i, info->vocabulary);
    ids->data = px_alloc_array(request->token_count, sizeof *ids->data);
    memcpy(ids->data, request->tokens, request->token_count * sizeof *ids->data);
    ids->count = request->token_count;
    return px_ok();
}

static px_status prompt_ids(px_engine *engine, const px_request *request, px_ids *ids)
{
    const px_model_info *info = &engine->parts.info;
    if (request->tokens)
        PX_TRY(copy_tokens(engine, request, ids));
    else if (request->messages)
        PX_TRY(encode_messages(engine, request, ids));
    else
        PX_TRY(px_engine_encode(
            engine, request->prompt, engine->parts.text.add_special, info->context, ids));
    if (ids->count == 0) return px_fail(PX_INVALID_ARGUMENT, "the prompt is empty");
    if (ids->count >= info->context)
        return px_fail(PX_INVALID_ARGUMENT,
            "the prompt has %zu tokens; the context holds %u, the answer included", ids->count,
            info->context);
    return px_ok();
}

void px_engine_set_owner(
    const px_engine *engine, const px_request *request, uint32_t adapter, px_seq *seq)
{
    seq->adapter = adapter;
    px_siphash_key key = engine->caller.key;
    seq->tenant_id = px_siphash(key, request->tenant.data, request->tenant.length);
    seq->text.salt = px_salt_of(key, request->tenant, request->cache_salt);
    if (seq->adapter)
        seq->text.salt = px_salt_with_adapter(
            key, seq->text.salt, engine->caller.adapters[seq->adapter - 1].generation);
    const px_model_info *info = &engine->parts.info;
    if (info->rotation_turns_at && seq->count > info->rotation_turns_at) px_seq_turn(seq);
    /* Where rotations depend on the prompt's length, only equal lengths have equal KV. */
    if (info->rotation_grows_from && seq->prompt_count > info->rotation_grows_from)
        seq->text.salt.word[1] ^= (uint64_t)seq->prompt_count << 32;
}

/* ------------------------------------------------------------------- bounds of the answer */

typedef struct word_list { /* bad words as tokens */
    px_token_list *items;
    px_ids *ids;
    uint32_t count;
} word_list;

static void word_list_done(word_list *words)
{
    for (uint32_t i = 0; i < words->count; i++) free(words->ids[i].data);
    free(words->ids);
    free(words->items);
}

/* A word's tokens depend on whether a blank stands before it: both forms are meant. */
static px_status read_bad_words(px_engine *engine, const px_bounds *bounds, word_list *out)
{
    *out = (word_list){
        .items = px_alloc_array(2 * (size_t)bounds->bad_word_count + 1, sizeof *out->items),
        .ids = px_alloc_array(2 * (size_t)bounds->bad_word_count + 1, sizeof *out->ids)};
    for (uint32_t i = 0; i < 2 * bounds->bad_word_count; i++) {
        px_slice word = bounds->bad_words[i / 2];
        char text[PX_STOP_BYTES_MAX + 1];
        if (!word.length || word.length > PX_STOP_BYTES_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "a bad word has 1 to %d bytes", PX_STOP_BYTES_MAX);
        if (px_utf8_valid_prefix(word.data, word.length) != word.length)
            return px_fail(PX_INVALID_ARGUMENT, "bad word %u is not valid UTF-8", i / 2 + 1);
        text[0] = ' ';
        memcpy(text + 1, word.data, word.length);
        px_slice form = i % 2 ? (px_slice){text, word.length + 1} : word;
        PX_TRY(px_engine_encode(engine, form, false, 0, &out->ids[out->count++]));
        const px_ids *ids = &out->ids[i];
        out->items[i] = (px_token_list){ids->data, (uint32_t)ids->count};
    }
    return px_ok();
}

/* The model's own end-of-text tokens, unless they are to be ignored, and the request's. */
static px_token_list ends_of(
    const px_engine *engine, const px_request *request, uint32_t room[16 + PX_STOP_TOKENS_MAX])
{
    const px_model_info *info = &engine->parts.info;
    px_token_list stops = request->stop_tokens;
    uint32_t count = request->ignore_eos ? 0 : info->eos_count;
    memcpy(room, info->eos_ids, count * sizeof *room);
    if (stops.count) memcpy(room + count, stops.ids, stops.count * sizeof *room);
    return (px_token_list){room, count + stops.count};
}

static px_adjust_options adjust_options_of(
    const px_engine *engine, const px_request *request, uint32_t tokens_max)
{
    const px_bounds *b = &request->bounds;
    return (px_adjust_options){.repetition_penalty = b->repetition_penalty,
        .presence_penalty = b->presence_penalty,
        .frequency_penalty = b->frequency_penalty,
        .biases = b->biases,
        .bias_count = b->bias_count,
        .allowed = b->allowed,
        .min_tokens = b->min_tokens,
        .vocabulary = engine->parts.info.vocabulary,
        .tokens_max = tokens_max};
}

/* A sequence for each answer, in a chain. */
static px_status make_chain(px_seq_options *options, px_seq **out)
{
    px_seq *first = NULL, **end = &first;
    uint32_t count = px_request_answers(options->request);
    options->is_ranked = count > 1 && count > options->request->n;
    for (; options->choice < count; options->choice++) {
        px_status status = px_seq_create(options, end);
        if (!px_is_ok(status)) {
            px_seq_free_chain(first);
            return status;
        }
        end = &(*end)->next_choice;
    }
    first->followers = count - 1;
    *out = first;
    return px_ok();
}

static px_status make_seq_of(
    px_engine *engine, const px_request *request, const px_ids *prompt, px_seq **out)
{
    uint32_t room[16 + PX_STOP_TOKENS_MAX];
    uint32_t context = engine->parts.info.context, count = (uint32_t)prompt->count;
    bool bounded = request->max_tokens && request->max_tokens < context - count;
    uint32_t tokens_max = bounded ? count + request->max_tokens : context;
    if (count + (uint64_t)request->resumed.count >= tokens_max)
        return px_fail(PX_INVALID_ARGUMENT,
            "the answer is resumed with %u tokens, which leaves none to be said",
            request->resumed.count);
    px_adjust_options adjust = adjust_options_of(engine, request, tokens_max);
    px_seq_options options = {.prompt = prompt,
        .tokens_max = tokens_max,
        .request = request,
        .adjust = &adjust,
        .ends = adjust.ends = ends_of(engine, request, room),
        .guesser = engine->parts.guesser,
        .tokenizer = engine->parts.text.tokenizer};
    word_list words;
    px_status status = read_bad_words(engine, &request->bounds, &words);
    adjust.bad_words = words.items;
    adjust.bad_word_count = words.count;
    if (px_is_ok(status)) status = make_chain(&options, out);
    word_list_done(&words);
    return status;
}

px_status px_engine_make_seq(px_engine *engine, const px_request *request, px_seq **out)
{
    px_ids ids = {0};
    uint32_t adapter;
    if (request->vectors.input_count) return px_engine_make_vectors(engine, request, out);
    PX_TRY(px_model_check_generates(&engine->parts.info));
    PX_TRY(px_adapters_find(engine, request->adapter, &adapter));
    px_status status = prompt_ids(engine, request, &ids);
    if (px_is_ok(status)) status = make_seq_of(engine, request, &ids, out);
    for (px_seq *seq = px_is_ok(status) ? *out : NULL; seq; seq = seq->next_choice)
        px_engine_set_owner(engine, request, adapter, seq);
    free(ids.data);
    return status;
}

static px_status check_lists(const px_engine *engine, const px_request *request)
{
    uint32_t vocabulary = engine->parts.info.vocabulary;
    for (uint32_t i = 0; i < request->resumed.count; i++)
        if (request->resumed.ids[i] >= vocabulary)
            return px_fail(PX_INVALID_ARGUMENT,
                "a token to resume with, %u, is not below %u, the vocabulary's size",
                request->resumed.ids[i], vocabulary);
    if (request->stop_tokens.count > PX_STOP_TOKENS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "at most %d stop tokens may be given, not %u",
            PX_STOP_TOKENS_MAX, request->stop_tokens.count);
    if (request->max_tokens && request->bounds.min_tokens > request->max_tokens)
        return px_fail(PX_INVALID_ARGUMENT, "min_tokens is %u, more than the %u of max_tokens",
            request->bounds.min_tokens, request->max_tokens);
    if (request->top_logprobs > PX_TOP_LOGPROBS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "top_logprobs must be from 0 to %d, not %u",
            PX_TOP_LOGPROBS_MAX, request->top_logprobs);
    if (request->top_prompt_logprobs > PX_TOP_LOGPROBS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "prompt_logprobs must be from 0 to %d, not %u",
            PX_TOP_LOGPROBS_MAX, request->top_prompt_logprobs);
    if (request->wants_prompt_logprobs && request->resumed.count)
        return px_fail(PX_INVALID_ARGUMENT,
            "prompt_logprobs come before the answer: an answer that continue_ids go on with has "
            "had them");
    if (request->bounds.bad_word_count > PX_BAD_WORDS_MAX / 2)
        return px_fail(PX_INVALID_ARGUMENT, "at most %d bad words may be given, not %u",
            PX_BAD_WORDS_MAX / 2, request->bounds.bad_word_count);
    return px_ok();
}

static px_status check_choices(const px_engine *engine, const px_request *request)
{
    uint32_t count = px_request_answers(request), capacity = engine->caller.capacity;
    if (count > PX_CHOICES_MAX || request->n > PX_CHOICES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "n and best_of are at most %d, not %u", PX_CHOICES_MAX,
            count > request->n ? count : request->n);
    if (request->n > count)
        return px_fail(PX_INVALID_ARGUMENT,
            "best_of must be at least n: the best %u of %u answers are none", request->n, count);
    if (count > capacity)
        return px_fail(PX_INVALID_ARGUMENT,
            "%u answers at once are more than the %u sequences that may run or wait here", count,
            capacity);
    if (count > 1 && request->resumed.count)
        return px_fail(PX_INVALID_ARGUMENT,
            "continue_ids go on with one answer: n and best_of must be 1, not %u", count);
    return px_ok();
}

static px_status check_answers(const px_engine *engine, const px_request *request)
{
    PX_TRY(check_lists(engine, request));
    PX_TRY(check_choices(engine, request));
    return px_sampling_check(&request->sampling);
}

px_status px_engine_check_request(const px_engine *engine, const px_request *request)
{
    bool makes_vectors = request->vectors.input_count != 0;
    PX_TRY(
        makes_vectors ? px_engine_check_vectors(engine, request) : check_answers(engine, request));
    if (request->priority < -PX_PRIORITY_MAX || request->priority > PX_PRIORITY_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "priority must be from %d (soonest) to %d, not %d",
            -PX_PRIORITY_MAX, PX_PRIORITY_MAX, request->priority);
    if (request->tenant.length > PX_TENANT_BYTES_MAX ||
        request->cache_salt.length > PX_CACHE_SALT_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "a tenant's name has at most %d bytes, a cache salt %d; these have %zu and %zu",
            PX_TENANT_BYTES_MAX, PX_CACHE_SALT_BYTES_MAX, request->tenant.length,
            request->cache_salt.length);
    if (!(request->tenant_weight >= 0 && request->tenant_weight <= PX_WEIGHT_MAX))
        return px_fail(PX_INVALID_ARGUMENT, "a tenant's weight must be from 0 to %d, not %g",
            PX_WEIGHT_MAX, request->tenant_weight);
    return px_ok();
}
