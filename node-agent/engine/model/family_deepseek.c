/* family_deepseek.c - DeepSeek V2 and V3: latent attention, shared and routed experts. */
#include "engine/model/family.h"

#include <math.h>
#include <string.h>

px_status px_family_deepseek_experts(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    uint32_t shared = 0, dense = 0;
    experts->sigmoid = experts->choice_bias = experts->groups_by_two = true;
    experts->renormalise = true;
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
    if (shared > 64 || experts->ffn > 1 << 22)
        return px_fail(PX_INVALID_ARGUMENT, "%u shared experts of width %u are not possible",
            shared, experts->ffn);
    experts->shared_ffn = shared * experts->ffn;
    for (uint32_t i = dense; i < arch->layer_count; i++)
        arch->layers[i].routed = experts->count != 0;
    return px_ok();
}

static px_status describe_latent_attention(const px_config *config, px_arch *arch)
{
    px_rope_settings rope;
    uint32_t plain = 128, rotated = 64;
    bool bias = false;
    arch->latent = (px_latent){.kv_rank = 512};
    arch->head_v = 128;
    PX_TRY(px_config_u32(config, (px_key){"kv_lora_rank", NULL}, &arch->latent.kv_rank));
    PX_TRY(px_config_u32(config, (px_key){"q_lora_rank", NULL}, &arch->latent.q_rank));
    PX_TRY(px_config_u32(config, (px_key){"qk_nope_head_dim", NULL}, &plain));
    PX_TRY(px_config_u32(config, (px_key){"qk_rope_head_dim", NULL}, &rotated));
    PX_TRY(px_config_u32(config, (px_key){"v_head_dim", NULL}, &arch->head_v));
    PX_TRY(px_config_bool(config, (px_key){"attention_bias", NULL}, &bias));
    const uint32_t sizes[] = {arch->latent.kv_rank, plain, rotated, arch->head_v};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] < 1 || sizes[i] > 1 << 14 || arch->latent.q_rank > 1 << 16)
            return px_fail(PX_INVALID_ARGUMENT, "the latent attention's sizes are not possible");
    if (bias) return px_fail(PX_UNIMPLEMENTED, "latent attention with biases is not supported");

    arch->kv_heads = arch->heads; /* keys and values are cached expanded */
    arch->head_k = plain + rotated;
    arch->rope_offset = plain;
    arch->rope_interleaved = true;
    PX_TRY(px_config_rope(config, NULL, &rope));
    PX_TRY(px_rope_freqs_make(&rope.scaling, rope.theta, rotated, &arch->ropes[0]));
    double scale = 1 / sqrt(arch->head_k);
    if (rope.scaling.kind == PX_ROPE_YARN && rope.scaling.mscale_all_dim != 0)
        scale *= pow(px_rope_mscale(rope.scaling.factor, rope.scaling.mscale_all_dim), 2);
    arch->attn_scale = (float)scale;
    return px_ok();
}

static px_status describe_deepseek3(const px_config *config, px_arch *arch)
{
    PX_TRY(describe_latent_attention(config, arch));
    return px_family_deepseek_experts(config, arch);
}

/* V2 chooses by softmax scores, within groups only where `topk_method` says so. */
static px_status describe_deepseek2(const px_config *config, px_arch *arch)
{
    px_experts *experts = &arch->experts;
    const char *method = json_string_value(json_object_get(config->json, "topk_method"));
    PX_TRY(describe_latent_attention(config, arch));
    PX_TRY(px_family_deepseek_experts(config, arch));
    experts->sigmoid = experts->choice_bias = experts->groups_by_two = false;
    experts->renormalise = false;
    PX_TRY(px_config_bool(config, (px_key){"norm_topk_prob", NULL}, &experts->renormalise));
    if (!method || strcmp(method, "group_limited_greedy") != 0)
        experts->groups = experts->groups_used = 1;
    return px_ok();
}

const px_family px_families_deepseek[] = {
    {.name = "deepseek2", .hf = "DeepseekV2ForCausalLM", .describe = describe_deepseek2},
    {.name = "deepseek3", .hf = "DeepseekV3ForCausalLM", .describe = describe_deepseek3},
    {0},
};
