/* leftover.c - what a GGUF holds beyond what its description uses.
 *
 * A tensor or a setting that nobody reads means a model that computes something else than we would:
 * it is refused by name (llama.cpp counts the tensors likewise). What is known to make no
 * difference is listed here. Sources: llama.cpp's tables of tensor names and keys.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/family.h"

/* --- tensors --- */

static bool begins_with(const char *text, const char *head)
{
    return strncmp(text, head, strlen(head)) == 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Does `name` fit `pattern`, whose "%u" are numbers? The first of them is put out. */
static bool fits(const char *name, const char *pattern, uint32_t *out_layer)
{
    bool first = true;
    while (*pattern && *name) {
        if (pattern[0] != '%') {
            if (*pattern++ != *name++) return false;
            continue;
        }
        if (!is_digit(*name)) return false;
        uint32_t number = 0;
        for (; is_digit(*name) && number < 1u << 24; name++)
            number = number * 10 + (uint32_t)(*name - '0');
        if (first) *out_layer = number;
        first = false;
        pattern += 2;
    }
    return *pattern == *name;
}

/* Is it a name of a weight that the model has there? */
static bool is_a_weight(const px_arch *arch, const char *name)
{
    for (int role = 0; role < PX_ROLE_COUNT; role++) {
        const px_name *known;
        uint32_t layer = 0;
        for (uint32_t i = 0; (known = px_family_name(arch->family, true, (px_role)role, i)); i++)
            if (fits(name, known->pattern, &layer) && layer < arch->layer_count &&
                px_arch_has(arch, (px_role)role, layer))
                return true;
    }
    return false;
}

/* Read elsewhere (rotation, pooling), or of no effect: tables of angles that old converters wrote,
 * the output matrix of a model that only embeds, and layers that guess further tokens. */
static bool is_known_otherwise(const px_arch *arch, const char *name)
{
    static const char *const heads[] = {
        "rope_freqs.", "rope_factors_", "rope.freqs", "cls.", "dense_2.", "dense_3."};
    uint32_t layer = 0;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (begins_with(name, heads[i])) return true;
    if (fits(name, "blk.%u.attn_rot_embd.weight", &layer)) return true;
    if (arch->head != PX_HEAD_TOKENS && strcmp(name, "output.weight") == 0) return true;
    return begins_with(name, "blk.") && is_digit(name[4]) &&
           strtoul(name + 4, NULL, 10) - arch->layer_count < arch->predictor_count;
}

static px_status check_tensors(const px_model_file *file, const px_arch *arch)
{
    for (uint32_t i = 0; i < px_model_file_tensor_count(file); i++) {
        const char *name = px_model_file_tensor_at(file, i)->name;
        if (!is_a_weight(arch, name) && !is_known_otherwise(arch, name))
            return px_fail(PX_UNIMPLEMENTED,
                "the GGUF has a tensor '%.60s', which %s models here do not use", name,
                arch->family->name);
    }
    return px_ok();
}

/* --- settings --- */

/* Settings of the arithmetic that no family of ours has, and the value that changes nothing (0 does
 * not either). */
static const struct {
    const char *key;
    double neutral;
} foreign[] = {{"attention.clamp_kqv", 0}, {"attention.max_alibi_bias", 0},
    {"attention.output_scale", 1}, {"attention.value_scale", 1}, {"attention.temperature_scale", 0},
    {"attention.shared_kv_layers", 0}, {"attention.indexer.top_k", 0}, {"attn_res.block_size", 0},
    {"embedding_scale", 1}, {"residual_scale", 1}, {"logit_scale", 1},
    {"router_logit_softcapping", 0}, {"expert_group_scale", 1}, {"experts_per_group", 0},
    {"expert_latent_length", 0}, {"moe_latent_size", 0}, {"moe_every_n_layers", 1},
    {"interleave_moe_layer_step", 1}, {"swiglu_clamp_exp", 0}, {"swiglu_clamp_shexp", 0},
    {"full_attention_interval", 1}, {"embedding_length_per_layer_input", 0},
    {"hyper_connection.count", 1}, {"hash_layer_count", 0}, {"num_loops", 1},
    {"rope.scaling.alpha", 1}, {"rope.scaling.yarn_ext_factor", 1}};

static px_status refuse(const px_config *config, const char *key, double value)
{
    return px_fail(PX_UNIMPLEMENTED, "the GGUF sets '%s.%s' to %g, which is not supported",
        config->prefix, key, value);
}

static px_status check_foreign(const px_config *config)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        float value = 0;
        PX_TRY(px_config_f32(config, (px_key){NULL, foreign[i].key}, &value));
        if (value != 0 && (double)value != foreign[i].neutral)
            return refuse(config, foreign[i].key, (double)value);
    }
    return px_ok();
}

