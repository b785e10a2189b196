/* families.c - the list of architectures, and what most of them have in common. */
#include "engine/model/family.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* --- the names most models use --- */

static const px_name hf_common[] = {
    {PX_ROLE_EMBED, "model.embed_tokens.weight", PX_TAKE_ALL},
    {PX_ROLE_FINAL_NORM, "model.norm.weight", PX_TAKE_ALL},
    {PX_ROLE_OUTPUT, "lm_head.weight", PX_TAKE_ALL},
    {PX_ROLE_OUTPUT, "language_model.lm_head.weight", PX_TAKE_ALL},
    {PX_ROLE_ATTN_NORM, "model.layers.%u.input_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_Q, "model.layers.%u.self_attn.q_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_K, "model.layers.%u.self_attn.k_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_V, "model.layers.%u.self_attn.v_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_O, "model.layers.%u.self_attn.o_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_DOWN, "model.layers.%u.self_attn.q_a_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_DOWN_NORM, "model.layers.%u.self_attn.q_a_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_UP, "model.layers.%u.self_attn.q_b_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_KV_DOWN, "model.layers.%u.self_attn.kv_a_proj_with_mqa.weight", PX_TAKE_ALL},
    {PX_ROLE_KV_DOWN_NORM, "model.layers.%u.self_attn.kv_a_layernorm.weight", PX_TAKE_ALL},
    {PX_ROLE_K_UP, "model.layers.%u.self_attn.kv_b_proj.weight", PX_TAKE_HEAD_KEY},
    {PX_ROLE_V_UP, "model.layers.%u.self_attn.kv_b_proj.weight", PX_TAKE_HEAD_VALUE},
    {PX_ROLE_Q_DOWN_BIAS, "model.layers.%u.self_attn.q_a_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_KV_DOWN_BIAS, "model.layers.%u.self_attn.kv_a_proj_with_mqa.bias", PX_TAKE_ALL},
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
    {PX_ROLE_DOWN_BIAS, "model.layers.%u.mlp.down_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_ROUTER, "model.layers.%u.mlp.gate.weight", PX_TAKE_ALL},
    {PX_ROLE_CHOICE_BIAS, "model.layers.%u.mlp.gate.e_score_correction_bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_GATE, "model.layers.%u.mlp.shared_experts.gate_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_UP, "model.layers.%u.mlp.shared_experts.up_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_DOWN, "model.layers.%u.mlp.shared_experts.down_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_GATE_BIAS, "model.layers.%u.mlp.shared_experts.gate_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_UP_BIAS, "model.layers.%u.mlp.shared_experts.up_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_DOWN_BIAS, "model.layers.%u.mlp.shared_experts.down_proj.bias", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.mlp.experts.%u.gate_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.mlp.experts.%u.up_proj.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.mlp.experts.%u.down_proj.weight", PX_TAKE_ALL},
    /* The same as transformers 5 holds them in memory. */
    {PX_ROLE_EXPERT_GATE, "model.layers.%u.mlp.experts.gate_up_proj", PX_TAKE_EXPERT_FIRST_HALF},
    {PX_ROLE_EXPERT_UP, "model.layers.%u.mlp.experts.gate_up_proj", PX_TAKE_EXPERT_SECOND_HALF},
    {PX_ROLE_EXPERT_DOWN, "model.layers.%u.mlp.experts.down_proj", PX_TAKE_EXPERT},
    {0},
};

static const px_name gguf_common[] = {
    {PX_ROLE_EMBED, "token_embd.weight", PX_TAKE_ALL},
    {PX_ROLE_FINAL_NORM, "output_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_OUTPUT, "output.weight", PX_TAKE_ALL},
    {PX_ROLE_ATTN_NORM, "blk.%u.attn_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_Q, "blk.%u.attn_q.weight", PX_TAKE_ALL},
    {PX_ROLE_K, "blk.%u.attn_k.weight", PX_TAKE_ALL},
    {PX_ROLE_V, "blk.%u.attn_v.weight", PX_TAKE_ALL},
    /* Converters can store the three together, whatever the architecture. */
    {PX_ROLE_Q, "blk.%u.attn_qkv.weight", PX_TAKE_QKV},
    {PX_ROLE_K, "blk.%u.attn_qkv.weight", PX_TAKE_QKV},
    {PX_ROLE_V, "blk.%u.attn_qkv.weight", PX_TAKE_QKV},
    {PX_ROLE_O, "blk.%u.attn_output.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_DOWN, "blk.%u.attn_q_a.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_DOWN_NORM, "blk.%u.attn_q_a_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_Q_UP, "blk.%u.attn_q_b.weight", PX_TAKE_ALL},
    {PX_ROLE_KV_DOWN, "blk.%u.attn_kv_a_mqa.weight", PX_TAKE_ALL},
    {PX_ROLE_KV_DOWN_NORM, "blk.%u.attn_kv_a_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_K_UP, "blk.%u.attn_k_b.weight", PX_TAKE_EXPERT},
    {PX_ROLE_K_UP, "blk.%u.attn_kv_b.weight", PX_TAKE_HEAD_KEY}, /* older */
    {PX_ROLE_V_UP, "blk.%u.attn_v_b.weight", PX_TAKE_EXPERT},
    {PX_ROLE_V_UP, "blk.%u.attn_kv_b.weight", PX_TAKE_HEAD_VALUE},
    {PX_ROLE_Q_DOWN_BIAS, "blk.%u.attn_q_a.bias", PX_TAKE_ALL},
    {PX_ROLE_KV_DOWN_BIAS, "blk.%u.attn_kv_a_mqa.bias", PX_TAKE_ALL},
    {PX_ROLE_Q_BIAS, "blk.%u.attn_q.bias", PX_TAKE_ALL},
    {PX_ROLE_K_BIAS, "blk.%u.attn_k.bias", PX_TAKE_ALL},
    {PX_ROLE_V_BIAS, "blk.%u.attn_v.bias", PX_TAKE_ALL},
    {PX_ROLE_Q_BIAS, "blk.%u.attn_qkv.bias", PX_TAKE_QKV},
    {PX_ROLE_K_BIAS, "blk.%u.attn_qkv.bias", PX_TAKE_QKV},
    {PX_ROLE_V_BIAS, "blk.%u.attn_qkv.bias", PX_TAKE_QKV},
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
    {PX_ROLE_FFN_POST_NORM, "blk.%u.post_ffw_norm.weight", PX_TAKE_ALL},
    {PX_ROLE_ROUTER, "blk.%u.ffn_gate_inp.weight", PX_TAKE_ALL},
    {PX_ROLE_ROUTER_BIAS, "blk.%u.ffn_gate_inp.bias", PX_TAKE_ALL},
    {PX_ROLE_CHOICE_BIAS, "blk.%u.exp_probs_b.bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_GATE, "blk.%u.ffn_gate_shexp.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_UP, "blk.%u.ffn_up_shexp.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_DOWN, "blk.%u.ffn_down_shexp.weight", PX_TAKE_ALL},
    {PX_ROLE_SHARED_GATE_BIAS, "blk.%u.ffn_gate_shexp.bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_UP_BIAS, "blk.%u.ffn_up_shexp.bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_DOWN_BIAS, "blk.%u.ffn_down_shexp.bias", PX_TAKE_ALL},
    {PX_ROLE_SHARED_WEIGHT, "blk.%u.ffn_gate_inp_shexp.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_GATE, "blk.%u.ffn_gate_exps.weight", PX_TAKE_EXPERT},
    {PX_ROLE_EXPERT_UP, "blk.%u.ffn_up_exps.weight", PX_TAKE_EXPERT},
    {PX_ROLE_EXPERT_DOWN, "blk.%u.ffn_down_exps.weight", PX_TAKE_EXPERT},
    {PX_ROLE_EXPERT_GATE, "blk.%u.ffn_gate_up_exps.weight", PX_TAKE_EXPERT_FIRST_HALF},
    {PX_ROLE_EXPERT_UP, "blk.%u.ffn_gate_up_exps.weight", PX_TAKE_EXPERT_SECOND_HALF},
    {PX_ROLE_EXPERT_GATE, "blk.%u.ffn_gate.%u.weight", PX_TAKE_ALL}, /* the first Mixtrals */
    {PX_ROLE_EXPERT_UP, "blk.%u.ffn_up.%u.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_DOWN, "blk.%u.ffn_down.%u.weight", PX_TAKE_ALL},
    {PX_ROLE_EXPERT_GATE_BIAS, "blk.%u.ffn_gate_exps.bias", PX_TAKE_EXPERT},
    {PX_ROLE_EXPERT_UP_BIAS, "blk.%u.ffn_up_exps.bias", PX_TAKE_EXPERT},
    {PX_ROLE_EXPERT_DOWN_BIAS, "blk.%u.ffn_down_exps.bias", PX_TAKE_EXPERT},
    {0},
};

static const px_name *find_name(const px_name *table, px_role role, uint32_t index)
{
    for (; table && table->pattern; table++)
        if (table->role == role && index-- == 0) return table;
    return NULL;
}

const px_name *px_family_name(const px_family *family, bool gguf, px_role role, uint32_t index)
{
    const px_name *own = gguf ? family->gguf_names : family->hf_names;
    if (find_name(own, role, 0)) return find_name(own, role, index);
    return find_name(gguf ? gguf_common : hf_common, role, index);
}

/* --- the list --- */

static const px_family *const groups[] = {px_families_llama, px_families_qwen, px_families_gemma,
    px_families_phi, px_families_glm, px_families_gpt_oss, px_families_deepseek};

static bool is_called(const char *name, px_slice text)
{
    return name && strlen(name) == text.length && memcmp(name, text.data, text.length) == 0;
}

static const px_family *find_called(px_slice text, size_t name_offset)
{
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (const px_family *family = groups[g]; family->name; family++)
            if (is_called(*(const char *const *)((const char *)family + name_offset), text))
                return family;
    return NULL;
}

/* Takes what architectures[0] ends with off its name; false: another kind of model. */
static bool split_head(px_slice *name, bool is_wrapper, px_head_kind *out)
{
    static const struct {
        const char *tail;
        px_head_kind head;
        bool of_wrappers;
    } known[] = {{"ForCausalLM", PX_HEAD_TOKENS, false},
        {"ForConditionalGeneration", PX_HEAD_TOKENS, true},
        {"TextForSequenceClassification", PX_HEAD_SCORES, false},
        {"ForSequenceClassification", PX_HEAD_SCORES, false}, {"TextModel", PX_HEAD_NONE, false},
        {"Model", PX_HEAD_NONE, false}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].tail);
        if (name->length <= length || (known[i].of_wrappers && !is_wrapper) ||
            memcmp(name->data + name->length - length, known[i].tail, length) != 0)
            continue;
        name->length -= length;
        *out = known[i].head;
        return true;
    }
    return false;
}

static const px_family *find_hf(const px_config *config, px_slice name, px_head_kind *out_head)
{
    px_slice type = px_config_model_type(config);
    *out_head = PX_HEAD_TOKENS;
    if (name.length && !split_head(&name, config->is_wrapper, out_head)) return NULL;
    return config->is_wrapper || !name.length ? find_called(type, offsetof(px_family, model_type))
                                              : find_called(name, offsetof(px_family, hf));
}

static px_status refuse(const px_config *config, px_slice name)
{
    char known[200] = "";
    size_t used = 0;
    if (!name.length)
        return px_fail(PX_INVALID_ARGUMENT,
            "config.json names neither 'architectures' nor 'model_type': what model is it?");
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (const px_family *family = groups[g]; family->name; family++) {
            if (!(config->gguf ? family->gguf : family->hf)) continue;
            used += (size_t)snprintf(
                known + used, sizeof known - used, used ? ", %s" : "%s", family->name);
            if (used >= sizeof known) used = sizeof known - 1;
        }
    }
    return px_fail(PX_UNIMPLEMENTED, "architecture '%.*s' is not supported; known: %s",
        (int)(name.length < 40 ? name.length : 40), name.data, known);
}

px_status px_family_find(px_config *config, const px_family **out, px_head_kind *out_head)
{
    px_slice name = px_config_architecture(config), type = px_config_model_type(config);
    *out_head = PX_HEAD_TOKENS;
    *out = config->gguf ? find_called(name, offsetof(px_family, gguf))
                        : find_hf(config, name, out_head);
    if (!*out) return refuse(config, name.length ? name : type);
    px_config_set_defaults(config, (*out)->defaults);
    return px_ok();
}

/* --- what describe() functions share --- */

px_status px_family_activation(const px_config *config, const char *key, px_arch *arch)
{
    static const struct {
        const char *name;
        px_activation activation;
    } known[] = {{"silu", PX_SILU}, {"swish", PX_SILU}, {"gelu_pytorch_tanh", PX_GELU_TANH},
        {"gelu_new", PX_GELU_TANH}, {"gelu_fast", PX_GELU_TANH}, {"gelu", PX_GELU_ERF},
        {"gelu_python", PX_GELU_ERF}, {"relu", PX_RELU}};
    const char *name = NULL;
    if (config->gguf) return px_ok();
    PX_TRY(px_json_get_str(config->json, key, "config.json", &name));
    if (!name) return px_ok();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        arch->activation = known[i].activation;
        return px_ok();
    }
    return px_fail(PX_UNIMPLEMENTED, "activation '%.60s' is not supported", name);
}

bool px_family_every_layer(uint32_t layer, uint32_t arg)
{
    (void)layer, (void)arg;
    return true;
}

px_status px_family_windows(const px_config *config, px_arch *arch, uint32_t window,
    bool (*is_sliding)(uint32_t layer, uint32_t arg), uint32_t arg)
{
    bool listed[PX_ARCH_LAYERS_MAX], found;
    PX_TRY(px_config_sliding_layers(config, arch->layer_count, listed, &found));
    for (uint32_t i = 0; i < arch->layer_count; i++)
        arch->layers[i].window = (found ? listed[i] : is_sliding(i, arg)) ? window : 0;
    return px_ok();
}

bool px_family_present(const px_config *config, const char *tensor)
{
    return px_model_file_tensor(config->file, tensor) != NULL;
}

bool px_family_qkv_bias_present(const px_config *config)
{
    return px_family_present(config, "blk.0.attn_q.bias") ||
           px_family_present(config, "blk.0.attn_qkv.bias");
}

void px_family_routed_layers(const px_config *config, px_arch *arch)
{
    char name[64];
    for (uint32_t i = 0; config->gguf && i < arch->layer_count; i++) {
        snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", i);
        arch->layers[i].routed = arch->experts.count && px_family_present(config, name);
    }
}
