#include "control/front/validate.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/term.h"
#include "control/cluster/spec.h"

enum {
    STOPS_MAX = 16, /* these two stand in inference.proto */
    STOP_BYTES_MAX = 256,
    MESSAGES_MAX = 4096,
    ROLE_BYTES_MAX = 64,
    REQUEST_ID_BYTES_MAX = 256,
    TENANT_BYTES_MAX = 128, /* these three are the engine's */
    CACHE_SALT_BYTES_MAX = 256,
    PRIORITY_MAX = 100,
    CHOICES_MAX = 128, /* these two stand in inference.proto, and are the engine's */
    TOP_LOGPROBS_MAX = 20,
    INPUTS_MAX = 128,
    LABELS_MAX = 256,
    TEMPLATE_BYTES_MAX = 64 * 1024,
};

static px_status check_utf8(const void *bytes, size_t length, const char *field)
{
    size_t valid = px_utf8_valid_prefix(bytes, length);
    if (valid == length) return px_ok();
    return px_fail(
        PX_INVALID_ARGUMENT, "'%s' is not valid UTF-8 (at byte %zu of %zu)", field, valid, length);
}

static px_status check_bytes(ProtobufCBinaryData bytes, const char *field)
{
    return check_utf8(bytes.data, bytes.len, field);
}

static px_status check_request_id(const char *id)
{
    if (strlen(id) > REQUEST_ID_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'request_id' has %zu bytes, more than %d", strlen(id),
            REQUEST_ID_BYTES_MAX);
    return check_utf8(id, strlen(id), "request_id");
}

static px_status check_sampling(const Phalanx__V1__Sampling *sampling)
{
    if (!sampling) return px_ok();
    if (sampling->temperature__case &&
        !(sampling->temperature >= 0 && sampling->temperature <= 100))
        return px_fail(PX_INVALID_ARGUMENT, "'temperature' must be between 0 and 100, not %g",
            sampling->temperature);
    if (sampling->top_p__case && !(sampling->top_p > 0 && sampling->top_p <= 1))
        return px_fail(
            PX_INVALID_ARGUMENT, "'top_p' must be above 0 and at most 1, not %g", sampling->top_p);
    if (!(sampling->min_p >= 0 && sampling->min_p <= 1))
        return px_fail(
            PX_INVALID_ARGUMENT, "'min_p' must be between 0 and 1, not %g", sampling->min_p);
    return px_ok();
}

typedef struct told { /* what else is asked for about the answers; `sampling` may be NULL */
    const Phalanx__V1__Sampling *sampling;
    size_t continue_ids;
    bool logprobs, prompt_logprobs;
    uint32_t top_logprobs, top_prompt_logprobs;
} told;

static px_status check_choices(const told *asked)
{
    if (!asked->sampling) return px_ok();
    uint32_t n = asked->sampling->n ? asked->sampling->n : 1;
    uint32_t best_of = asked->sampling->best_of ? asked->sampling->best_of : n;
    if (n > CHOICES_MAX || best_of > CHOICES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'n' and 'best_of' are at most %d, not %u", CHOICES_MAX,
            n > best_of ? n : best_of);
    if (n > best_of)
        return px_fail(PX_INVALID_ARGUMENT,
            "'best_of' must be at least 'n': %u answers cannot be "
            "the best of %u",
            n, best_of);
    if (best_of > 1 && asked->continue_ids)
        return px_fail(PX_INVALID_ARGUMENT,
            "'continue_ids' go on with one answer: 'n' and 'best_of' must be 1, not %u", best_of);
    return px_ok();
}

static px_status check_told(const told *asked)
{
    PX_TRY(check_choices(asked));
    if (asked->top_logprobs > TOP_LOGPROBS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'top_logprobs' is at most %d, not %u",
            TOP_LOGPROBS_MAX, asked->top_logprobs);
    if (asked->top_logprobs && !asked->logprobs)
        return px_fail(PX_INVALID_ARGUMENT,
            "'top_logprobs' stand beside each token's own: set 'logprobs' too");
    if (asked->prompt_logprobs && asked->top_prompt_logprobs > TOP_LOGPROBS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'prompt_logprobs' is at most %d, not %u",
            TOP_LOGPROBS_MAX, asked->top_prompt_logprobs);
    if (asked->prompt_logprobs && asked->continue_ids)
        return px_fail(PX_INVALID_ARGUMENT,
            "'prompt_logprobs' come before the answer: not with 'continue_ids'");
    return px_ok();
}

