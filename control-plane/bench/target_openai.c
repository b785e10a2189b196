/* target_openai.c - any server with OpenAI's HTTP interface: /v1/completions for prompts,
 * /v1/chat/completions for conversations, both streamed. */
#include <stdlib.h>
#include <string.h>

#include "control/bench/event_stream.h"
#include "control/bench/target.h"
#include "http/http.h"

enum { EVENT_BYTES_MAX = 1 << 20, REQUEST_BYTES_MAX = 64 << 20, REFUSAL_BYTES_MAX = 4096 };

typedef struct openai_call openai_call;

typedef struct openai_target {
    px_target target;
    px_loop *loop;
    px_http *http;
    char base[512];     /* up to and with /v1 */
    openai_call *calls; /* under way */
} openai_target;

struct openai_call {
    openai_call *next, **link; /* of target->calls */
    px_http_call *exchange;
    px_target_ask ask;
    px_target_usage usage;
    px_event_stream events;
    px_buf refusal;   /* the start of the body, for when it is an error */
    px_status status; /* of what the events say */
};

/* ------------------------------------------------------------------------------ request */

static void put_prompt(px_buf *body, const px_prompt *prompt)
{
    if (prompt->messages) {
        char *messages = json_dumps(prompt->messages, JSON_COMPACT);
        px_buf_printf(body, ",\"messages\":%s", messages ? messages : "[]");
        free(messages);
        return;
    }
    px_buf_puts(body, ",\"prompt\":");
    if (prompt->text) {
        px_json_quote(body, prompt->text, strlen(prompt->text));
        return;
    }
    for (uint32_t i = 0; i < prompt->id_count; i++)
        px_buf_printf(body, "%c%u", i ? ',' : '[', prompt->ids[i]);
    px_buf_putc(body, ']');
}

static void put_request(px_buf *body, const px_target_ask *ask)
{
    px_buf_puts(body, "{\"model\":");
    px_json_quote(body, ask->model, strlen(ask->model));
    put_prompt(body, ask->prompt);
    px_buf_printf(body,
        ",\"max_tokens\":%u,\"temperature\":%g,\"seed\":%u,\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true}",
        ask->max_tokens, ask->temperature, (uint32_t)(ask->seed & INT32_MAX));
    /* Not OpenAI's own, but every server that people benchmark knows it. */
    if (ask->ignore_eos) px_buf_puts(body, ",\"ignore_eos\":true");
    px_buf_putc(body, '}');
}

/* ------------------------------------------------------------------------------- answer */

static uint32_t count_of(const json_t *usage, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(usage, key));
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : 0;
}

/* Whether a choice of the chunk brings text: as a completion, a chat's delta, or its reasoning. */
static bool brings_text(const json_t *choice)
{
    static const char *const keys[] = {"content", "reasoning_content", "reasoning"};
    if (json_string_length(json_object_get(choice, "text"))) return true;
    const json_t *delta = json_object_get(choice, "delta");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_string_length(json_object_get(delta, keys[i]))) return true;
    return json_array_size(json_object_get(delta, "tool_calls")) > 0;
}

static px_status error_of(const json_t *error, px_code code)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    if (!message) message = json_string_value(error);
    return px_fail(code, "the server says: %s", message ? message : "an error without a message");
}

