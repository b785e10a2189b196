/* family_gemma.c - Gemma 2 and 3: norms around both halves of a layer, alternating windows. */
#include "engine/model/family.h"

#include <math.h>

static const px_name hf_names[] = {
    {PX_ROLE_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm.weight", PX_TAKE_ALL},
    {0},
};

/* Of every `period` layers the last sees everything. */
static bool is_not_last_of(uint32_t layer, uint32_t period)
{
    return period == 0 || (layer + 1) % period != 0;
}

/* `layers_of_27b`: GGUF files lack query_pre_attn_scalar; it differs from a head's size in the
 * largest model only, which is told by its number of layers. */
static px_status describe_common(const px_config *config, px_arch *arch, uint32_t layers_of_27b)
{
    float scalar = config->json ? 256 : (float)arch->head_k;
    if (config->gguf && arch->layer_count == layers_of_27b)
        scalar = (float)arch->hidden / (float)arch->heads;
    PX_TRY(px_config_f32(config, (px_key){"query_pre_attn_scalar", NULL}, &scalar));
    if (!(scalar > 0))
        return px_fail(
            PX_INVALID_ARGUMENT, "query_pre_attn_scalar %g must be positive", (double)scalar);
    arch->attn_scale = 1 / sqrtf(scalar);
    arch->embed_scale = sqrtf((float)arch->hidden);
    arch->norm_offset = config->json ? 1 : 0; /* GGUF files hold 1 + weight */
    arch->post_norms = true;
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    if (config->gguf) arch->activation = PX_GELU_TANH;
    return px_ok();
}

static px_status read_cap(const px_config *config, px_key key, float missing, float *out)
{
    *out = px_config_mentions(config, key) ? 0 : missing;
    return px_config_f32(config, key, out);
}

static px_status describe_gemma2(const px_config *config, px_arch *arch)
{
    uint32_t window = 4096;
    PX_TRY(describe_common(config, arch, 46));
    PX_TRY(read_cap(config, (px_key){"attn_logit_softcapping", "attn_logit_softcapping"}, 50,
        &arch->attn_softcap));
    PX_TRY(read_cap(config, (px_key){"final_logit_softcapping", "final_logit_softcapping"}, 30,
        &arch->logit_softcap));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", "attention.sliding_window"}, &window));
    return px_family_windows(config, arch, window, is_not_last_of, 2);
}

/* Layers with a window rotate by the local base, without the scaling of the others. */
static px_status describe_local_rope(const px_config *config, px_arch *arch)
{
    px_rope_settings full, local;
    float theta = 10000;
    PX_TRY(px_config_rope(config, "full_attention", &full));
    PX_TRY(px_config_rope(config, "sliding_attention", &local));
    if (!px_config_mentions(config, (px_key){"rope_parameters", NULL})) {
        PX_TRY(
            px_config_f32(config, (px_key){"rope_local_base_freq", "rope.freq_base_swa"}, &theta));
        local = (px_rope_settings){.theta = (double)theta, .scaling = {.kind = PX_ROPE_PLAIN}};
    }
    PX_TRY(px_rope_freqs_make(&full.scaling, full.theta, arch->head_k, &arch->ropes[0]));
    PX_TRY(px_rope_freqs_make(&local.scaling, local.theta, arch->head_k, &arch->ropes[1]));
    for (uint32_t i = 0; i < arch->layer_count; i++)
        arch->layers[i].rope = arch->layers[i].window != 0;
    return px_ok();
}

static px_status describe_gemma3(const px_config *config, px_arch *arch)
{
    uint32_t window = 4096, period = 6;
    arch->qk_norm = true;
    PX_TRY(describe_common(config, arch, 62));
    PX_TRY(read_cap(config, (px_key){"attn_logit_softcapping", NULL}, 0, &arch->attn_softcap));
    PX_TRY(read_cap(config, (px_key){"final_logit_softcapping", NULL}, 0, &arch->logit_softcap));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", "attention.sliding_window"}, &window));
    PX_TRY(px_config_u32(config, (px_key){"_sliding_window_pattern", NULL}, &period));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window_pattern", NULL}, &period));
    PX_TRY(px_family_windows(config, arch, window, is_not_last_of, period));
    return describe_local_rope(config, arch);
}

const px_family px_families_gemma[] = {
    {.name = "gemma2",
        .gguf = "gemma2",
        .hf = "Gemma2ForCausalLM",
        .describe = describe_gemma2,
        .hf_names = hf_names},
    {.name = "gemma3",
        .gguf = "gemma3",
        .hf = "Gemma3ForCausalLM",
        .describe = describe_gemma3,
        .hf_names = hf_names},
    {0},
};
