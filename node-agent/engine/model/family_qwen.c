/* family_qwen.c - Qwen 2 and 3. */
#include "engine/model/family.h"

static bool is_late_layer(uint32_t layer, uint32_t first)
{
    return layer >= first;
}

/* Windows, where they are switched on, are for the later layers. */
static px_status describe_windows(const px_config *config, px_arch *arch)
{
    bool sliding = false;
    uint32_t window = 4096, full_layers = 28;
    PX_TRY(px_config_bool(config, (px_key){"use_sliding_window", NULL}, &sliding));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", NULL}, &window));
    PX_TRY(px_config_u32(config, (px_key){"max_window_layers", NULL}, &full_layers));
    return px_family_windows(config, arch, sliding ? window : 0, is_late_layer, full_layers);
}

static px_status describe_qwen2(const px_config *config, px_arch *arch)
{
    arch->qkv_bias = true;
    return describe_windows(config, arch);
}

static px_status describe_qwen3(const px_config *config, px_arch *arch)
{
    arch->qk_norm = true;
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    return describe_windows(config, arch);
}

/* Every `decoder_sparse_step`-th layer goes through experts, but those of `mlp_only_layers`. */
static px_status describe_mixture(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    uint32_t step = 1, dense_count;
    float dense[PX_ARCH_LAYERS_MAX];
    PX_TRY(px_config_u32(config, (px_key){"num_experts", "expert_count"}, &experts->count));
    PX_TRY(px_config_u32(
        config, (px_key){"num_experts_per_tok", "expert_used_count"}, &experts->used));
    PX_TRY(px_config_u32(
        config, (px_key){"moe_intermediate_size", "expert_feed_forward_length"}, &experts->ffn));
    PX_TRY(px_config_u32(config, (px_key){"decoder_sparse_step", NULL}, &step));
    PX_TRY(px_config_reals(
        config, (px_key){"mlp_only_layers", NULL}, PX_ARCH_LAYERS_MAX, dense, &dense_count));
    PX_TRY(px_config_bool(config, (px_key){"norm_topk_prob", NULL}, &experts->renormalise));
    for (uint32_t i = 0; i < arch->layer_count && experts->count && step; i++)
        arch->layers[i].routed = (i + 1) % step == 0;
    for (uint32_t i = 0; i < dense_count; i++)
        if (dense[i] >= 0 && dense[i] < (float)arch->layer_count)
            arch->layers[(uint32_t)dense[i]].routed = false;
    return px_ok();
}

static px_status describe_qwen2moe(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    experts->shared_weight = true;
    PX_TRY(px_config_u32(config,
        (px_key){"shared_expert_intermediate_size", "expert_shared_feed_forward_length"},
        &experts->shared_ffn));
    PX_TRY(describe_mixture(config, arch));
    return describe_qwen2(config, arch);
}

static px_status describe_qwen3moe(const px_config *config, px_arch *arch)
{
    arch->experts.renormalise = config->gguf != NULL; /* the GGUF arch means it */
    PX_TRY(describe_mixture(config, arch));
    return describe_qwen3(config, arch);
}

static const px_name moe_hf_names[] = {
    {PX_ROLE_SHARED_GATE, "model.layers.%u.mlp.shared_expert.gate_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_UP, "model.layers.%u.mlp.shared_expert.up_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_DOWN, "model.layers.%u.mlp.shared_expert.down_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_WEIGHT, "model.layers.%u.mlp.shared_expert_gate.weight", PX_TAKE_ALL},
    {0},
};

const px_family px_families_qwen[] = {
    {.name = "qwen2", .gguf = "qwen2", .hf = "Qwen2ForCausalLM", .describe = describe_qwen2},
    {.name = "qwen3", .gguf = "qwen3", .hf = "Qwen3ForCausalLM", .describe = describe_qwen3},
    {.name = "qwen2moe",
        .gguf = "qwen2moe",
        .hf = "Qwen2MoeForCausalLM",
        .describe = describe_qwen2moe,
        .hf_names = moe_hf_names},
    {.name = "qwen3moe",
        .gguf = "qwen3moe",
        .hf = "Qwen3MoeForCausalLM",
        .describe = describe_qwen3moe},
    {0},
};
