/* safetensors.c - headers, shards and their index.
 *
 *   u64 header length (little-endian), JSON header, data
 *   header: {"name": {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [begin, end]}, ...,
 *            "__metadata__": {...}}            offsets count from the end of the header
 */
#include "engine/model/safetensors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"

enum {
    HEADER_BYTES_MAX = 100 << 20, /* the bound of the reference implementation */
    INDEX_BYTES_MAX = 64 << 20,
    SHARDS_MAX = 4096,
    TENSORS_MAX = 1 << 20,
    NAMES_BYTES_MAX = 256 << 20,
    PATH_BYTES_MAX = 4096,
};

struct px_safetensors {
    px_map *maps; /* one for each shard */
    uint32_t shard_count;
    px_tensor *tensors;
    uint32_t tensor_count, tensor_capacity;
    px_arena names;
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

static px_status reserve(px_safetensors *file, size_t more)
{
    if (more > TENSORS_MAX - file->tensor_count)
        return px_fail(PX_INVALID_ARGUMENT, "more than %d tensors", TENSORS_MAX);
    size_t wanted = file->tensor_count + more;
    if (wanted <= file->tensor_capacity) return px_ok();
    size_t capacity = wanted * 2;
    px_tensor *grown = px_alloc_array(capacity, sizeof *grown);
    if (file->tensor_count) memcpy(grown, file->tensors, file->tensor_count * sizeof *grown);
    free(file->tensors);
    file->tensors = grown;
    file->tensor_capacity = (uint32_t)capacity;
    return px_ok();
}

static px_status read_header(px_safetensors *file, const json_t *header, px_slice data)
{
    if (!json_is_object(header)) return px_fail(PX_INVALID_ARGUMENT, "the header is not an object");
    PX_TRY(reserve(file, json_object_size(header)));
    uint32_t first = file->tensor_count;
    if (!json_object_size(header)) return px_ok();
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        px_tensor *tensor = &file->tensors[file->tensor_count];
        tensor->name = px_arena_copy(&file->names, name, strlen(name));
        if (!tensor->name)
            return px_fail(PX_RESOURCE_EXHAUSTED, "the tensor names take too much memory");
        PX_TRY(parse_tensor(entry, data, tensor));
        file->tensor_count++;
    }
    return check_no_overlap(file->tensors + first, file->tensor_count - first);
}

static px_status read_shard(px_safetensors *file, const char *path)
{
    px_map *map = &file->maps[file->shard_count];
    PX_TRY(px_map_open(path, map));
    file->shard_count++;
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
    px_status status = read_header(file, header, data);
    json_decref(header);
    return px_prefix(status, "%s", path);
}

/* --- finding the files --- */

static px_status join(const char *folder, const char *name, char out[PATH_BYTES_MAX])
{
    if (snprintf(out, PATH_BYTES_MAX, "%s/%s", folder, name) >= PATH_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: the path is too long", folder);
    return px_ok();
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts `names` and drops repetitions; returns how many are left. */
static size_t unique(const char **names, size_t count)
{
    qsort(names, count, sizeof *names, compare_names);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!kept || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    return kept;
}

static px_status read_named_shards(
    px_safetensors *file, const char *folder, const char *const *shards, size_t count)
{
    if (count > SHARDS_MAX) return px_fail(PX_INVALID_ARGUMENT, "more than %d shards", SHARDS_MAX);
    free(file->maps);
    file->maps = px_alloc_array(count + 1, sizeof *file->maps);
    for (size_t i = 0; i < count; i++) {
        if (!*shards[i] || shards[i][0] == '.' || strchr(shards[i], '/'))
            return px_fail(PX_INVALID_ARGUMENT, "shard '%s' must be a plain file name", shards[i]);
        char path[PATH_BYTES_MAX];
        PX_TRY(join(folder, shards[i], path));
        if (!px_fs_is_file(path))
            return px_fail(PX_INVALID_ARGUMENT, "shard '%s' is missing", shards[i]);
        PX_TRY(read_shard(file, path));
    }
    return px_ok();
}

/* Every tensor that the index promises must be there. Not NOT_FOUND: that means a folder without
 * safetensors, where a GGUF file is looked for next. */
static px_status check_index(const px_safetensors *file, const json_t *map)
{
    const char **names = px_alloc_array(file->tensor_count + 1, sizeof *names);
    for (uint32_t i = 0; i < file->tensor_count; i++) names[i] = file->tensors[i].name;
    qsort(names, file->tensor_count, sizeof *names, compare_names);
    px_status status = px_ok();
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard)
    {
        if (bsearch(&name, names, file->tensor_count, sizeof *names, compare_names)) continue;
        status = px_fail(PX_INVALID_ARGUMENT, "tensor '%s' is not in shard '%s'", name,
            json_string_value(shard));
        break;
    }
    free(names);
    return status;
}

static px_status read_index(px_safetensors *file, const char *folder, const json_t *index)
{
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || !json_object_size(map))
        return px_fail(PX_INVALID_ARGUMENT, "'weight_map' must be an object of tensor to file");
    const char **shards = px_alloc_array(json_object_size(map), sizeof *shards);
    size_t count = 0;
    px_status status = px_ok();
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)map, name, shard)
    {
        if (!json_is_string(shard)) {
            status = px_fail(PX_INVALID_ARGUMENT, "the shard of '%s' is not a file name", name);
            goto out;
        }
        shards[count++] = json_string_value(shard);
    }
    count = unique(shards, count);
    PX_TRY_GOTO(read_named_shards(file, folder, shards, count), out);
    status = check_index(file, map);
