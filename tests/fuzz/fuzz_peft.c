/* fuzz_peft.c - any bytes as a folder of PEFT's: adapter_config.json, and behind the first zero
 * byte adapter_model.safetensors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/adapter/peft_config.h"
#include "engine/adapter/peft_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/px_fuzz_peft_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void remove_folder(void)
{
    unlink(path_of("adapter_config.json"));
    unlink(path_of("adapter_model.safetensors"));
    rmdir(folder);
}

static void make_folder(void)
{
    if (!mkdtemp(folder)) abort();
    atexit(remove_folder);
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path_of(name), "wb");
    if (!file) abort();
    fwrite(data, 1, size, file);
    fclose(file);
}

static void read_config(void)
{
    static const char *const modules[] = {
        "model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head"};
    px_peft_config *config = NULL;
    px_peft_module module;
    if (!px_is_ok(px_peft_config_read(folder, &config))) return;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (px_is_ok(px_peft_config_module(config, modules[i], &module)) &&
            (module.rank < 1 || module.rank > PX_ADAPTER_RANK_MAX))
            abort();
    px_peft_config_free(config);
}

static void read_weights(void)
{
    px_peft_file *file = NULL;
    if (!px_is_ok(px_peft_file_open(folder, &file))) return;
    for (uint32_t i = 0; i < px_peft_file_count(file); i++) {
        px_peft_pair *pair = px_peft_file_at(file, i);
        if (pair->a->shape[0] != pair->b->shape[1]) abort();
        if (px_peft_file_find(file, pair->module) != pair) abort();
    }
    px_peft_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t length = end ? (size_t)(end - data) : size;
    if (!ready) make_folder();
    ready = true;
    write_file("adapter_config.json", data, length);
    write_file(
        "adapter_model.safetensors", data + length + (end != NULL), size - length - (end != NULL));
    read_config();
    read_weights();
    return 0;
}