#define TOLD_OF(request)                                                                           \
    (&(told){.sampling = (request)->sampling,                                                      \
        .continue_ids = (request)->n_continue_ids,                                                 \
        .logprobs = (request)->logprobs,                                                           \
        .top_logprobs = (request)->top_logprobs,                                                   \
        .prompt_logprobs = (request)->prompt_logprobs__case != 0,                                  \
        .top_prompt_logprobs = (request)->prompt_logprobs})

static px_status check_stopping(const Phalanx__V1__Stopping *stopping)
{
    if (!stopping) return px_ok();
    if (stopping->n_stop > STOPS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'stop' has %zu strings, more than %d",
            stopping->n_stop, STOPS_MAX);
    for (size_t i = 0; i < stopping->n_stop; i++) {
        size_t length = stopping->stop[i].len;
        if (length == 0 || length > STOP_BYTES_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "a 'stop' string must have 1 to %d bytes, not %zu",
                STOP_BYTES_MAX, length);
        PX_TRY(check_bytes(stopping->stop[i], "stop"));
    }
    return px_ok();
}

static px_status check_json(ProtobufCBinaryData bytes, const char *field, bool want_array)
{
    if (!bytes.len) return px_ok();
    json_t *value;
    PX_TRY(px_json_parse_texts((const char *)bytes.data, bytes.len, field, &value));
    bool fits = want_array ? json_is_array(value) : json_is_object(value);
    json_decref(value);
    if (fits) return px_ok();
    return px_fail(
        PX_INVALID_ARGUMENT, "'%s' must be a JSON %s", field, want_array ? "array" : "object");
}

px_status px_validate_tenant(const char *tenant)
{
    if (!tenant) return px_ok();
    if (strlen(tenant) > TENANT_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'phalanx-tenant' has %zu bytes, more than %d",
            strlen(tenant), TENANT_BYTES_MAX);
    return check_utf8(tenant, strlen(tenant), "phalanx-tenant");
}

static px_status check_order(int32_t priority, ProtobufCBinaryData cache_salt)
{
    if (priority < -PRIORITY_MAX || priority > PRIORITY_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'priority' must be from %d (soonest) to %d, not %d",
            -PRIORITY_MAX, PRIORITY_MAX, priority);
    if (cache_salt.len > CACHE_SALT_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'cache_salt' has %zu bytes, more than %d",
            cache_salt.len, CACHE_SALT_BYTES_MAX);
    return px_ok();
}

static px_status check_adapter(const char *name)
{
    return name[0] ? px_name_check(name, "an adapter's name") : px_ok();
}

px_status px_validate_generate(const Phalanx__V1__GenerateRequest *request)
{
    switch (request->prompt_case) {
    case PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT:
        if (!request->text.len) return px_fail(PX_INVALID_ARGUMENT, "the prompt's text is empty");
        PX_TRY(check_bytes(request->text, "text"));
        break;
    case PHALANX__V1__GENERATE_REQUEST__PROMPT_TOKENS:
        if (!request->tokens->n_ids)
            return px_fail(PX_INVALID_ARGUMENT, "the prompt's token ids are empty");
        break;
    default: return px_fail(PX_INVALID_ARGUMENT, "the prompt is missing: set 'text' or 'tokens'");
    }
    PX_TRY(check_sampling(request->sampling));
    PX_TRY(check_stopping(request->stopping));
    PX_TRY(check_told(TOLD_OF(request)));
    PX_TRY(check_adapter(request->adapter));
    PX_TRY(check_order(request->priority, request->cache_salt));
    return check_request_id(request->request_id);
}

static px_status check_message(const Phalanx__V1__ChatMessage *message, size_t index)
{
    size_t role_bytes = strlen(message->role);
    if (!role_bytes || role_bytes > ROLE_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "message %zu: 'role' must have 1 to %d bytes, such as user, assistant or system", index,
            ROLE_BYTES_MAX);
    PX_TRY(px_prefix(check_utf8(message->role, role_bytes, "role"), "message %zu", index));
    return px_prefix(check_bytes(message->content, "content"), "message %zu", index);
}

