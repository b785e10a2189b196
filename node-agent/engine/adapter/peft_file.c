/* peft_file.c - see peft_file.h. */
#include "engine/adapter/peft_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"

enum { TENSORS_MAX = 1 << 16, PATH_BYTES_MAX = 4096, NAMES_BYTES_MAX = 32 << 20 };

struct px_peft_file {
    px_safetensors *tensors;
    px_peft_pair *pairs; /* [count], ordered by module */
    uint32_t count;
    px_arena names;
};

/* --- names --- */

typedef struct parsed_name {
    const char *module; /* in the tensor's name */
    size_t length;
    bool is_b;
} parsed_name;

static const char *skip(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : text;
}

static px_status parse_name(const char *name, parsed_name *out)
{
    static const char *const marks[] = {".lora_A.", ".lora_B."};
    *out = (parsed_name){.module = skip(skip(name, "base_model."), "model.")};
    for (int b = 0; b < 2; b++) {
        const char *at = strstr(out->module, marks[b]);
        if (!at) continue;
        const char *rest = at + strlen(marks[b]), *dot = strchr(rest, '.');
        if (dot) rest = dot + 1; /* the adapter's name */
        out->length = (size_t)(at - out->module);
        out->is_b = b;
        if (strcmp(rest, "weight") == 0 && out->length) return px_ok();
    }
    if (strstr(name, "lora_embedding_"))
        return px_fail(PX_UNIMPLEMENTED,
            "tensor '%.120s': adapters of the token embedding are not supported", name);
    return px_fail(PX_INVALID_ARGUMENT,
        "tensor '%.120s' is not called as PEFT calls those of LoRA (\"...lora_A.weight\")", name);
}

/* --- pairs --- */

static int compare_pairs(const void *left, const void *right)
{
    const px_peft_pair *a = left, *b = right;
    return strcmp(a->module, b->module);
}

/* One half of a pair for each tensor. */
static px_status list_halves(px_peft_file *file)
{
    uint32_t count = px_safetensors_count(file->tensors);
    if (!count || count > TENSORS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "it has %u tensors, not 1 to %d", count, TENSORS_MAX);
    file->pairs = px_alloc_array(count, sizeof *file->pairs);
    for (uint32_t i = 0; i < count; i++) {
        const px_tensor *tensor = px_safetensors_at(file->tensors, i);
        parsed_name name;
        PX_TRY(parse_name(tensor->name, &name));
        px_peft_pair *half = &file->pairs[file->count++];
        half->module = px_arena_copy(&file->names, name.module, name.length);
        if (!half->module)
            return px_fail(PX_RESOURCE_EXHAUSTED, "the tensor names take too much memory");
        *(name.is_b ? &half->b : &half->a) = tensor;
    }
    qsort(file->pairs, file->count, sizeof *file->pairs, compare_pairs);
    return px_ok();
}

/* Neighbours of one name become a pair. */
static px_status join_halves(px_peft_file *file)
{
    uint32_t pairs = 0;
    for (uint32_t i = 0; i < file->count; i++) {
        const px_peft_pair *half = &file->pairs[i];
        px_peft_pair *last = pairs ? &file->pairs[pairs - 1] : NULL;
        if (!last || strcmp(last->module, half->module) != 0) {
            file->pairs[pairs++] = *half;
            continue;
        }
        if ((last->a && half->a) || (last->b && half->b))
            return px_fail(PX_INVALID_ARGUMENT, "'%.120s' is there twice", half->module);
        if (half->a) last->a = half->a;
        if (half->b) last->b = half->b;
    }
    file->count = pairs;
    return px_ok();
}

static px_status check_pair(const px_peft_pair *pair)
{
    const px_tensor *parts[] = {pair->a, pair->b};
    if (!pair->a || !pair->b)
        return px_fail(PX_INVALID_ARGUMENT, "'%.120s' has lora_%c but no lora_%c", pair->module,
            pair->a ? 'A' : 'B', pair->a ? 'B' : 'A');
    for (int i = 0; i < 2; i++) {
        px_dtype type = parts[i]->dtype;
        if (type != PX_F32 && type != PX_F16 && type != PX_BF16)
            return px_fail(PX_UNIMPLEMENTED, "tensor '%.120s' is of type %s, not F32, F16 or BF16",
                parts[i]->name, px_dtype_of(type)->name);
        if (parts[i]->dims != 2)
            return px_fail(PX_INVALID_ARGUMENT, "tensor '%.120s' is no matrix", parts[i]->name);
    }
    if (pair->a->shape[0] != pair->b->shape[1])
        return px_fail(PX_INVALID_ARGUMENT, "'%.120s': lora_A has %llu rows, lora_B %llu columns",
            pair->module, (unsigned long long)pair->a->shape[0],
            (unsigned long long)pair->b->shape[1]);
    return px_ok();
}

/* --- life --- */

static px_status open(const char *folder, px_peft_file *file)
{
    static const char name[] = "adapter_model.safetensors";
    char path[PATH_BYTES_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return px_fail(PX_INVALID_ARGUMENT, "the path is longer than %d bytes", PATH_BYTES_MAX);
    if (!px_fs_is_file(path))
        return px_fail(PX_NOT_FOUND, "there is no %s: save the adapter as safetensors", name);
    PX_TRY(px_safetensors_open_file(path, &file->tensors));
    PX_TRY(px_prefix(list_halves(file), "%s", name));
    PX_TRY(px_prefix(join_halves(file), "%s", name));
    for (uint32_t i = 0; i < file->count; i++)
        PX_TRY(px_prefix(check_pair(&file->pairs[i]), "%s", name));
    return px_ok();
}

px_status px_peft_file_open(const char *folder, px_peft_file **out)
{
    px_peft_file *file = px_alloc(sizeof *file);
    px_arena_init(&file->names, NAMES_BYTES_MAX);
    px_status status = open(folder, file);
    if (!px_is_ok(status)) {
        px_peft_file_close(file);
        return status;
    }
    *out = file;
    return status;
}

void px_peft_file_close(px_peft_file *file)
{
    if (!file) return;
    px_safetensors_close(file->tensors);
    px_arena_done(&file->names);
    free(file->pairs);
    free(file);
}

uint32_t px_peft_file_count(const px_peft_file *file)
{
    return file->count;
}

px_peft_pair *px_peft_file_at(px_peft_file *file, uint32_t index)
{
    PX_ASSERT(index < file->count);
    return &file->pairs[index];
}

px_peft_pair *px_peft_file_find(px_peft_file *file, const char *module)
{
    px_peft_pair wanted = {.module = module};
    return file->count ? bsearch(&wanted, file->pairs, file->count, sizeof wanted, compare_pairs)
                       : NULL;
}
