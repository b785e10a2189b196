/* submission.c - see submission.h. */
#include "cluster/submission.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

typedef Phalanx__V1__Sampling msg_sampling;
typedef Phalanx__V1__Stopping msg_stopping;

static void take_sampling(const msg_sampling *from, uint64_t fresh_seed, px_sampling *to)
{
    *to = (px_sampling){.temperature = 1, .top_p = 1, .seed = fresh_seed};
    if (!from) return;
    if (from->temperature__case == PHALANX__V1__SAMPLING__TEMPERATURE__TEMPERATURE)
        to->temperature = from->temperature;
    if (from->top_p__case == PHALANX__V1__SAMPLING__TOP_P__TOP_P) to->top_p = from->top_p;
    if (from->seed__case == PHALANX__V1__SAMPLING__SEED__SEED) to->seed = from->seed;
    to->top_k = from->top_k;
    to->min_p = from->min_p;
    to->typical_p = from->typical_p;
}

static px_slice slice_of(const ProtobufCBinaryData *bytes)
{
    return (px_slice){.data = (const char *)bytes->data, .length = bytes->len};
}

static px_slice slice_of_text(const char *text)
{
    return (px_slice){.data = text, .length = strlen(text)};
}

/* A list's length as the engine counts; it judges how many there may be. */
static uint32_t count_of(size_t count)
{
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

static void take_bounds(const msg_sampling *from, px_submission *to)
{
    px_bounds *bounds = &to->request.bounds;
    if (!from) return;
    to->request.n = from->n;
    to->request.best_of = from->best_of;
    bounds->repetition_penalty = from->repetition_penalty;
    bounds->presence_penalty = from->presence_penalty;
    bounds->frequency_penalty = from->frequency_penalty;
    bounds->allowed = (px_token_list){from->allowed_token_ids, count_of(from->n_allowed_token_ids)};
    to->biases = px_alloc_array(from->n_logit_bias + 1, sizeof *to->biases);
    for (size_t i = 0; i < from->n_logit_bias; i++)
        to->biases[i] = (px_token_bias){from->logit_bias[i]->token, from->logit_bias[i]->bias};
    to->bad_words = px_alloc_array(from->n_bad_words + 1, sizeof *to->bad_words);
    for (size_t i = 0; i < from->n_bad_words; i++) to->bad_words[i] = slice_of(&from->bad_words[i]);
    bounds->biases = to->biases;
    bounds->bias_count = count_of(from->n_logit_bias);
    bounds->bad_words = to->bad_words;
    bounds->bad_word_count = count_of(from->n_bad_words);
}

/* The texts as the JSON array that the engine reads choices from. */
static px_status take_choice(const Phalanx__V1__Texts *from, px_submission *to)
{
    json_t *list = json_array();
    for (size_t i = 0; i < from->n_texts; i++) {
        const ProtobufCBinaryData *bytes = &from->texts[i]; /* no data where it is empty */
        json_t *text = json_stringn(bytes->len ? (const char *)bytes->data : "", bytes->len);
        if (!text) {
            json_decref(list);
            return px_fail(PX_INVALID_ARGUMENT, "text %zu of the choice is not valid UTF-8", i + 1);
        }
        json_array_append_new(list, text);
    }
    to->choice = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    to->request.bounds.form = (px_slice){to->choice, strlen(to->choice)};
    return px_ok();
}

static px_status take_form(const Phalanx__V1__Form *from, px_submission *to)
{
    px_bounds *bounds = &to->request.bounds;
    if (!from || from->kind_case == PHALANX__V1__FORM__KIND__NOT_SET) return px_ok();
    bounds->has_form = true;
    switch (from->kind_case) {
    case PHALANX__V1__FORM__KIND_JSON_SCHEMA:
        bounds->form_kind = PX_GRAMMAR_JSON_SCHEMA;
        bounds->form = slice_of(&from->json_schema);
        return px_ok();
    case PHALANX__V1__FORM__KIND_REGEX:
        bounds->form_kind = PX_GRAMMAR_REGEX;
        bounds->form = slice_of(&from->regex);
        return px_ok();
    case PHALANX__V1__FORM__KIND_GRAMMAR:
        bounds->form_kind = PX_GRAMMAR_GBNF;
        bounds->form = slice_of(&from->grammar);
        return px_ok();
    case PHALANX__V1__FORM__KIND_CHOICE:
        bounds->form_kind = PX_GRAMMAR_CHOICE;
        return take_choice(from->choice, to);
    default:
        bounds->form_kind = PX_GRAMMAR_JSON_OBJECT;
        bounds->has_form = from->json_object;
        return px_ok();
    }
}

static px_status take_stopping(const msg_stopping *from, px_request *to)
{
    if (!from) return px_ok();
    if (from->n_stop > PX_STOPS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%zu stop strings are more than the %d allowed",
            from->n_stop, PX_STOPS_MAX);
    for (size_t i = 0; i < from->n_stop; i++) {
        const ProtobufCBinaryData *stop = &from->stop[i];
        if (stop->len == 0 || stop->len > PX_STOP_BYTES_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "a stop string has %zu bytes; 1 to %d are allowed",
                stop->len, PX_STOP_BYTES_MAX);
        to->stops[i] = (px_slice){.data = (const char *)stop->data, .length = stop->len};
    }
    to->stop_count = (uint32_t)from->n_stop;
    to->max_tokens = from->max_tokens;
    to->ignore_eos = from->ignore_eos;
    to->bounds.min_tokens = from->min_tokens;
    to->stop_tokens = (px_token_list){from->stop_token_ids, count_of(from->n_stop_token_ids)};
    return px_ok();
}

static px_status take_generate(const Phalanx__V1__GenerateRequest *from, px_request *to)
{
    switch (from->prompt_case) {
    case PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT:
        to->prompt = (px_slice){.data = (const char *)from->text.data, .length = from->text.len};
        if (!to->prompt.data) to->prompt.data = "";
        return px_ok();
    case PHALANX__V1__GENERATE_REQUEST__PROMPT_TOKENS:
        if (from->tokens->n_ids == 0)
            return px_fail(PX_INVALID_ARGUMENT, "the prompt's list of tokens is empty");
        to->tokens = from->tokens->ids;
        to->token_count = from->tokens->n_ids;
        return px_ok();
    default: return px_fail(PX_INVALID_ARGUMENT, "the request has no prompt: set text or tokens");
    }
}

static px_status add_message(json_t *messages, const Phalanx__V1__ChatMessage *message)
{
    json_t *content = json_stringn((const char *)message->content.data, message->content.len);
    json_t *role = json_string(message->role);
    if (!message->content.len && !content) content = json_string("");
    json_t *entry = role && content ? json_object() : NULL;
    if (!entry) {
        json_decref(content);
        json_decref(role);
        return px_fail(
            PX_INVALID_ARGUMENT, "message %zu is not valid UTF-8", json_array_size(messages) + 1);
    }
    json_object_set_new(entry, "role", role);
    json_object_set_new(entry, "content", content);
    json_array_append_new(messages, entry);
    return px_ok();
}

static px_status take_json(const ProtobufCBinaryData *text, const char *what, json_t **out)
{
    if (text->len == 0) return px_ok();
    return px_json_parse_texts((const char *)text->data, text->len, what, out);
}

static px_status take_chat(const Phalanx__V1__ChatRequest *from, px_submission *to)
{
    if (from->n_messages == 0) return px_fail(PX_INVALID_ARGUMENT, "the chat has no messages");
    to->messages = json_array();
    for (size_t i = 0; i < from->n_messages; i++)
        PX_TRY(add_message(to->messages, from->messages[i]));
    PX_TRY(take_json(&from->tools_json, "tools_json", &to->tools));
    if (to->tools && !json_is_array(to->tools))
        return px_fail(PX_INVALID_ARGUMENT, "tools_json must be a JSON array");
    PX_TRY(take_json(&from->template_kwargs_json, "template_kwargs_json", &to->template_kwargs));
    if (to->template_kwargs && !json_is_object(to->template_kwargs))
        return px_fail(PX_INVALID_ARGUMENT, "template_kwargs_json must be a JSON object");
    to->request.messages = to->messages;
    to->request.tools = to->tools;
    to->request.template_kwargs = to->template_kwargs;
    return px_ok();
}

static px_status take_work(
    const Phalanx__V1__EngineSubmit *submit, uint64_t fresh_seed, px_submission *out)
{
    switch (submit->work_case) {
    case PHALANX__V1__ENGINE_SUBMIT__WORK_GENERATE:
        take_sampling(submit->generate->sampling, fresh_seed, &out->request.sampling);
        take_bounds(submit->generate->sampling, out);
        out->request.wants_logprobs = submit->generate->logprobs;
        out->request.top_logprobs = submit->generate->top_logprobs;
        out->request.wants_prompt_logprobs = submit->generate->prompt_logprobs__case != 0;
        out->request.top_prompt_logprobs = submit->generate->prompt_logprobs;
        out->request.resumed = (px_token_list){
            submit->generate->continue_ids, count_of(submit->generate->n_continue_ids)};
        PX_TRY(take_form(submit->generate->form, out));
        out->request.priority = submit->generate->priority;
        out->request.cache_salt = slice_of(&submit->generate->cache_salt);
        out->request.adapter = slice_of_text(submit->generate->adapter);
        PX_TRY(take_stopping(submit->generate->stopping, &out->request));
        return take_generate(submit->generate, &out->request);
    case PHALANX__V1__ENGINE_SUBMIT__WORK_CHAT:
        take_sampling(submit->chat->sampling, fresh_seed, &out->request.sampling);
        take_bounds(submit->chat->sampling, out);
        out->request.wants_logprobs = submit->chat->logprobs;
        out->request.top_logprobs = submit->chat->top_logprobs;
        out->request.wants_prompt_logprobs = submit->chat->prompt_logprobs__case != 0;
        out->request.top_prompt_logprobs = submit->chat->prompt_logprobs;
        out->request.resumed =
            (px_token_list){submit->chat->continue_ids, count_of(submit->chat->n_continue_ids)};
        PX_TRY(take_form(submit->chat->form, out));
        out->request.priority = submit->chat->priority;
        out->request.cache_salt = slice_of(&submit->chat->cache_salt);
        out->request.adapter = slice_of_text(submit->chat->adapter);
        PX_TRY(take_stopping(submit->chat->stopping, &out->request));
        return take_chat(submit->chat, out);
    case PHALANX__V1__ENGINE_SUBMIT__WORK_EMBED:
        out->request.priority = submit->embed->priority;
        out->request.cache_salt = slice_of(&submit->embed->cache_salt);
        out->request.adapter = slice_of_text(submit->embed->adapter);
        return px_inputs_embed(submit->embed, &out->inputs, &out->request.vectors);
    case PHALANX__V1__ENGINE_SUBMIT__WORK_SCORE:
        out->request.priority = submit->score->priority;
        out->request.cache_salt = slice_of(&submit->score->cache_salt);
        out->request.adapter = slice_of_text(submit->score->adapter);
        return px_inputs_score(submit->score, &out->inputs, &out->request.vectors);
    default: return px_fail(PX_INVALID_ARGUMENT, "the submission holds no work");
    }
}

px_status px_submission_make(const Phalanx__V1__EngineSubmit *submit,
    const px_submission_context *context, px_submission *out)
{
    *out = (px_submission){0};
    px_status status = take_work(submit, context->fresh_seed, out);
    if (!px_is_ok(status)) {
        px_submission_done(out);
        return status;
    }
    out->request.tenant = slice_of_text(submit->tenant);
    out->request.tenant_weight = submit->tenant_weight;
    /* Half a century is as good as no deadline, and cannot overflow. */
    if (submit->timeout_us && submit->timeout_us < INT64_MAX / 4000)
        out->request.deadline_ns = context->now_ns + (int64_t)submit->timeout_us * 1000;
    return px_ok();
}

void px_submission_done(px_submission *submission)
{
    json_decref(submission->messages);
    json_decref(submission->tools);
    json_decref(submission->template_kwargs);
    free(submission->biases);
    free(submission->bad_words);
    free(submission->choice);
    px_inputs_done(&submission->inputs);
    *submission = (px_submission){0};
}
