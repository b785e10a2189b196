/* arch.c - roles and axes, and reading a description. */
#include "engine/model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/family.h"

enum { CONTEXT_MIN = 512 };

/* --- roles and axes --- */

const px_role_traits *px_role_of(px_role role)
{
    static const px_role_traits traits[PX_ROLE_COUNT] = {
        [PX_ROLE_EMBED] = {"token embedding", PX_AXIS_VOCABULARY, PX_AXIS_HIDDEN},
        [PX_ROLE_FINAL_NORM] = {"final norm", PX_AXIS_HIDDEN, PX_AXIS_ONE},
        [PX_ROLE_OUTPUT] = {"output matrix", PX_AXIS_VOCABULARY, PX_AXIS_HIDDEN},
        [PX_ROLE_ATTN_NORM] = {"attention norm", PX_AXIS_HIDDEN, PX_AXIS_ONE},
        [PX_ROLE_Q] = {"query projection", PX_AXIS_Q, PX_AXIS_HIDDEN},
        [PX_ROLE_K] = {"key projection", PX_AXIS_K, PX_AXIS_HIDDEN},
        [PX_ROLE_V] = {"value projection", PX_AXIS_V, PX_AXIS_HIDDEN},
        [PX_ROLE_O] = {"attention output", PX_AXIS_HIDDEN_OUT, PX_AXIS_ATTENTION},
        [PX_ROLE_Q_DOWN] = {"query latent", PX_AXIS_LATENT_Q, PX_AXIS_HIDDEN},
        [PX_ROLE_Q_DOWN_NORM] = {"query latent norm", PX_AXIS_LATENT_Q, PX_AXIS_ONE},
        [PX_ROLE_Q_UP] = {"queries of the latent", PX_AXIS_Q, PX_AXIS_LATENT_Q},
        [PX_ROLE_KV_DOWN] = {"KV latent", PX_AXIS_LATENT_DOWN, PX_AXIS_HIDDEN},
        [PX_ROLE_KV_DOWN_NORM] = {"KV latent norm", PX_AXIS_LATENT_KV, PX_AXIS_ONE},
        [PX_ROLE_K_UP] = {"keys of the latent", PX_AXIS_LATENT_KV, PX_AXIS_HEAD_PLAIN},
        [PX_ROLE_V_UP] = {"values of the latent", PX_AXIS_HEAD_V, PX_AXIS_LATENT_KV},
        [PX_ROLE_Q_DOWN_BIAS] = {"query latent bias", PX_AXIS_LATENT_Q, PX_AXIS_ONE},
        [PX_ROLE_KV_DOWN_BIAS] = {"KV latent bias", PX_AXIS_LATENT_DOWN, PX_AXIS_ONE},
        [PX_ROLE_Q_BIAS] = {"query bias", PX_AXIS_Q, PX_AXIS_ONE},
        [PX_ROLE_K_BIAS] = {"key bias", PX_AXIS_K, PX_AXIS_ONE},
        [PX_ROLE_V_BIAS] = {"value bias", PX_AXIS_V, PX_AXIS_ONE},
        [PX_ROLE_O_BIAS] = {"attention output bias", PX_AXIS_HIDDEN_OUT, PX_AXIS_ONE},
        [PX_ROLE_Q_NORM] = {"query norm", PX_AXIS_HEAD_K, PX_AXIS_ONE},
        [PX_ROLE_K_NORM] = {"key norm", PX_AXIS_HEAD_K, PX_AXIS_ONE},
        [PX_ROLE_SINKS] = {"attention sinks", PX_AXIS_HEADS, PX_AXIS_ONE},
        [PX_ROLE_ATTN_POST_NORM] = {"norm after attention", PX_AXIS_HIDDEN, PX_AXIS_ONE},
        [PX_ROLE_FFN_NORM] = {"MLP norm", PX_AXIS_HIDDEN, PX_AXIS_ONE},
        [PX_ROLE_GATE] = {"MLP gate", PX_AXIS_FFN, PX_AXIS_HIDDEN},
        [PX_ROLE_UP] = {"MLP up", PX_AXIS_FFN, PX_AXIS_HIDDEN},
        [PX_ROLE_DOWN] = {"MLP down", PX_AXIS_HIDDEN_OUT, PX_AXIS_FFN},
        [PX_ROLE_GATE_BIAS] = {"MLP gate bias", PX_AXIS_FFN, PX_AXIS_ONE},
        [PX_ROLE_UP_BIAS] = {"MLP up bias", PX_AXIS_FFN, PX_AXIS_ONE},
        [PX_ROLE_DOWN_BIAS] = {"MLP down bias", PX_AXIS_HIDDEN_OUT, PX_AXIS_ONE},
        [PX_ROLE_FFN_POST_NORM] = {"norm after MLP", PX_AXIS_HIDDEN, PX_AXIS_ONE},
        [PX_ROLE_ROUTER] = {"router", PX_AXIS_EXPERTS, PX_AXIS_HIDDEN},
        [PX_ROLE_ROUTER_BIAS] = {"router bias", PX_AXIS_EXPERTS, PX_AXIS_ONE},
        [PX_ROLE_CHOICE_BIAS] = {"bias of the choice of experts", PX_AXIS_EXPERTS, PX_AXIS_ONE},
        [PX_ROLE_SHARED_GATE] = {"shared expert's gate", PX_AXIS_FFN_SHARED, PX_AXIS_HIDDEN},
        [PX_ROLE_SHARED_UP] = {"shared expert's up", PX_AXIS_FFN_SHARED, PX_AXIS_HIDDEN},
        [PX_ROLE_SHARED_DOWN] = {"shared expert's down", PX_AXIS_HIDDEN_OUT, PX_AXIS_FFN_SHARED},
        [PX_ROLE_SHARED_GATE_BIAS] = {"shared gate bias", PX_AXIS_FFN_SHARED, PX_AXIS_ONE},
        [PX_ROLE_SHARED_UP_BIAS] = {"shared up bias", PX_AXIS_FFN_SHARED, PX_AXIS_ONE},
        [PX_ROLE_SHARED_DOWN_BIAS] = {"shared down bias", PX_AXIS_HIDDEN_OUT, PX_AXIS_ONE},
        [PX_ROLE_SHARED_WEIGHT] = {"shared expert's weight", PX_AXIS_ONE, PX_AXIS_HIDDEN},
        [PX_ROLE_EXPERT_GATE] = {"expert gate", PX_AXIS_FFN_EXPERT, PX_AXIS_HIDDEN},
        [PX_ROLE_EXPERT_UP] = {"expert up", PX_AXIS_FFN_EXPERT, PX_AXIS_HIDDEN},
        [PX_ROLE_EXPERT_DOWN] = {"expert down", PX_AXIS_HIDDEN_OUT, PX_AXIS_FFN_EXPERT},
        [PX_ROLE_EXPERT_GATE_BIAS] = {"expert gate bias", PX_AXIS_FFN_EXPERT, PX_AXIS_ONE},
        [PX_ROLE_EXPERT_UP_BIAS] = {"expert up bias", PX_AXIS_FFN_EXPERT, PX_AXIS_ONE},
        [PX_ROLE_EXPERT_DOWN_BIAS] = {"expert down bias", PX_AXIS_HIDDEN_OUT, PX_AXIS_ONE},
    };
    return &traits[role];
}

