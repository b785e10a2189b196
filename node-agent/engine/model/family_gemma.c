/* family_gemma.c - Gemma 1, 2 and 3: from 2 norms around both halves of a layer and alternating
 * windows. */
#include "engine/model/family.h"

#include <math.h>

static const px_name hf_names[] = {
    {PX_ROLE_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm.weight", PX_TAKE_ALL},
    {0},
};

/* Gemma 1 lacks what its successors add. */
static px_status describe_gemma(const px_config *config, px_arch *arch)
{
    arch->embed_scale = sqrtf((float)arch->hidden);
    arch->norm_offset = arch->from_gguf ? 0 : 1; /* GGUF files hold 1 + weight */
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    /* The first files say "gelu" and mean the tangent. */
    if (config->gguf || arch->activation == PX_GELU_ERF) arch->activation = PX_GELU_TANH;
    return px_ok();
}

/* Of every `period` layers the last sees everything. */
static bool is_not_last_of(uint32_t layer, uint32_t period)
{
    return period == 0 || (layer + 1) % period != 0;
}

/* `layers_of_27b`: GGUF files lack query_pre_attn_scalar; it differs from a head's size in the
 * largest model only, which is told by its number of layers. */
static px_status describe_later(const px_config *config, px_arch *arch, uint32_t layers_of_27b)
{
    float scalar = (float)arch->head_k;
    if (config->gguf && arch->layer_count == layers_of_27b)
        scalar = (float)arch->hidden / (float)arch->heads;
    PX_TRY(px_config_f32(config, (px_key){"query_pre_attn_scalar", NULL}, &scalar));
    if (!(scalar > 0))
        return px_fail(
            PX_INVALID_ARGUMENT, "query_pre_attn_scalar %g must be positive", (double)scalar);
    PX_TRY(describe_gemma(config, arch));
    PX_TRY(px_family_activation(config, "hidden_activation", arch));
    arch->attn_scale = 1 / sqrtf(scalar);
    arch->post_norms = true;
    PX_TRY(px_config_f32(
        config, (px_key){"attn_logit_softcapping", "attn_logit_softcapping"}, &arch->attn_softcap));
    return px_config_f32(config, (px_key){"final_logit_softcapping", "final_logit_softcapping"},
        &arch->logit_softcap);
}

static px_status describe_gemma2(const px_config *config, px_arch *arch)
{
    uint32_t window = config->gguf ? 4096 : 0;
    if (config->gguf) {
        arch->attn_softcap = 50;
        arch->logit_softcap = 30;
    }
    PX_TRY(describe_later(config, arch, 46));
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
    if (config->gguf) {
        PX_TRY(px_config_f32(config, (px_key){NULL, "rope.freq_base_swa"}, &theta));
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
    uint32_t window = 0, period = 6;
    arch->qk_norm = true;
    PX_TRY(px_config_bool(config, (px_key){"use_bidirectional_attention", NULL}, &arch->both_ways));
    PX_TRY(describe_later(config, arch, 62));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", "attention.sliding_window"}, &window));
    PX_TRY(px_config_u32(config, (px_key){"_sliding_window_pattern", NULL}, &period));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window_pattern", NULL}, &period));
    if (arch->both_ways) window = window / 2 + 1; /* half of it on either side */
    PX_TRY(px_family_windows(config, arch, window, is_not_last_of, period));
    return describe_local_rope(config, arch);
}

/* GGUF's name for Gemma 3 as an encoder. */
static px_status describe_embedding(const px_config *config, px_arch *arch)
{
    arch->both_ways = true;
    arch->head = PX_HEAD_NONE;
    return describe_gemma3(config, arch);
}

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char gemma_defaults[] = PX_JSON({
    "vocab_size" : 256000,
    "hidden_size" : 3072,
    "intermediate_size" : 24576,
    "num_hidden_layers" : 28,
    "num_attention_heads" : 16,
    "num_key_value_heads" : 16,
    "head_dim" : 256,
    "rms_norm_eps" : 1e-6,
    "hidden_act" : "gelu_pytorch_tanh",
    "max_position_embeddings" : 8192
});
static const char gemma2_defaults[] = PX_JSON({
    "vocab_size" : 256000,
    "hidden_size" : 2304,
    "intermediate_size" : 9216,
    "num_hidden_layers" : 26,
    "num_attention_heads" : 8,
    "num_key_value_heads" : 4,
    "head_dim" : 256,
    "rms_norm_eps" : 1e-6,
    "hidden_activation" : "gelu_pytorch_tanh",
    "max_position_embeddings" : 8192,
    "query_pre_attn_scalar" : 256,
    "sliding_window" : 4096,
    "attn_logit_softcapping" : 50,
    "final_logit_softcapping" : 30
});
static const char gemma3_defaults[] = PX_JSON({
    "vocab_size" : 262208,
    "hidden_size" : 2304,
    "intermediate_size" : 9216,
    "num_hidden_layers" : 26,
    "num_attention_heads" : 8,
    "num_key_value_heads" : 4,
    "head_dim" : 256,
    "rms_norm_eps" : 1e-6,
    "hidden_activation" : "gelu_pytorch_tanh",
    "max_position_embeddings" : 131072,
    "query_pre_attn_scalar" : 256,
    "sliding_window" : 4096,
    "rope_theta" : 1e6,
    "rope_local_base_freq" : 1e4
});

const px_family px_families_gemma[] = {
    {.name = "gemma",
        .gguf = "gemma",
        .hf = "Gemma",
        .model_type = "gemma",
        .defaults = gemma_defaults,
        .describe = describe_gemma},
    {.name = "gemma2",
        .gguf = "gemma2",
        .hf = "Gemma2",
        .model_type = "gemma2",
        .defaults = gemma2_defaults,
        .describe = describe_gemma2,
        .hf_names = hf_names},
    {.name = "gemma3",
        .gguf = "gemma3",
        .hf = "Gemma3",
        .model_type = "gemma3_text",
        .defaults = gemma3_defaults,
        .describe = describe_gemma3,
        .hf_names = hf_names},
    {.name = "gemma-embedding",
        .gguf = "gemma-embedding",
        .describe = describe_embedding,
        .hf_names = hf_names},
    {0},
};
