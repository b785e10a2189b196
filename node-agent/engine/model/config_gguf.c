/* config_gguf.c - settings from GGUF metadata. Sources: the GGUF specification and llama.cpp's use
 * of the keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/config_impl.h"
#include "engine/model/end_marks.h"

/* The key with its prefix. Keys are ours and short, prefixes were bounded in open. */
static void full_key(const px_config *config, const char *key, char out[160])
{
    snprintf(out, 160, "%s.%s", config->prefix, key);
}

static px_status wrong_kind(const char *name, const char *wanted)
{
    return px_fail(PX_INVALID_ARGUMENT, "the GGUF's '%s' is not %s", name, wanted);
}

/* --- numbers and flags --- */

static bool has_numbers(const px_gguf_array *list)
{
    return list->type != PX_GGUF_STRING && list->type != PX_GGUF_ARRAY &&
           list->type != PX_GGUF_BOOL;
}

/* The number that a list has for every layer. */
static px_status same_of_all(const px_config *config, const char *name, double *out)
{
    px_gguf_array list;
    int64_t layers;
    char count_key[160];
    if (!px_gguf_array_get(config->gguf, name, &list) || !has_numbers(&list))
        return wrong_kind(name, "a number");
    full_key(config, "block_count", count_key);
    if (!px_gguf_int(config->gguf, count_key, &layers) || layers < 1) layers = 1;
    if (list.count != (uint64_t)layers)
        return px_fail(PX_INVALID_ARGUMENT, "the GGUF's '%s' has %llu entries for %lld layers",
            name, (unsigned long long)list.count, (long long)layers);
    *out = px_gguf_array_real(&list, 0);
    for (uint64_t i = 1; i < list.count; i++)
        if (px_gguf_array_real(&list, i) != *out)
            return px_fail(
                PX_UNIMPLEMENTED, "%s differs between layers, which is not supported", name);
    return px_ok();
}

px_status px_config_gguf_number(
    const px_config *config, const char *key, bool *out_found, double *out)
{
    char name[160];
    full_key(config, key, name);
    *out_found = px_gguf_has(config->gguf, name);
    if (!*out_found || px_gguf_real(config->gguf, name, out)) return px_ok();
    return same_of_all(config, name, out);
}

px_status px_config_gguf_bool(const px_config *config, const char *key, bool *out)
{
    char name[160];
    full_key(config, key, name);
    if (!px_gguf_has(config->gguf, name) || px_gguf_bool(config->gguf, name, out)) return px_ok();
    return wrong_kind(name, "true or false");
}

px_status px_config_gguf_reals(
    const px_config *config, const char *key, uint32_t max, float *out, uint32_t *out_count)
{
    px_gguf_array list;
    char name[160];
    full_key(config, key, name);
    if (!px_gguf_has(config->gguf, name)) return px_ok();
    if (!px_gguf_array_get(config->gguf, name, &list) || !has_numbers(&list) || list.count > max)
        return px_fail(
            PX_INVALID_ARGUMENT, "the GGUF's '%s' is not a list of at most %u numbers", name, max);
    for (uint64_t i = 0; i < list.count; i++) out[i] = (float)px_gguf_array_real(&list, i);
    *out_count = (uint32_t)list.count;
    return px_ok();
}

/* One flag for each layer, or a period whose last layer sees everything. */
px_status px_config_gguf_sliding_layers(
    const px_config *config, uint32_t layers, bool *out_sliding, bool *out_found)
{
    char name[160];
    px_gguf_array list;
    int64_t period;
    full_key(config, "attention.sliding_window_pattern", name);
    *out_found = px_gguf_has(config->gguf, name);
    if (!*out_found) return px_ok();
    if (px_gguf_array_get(config->gguf, name, &list)) {
        if (list.count != layers)
            return px_fail(PX_INVALID_ARGUMENT, "%s has %llu entries for %u layers", name,
                (unsigned long long)list.count, layers);
        for (uint32_t i = 0; i < layers; i++) out_sliding[i] = px_gguf_array_int(&list, i) != 0;
    } else if (px_gguf_int(config->gguf, name, &period)) {
        for (uint32_t i = 0; i < layers; i++)
            out_sliding[i] = period <= 0 || (i + (int64_t)1) % period != 0;
    } else {
        return wrong_kind(name, "a number or a list of flags");
    }
    return px_ok();
}

/* --- RoPE --- */

static px_status number(const px_config *config, const char *key, double *out)
{
    bool found;
    return px_config_gguf_number(config, key, &found, out);
}