px_reader px_role_reader(px_role role)
{
    switch (role) {
    case PX_ROLE_Q: return (px_reader){PX_ROLE_Q, 0};
    case PX_ROLE_K:
    case PX_ROLE_Q_DOWN: return (px_reader){PX_ROLE_Q, 1};
    case PX_ROLE_V:
    case PX_ROLE_KV_DOWN: return (px_reader){PX_ROLE_Q, 2};
    case PX_ROLE_UP: return (px_reader){PX_ROLE_GATE, 1};
    case PX_ROLE_SHARED_GATE: return (px_reader){PX_ROLE_ROUTER, 1};
    case PX_ROLE_SHARED_UP: return (px_reader){PX_ROLE_ROUTER, 2};
    case PX_ROLE_SHARED_WEIGHT: return (px_reader){PX_ROLE_ROUTER, 3};
    case PX_ROLE_EXPERT_UP: return (px_reader){PX_ROLE_EXPERT_GATE, 1};
    default: return (px_reader){role, 0};
    }
}

uint32_t px_axis_size(const px_arch *arch, px_axis axis)
{
    switch (axis) {
    case PX_AXIS_ONE: return 1;
    case PX_AXIS_HIDDEN:
    case PX_AXIS_HIDDEN_OUT: return arch->hidden;
    case PX_AXIS_VOCABULARY: return arch->vocabulary;
    case PX_AXIS_HEADS: return arch->heads;
    case PX_AXIS_Q: return arch->heads * arch->head_k;
    case PX_AXIS_K: return arch->kv_heads * arch->head_k;
    case PX_AXIS_V: return arch->kv_heads * arch->head_v;
    case PX_AXIS_ATTENTION: return arch->heads * arch->head_v;
    case PX_AXIS_HEAD_K: return arch->head_k;
    case PX_AXIS_FFN: return arch->ffn;
    case PX_AXIS_LATENT_Q: return arch->latent.q_rank;
    case PX_AXIS_LATENT_KV: return arch->latent.kv_rank;
    case PX_AXIS_LATENT_DOWN: return arch->latent.kv_rank + arch->ropes[0].dims;
    case PX_AXIS_HEAD_PLAIN: return arch->head_k - arch->ropes[0].dims;
    case PX_AXIS_HEAD_V: return arch->head_v;
    case PX_AXIS_EXPERTS: return arch->experts.count;
    case PX_AXIS_FFN_EXPERT: return arch->experts.ffn;
    case PX_AXIS_FFN_SHARED: return arch->experts.shared_ffn;
    case PX_AXIS_COUNT: break;
    }
    PX_ASSERT(!"an axis of px_axis");
    return 0;
}

