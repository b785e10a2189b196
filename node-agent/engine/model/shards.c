/* shards.c - see shards.h. */
#include "engine/model/shards.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum { INDEX_BYTES_MAX = 64 << 20, SHARDS_MAX = 4096, PATH_BYTES_MAX = 4096 };

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

/* --- an index and its shards --- */

static px_status take_paths(
    const char *folder, const char *const *names, size_t count, px_shards *out)
{
    if (count > SHARDS_MAX) return px_fail(PX_INVALID_ARGUMENT, "more than %d shards", SHARDS_MAX);
    out->paths = px_alloc_array(count + 1, sizeof *out->paths);
    for (size_t i = 0; i < count; i++) {
        if (!*names[i] || names[i][0] == '.' || strchr(names[i], '/'))
            return px_fail(PX_INVALID_ARGUMENT, "shard '%s' must be a plain file name", names[i]);
        char path[PATH_BYTES_MAX];
        PX_TRY(join(folder, names[i], path));
        if (!px_fs_is_file(path)) /* NOT_FOUND would mean that another format is looked for */
            return px_fail(PX_INVALID_ARGUMENT, "shard '%s' is missing", names[i]);
        out->paths[out->count++] = px_strdup(path);
    }
    return px_ok();
}

static px_status read_index(const char *folder, const json_t *index, px_shards *out)
{
    json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || !json_object_size(map))
        return px_fail(PX_INVALID_ARGUMENT, "'weight_map' must be an object of tensor to file");
    const char **names = px_alloc_array(json_object_size(map), sizeof *names);
    size_t count = 0;
    px_status status = px_ok();
    const char *tensor;
    json_t *shard;
    json_object_foreach(map, tensor, shard)
    {
        if (!json_is_string(shard)) {
            status = px_fail(PX_INVALID_ARGUMENT, "the shard of '%s' is not a file name", tensor);
            goto out;
        }
        names[count++] = json_string_value(shard);
    }
    PX_TRY_GOTO(take_paths(folder, names, unique(names, count), out), out);
    out->map = json_incref(map);
out:
    free(names);
    return status;
}

/* --- a folder's only file --- */

static bool is_candidate(const char *name, const px_shard_names *names)
{
    size_t length = strlen(name);
    if (name[0] == '.') return false;
    for (const char *const *other = names->others; other && *other; other++)
        if (strncmp(name, *other, strlen(*other)) == 0) return false;
    for (const char *const *tail = names->tails; *tail; tail++)
        if (length > strlen(*tail) && strcmp(name + length - strlen(*tail), *tail) == 0)
            return true;
    return false;
}

static px_status find_single(
    const char *folder, const px_shard_names *names, char out[PATH_BYTES_MAX])
{
    DIR *dir = opendir(folder);
    if (!dir) return px_fail(PX_NOT_FOUND, "%s: no such folder", folder);
    char found[256] = "";
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!is_candidate(entry->d_name, names)) continue;
        snprintf(found, sizeof found, "%s", entry->d_name);
        count++;
    }
    closedir(dir);
    if (!count) return px_fail(PX_NOT_FOUND, "%s holds no %s file", folder, names->what);
    if (count > 1)
        return px_fail(PX_INVALID_ARGUMENT, "%s holds %d %s files but no %s", folder, count,
            names->what, names->index);
    return join(folder, found, out);
}

/* --- both --- */

static px_status find(const char *folder, const px_shard_names *names, px_shards *out)
{
    char path[PATH_BYTES_MAX];
    PX_TRY(join(folder, names->index, path));
    bool has_index = px_fs_is_file(path);
    char index_path[PATH_BYTES_MAX];
    memcpy(index_path, path, sizeof path);
    PX_TRY(join(folder, names->single, path));
    if (px_fs_is_file(path) || !has_index) {
        if (!px_fs_is_file(path)) PX_TRY(find_single(folder, names, path));
        px_shards_of_file(path, out);
        return px_ok();
    }
    json_t *index = NULL;
    PX_TRY(px_json_load(index_path, INDEX_BYTES_MAX, &index));
    px_status status = px_prefix(read_index(folder, index, out), "%s", index_path);
    json_decref(index);
    return status;
}

