/* tiny_adapter.h - writes random LoRA adapters of the tiny model, as PEFT would.
 */
#ifndef PX_TEST_TINY_ADAPTER_H
#define PX_TEST_TINY_ADAPTER_H

#include "tiny_model.h"

typedef struct tiny_adapter {
    uint64_t seed;
    uint32_t rank;
    const char *config; /* NULL: one that fits */
} tiny_adapter;

typedef struct tiny_shape {
    uint32_t rank, rows, cols;
} tiny_shape;

static void tiny_pair(tiny_writer *w, int layer, const char *module, tiny_shape shape)
{
    static const char head[] = "base_model.model.model.layers.";
    tiny_tensor(w, shape.rank, shape.cols, "%s%d.%s.lora_A.weight", head, layer, module);
    tiny_tensor(w, shape.rows, shape.rank, "%s%d.%s.lora_B.weight", head, layer, module);
}

/* `folder` is a template for mkdtemp. Every matrix but one layer's is adapted. */
static void tiny_adapter_write(char *folder, tiny_adapter options)
{
    uint32_t q = TINY_HEADS * TINY_HEAD_DIM, kv = TINY_KV_HEADS * TINY_HEAD_DIM;
    uint32_t rank = options.rank;
    char fitting[200];
    const char *config = options.config;
    tiny_writer w = tiny_begin(options.seed);
    PX_CHECK(mkdtemp(folder) != NULL);
    for (int i = 0; i < TINY_LAYERS; i++) {
        if (i == (int)(options.seed % TINY_LAYERS)) continue;
        tiny_pair(&w, i, "self_attn.q_proj", (tiny_shape){rank, q, TINY_HIDDEN});
        tiny_pair(&w, i, "self_attn.k_proj", (tiny_shape){rank, kv, TINY_HIDDEN});
        tiny_pair(&w, i, "self_attn.v_proj", (tiny_shape){rank, kv, TINY_HIDDEN});
        tiny_pair(&w, i, "self_attn.o_proj", (tiny_shape){rank, TINY_HIDDEN, q});
        tiny_pair(&w, i, "mlp.gate_proj", (tiny_shape){rank, TINY_FFN, TINY_HIDDEN});
        tiny_pair(&w, i, "mlp.up_proj", (tiny_shape){rank, TINY_FFN, TINY_HIDDEN});
        tiny_pair(&w, i, "mlp.down_proj", (tiny_shape){rank, TINY_HIDDEN, TINY_FFN});
    }
    tiny_finish(&w, folder, "adapter_model.safetensors");
    snprintf(fitting, sizeof fitting,
        "{\"peft_type\":\"LORA\",\"r\":%u,\"lora_alpha\":%u,\"target_modules\":\"all-linear\"}",
        rank, rank);
    if (!config) config = fitting;
    tiny_save(folder, "adapter_config.json", config, strlen(config));
}

static void tiny_adapter_remove(const char *folder)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_config.json"};
    tiny_remove(folder, names, 2);
}

#endif
