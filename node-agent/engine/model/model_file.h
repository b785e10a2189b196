/* model_file.h - a model as it lies on disk: named tensors and where its description comes from.
 *
 * Opens a GGUF file, a folder of safetensors or PyTorch files (sharded or not), one such file with
 * its config.json beside it, or a folder that holds one GGUF file.
 * Owns:    the maps; everything handed out is borrowed until close.
 * Threads: immutable after open.
 */
#ifndef PX_MODEL_MODEL_FILE_H
#define PX_MODEL_MODEL_FILE_H

#include <jansson.h>

#include "engine/model/gguf.h"
#include "engine/model/tensor.h"

typedef struct px_model_file px_model_file;

px_status px_model_file_open(const char *path, px_model_file **out) PX_MUST_USE;
void px_model_file_close(px_model_file *file); /* NULL is fine */

const char *px_model_file_path(const px_model_file *file);
const char *px_model_file_format(const px_model_file *file);  /* "gguf", "safetensors", "pytorch" */
const px_gguf *px_model_file_gguf(const px_model_file *file); /* NULL: not a GGUF */
/* config.json, of the folder or carried along in a GGUF (px_gguf_document); NULL: a GGUF that
 * describes itself by its keys. */
const json_t *px_model_file_config(const px_model_file *file);
/* generation_config.json, likewise; NULL: none. */
const json_t *px_model_file_generation_config(const px_model_file *file);
/* Small JSON files of a model's folder go along into a GGUF of ours, as the texts of keys called
 * PX_GGUF_DOCUMENTS and their names, so that nothing in them is lost. false: there is none. */
#define PX_GGUF_DOCUMENTS "phalanx."
bool px_gguf_document(const px_gguf *gguf, const char *name, px_slice *out);
uint32_t px_model_file_tensor_count(const px_model_file *file);
const px_tensor *px_model_file_tensor_at(const px_model_file *file, uint32_t index);
const px_tensor *px_model_file_tensor(const px_model_file *file, const char *name); /* or NULL */
uint64_t px_model_file_bytes(const px_model_file *file); /* of all tensors */
/* Does it lie in a file as it is? Else it was put in order, in memory. */
bool px_model_file_is_mapped(const px_model_file *file, const px_tensor *tensor);
/* Of mapped tensors: gives pages back to the kernel. Who reads them again maps them again. */
void px_model_file_drop(const void *data, uint64_t bytes);

#endif
