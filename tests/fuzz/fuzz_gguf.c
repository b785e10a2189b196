/* fuzz_gguf.c - any bytes as a GGUF model: opened, described, its tensors touched. */
#include "engine/model/model.h"
#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch_tensors(const px_model_file *file)
{
    for (uint32_t i = 0; i < px_model_file_tensor_count(file); i++) {
        const px_tensor *tensor = px_model_file_tensor_at(file, i);
        const volatile unsigned char *bytes = tensor->data;
        (void)bytes[0];
        (void)bytes[tensor->bytes - 1];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory_file bytes = memory_file_make(data, size);
    px_model_file *file = NULL;
    px_model_info info;
    px_plan_shape shape;
    if (px_is_ok(px_model_file_open(bytes.path, &file))) {
        touch_tensors(file);
        px_ignore(px_model_describe(file, &info, &shape));
        px_model_file_close(file);
    }
    memory_file_close(&bytes);
    return 0;
}
