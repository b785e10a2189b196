/* model_bytes.h - builds model files byte by byte, right or wrong on purpose.
 */
#ifndef PX_TEST_MODEL_BYTES_H
#define PX_TEST_MODEL_BYTES_H

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

typedef struct bytes {
    unsigned char data[1 << 16];
    size_t length;
} bytes;

static inline void put(bytes *b, const void *from, size_t length)
{
    memcpy(b->data + b->length, from, length);
    b->length += length;
}
static inline void put_u32(bytes *b, uint32_t value)
{
    put(b, &value, sizeof value);
}
static inline void put_u64(bytes *b, uint64_t value)
{
    put(b, &value, sizeof value);
}
static inline void put_text(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}
static inline void pad(bytes *b, size_t alignment)
{
    while (b->length % alignment) b->data[b->length++] = 0;
}

/* --- GGUF --- */

static inline void gguf_head(bytes *b, uint32_t version, uint64_t tensors, uint64_t pairs)
{
    b->length = 0;
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, pairs);
}
static inline void gguf_u32(bytes *b, const char *key, uint32_t value)
{
    put_text(b, key);
    put_u32(b, 4);
    put_u32(b, value);
}
static inline void gguf_u16(bytes *b, const char *key, uint16_t value)
{
    put_text(b, key);
    put_u32(b, 2);
    put(b, &value, sizeof value);
}
static inline void gguf_str(bytes *b, const char *key, const char *value)
{
    put_text(b, key);
    put_u32(b, 8);
    put_text(b, value);
}
/* A matrix [rows, cols] of GGUF type `type`. */
static inline void gguf_matrix(
    bytes *b, const char *name, uint64_t rows, uint64_t cols, uint32_t type, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, 2);
    put_u64(b, cols);
    put_u64(b, rows);
    put_u32(b, type);
    put_u64(b, offset);
}

/* --- safetensors --- */

static inline void safetensors(bytes *b, const char *header, size_t data_bytes)
{
    b->length = 0;
    put_text(b, header);
    for (size_t i = 0; i < data_bytes; i++) b->data[b->length++] = (unsigned char)i;
}

/* --- a folder of this test process --- */

static char test_folder_path[64];

static inline int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    return remove(path);
}
static inline void remove_test_folder(void)
{
    nftw(test_folder_path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline const char *test_folder(void)
{
    if (!*test_folder_path) {
        snprintf(test_folder_path, sizeof test_folder_path, "/tmp/px_model_XXXXXX");
        if (!mkdtemp(test_folder_path)) abort();
        atexit(remove_test_folder);
    }
    return test_folder_path;
}

static inline const char *test_path(const char *name)
{
    static char paths[8][160];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder(), name);
    return path;
}

static inline const char *write_test_file(const char *name, const void *data, size_t length)
{
    const char *path = test_path(name);
    px_ignore(px_fs_write_atomic(path, data, length, 0600));
    return path;
}

static inline const char *write_bytes(const char *name, const bytes *b)
{
    return write_test_file(name, b->data, b->length);
}

#endif
