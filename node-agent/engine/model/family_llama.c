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

/* GGUF files of Mistral and Mixtral call themselves llama too; few state a window. */
static px_status describe_gguf(const px_config *config, px_arch *arch)
{
    uint32_t window = 0;
    arch->qkv_bias = px_family_qkv_bias_present(config);
    arch->o_bias = px_family_present(config, "blk.0.attn_output.bias");
    arch->mlp_bias = px_family_present(config, "blk.0.ffn_gate.bias");
    PX_TRY(px_config_u32(config, (px_key){NULL, "attention.sliding_window"}, &window));
    PX_TRY(px_family_windows(config, arch, window, px_family_every_layer, 0));
    return describe_mixture(config, arch);
}

static px_status describe_llama(const px_config *config, px_arch *arch)
{
    if (config->gguf) return describe_gguf(config, arch);
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    return px_config_bool(config, (px_key){"mlp_bias", NULL}, &arch->mlp_bias);
}

static px_status describe_mistral(const px_config *config, px_arch *arch)
{
    uint32_t window = 0;
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", NULL}, &window));
    for (uint32_t i = 0; i < arch->layer_count; i++) arch->layers[i].window = window;
    return px_ok();
}

static px_status describe_mixtral(const px_config *config, px_arch *arch)
{
    PX_TRY(describe_mistral(config, arch));
    return describe_mixture(config, arch);
}

static const px_name mixtral_hf_names[] = {
    {PX_ROLE_ROUTER, "model.layers.%u.block_sparse_moe.gate.weight", PX_TAKE_ALL},
    {PX_ROLE_ROUTER, "model.layers.%u.mlp.gate.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.block_sparse_moe.experts.%u.w1.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.block_sparse_moe.experts.%u.w3.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.block_sparse_moe.experts.%u.w2.weight", PX_TAKE_ALL},
    /* The same as transformers 5 holds them in memory. */
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.mlp.experts.gate_up_proj", PX_TAKE_EXPERT_FIRST_HALF},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.mlp.experts.gate_up_proj", PX_TAKE_EXPERT_SECOND_HALF},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.mlp.experts.down_proj", PX_TAKE_EXPERT},
    {0},
};

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char llama_defaults[] = PX_JSON({
    "vocab_size" : 32000,
    "hidden_size" : 4096,
    "intermediate_size" : 11008,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "max_position_embeddings" : 2048,
    "rms_norm_eps" : 1e-6
});
static const char mistral_defaults[] = PX_JSON({
    "vocab_size" : 32000,
    "hidden_size" : 4096,
    "intermediate_size" : 14336,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "num_key_value_heads" : 8,
    "max_position_embeddings" : 131072,
    "rms_norm_eps" : 1e-6,
    "sliding_window" : 4096
});
static const char mixtral_defaults[] = PX_JSON({
    "vocab_size" : 32000,
    "hidden_size" : 4096,
    "intermediate_size" : 14336,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "num_key_value_heads" : 8,
    "max_position_embeddings" : 131072,
    "rms_norm_eps" : 1e-5,
    "rope_theta" : 1e6,
    "num_local_experts" : 8,
    "num_experts_per_tok" : 2
});

const px_family px_families_llama[] = {
    {.name = "llama",
        .gguf = "llama",
        .hf = "Llama",
        .model_type = "llama",
        .defaults = llama_defaults,
        .describe = describe_llama,
        .gguf_pairs_rows = true},
    {.name = "mistral",
        .gguf = "llama",
        .hf = "Mistral",
        .model_type = "mistral",
        .defaults = mistral_defaults,
        .describe = describe_mistral,
        .gguf_pairs_rows = true},
    {.name = "mistral3", .gguf = "mistral3", .describe = describe_llama, .gguf_pairs_rows = true},
    {.name = "mixtral",
        .gguf = "llama",
        .hf = "Mixtral",
        .model_type = "mixtral",
        .defaults = mixtral_defaults,
        .describe = describe_mixtral,
        .hf_names = mixtral_hf_names,
        .gguf_pairs_rows = true},
    {0},
};
