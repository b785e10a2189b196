/* family_glm.c - GLM and GLM-4: rotation of neighbours in half of a head. */
#include "engine/model/family.h"

static const px_name hf_names[] = {
    {PX_ROLE_ATTN_POST_NORM, "model.layers.%u.post_self_attn_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_POST_NORM, "model.layers.%u.post_mlp_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE, "model.layers.%u.mlp.gate_up_proj.weight", PX_TAKE_FIRST_HALF},
    {PX_ROLE_UP, "model.layers.%u.mlp.gate_up_proj.weight", PX_TAKE_SECOND_HALF},
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
    arch->qkv_bias = config->gguf && px_family_present(config, "blk.0.attn_q.bias");
    return px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias);
}

static px_status describe_glm4(const px_config *config, px_arch *arch)
{
    arch->post_norms = true;
    return describe_glm(config, arch);
}

/* GLM-4 MoE goes back to halves for neighbours; its experts are chosen as DeepSeek-V3's. */
static px_status describe_glm4moe(const px_config *config, px_arch *arch)
{
    PX_TRY(px_config_bool(config, (px_key){"use_qk_norm", NULL}, &arch->qk_norm));
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    return px_family_deepseek_experts(config, arch);
}

const px_family px_families_glm[] = {
    {.name = "glm", .hf = "GlmForCausalLM", .describe = describe_glm, .hf_names = hf_names},
    {.name = "glm4",
        .gguf = "glm4",
        .hf = "Glm4ForCausalLM",
        .describe = describe_glm4,
        .hf_names = hf_names,
        .gguf_names = gguf_names},
    {.name = "glm4moe", .hf = "Glm4MoeForCausalLM", .describe = describe_glm4moe},
    {0},
};
