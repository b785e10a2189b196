/* safetensors.h - reads a safetensors model in place (memory-mapped), in one file or in shards.
 *
 * Source:  the safetensors format description (u64 header length, JSON header, data).
 * Owns:    the maps and names. Tensors handed out are borrowed and live until close.
 * Threads: immutable after open.
 */
#ifndef PX_MODEL_SAFETENSORS_H
#define PX_MODEL_SAFETENSORS_H

#include "base/memory.h"
#include "engine/model/tensor.h"

typedef struct px_safetensors px_safetensors;

/* `folder` holds model.safetensors, or model.safetensors.index.json and the shards it names, or
 * exactly one other *.safetensors file. NOT_FOUND: none of these. */
px_status px_safetensors_open(const char *folder, px_safetensors **out) PX_MUST_USE;
/* One file, whatever its name. */
px_status px_safetensors_open_file(const char *path, px_safetensors **out) PX_MUST_USE;
void px_safetensors_close(px_safetensors *file); /* NULL is fine */

uint32_t px_safetensors_count(const px_safetensors *file);
const px_tensor *px_safetensors_at(const px_safetensors *file, uint32_t index);

#endif
