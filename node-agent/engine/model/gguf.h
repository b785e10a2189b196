/* gguf.h - reads GGUF v2 and v3 files in place (memory-mapped); hostile files fail with a sentence.
 *
 * Source:  the GGUF specification (ggml's docs/gguf.md).
 * Owns:    the map. Every slice and pointer handed out is borrowed and lives until close.
 * Threads: immutable after open.
 */
#ifndef PX_MODEL_GGUF_H
#define PX_MODEL_GGUF_H

#include "base/memory.h"
#include "engine/model/tensor.h"

typedef struct px_gguf px_gguf;

typedef enum px_gguf_type { /* numbers of the file format */
    PX_GGUF_U8,
    PX_GGUF_I8,
    PX_GGUF_U16,
    PX_GGUF_I16,
    PX_GGUF_U32,
    PX_GGUF_I32,
    PX_GGUF_F32,
    PX_GGUF_BOOL,
    PX_GGUF_STRING,
    PX_GGUF_ARRAY,
    PX_GGUF_U64,
    PX_GGUF_I64,
    PX_GGUF_F64
} px_gguf_type;

typedef struct px_gguf_array {
    px_gguf_type type; /* of the elements */
    uint64_t count;
    const unsigned char *data; /* as in the file, unaligned; strings: u64 length + bytes each */
} px_gguf_array;

/* A sentence for every file that is cut short, lies about its sizes or uses what we do not know.
 * Also opens split files given any part's path (name-00001-of-00003.gguf). */
px_status px_gguf_open(const char *path, px_gguf **out) PX_MUST_USE;
void px_gguf_close(px_gguf *file); /* NULL is fine */

typedef struct px_gguf_pair { /* a key and its value as in the file */
    px_slice key;
    px_gguf_type type;
    px_slice value;
} px_gguf_pair;
uint64_t px_gguf_pair_count(const px_gguf *file);
px_gguf_pair px_gguf_pair_at(const px_gguf *file, uint64_t index); /* sorted by key */
/* The format's number for a type and back; false: it has none, or it is one that we lack. */
bool px_gguf_type_number(px_dtype dtype, uint32_t *out);
bool px_gguf_dtype(uint32_t number, px_dtype *out);
const char *px_gguf_type_name(uint32_t number); /* of those that we lack, for sentences */

uint32_t px_gguf_tensor_count(const px_gguf *file);
const px_tensor *px_gguf_tensor_at(const px_gguf *file, uint32_t index); /* in file order */

bool px_gguf_has(const px_gguf *file, const char *key); /* whatever its value is */
/* false: no such key, or its value is not of that kind (any integer width reads as int64). */
bool px_gguf_int(const px_gguf *file, const char *key, int64_t *out);
bool px_gguf_real(const px_gguf *file, const char *key, double *out); /* also from integers */
bool px_gguf_bool(const px_gguf *file, const char *key, bool *out);
bool px_gguf_str(const px_gguf *file, const char *key, px_slice *out);
bool px_gguf_array_get(const px_gguf *file, const char *key, px_gguf_array *out);
/* Element i of a numeric array, any width; 0 when the elements are not such numbers. */
double px_gguf_array_real(const px_gguf_array *array, uint64_t i);
int64_t px_gguf_array_int(const px_gguf_array *array, uint64_t i);
/* Fills out[array->count]; the array is one of strings. Bounds were checked in open. */
void px_gguf_array_strings(const px_gguf_array *array, px_slice *out);

#endif