px_status px_validate_chat(const Phalanx__V1__ChatRequest *request)
{
    if (!request->n_messages) return px_fail(PX_INVALID_ARGUMENT, "there are no messages");
    if (request->n_messages > MESSAGES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "there are %zu messages, more than %d",
            request->n_messages, MESSAGES_MAX);
    for (size_t i = 0; i < request->n_messages; i++) PX_TRY(check_message(request->messages[i], i));
    PX_TRY(check_json(request->tools_json, "tools_json", true));
    PX_TRY(check_json(request->template_kwargs_json, "template_kwargs_json", false));
    PX_TRY(check_sampling(request->sampling));
    PX_TRY(check_stopping(request->stopping));
    PX_TRY(check_told(TOLD_OF(request)));
    PX_TRY(check_adapter(request->adapter));
    PX_TRY(check_order(request->priority, request->cache_salt));
    return check_request_id(request->request_id);
}

static px_status check_input(const Phalanx__V1__Input *input, size_t index)
{
    if (input->kind_case == PHALANX__V1__INPUT__KIND_TOKENS && input->tokens->n_ids) return px_ok();
    if (input->kind_case == PHALANX__V1__INPUT__KIND_TEXT && input->text.len)
        return px_prefix(check_bytes(input->text, "text"), "input %zu", index);
    return px_fail(
        PX_INVALID_ARGUMENT, "input %zu is empty: set 'text' or 'tokens' to something", index);
}

px_status px_validate_embed(const Phalanx__V1__EmbedRequest *request)
{
    if (!request->n_inputs || request->n_inputs > INPUTS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "there must be 1 to %d 'inputs', not %zu", INPUTS_MAX,
            request->n_inputs);
    for (size_t i = 0; i < request->n_inputs; i++) PX_TRY(check_input(request->inputs[i], i));
    if ((unsigned)request->pooling > PHALANX__V1__POOLING__POOLING_MEAN)
        return px_fail(PX_INVALID_ARGUMENT, "'pooling' %d is none", (int)request->pooling);
    PX_TRY(check_adapter(request->adapter));
    PX_TRY(check_order(request->priority, request->cache_salt));
    return check_request_id(request->request_id);
}

static bool has_mark(ProtobufCBinaryData template, const char *mark)
{
    return template.len && memmem(template.data, template.len, mark, strlen(mark));
}

px_status px_validate_score(const Phalanx__V1__ScoreRequest *request)
{
    if (!request->n_documents || request->n_documents >= INPUTS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "there must be 1 to %d 'documents', not %zu",
            INPUTS_MAX - 1, request->n_documents);
    for (size_t i = 0; i < request->n_documents; i++) {
        if (!request->documents[i].len)
            return px_fail(PX_INVALID_ARGUMENT, "document %zu is empty", i);
        PX_TRY(px_prefix(check_bytes(request->documents[i], "documents"), "document %zu", i));
    }
    PX_TRY(check_bytes(request->query, "query"));
    PX_TRY(check_bytes(request->template_, "template"));
    if (request->template_.len > TEMPLATE_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'template' has %zu bytes, more than %d",
            request->template_.len, TEMPLATE_BYTES_MAX);
    if (request->template_.len && !has_mark(request->template_, "{document}"))
        return px_fail(PX_INVALID_ARGUMENT, "'template' has no place for the {document}");
    if (!request->template_.len && request->n_label_token_ids)
        return px_fail(PX_INVALID_ARGUMENT, "'label_token_ids' stand behind a text: give its "
                                            "'template', with {query} and {document}");
    if (!request->template_.len && !request->query.len)
        return px_fail(PX_INVALID_ARGUMENT, "the 'query' is empty");
    if (request->n_label_token_ids > LABELS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "'label_token_ids' are %zu, more than %d",
            request->n_label_token_ids, LABELS_MAX);
    PX_TRY(check_adapter(request->adapter));
    PX_TRY(check_order(request->priority, request->cache_salt));
    return check_request_id(request->request_id);
}

px_status px_validate_tokenize(const Phalanx__V1__TokenizeRequest *request)
{
    return check_bytes(request->text, "text");
}
