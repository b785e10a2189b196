/* fuzz_torch.c - any bytes as a PyTorch file, and as the pickle within one. */
#include "engine/model/pickle.h"
#include "engine/model/torch_file.h"
#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Checksums and offsets keep a fuzzer from a pickle inside its archive. */
static void read_as_pickle(const uint8_t *data, size_t size)
{
    px_arena arena;
    px_pickle_value *value = NULL;
    px_arena_init(&arena, 64 << 20);
    px_ignore(
        px_pickle_read((px_slice){.data = (const char *)data, .length = size}, &arena, &value));
    px_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory_file bytes = memory_file_make(data, size);
    px_torch *file = NULL;
    if (px_is_ok(px_torch_open_file(bytes.path, &file))) {
        for (uint32_t i = 0; i < px_torch_count(file); i++) {
            const px_tensor *tensor = px_torch_at(file, i);
            const volatile unsigned char *content = tensor->data;
            if (tensor->bytes) (void)content[tensor->bytes - 1];
        }
        px_torch_close(file);
    }
    memory_file_close(&bytes);
    read_as_pickle(data, size);
    return 0;
}
