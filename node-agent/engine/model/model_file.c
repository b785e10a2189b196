/* model_file.c - recognises what a path holds and offers its tensors by name. */
#include "engine/model/model_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "engine/model/gguf_split.h"
#include "engine/model/safetensors.h"
#include "engine/model/torch_file.h"

enum { CONFIG_BYTES_MAX = 4 << 20, PATH_BYTES_MAX = 4096, NAME_BYTES_MAX = 256 };

struct px_model_file {
    char *path;
    px_gguf *gguf; /* one of these three */
    px_safetensors *safetensors;
    px_torch *torch;
    json_t *config, *generation_config;
    const px_tensor **by_name; /* sorted */
    uint32_t tensor_count;
    uint64_t bytes;
};

static bool ends_with(const char *text, const char *tail)
{
    size_t length = strlen(text), tail_length = strlen(tail);
    return length >= tail_length && strcmp(text + length - tail_length, tail) == 0;
}

static px_status join(const char *folder, const char *name, char out[PATH_BYTES_MAX])
{
    if (snprintf(out, PATH_BYTES_MAX, "%s/%s", folder, name) >= PATH_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: the path is too long", folder);
    return px_ok();
}

/* A folder's GGUF models: how many, and a file of one; of a split model any part, from which the
 * others are found. Files named mmproj are the image half of the model beside them. */
static int list_gguf(DIR *dir, char out_name[NAME_BYTES_MAX])
{
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (name[0] == '.' || !ends_with(name, ".gguf")) continue;
        if (strncmp(name, "mmproj", strlen("mmproj")) == 0) continue;
        if (count && px_gguf_same_split(out_name, name)) continue;
        if (!count++) snprintf(out_name, NAME_BYTES_MAX, "%s", name);
    }
    return count;
}

static bool holds_model(const char *folder)
{
    char path[PATH_BYTES_MAX], name[NAME_BYTES_MAX];
    DIR *dir = opendir(folder);
    int count = dir ? list_gguf(dir, name) : 0;
    if (dir) closedir(dir);
    return count || (px_is_ok(join(folder, "config.json", path)) && px_fs_is_file(path));
}

/* The last by name of the folders in `folder` that hold a model: where versions are kept apart, the
 * newest. "" when there is none. */
static void find_inner(const char *folder, char out_name[NAME_BYTES_MAX])
{
    char path[PATH_BYTES_MAX];
    DIR *dir = opendir(folder);
    *out_name = '\0';
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || strverscmp(entry->d_name, out_name) < 0) continue;
        if (!px_is_ok(join(folder, entry->d_name, path)) || !holds_model(path)) continue;
        snprintf(out_name, NAME_BYTES_MAX, "%s", entry->d_name);
    }
    if (dir) closedir(dir);
}

static px_status find_gguf(const char *folder, char out[PATH_BYTES_MAX])
{
    char name[NAME_BYTES_MAX] = "";
    DIR *dir = opendir(folder);
    if (!dir) return px_fail(PX_NOT_FOUND, "%s: cannot read the folder", folder);
    int count = list_gguf(dir, name);
    closedir(dir);
    if (count > 1)
        return px_fail(
            PX_INVALID_ARGUMENT, "%s holds several GGUF models; name the file to use", folder);
    if (count) return join(folder, name, out);
    find_inner(folder, name);
    if (*name)
        return px_fail(PX_NOT_FOUND,
            "%s holds no model itself, but its folder '%s' does: name %s/%s", folder, name, folder,
            name);
    return px_fail(PX_NOT_FOUND,
        "%s holds neither a GGUF file nor config.json with safetensors or PyTorch files", folder);
}

static px_status load_configs(px_model_file *file, const char *folder)
{
    char path[PATH_BYTES_MAX];
    PX_TRY(join(folder, "config.json", path));
    PX_TRY(px_json_load(path, CONFIG_BYTES_MAX, &file->config));
    PX_TRY(join(folder, "generation_config.json", path));
    if (px_fs_is_file(path)) PX_TRY(px_json_load(path, CONFIG_BYTES_MAX, &file->generation_config));
    return px_ok();
}

bool px_gguf_document(const px_gguf *gguf, const char *name, px_slice *out)
{
    char key[128];
    snprintf(key, sizeof key, PX_GGUF_DOCUMENTS "%s", name);
    return px_gguf_str(gguf, key, out);
}

