/* test_gguf_keys.c - descriptions from GGUF metadata: how values may be written, what is refused by
 * name, which tokens end an answer. */
#include <math.h>

#include "engine/model/arch.h"
#include "gguf_meta.h"
#include "test.h"

/* Two layers, 4 heads of 4, 2 KV heads unless `arch` says otherwise afterwards. */
static meta begin(const char *arch)
{
    meta m = {.arch = arch};
    meta_text(&m, "general.architecture", arch);
    meta_u32(&m, ".block_count", 2);
    meta_u32(&m, ".context_length", 1024);
    meta_u32(&m, ".embedding_length", 16);
    meta_u32(&m, ".feed_forward_length", 24);
    meta_u32(&m, ".attention.head_count", 4);
    meta_f32(&m, ".attention.layer_norm_rms_epsilon", 1e-5f);
    return m;
}

/* Reads it with an embedding of 16 x 16 and, unless NULL, one more tensor of 16 numbers. */
static px_status read_with(const meta *m, const char *tensor, px_arch *out)
{
    static bytes b;
    gguf_head(&b, 3, tensor ? 2 : 1, m->count);
    put(&b, m->keys.data, m->keys.length);
    gguf_matrix(&b, "token_embd.weight", 16, 16, 0, 0);
    if (tensor) gguf_matrix(&b, tensor, 1, 16, 0, 1024);
    pad(&b, 32);
    b.length += 1024 + 64;
    px_model_file *file = NULL;
    PX_TRY(px_model_file_open(write_bytes("keys.gguf", &b), &file));
    px_status status = px_arch_read(file, out);
    px_model_file_close(file);
    return status;
}

static px_arch read_right(const meta *m)
{
    static px_arch arch;
    PX_CHECK_OK(read_with(m, NULL, &arch));
    return arch;
}

static void check_refused(const meta *m, const char *tensor, const char *word)
{
    static px_arch arch;
    px_status status = read_with(m, tensor, &arch);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, word));
    if (!strstr(status.text, word)) printf("  got: %s\n", status.text);
}

PX_TEST(numbers_of_any_width_are_read)
{
    meta m = begin("llama");
    meta_number(&m, ".attention.head_count_kv", PX_GGUF_U64, &(uint64_t){2}, 8);
    meta_number(&m, ".rope.freq_base", PX_GGUF_F64, &(double){100}, 8);
    meta_number(&m, ".attention.key_length", PX_GGUF_I32, &(int32_t){4}, 4);
    meta_number(&m, ".rope.dimension_count", PX_GGUF_U8, &(uint8_t){4}, 1);
    px_arch arch = read_right(&m);
    PX_CHECK(arch.kv_heads == 2 && arch.head_k == 4 && arch.ropes[0].dims == 4);
    PX_CHECK(fabsf(arch.ropes[0].freq[1] - 0.1f) < 1e-8f);
}

PX_TEST(a_list_must_have_the_same_number_for_every_layer)
{
    meta m = begin("llama");
    meta_i32s(&m, ".attention.head_count_kv", (int32_t[]){2, 2}, 2);
    PX_CHECK(read_right(&m).kv_heads == 2);
    m = begin("llama");
    meta_i32s(&m, ".attention.head_count_kv", (int32_t[]){2, 1}, 2);
    check_refused(&m, NULL, "head_count_kv differs between layers");
    m = begin("llama");
    meta_i32s(&m, ".attention.head_count_kv", (int32_t[]){2, 2, 2}, 3);
    check_refused(&m, NULL, "3 entries for 2 layers");
    m = begin("llama");
    meta_i32s(&m, ".attention.head_count_kv", (int32_t[]){0}, 0);
    check_refused(&m, NULL, "0 entries for 2 layers");
}

PX_TEST(a_value_of_another_kind_is_not_taken_for_a_missing_one)
{
    meta m = begin("llama");
    meta_text(&m, ".rope.freq_base", "10000");
    check_refused(&m, NULL, "llama.rope.freq_base");
    m = begin("qwen3moe");
    meta_u32(&m, ".expert_count", 4);
    meta_u32(&m, ".expert_used_count", 2);
    meta_u32(&m, ".expert_feed_forward_length", 8);
    meta_u32(&m, ".expert_weights_norm", 1);
    check_refused(&m, NULL, "expert_weights_norm");
}

PX_TEST(a_factor_without_a_rule_is_a_linear_one)
{
    meta m = begin("llama");
    meta_f32(&m, ".rope.scaling.factor", 4);
    PX_CHECK(read_right(&m).ropes[0].freq[0] == 0.25f);
    meta_text(&m, ".rope.scaling.type", "none");
    PX_CHECK(read_right(&m).ropes[0].freq[0] == 1);
    m = begin("llama");
    meta_text(&m, ".rope.scaling.type", "linear"); /* and no factor */
    PX_CHECK(read_right(&m).ropes[0].freq[0] == 1);
    m = begin("llama");
    meta_f32(&m, ".rope.scale_linear", 2);
    PX_CHECK(read_right(&m).ropes[0].freq[0] == 0.5f);
}

PX_TEST(settings_that_we_lack_are_refused_by_name)
{
    static const char *const keys[] = {".logit_scale", ".residual_scale", ".attention.clamp_kqv",
        ".attention.temperature_scale", ".router_logit_softcapping", ".rope.freq_base_swa",
        ".attention.key_length_swa", ".final_logit_softcapping", ".attention.sliding_window"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        meta m = begin("chatglm");
        meta_f32(&m, keys[i], 7);
        check_refused(&m, NULL, keys[i]);
    }
    meta m = begin("llama");
    meta_f32(&m, ".logit_scale", 1);
    meta_f32(&m, ".residual_scale", 0);
    meta_text(&m, ".tensor_data_layout", "Meta AI original pth");
    meta_boolean(&m, ".rope.scaling.finetuned", true);
    meta_f32(&m, ".rope.freq_base_swa", 10000);
    (void)read_right(&m);
}

