/* family_phi.c - Phi-3: projections stored together. */
#include "engine/model/family.h"

static const px_name hf_names[] = {
    {PX_ROLE_Q, "model.layers.%u.self_attn.qkv_proj.weight", PX_TAKE_QKV},
    {PX_ROLE_K, "model.layers.%u.self_attn.qkv_proj.weight", PX_TAKE_QKV},
    {PX_ROLE_V, "model.layers.%u.self_attn.qkv_proj.weight", PX_TAKE_QKV},
    {PX_ROLE_GATE, "model.layers.%u.mlp.gate_up_proj.weight", PX_TAKE_FIRST_HALF},
    {PX_ROLE_UP, "model.layers.%u.mlp.gate_up_proj.weight", PX_TAKE_SECOND_HALF},
    {0},
};

static const px_name gguf_names[] = {
    {PX_ROLE_Q, "blk.%u.attn_qkv.weight", PX_TAKE_QKV},
    {PX_ROLE_Q, "blk.%u.attn_q.weight", PX_TAKE_ALL},
    {PX_ROLE_K, "blk.%u.attn_qkv.weight", PX_TAKE_QKV},
    {PX_ROLE_K, "blk.%u.attn_k.weight", PX_TAKE_ALL},
    {PX_ROLE_V, "blk.%u.attn_qkv.weight", PX_TAKE_QKV},
    {PX_ROLE_V, "blk.%u.attn_v.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE, "blk.%u.ffn_up.weight", PX_TAKE_FIRST_HALF},
    {PX_ROLE_UP, "blk.%u.ffn_up.weight", PX_TAKE_SECOND_HALF},
    {0},
};

static px_status describe_phi3(const px_config *config, px_arch *arch)
{
    uint32_t window = 0;
    PX_TRY(px_config_u32(config, (px_key){"sliding_window", "attention.sliding_window"}, &window));
    return px_family_windows(config, arch, window, px_family_every_layer, 0);
}

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char defaults[] = PX_JSON({
    "vocab_size" : 32064,
    "hidden_size" : 3072,
    "intermediate_size" : 8192,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "max_position_embeddings" : 4096,
    "original_max_position_embeddings" : 4096,
    "rms_norm_eps" : 1e-5
});

const px_family px_families_phi[] = {
    {.name = "phi3",
        .gguf = "phi3",
        .hf = "Phi3",
        .model_type = "phi3",
        .defaults = defaults,
        .describe = describe_phi3,
        .hf_names = hf_names,
        .gguf_names = gguf_names},
    {0},
};
