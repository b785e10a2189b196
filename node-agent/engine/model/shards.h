/* shards.h - which files of a folder a model is in, one or the shards that an index names, and what
 * all of them hold.
 *
 * Source:  Hugging Face's NAME.index.json: {"weight_map": {"tensor": "file", ...}}.
 * Owns:    the paths and the index; the maps, tensors and names.
 * Threads: immutable after find and open.
 */
#ifndef PX_MODEL_SHARDS_H
#define PX_MODEL_SHARDS_H

#include <jansson.h>

#include "base/fs.h"
#include "base/memory.h"
#include "engine/model/tensor.h"

enum { PX_SHARD_TENSORS_MAX = 1 << 20, PX_SHARD_NAME_BYTES_MAX = 256 << 20 }; /* of a model */

typedef struct px_shard_names { /* how a format calls its files */
    const char *what;           /* "safetensors", for sentences */
    const char *single, *index; /* "model.safetensors", "model.safetensors.index.json" */
    const char *const *tails;   /* ".safetensors", NULL: of a file with any other name */
    const char *const *others;  /* beginnings of names that are no models, NULL; may be NULL */
} px_shard_names;

typedef struct px_shards {
    char **paths;
    uint32_t count;
    json_t *map; /* tensor -> file; NULL: there is no index */
} px_shards;

/* NOT_FOUND: the folder has no file of this format. */
px_status px_shards_find(
    const char *folder, const px_shard_names *names, px_shards *out) PX_MUST_USE;
/* One file, whatever its name. */
void px_shards_of_file(const char *path, px_shards *out);
void px_shards_done(px_shards *shards);

/* The shards, mapped, and the tensors that they were found to hold. */
typedef struct px_shard_set {
    px_map *maps; /* [map_count] */
    px_tensor *tensors;
    uint32_t map_count, tensor_count, tensor_room;
    px_arena names;
} px_shard_set;

/* Adds the tensors of one shard to the set; sentences name `path`. */
typedef px_status px_shard_reader(void *arg, const px_map *map, const char *path);

/* Maps and reads every shard. INVALID_ARGUMENT: a tensor is there twice, or one that the index
 * promises is not. `shards` is taken, whatever comes of it; sentences about all of them name
 * `path`. `out` is done with px_shard_set_done, after a failure too. */
px_status px_shard_set_open(px_shards *shards, const char *path, px_shard_reader *read, void *arg,
    px_shard_set *out) PX_MUST_USE;
void px_shard_set_done(px_shard_set *set);
/* Room for `more` tensors; those before may move. */
px_status px_shard_set_reserve(px_shard_set *set, size_t more) PX_MUST_USE;
/* The next tensor, with nothing but its name, counted by the caller once it is complete. A room
 * must be reserved. */
px_status px_shard_set_name(px_shard_set *set, px_slice name, px_tensor **out) PX_MUST_USE;

#endif
