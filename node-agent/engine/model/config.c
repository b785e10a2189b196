/* config.c - see config.h. */
#include "engine/model/config_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const char where[] = "config.json";

/* A copy of config.json; of a wrapper (text and images) its text half, where what that leaves out
 * (ids, tying) is the wrapper's, and so is the name of the whole. */
static px_status open_json(const json_t *root, px_config *out)
{
    if (!json_is_object(root))
        return px_fail(PX_INVALID_ARGUMENT, "%s must hold a JSON object", where);
    json_t *text = json_object_get(root, "text_config");
    out->is_wrapper = json_is_object(text);
    out->json = json_deep_copy(out->is_wrapper ? text : root);
    if (!out->is_wrapper) return px_ok();
    json_object_del(out->json, "architectures");
    json_object_update_missing(out->json, (json_t *)(uintptr_t)root);
    return px_ok();
}

px_status px_config_open(const px_model_file *file, px_config *out)
{
    *out = (px_config){.file = file};
    if (px_model_file_config(file)) return open_json(px_model_file_config(file), out);
    out->gguf = px_model_file_gguf(file);
    px_slice arch;
    if (!px_gguf_str(out->gguf, "general.architecture", &arch))
        return px_fail(PX_INVALID_ARGUMENT, "the GGUF has no general.architecture");
    if (!arch.length || arch.length >= sizeof out->prefix || memchr(arch.data, 0, arch.length))
        return px_fail(PX_INVALID_ARGUMENT, "general.architecture is empty or too long");
    memcpy(out->prefix, arch.data, arch.length);
    return px_ok();
}

void px_config_done(px_config *config)
{
    json_decref(config->json);
    config->json = NULL;
}

static px_slice slice_of(const char *text)
{
    return (px_slice){.data = text ? text : "", .length = text ? strlen(text) : 0};
}

px_slice px_config_architecture(const px_config *config)
{
    if (config->gguf) return slice_of(config->prefix);
    const json_t *list = json_object_get(config->json, "architectures");
    return slice_of(json_string_value(json_array_get(list, 0)));
}

px_slice px_config_model_type(const px_config *config)
{
    return slice_of(json_string_value(json_object_get(config->json, "model_type")));
}

void px_config_set_defaults(px_config *config, const char *defaults)
{
    if (!config->json || !defaults) return;
    json_t *object = json_loads(defaults, 0, NULL);
    PX_ASSERT(json_is_object(object));
    json_object_update_missing(config->json, object);
    json_decref(object);
}

static px_status json_number(const json_t *object, const char *key, bool *out_found, double *out)
{
    const json_t *value = json_object_get(object, key);
    *out_found = value && !json_is_null(value);
    return px_json_get_real(object, key, where, out);
}

static px_status number(const px_config *config, px_key key, bool *out_found, double *out)
{
    *out_found = false;
    if (config->gguf)
        return key.gguf ? px_config_gguf_number(config, key.gguf, out_found, out) : px_ok();
    return key.json ? json_number(config->json, key.json, out_found, out) : px_ok();
}

static const char *spelling(const px_config *config, px_key key)
{
    return config->gguf ? key.gguf : key.json;
}

px_status px_config_u32(const px_config *config, px_key key, uint32_t *out)
{
    bool found;
    double value = 0;
    PX_TRY(number(config, key, &found, &value));
    if (!found) return px_ok();
    if (!(value >= 0 && value <= UINT32_MAX && value == floor(value)))
        return px_fail(PX_INVALID_ARGUMENT, "'%s' is %g, not a whole number in range",
            spelling(config, key), value);
    *out = (uint32_t)value;
    return px_ok();
}

px_status px_config_f32(const px_config *config, px_key key, float *out)
{
    bool found;
    double value = 0;
    PX_TRY(number(config, key, &found, &value));
    if (!found) return px_ok();
    if (!isfinite(value) || fabs(value) > 1e30)
        return px_fail(PX_INVALID_ARGUMENT, "'%s' is not a sensible number", spelling(config, key));
    *out = (float)value;
    return px_ok();
}

px_status px_config_bool(const px_config *config, px_key key, bool *out)
{
    if (config->json && key.json) return px_json_get_bool(config->json, key.json, where, out);
    if (config->gguf && key.gguf) return px_config_gguf_bool(config, key.gguf, out);
    return px_ok();
}

static px_status json_reals(
    const json_t *list, const char *key, uint32_t max, float *out, uint32_t *out_count)
{
    *out_count = 0;
    if (!list || json_is_null(list)) return px_ok();
    if (!json_is_array(list) || json_array_size(list) > max)
        return px_fail(
            PX_INVALID_ARGUMENT, "%s: '%s' must be a list of at most %u numbers", where, key, max);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *element = json_array_get(list, i);
        if (!json_is_number(element))
            return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' must hold numbers", where, key);
        out[i] = (float)json_number_value(element);
    }
    *out_count = (uint32_t)json_array_size(list);
    return px_ok();
}

