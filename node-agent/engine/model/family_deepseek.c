/* family_deepseek.c - DeepSeek's way of choosing experts. */
#include "engine/model/family.h"

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