PX_TEST(tensors_that_nobody_reads_are_refused_by_name)
{
    static const char *const strange[] = {"blk.0.ffn_up.scale", "blk.1.attn_q_norm.weight",
        "blk.2.attn_norm.weight", "output.bias", "blk.0.ffn_gate_inp.weight", "blk.x.ffn_up.weight",
        "blk.0.ffn_up.weightx", "blk.0.ffn_up.weigh"};
    static const char *const known[] = {"blk.1.attn_norm.weight", "blk.0.attn_rot_embd.weight",
        "cls.output.weight", "blk.0.attn_qkv.weight", "output.weight"};
    meta m = begin("llama");
    static px_arch arch;
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        check_refused(&m, strange[i], strange[i]);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        px_status status = read_with(&m, known[i], &arch);
        PX_CHECK(px_is_ok(status) || strstr(status.text, "settings need"));
    }
    m = begin("glm4");
    meta_u32(&m, ".nextn_predict_layers", 1);
    PX_CHECK_OK(read_with(&m, "blk.1.nextn.eh_proj.weight", &arch));
    PX_CHECK(arch.layer_count == 1);
    check_refused(&m, "blk.2.nextn.eh_proj.weight", "blk.2.nextn");
}

/* DeepSeek's mixture with `extra` set to 0. */
static meta deepseek(void)
{
    meta m = begin("deepseek2");
    meta_u32(&m, ".attention.kv_lora_rank", 8);
    meta_u32(&m, ".attention.key_length_mla", 8);
    meta_u32(&m, ".attention.value_length_mla", 4);
    meta_u32(&m, ".rope.dimension_count", 4);
    meta_u32(&m, ".expert_count", 4);
    meta_u32(&m, ".expert_used_count", 2);
    meta_u32(&m, ".expert_feed_forward_length", 8);
    return m;
}

PX_TEST(no_groups_and_no_scale_of_experts_are_written_as_zero)
{
    meta m = deepseek();
    meta_u32(&m, ".expert_group_count", 0);
    meta_u32(&m, ".expert_group_used_count", 0);
    meta_u32(&m, ".expert_gating_func", 0);
    meta_f32(&m, ".expert_weights_scale", 0);
    px_arch arch = read_right(&m);
    PX_CHECK(arch.experts.groups == 1 && arch.experts.groups_used == 1);
    PX_CHECK(arch.experts.scale == 1 && !arch.experts.sigmoid && !arch.experts.renormalise);
    m = deepseek();
    meta_u32(&m, ".expert_gating_func", 2);
    meta_boolean(&m, ".expert_weights_norm", true);
    arch = read_right(&m);
    PX_CHECK(arch.experts.sigmoid && arch.experts.renormalise);
    m = deepseek();
    meta_u32(&m, ".expert_gating_func", 4);
    check_refused(&m, NULL, "expert_gating_func");
}

PX_TEST(yarns_multiplier_is_a_tenth_in_one_family_only)
{
    static const char *const families[] = {"deepseek2", "mistral3"};
    for (int i = 0; i < 2; i++) {
        meta m = i ? begin(families[i]) : deepseek();
        meta_text(&m, ".rope.scaling.type", "yarn");
        meta_f32(&m, ".rope.scaling.factor", 4);
        meta_u32(&m, ".rope.scaling.original_context_length", 64);
        meta_f32(&m, ".rope.scaling.yarn_log_multiplier", i ? 1.0f : 0.1f);
        px_arch arch = read_right(&m);
        PX_CHECK(fabsf(arch.ropes[0].scale - 1) < 1e-6f);
        double stretched = pow(0.1 * log(4) + 1, 2) / sqrt(8);
        PX_CHECK(fabs((double)arch.attn_scale - (i ? 0.5 : stretched)) < 1e-6);
    }
}

PX_TEST(positions_in_parts_turn_neighbours_into_halves)
{
    meta m = begin("glm4");
    PX_CHECK(read_right(&m).rope_interleaved);
    meta_i32s(&m, ".rope.dimension_sections", (int32_t[]){1, 1, 0, 0}, 4);
    PX_CHECK(!read_right(&m).rope_interleaved);
}

static px_arch with_tokens(const char *const *tokens, uint64_t count)
{
    meta m = begin("llama");
    meta_texts(&m, "tokenizer.ggml.tokens", tokens, count);
    meta_u32(&m, "tokenizer.ggml.eos_token_id", 1);
    meta_u32(&m, "tokenizer.ggml.bos_token_id", UINT32_MAX); /* none */
    return read_right(&m);
}

PX_TEST(turns_end_with_the_tokens_that_say_so)
{
    static const char *const chat[] = {"a", "</s>", "<|im_end|>", "<|endoftext|>", "<|end|>"};
    px_arch arch = with_tokens(chat, 5);
    PX_CHECK(arch.eos_count == 4 && arch.eos_ids[0] == 1 && arch.bos_id == -1);
    /* gpt-oss: "<|end|>" ends its thoughts, not its answer. */
    static const char *const parts[] = {"a", "<|return|>", "<|end|>", "<|call|>"};
    arch = with_tokens(parts, 4);
    PX_CHECK(arch.eos_count == 2 && arch.eos_ids[0] == 1 && arch.eos_ids[1] == 3);
}

PX_TEST_MAIN()
