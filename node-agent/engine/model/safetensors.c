/* safetensors.c - headers and what they describe.
 *
 *   u64 header length (little-endian), JSON header, data
 *   header: {"name": {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [begin, end]}, ...,
 *            "__metadata__": {...}}            offsets count from the end of the header
 */
#include "engine/model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/model/shards.h"

enum { HEADER_BYTES_MAX = 100 << 20 }; /* the bound of the reference implementation */

struct px_safetensors {
    px_shard_set shards;
};

static px_status parse_dtype(const char *name, const char *text, px_dtype *out)
{
    static const struct {
        const char *text;
        px_dtype dtype;
    } known[] = {{"F32", PX_F32}, {"F16", PX_F16}, {"BF16", PX_BF16}, {"F8_E4M3", PX_F8_E4M3},
        {"F8_E5M2", PX_F8_E5M2}, {"F8_E8M0", PX_F8_E8M0}, {"F64", PX_F64}, {"I64", PX_I64},
        {"I32", PX_I32}, {"I16", PX_I16}, {"I8", PX_I8}, {"U8", PX_U8}, {"BOOL", PX_U8}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].text, text) != 0) continue;
        *out = known[i].dtype;
        return px_ok();
    }
    return px_fail(PX_UNIMPLEMENTED, "tensor '%s' has type %s, which is not supported", name, text);
}

static px_status parse_shape(const json_t *shape, px_tensor *tensor, uint64_t *out_elements)
{
    size_t dims = json_array_size(shape);
    if (!json_is_array(shape) || dims > PX_TENSOR_DIMS_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s': 'shape' must be a list of at most %d sizes", tensor->name,
            PX_TENSOR_DIMS_MAX);
    *out_elements = 1;
    for (size_t i = 0; i < dims; i++) {
        const json_t *size = json_array_get(shape, i);
        json_int_t value = json_integer_value(size);
        if (!json_is_integer(size) || value < 1 || value > UINT32_MAX ||
            __builtin_mul_overflow(*out_elements, (uint64_t)value, out_elements))
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has an impossible size", tensor->name);
        tensor->shape[i] = (uint64_t)value;
    }
    if (!dims) tensor->shape[0] = 1; /* a scalar counts as a vector of one */
    tensor->dims = dims ? (uint32_t)dims : 1;
    return px_ok();
}

static px_status parse_tensor(const json_t *entry, px_slice data, px_tensor *tensor)
{
    const char *dtype = NULL;
    if (!json_is_object(entry))
        return px_fail(
            PX_INVALID_ARGUMENT, "tensor '%s' is not described by an object", tensor->name);
    PX_TRY(px_json_get_str(entry, "dtype", tensor->name, &dtype));
    if (!dtype) return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has no 'dtype'", tensor->name);
    PX_TRY(parse_dtype(tensor->name, dtype, &tensor->dtype));
    uint64_t elements = 0;
    PX_TRY(parse_shape(json_object_get(entry, "shape"), tensor, &elements));

    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return px_fail(
            PX_INVALID_ARGUMENT, "tensor '%s': 'data_offsets' must be two numbers", tensor->name);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin)
        return px_fail(PX_INVALID_ARGUMENT, "tensor '%s' has impossible offsets", tensor->name);
    if ((uint64_t)end > data.length)
        return px_fail(PX_DATA_LOSS,
            "tensor '%s' ends beyond the end of the file; the file is cut short", tensor->name);
    tensor->bytes = (uint64_t)(end - begin);
    uint64_t element_bytes = px_dtype_of(tensor->dtype)->block_bytes;
    if (tensor->bytes % element_bytes || tensor->bytes / element_bytes != elements)
        return px_fail(PX_INVALID_ARGUMENT,
            "tensor '%s' takes %llu bytes, which is not what its shape needs", tensor->name,
            (unsigned long long)tensor->bytes);
    tensor->data = data.data + begin;
    return px_ok();
}

static int compare_places(const void *a, const void *b)
{
    const px_tensor *x = *(const px_tensor *const *)a, *y = *(const px_tensor *const *)b;
    return (x->data > y->data) - (x->data < y->data);
}

