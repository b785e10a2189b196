/* family_deepseek.c - DeepSeek V2 and V3: latent attention, shared and routed experts. */
#include "engine/model/family.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool has_choice_bias(const px_config *config, const px_arch *arch)
{
    char name[64]; /* the last layer is routed if any is */
    snprintf(name, sizeof name, "blk.%u.exp_probs_b.bias", arch->layer_count - 1);
    return px_family_present(config, name);
}

px_status px_family_deepseek_experts(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    uint32_t shared = 0, dense = 0;
    experts->sigmoid = experts->groups_by_two = experts->renormalise = true;
    experts->choice_bias = config->json || has_choice_bias(config, arch);
    PX_TRY(px_config_u32(config, (px_key){"n_routed_experts", "expert_count"}, &experts->count));
    PX_TRY(px_config_u32(
        config, (px_key){"num_experts_per_tok", "expert_used_count"}, &experts->used));
    PX_TRY(px_config_u32(
        config, (px_key){"moe_intermediate_size", "expert_feed_forward_length"}, &experts->ffn));
    PX_TRY(px_config_u32(config, (px_key){"n_shared_experts", "expert_shared_count"}, &shared));
    PX_TRY(px_config_u32(
        config, (px_key){"first_k_dense_replace", "leading_dense_block_count"}, &dense));
    PX_TRY(px_config_u32(config, (px_key){"n_group", "expert_group_count"}, &experts->groups));
    PX_TRY(px_config_u32(
        config, (px_key){"topk_group", "expert_group_used_count"}, &experts->groups_used));
    PX_TRY(px_config_f32(
        config, (px_key){"routed_scaling_factor", "expert_weights_scale"}, &experts->scale));
    PX_TRY(px_config_bool(
        config, (px_key){"norm_topk_prob", "expert_weights_norm"}, &experts->renormalise));
    if (config->gguf && experts->groups <= 1) experts->groups = experts->groups_used = 1;
    if (config->gguf && experts->scale == 0) experts->scale = 1; /* as llama.cpp means it */
    if (shared > 64 || experts->ffn > 1 << 22)
        return px_fail(PX_INVALID_ARGUMENT, "%u shared experts of width %u are not possible",
            shared, experts->ffn);
    experts->shared_ffn = shared * experts->ffn;
    for (uint32_t i = dense; i < arch->layer_count; i++)
        arch->layers[i].routed = experts->count != 0;
    return px_ok();
}

static px_status read_latent_sizes(const px_config *config, px_arch *arch)
{
    uint32_t plain = 128, rotated = 64;
    arch->head_v = 128;
    PX_TRY(px_config_u32(
        config, (px_key){"kv_lora_rank", "attention.kv_lora_rank"}, &arch->latent.kv_rank));
    PX_TRY(px_config_u32(
        config, (px_key){"q_lora_rank", "attention.q_lora_rank"}, &arch->latent.q_rank));
    PX_TRY(px_config_u32(config, (px_key){"qk_nope_head_dim", NULL}, &plain));
    PX_TRY(px_config_u32(config, (px_key){"qk_rope_head_dim", "rope.dimension_count"}, &rotated));
    if (config->gguf) { /* older files state what a head has, newer ones what is cached and that */
        uint32_t key = 0;
        PX_TRY(px_config_u32(config, (px_key){NULL, "attention.key_length"}, &key));
        PX_TRY(px_config_u32(config, (px_key){NULL, "attention.key_length_mla"}, &key));
        plain = key > rotated ? key - rotated : 0;
        PX_TRY(px_config_u32(config, (px_key){NULL, "attention.value_length"}, &arch->head_v));
    }
    PX_TRY(
        px_config_u32(config, (px_key){"v_head_dim", "attention.value_length_mla"}, &arch->head_v));
    const uint32_t sizes[] = {arch->latent.kv_rank, plain, rotated, arch->head_v};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > 1 << 14 || arch->latent.q_rank > 1 << 16 || rotated % 2)
            return px_fail(PX_INVALID_ARGUMENT, "the latent attention's sizes are not possible");
    arch->head_k = plain + rotated;
    arch->rope_offset = plain;
    return px_ok();
}

