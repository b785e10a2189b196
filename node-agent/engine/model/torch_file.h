/* torch_file.h - reads the tensors of PyTorch files (.pt, .pth, .bin), in one file or in shards.
 *
 * torch.save writes a zip archive of stored entries: NAME/data.pkl, a pickle that says what is
 * there, and NAME/data/0, 1, ..., the storages. They are mapped and read in place. The pickle is
 * read without running anything (pickle.h). A state dict may stand alone or under "state_dict",
 * "model", "model_state_dict" or "module".
 *
 * Source:  torch.serialization of PyTorch 1.6 and later.
 * Owns:    the maps, the names, and copies of tensors whose elements do not follow each other.
 * Threads: immutable after open.
 */
#ifndef PX_MODEL_TORCH_FILE_H
#define PX_MODEL_TORCH_FILE_H

#include "base/memory.h"
#include "engine/model/tensor.h"

typedef struct px_torch px_torch;

/* `folder` holds pytorch_model.bin, or pytorch_model.bin.index.json and the shards it names, or one
 * other *.bin, *.pt or *.pth file. NOT_FOUND: none of these. */
px_status px_torch_open(const char *folder, px_torch **out) PX_MUST_USE;
/* One file, whatever its name. */
px_status px_torch_open_file(const char *path, px_torch **out) PX_MUST_USE;
void px_torch_close(px_torch *file); /* NULL is fine */

uint32_t px_torch_count(const px_torch *file);
const px_tensor *px_torch_at(const px_torch *file, uint32_t index);
/* Does this lie in a map, from which it could be read again? Else in a copy. */
bool px_torch_is_mapped(const px_torch *file, const void *data);

#endif
