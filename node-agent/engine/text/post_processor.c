/* post_processor.c - see post_processor.h. */
#include "engine/text/post_processor.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/grow.h"

enum { NESTING_MAX = 16, IDS_MAX = 64 };

static px_status insert_id(px_ids *ids, size_t at, int64_t id)
{
    if (id < 0 || id >= UINT32_MAX || ids->count == IDS_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "the post-processor has an impossible id or more than %d of them", IDS_MAX);
    PX_TRY(PX_GROW(ids, ids->count + 1));
    memmove(ids->data + at + 1, ids->data + at, (ids->count - at) * sizeof *ids->data);
    ids->data[at] = (uint32_t)id;
    ids->count++;
    return px_ok();
}

/* {"SpecialToken": {"id": name}} stands for special_tokens[name].ids. */
static px_status template_token(const json_t *config, const char *name, px_ids *list, size_t *at)
{
    const json_t *token =
        name ? json_object_get(json_object_get(config, "special_tokens"), name) : NULL;
    const json_t *ids = json_object_get(token, "ids");
    if (!json_is_array(ids))
        return px_fail(PX_INVALID_ARGUMENT,
            "post-processor TemplateProcessing: the special token '%.40s' has no ids",
            name ? name : "");
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id)
        PX_TRY(insert_id(list, (*at)++, json_is_integer(id) ? json_integer_value(id) : -1));
    return px_ok();
}

static px_status read_template(const json_t *config, px_post_processor *out)
{
    const json_t *single = json_object_get(config, "single");
    if (!json_is_array(single))
        return px_fail(PX_INVALID_ARGUMENT, "post-processor TemplateProcessing: no 'single' list");
    /* Outer processors stand outside of inner ones. */
    size_t i, before = 0, after = out->after.count;
    bool has_text = false;
    const json_t *piece;
    json_array_foreach(single, i, piece)
    {
        if (json_object_get(piece, "Sequence")) {
            if (has_text)
                return px_fail(PX_UNIMPLEMENTED,
                    "post-processor TemplateProcessing: the text occurs twice in 'single'");
            has_text = true;
            continue;
        }
        const char *name =
            json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
        px_ids *list = has_text ? &out->after : &out->before;
        PX_TRY(template_token(config, name, list, has_text ? &after : &before));
    }
    return px_ok();
}

/* "cls": ["[CLS]", 101], "sep": ["[SEP]", 102] */
static px_status read_bert(const json_t *config, px_post_processor *out)
{
    const json_t *cls = json_array_get(json_object_get(config, "cls"), 1);
    const json_t *sep = json_array_get(json_object_get(config, "sep"), 1);
    if (!json_is_integer(cls) || !json_is_integer(sep))
        return px_fail(PX_INVALID_ARGUMENT, "post-processor: 'cls' and 'sep' must be [text, id]");
    PX_TRY(insert_id(&out->before, 0, json_integer_value(cls)));
    return insert_id(&out->after, out->after.count, json_integer_value(sep));
}

static px_status read_config(const json_t *config, int depth, px_post_processor *out)
{
    const char *type = json_string_value(json_object_get(config, "type"));
    if (!type) return px_fail(PX_INVALID_ARGUMENT, "a post-processor has no 'type'");
    if (depth > NESTING_MAX) return px_fail(PX_INVALID_ARGUMENT, "post-processors nest too deep");
    if (strcmp(type, "ByteLevel") == 0) return px_ok();
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(config, out);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        return read_bert(config, out);
    if (strcmp(type, "Sequence") != 0)
        return px_fail(PX_UNIMPLEMENTED, "the post-processor '%s' is not known", type);
    size_t i;
    const json_t *each;
    json_array_foreach(json_object_get(config, "processors"), i, each)
        PX_TRY(read_config(each, depth + 1, out));
    return px_ok();
}

px_status px_post_processor_read(const json_t *config, px_post_processor *out)
{
    if (!config || json_is_null(config)) return px_ok();
    return read_config(config, 0, out);
}

void px_post_processor_done(px_post_processor *post)
{
    free(post->before.data);
    free(post->after.data);
    *post = (px_post_processor){0};
}
