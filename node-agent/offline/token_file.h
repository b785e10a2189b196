/* token_file.h - files of token ids separated by white space.
 */
#ifndef PX_OFFLINE_TOKEN_FILE_H
#define PX_OFFLINE_TOKEN_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Reads all ids of `path` ("-": stdin), at least one; free(*out_ids). */
px_status px_token_file_read(const char *path, uint32_t **out_ids, size_t *out_count) PX_MUST_USE;

#endif
