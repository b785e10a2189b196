/* torch_file.c - from archives and pickles to named tensors; see torch_file.h. */
#include "engine/model/torch_file.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/pickle.h"
#include "engine/model/shards.h"
#include "engine/model/zip.h"

enum { PICKLE_BYTES_MAX = 32 << 20, ARENA_BYTES_MAX = 1 << 30, COPY_BYTES_SPARE = 64 << 20 };

typedef struct copy {
    void *data;
    size_t bytes;
} copy;

struct px_torch {
    px_shard_set shards;
    copy *copies; /* one place for each tensor of the shard being read, and those before */
    uint32_t copy_count;
    uint64_t copy_bytes;
};

/* --- one tensor --- */

/* Where a storage lies in the archive. */
static px_status find_storage(
    const px_zip *zip, px_slice root, const px_pickle_storage *storage, px_slice *out)
{
    static const char folder[] = "data/";
    char name[256];
    size_t tail = strlen(folder);
    int shown = storage->key.length < 60 ? (int)storage->key.length : 60;
    if (root.length + tail + storage->key.length > sizeof name)
        return px_fail(PX_INVALID_ARGUMENT, "the name of a storage is too long");
    memcpy(name, root.data, root.length);
    memcpy(name + root.length, folder, tail);
    memcpy(name + root.length + tail, storage->key.data, storage->key.length);
    px_slice wanted = {.data = name, .length = root.length + tail + storage->key.length};
    const px_zip_entry *entry = px_zip_find(zip, wanted);
    if (!entry)
        return px_fail(PX_DATA_LOSS, "the archive has no storage '%.*s'", shown, storage->key.data);
    *out = entry->content;
    return px_ok();
}

/* Elements, and one past the last element that is read, from the storage's beginning. */
static px_status measure(const px_pickle_tensor *t, uint64_t *out_elements, uint64_t *out_end)
{
    bool fits = true;
    *out_elements = 1;
    *out_end = t->offset;
    for (uint32_t i = 0; i < t->dims; i++) {
        uint64_t reach = 0;
        fits = fits && t->shape[i] <= UINT32_MAX &&
               !__builtin_mul_overflow(*out_elements, t->shape[i], out_elements);
        if (t->shape[i])
            fits = fits && !__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &reach) &&
                   !__builtin_add_overflow(*out_end, reach, out_end);
    }
    fits = fits && !__builtin_add_overflow(*out_end, 1, out_end);
    return fits ? px_ok() : px_fail(PX_INVALID_ARGUMENT, "its sizes are impossible");
}

static bool is_contiguous(const px_pickle_tensor *t)
{
    uint64_t step = 1;
    for (uint32_t i = t->dims; i-- > 0; step *= t->shape[i])
        if (t->shape[i] != 1 && t->stride[i] != step) return false;
    return true;
}

/* The elements in the order of the shape, one after the other. */
static void gather(const px_pickle_tensor *t, const char *from, size_t element_bytes, char *to)
{
    uint64_t at[PX_TENSOR_DIMS_MAX] = {0};
    for (;;) {
        uint64_t index = t->offset;
        for (uint32_t i = 0; i < t->dims; i++) index += at[i] * t->stride[i];
        memcpy(to, from + index * element_bytes, element_bytes);
        to += element_bytes;
        uint32_t dim = t->dims;
        while (dim > 0 && ++at[dim - 1] == t->shape[dim - 1]) at[--dim] = 0;
        if (dim == 0) return;
    }
}

static px_status copy_elements(
    px_torch *file, const px_pickle_tensor *t, px_slice storage, px_tensor *tensor)
{
    uint64_t most = COPY_BYTES_SPARE;
    for (uint32_t i = 0; i < file->shards.map_count; i++) most += file->shards.maps[i].bytes;
    if (tensor->bytes > most - file->copy_bytes)
        return px_fail(PX_INVALID_ARGUMENT, "it repeats its elements to more than the file holds");
    copy *to = &file->copies[file->copy_count];
    to->bytes = (size_t)tensor->bytes;
    PX_TRY(px_big_alloc(to->bytes, "a tensor that is put in order", &to->data));
    file->copy_count++;
    file->copy_bytes += tensor->bytes;
    gather(t, storage.data, px_dtype_of(t->dtype)->block_bytes, to->data);
    tensor->data = to->data;
    return px_ok();
}

