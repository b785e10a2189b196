/* family_llama.c - Llama 1 to 3, SmolLM and their kin; Mistral. */
#include "engine/model/family.h"

/* Mixtral's experts; GGUF files of Mixtral call themselves llama. */
static px_status describe_mixture(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    PX_TRY(px_config_u32(config, (px_key){"num_local_experts", "expert_count"}, &experts->count));
    PX_TRY(px_config_u32(
        config, (px_key){"num_experts_per_tok", "expert_used_count"}, &experts->used));
    if (!experts->count) return px_ok();
    experts->ffn = arch->ffn;
    experts->renormalise = true;
    for (uint32_t i = 0; i < arch->layer_count; i++) arch->layers[i].routed = true;
    return px_ok();
}

static px_status describe_llama(const px_config *config, px_arch *arch)
{
    if (config->gguf) {
        arch->rope_interleaved = true; /* the converter permutes q and k rows for it */
        arch->qkv_bias = px_family_present(config, "blk.0.attn_q.bias");
        arch->o_bias = px_family_present(config, "blk.0.attn_output.bias");
        arch->mlp_bias = px_family_present(config, "blk.0.ffn_gate.bias");
        return describe_mixture(config, arch);
    }
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    return px_config_bool(config, (px_key){"mlp_bias", NULL}, &arch->mlp_bias);
}

static px_status describe_mistral(const px_config *config, px_arch *arch)
{
    const px_key key = {"sliding_window", NULL};
    uint32_t window = px_config_mentions(config, key) ? 0 : 4096;
    PX_TRY(px_config_u32(config, key, &window));
    return px_family_windows(config, arch, window, px_family_every_layer, 0);
}

static px_status describe_mixtral(const px_config *config, px_arch *arch)
{
    uint32_t window = 0;
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", NULL}, &window));
    PX_TRY(px_family_windows(config, arch, window, px_family_every_layer, 0));
    arch->experts.count = 8; /* what a config leaves out */
    arch->experts.used = 2;
    return describe_mixture(config, arch);
}

static const px_name mixtral_hf_names[] = {
    {PX_ROLE_ROUTER, "model.layers.%u.block_sparse_moe.gate.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.block_sparse_moe.experts.%u.w1.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.block_sparse_moe.experts.%u.w3.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.block_sparse_moe.experts.%u.w2.weight", PX_TAKE_ALL},
    {0},
};

const px_family px_families_llama[] = {
    {.name = "llama", .gguf = "llama", .hf = "LlamaForCausalLM", .describe = describe_llama},
    {.name = "mistral", .hf = "MistralForCausalLM", .describe = describe_mistral},
    {.name = "mixtral",
        .hf = "MixtralForCausalLM",
        .describe = describe_mixtral,
        .hf_names = mixtral_hf_names},
    {0},
};