static px_range scaled(px_range range, uint32_t by)
{
    return (px_range){.begin = range.begin * by, .count = range.count * by};
}

px_range px_axis_range(const px_arch *arch, const px_plan_place *place, px_axis axis)
{
    switch (axis) {
    case PX_AXIS_HIDDEN_OUT: return place->hidden;
    case PX_AXIS_VOCABULARY: return place->vocabulary;
    case PX_AXIS_HEADS: return place->heads;
    case PX_AXIS_Q: return scaled(place->heads, arch->head_k);
    case PX_AXIS_K: return scaled(place->kv_heads, arch->head_k);
    case PX_AXIS_V: return scaled(place->kv_heads, arch->head_v);
    case PX_AXIS_ATTENTION: return scaled(place->heads, arch->head_v);
    case PX_AXIS_FFN: return place->ffn;
    case PX_AXIS_FFN_EXPERT: return place->ffn_expert;
    case PX_AXIS_FFN_SHARED: return place->ffn_shared;
    default: return (px_range){.begin = 0, .count = px_axis_size(arch, axis)};
    }
}

/* Weights of an MLP: a layer has those of the dense kind or those of the mixture. */
static bool has_mlp_weight(const px_arch *arch, px_role role, bool routed)
{
    const px_experts *experts = &arch->experts;
    switch (role) {
    case PX_ROLE_GATE:
    case PX_ROLE_UP:
    case PX_ROLE_DOWN: return !routed;
    case PX_ROLE_GATE_BIAS:
    case PX_ROLE_UP_BIAS:
    case PX_ROLE_DOWN_BIAS: return !routed && arch->mlp_bias;
    case PX_ROLE_ROUTER_BIAS: return routed && experts->router_bias;
    case PX_ROLE_CHOICE_BIAS: return routed && experts->choice_bias;
    case PX_ROLE_SHARED_GATE:
    case PX_ROLE_SHARED_UP:
    case PX_ROLE_SHARED_DOWN: return routed && experts->shared_ffn;
    case PX_ROLE_SHARED_GATE_BIAS:
    case PX_ROLE_SHARED_UP_BIAS:
    case PX_ROLE_SHARED_DOWN_BIAS: return routed && experts->shared_ffn && experts->shared_biases;
    case PX_ROLE_SHARED_WEIGHT: return routed && experts->shared_weight;
    case PX_ROLE_EXPERT_GATE_BIAS:
    case PX_ROLE_EXPERT_UP_BIAS:
    case PX_ROLE_EXPERT_DOWN_BIAS: return routed && experts->biases;
    default: return routed;
    }
}

