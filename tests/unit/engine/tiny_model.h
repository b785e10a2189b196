/* tiny_model.h - writes a random llama (9 heads over 3 KV heads) as a safetensors folder, so that
 * tests of the whole engine need no files from elsewhere.
 */
#ifndef PX_TEST_TINY_MODEL_H
#define PX_TEST_TINY_MODEL_H

#include <stdarg.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "engine/random.h"

enum {
    TINY_HIDDEN = 72,
    TINY_HEADS = 9,
    TINY_KV_HEADS = 3,
    TINY_HEAD_DIM = 8,
    TINY_FFN = 96,
    TINY_LAYERS = 3,
    TINY_VOCABULARY = 300,
    TINY_CONTEXT = 512
};

typedef struct tiny_writer {
    px_buf header, data;
    uint64_t tensors; /* written: each has its own numbers */
    uint64_t seed;
} tiny_writer;

PX_PRINTF(4, 5)
static void tiny_tensor(tiny_writer *w, uint32_t rows, uint32_t cols, const char *format, ...)
{
    char name[96];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    size_t begin = w->data.length;
    uint32_t count = (rows ? rows : 1) * cols;
    for (uint32_t i = 0; i < count; i++) { /* norms around 1; matrices that keep the scale */
        double unit = px_random_unit(7 + w->seed * 1000 + w->tensors, i) - 0.5;
        float value = (float)(rows ? unit * 3.5 / sqrt(cols) : 1 + unit);
        px_buf_append(&w->data, &value, sizeof value);
    }
    px_buf_printf(
        &w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", w->tensors ? "," : "", name);
    if (rows) px_buf_printf(&w->header, "%u,", rows);
    px_buf_printf(&w->header, "%u],\"data_offsets\":[%zu,%zu]}", cols, begin, w->data.length);
    w->tensors++;
}

static void tiny_weights(tiny_writer *w)
{
    uint32_t q = TINY_HEADS * TINY_HEAD_DIM, kv = TINY_KV_HEADS * TINY_HEAD_DIM;
    tiny_tensor(w, TINY_VOCABULARY, TINY_HIDDEN, "model.embed_tokens.weight");
    tiny_tensor(w, 0, TINY_HIDDEN, "model.norm.weight");
    tiny_tensor(w, TINY_VOCABULARY, TINY_HIDDEN, "lm_head.weight");
    for (int i = 0; i < TINY_LAYERS; i++) {
        tiny_tensor(w, 0, TINY_HIDDEN, "model.layers.%d.input_layernorm.weight", i);
        tiny_tensor(w, 0, TINY_HIDDEN, "model.layers.%d.post_attention_layernorm.weight", i);
        tiny_tensor(w, q, TINY_HIDDEN, "model.layers.%d.self_attn.q_proj.weight", i);
        tiny_tensor(w, kv, TINY_HIDDEN, "model.layers.%d.self_attn.k_proj.weight", i);
        tiny_tensor(w, kv, TINY_HIDDEN, "model.layers.%d.self_attn.v_proj.weight", i);
        tiny_tensor(w, TINY_HIDDEN, q, "model.layers.%d.self_attn.o_proj.weight", i);
        tiny_tensor(w, TINY_FFN, TINY_HIDDEN, "model.layers.%d.mlp.gate_proj.weight", i);
        tiny_tensor(w, TINY_FFN, TINY_HIDDEN, "model.layers.%d.mlp.up_proj.weight", i);
        tiny_tensor(w, TINY_HIDDEN, TINY_FFN, "model.layers.%d.mlp.down_proj.weight", i);
    }
}

static void tiny_save(const char *folder, const char *name, const void *bytes, size_t length)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    PX_CHECK_OK(px_fs_write_atomic(path, bytes, length, 0600));
}

static tiny_writer tiny_begin(uint64_t seed)
{
    tiny_writer w = {.seed = seed};
    px_buf_init(&w.header, 1 << 16);
    px_buf_init(&w.data, 1 << 22);
    px_buf_puts(&w.header, "{");
    return w;
}

/* Writes the file and frees what it is made of. */
static void tiny_finish(tiny_writer *w, const char *folder, const char *name)
{
    px_buf file;
    px_buf_puts(&w->header, "}");
    uint64_t header_bytes = w->header.length; /* little-endian, as the machines we run on */
    px_buf_init(&file, 1 << 23);
    px_buf_append(&file, &header_bytes, sizeof header_bytes);
    px_buf_append(&file, w->header.data, w->header.length);
    px_buf_append(&file, w->data.data, w->data.length);
    tiny_save(folder, name, file.data, file.length);
    px_buf_done(&file);
    px_buf_done(&w->header);
    px_buf_done(&w->data);
}

/* GPT-2's alphabet, no merges: one token for each byte. */
static void tiny_tokenizer(const char *folder)
{
    px_buf json;
    px_buf_init(&json, 1 << 16);
    px_buf_puts(&json, "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,"
                       "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,"
                       "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":true,\"use_regex\":true},"
                       "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    uint32_t moved = 0;
    for (uint32_t b = 0; b < 256; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        px_buf_printf(&json, "%s\"\\u%04x\":%u", b ? "," : "", plain ? b : 256 + moved++, b);
    }
    px_buf_puts(&json, "}}}");
    tiny_save(folder, "tokenizer.json", json.data, json.length);
    px_buf_done(&json);
}

/* `folder` is a template for mkdtemp. */
static void tiny_model_write(char *folder)
{
    static const char config[] =
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":72,"
        "\"num_hidden_layers\":3,\"num_attention_heads\":9,\"num_key_value_heads\":3,"
        "\"intermediate_size\":96,\"vocab_size\":300,\"max_position_embeddings\":512,"
        "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\","
        "\"tie_word_embeddings\":false,\"bos_token_id\":null,\"eos_token_id\":299}";
    tiny_writer w = tiny_begin(0);
    PX_CHECK(mkdtemp(folder) != NULL);
    tiny_weights(&w);
    tiny_finish(&w, folder, "model.safetensors");
    tiny_save(folder, "config.json", config, strlen(config));
    tiny_tokenizer(folder);
}

static void tiny_remove(const char *folder, const char *const *names, int count)
{
    char path[256];
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void tiny_model_remove(const char *folder)
{
    static const char *const names[] = {"model.safetensors", "config.json", "tokenizer.json"};
    tiny_remove(folder, names, 3);
}

#endif
