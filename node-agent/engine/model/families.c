/* families.c - the architectures: how each differs from the common description, and its names. */
#include "engine/model/family.h"

#include <string.h>

/* --- the names most models use --- */

static const px_name hf_common[] = {{PX_ROLE_EMBED, "model.embed_tokens.weight", PX_TAKE_ALL},
    {PX_ROLE_FINAL_NORM, "model.norm.weight", PX_TAKE_ALL},
    {PX_ROLE_OUTPUT, "lm_head.weight", PX_TAKE_ALL},
    {PX_ROLE_ATTN_NORM, "model.layers.%u.input_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_Q, "model.layers.%u.self_attn.q_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_K, "model.layers.%u.self_attn.k_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_V, "model.layers.%u.self_attn.v_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_O, "model.layers.%u.self_attn.o_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_BIAS, "model.layers.%u.self_attn.q_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_K_BIAS, "model.layers.%u.self_attn.k_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_V_BIAS, "model.layers.%u.self_attn.v_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_O_BIAS, "model.layers.%u.self_attn.o_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_Q_NORM, "model.layers.%u.self_attn.q_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_K_NORM, "model.layers.%u.self_attn.k_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_NORM, "model.layers.%u.post_attention_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE, "model.layers.%u.mlp.gate_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_UP, "model.layers.%u.mlp.up_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_DOWN, "model.layers.%u.mlp.down_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE_BIAS, "model.layers.%u.mlp.gate_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_UP_BIAS, "model.layers.%u.mlp.up_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_DOWN_BIAS, "model.layers.%u.mlp.down_proj.bias", PX_TAKE_ALL}, {0}};

static const px_name gguf_common[] = {{PX_ROLE_EMBED, "token_embd.weight", PX_TAKE_ALL},
    {PX_ROLE_FINAL_NORM, "output_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_OUTPUT, "output.weight", PX_TAKE_ALL},
    {PX_ROLE_ATTN_NORM, "blk.%u.attn_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_Q, "blk.%u.attn_q.weight", PX_TAKE_ALL},
    {PX_ROLE_K, "blk.%u.attn_k.weight", PX_TAKE_ALL},
    {PX_ROLE_V, "blk.%u.attn_v.weight", PX_TAKE_ALL},
    {PX_ROLE_O, "blk.%u.attn_output.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_BIAS, "blk.%u.attn_q.bias", PX_TAKE_ALL},
    {PX_ROLE_K_BIAS, "blk.%u.attn_k.bias", PX_TAKE_ALL},
    {PX_ROLE_V_BIAS, "blk.%u.attn_v.bias", PX_TAKE_ALL},
    {PX_ROLE_O_BIAS, "blk.%u.attn_output.bias", PX_TAKE_ALL},
    {PX_ROLE_Q_NORM, "blk.%u.attn_q_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_K_NORM, "blk.%u.attn_k_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_ATTN_POST_NORM, "blk.%u.post_attention_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_FFN_NORM, "blk.%u.ffn_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE, "blk.%u.ffn_gate.weight", PX_TAKE_ALL},
    {PX_ROLE_UP, "blk.%u.ffn_up.weight", PX_TAKE_ALL},
    {PX_ROLE_DOWN, "blk.%u.ffn_down.weight", PX_TAKE_ALL},
    {PX_ROLE_GATE_BIAS, "blk.%u.ffn_gate.bias", PX_TAKE_ALL},
    {PX_ROLE_UP_BIAS, "blk.%u.ffn_up.bias", PX_TAKE_ALL},
    {PX_ROLE_DOWN_BIAS, "blk.%u.ffn_down.bias", PX_TAKE_ALL},
    {PX_ROLE_FFN_POST_NORM, "blk.%u.post_ffw_norm.weight", PX_TAKE_ALL}, {0}};

static const px_name *find_name(const px_name *table, px_role role)
{
    for (; table && table->pattern; table++)
        if (table->role == role) return table;
    return NULL;
}

const px_name *px_family_name(const px_family *family, bool gguf, px_role role)
{
    const px_name *own = find_name(gguf ? family->gguf_names : family->hf_names, role);
    return own ? own : find_name(gguf ? gguf_common : hf_common, role);
}

/* --- llama: Llama 1 to 3, SmolLM, Yi, ... --- */

/* GGUF metadata says nothing of biases: they are there or not. */
static bool present(const px_config *config, const char *name)
{
    return px_model_file_tensor(config->file, name) != NULL;
}

static px_status describe_llama(const px_config *config, px_arch *arch)
{
    if (config->gguf) {
        arch->rope_interleaved = true; /* the converter permutes q and k rows for it */
        arch->qkv_bias = present(config, "blk.0.attn_q.bias");
        arch->o_bias = present(config, "blk.0.attn_output.bias");
        arch->mlp_bias = present(config, "blk.0.ffn_gate.bias");
        return px_ok();
    }
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->qkv_bias));
    arch->o_bias = arch->qkv_bias;
    return px_config_bool(config, (px_key){"mlp_bias", NULL}, &arch->mlp_bias);
}

const px_family px_families[] = {
    {.name = "llama", .gguf = "llama", .hf = "LlamaForCausalLM", .describe = describe_llama}, {0}};
