/* family_glm.c - GLM, GLM-4 and GLM-4 MoE: rotation of half of a head. */
#include "engine/model/family.h"

static const px_name hf_names[] = {
    {PX_ROLE_ATTN_POST_NORM, "model.layers.%u.post_self_attn_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_POST_NORM, "model.layers.%u.post_mlp_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE, "model.layers.%u.mlp.gate_up_proj.weight", PX_TAKE_FIRST_HALF},
    {PX_ROLE_UP, "model.layers.%u.mlp.gate_up_proj.weight", PX_TAKE_SECOND_HALF},
    {0},
};

static const px_name moe_gguf_names[] = {
    {PX_ROLE_FFN_NORM, "blk.%u.post_attention_norm.weight", PX_TAKE_ALL},
    {0},
};

static const px_name gguf_names[] = {
    {PX_ROLE_GATE, "blk.%u.ffn_up.weight", PX_TAKE_FIRST_HALF},
    {PX_ROLE_UP, "blk.%u.ffn_up.weight", PX_TAKE_SECOND_HALF},
    {0},
};

static px_status describe_glm(const px_config *config, px_arch *arch)
{
    arch->rope_interleaved = true;
    arch->qkv_bias = config->gguf && px_family_qkv_bias_present(config);
    return px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias);
}

/* Of a GGUF whose positions have parts (those with images) converters turned neighbours into
 * halves.
 */
static px_status describe_glm4(const px_config *config, px_arch *arch)
{
    float sections[4] = {0};
    uint32_t count;
    arch->post_norms = true;
    PX_TRY(describe_glm(config, arch));
    PX_TRY(px_config_reals(config, (px_key){NULL, "rope.dimension_sections"}, 4, sections, &count));
    if (sections[0] > 0 && sections[1] > 0) arch->rope_interleaved = false;
    return px_ok();
}

/* GLM-4 MoE goes back to halves for neighbours; its experts are chosen as DeepSeek-V3's. */
static px_status describe_glm4moe(const px_config *config, px_arch *arch)
{
    arch->qk_norm = config->gguf && px_family_present(config, "blk.0.attn_q_norm.weight");
    arch->qkv_bias = config->gguf && px_family_qkv_bias_present(config);
    PX_TRY(px_config_bool(config, (px_key){"use_qk_norm", NULL}, &arch->qk_norm));
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    return px_family_deepseek_experts(config, arch);
}

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char glm_defaults[] = PX_JSON({
    "vocab_size" : 151552,
    "hidden_size" : 4096,
    "intermediate_size" : 13696,
    "num_hidden_layers" : 40,
    "num_attention_heads" : 32,
    "num_key_value_heads" : 2,
    "head_dim" : 128,
    "rms_norm_eps" : 1.5625e-7,
    "max_position_embeddings" : 131072,
    "partial_rotary_factor" : 0.5,
    "attention_bias" : true
});
static const char glm4moe_defaults[] = PX_JSON({
    "vocab_size" : 151552,
    "hidden_size" : 4096,
    "intermediate_size" : 10944,
    "num_hidden_layers" : 46,
    "num_attention_heads" : 96,
    "num_key_value_heads" : 8,
    "rms_norm_eps" : 1e-5,
    "max_position_embeddings" : 131072,
    "partial_rotary_factor" : 0.5,
    "n_routed_experts" : 128,
    "num_experts_per_tok" : 8,
    "moe_intermediate_size" : 1408,
    "n_shared_experts" : 1,
    "first_k_dense_replace" : 1
});

const px_family px_families_glm[] = {
    {.name = "glm",
        .gguf = "chatglm",
        .hf = "Glm",
        .model_type = "glm",
        .defaults = glm_defaults,
        .describe = describe_glm,
        .hf_names = hf_names,
        .gguf_names = gguf_names},
    {.name = "glm4",
        .gguf = "glm4",
        .hf = "Glm4",
        .model_type = "glm4",
        .defaults = glm_defaults,
        .describe = describe_glm4,
        .hf_names = hf_names,
        .gguf_names = gguf_names},
    {.name = "glm4moe",
        .gguf = "glm4moe",
        .hf = "Glm4Moe",
        .model_type = "glm4_moe",
        .defaults = glm4moe_defaults,
        .describe = describe_glm4moe,
        .gguf_names = moe_gguf_names},
    {0},
};
