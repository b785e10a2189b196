/* gguf_write.h - writes one GGUF v3 file: keys, then the table of tensors, then their bytes.
 *
 *   create → put keys, declare tensors → begin → write bytes in any order → sync → [check] → finish
 *
 * The file has a temporary name until finish renames it, so that a crash, a full disk or an error
 * leaves what stood there before. Source: the GGUF specification (ggml's docs/gguf.md).
 * Owns:    copies of keys and names.
 * Threads: px_gguf_writer_write from any number of threads; all else one thread.
 */
#ifndef PX_MODEL_GGUF_WRITE_H
#define PX_MODEL_GGUF_WRITE_H

#include "engine/model/gguf.h"

typedef struct px_gguf_writer px_gguf_writer;

/* The temporary file is made at once, beside `path`. */
px_status px_gguf_writer_create(const char *path, px_gguf_writer **out) PX_MUST_USE;
void px_gguf_writer_free(px_gguf_writer *writer); /* without finish: removes the temporary file */

/* Keys. Each is put once; px_gguf_writer_has() tells. Arrays are copied. */
bool px_gguf_writer_has(const px_gguf_writer *writer, const char *key);
void px_gguf_put_u32(px_gguf_writer *writer, const char *key, uint32_t value);
void px_gguf_put_f32(px_gguf_writer *writer, const char *key, float value);
void px_gguf_put_bool(px_gguf_writer *writer, const char *key, bool value);
void px_gguf_put_str(px_gguf_writer *writer, const char *key, px_slice text);
void px_gguf_put_text(px_gguf_writer *writer, const char *key, const char *text);
void px_gguf_put_strs(
    px_gguf_writer *writer, const char *key, const px_slice *texts, uint64_t count);
void px_gguf_put_f32s(px_gguf_writer *writer, const char *key, const float *values, uint64_t count);
void px_gguf_put_i32s(
    px_gguf_writer *writer, const char *key, const int32_t *values, uint64_t count);
/* As it lies in another file. */
void px_gguf_put_pair(px_gguf_writer *writer, const px_gguf_pair *pair);

/* Declares the next tensor: name, type and shape of `like` (its data is not looked at). */
px_status px_gguf_writer_add(px_gguf_writer *writer, const px_tensor *like) PX_MUST_USE;

/* Writes the header. Also what is left over from a failed key or table comes out here. */
px_status px_gguf_writer_begin(px_gguf_writer *writer) PX_MUST_USE;
typedef struct px_gguf_span {
    uint32_t tensor; /* in the order declared */
    uint64_t offset; /* of the tensor's first byte */
    const void *bytes;
    size_t length;
} px_gguf_span;
px_status px_gguf_writer_write(px_gguf_writer *writer, const px_gguf_span *span) PX_MUST_USE;
/* Everything is on the disk, and will be read from there. */
px_status px_gguf_writer_sync(px_gguf_writer *writer) PX_MUST_USE;
const char *px_gguf_writer_path(
    const px_gguf_writer *writer);                           /* the temporary file, to read back */
uint64_t px_gguf_writer_bytes(const px_gguf_writer *writer); /* of the file; after begin */
px_status px_gguf_writer_finish(px_gguf_writer *writer) PX_MUST_USE;

#endif