/* A vector that GGUF files carry as a tensor instead of metadata. */
static px_status tensor_reals(
    const px_config *config, const char *name, float out[PX_ROPE_PAIRS_MAX], uint32_t *out_count)
{
    *out_count = 0;
    const px_tensor *tensor = px_model_file_tensor(config->file, name);
    if (!tensor) return px_ok();
    if (tensor->dims != 1 || tensor->dtype != PX_F32 || tensor->shape[0] > PX_ROPE_PAIRS_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s' must be an F32 vector of at most %d elements", name, PX_ROPE_PAIRS_MAX);
    memcpy(out, tensor->data, tensor->bytes);
    *out_count = (uint32_t)tensor->shape[0];
    return px_ok();
}

/* The magnitude: attn_factor multiplies the rule's, yarn_attn_factor takes its place. A logarithm's
 * multiplier is mscale_all_dim beside an mscale of 1; of DeepSeek it is a tenth of both, and means
 * that keys and queries take it all. */
static px_status read_magnitude(const px_config *config, px_rope_scaling *s)
{
    double magnitude = 0, multiplier = 0;
    PX_TRY(number(config, "rope.scaling.attn_factor", &magnitude));
    if (magnitude != 0)
        s->attention_factor =
            magnitude * (s->kind == PX_ROPE_YARN ? px_rope_mscale(s->factor, 1) : 1);
    PX_TRY(number(config, "rope.scaling.yarn_attn_factor", &s->attention_factor));
    PX_TRY(number(config, "rope.scaling.yarn_beta_fast", &s->beta_fast));
    PX_TRY(number(config, "rope.scaling.yarn_beta_slow", &s->beta_slow));
    PX_TRY(number(config, "rope.scaling.yarn_log_multiplier", &multiplier));
    bool is_tenth = strcmp(config->prefix, "deepseek2") == 0;
    s->mscale_all_dim = is_tenth ? multiplier * 10 : multiplier;
    s->mscale = is_tenth ? s->mscale_all_dim : 1;
    return px_ok();
}

/* The rule by name; one that is not named is linear if there is a factor (0: there is none). */
static px_status read_rule(const px_config *config, px_rope_scaling *s)
{
    char name[160], kind[32] = "linear";
    px_slice text;
    PX_TRY(number(config, "rope.scale_linear", &s->factor)); /* the older spelling */
    PX_TRY(number(config, "rope.scaling.factor", &s->factor));
    full_key(config, "rope.scaling.type", name);
    if (px_gguf_str(config->gguf, name, &text))
        snprintf(kind, sizeof kind, "%.*s", (int)(text.length < 31 ? text.length : 31), text.data);
    else if (px_gguf_has(config->gguf, name))
        return wrong_kind(name, "a text");
    PX_TRY(px_rope_kind_parse(kind, &s->kind));
    if (s->kind == PX_ROPE_LINEAR && (s->factor == 0 || s->factor == 1)) s->kind = PX_ROPE_PLAIN;
    return px_ok();
}

px_status px_config_gguf_rope(const px_config *config, px_rope_settings *out)
{
    px_rope_scaling *s = &out->scaling;
    uint32_t count;
    PX_TRY(number(config, "rope.freq_base", &out->theta));
    PX_TRY(read_rule(config, s));
    PX_TRY(number(config, "context_length", &s->context));
    s->original_context = s->context;
    PX_TRY(number(config, "rope.scaling.original_context_length", &s->original_context));
    PX_TRY(read_magnitude(config, s));
    PX_TRY(tensor_reals(config, "rope_freqs.weight", s->divisors, &s->divisor_count));
    PX_TRY(tensor_reals(config, "rope_factors_short.weight", s->short_factors, &count));
    PX_TRY(tensor_reals(config, "rope_factors_long.weight", s->long_factors, &count));
    if (count) s->kind = PX_ROPE_LONG;
    return px_ok();
}

/* --- ends --- */

static px_status add_marks(const px_config *config, uint32_t max, uint32_t *ids, uint32_t *count)
{
    px_gguf_array tokens;
    int64_t found[PX_MARK_COUNT + 1];
    if (!px_gguf_array_get(config->gguf, "tokenizer.ggml.tokens", &tokens) ||
        tokens.type != PX_GGUF_STRING || tokens.count > UINT32_MAX)
        return px_ok();
    px_slice *list = px_alloc_array(tokens.count + 1, sizeof *list);
    px_gguf_array_strings(&tokens, list);
    for (int m = 0; m < PX_MARK_COUNT; m++) found[m] = -1;
    for (uint64_t i = 0; i < tokens.count; i++) found[px_end_mark_of(list[i])] = (int64_t)i;
    free(list);
    if (found[PX_MARK_RETURN] >= 0 && found[PX_MARK_CALL] >= 0) found[PX_MARK_END] = -1;
    for (int m = 0; m < PX_MARK_COUNT; m++) PX_TRY(px_config_add_end(found[m], max, ids, count));
    return px_ok();
}

px_status px_config_gguf_ends(
    const px_config *config, uint32_t max, uint32_t *out_ids, uint32_t *out_count)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t id;
        if (px_gguf_int(config->gguf, keys[i], &id))
            PX_TRY(px_config_add_end(id, max, out_ids, out_count));
    }
    return add_marks(config, max, out_ids, out_count);
}
