#include "control/cluster/spec.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"

bool px_spec_equal(const px_spec *a, const px_spec *b)
{
    /* Strings carry no garbage behind their NULs: specs are zeroed and filled once. */
    return memcmp(a, b, offsetof(px_spec, adapters)) == 0;
}

px_status px_name_check(const char *name, const char *what)
{
    size_t length = strlen(name);
    bool ok = length > 0 && length < PX_NAME_BYTES && isalnum((unsigned char)name[0]);
    for (size_t i = 0; ok && i < length; i++)
        ok = isalnum((unsigned char)name[i]) || strchr("._-", name[i]) != NULL;
    if (ok) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT,
        "%s must be 1 to %d letters, digits, '.', '_' or '-', starting with a letter or digit",
        what, PX_NAME_BYTES - 1);
}

void px_name_copy(char out[PX_NAME_BYTES], const char *name)
{
    size_t length = strlen(name);
    PX_ASSERT(length < PX_NAME_BYTES);
    memcpy(out, name, length + 1);
}

px_status px_spec_check(const px_spec *spec)
{
    PX_TRY(px_name_check(spec->name, "the deployment's name"));
    if (!spec->model_path[0]) return px_fail(PX_INVALID_ARGUMENT, "the model's path is missing");
    if (!spec->tp || !spec->pp || spec->tp > PX_WORLD_MAX || spec->pp > PX_WORLD_MAX ||
        px_spec_world(spec) > PX_WORLD_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "tp %u x pp %u: a group has 1 to %d ranks", spec->tp,
            spec->pp, PX_WORLD_MAX);
    for (uint32_t i = 0; i < spec->agent_count; i++)
        PX_TRY(px_name_check(spec->agents[i], "an agent's name"));
    return px_serving_check(&spec->serving);
}

/* ------------------------------------------------------------------------------ encoding */

static json_t *names_json(const char (*names)[PX_NAME_BYTES], uint32_t count)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) json_array_append_new(array, json_string(names[i]));
    return array;
}

/* Takes `object`. */
static void put_json(px_buf *out, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    PX_ASSERT(text);
    px_buf_puts(out, text);
    free(text);
    json_decref(object);
}

void px_spec_encode(px_buf *out, const px_spec *spec)
{
    json_t *object = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:I, s:s, s:s}", "name",
        spec->name, "model_path", spec->model_path, "tp", (int)spec->tp, "pp", (int)spec->pp,
        "threads", (int)spec->threads, "context", (int)spec->context, "seqs_max",
        (int)spec->seqs_max, "kv_tokens", (json_int_t)spec->kv_tokens, "kv_type", spec->kv_type,
        "kernels", spec->kernels);
    PX_ASSERT(object);
    json_object_set_new(object, "agents", names_json(spec->agents, spec->agent_count));
    json_object_set_new(object, "serving", px_serving_encode(&spec->serving));
    json_object_set_new(object, "adapters", px_adapters_encode(&spec->adapters));
    put_json(out, object);
}

void px_group_record_encode(px_buf *out, const px_group_record *record)
{
    json_t *object = json_pack("{s:I, s:s, s:i, s:b}", "generation", (json_int_t)record->generation,
        "secret", record->secret, "restarts", (int)record->restarts, "ever_ready",
        (int)record->ever_ready);
    PX_ASSERT(object);
    json_object_set_new(object, "agents", names_json(record->agents, record->world));
    put_json(out, object);
}

/* ------------------------------------------------------------------------------ decoding */

static px_status get_text(
    const json_t *object, const char *key, const char *where, size_t room, char *out)
{
    const char *text = "";
    PX_TRY(px_json_get_str(object, key, where, &text));
    size_t length = strlen(text);
    if (length >= room) return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' is too long", where, key);
    memcpy(out, text, length + 1);
    return px_ok();
}

static px_status get_uint32(const json_t *object, const char *key, const char *where, uint32_t *out)
{
    int64_t value = *out;
    PX_TRY(px_json_get_int(object, key, where, &value));
    if (value < 0 || value > INT32_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' is out of range", where, key);
    *out = (uint32_t)value;
    return px_ok();
}

static px_status get_uint64(const json_t *object, const char *key, const char *where, uint64_t *out)
{
    int64_t value = 0;
    PX_TRY(px_json_get_int(object, key, where, &value));
    if (value < 0) return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' is negative", where, key);
    *out = (uint64_t)value;
    return px_ok();
}

static px_status get_names(
    const json_t *object, const char *where, char (*names)[PX_NAME_BYTES], uint32_t *out_count)
{
    const json_t *array = json_object_get(object, "agents");
    if (json_array_size(array) > PX_WORLD_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: too many agents", where);
    size_t index;
    json_t *item;
    json_array_foreach(array, index, item)
    {
        const char *name = json_string_value(item);
        if (!name) return px_fail(PX_INVALID_ARGUMENT, "%s: an agent is not a string", where);
        PX_TRY(px_name_check(name, "an agent's name"));
        px_name_copy(names[index], name);
    }
    *out_count = (uint32_t)json_array_size(array);
    return px_ok();
}

static px_status spec_of(const json_t *object, px_spec *spec)
{
    const char *where = "deployment";
    PX_TRY(get_text(object, "name", where, sizeof spec->name, spec->name));
    PX_TRY(get_text(object, "model_path", where, sizeof spec->model_path, spec->model_path));
    PX_TRY(get_uint32(object, "tp", where, &spec->tp));
    PX_TRY(get_uint32(object, "pp", where, &spec->pp));
    PX_TRY(get_uint32(object, "threads", where, &spec->threads));
    PX_TRY(get_uint32(object, "context", where, &spec->context));
    PX_TRY(get_uint32(object, "seqs_max", where, &spec->seqs_max));
    PX_TRY(get_uint64(object, "kv_tokens", where, &spec->kv_tokens));
    PX_TRY(get_text(object, "kv_type", where, sizeof spec->kv_type, spec->kv_type));
    PX_TRY(get_text(object, "kernels", where, sizeof spec->kernels, spec->kernels));
    PX_TRY(get_names(object, where, spec->agents, &spec->agent_count));
    PX_TRY(px_serving_decode(json_object_get(object, "serving"), &spec->serving));
    PX_TRY(px_adapters_decode(json_object_get(object, "adapters"), &spec->adapters));
    return px_spec_check(spec);
}

static px_status record_of(const json_t *object, px_group_record *record)
{
    const char *where = "group";
    PX_TRY(get_uint64(object, "generation", where, &record->generation));
    PX_TRY(get_text(object, "secret", where, sizeof record->secret, record->secret));
    PX_TRY(get_uint32(object, "restarts", where, &record->restarts));
    PX_TRY(px_json_get_bool(object, "ever_ready", where, &record->ever_ready));
    return get_names(object, where, record->agents, &record->world);
}

px_status px_spec_decode(px_slice json, px_spec *out)
{
    json_t *object;
    PX_TRY(px_json_parse(json.data, json.length, "deployment", &object));
    px_spec spec = {.tp = 1, .pp = 1};
    px_status status = spec_of(object, &spec);
    json_decref(object);
    if (px_is_ok(status)) *out = spec;
    return status;
}

px_status px_group_record_decode(px_slice json, px_group_record *out)
{
    json_t *object;
    PX_TRY(px_json_parse(json.data, json.length, "group", &object));
    px_group_record record = {0};
    px_status status = record_of(object, &record);
    json_decref(object);
    if (px_is_ok(status)) *out = record;
    return status;
}