px_status px_shards_find(const char *folder, const px_shard_names *names, px_shards *out)
{
    *out = (px_shards){.paths = NULL};
    px_status status = find(folder, names, out);
    if (!px_is_ok(status)) px_shards_done(out);
    return status;
}

void px_shards_of_file(const char *path, px_shards *out)
{
    *out = (px_shards){.paths = px_alloc_array(1, sizeof *out->paths), .count = 1};
    out->paths[0] = px_strdup(path);
}

void px_shards_done(px_shards *shards)
{
    for (uint32_t i = 0; i < shards->count; i++) free(shards->paths[i]);
    free(shards->paths);
    json_decref(shards->map);
    *shards = (px_shards){.paths = NULL};
}

/* --- what they hold --- */

/* Every tensor that the index promises is there, and none twice. */
static px_status check(const px_shards *shards, const px_shard_set *set)
{
    uint32_t count = set->tensor_count;
    const char **names = px_alloc_array((size_t)count + 1, sizeof *names);
    for (uint32_t i = 0; i < count; i++) names[i] = set->tensors[i].name;
    px_status status = px_ok();
    if (unique(names, count) != count)
        status = px_fail(PX_INVALID_ARGUMENT, "a tensor occurs in more than one shard");
    const char *name;
    json_t *shard;
    json_object_foreach(px_is_ok(status) ? shards->map : NULL, name, shard)
    {
        if (bsearch(&name, names, count, sizeof *names, compare_names)) continue;
        status = px_fail(PX_INVALID_ARGUMENT, "tensor '%s' is not in shard '%s'", name,
            json_string_value(shard));
        break;
    }
    free(names);
    return status;
}

px_status px_shard_set_reserve(px_shard_set *set, size_t more)
{
    uint32_t count = set->tensor_count;
    if (more > PX_SHARD_TENSORS_MAX - count)
        return px_fail(PX_INVALID_ARGUMENT, "more than %d tensors", PX_SHARD_TENSORS_MAX);
    if (count + more <= set->tensor_room) return px_ok();
    size_t room = (count + more) * 2;
    px_tensor *grown = px_alloc_array(room, sizeof *grown);
    if (count) memcpy(grown, set->tensors, count * sizeof *grown);
    free(set->tensors);
    set->tensors = grown;
    set->tensor_room = (uint32_t)room;
    return px_ok();
}

px_status px_shard_set_name(px_shard_set *set, px_slice name, px_tensor **out)
{
    PX_ASSERT(set->tensor_count < set->tensor_room);
    px_tensor *tensor = &set->tensors[set->tensor_count];
    *tensor = (px_tensor){.name = px_arena_copy(&set->names, name.data, name.length)};
    if (!tensor->name)
        return px_fail(PX_RESOURCE_EXHAUSTED, "the tensor names take too much memory");
    *out = tensor;
    return px_ok();
}

static px_status read_all(
    const px_shards *shards, px_shard_reader *read, void *arg, px_shard_set *set)
{
    for (uint32_t i = 0; i < shards->count; i++) {
        px_map *map = &set->maps[i];
        PX_TRY(px_map_open(shards->paths[i], map));
        set->map_count++;
        PX_TRY(read(arg, map, shards->paths[i]));
    }
    return px_ok();
}

px_status px_shard_set_open(
    px_shards *shards, const char *path, px_shard_reader *read, void *arg, px_shard_set *out)
{
    *out = (px_shard_set){.maps = px_alloc_array(shards->count, sizeof *out->maps)};
    px_arena_init(&out->names, PX_SHARD_NAME_BYTES_MAX);
    px_status status = read_all(shards, read, arg, out);
    if (px_is_ok(status)) status = px_prefix(check(shards, out), "%s", path);
    px_shards_done(shards);
    return status;
}

void px_shard_set_done(px_shard_set *set)
{
    for (uint32_t i = 0; i < set->map_count; i++) px_map_close(&set->maps[i]);
    free(set->maps);
    free(set->tensors);
    px_arena_done(&set->names);
}
