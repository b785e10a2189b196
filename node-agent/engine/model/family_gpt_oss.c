/* family_gpt_oss.c - gpt-oss: attention sinks, clamped SwiGLU experts with biases, MXFP4. */
#include "engine/model/family.h"

static const px_name hf_names[] = {
    {PX_ROLE_SINKS, "model.layers.%u.self_attn.sinks", PX_TAKE_ALL},
    {PX_ROLE_ROUTER, "model.layers.%u.mlp.router.weight", PX_TAKE_ALL},
    {PX_ROLE_ROUTER_BIAS, "model.layers.%u.mlp.router.bias", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.mlp.experts.gate_up_proj", PX_TAKE_EXPERT_TURNED_EVEN},
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.mlp.experts.gate_up_proj_blocks",
        PX_TAKE_EXPERT_MXFP4_EVEN},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.mlp.experts.gate_up_proj", PX_TAKE_EXPERT_TURNED_ODD},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.mlp.experts.gate_up_proj_blocks",
        PX_TAKE_EXPERT_MXFP4_ODD},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.mlp.experts.down_proj", PX_TAKE_EXPERT_TURNED},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.mlp.experts.down_proj_blocks", PX_TAKE_EXPERT_MXFP4},
    {PX_ROLE_EXPERT_GATE_BIAS, "model.layers.%u.mlp.experts.gate_up_proj_bias",
        PX_TAKE_EXPERT_EVEN},
    {PX_ROLE_EXPERT_UP_BIAS, "model.layers.%u.mlp.experts.gate_up_proj_bias", PX_TAKE_EXPERT_ODD},
    {PX_ROLE_EXPERT_DOWN_BIAS, "model.layers.%u.mlp.experts.down_proj_bias", PX_TAKE_EXPERT},
    {0},
};

static const px_name gguf_names[] = {
    {PX_ROLE_SINKS, "blk.%u.attn_sinks.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_NORM, "blk.%u.post_attention_norm.weight", PX_TAKE_ALL},
    {0},
};

static bool is_even_layer(uint32_t layer, uint32_t arg)
{
    (void)arg;
    return layer % 2 == 0;
}

/* GGUF has no key for it: the authors do not round YaRN's range of pairs. */
static px_status describe_unrounded_rope(const px_config *config, px_arch *arch)
{
    px_rope_settings rope;
    PX_TRY(px_config_rope(config, NULL, &rope));
    rope.scaling.no_truncate = true;
    return px_rope_freqs_make(&rope.scaling, rope.theta, arch->ropes[0].dims, &arch->ropes[0]);
}

static px_status describe_gpt_oss(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    uint32_t window = 0;
    arch->qkv_bias = arch->o_bias = true;
    arch->sinks = true;
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", "attention.sliding_window"}, &window));
    PX_TRY(px_family_windows(config, arch, window, is_even_layer, 0));
    if (config->gguf) PX_TRY(describe_unrounded_rope(config, arch));

    arch->activation = PX_SWIGLU_OAI;
    arch->activation_limit = 7;
    arch->activation_alpha = 1.702f;
    PX_TRY(px_config_f32(config, (px_key){"swiglu_limit", NULL}, &arch->activation_limit));
    PX_TRY(px_config_f32(config, (px_key){"swiglu_alpha", NULL}, &arch->activation_alpha));
    experts->ffn = arch->ffn;
    experts->router_bias = experts->biases = experts->renormalise = true;
    PX_TRY(px_config_u32(config, (px_key){NULL, "expert_feed_forward_length"}, &experts->ffn));
    PX_TRY(px_config_u32(config, (px_key){"num_local_experts", "expert_count"}, &experts->count));
    PX_TRY(px_config_u32(
        config, (px_key){"num_experts_per_tok", "expert_used_count"}, &experts->used));
    for (uint32_t i = 0; i < arch->layer_count; i++) arch->layers[i].routed = true;
    return px_ok();
}

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char defaults[] = PX_JSON({
    "vocab_size" : 201088,
    "hidden_size" : 2880,
    "intermediate_size" : 2880,
    "num_hidden_layers" : 36,
    "num_attention_heads" : 64,
    "num_key_value_heads" : 8,
    "head_dim" : 64,
    "rms_norm_eps" : 1e-5,
    "max_position_embeddings" : 131072,
    "rope_theta" : 150000,
    "sliding_window" : 128,
    "num_local_experts" : 128,
    "num_experts_per_tok" : 4,
    "rope_parameters" : {
        "rope_type" : "yarn",
        "factor" : 32,
        "beta_fast" : 32,
        "beta_slow" : 1,
        "truncate" : false,
        "original_max_position_embeddings" : 4096
    }
});

const px_family px_families_gpt_oss[] = {
    {.name = "gpt-oss",
        .gguf = "gpt-oss",
        .hf = "GptOss",
        .model_type = "gpt_oss",
        .defaults = defaults,
        .describe = describe_gpt_oss,
        .hf_names = hf_names,
        .gguf_names = gguf_names},
    {0},
};