static void on_event(void *arg, px_slice data)
{
    openai_call *call = arg;
    if (strcmp(data.data, "[DONE]") == 0) return;
    json_t *root;
    px_status status = px_json_parse(data.data, data.length, "the server's event", &root);
    if (!px_is_ok(status)) {
        if (px_is_ok(call->status)) call->status = status;
        return;
    }
    const json_t *usage = json_object_get(root, "usage"), *error = json_object_get(root, "error");
    if (brings_text(json_array_get(json_object_get(root, "choices"), 0)))
        call->ask.on_part(call->ask.arg, 1);
    if (json_is_object(usage))
        call->usage = (px_target_usage){
            count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens")};
    if (error && !json_is_null(error) && px_is_ok(call->status))
        call->status = error_of(error, PX_UNKNOWN);
    json_decref(root);
}

static void on_data(void *arg, px_slice bytes)
{
    openai_call *call = arg;
    size_t room = REFUSAL_BYTES_MAX - call->refusal.length;
    px_buf_append(&call->refusal, bytes.data, bytes.length < room ? bytes.length : room);
    px_event_stream_feed(&call->events, bytes);
}

static px_status refusal_status(const openai_call *call, long http_code)
{
    px_code code = http_code == 429                       ? PX_RESOURCE_EXHAUSTED
                   : http_code == 404                     ? PX_NOT_FOUND
                   : http_code == 401 || http_code == 403 ? PX_PERMISSION_DENIED
                   : http_code == 503                     ? PX_UNAVAILABLE
                   : http_code < 500                      ? PX_INVALID_ARGUMENT
                                                          : PX_INTERNAL;
    json_t *root = json_loadb(px_buf_text(&call->refusal), call->refusal.length, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    px_status status = error ? error_of(error, code)
                             : px_fail(code, "the server says: %s", px_buf_text(&call->refusal));
    json_decref(root);
    return px_prefix(status, "HTTP %ld", http_code);
}

static void end(openai_call *call, px_status status)
{
    *call->link = call->next;
    if (call->next) call->next->link = call->link;
    call->ask.on_done(call->ask.arg, status, call->usage);
    px_event_stream_done(&call->events);
    px_buf_done(&call->refusal);
    free(call);
}

static void on_done(void *arg, px_status status, long http_code, px_slice body)
{
    openai_call *call = arg;
    if (px_is_ok(status) && http_code != 200) status = refusal_status(call, http_code);
    if (px_is_ok(status) && px_event_stream_overflowed(&call->events))
        status = px_fail(
            PX_RESOURCE_EXHAUSTED, "the server sent an event over %d bytes", EVENT_BYTES_MAX);
    end(call, px_is_ok(status) ? call->status : status);
}

/* ------------------------------------------------------------------------------- target */

static void ask_openai(px_target *target, const px_target_ask *ask)
{
    openai_target *t = (openai_target *)target;
    openai_call *call = px_alloc(sizeof *call);
    call->ask = *ask;
    call->next = t->calls;
    call->link = &t->calls;
    if (call->next) call->next->link = &call->next;
    t->calls = call;
    px_buf_init(&call->refusal, REFUSAL_BYTES_MAX);
    px_event_stream_init(&call->events, EVENT_BYTES_MAX);
    call->events.on_event = on_event;
    call->events.arg = call;
    char url[sizeof t->base + 32];
    snprintf(url, sizeof url, "%s/%s", t->base,
        ask->prompt->messages ? "chat/completions" : "completions");
    px_buf body;
    px_buf_init(&body, REQUEST_BYTES_MAX);
    put_request(&body, ask);
    call->exchange = px_http_start(t->http, &(px_http_post){.url = url,
                                                .body = {px_buf_text(&body), body.length},
                                                .timeout_ns = ask->timeout_ns,
                                                .on_data = on_data,
                                                .on_done = on_done,
                                                .arg = call});
    px_buf_done(&body);
}

static void run_openai(px_target *target)
{
    px_loop_run(((openai_target *)target)->loop);
}

static void stop_openai(px_target *target)
{
    px_loop_stop(((openai_target *)target)->loop);
}

static void free_openai(px_target *target)
{
    openai_target *t = (openai_target *)target;
    while (t->calls) {
        px_http_cancel(t->calls->exchange);
        end(t->calls, px_fail(PX_CANCELLED, "the benchmark ended"));
    }
    px_http_free(t->http);
    free(t);
}

px_status px_target_openai(px_loop *loop, const char *base, const char *key, px_target **out)
{
    openai_target *t = px_alloc(sizeof *t);
    t->target = (px_target){ask_openai, run_openai, stop_openai, free_openai};
    t->loop = loop;
    size_t length = strlen(base);
    while (length && base[length - 1] == '/') length--;
    bool versioned = length >= 3 && memcmp(base + length - 3, "/v1", 3) == 0;
    px_buf bearer;
    px_buf_init(&bearer, 4096);
    px_buf_printf(&bearer, "Authorization: Bearer %s", key ? key : "");
    const char *headers[] = {key ? px_buf_text(&bearer) : NULL, NULL};
    px_status status = px_fail(PX_INVALID_ARGUMENT, "'%s' is not the address of a server", base);
    if (length + 4 < sizeof t->base && !bearer.overflowed)
        status = px_http_create(loop, headers, &t->http);
    px_buf_done(&bearer);
    if (!px_is_ok(status)) {
        free(t);
        return status;
    }
    snprintf(t->base, sizeof t->base, "%.*s%s", (int)length, base, versioned ? "" : "/v1");
    *out = &t->target;
    return px_ok();
}
