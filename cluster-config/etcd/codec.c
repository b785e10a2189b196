#include "etcd/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "etcd/base64.h"

enum { DECODED_BYTES_MAX = 32 << 20 };

/* ------------------------------------------------------------------------------ encoding */

static void put_base64(px_buf *out, const char *field, px_slice bytes)
{
    px_buf_printf(out, "\"%s\":\"", field);
    px_base64_encode(out, bytes.data, bytes.length);
    px_buf_putc(out, '"');
}

static void put_key(px_buf *out, const char *key)
{
    put_base64(out, "key", (px_slice){key, strlen(key)});
}

/* All keys with a prefix are those below the prefix with its last byte one higher; ours end in
 * '/' or a digit, never in 0xff. */
static void put_prefix_end(px_buf *out, const char *prefix)
{
    char end[256];
    size_t length = strlen(prefix);
    PX_ASSERT(length > 0 && length < sizeof end);
    memcpy(end, prefix, length);
    end[length - 1]++;
    px_buf_putc(out, ',');
    put_base64(out, "range_end", (px_slice){end, length});
}

static void put_key_range(px_buf *out, const px_etcd_op *op)
{
    put_key(out, op->key);
    if (op->prefix) {
        put_prefix_end(out, op->key);
    } else if (op->end) {
        px_buf_putc(out, ',');
        put_base64(out, "range_end", (px_slice){op->end, strlen(op->end)});
    }
}

static void put_op(px_buf *out, const px_etcd_op *op)
{
    static const char *const names[] = {
        [PX_ETCD_PUT] = "request_put",
        [PX_ETCD_DELETE] = "request_delete_range",
        [PX_ETCD_RANGE] = "request_range",
    };
    px_buf_printf(out, "{\"%s\":{", names[op->kind]);
    if (op->kind == PX_ETCD_PUT) {
        put_key(out, op->key);
        px_buf_putc(out, ',');
        put_base64(out, "value", op->value);
        px_buf_printf(out, ",\"lease\":\"%lld\"", (long long)op->lease);
    } else {
        put_key_range(out, op);
    }
    px_buf_puts(out, "}}");
}

void px_etcd_encode_range(px_buf *out, const px_etcd_op *op)
{
    px_buf_putc(out, '{');
    put_key_range(out, op);
    px_buf_putc(out, '}');
}

void px_etcd_encode_txn(px_buf *out, const px_etcd_compare *compares, size_t compare_count,
    const px_etcd_op *ops, size_t op_count)
{
    px_buf_puts(out, "{\"compare\":[");
    for (size_t i = 0; i < compare_count; i++) {
        px_buf_puts(out, i ? ",{" : "{");
        put_key(out, compares[i].key);
        px_buf_printf(out,
            ",\"target\":\"CREATE\",\"result\":\"EQUAL\",\"create_revision\":\"%lld\"}",
            (long long)compares[i].create_revision);
    }
    px_buf_puts(out, "],\"success\":[");
    for (size_t i = 0; i < op_count; i++) {
        if (i) px_buf_putc(out, ',');
        put_op(out, &ops[i]);
    }
    px_buf_puts(out, "]}");
}

void px_etcd_encode_watch(px_buf *out, const char *prefix, int64_t start_revision)
{
    px_buf_puts(out, "{\"create_request\":{");
    put_key(out, prefix);
    put_prefix_end(out, prefix);
    px_buf_printf(
        out, ",\"start_revision\":\"%lld\",\"progress_notify\":true}}", (long long)start_revision);
}

/* ------------------------------------------------------------------------------ decoding */

/* etcd writes 64-bit integers as strings, some gateways as numbers; a missing one is zero. */
static int64_t get_int64(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value)) return json_integer_value(value);
    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10) : 0;
}

static px_status get_bytes(px_arena *arena, const json_t *object, const char *key, px_slice *out)
{
    const json_t *value = json_object_get(object, key);
    px_slice text = {json_string_value(value), json_string_length(value)};
    if (!value) text = (px_slice){"", 0};
    if (!text.data) return px_fail(PX_INTERNAL, "etcd's answer: '%s' is not a string", key);
    out->data = px_base64_decode(arena, text, &out->length);
    if (!out->data) return px_fail(PX_INTERNAL, "etcd's answer: '%s' is not base64", key);
    return px_ok();
}

/* *out_kept false: the key is not one of ours. */
static px_status decode_kv(px_arena *arena, const json_t *object, px_etcd_kv *kv, bool *out_kept)
{
    px_slice key;
    PX_TRY(get_bytes(arena, object, "key", &key));
    PX_TRY(get_bytes(arena, object, "value", &kv->value));
    kv->key = key.data;
    kv->create_revision = get_int64(object, "create_revision");
    kv->mod_revision = get_int64(object, "mod_revision");
    kv->lease = get_int64(object, "lease");
    *out_kept = memchr(key.data, '\0', key.length) == NULL;
    return px_ok();
}

/* Appends the kvs of one range's answer; `result->kvs` has room. */
static px_status decode_kvs(const json_t *range, px_etcd_result *result)
{
    const json_t *kvs = json_object_get(range, "kvs");
    size_t index;
    json_t *item;
    json_array_foreach(kvs, index, item)
    {
        bool kept;
        PX_TRY(decode_kv(&result->arena, item, &result->kvs[result->count], &kept));
        result->count += kept;
    }
    return px_ok();
}

