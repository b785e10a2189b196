/* fs.h - files: read whole with a bound, map read-only, write so that a crash leaves old or new.
 */
#ifndef PX_BASE_FS_H
#define PX_BASE_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

/* Appends the file to `buf`; RESOURCE_EXHAUSTED when it is larger than buf->max. "-" is stdin. */
px_status px_fs_read(const char *path, px_buf *buf) PX_MUST_USE;
px_status px_fs_write_atomic(
    const char *path, const void *bytes, size_t length, int mode) PX_MUST_USE;
/* A rename is durable only once the folder itself is on the disk. */
void px_fs_sync_folder_of(const char *path);
px_status px_fs_make_dirs(const char *path, int mode) PX_MUST_USE; /* like mkdir -p */
bool px_fs_is_dir(const char *path);
bool px_fs_is_file(const char *path);

typedef struct px_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t bytes;
} px_map;
/* Read-only shared map. The file must not be truncated while mapped. */
px_status px_map_open(const char *path, px_map *out_map) PX_MUST_USE;
void px_map_close(px_map *map);

#endif