static px_status load_document(const px_gguf *gguf, const char *name, json_t **out)
{
    px_slice text;
    if (!px_gguf_document(gguf, name, &text)) return px_ok();
    if (text.length > CONFIG_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the GGUF's %s is too large", name);
    return px_json_parse(text.data, text.length, name, out);
}

static px_status open_gguf(px_model_file *file, const char *path)
{
    PX_TRY(px_gguf_open(path, &file->gguf));
    PX_TRY(load_document(file->gguf, "config.json", &file->config));
    return load_document(file->gguf, "generation_config.json", &file->generation_config);
}

static px_status open_folder(px_model_file *file, const char *folder)
{
    char path[PATH_BYTES_MAX];
    PX_TRY(join(folder, "config.json", path));
    if (px_fs_is_file(path)) {
        px_status status = px_safetensors_open(folder, &file->safetensors);
        if (status.code == PX_NOT_FOUND) status = px_torch_open(folder, &file->torch);
        if (px_is_ok(status)) return load_configs(file, folder);
        if (status.code != PX_NOT_FOUND) return status;
    }
    PX_TRY(find_gguf(folder, path));
    return open_gguf(file, path);
}

/* One file of weights, its config.json beside it. */
static px_status open_weights_file(px_model_file *file, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_BYTES_MAX];
    int length = slash ? (int)(slash - path) : 1;
    if (snprintf(folder, sizeof folder, "%.*s", length, slash ? path : ".") >= PATH_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "%s: the path is too long", path);
    if (ends_with(path, ".safetensors"))
        PX_TRY(px_safetensors_open_file(path, &file->safetensors));
    else
        PX_TRY(px_torch_open_file(path, &file->torch));
    return load_configs(file, folder);
}

/* Files that do not say what model they are of. */
static bool holds_weights_alone(const char *path)
{
    static const char *const tails[] = {".safetensors", ".bin", ".pt", ".pth"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (ends_with(path, tails[i])) return true;
    return false;
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp((*(const px_tensor *const *)a)->name, (*(const px_tensor *const *)b)->name);
}

static void index_tensors(px_model_file *file)
{
    file->tensor_count = file->gguf    ? px_gguf_tensor_count(file->gguf)
                         : file->torch ? px_torch_count(file->torch)
                                       : px_safetensors_count(file->safetensors);
    file->by_name = px_alloc_array(file->tensor_count + 1, sizeof *file->by_name);
    for (uint32_t i = 0; i < file->tensor_count; i++) {
        file->by_name[i] = px_model_file_tensor_at(file, i);
        file->bytes += file->by_name[i]->bytes;
    }
    qsort(file->by_name, file->tensor_count, sizeof *file->by_name, compare_tensors);
}

px_status px_model_file_open(const char *path, px_model_file **out)
{
    px_model_file *file = px_alloc(sizeof *file);
    file->path = px_strdup(path);
    px_status status;
    if (px_fs_is_dir(path))
        status = open_folder(file, path);
    else if (access(path, F_OK) != 0)
        status = px_fail_errno(errno, "%s", path);
    else if (!px_fs_is_file(path))
        status = px_fail(PX_INVALID_ARGUMENT, "%s is neither a file nor a folder", path);
    else if (holds_weights_alone(path))
        status = open_weights_file(file, path);
    else
        status = open_gguf(file, path);
    if (!px_is_ok(status)) {
        px_model_file_close(file);
        return status;
    }
    index_tensors(file);
    *out = file;
    return px_ok();
}

void px_model_file_close(px_model_file *file)
{
    if (!file) return;
    px_gguf_close(file->gguf);
    px_safetensors_close(file->safetensors);
    px_torch_close(file->torch);
    json_decref(file->config);
    json_decref(file->generation_config);
    free(file->by_name);
    free(file->path);
    free(file);
}

const char *px_model_file_path(const px_model_file *file)
{
    return file->path;
}
const px_gguf *px_model_file_gguf(const px_model_file *file)
{
    return file->gguf;
}
const json_t *px_model_file_config(const px_model_file *file)
{
    return file->config;
}
const json_t *px_model_file_generation_config(const px_model_file *file)
{
    return file->generation_config;
}
const char *px_model_file_format(const px_model_file *file)
{
    return file->gguf ? "gguf" : file->torch ? "pytorch" : "safetensors";
}
uint32_t px_model_file_tensor_count(const px_model_file *file)
{
    return file->tensor_count;
}
uint64_t px_model_file_bytes(const px_model_file *file)
{
    return file->bytes;
}

const px_tensor *px_model_file_tensor_at(const px_model_file *file, uint32_t index)
{
    if (file->gguf) return px_gguf_tensor_at(file->gguf, index);
    if (file->torch) return px_torch_at(file->torch, index);
    return px_safetensors_at(file->safetensors, index);
}

const px_tensor *px_model_file_tensor(const px_model_file *file, const char *name)
{
    px_tensor wanted = {.name = name};
    const px_tensor *key = &wanted;
    const px_tensor *const *found =
        bsearch(&key, file->by_name, file->tensor_count, sizeof key, compare_tensors);
    return found ? *found : NULL;
}

bool px_model_file_is_mapped(const px_model_file *file, const px_tensor *tensor)
{
    return !file->torch || px_torch_is_mapped(file->torch, tensor->data);
}

void px_model_file_drop(const void *data, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    /* Whole pages only: the edges are shared with neighbours that may still be needed. */
    uintptr_t begin = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)data + bytes) / page * page;
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}
