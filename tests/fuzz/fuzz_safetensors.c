/* fuzz_safetensors.c - any bytes as a safetensors file. */
#include "engine/model/safetensors.h"
#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory_file bytes = memory_file_make(data, size);
    px_safetensors *file = NULL;
    if (px_is_ok(px_safetensors_open_file(bytes.path, &file))) {
        for (uint32_t i = 0; i < px_safetensors_count(file); i++) {
            const px_tensor *tensor = px_safetensors_at(file, i);
            const volatile unsigned char *content = tensor->data;
            if (tensor->bytes) (void)content[tensor->bytes - 1];
        }
        px_safetensors_close(file);
    }
    memory_file_close(&bytes);
    return 0;
}