px_status px_config_reals(
    const px_config *config, px_key key, uint32_t max, float *out, uint32_t *out_count)
{
    *out_count = 0;
    if (config->json && key.json)
        return json_reals(json_object_get(config->json, key.json), key.json, max, out, out_count);
    if (config->gguf && key.gguf)
        return px_config_gguf_reals(config, key.gguf, max, out, out_count);
    return px_ok();
}

px_status px_config_sliding_layers(
    const px_config *config, uint32_t layers, bool *out_sliding, bool *out_found)
{
    if (config->gguf) return px_config_gguf_sliding_layers(config, layers, out_sliding, out_found);
    const json_t *list = json_object_get(config->json, "layer_types");
    *out_found = list && !json_is_null(list);
    if (!*out_found) return px_ok();
    if (!json_is_array(list))
        return px_fail(PX_INVALID_ARGUMENT, "%s: 'layer_types' must be a list", where);
    if (json_array_size(list) != layers)
        return px_fail(PX_INVALID_ARGUMENT, "%s: 'layer_types' has %zu entries for %u layers",
            where, json_array_size(list), layers);
    for (uint32_t i = 0; i < layers; i++) {
        const char *type = json_string_value(json_array_get(list, i));
        if (!type) return px_fail(PX_INVALID_ARGUMENT, "%s: 'layer_types' must hold texts", where);
        out_sliding[i] = strcmp(type, "sliding_attention") == 0;
        if (!out_sliding[i] && strcmp(type, "full_attention") != 0)
            return px_fail(PX_UNIMPLEMENTED, "layers of type '%.60s' are not supported", type);
    }
    return px_ok();
}

/* --- RoPE in config.json --- */

static px_status check_rope_types(const px_config *config)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_t *value = json_object_get(config->json, keys[i]);
        if (value && !json_is_object(value) && !json_is_null(value))
            return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' must be an object", where, keys[i]);
    }
    return px_ok();
}

static bool is_filled(const json_t *object)
{
    return json_is_object(object) && json_object_size(object);
}

/* The scaling of a layer type: its own object within `rope_parameters`; what `rope_scaling` (older)
 * says wins, but is not for windows. NULL: none. */
static const json_t *rope_object(const px_config *config, const char *layer_type)
{
    const json_t *old = json_object_get(config->json, "rope_scaling");
    const json_t *rope = json_object_get(config->json, "rope_parameters");
    bool windows = layer_type && strcmp(layer_type, "sliding_attention") == 0;
    if (is_filled(old) && !windows) return old;
    if (layer_type) rope = json_object_get(rope, layer_type);
    return is_filled(rope) ? rope : NULL;
}

/* Positions before an extension: a model's own statement beats its scaling's. */
static px_status json_original_context(const px_config *config, const json_t *rope, double *out)
{
    static const char key[] = "original_max_position_embeddings";
    PX_TRY(px_json_get_real(config->json, "max_position_embeddings", where, out));
    PX_TRY(px_json_get_real(rope, key, where, out));
    return px_json_get_real(config->json, key, where, out);
}

static px_status json_rope_scaling(const px_config *config, const json_t *rope, px_rope_scaling *s)
{
    static const char at[] = "config.json's RoPE settings";
    const char *kind = "default";
    bool truncate = true;
    uint32_t count;
    PX_TRY(px_json_get_str(rope, "type", at, &kind));
    PX_TRY(px_json_get_str(rope, "rope_type", at, &kind));
    PX_TRY(px_rope_kind_parse(kind, &s->kind));
    PX_TRY(px_json_get_real(config->json, "max_position_embeddings", where, &s->context));
    PX_TRY(json_original_context(config, rope, &s->original_context));
    PX_TRY(px_json_get_real(rope, "factor", at, &s->factor));
    PX_TRY(px_json_get_real(rope, "low_freq_factor", at, &s->low_freq_factor));
    PX_TRY(px_json_get_real(rope, "high_freq_factor", at, &s->high_freq_factor));
    PX_TRY(px_json_get_real(rope, "beta_fast", at, &s->beta_fast));
    PX_TRY(px_json_get_real(rope, "beta_slow", at, &s->beta_slow));
    PX_TRY(px_json_get_real(rope, "mscale", at, &s->mscale));
    PX_TRY(px_json_get_real(rope, "mscale_all_dim", at, &s->mscale_all_dim));
    PX_TRY(px_json_get_real(rope, "attention_factor", at, &s->attention_factor));
    PX_TRY(px_json_get_bool(rope, "truncate", at, &truncate));
    s->no_truncate = !truncate;
    PX_TRY(json_reals(json_object_get(rope, "short_factor"), "short_factor", PX_ROPE_PAIRS_MAX,
        s->short_factors, &count));
    PX_TRY(json_reals(json_object_get(rope, "long_factor"), "long_factor", PX_ROPE_PAIRS_MAX,
        s->long_factors, &count));
    if (s->kind == PX_ROPE_YARN && count) s->kind = PX_ROPE_LONG; /* Phi-3's name for it, once */
    if (s->kind == PX_ROPE_YARN && s->factor == 0) s->factor = s->context / s->original_context;
    return px_ok();
}

