/* family_llama.c - Llama 1 to 3, SmolLM and their kin; Mistral. */
#include "engine/model/family.h"

static px_status describe_llama(const px_config *config, px_arch *arch)
{
    if (config->gguf) {
        arch->rope_interleaved = true; /* the converter permutes q and k rows for it */
        arch->qkv_bias = px_family_present(config, "blk.0.attn_q.bias");
        arch->o_bias = px_family_present(config, "blk.0.attn_output.bias");
        arch->mlp_bias = px_family_present(config, "blk.0.ffn_gate.bias");
        return px_ok();
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

const px_family px_families_llama[] = {
    {.name = "llama", .gguf = "llama", .hf = "LlamaForCausalLM", .describe = describe_llama},
    {.name = "mistral", .hf = "MistralForCausalLM", .describe = describe_mistral}, {0}};
