/* fuzz_coded.c - any bytes as weights of codes and scales: a quantization_config, a NUL, and a
 * safetensors file. What is found to fit together is put together, to its last byte.
 */
#include <string.h>

#include "engine/model/coded.h"
#include "kernels/dtype.h"
#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const px_coded_place places[] = {
    {.rows = 32, .cols = 32, .row_step = 1, .total_rows = 32},
    {.rows = 8, .cols = 32, .first_row = 5, .row_step = 3, .total_rows = 32},
    {.rows = 32, .cols = 64, .row_step = 1, .total_rows = 32},
    {.rows = 16, .cols = 32, .row_step = 1, .total_rows = 16, .expert = 1, .experts = 2},
    {.rows = 7, .cols = 33, .row_step = 1, .total_rows = 7},
};

/* A model file is known by its name, so this one has a name of this process. */
static px_status open_bytes(const uint8_t *data, size_t size, px_model_file **out)
{
    char link[96];
    memory_file bytes = memory_file_make(data, size);
    snprintf(link, sizeof link, "/tmp/px_fuzz_coded.%d.safetensors", (int)getpid());
    unlink(link);
    if (symlink(bytes.path, link) != 0) abort();
    px_status status = px_model_file_open(link, out);
    unlink(link);
    memory_file_close(&bytes);
    return status;
}

static void assemble(const px_coded *coded, px_dtype dtype, px_coded_part part)
{
    size_t bytes = px_dtype_bytes(dtype, (size_t)part.rows * part.cols);
    unsigned char *to = malloc(bytes);
    if (to) px_coded_assemble(coded, dtype, part, to);
    free(to);
}

/* The same with its columns in the order that fills blocks. */
static void assemble_ordered(const px_coded *coded, uint32_t rows)
{
    px_coded ordered = *coded;
    uint32_t *order = malloc(coded->ordered_cols * sizeof *order);
    if (!order) return;
    px_coded_order(coded, order);
    ordered.order = order;
    assemble(
        &ordered, coded->ordered_dtype, (px_coded_part){.rows = rows, .cols = coded->ordered_cols});
    free(order);
}

static void try_weight(
    const px_model_file *file, const px_coded_settings *settings, const char *name)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const px_tensor *tensor = px_coded_tensor(file, name);
        px_coded coded;
        px_dtype dtype;
        if (!tensor ||
            !px_is_ok(px_coded_find(file, settings, tensor, &places[i], &coded, &dtype)) ||
            coded.coding == PX_CODING_NONE)
            continue;
        assemble(&coded, dtype, (px_coded_part){.rows = places[i].rows, .cols = places[i].cols});
        if (coded.ordered_cols) assemble_ordered(&coded, places[i].rows);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    if (!end) return 0;
    json_t *config = json_loadb((const char *)data, (size_t)(end - data), 0, NULL);
    px_coded_settings settings;
    px_model_file *file = NULL;
    bool known = px_is_ok(px_coded_settings_read(config, &settings));
    json_decref(config);
    if (!known || !px_is_ok(open_bytes(end + 1, size - (size_t)(end + 1 - data), &file))) return 0;
    try_weight(file, &settings, "l.weight");
    px_model_file_close(file);
    return 0;
}
