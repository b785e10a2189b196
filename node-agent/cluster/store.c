/* store.c - see store.h. */
#include "cluster/store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/memory.h"

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length > end_length && strcmp(text + length - end_length, end) == 0;
}

static bool is_weights(const char *name)
{
    return ends_with(name, ".gguf") || ends_with(name, ".safetensors") || ends_with(name, ".bin") ||
           ends_with(name, ".pt") || ends_with(name, ".pth");
}

static bool is_version(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length <= 9 && strspn(name, "0123456789") == length &&
           (name[0] != '0' || length == 1);
}

/* Looks through one folder: the bytes of its weight files, and its highest version or -1. */
static void look(const char *folder, uint64_t *out_bytes, long *out_version)
{
    *out_bytes = 0;
    *out_version = -1;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[PATH_MAX];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (stat(path, &info) != 0) continue;
        if (S_ISREG(info.st_mode) && is_weights(entry->d_name))
            *out_bytes += (uint64_t)info.st_size;
        if (!S_ISDIR(info.st_mode) || !is_version(entry->d_name)) continue;
        long version = strtol(entry->d_name, NULL, 10);
        if (version > *out_version) *out_version = version;
    }
    if (dir) closedir(dir);
}

static void add(px_store *store, const char *name, const char *path, uint64_t bytes)
{
    char absolute[PATH_MAX];
    if (!bytes || store->count == PX_STORE_MODELS_MAX || !realpath(path, absolute)) return;
    store->models[store->count++] =
        (px_store_model){.name = px_strdup(name), .path = px_strdup(absolute), .bytes = bytes};
}

static void add_entry(px_store *store, const char *dir, const char *name)
{
    char path[PATH_MAX], versioned[PATH_MAX];
    struct stat info;
    uint64_t bytes;
    long version;
    int length = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (name[0] == '.' || length >= (int)sizeof path || stat(path, &info) != 0) return;
    if (S_ISREG(info.st_mode) && ends_with(name, ".gguf")) {
        char *stem = px_strdup(name);
        stem[strlen(stem) - strlen(".gguf")] = '\0';
        add(store, stem, path, (uint64_t)info.st_size);
        free(stem);
        return;
    }
    if (!S_ISDIR(info.st_mode)) return;
    look(path, &bytes, &version);
    if (bytes) {
        add(store, name, path, bytes);
    } else if (version >= 0 && snprintf(versioned, sizeof versioned, "%s/%ld", path, version) <
                                   (int)sizeof versioned) {
        look(versioned, &bytes, &version);
        add(store, name, versioned, bytes);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const px_store_model *)a)->name, ((const px_store_model *)b)->name);
}

px_status px_store_scan(const char *dir, px_store *out)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    if (!folder) return px_fail_errno(errno, "the models folder '%s'", dir);
    *out = (px_store){.models = px_alloc_array(PX_STORE_MODELS_MAX, sizeof *out->models)};
    while ((entry = readdir(folder))) add_entry(out, dir, entry->d_name);
    closedir(folder);
    qsort(out->models, out->count, sizeof *out->models, by_name);
    return px_ok();
}

void px_store_done(px_store *store)
{
    for (size_t i = 0; i < store->count; i++) {
        free(store->models[i].name);
        free(store->models[i].path);
    }
    free(store->models);
    *store = (px_store){0};
}
