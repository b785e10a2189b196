/* shards.h - which files of a folder a model is in: one, or the shards that an index names.
 *
 * Source:  Hugging Face's NAME.index.json: {"weight_map": {"tensor": "file", ...}}.
 * Owns:    the paths and the index.
 * Threads: immutable after find.
 */
#ifndef PX_MODEL_SHARDS_H
#define PX_MODEL_SHARDS_H

#include <jansson.h>

#include "engine/model/tensor.h"
#include "base/memory.h"

enum { PX_SHARD_TENSORS_MAX = 1 << 20 }; /* of a model */

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

/* Every tensor that the index promises is there, and none twice. */
px_status px_shards_check(
    const px_shards *shards, const px_tensor *tensors, uint32_t count) PX_MUST_USE;

/* Room for `more` tensors after the first `count` of *tensors (owned, may move). */
px_status px_shards_reserve(
    px_tensor **tensors, uint32_t count, size_t more, uint32_t *capacity) PX_MUST_USE;

#endif