static px_status json_rope(const px_config *config, const char *layer_type, px_rope_settings *out)
{
    bool windows = layer_type && strcmp(layer_type, "sliding_attention") == 0;
    const char *theta = windows ? "rope_local_base_freq" : "rope_theta";
    const json_t *rope = rope_object(config, layer_type);
    const json_t *newer = json_object_get(config->json, "rope_parameters");
    PX_TRY(check_rope_types(config));
    PX_TRY(px_json_get_real(config->json, theta, where, &out->theta));
    PX_TRY(px_json_get_real(config->json, "partial_rotary_factor", where, &out->partial));
    if (layer_type) newer = json_object_get(newer, layer_type);
    const json_t *sources[] = {is_filled(newer) ? newer : NULL, rope};
    for (int i = 0; i < 2; i++) {
        if (!sources[i]) continue;
        PX_TRY(px_json_get_real(sources[i], "rope_theta", where, &out->theta));
        PX_TRY(px_json_get_real(sources[i], "partial_rotary_factor", where, &out->partial));
    }
    return rope ? json_rope_scaling(config, rope, &out->scaling) : px_ok();
}

px_status px_config_rope(const px_config *config, const char *layer_type, px_rope_settings *out)
{
    *out = (px_rope_settings){.theta = 10000,
        .partial = 1,
        .scaling = {.beta_fast = 32, .beta_slow = 1, .low_freq_factor = 1, .high_freq_factor = 4}};
    PX_TRY(config->gguf ? px_config_gguf_rope(config, out) : json_rope(config, layer_type, out));
    if (out->scaling.beta_fast == 0) out->scaling.beta_fast = 32;
    if (out->scaling.beta_slow == 0) out->scaling.beta_slow = 1;
    return px_ok();
}

/* --- ends and begin --- */

px_status px_config_add_end(int64_t id, uint32_t max, uint32_t *ids, uint32_t *count)
{
    if (id < 0 || id > UINT32_MAX) return px_ok(); /* "none", as some write it */
    for (uint32_t i = 0; i < *count; i++)
        if (ids[i] == (uint32_t)id) return px_ok();
    if (*count == max) return px_fail(PX_INVALID_ARGUMENT, "more than %u eos_token_id values", max);
    ids[(*count)++] = (uint32_t)id;
    return px_ok();
}

static px_status json_ends(const px_config *config, uint32_t max, uint32_t *ids, uint32_t *count)
{
    /* generation_config.json is what the authors generate with; it wins. */
    const json_t *ends =
        json_object_get(px_model_file_generation_config(config->file), "eos_token_id");
    if (!ends || json_is_null(ends)) ends = json_object_get(config->json, "eos_token_id");
    if (!ends || json_is_null(ends)) return px_ok();
    size_t listed = json_is_array(ends) ? json_array_size(ends) : 1;
    for (size_t i = 0; i < listed; i++) {
        const json_t *id = json_is_array(ends) ? json_array_get(ends, i) : ends;
        if (!json_is_integer(id))
            return px_fail(PX_INVALID_ARGUMENT,
                "%s: 'eos_token_id' must be a number or a list of them", where);
        PX_TRY(px_config_add_end(json_integer_value(id), max, ids, count));
    }
    return px_ok();
}

px_status px_config_ends(
    const px_config *config, uint32_t max, uint32_t *out_ids, uint32_t *out_count)
{
    *out_count = 0;
    if (config->json) return json_ends(config, max, out_ids, out_count);
    return px_config_gguf_ends(config, max, out_ids, out_count);
}

px_status px_config_begin(const px_config *config, int64_t *out_id)
{
    *out_id = -1;
    if (config->gguf) {
        (void)px_gguf_int(config->gguf, "tokenizer.ggml.bos_token_id", out_id);
        return px_ok();
    }
    return px_json_get_int(config->json, "bos_token_id", where, out_id);
}