static px_status describe_latent_attention(const px_config *config, px_arch *arch)
{
    px_rope_settings rope;
    arch->latent = (px_latent){.kv_rank = 512, .norm_eps = 1e-6f}; /* whatever rms_norm_eps says */
    PX_TRY(read_latent_sizes(config, arch));
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &arch->latent.biases));
    if (config->gguf) {
        arch->latent.biases = px_family_present(config, "blk.0.attn_kv_a_mqa.bias");
        arch->mlp_bias = px_family_present(config, "blk.0.ffn_gate.bias");
    }
    arch->o_bias = arch->latent.biases;
    arch->kv_heads = arch->heads; /* keys and values are cached expanded */
    arch->rope_interleaved = true;
    PX_TRY(px_config_bool(config, (px_key){"rope_interleave", NULL}, &arch->rope_interleaved));
    PX_TRY(px_config_rope(config, NULL, &rope));
    PX_TRY(px_rope_freqs_make(
        &rope.scaling, rope.theta, arch->head_k - arch->rope_offset, &arch->ropes[0]));
    double scale = 1 / sqrt(arch->head_k);
    if (rope.scaling.kind != PX_ROPE_PLAIN && rope.scaling.mscale_all_dim != 0)
        scale *= pow(px_rope_mscale(rope.scaling.factor, rope.scaling.mscale_all_dim), 2);
    arch->attn_scale = (float)scale;
    return px_ok();
}

static px_status describe_deepseek3(const px_config *config, px_arch *arch)
{
    PX_TRY(describe_latent_attention(config, arch));
    return px_family_deepseek_experts(config, arch);
}

/* V2 chooses by softmax scores, within groups only where `topk_method` says so, and does not scale
 * them to sum 1 whatever norm_topk_prob says (as transformers). */
static px_status describe_deepseek2_json(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    const char *method = json_string_value(json_object_get(config->json, "topk_method"));
    PX_TRY(px_config_bool(config, (px_key){"mlp_bias", NULL}, &arch->mlp_bias));
    PX_TRY(px_family_deepseek_experts(config, arch));
    experts->shared_biases = arch->mlp_bias;
    experts->sigmoid = experts->choice_bias = experts->groups_by_two = false;
    experts->renormalise = false;
    if (!method || strcmp(method, "group_limited_greedy") != 0)
        experts->groups = experts->groups_used = 1;
    return px_ok();
}

/* GGUF files of V2 and V3 have one name; V3 says that its scores are sigmoids. */
static px_status describe_deepseek2(const px_config *config, px_arch *arch)
{
    enum { GATING_SIGMOID = 2 };
    px_experts *experts = &arch->experts;
    uint32_t gating = 0;
    PX_TRY(describe_latent_attention(config, arch));
    if (config->json) return describe_deepseek2_json(config, arch);
    PX_TRY(px_family_deepseek_experts(config, arch));
    PX_TRY(px_config_u32(config, (px_key){NULL, "expert_gating_func"}, &gating));
    if (!gating && experts->choice_bias) gating = GATING_SIGMOID; /* V3 has the bias */
    experts->sigmoid = experts->groups_by_two = gating == GATING_SIGMOID;
    experts->renormalise = false;
    return px_config_bool(config, (px_key){NULL, "expert_weights_norm"}, &experts->renormalise);
}

/* What a config.json that leaves a key out means: transformers' defaults. */
static const char deepseek2_defaults[] = PX_JSON({
    "vocab_size" : 102400,
    "hidden_size" : 4096,
    "intermediate_size" : 11008,
    "num_hidden_layers" : 32,
    "num_attention_heads" : 32,
    "max_position_embeddings" : 2048,
    "rms_norm_eps" : 1e-6,
    "q_lora_rank" : 1536,
    "n_routed_experts" : 64,
    "n_shared_experts" : 2,
    "moe_intermediate_size" : 1407
});
static const char deepseek3_defaults[] = PX_JSON({
    "vocab_size" : 129280,
    "hidden_size" : 7168,
    "intermediate_size" : 18432,
    "num_hidden_layers" : 61,
    "num_attention_heads" : 128,
    "max_position_embeddings" : 4096,
    "rms_norm_eps" : 1e-6,
    "q_lora_rank" : 1536,
    "n_routed_experts" : 256,
    "n_shared_experts" : 1,
    "n_group" : 8,
    "topk_group" : 4,
    "num_experts_per_tok" : 8,
    "moe_intermediate_size" : 2048,
    "first_k_dense_replace" : 3,
    "routed_scaling_factor" : 2.5
});

const px_family px_families_deepseek[] = {
    {.name = "deepseek2",
        .gguf = "deepseek2",
        .hf = "DeepseekV2",
        .model_type = "deepseek_v2",
        .defaults = deepseek2_defaults,
        .describe = describe_deepseek2},
    {.name = "deepseek3",
        .gguf = "deepseek2",
        .hf = "DeepseekV3",
        .model_type = "deepseek_v3",
        .defaults = deepseek3_defaults,
        .describe = describe_deepseek3},
    {0},
};