bool px_arch_has(const px_arch *arch, px_role role, uint32_t layer)
{
    switch (role) {
    case PX_ROLE_OUTPUT: return arch->head == PX_HEAD_TOKENS && !arch->tied;
    case PX_ROLE_EMBED:
    case PX_ROLE_FINAL_NORM:
    case PX_ROLE_ATTN_NORM:
    case PX_ROLE_O:
    case PX_ROLE_FFN_NORM: return true;
    case PX_ROLE_Q: return !arch->latent.q_rank;
    case PX_ROLE_K:
    case PX_ROLE_V: return !arch->latent.kv_rank;
    case PX_ROLE_Q_DOWN:
    case PX_ROLE_Q_DOWN_NORM:
    case PX_ROLE_Q_UP: return arch->latent.q_rank != 0;
    case PX_ROLE_KV_DOWN:
    case PX_ROLE_KV_DOWN_NORM:
    case PX_ROLE_K_UP:
    case PX_ROLE_V_UP: return arch->latent.kv_rank != 0;
    case PX_ROLE_Q_DOWN_BIAS: return arch->latent.q_rank && arch->latent.biases;
    case PX_ROLE_KV_DOWN_BIAS: return arch->latent.kv_rank && arch->latent.biases;
    case PX_ROLE_Q_BIAS:
    case PX_ROLE_K_BIAS:
    case PX_ROLE_V_BIAS: return arch->qkv_bias;
    case PX_ROLE_O_BIAS: return arch->o_bias;
    case PX_ROLE_Q_NORM:
    case PX_ROLE_K_NORM: return arch->qk_norm;
    case PX_ROLE_SINKS: return arch->sinks;
    case PX_ROLE_ATTN_POST_NORM:
    case PX_ROLE_FFN_POST_NORM: return arch->post_norms;
    default: return has_mlp_weight(arch, role, arch->layers[layer].routed);
    }
}

uint32_t px_arch_count(const px_arch *arch, px_role role, uint32_t layer)
{
    if (!px_arch_has(arch, role, layer)) return 0;
    if (role >= PX_ROLE_FIRST_OF_EXPERT) return arch->experts.count;
    return role >= PX_ROLE_FIRST_OF_HEAD ? arch->heads : 1;
}

/* --- reading --- */

static px_status read_sizes(const px_config *config, px_arch *arch)
{
    PX_TRY(px_config_u32(config, (px_key){"hidden_size", "embedding_length"}, &arch->hidden));
    PX_TRY(px_config_u32(config, (px_key){"num_hidden_layers", "block_count"}, &arch->layer_count));
    PX_TRY(px_config_u32(config, (px_key){NULL, "nextn_predict_layers"}, &arch->predictor_count));
    if (arch->predictor_count >= arch->layer_count) arch->predictor_count = 0;
    arch->layer_count -= arch->predictor_count;
    PX_TRY(px_config_u32(config, (px_key){"vocab_size", NULL}, &arch->vocabulary));
    PX_TRY(px_config_u32(
        config, (px_key){"max_position_embeddings", "context_length"}, &arch->context));
    PX_TRY(px_config_u32(config, (px_key){"intermediate_size", "feed_forward_length"}, &arch->ffn));
    PX_TRY(px_config_f32(
        config, (px_key){"rms_norm_eps", "attention.layer_norm_rms_epsilon"}, &arch->norm_eps));
    PX_TRY(px_config_u32(
        config, (px_key){"num_attention_heads", "attention.head_count"}, &arch->heads));
    arch->kv_heads = arch->heads;
    PX_TRY(px_config_u32(
        config, (px_key){"num_key_value_heads", "attention.head_count_kv"}, &arch->kv_heads));
    arch->head_k = arch->heads ? arch->hidden / arch->heads : 0;
    PX_TRY(px_config_u32(config, (px_key){"head_dim", "attention.key_length"}, &arch->head_k));
    arch->head_v = arch->head_k;
    return px_config_u32(config, (px_key){NULL, "attention.value_length"}, &arch->head_v);
}

