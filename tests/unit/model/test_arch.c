/* test_arch.c - descriptions from config.json: what is left out, what is wrong, and wrappers. */
#include <math.h>

#include "engine/model/arch.h"
#include "model_bytes.h"
#include "test.h"

/* A folder with this config and an embedding of 16 x 8 under `embedding`. */
static px_status read_config(const char *config, const char *embedding, px_arch *out)
{
    bytes b = {.length = 0};
    char header[256], folder[512];
    put(&b, config, strlen(config));
    snprintf(folder, sizeof folder, "%s", write_bytes("config.json", &b));
    *strrchr(folder, '/') = '\0';
    snprintf(header, sizeof header,
        "{\"%s\":{\"dtype\":\"F32\",\"shape\":[16,8],\"data_offsets\":[0,512]}}", embedding);
    safetensors(&b, header, 512);
    write_bytes("model.safetensors", &b);
    px_model_file *file = NULL;
    PX_TRY(px_model_file_open(folder, &file));
    px_status status = px_arch_read(file, out);
    px_model_file_close(file);
    return status;
}

#define SIZES                                                                                      \
    "\"hidden_size\":8,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":16,"     \
    "\"num_hidden_layers\":3,\"intermediate_size\":12,\"head_dim\":4"
#define NAMED(name, rest) "{\"architectures\":[\"" name "\"]," SIZES rest "}"

static px_arch read_right(const char *config)
{
    px_arch arch = {0};
    PX_CHECK_OK(read_config(config, "model.embed_tokens.weight", &arch));
    return arch;
}

static void check_refused(const char *config, const char *word)
{
    px_arch arch;
    px_status status = read_config(config, "model.embed_tokens.weight", &arch);
    PX_CHECK(!px_is_ok(status) && strstr(status.text, word));
    if (!strstr(status.text, word)) printf("  got: %s\n", status.text);
}

PX_TEST(what_a_config_leaves_out_has_its_familys_default)
{
    px_arch arch = read_right(NAMED("MixtralForCausalLM", ""));
    PX_CHECK(arch.experts.count == 8 && arch.experts.used == 2 && arch.layers[0].window == 0);
    PX_CHECK(fabsf(arch.ropes[0].freq[1] - 1e-3f) < 1e-9f); /* theta 1e6 */
    arch = read_right(NAMED("MistralForCausalLM", ""));
    PX_CHECK(arch.layers[2].window == 4096 && arch.tied);
    arch = read_right(NAMED("MistralForCausalLM", ",\"sliding_window\":null"));
    PX_CHECK(arch.layers[2].window == 0);
    arch = read_right(NAMED("GlmForCausalLM", ""));
    PX_CHECK(arch.ropes[0].dims == 2 && arch.qkv_bias && arch.norm_eps == 1.5625e-7f);
    arch = read_right(NAMED("Gemma2ForCausalLM", ",\"final_logit_softcapping\":null"));
    PX_CHECK(arch.attn_softcap == 50 && arch.logit_softcap == 0 && arch.activation == PX_GELU_TANH);
    PX_CHECK(arch.layers[0].window == 4096 && arch.layers[1].window == 0);
    arch = read_right(NAMED("GptOssForCausalLM", ""));
    PX_CHECK(arch.ropes[0].scale > 1.3f && arch.layers[0].window == 128 && arch.sinks);
}

PX_TEST(a_wrapper_is_its_text_half)
{
    static const char *const prefixes[] = {"language_model.model.", "model.language_model."};
    for (int i = 0; i < 2; i++) {
        char name[64];
        px_arch arch;
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        PX_CHECK_OK(
            read_config("{\"architectures\":[\"Gemma3ForConditionalGeneration\"],"
                        "\"eos_token_id\":[1,106],\"model_type\":\"gemma3\",\"text_config\":"
                        "{\"model_type\":\"gemma3_text\",\"sliding_window\":7," SIZES "}}",
                name, &arch));
        PX_CHECK(strcmp(px_arch_name(&arch), "gemma3") == 0 && arch.layers[0].window == 7);
        PX_CHECK(strcmp(arch.tensor_prefix, prefixes[i]) == 0);
        PX_CHECK(arch.eos_count == 1 && arch.eos_ids[0] == 1); /* 106 is beyond the vocabulary */
    }
}