out:
    free(shards);
    return status;
}

/* The folder's only *.safetensors file, whatever its name. */
static px_status find_single(const char *folder, char out[PATH_BYTES_MAX])
{
    DIR *dir = opendir(folder);
    if (!dir) return px_fail(PX_NOT_FOUND, "%s: no such folder", folder);
    char found[256] = "";
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (entry->d_name[0] == '.' || !dot || strcmp(dot, ".safetensors") != 0) continue;
        snprintf(found, sizeof found, "%s", entry->d_name);
        count++;
    }
    closedir(dir);
    if (!count) return px_fail(PX_NOT_FOUND, "%s holds no safetensors file", folder);
    if (count > 1)
        return px_fail(PX_INVALID_ARGUMENT,
            "%s holds %d safetensors files but no model.safetensors.index.json", folder, count);
    return join(folder, found, out);
}

static px_status open_folder(px_safetensors *file, const char *folder)
{
    char path[PATH_BYTES_MAX];
    PX_TRY(join(folder, "model.safetensors", path));
    if (px_fs_is_file(path)) return read_shard(file, path);
    PX_TRY(join(folder, "model.safetensors.index.json", path));
    if (!px_fs_is_file(path)) {
        PX_TRY(find_single(folder, path));
        return read_shard(file, path);
    }
    json_t *index = NULL;
    PX_TRY(px_json_load(path, INDEX_BYTES_MAX, &index));
    px_status status = px_prefix(read_index(file, folder, index), "%s", path);
    json_decref(index);
    return status;
}

static px_status check_names_differ(const px_safetensors *file)
{
    const char **names = px_alloc_array(file->tensor_count + 1, sizeof *names);
    for (uint32_t i = 0; i < file->tensor_count; i++) names[i] = file->tensors[i].name;
    bool differ = unique(names, file->tensor_count) == file->tensor_count;
    free(names);
    return differ ? px_ok()
                  : px_fail(PX_INVALID_ARGUMENT, "a tensor occurs in more than one shard");
}

static px_status open_with(
    px_status (*read)(px_safetensors *, const char *), const char *path, px_safetensors **out)
{
    px_safetensors *file = px_alloc(sizeof *file);
    file->maps = px_alloc_array(1, sizeof *file->maps);
    px_arena_init(&file->names, NAMES_BYTES_MAX);
    px_status status = read(file, path);
    if (px_is_ok(status)) status = px_prefix(check_names_differ(file), "%s", path);
    if (!px_is_ok(status)) {
        px_safetensors_close(file);
        return status;
    }
    *out = file;
    return px_ok();
}

px_status px_safetensors_open(const char *folder, px_safetensors **out)
{
    return open_with(open_folder, folder, out);
}

px_status px_safetensors_open_file(const char *path, px_safetensors **out)
{
    return open_with(read_shard, path, out);
}

void px_safetensors_close(px_safetensors *file)
{
    if (!file) return;
    for (uint32_t i = 0; i < file->shard_count; i++) px_map_close(&file->maps[i]);
    free(file->maps);
    free(file->tensors);
    px_arena_done(&file->names);
    free(file);
}

uint32_t px_safetensors_count(const px_safetensors *file)
{
    return file->tensor_count;
}

const px_tensor *px_safetensors_at(const px_safetensors *file, uint32_t index)
{
    PX_ASSERT(index < file->tensor_count);
    return &file->tensors[index];
}