static px_status check_experts(const px_experts *experts)
{
    uint32_t groups = experts->groups;
    bool possible = experts->count <= PX_ARCH_EXPERTS_MAX && experts->used >= 1 &&
                    experts->used <= PX_ARCH_EXPERTS_USED_MAX && experts->ffn >= 1 &&
                    experts->ffn <= 1 << 22 && experts->shared_ffn <= 1 << 22 && groups >= 1 &&
                    experts->count % groups == 0 && experts->groups_used >= 1 &&
                    experts->groups_used <= groups &&
                    experts->used <= experts->count / groups * experts->groups_used;
    if (!experts->count || possible) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT,
        "the model's settings give %u experts of width %u, %u used, %u of %u groups; that is not "
        "possible (at most %d experts, %d used)",
        experts->count, experts->ffn, experts->used, experts->groups_used, groups,
        PX_ARCH_EXPERTS_MAX, PX_ARCH_EXPERTS_USED_MAX);
}

static px_status check_sizes(const px_arch *arch)
{
    const struct {
        const char *name;
        uint32_t value, max;
    } bounds[] = {{"hidden size", arch->hidden, 1 << 17},
        {"number of layers", arch->layer_count, PX_ARCH_LAYERS_MAX},
        {"vocabulary", arch->vocabulary, 1 << 24}, {"context", arch->context, 1 << 28},
        {"number of heads", arch->heads, 1 << 12}, {"number of KV heads", arch->kv_heads, 1 << 12},
        {"key size of a head", arch->head_k, 1 << 12},
        {"value size of a head", arch->head_v, 1 << 12}, {"MLP width", arch->ffn, 1 << 22}};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (bounds[i].value < 1 || bounds[i].value > bounds[i].max)
            return px_fail(PX_INVALID_ARGUMENT,
                "the model's settings give a %s of %u (1 to %u is possible)", bounds[i].name,
                bounds[i].value, bounds[i].max);
    if (arch->heads % arch->kv_heads)
        return px_fail(PX_INVALID_ARGUMENT, "%u heads cannot share %u KV heads evenly", arch->heads,
            arch->kv_heads);
    if (!(arch->norm_eps >= 0 && arch->norm_eps < 1))
        return px_fail(PX_INVALID_ARGUMENT, "the model's settings give a norm epsilon of %g",
            (double)arch->norm_eps);
    return px_ok();
}

static px_status read_rope(const px_config *config, px_arch *arch)
{
    px_rope_settings rope;
    PX_TRY(px_config_rope(config, NULL, &rope));
    uint32_t dims = (uint32_t)(arch->head_k * rope.partial);
    PX_TRY(px_config_u32(config, (px_key){NULL, "rope.dimension_count"}, &dims));
    if (dims > arch->head_k)
        return px_fail(
            PX_INVALID_ARGUMENT, "RoPE over %u elements of a head of %u", dims, arch->head_k);
    PX_TRY(px_rope_freqs_make(&rope.scaling, rope.theta, dims, &arch->ropes[0]));
    double extended = rope.scaling.original_context * rope.scaling.factor;
    bool extends = rope.scaling.kind == PX_ROPE_YARN || rope.scaling.kind == PX_ROPE_DYNAMIC;
    if (extends && extended > arch->context && extended < 1 << 28)
        arch->context = (uint32_t)extended;
    return px_ok();
}

/* What a file puts for "model." shows in its embedding's name: older wrappers have the second,
 * newer ones the third form. */
const char *const px_tensor_prefixes[] = {
    "model.", "language_model.model.", "model.language_model.", "language_model.", "", NULL};

static const char *find_prefix(const px_model_file *file)
{
    char name[64];
    for (const char *const *prefix = px_tensor_prefixes; *prefix; prefix++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", *prefix);
        if (px_model_file_tensor(file, name)) return *prefix;
    }
    return px_tensor_prefixes[0];
}

static const px_tensor *tensor_of(const px_arch *arch, const px_model_file *file, px_role role)
{
    px_weight_view view;
    px_status status = px_arch_find(arch, file, (px_weight_id){.role = role}, &view);
    return status.code == PX_NOT_FOUND ? NULL : view.tensor;
}

/* The vocabulary of a GGUF and the tying of most models show in the tensors alone. */
static px_status read_from_tensors(const px_config *config, px_arch *arch)
{
    if (!arch->from_gguf) arch->tensor_prefix = find_prefix(config->file);
    const px_tensor *table = tensor_of(arch, config->file, PX_ROLE_EMBED);
    if (!table) {
        px_weight_view view;
        return px_arch_find(arch, config->file, (px_weight_id){.role = PX_ROLE_EMBED}, &view);
    }
    if (arch->from_gguf && !arch->vocabulary && table->dims == 2)
        arch->vocabulary = (uint32_t)table->shape[0];
    arch->tied = !tensor_of(arch, config->file, PX_ROLE_OUTPUT);
    return px_config_bool(config, (px_key){"tie_word_embeddings", NULL}, &arch->tied);
}

