#include "control/bench/prompts.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "control/bench/random.h"

enum { IDS_MAX = 1 << 28, FILE_BYTES_MAX = 1 << 30 };

/* FNV-1a, continued from `hash`. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < length; i++) hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}
#define HASH_START UINT64_C(0xcbf29ce484222325)

px_status px_prompts_make(const px_prompts_random *options, px_prompts *out)
{
    *out = (px_prompts){0};
    size_t total = (size_t)options->count * options->tokens;
    if (total > IDS_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "%u prompts of %u tokens are more than fit here: ask for fewer or shorter ones",
            options->count, options->tokens);
    out->items = px_alloc_array(options->count, sizeof *out->items);
    out->ids = px_alloc_array(total, sizeof *out->ids);
    out->count = options->count;
    px_random random = {options->seed};
    uint32_t span = options->vocabulary_max - options->vocabulary_min;
    for (size_t i = 0; i < total; i++) {
        bool repeats = i >= options->tokens && i % options->tokens < options->shared;
        out->ids[i] = repeats ? out->ids[i % options->tokens]
                              : options->vocabulary_min + px_random_below(&random, span);
    }
    for (uint32_t i = 0; i < options->count; i++)
        out->items[i] =
            (px_prompt){.ids = out->ids + (size_t)i * options->tokens, .id_count = options->tokens};
    out->hash = hash_bytes(HASH_START, out->ids, total * sizeof *out->ids);
    return px_ok();
}

static px_status read_messages(const json_t *messages, const char *where)
{
    size_t i;
    json_t *message;
    if (!json_array_size(messages))
        return px_fail(PX_INVALID_ARGUMENT, "%s: 'messages' must be a list of messages", where);
    json_array_foreach(messages, i, message)
    {
        const char *role = NULL, *content = NULL;
        PX_TRY(px_json_get_str(message, "role", where, &role));
        PX_TRY(px_json_get_str(message, "content", where, &content));
        if (!role || !content)
            return px_fail(PX_INVALID_ARGUMENT, "%s: a message needs 'role' and 'content'", where);
    }
    return px_ok();
}

static px_status read_item(json_t *line, const char *where, px_prompt *out)
{
    int64_t max_tokens = 0;
    if (!json_is_object(line)) return px_fail(PX_INVALID_ARGUMENT, "%s: not a JSON object", where);
    PX_TRY(px_json_get_str(line, "prompt", where, &out->text));
    PX_TRY(px_json_get_int(line, "max_tokens", where, &max_tokens));
    out->messages = json_object_get(line, "messages");
    if (max_tokens < 0 || max_tokens > INT32_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: 'max_tokens' is out of range", where);
    if (!out->text == !out->messages)
        return px_fail(PX_INVALID_ARGUMENT, "%s: needs either 'prompt' or 'messages'", where);
    out->max_tokens = (uint32_t)max_tokens;
    return out->messages ? read_messages(out->messages, where) : px_ok();
}

static px_status read_lines(const px_buf *text, const char *path, px_prompts *out)
{
    const char *at = px_buf_text(text), *end = at + text->length;
    for (unsigned number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        if (strspn(at, " \t\r") < length) {
            char where[300];
            snprintf(where, sizeof where, "%s, line %u", path, number);
            json_t *line;
            PX_TRY(px_json_parse(at, length, where, &line));
            json_array_append_new(out->lines, line);
            px_prompt item = {0};
            PX_TRY(read_item(line, where, &item));
            out->items = realloc(out->items, (out->count + 1) * sizeof item);
            PX_ASSERT(out->items);
            out->items[out->count++] = item;
        }
        at += length + (stop != NULL);
    }
    if (!out->count) return px_fail(PX_INVALID_ARGUMENT, "%s holds no prompt", path);
    return px_ok();
}

px_status px_prompts_read(const char *path, px_prompts *out)
{
    *out = (px_prompts){.lines = json_array()};
    px_buf text;
    px_buf_init(&text, FILE_BYTES_MAX);
    px_status status = px_fs_read(path, &text);
    if (px_is_ok(status)) status = read_lines(&text, path, out);
    out->hash = hash_bytes(HASH_START, px_buf_text(&text), text.length);
    px_buf_done(&text);
    if (!px_is_ok(status)) px_prompts_done(out);
    return status;
}

void px_prompts_done(px_prompts *prompts)
{
    free(prompts->items);
    free(prompts->ids);
    json_decref(prompts->lines);
    *prompts = (px_prompts){0};
}
