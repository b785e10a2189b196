/* convert_keys.c - what a converted file says of itself besides its tensors.
 *
 * The architecture's public keys are made from its description, for whoever reads GGUF. They cannot
 * say all that config.json says (windows of some layers, roundings of YaRN), so that goes along as
 * a document, which our reader prefers. Source: the GGUF specification and llama.cpp's key names.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/convert_impl.h"
#include "engine/model/family.h"

/* llama.cpp's number for "mostly this type" (general.file_type); -1: it has none. */
static int file_type_of(px_dtype dtype)
{
    static const struct {
        px_dtype dtype;
        int number;
    } known[] = {{PX_F32, 0}, {PX_F16, 1}, {PX_Q4_0, 2}, {PX_Q4_1, 3}, {PX_Q8_0, 7}, {PX_Q5_0, 8},
        {PX_Q5_1, 9}, {PX_Q2_K, 10}, {PX_Q3_K, 12}, {PX_Q4_K, 15}, {PX_Q5_K, 17}, {PX_Q6_K, 18},
        {PX_IQ4_NL, 25}, {PX_IQ4_XS, 30}, {PX_BF16, 32}, {PX_MXFP4, 38}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].dtype == dtype) return known[i].number;
    return -1;
}

/* The type that most weights have. */
static px_dtype main_type(const px_convert *convert)
{
    px_dtype most = PX_F32;
    for (int t = 0; t < PX_DTYPE_COUNT; t++)
        if (convert->report.types[t].elements > convert->report.types[most].elements)
            most = (px_dtype)t;
    return most;
}

static void put_types(const px_convert *convert)
{
    int number = file_type_of(main_type(convert));
    if (number >= 0) px_gguf_put_u32(convert->writer, "general.file_type", (uint32_t)number);
    px_gguf_put_u32(convert->writer, "general.quantization_version", 2);
}

/* --- of a GGUF: all that it says, but what conversion changes --------------------------------- */