static px_status make_tensor(
    px_torch *file, const px_zip *zip, px_slice root, const px_pickle_tensor *t, px_tensor *tensor)
{
    px_slice storage = {.length = 0};
    uint64_t elements, end, element_bytes = px_dtype_of(t->dtype)->block_bytes;
    PX_TRY(find_storage(zip, root, &t->storage, &storage));
    PX_TRY(measure(t, &elements, &end));
    if (end > storage.length / element_bytes)
        return px_fail(PX_DATA_LOSS, "it needs %llu elements of a storage of %llu",
            (unsigned long long)end, (unsigned long long)(storage.length / element_bytes));
    tensor->dtype = t->dtype;
    tensor->dims = t->dims ? t->dims : 1; /* a scalar counts as a vector of one */
    tensor->shape[0] = 1;
    memcpy(tensor->shape, t->shape, t->dims * sizeof *t->shape);
    tensor->bytes = elements * element_bytes;
    tensor->data = storage.data + t->offset * element_bytes;
    return is_contiguous(t) ? px_ok() : copy_elements(file, t, storage, tensor);
}

/* --- the state dict --- */

static bool is_text(const px_pickle_value *value, const char *text)
{
    return value->kind == PX_PICKLE_TEXT && value->text.length == strlen(text) &&
           memcmp(value->text.data, text, value->text.length) == 0;
}

static bool holds_tensors(const px_pickle_value *dict)
{
    for (uint32_t i = 0; dict->kind == PX_PICKLE_DICT && i < dict->count; i += 2)
        if (dict->items[i + 1]->kind == PX_PICKLE_TENSOR) return true;
    return false;
}

/* The dict with the weights: the root, or what a training loop put it under. */
static const px_pickle_value *find_state(const px_pickle_value *root)
{
    static const char *const names[] = {"state_dict", "model", "model_state_dict", "module"};
    for (int depth = 0; depth < 3 && !holds_tensors(root); depth++) {
        const px_pickle_value *inner = NULL;
        for (size_t n = 0; n < sizeof names / sizeof *names && !inner; n++)
            for (uint32_t i = 0; root->kind == PX_PICKLE_DICT && i < root->count; i += 2)
                if (is_text(root->items[i], names[n])) inner = root->items[i + 1];
        if (!inner) return NULL;
        root = inner;
    }
    return holds_tensors(root) ? root : NULL;
}

static bool is_empty(const px_pickle_tensor *t)
{
    for (uint32_t i = 0; i < t->dims; i++)
        if (!t->shape[i]) return true;
    return false;
}

static px_status add_tensor(
    px_torch *file, const px_zip *zip, px_slice root, px_slice name, const px_pickle_tensor *t)
{
    px_tensor *tensor;
    PX_TRY(px_shard_set_name(&file->shards, name, &tensor));
    PX_TRY(px_prefix(make_tensor(file, zip, root, t, tensor), "tensor '%.80s'", tensor->name));
    file->shards.tensor_count++;
    return px_ok();
}

/* Room in `copies` for each tensor that there will be. */
static void reserve_copies(px_torch *file, size_t more)
{
    copy *grown = px_alloc_array(file->copy_count + more + 1, sizeof *grown);
    if (file->copy_count) memcpy(grown, file->copies, file->copy_count * sizeof *grown);
    free(file->copies);
    file->copies = grown;
}

static px_status read_state(
    px_torch *file, const px_zip *zip, px_slice root, const px_pickle_value *value)
{
    const px_pickle_value *state = find_state(value);
    if (!state)
        return px_fail(PX_INVALID_ARGUMENT,
            "the pickle holds no state dict, alone or under 'state_dict' or 'model'");
    PX_TRY(px_shard_set_reserve(&file->shards, state->count / 2));
    reserve_copies(file, state->count / 2);
    for (uint32_t i = 0; i < state->count; i += 2) {
        const px_pickle_value *name = state->items[i], *tensor = state->items[i + 1];
        if (name->kind != PX_PICKLE_TEXT || tensor->kind != PX_PICKLE_TENSOR) continue;
        if (is_empty(tensor->tensor)) continue;
        PX_TRY(add_tensor(file, zip, root, name->text, tensor->tensor));
    }
    return px_ok();
}

/* --- files --- */

/* "NAME/" of the entry "NAME/data.pkl". */
static px_status find_root(const px_zip *zip, px_slice *out_root, px_slice *out_pickle)
{
    static const char pickle[] = "data.pkl";
    size_t tail = strlen(pickle);
    for (uint32_t i = 0; i < zip->count; i++) {
        px_slice name = zip->entries[i].name;
        if (name.length < tail || memcmp(name.data + name.length - tail, pickle, tail) != 0)
            continue;
        px_slice root = {.data = name.data, .length = name.length - tail};
        if (root.length && memchr(root.data, '/', root.length) != root.data + root.length - 1)
            continue;
        *out_root = root;
        *out_pickle = zip->entries[i].content;
        return px_ok();
    }
    return px_fail(PX_INVALID_ARGUMENT, "the archive has no data.pkl; torch.save did not write it");
}