static px_status read_title(const px_config *config, px_arch *arch)
{
    px_slice name = {0};
    const px_gguf *gguf = px_model_file_gguf(config->file);
    if (gguf) (void)px_gguf_str(gguf, "general.name", &name);
    if (!name.length) { /* the folder's or file's own name */
        const char *path = px_model_file_path(config->file);
        size_t end = strlen(path), begin;
        while (end > 1 && path[end - 1] == '/') end--;
        for (begin = end; begin > 0 && path[begin - 1] != '/';) begin--;
        name = (px_slice){.data = path + begin, .length = end - begin};
    }
    int shown = (int)(name.length < sizeof arch->title ? name.length : sizeof arch->title - 1);
    snprintf(arch->title, sizeof arch->title, "%.*s", shown, name.data);
    return px_ok();
}

/* Small models often keep the ids of the large ones they were made after; none of those can come.
 */
static void drop_impossible_ids(px_arch *arch)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < arch->eos_count; i++)
        if (arch->eos_ids[i] < arch->vocabulary) arch->eos_ids[kept++] = arch->eos_ids[i];
    arch->eos_count = kept;
    if (arch->bos_id >= (int64_t)arch->vocabulary) arch->bos_id = -1;
}

/* Any model may be said to see both ways. In a config.json a window then counts distances and
 * includes its own, where the causal one does not. */
static px_status read_direction(const px_config *config, px_arch *arch)
{
    bool is_causal = true;
    PX_TRY(px_config_bool(config, (px_key){"is_causal", "attention.causal"}, &is_causal));
    if (is_causal || arch->both_ways) return px_ok();
    arch->both_ways = true;
    for (uint32_t i = 0; config->json && i < arch->layer_count; i++)
        if (arch->layers[i].window) arch->layers[i].window++;
    return px_ok();
}

static px_status read_all(px_config *config, px_arch *arch)
{
    PX_TRY(px_family_find(config, &arch->family, &arch->head));
    PX_TRY(px_coded_settings_read(px_model_file_config(config->file), &arch->coded));
    PX_TRY(read_title(config, arch));
    PX_TRY(read_sizes(config, arch));
    PX_TRY(read_from_tensors(config, arch));
    PX_TRY(check_sizes(arch));
    PX_TRY(px_family_activation(config, "hidden_act", arch));
    PX_TRY(read_rope(config, arch));
    arch->attn_scale = (float)(1 / sqrt(arch->head_k));
    PX_TRY(px_config_ends(config, PX_ARCH_EOS_MAX, arch->eos_ids, &arch->eos_count));
    PX_TRY(px_config_begin(config, &arch->bos_id));
    drop_impossible_ids(arch);
    arch->experts = (px_experts){.groups = 1, .groups_used = 1, .scale = 1};
    PX_TRY(arch->family->describe(config, arch));
    PX_TRY(read_direction(config, arch));
    if (arch->from_gguf && arch->family->gguf_pairs_rows) arch->rope_interleaved = true;
    px_family_routed_layers(config, arch);
    PX_TRY(px_config_f32(config, (px_key){NULL, "attention.scale"}, &arch->attn_scale));
    PX_TRY(check_experts(&arch->experts));
    PX_TRY(px_family_check_leftovers(config, arch));
    /* RoPE has no hard end, and tiny models state contexts that are shorter than any prompt. */
    if (arch->context < CONTEXT_MIN) arch->context = CONTEXT_MIN;
    return px_ok();
}

px_status px_arch_read(const px_model_file *file, px_arch *out)
{
    px_config config;
    PX_TRY(px_config_open(file, &config));
    *out = (px_arch){
        .from_gguf = px_model_file_gguf(file) != NULL, .embed_scale = 1, .activation = PX_SILU};
    px_status status = read_all(&config, out);
    px_config_done(&config);
    return status;
}

const char *px_arch_name(const px_arch *arch)
{
    return arch->family->name;
}