static bool is_stale(px_slice key)
{
    static const char *const keys[] = {"general.file_type", "general.quantization_version",
        "general.alignment", "split.no", "split.count", "split.tensors.count"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (key.length == strlen(keys[i]) && !memcmp(key.data, keys[i], key.length)) return true;
    return false;
}

static void copy_keys(const px_convert *convert, const px_gguf *from)
{
    for (uint64_t i = 0; i < px_gguf_pair_count(from); i++) {
        px_gguf_pair pair = px_gguf_pair_at(from, i);
        if (!is_stale(pair.key)) px_gguf_put_pair(convert->writer, &pair);
    }
}

/* --- of a description ------------------------------------------------------------------------- */

typedef struct keys {
    px_gguf_writer *writer;
    const char *arch; /* general.architecture, before every key */
} keys;

static const char *full(const keys *k, const char *name, char out[128])
{
    snprintf(out, 128, "%s.%s", k->arch, name);
    return out;
}

static void put_u32(const keys *k, const char *name, uint32_t value)
{
    char key[128];
    px_gguf_put_u32(k->writer, full(k, name, key), value);
}

static void put_f32(const keys *k, const char *name, double value)
{
    char key[128];
    px_gguf_put_f32(k->writer, full(k, name, key), (float)value);
}

static void put_bool(const keys *k, const char *name, bool value)
{
    char key[128];
    px_gguf_put_bool(k->writer, full(k, name, key), value);
}

static void put_text(const keys *k, const char *name, const char *value)
{
    char key[128];
    px_gguf_put_text(k->writer, full(k, name, key), value);
}

/* Latent attention is stated as it is cached, one head of latents; and as each head has it. */
static void put_heads(const keys *k, const px_arch *arch)
{
    const px_latent *latent = &arch->latent;
    if (!latent->kv_rank) {
        put_u32(k, "attention.head_count_kv", arch->kv_heads);
        put_u32(k, "attention.key_length", arch->head_k);
        put_u32(k, "attention.value_length", arch->head_v);
        return;
    }
    put_u32(k, "attention.head_count_kv", 1);
    put_u32(k, "attention.key_length", latent->kv_rank + arch->ropes[0].dims);
    put_u32(k, "attention.value_length", latent->kv_rank);
    put_u32(k, "attention.key_length_mla", arch->head_k);
    put_u32(k, "attention.value_length_mla", arch->head_v);
    put_u32(k, "attention.kv_lora_rank", latent->kv_rank);
    if (latent->q_rank) put_u32(k, "attention.q_lora_rank", latent->q_rank);
}

static void put_sizes(const keys *k, const px_arch *arch, uint32_t context)
{
    put_u32(k, "block_count", arch->layer_count);
    put_u32(k, "context_length", context);
    put_u32(k, "embedding_length", arch->hidden);
    put_u32(k, "feed_forward_length", arch->ffn);
    put_u32(k, "vocab_size", arch->vocabulary);
    put_u32(k, "attention.head_count", arch->heads);
    put_heads(k, arch);
    put_f32(k, "attention.layer_norm_rms_epsilon", (double)arch->norm_eps);
    if (arch->attn_softcap != 0) put_f32(k, "attn_logit_softcapping", (double)arch->attn_softcap);
    if (arch->logit_softcap != 0)
        put_f32(k, "final_logit_softcapping", (double)arch->logit_softcap);
    float usual = (float)(1 / sqrt(arch->head_k));
    if (!arch->latent.kv_rank && arch->attn_scale != usual)
        put_f32(k, "attention.scale", (double)arch->attn_scale);
}

static void put_windows(const keys *k, const px_arch *arch)
{
    uint32_t window = 0;
    for (uint32_t i = 0; i < arch->layer_count; i++)
        if (arch->layers[i].window > window) window = arch->layers[i].window;
    if (window) put_u32(k, "attention.sliding_window", window);
}

static void put_experts(const keys *k, const px_arch *arch)
{
    const px_experts *experts = &arch->experts;
    uint32_t dense = 0;
    if (!experts->count) return;
    while (dense < arch->layer_count && !arch->layers[dense].routed) dense++;
    put_u32(k, "expert_count", experts->count);
    put_u32(k, "expert_used_count", experts->used);
    put_u32(k, "expert_feed_forward_length", experts->ffn);
    put_u32(k, "expert_gating_func", experts->sigmoid ? 2 : 1);
    put_bool(k, "expert_weights_norm", experts->renormalise);
    put_f32(k, "expert_weights_scale", (double)experts->scale);
    put_u32(k, "leading_dense_block_count", dense);
    if (experts->groups > 1) {
        put_u32(k, "expert_group_count", experts->groups);
        put_u32(k, "expert_group_used_count", experts->groups_used);
    }
    if (!experts->shared_ffn) return;
    if (experts->shared_weight || experts->shared_ffn % experts->ffn)
        put_u32(k, "expert_shared_feed_forward_length", experts->shared_ffn);
    else
        put_u32(k, "expert_shared_count", experts->shared_ffn / experts->ffn);
}

static void put_scaling(const keys *k, const px_rope_scaling *s)
{
    if (s->kind == PX_ROPE_LINEAR) {
        put_text(k, "rope.scaling.type", "linear");
        put_f32(k, "rope.scaling.factor", s->factor);
    } else if (s->kind == PX_ROPE_YARN) {
        put_text(k, "rope.scaling.type", "yarn");
        put_f32(k, "rope.scaling.factor", s->factor);
        put_u32(k, "rope.scaling.original_context_length", (uint32_t)s->original_context);
        put_f32(k, "rope.scaling.yarn_beta_fast", s->beta_fast);
        put_f32(k, "rope.scaling.yarn_beta_slow", s->beta_slow);
        /* llama.cpp multiplies what this says by the usual 0.1 ln(factor) + 1. */
        if (s->attention_factor != 0)
            put_f32(
                k, "rope.scaling.attn_factor", s->attention_factor / px_rope_mscale(s->factor, 1));
        if (s->mscale_all_dim != 0)
            put_f32(k, "rope.scaling.yarn_log_multiplier", 0.1 * s->mscale_all_dim);
    } else if (s->kind == PX_ROPE_LONG) {
        put_text(k, "rope.scaling.type", "longrope");
        put_u32(k, "rope.scaling.original_context_length", (uint32_t)s->original_context);
    }
}

static px_status put_rotation(const keys *k, const px_convert *convert)
{
    px_config config;
    px_rope_settings rope;
    const px_arch *arch = &convert->arch;
    uint32_t context = arch->context;
    PX_TRY(px_config_open(convert->file, &config));
    bool two_bases = arch->ropes[1].dims != 0;
    px_status status = px_config_rope(&config, two_bases ? "full_attention" : NULL, &rope);
    if (px_is_ok(status)) /* before YaRN; arch.context is after it */
        status = px_config_u32(&config, (px_key){"max_position_embeddings", NULL}, &context);
    px_config_done(&config);
    PX_TRY(status);
    put_sizes(k, arch, context ? context : arch->context);
    put_u32(k, "rope.dimension_count", arch->ropes[0].dims);
    put_f32(k, "rope.freq_base", rope.theta);
    put_scaling(k, &rope.scaling);
    if (rope.scaling.kind == PX_ROPE_LONG)
        put_f32(k, "rope.scaling.attn_factor", (double)arch->ropes[0].scale);
    if (two_bases) /* the second base: the slowest but one pair tells it */
        put_f32(k, "rope.freq_base_swa",
            pow((double)arch->ropes[1].freq[1], -(double)arch->ropes[1].dims / 2));
    return px_ok();
}

/* What becomes of hidden states, where that is what the model is for. */
static void put_pooling(const keys *k, const px_convert *convert)
{
    enum { MEAN = 1, FIRST, LAST, RANK }; /* the format's numbers */
    px_pooling_info info = px_pooling_describe(convert->pooling);
    if (convert->arch.both_ways) put_bool(k, "attention.causal", false);
    if (!info.is_stated) return;
    uint32_t type = info.kind == PX_POOLING_MEAN    ? MEAN
                    : info.kind == PX_POOLING_FIRST ? FIRST
                                                    : LAST;
    put_u32(k, "pooling_type", info.is_scores ? RANK : type);
    put_bool(k, "pooling_normalise", info.normalised);
}

/* A document of the folder, less what is true of its files only. */
static px_status put_document(const px_convert *convert, const char *name, const json_t *document)
{
    if (!document) return px_ok();
    json_t *copy = json_copy((json_t *)(uintptr_t)document);
    json_object_del(copy, "quantization_config");
    char *text = json_dumps(copy, JSON_COMPACT), key[64];
    json_decref(copy);
    if (!text) return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for %s", name);
    snprintf(key, sizeof key, PX_GGUF_DOCUMENTS "%s", name);
    px_gguf_put_text(convert->writer, key, text);
    free(text);
    return px_ok();
}

px_status px_convert_put_keys(const px_convert *convert)
{
    const px_gguf *gguf = px_model_file_gguf(convert->file);
    if (gguf) {
        copy_keys(convert, gguf);
        put_types(convert);
        return px_ok();
    }
    const px_arch *arch = &convert->arch;
    const char *name = arch->family->gguf ? arch->family->gguf : arch->family->name;
    keys k = {.writer = convert->writer, .arch = name};
    px_gguf_put_text(convert->writer, "general.architecture", name);
    px_gguf_put_text(convert->writer, "general.type", "model");
    px_gguf_put_text(convert->writer, "general.name", arch->title);
    put_types(convert);
    put_windows(&k, arch);
    put_experts(&k, arch);
    put_pooling(&k, convert);
    PX_TRY(put_rotation(&k, convert));
    PX_TRY(put_document(convert, "config.json", px_model_file_config(convert->file)));
    return put_document(
        convert, "generation_config.json", px_model_file_generation_config(convert->file));
}
