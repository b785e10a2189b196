/* family_qwen.c - Qwen 2 and 3. */
#include "engine/model/family.h"

static bool is_late_layer(uint32_t layer, uint32_t first)
{
    return layer >= first;
}

static bool is_early_even_layer(uint32_t layer, uint32_t end)
{
    return layer % 2 == 0 && layer < end;
}

typedef struct windows { /* which layers have one, where windows are switched on */
    bool (*is_sliding)(uint32_t layer, uint32_t arg);
} windows;

/* `max_window_layers` is where they begin, but in Qwen2-MoE where they end, and nothing in
 * Qwen3-MoE. A GGUF that states a window means it. */
static px_status describe_windows(const px_config *config, px_arch *arch, windows which)
{
    bool sliding = config->gguf != NULL;
    uint32_t window = 0, max_layers = 0;
    PX_TRY(px_config_bool(config, (px_key){"use_sliding_window", NULL}, &sliding));
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", "attention.sliding_window"}, &window));
    PX_TRY(px_config_u32(config, (px_key){"max_window_layers", NULL}, &max_layers));
    return px_family_windows(config, arch, sliding ? window : 0, which.is_sliding, max_layers);
}

static px_status describe_qwen2(const px_config *config, px_arch *arch)
{
    arch->qkv_bias = config->json || px_family_qkv_bias_present(config);
    return describe_windows(config, arch, (windows){is_late_layer});
}

static px_status describe_attention3(const px_config *config, px_arch *arch)
{
    arch->qk_norm = true;
    if (config->gguf) arch->qkv_bias = px_family_qkv_bias_present(config);
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    if (config->gguf) arch->o_bias = px_family_present(config, "blk.0.attn_output.bias");
    return px_ok();
}

static px_status describe_qwen3(const px_config *config, px_arch *arch)
{
    PX_TRY(describe_attention3(config, arch));
    return describe_windows(config, arch, (windows){is_late_layer});
}

/* The first GGUF files leave the MLPs' widths to be seen from the tensors. */
static uint32_t width_of(const px_config *config, const char *up)
{
    const px_tensor *tensor = px_model_file_tensor(config->file, up);
    return tensor && tensor->dims >= 2 ? (uint32_t)tensor->shape[tensor->dims - 2] : 0;
}

/* Every `decoder_sparse_step`-th layer goes through experts, but those of `mlp_only_layers`. */
static px_status describe_mixture(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    uint32_t step = 1, dense_count;
    if (config->gguf) experts->ffn = width_of(config, "blk.0.ffn_up_exps.weight");
    float dense[PX_ARCH_LAYERS_MAX];
    PX_TRY(px_config_u32(config, (px_key){"num_experts", "expert_count"}, &experts->count));
    PX_TRY(px_config_u32(config, (px_key){"num_local_experts", NULL}, &experts->count)); /* newer */
    PX_TRY(px_config_u32(
        config, (px_key){"num_experts_per_tok", "expert_used_count"}, &experts->used));
    PX_TRY(px_config_u32(
        config, (px_key){"moe_intermediate_size", "expert_feed_forward_length"}, &experts->ffn));
    PX_TRY(px_config_u32(config, (px_key){"decoder_sparse_step", NULL}, &step));
    PX_TRY(px_config_reals(
        config, (px_key){"mlp_only_layers", NULL}, PX_ARCH_LAYERS_MAX, dense, &dense_count));
    PX_TRY(px_config_bool(
        config, (px_key){"norm_topk_prob", "expert_weights_norm"}, &experts->renormalise));
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
    if (config->gguf) experts->shared_ffn = width_of(config, "blk.0.ffn_up_shexp.weight");
    PX_TRY(px_config_u32(config,
        (px_key){"shared_expert_intermediate_size", "expert_shared_feed_forward_length"},
        &experts->shared_ffn));
    PX_TRY(describe_mixture(config, arch));
    arch->qkv_bias = config->json || px_family_qkv_bias_present(config);
    PX_TRY(px_config_bool(config, (px_key){"qkv_bias", NULL}, &arch->qkv_bias));
    return describe_windows(config, arch, (windows){is_early_even_layer});
}