/* A window of families that have none, unless a list of layers says that none has it. */
static px_status check_window(const px_config *config, const px_arch *arch)
{
    bool listed[PX_ARCH_LAYERS_MAX], found;
    uint32_t window = 0;
    for (uint32_t i = 0; i < arch->layer_count; i++)
        if (arch->layers[i].window) return px_ok();
    PX_TRY(px_config_u32(config, (px_key){NULL, "attention.sliding_window"}, &window));
    PX_TRY(px_config_sliding_layers(config, arch->layer_count, listed, &found));
    return !window || found ? px_ok() : refuse(config, "attention.sliding_window", window);
}

/* Settings that some families read and others take for granted: they must say what is done. */
static px_status check_granted(const px_config *config, const px_arch *arch)
{
    const px_experts *experts = &arch->experts;
    enum { GATING_SIGMOID = 2, GATING_SOFTMAX_OF_CHOSEN = 3 };
    float theta = 10000;
    PX_TRY(px_config_f32(config, (px_key){NULL, "rope.freq_base"}, &theta));
    const struct {
        const char *key;
        float done;
        bool is_asked;
    } granted[] = {{"attention.key_length_swa", (float)arch->head_k, true},
        {"attention.value_length_swa", (float)arch->head_v, true},
        {"rope.dimension_count_swa", (float)arch->ropes[0].dims, true},
        {"rope.freq_base_swa", theta, !arch->ropes[1].dims},
        {"expert_weights_scale", experts->scale, experts->count != 0},
        {"expert_group_count", (float)experts->groups, experts->count != 0},
        {"attn_logit_softcapping", arch->attn_softcap, true},
        {"final_logit_softcapping", arch->logit_softcap, true}};
    for (size_t i = 0; i < sizeof granted / sizeof *granted; i++) {
        float value = 0;
        PX_TRY(px_config_f32(config, (px_key){NULL, granted[i].key}, &value));
        if (granted[i].is_asked && value != 0 && value != granted[i].done)
            return refuse(config, granted[i].key, (double)value);
    }
    if (!experts->count) return px_ok();
    uint32_t gating = 0;
    bool renormalise = experts->renormalise;
    PX_TRY(px_config_u32(config, (px_key){NULL, "expert_gating_func"}, &gating));
    if (gating > GATING_SOFTMAX_OF_CHOSEN ||
        (gating && (gating == GATING_SIGMOID) != experts->sigmoid) ||
        (gating == GATING_SOFTMAX_OF_CHOSEN && !experts->renormalise))
        return refuse(config, "expert_gating_func", gating);
    PX_TRY(px_config_bool(config, (px_key){NULL, "expert_weights_norm"}, &renormalise));
    return renormalise == experts->renormalise ? px_ok()
                                               : refuse(config, "expert_weights_norm", renormalise);
}

px_status px_family_check_leftovers(const px_config *config, const px_arch *arch)
{
    if (!config->gguf) return px_ok();
    PX_TRY(check_foreign(config));
    PX_TRY(check_window(config, arch));
    PX_TRY(check_granted(config, arch));
    return check_tensors(config->file, arch);
}