static px_status check_no_overlap(const px_tensor *tensors, size_t count)
{
    const px_tensor **order = px_alloc_array(count + 1, sizeof *order);
    for (size_t i = 0; i < count; i++) order[i] = &tensors[i];
    qsort(order, count, sizeof *order, compare_places);
    px_status status = px_ok();
    for (size_t i = 1; i < count && px_is_ok(status); i++)
        if ((const char *)order[i]->data < (const char *)order[i - 1]->data + order[i - 1]->bytes)
            status = px_fail(PX_INVALID_ARGUMENT, "tensors '%s' and '%s' overlap",
                order[i - 1]->name, order[i]->name);
    free(order);
    return status;
}

static px_status read_header(px_shard_set *shards, const json_t *header, px_slice data)
{
    if (!json_is_object(header)) return px_fail(PX_INVALID_ARGUMENT, "the header is not an object");
    if (!json_object_size(header)) return px_ok();
    PX_TRY(px_shard_set_reserve(shards, json_object_size(header)));
    uint32_t first = shards->tensor_count;
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        px_tensor *tensor;
        PX_TRY(
            px_shard_set_name(shards, (px_slice){.data = name, .length = strlen(name)}, &tensor));
        PX_TRY(parse_tensor(entry, data, tensor));
        shards->tensor_count++;
    }
    return check_no_overlap(shards->tensors + first, shards->tensor_count - first);
}

/* A px_shard_reader. */
static px_status read_shard(void *arg, const px_map *map, const char *path)
{
    px_safetensors *file = arg;
    uint64_t length;
    if (map->bytes < sizeof length)
        return px_fail(PX_DATA_LOSS, "%s: the file is cut short in its header", path);
    memcpy(&length, map->data, sizeof length);
    if (length > map->bytes - sizeof length)
        return px_fail(PX_DATA_LOSS, "%s: the header claims %llu bytes, more than the file holds",
            path, (unsigned long long)length);
    if (length > HEADER_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: the header of %llu bytes is larger than %d", path,
            (unsigned long long)length, HEADER_BYTES_MAX);
    const char *text = (const char *)map->data + sizeof length;
    json_t *header = NULL;
    PX_TRY(px_json_parse(text, (size_t)length, path, &header));
    px_slice data = {.data = text + length, .length = map->bytes - sizeof length - length};
    px_status status = read_header(&file->shards, header, data);
    json_decref(header);
    return px_prefix(status, "%s", path);
}

/* --- the model --- */

/* Takes the shards. */
static px_status open_shards(px_shards *shards, const char *path, px_safetensors **out)
{
    px_safetensors *file = px_alloc(sizeof *file);
    px_status status = px_shard_set_open(shards, path, read_shard, file, &file->shards);
    if (!px_is_ok(status)) {
        px_safetensors_close(file);
        return status;
    }
    *out = file;
    return px_ok();
}

px_status px_safetensors_open(const char *folder, px_safetensors **out)
{
    static const char *const tails[] = {".safetensors", NULL};
    static const px_shard_names names = {.what = "safetensors",
        .single = "model.safetensors",
        .index = "model.safetensors.index.json",
        .tails = tails};
    px_shards shards;
    PX_TRY(px_shards_find(folder, &names, &shards));
    return open_shards(&shards, folder, out);
}

px_status px_safetensors_open_file(const char *path, px_safetensors **out)
{
    px_shards shards;
    px_shards_of_file(path, &shards);
    return open_shards(&shards, path, out);
}

void px_safetensors_close(px_safetensors *file)
{
    if (!file) return;
    px_shard_set_done(&file->shards);
    free(file);
}

uint32_t px_safetensors_count(const px_safetensors *file)
{
    return file->shards.tensor_count;
}

const px_tensor *px_safetensors_at(const px_safetensors *file, uint32_t index)
{
    PX_ASSERT(index < file->shards.tensor_count);
    return &file->shards.tensors[index];
}