PX_TEST(the_name_of_the_whole_tells_what_stands_on_the_layers)
{
    px_arch arch = read_right(NAMED("LlamaForCausalLM", ""));
    PX_CHECK(arch.head == PX_HEAD_TOKENS && px_arch_has(&arch, PX_ROLE_OUTPUT, 0) == !arch.tied);
    PX_CHECK_OK(read_config(NAMED("MistralModel", ""), "embed_tokens.weight", &arch));
    PX_CHECK(arch.head == PX_HEAD_NONE && !px_arch_has(&arch, PX_ROLE_OUTPUT, 0));
    PX_CHECK(!arch.both_ways && strcmp(px_arch_name(&arch), "mistral") == 0);
    arch = read_right(NAMED("Qwen3ForSequenceClassification", ""));
    PX_CHECK(arch.head == PX_HEAD_SCORES && !px_arch_has(&arch, PX_ROLE_OUTPUT, 0));
    PX_CHECK_OK(read_config("{\"architectures\":[\"Gemma3ForSequenceClassification\"],"
                            "\"model_type\":\"gemma3\",\"text_config\":"
                            "{\"model_type\":\"gemma3_text\"," SIZES "}}",
        "model.language_model.embed_tokens.weight", &arch));
    PX_CHECK(arch.head == PX_HEAD_SCORES);
    /* Near misses get a sentence, not another model's forward. */
    static const char *const others[] = {"LlamaForTokenClassification", "Qwen2VLModel",
        "LlamaForCausalLMEagle3", "LlamaForConditionalGeneration", "Llama4ForCausalLM",
        "MistralForQuestionAnswering", "Qwen2ForRewardModel", "LlavaLlamaForCausalLM", "Model"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char config[300];
        snprintf(config, sizeof config, "{\"architectures\":[\"%s\"]," SIZES "}", others[i]);
        check_refused(config, others[i]);
    }
}

PX_TEST(a_window_of_those_who_see_both_ways_reaches_both_ways)
{
    px_arch arch = read_right(
        NAMED("Gemma3ForCausalLM", ",\"sliding_window\":512,\"use_bidirectional_attention\":true"));
    PX_CHECK(arch.both_ways && arch.layers[0].window == 257);
    arch = read_right(NAMED("MistralForCausalLM", ",\"sliding_window\":9,\"is_causal\":false"));
    PX_CHECK(arch.both_ways && arch.layers[0].window == 10);
    arch = read_right(NAMED("MistralForCausalLM", ",\"sliding_window\":9,\"is_causal\":true"));
    PX_CHECK(!arch.both_ways && arch.layers[0].window == 9);
}

PX_TEST(sliding_layers_follow_each_familys_rule)
{
    px_arch arch = read_right(NAMED("Qwen2ForCausalLM",
        ",\"use_sliding_window\":true,\"sliding_window\":5,\"max_window_layers\":1"));
    PX_CHECK(!arch.layers[0].window && arch.layers[1].window == 5 && arch.layers[2].window == 5);
    arch = read_right(NAMED("Qwen2MoeForCausalLM",
        ",\"use_sliding_window\":true,\"sliding_window\":5,\"max_window_layers\":2"));
    PX_CHECK(arch.layers[0].window == 5 && !arch.layers[1].window && !arch.layers[2].window);
    arch = read_right(
        NAMED("Qwen3MoeForCausalLM", ",\"use_sliding_window\":true,\"sliding_window\":5,\"num_"
                                     "local_experts\":6,\"num_experts_per_tok\":2"));
    PX_CHECK(arch.layers[0].window == 5 && arch.layers[2].window == 5 && arch.experts.count == 6);
    arch = read_right(NAMED("Gemma3ForCausalLM", ",\"layer_types\":[\"full_attention\","
                                                 "\"sliding_attention\",\"full_attention\"]"));
    PX_CHECK(!arch.layers[0].window && arch.layers[1].window && arch.layers[1].rope == 1);
}

