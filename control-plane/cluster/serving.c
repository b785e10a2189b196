#include "control/cluster/serving.h"

#include <string.h>

#include "base/json.h"

static const double scale_max = 64, latency_ms_max = 3600 * 1000, batch_max = 65536;

px_status px_serving_check(const px_serving *serving)
{
    if (serving->batch_size > batch_max)
        return px_fail(
            PX_INVALID_ARGUMENT, "batch_size %u is above %.0f", serving->batch_size, batch_max);
    if (serving->max_latency_ms > latency_ms_max)
        return px_fail(
            PX_INVALID_ARGUMENT, "max_latency_ms %u is above an hour", serving->max_latency_ms);
    bool is_scale = serving->scale_factor >= 1 && serving->scale_factor <= scale_max;
    if (serving->scale_factor != 0 && !is_scale)
        return px_fail(PX_INVALID_ARGUMENT, "scale_factor must be from 1 to %.0f, not %g",
            scale_max, serving->scale_factor);
    if (serving->speculate_max > PX_SERVING_PROPOSALS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "speculate_max %u is above %d", serving->speculate_max,
            PX_SERVING_PROPOSALS_MAX);
    if (strcmp(serving->speculate, "draft") == 0 && !serving->draft_model[0])
        return px_fail(PX_INVALID_ARGUMENT, "speculate 'draft' wants a draft_model");
    if (serving->kv_park_bytes < -1)
        return px_fail(PX_INVALID_ARGUMENT,
            "kv_park_bytes is a number of bytes, 0 for the engine's choice or -1 for none");
    return px_ok();
}

static px_status take_path(const char *from, const char *name, char to[PX_SERVING_PATH_BYTES])
{
    size_t length = strlen(from);
    if (length >= PX_SERVING_PATH_BYTES)
        return px_fail(
            PX_INVALID_ARGUMENT, "%s is longer than %d bytes", name, PX_SERVING_PATH_BYTES - 1);
    if (length && from[0] != '/')
        return px_fail(PX_INVALID_ARGUMENT, "%s must be an absolute path", name);
    memcpy(to, from, length + 1);
    return px_ok();
}

static px_status take_speculate(const char *from, px_serving *out)
{
    static const char *const known[] = {"", "off", "lookup", "draft"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(from, known[i]) != 0) continue;
        memcpy(out->speculate, from, strlen(from) + 1);
        return px_ok();
    }
    return px_fail(PX_INVALID_ARGUMENT, "speculate must be off, lookup or draft");
}

typedef struct texts { /* borrowed */
    const char *folder, *draft_model, *speculate;
} texts;

static px_status take_texts(const texts *from, px_serving *out)
{
    PX_TRY(take_path(from->folder, "kv_park_folder", out->kv_park_folder));
    PX_TRY(take_path(from->draft_model, "draft_model", out->draft_model));
    return take_speculate(from->speculate, out);
}

px_status px_serving_take(const Phalanx__V1__Serving *message, px_serving *out)
{
    px_serving serving = {0};
    if (message) {
        serving.batch_size = message->batch_size;
        serving.max_latency_ms = message->max_latency_ms;
        serving.scale_factor = message->scale_factor;
        serving.queue_max = message->queue_max;
        serving.queue_tokens_max = message->queue_tokens_max;
        serving.kv_park_bytes = message->kv_park_bytes;
        serving.no_prefix_cache = message->no_prefix_cache;
        serving.speculate_max = message->speculate_max;
        texts from = {message->kv_park_folder, message->draft_model, message->speculate};
        PX_TRY(take_texts(&from, &serving));
    }
    PX_TRY(px_serving_check(&serving));
    *out = serving;
    return px_ok();
}

void px_serving_fill(const px_serving *serving, Phalanx__V1__Serving *out)
{
    phalanx__v1__serving__init(out);
    out->batch_size = serving->batch_size;
    out->max_latency_ms = serving->max_latency_ms;
    out->scale_factor = serving->scale_factor;
    out->queue_max = serving->queue_max;
    out->queue_tokens_max = serving->queue_tokens_max;
    out->kv_park_bytes = serving->kv_park_bytes;
    out->kv_park_folder = (char *)serving->kv_park_folder;
    out->no_prefix_cache = serving->no_prefix_cache != 0;
    out->speculate = (char *)serving->speculate;
    out->draft_model = (char *)serving->draft_model;
    out->speculate_max = serving->speculate_max;
}

json_t *px_serving_encode(const px_serving *serving)
{
    json_t *object = json_pack("{s:I, s:I, s:f, s:I, s:I, s:I, s:s, s:b, s:s, s:s, s:I}",
        "batch_size", (json_int_t)serving->batch_size, "max_latency_ms",
        (json_int_t)serving->max_latency_ms, "scale_factor", serving->scale_factor, "queue_max",
        (json_int_t)serving->queue_max, "queue_tokens_max", (json_int_t)serving->queue_tokens_max,
        "kv_park_bytes", (json_int_t)serving->kv_park_bytes, "kv_park_folder",
        serving->kv_park_folder, "no_prefix_cache", (int)serving->no_prefix_cache, "speculate",
        serving->speculate, "draft_model", serving->draft_model, "speculate_max",
        (json_int_t)serving->speculate_max);
    PX_ASSERT(object);
    return object;
}

static px_status get_number(const json_t *object, const char *key, int64_t most, int64_t *out)
{
    *out = 0;
    PX_TRY(px_json_get_int(object, key, "serving", out));
    if (*out < 0 || *out > most)
        return px_fail(PX_INVALID_ARGUMENT, "serving: '%s' is out of range", key);
    return px_ok();
}

px_status px_serving_decode(const json_t *object, px_serving *out)
{
    px_serving serving = {0};
    if (!object) {
        *out = serving;
        return px_ok();
    }
    int64_t batch, latency_ms, queue, queue_tokens, proposals;
    bool no_prefix_cache = false;
    texts from = {"", "", ""};
    PX_TRY(get_number(object, "batch_size", UINT32_MAX, &batch));
    PX_TRY(get_number(object, "max_latency_ms", UINT32_MAX, &latency_ms));
    PX_TRY(get_number(object, "queue_max", UINT32_MAX, &queue));
    PX_TRY(get_number(object, "queue_tokens_max", INT64_MAX, &queue_tokens));
    PX_TRY(px_json_get_int(object, "kv_park_bytes", "serving", &serving.kv_park_bytes));
    PX_TRY(px_json_get_real(object, "scale_factor", "serving", &serving.scale_factor));
    PX_TRY(px_json_get_bool(object, "no_prefix_cache", "serving", &no_prefix_cache));
    PX_TRY(get_number(object, "speculate_max", PX_SERVING_PROPOSALS_MAX, &proposals));
    PX_TRY(px_json_get_str(object, "kv_park_folder", "serving", &from.folder));
    PX_TRY(px_json_get_str(object, "draft_model", "serving", &from.draft_model));
    PX_TRY(px_json_get_str(object, "speculate", "serving", &from.speculate));
    PX_TRY(take_texts(&from, &serving));
    serving.speculate_max = (uint32_t)proposals;
    serving.batch_size = (uint32_t)batch;
    serving.max_latency_ms = (uint32_t)latency_ms;
    serving.queue_max = (uint32_t)queue;
    serving.queue_tokens_max = (uint64_t)queue_tokens;
    serving.no_prefix_cache = no_prefix_cache;
    PX_TRY(px_serving_check(&serving));
    *out = serving;
    return px_ok();
}
