/* fuzz_config.c - any bytes as the config.json beside a fixed safetensors file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "engine/model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/px_fuzz_config_XXXXXX";

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void remove_folder(void)
{
    unlink(path_of("config.json"));
    unlink(path_of("model.safetensors"));
    rmdir(folder);
}

/* One embedding of 8 x 4: enough to get past the vocabulary to everything else. */
static void make_folder(void)
{
    static const char header[] = "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[8,4]"
                                 ",\"data_offsets\":[0,128]}}";
    char bytes[512] = {0};
    uint64_t length = sizeof header - 1;
    if (!mkdtemp(folder)) abort();
    atexit(remove_folder);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, header, length);
    px_ignore(px_fs_write_atomic(
        path_of("model.safetensors"), bytes, sizeof length + length + 128, 0600));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready) make_folder();
    ready = true;
    FILE *config = fopen(path_of("config.json"), "wb");
    if (!config) abort();
    fwrite(data, 1, size, config);
    fclose(config);
    px_model_file *file = NULL;
    px_model_info info;
    px_plan_shape shape;
    if (px_is_ok(px_model_file_open(folder, &file))) {
        px_ignore(px_model_describe(file, &info, &shape));
        px_model_file_close(file);
    }
    return 0;
}