PX_TEST(rope_settings_are_found_wherever_they_stand)
{
    px_arch arch = read_right(NAMED("LlamaForCausalLM",
        ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4,\"rope_theta\":100}"));
    PX_CHECK(fabsf(arch.ropes[0].freq[1] - 0.1f / 4) < 1e-8f);
    arch =
        read_right(NAMED("LlamaForCausalLM", ",\"rope_theta\":100,\"rope_scaling\":{\"type\":"
                                             "\"linear\",\"factor\":4},\"rope_parameters\":null"));
    PX_CHECK(fabsf(arch.ropes[0].freq[1] - 0.1f / 4) < 1e-8f);
    arch = read_right(NAMED("Gemma3ForCausalLM",
        ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":100,\"rope_type\":\"linear\","
        "\"factor\":2},\"sliding_attention\":{\"rope_theta\":25}}"));
    PX_CHECK(fabsf(arch.ropes[0].freq[1] - 0.05f) < 1e-8f);
    PX_CHECK(fabsf(arch.ropes[1].freq[1] - 0.2f) < 1e-8f);
}

PX_TEST(wrong_configs_are_refused_with_a_sentence)
{
    check_refused("[]", "must hold a JSON object");
    check_refused("{", "not valid JSON");
    check_refused("{}", "what model is it?");
    check_refused("{\"architectures\":[]}", "what model is it?");
    check_refused(NAMED("FalconForCausalLM", ""), "known: llama, mistral, mixtral, qwen2");
    check_refused(NAMED("LlamaForCausalLM", ",\"rms_norm_eps\":\"small\""), "'rms_norm_eps'");
    check_refused(NAMED("LlamaForCausalLM", ",\"rms_norm_eps\":-1"), "epsilon of -1");
    check_refused(NAMED("LlamaForCausalLM", ",\"attention_bias\":1"), "'attention_bias'");
    check_refused(NAMED("LlamaForCausalLM", ",\"hidden_act\":\"snake\""), "'snake'");
    check_refused(NAMED("LlamaForCausalLM", ",\"rope_theta\":0"), "rope_theta 0");
    check_refused(NAMED("LlamaForCausalLM", ",\"rope_scaling\":[2]"), "'rope_scaling'");
    check_refused(NAMED("LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"spiral\"}"), "'spiral'");
    check_refused(NAMED("LlamaForCausalLM", ",\"rope_scaling\":{\"type\":\"linear\"}"), "'factor'");
    check_refused(NAMED("LlamaForCausalLM", ",\"eos_token_id\":\"</s>\""), "'eos_token_id'");
    check_refused(NAMED("LlamaForCausalLM", ",\"bos_token_id\":\"<s>\""), "'bos_token_id'");
    check_refused(NAMED("Qwen2ForCausalLM", ",\"layer_types\":7"), "'layer_types'");
    check_refused(NAMED("Qwen2ForCausalLM", ",\"layer_types\":[\"full_attention\"]"), "3 layers");
    check_refused(NAMED("MixtralForCausalLM", ",\"num_experts_per_tok\":9"), "9 used");
    check_refused(NAMED("DeepseekV3ForCausalLM", ",\"kv_lora_rank\":0"), "latent");
    check_refused(
        "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":1e12}", "'hidden_size'");
    check_refused("{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":100000}",
        "100000 (1 to 512");
    check_refused("{\"architectures\":[\"LlamaForCausalLM\"],\"num_attention_heads\":7,"
                  "\"num_key_value_heads\":2}",
        "7 heads");
}

PX_TEST_MAIN()