static const px_zip_entry *entry_of(const px_zip *zip, px_slice root, const char *name)
{
    char full[256];
    size_t length = strlen(name);
    if (root.length + length > sizeof full) return NULL;
    memcpy(full, root.data, root.length);
    memcpy(full + root.length, name, length);
    return px_zip_find(zip, (px_slice){.data = full, .length = root.length + length});
}

static px_status read_archive(px_torch *file, const px_zip *zip)
{
    px_slice root, pickle;
    PX_TRY(find_root(zip, &root, &pickle));
    if (entry_of(zip, root, "constants.pkl"))
        return px_fail(
            PX_UNIMPLEMENTED, "it is a TorchScript program; save its state_dict instead");
    const px_zip_entry *order = entry_of(zip, root, "byteorder");
    if (order && (order->content.length != 6 || memcmp(order->content.data, "little", 6) != 0))
        return px_fail(PX_UNIMPLEMENTED, "its numbers are not little-endian");
    if (pickle.length > PICKLE_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "its pickle is larger than %d bytes", PICKLE_BYTES_MAX);
    px_arena arena;
    px_pickle_value *value = NULL;
    px_arena_init(&arena, ARENA_BYTES_MAX);
    px_status status = px_pickle_read(pickle, &arena, &value);
    if (px_is_ok(status)) status = read_state(file, zip, root, value);
    px_arena_done(&arena);
    return status;
}

/* A px_shard_reader. */
static px_status read_shard(void *arg, const px_map *map, const char *path)
{
    px_torch *file = arg;
    px_slice archive = {.data = (const char *)map->data, .length = map->bytes};
    if (map->bytes >= 2 && map->data[0] == 0x80 && map->data[1] <= 5)
        return px_fail(PX_UNIMPLEMENTED,
            "%s is in PyTorch's old format; write it anew with torch.save(torch.load(path, "
            "weights_only=True), path)",
            path);
    px_zip zip;
    PX_TRY(px_prefix(px_zip_open(archive, &zip), "%s", path));
    px_status status = px_prefix(read_archive(file, &zip), "%s", path);
    px_zip_close(&zip);
    return status;
}

/* Takes the shards. */
static px_status open_shards(px_shards *shards, const char *path, px_torch **out)
{
    px_torch *file = px_alloc(sizeof *file);
    px_status status = px_shard_set_open(shards, path, read_shard, file, &file->shards);
    if (!px_is_ok(status)) {
        px_torch_close(file);
        return status;
    }
    *out = file;
    return px_ok();
}

px_status px_torch_open(const char *folder, px_torch **out)
{
    static const char *const tails[] = {".bin", ".pt", ".pth", NULL};
    static const char *const others[] = {
        "training_args", "optimizer", "scheduler", "scaler", "rng_state", NULL};
    static const px_shard_names names = {.what = "PyTorch",
        .single = "pytorch_model.bin",
        .index = "pytorch_model.bin.index.json",
        .tails = tails,
        .others = others};
    px_shards shards;
    PX_TRY(px_shards_find(folder, &names, &shards));
    return open_shards(&shards, folder, out);
}

px_status px_torch_open_file(const char *path, px_torch **out)
{
    px_shards shards;
    px_shards_of_file(path, &shards);
    return open_shards(&shards, path, out);
}

void px_torch_close(px_torch *file)
{
    if (!file) return;
    for (uint32_t i = 0; i < file->copy_count; i++)
        px_big_free(file->copies[i].data, file->copies[i].bytes);
    free(file->copies);
    px_shard_set_done(&file->shards);
    free(file);
}

uint32_t px_torch_count(const px_torch *file)
{
    return file->shards.tensor_count;
}

const px_tensor *px_torch_at(const px_torch *file, uint32_t index)
{
    PX_ASSERT(index < file->shards.tensor_count);
    return &file->shards.tensors[index];
}

bool px_torch_is_mapped(const px_torch *file, const void *data)
{
    for (uint32_t i = 0; i < file->shards.map_count; i++) {
        const px_map *map = &file->shards.maps[i];
        const unsigned char *begin = map->data, *at = data;
        if (at >= begin && at < begin + map->bytes) return true;
    }
    return false;
}