static px_status describe_qwen3moe(const px_config *config, px_arch *arch)
{
    arch->experts.renormalise = config->gguf != NULL; /* the GGUF arch means it */
    PX_TRY(describe_mixture(config, arch));
    PX_TRY(describe_attention3(config, arch));
    return describe_windows(config, arch, (windows){px_family_every_layer});
}

static const px_name moe_hf_names[] = {
    {PX_ROLE_SHARED_GATE, "model.layers.%u.mlp.shared_expert.gate_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_UP, "model.layers.%u.mlp.shared_expert.up_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_DOWN, "model.layers.%u.mlp.shared_expert.down_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_WEIGHT, "model.layers.%u.mlp.shared_expert_gate.weight", PX_TAKE_ALL},
    {0},
};

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char qwen2_defaults[] = PX_JSON({
    "vocab_size" : 151936,
    "hidden_size" : 4096,
    "intermediate_size" : 22016,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "num_key_value_heads" : 32,
    "max_position_embeddings" : 32768,
    "rms_norm_eps" : 1e-6,
    "sliding_window" : 4096,
    "max_window_layers" : 28
});
static const char qwen2moe_defaults[] = PX_JSON({
    "vocab_size" : 151936,
    "hidden_size" : 2048,
    "intermediate_size" : 5632,
    "num_hidden_layers" : 24,
    "num_attention_heads" : 16,
    "num_key_value_heads" : 16,
    "max_position_embeddings" : 32768,
    "rms_norm_eps" : 1e-6,
    "sliding_window" : 4096,
    "max_window_layers" : 28,
    "num_experts" : 60,
    "num_experts_per_tok" : 4,
    "moe_intermediate_size" : 1408,
    "shared_expert_intermediate_size" : 5632
});
static const char qwen3_defaults[] = PX_JSON({
    "vocab_size" : 151936,
    "hidden_size" : 4096,
    "intermediate_size" : 22016,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "num_key_value_heads" : 32,
    "head_dim" : 128,
    "max_position_embeddings" : 32768,
    "rms_norm_eps" : 1e-6,
    "sliding_window" : 4096,
    "max_window_layers" : 28
});
static const char qwen3moe_defaults[] = PX_JSON({
    "vocab_size" : 151936,
    "hidden_size" : 2048,
    "intermediate_size" : 6144,
    "num_hidden_layers" : 24,
    "num_attention_heads" : 32,
    "num_key_value_heads" : 4,
    "max_position_embeddings" : 32768,
    "rms_norm_eps" : 1e-6,
    "sliding_window" : 4096,
    "num_experts" : 128,
    "num_experts_per_tok" : 8,
    "moe_intermediate_size" : 768
});

const px_family px_families_qwen[] = {
    {.name = "qwen2",
        .gguf = "qwen2",
        .hf = "Qwen2",
        .model_type = "qwen2",
        .defaults = qwen2_defaults,
        .describe = describe_qwen2},
    {.name = "qwen3",
        .gguf = "qwen3",
        .hf = "Qwen3",
        .model_type = "qwen3",
        .defaults = qwen3_defaults,
        .describe = describe_qwen3},
    {.name = "qwen2moe",
        .gguf = "qwen2moe",
        .hf = "Qwen2Moe",
        .model_type = "qwen2_moe",
        .defaults = qwen2moe_defaults,
        .describe = describe_qwen2moe,
        .hf_names = moe_hf_names},
    {.name = "qwen3moe",
        .gguf = "qwen3moe",
        .hf = "Qwen3Moe",
        .model_type = "qwen3_moe",
        .defaults = qwen3moe_defaults,
        .describe = describe_qwen3moe},
    {0},
};