static const json_t *response_range(const json_t *response)
{
    return json_object_get(response, "response_range");
}

static px_status decode_answer(const json_t *root, px_etcd_result *result)
{
    const json_t *responses = json_object_get(root, "responses");
    size_t room = json_array_size(json_object_get(root, "kvs")), index;
    json_t *item;
    json_array_foreach(responses, index, item) room +=
        json_array_size(json_object_get(response_range(item), "kvs"));
    result->kvs = px_arena_alloc(&result->arena, (room + 1) * sizeof *result->kvs);
    if (!result->kvs) return px_fail(PX_RESOURCE_EXHAUSTED, "etcd's answer is too large");

    result->revision = get_int64(json_object_get(root, "header"), "revision");
    result->succeeded = json_is_true(json_object_get(root, "succeeded"));
    result->lease = get_int64(root, "ID");
    result->ttl_s = get_int64(root, "TTL");
    PX_TRY(decode_kvs(root, result));
    json_array_foreach(responses, index, item) PX_TRY(decode_kvs(response_range(item), result));
    return px_ok();
}

/* {"error":TEXT,"code":N} of a unary call, {"error":{"grpc_code":N,"message":TEXT}} of a stream. */
static px_status error_of(const json_t *root, long http_code)
{
    const json_t *error = json_object_get(root, "error");
    const char *text = json_string_value(json_object_get(root, "message"));
    int64_t code = get_int64(root, "code");
    if (json_is_object(error)) {
        text = json_string_value(json_object_get(error, "message"));
        code = get_int64(error, "grpc_code");
    } else if (json_is_string(error) && !text) {
        text = json_string_value(error);
    }
    if (http_code == 503 && code == 0) code = PX_UNAVAILABLE;
    if (code <= 0 || code >= PX_CODE_COUNT) code = PX_INTERNAL;
    if (text) return px_fail((px_code)code, "etcd: %s", text);
    return px_fail((px_code)code, "etcd: HTTP %ld", http_code);
}

px_status px_etcd_decode(long http_code, px_slice body, px_etcd_result *result)
{
    *result = (px_etcd_result){0};
    px_arena_init(&result->arena, DECODED_BYTES_MAX);
    json_t *root = NULL;
    px_status status = px_json_parse(body.data, body.length, "etcd's answer", &root);
    if (http_code != 200) {
        status = error_of(root, http_code);
    } else if (px_is_ok(status)) {
        /* Answers of streams (lease keep-alive) come wrapped. */
        const json_t *inner = json_object_get(root, "result");
        if (json_object_get(root, "error"))
            status = error_of(root, http_code);
        else
            status = decode_answer(inner ? inner : root, result);
    } else {
        status.code = PX_INTERNAL;
    }
    json_decref(root);
    if (!px_is_ok(status)) {
        px_etcd_result_done(result);
        px_arena_init(&result->arena, DECODED_BYTES_MAX);
    }
    return status;
}

void px_etcd_result_done(px_etcd_result *result)
{
    px_arena_done(&result->arena);
    *result = (px_etcd_result){0};
}

static px_status decode_changes(const json_t *events, px_etcd_watch_message *message)
{
    message->changes =
        px_arena_alloc(&message->arena, (json_array_size(events) + 1) * sizeof *message->changes);
    if (!message->changes)
        return px_fail(PX_RESOURCE_EXHAUSTED, "etcd's watch message is too large");
    size_t index;
    json_t *event;
    json_array_foreach(events, index, event)
    {
        px_etcd_change *change = &message->changes[message->count];
        const char *type = json_string_value(json_object_get(event, "type"));
        change->deleted = type && strcmp(type, "DELETE") == 0; /* PUT is the zero value: left out */
        bool kept;
        PX_TRY(decode_kv(&message->arena, json_object_get(event, "kv"), &change->kv, &kept));
        message->count += kept;
    }
    return px_ok();
}

px_status px_etcd_decode_watch(px_slice line, px_etcd_watch_message *message)
{
    *message = (px_etcd_watch_message){0};
    px_arena_init(&message->arena, DECODED_BYTES_MAX);
    json_t *root = NULL;
    px_status status = px_json_parse(line.data, line.length, "etcd's watch", &root);
    if (!px_is_ok(status)) {
        status.code = PX_INTERNAL;
    } else if (json_object_get(root, "error")) {
        status = error_of(root, 200);
    } else {
        const json_t *result = json_object_get(root, "result");
        message->revision = get_int64(json_object_get(result, "header"), "revision");
        message->cancelled = json_is_true(json_object_get(result, "canceled"));
        message->compact_revision = get_int64(result, "compact_revision");
        status = decode_changes(json_object_get(result, "events"), message);
    }
    json_decref(root);
    if (!px_is_ok(status)) px_etcd_watch_message_done(message);
    return status;
}

void px_etcd_watch_message_done(px_etcd_watch_message *message)
{
    px_arena_done(&message->arena);
    *message = (px_etcd_watch_message){0};
}
