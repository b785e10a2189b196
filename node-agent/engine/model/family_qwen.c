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

const px_family px_families_qwen[] = {
    {.name = "qwen2", .gguf = "qwen2", .hf = "Qwen2ForCausalLM", .describe = describe_qwen2},
    {.name = "qwen3", .gguf = "qwen3", .hf = "Qwen3ForCausalLM", .describe = describe_qwen3}, {0}};
