/* test_find.c - which file of a folder a model is, and which rows of which tensor of a GGUF file a
 * weight, however they are stored. */
#include <sys/stat.h>

#include "engine/model/arch.h"
#include "engine/model/gguf_write.h"
#include "model_bytes.h"
#include "test.h"

enum { HIDDEN = 8, HEADS = 4, KV_HEADS = 2, HEAD = 2, VOCABULARY = 16, EXPERTS = 3, FFN = 12 };

static void add(px_gguf_writer *w, const char *name, uint32_t rows, uint32_t cols)
{
    px_tensor tensor = {.name = name, .dtype = PX_F32, .dims = 2, .shape = {rows, cols}};
    if (!rows) tensor.dims = 1, tensor.shape[0] = cols;
    tensor.bytes = (uint64_t)(rows ? rows : 1) * cols * sizeof(float);
    PX_CHECK_OK(px_gguf_writer_add(w, &tensor));
}

static px_gguf_writer *begin(const char *path, const char *family)
{
    static const struct {
        const char *name;
        uint32_t value;
    } sizes[] = {{"block_count", 1}, {"embedding_length", HIDDEN}, {"context_length", 64},
        {"feed_forward_length", FFN}, {"attention.head_count", HEADS},
        {"attention.head_count_kv", KV_HEADS}};
    px_gguf_writer *w = NULL;
    PX_CHECK_OK(px_gguf_writer_create(path, &w));
    px_gguf_put_text(w, "general.architecture", family);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s.%s", family, sizes[i].name);
        px_gguf_put_u32(w, key, sizes[i].value);
    }
    add(w, "token_embd.weight", VOCABULARY, HIDDEN);
    return w;
}

static px_model_file *finish(px_gguf_writer *w, const char *path, px_arch *out)
{
    px_model_file *file = NULL;
    PX_CHECK_OK(px_gguf_writer_begin(w));
    PX_CHECK_OK(px_gguf_writer_finish(w));
    px_gguf_writer_free(w);
    PX_CHECK_OK(px_model_file_open(path, &file));
    PX_CHECK_OK(px_arch_read(file, out));
    return file;
}

/* Where a weight begins in its tensor, in elements. */
static long begins(const px_arch *arch, const px_model_file *file, px_weight_id id)
{
    px_weight_view view;
    px_status status = px_arch_find(arch, file, id, &view);
    PX_CHECK_OK(status);
    if (!px_is_ok(status)) return -1;
    return (long)((const float *)view.data - (const float *)view.tensor->data);
}

PX_TEST(q_k_and_v_stored_together_are_found_with_their_biases)
{
    px_arch arch;
    const char *path = test_path("fused.gguf");
    px_gguf_writer *w = begin(path, "qwen2");
    add(w, "blk.0.attn_qkv.weight", (HEADS + 2 * KV_HEADS) * HEAD, HIDDEN);
    add(w, "blk.0.attn_qkv.bias", 0, (HEADS + 2 * KV_HEADS) * HEAD);
    px_model_file *file = finish(w, path, &arch);
    long q = HEADS * HEAD, k = KV_HEADS * HEAD;
    PX_CHECK(arch.qkv_bias);
    PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_Q}) == 0);
    PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_K}) == q * HIDDEN);
    PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_V}) == (q + k) * HIDDEN);
    PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_Q_BIAS}) == 0);
    PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_K_BIAS}) == q);
    PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_V_BIAS}) == q + k);
    px_model_file_close(file);
}

PX_TEST(phi3_may_be_stored_apart_and_qwen2_without_biases)
{
    static const char *const families[] = {"phi3", "qwen2"};
    for (int i = 0; i < 2; i++) {
        px_arch arch;
        const char *path = test_path("apart.gguf");
        px_gguf_writer *w = begin(path, families[i]);
        add(w, "blk.0.attn_k.weight", KV_HEADS * HEAD, HIDDEN);
        px_model_file *file = finish(w, path, &arch);
        PX_CHECK(begins(&arch, file, (px_weight_id){.role = PX_ROLE_K}) == 0 && !arch.qkv_bias);
        px_model_file_close(file);
    }
}

PX_TEST(the_first_mixtrals_have_a_tensor_for_each_expert)
{
    px_arch arch;
    const char *path = test_path("experts.gguf");
    px_gguf_writer *w = begin(path, "llama");
    px_gguf_put_u32(w, "llama.expert_count", EXPERTS);
    px_gguf_put_u32(w, "llama.expert_used_count", 2);
    add(w, "blk.0.ffn_gate_inp.weight", EXPERTS, HIDDEN);
    add(w, "blk.0.ffn_up.2.weight", FFN, HIDDEN);
    px_model_file *file = finish(w, path, &arch);
    px_weight_view view;
    PX_CHECK_OK(
        px_arch_find(&arch, file, (px_weight_id){.role = PX_ROLE_EXPERT_UP, .expert = 2}, &view));
    px_model_file_close(file);
}

PX_TEST(a_folder_of_versions_is_told_where_its_newest_model_is)
{
    static const char *const folders[] = {"m", "m/9", "m/10", "m/notes"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        PX_CHECK(!mkdir(test_path(folders[i]), 0700));
    write_test_file("m/9/a.gguf", "GGUF", 4);
    write_test_file("m/10/config.json", "{}", 2);
    px_model_file *file = NULL;
    px_status status = px_model_file_open(test_path("m"), &file);
    PX_CHECK(status.code == PX_NOT_FOUND && strstr(status.text, "/m/10") && !file);
    status = px_model_file_open(test_path("m/notes"), &file);
    PX_CHECK(status.code == PX_NOT_FOUND && strstr(status.text, "neither") && !file);
}

PX_TEST_MAIN()
