/* gguf_write.c - see gguf_write.h. */
#include "engine/model/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"

enum { ALIGNMENT = 32, VERSION = 3 };
static const size_t HEADER_BYTES_MAX = 1u << 30;

struct px_gguf_writer {
    char path[PATH_MAX], temporary[PATH_MAX];
    int fd;
    px_buf keys, names, table; /* names: of keys, each after and before a newline */
    uint64_t key_count, data_begin, data_bytes;
    uint64_t *offsets; /* of tensors, from data_begin */
    uint32_t tensor_count, tensor_capacity;
    bool finished;
};

px_status px_gguf_writer_create(const char *path, px_gguf_writer **out)
{
    px_gguf_writer *writer = px_alloc(sizeof *writer);
    writer->fd = -1;
    px_buf_init(&writer->keys, HEADER_BYTES_MAX);
    px_buf_init(&writer->names, HEADER_BYTES_MAX);
    px_buf_init(&writer->table, HEADER_BYTES_MAX);
    px_buf_putc(&writer->names, '\n');
    px_status status = px_ok();
    int used = snprintf(writer->temporary, sizeof writer->temporary, "%s.XXXXXX", path);
    if ((size_t)used >= sizeof writer->temporary) {
        *writer->temporary = '\0';
        status = px_fail(PX_INVALID_ARGUMENT, "the path '%.80s...' is too long", path);
    } else {
        snprintf(writer->path, sizeof writer->path, "%s", path);
        writer->fd = mkostemp(writer->temporary, O_CLOEXEC);
        if (writer->fd < 0) status = px_fail_errno(errno, "cannot create '%s'", path);
    }
    if (!px_is_ok(status)) {
        px_gguf_writer_free(writer);
        return status;
    }
    *out = writer;
    return px_ok();
}

void px_gguf_writer_free(px_gguf_writer *writer)
{
    if (!writer) return;
    if (writer->fd >= 0) {
        close(writer->fd);
        if (!writer->finished) unlink(writer->temporary);
    }
    px_buf_done(&writer->keys);
    px_buf_done(&writer->names);
    px_buf_done(&writer->table);
    free(writer->offsets);
    free(writer);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void put_u32(px_buf *buf, uint32_t value)
{
    px_buf_append(buf, &value, sizeof value);
}

static void put_u64(px_buf *buf, uint64_t value)
{
    px_buf_append(buf, &value, sizeof value);
}

static void put_string(px_buf *buf, px_slice text)
{
    put_u64(buf, text.length);
    px_buf_append(buf, text.data, text.length);
}

bool px_gguf_writer_has(const px_gguf_writer *writer, const char *key)
{
    char line[256];
    snprintf(line, sizeof line, "\n%s\n", key);
    return strstr(px_buf_text(&writer->names), line) != NULL;
}

static void begin_key(px_gguf_writer *writer, px_slice key, px_gguf_type type)
{
    writer->key_count++;
    px_buf_append(&writer->names, key.data, key.length);
    px_buf_putc(&writer->names, '\n');
    put_string(&writer->keys, key);
    put_u32(&writer->keys, type);
}

static void put_scalar(
    px_gguf_writer *writer, const char *key, px_gguf_type type, const void *value, size_t bytes)
{
    begin_key(writer, (px_slice){key, strlen(key)}, type);
    px_buf_append(&writer->keys, value, bytes);
}

void px_gguf_put_u32(px_gguf_writer *writer, const char *key, uint32_t value)
{
    put_scalar(writer, key, PX_GGUF_U32, &value, sizeof value);
}

void px_gguf_put_f32(px_gguf_writer *writer, const char *key, float value)
{
    put_scalar(writer, key, PX_GGUF_F32, &value, sizeof value);
}

void px_gguf_put_bool(px_gguf_writer *writer, const char *key, bool value)
{
    uint8_t byte = value;
    put_scalar(writer, key, PX_GGUF_BOOL, &byte, sizeof byte);
}

void px_gguf_put_str(px_gguf_writer *writer, const char *key, px_slice text)
{
    begin_key(writer, (px_slice){key, strlen(key)}, PX_GGUF_STRING);
    put_string(&writer->keys, text);
}

void px_gguf_put_text(px_gguf_writer *writer, const char *key, const char *text)
{
    px_gguf_put_str(writer, key, (px_slice){text, strlen(text)});
}

static void begin_array(
    px_gguf_writer *writer, const char *key, px_gguf_type element, uint64_t count)
{
    begin_key(writer, (px_slice){key, strlen(key)}, PX_GGUF_ARRAY);
    put_u32(&writer->keys, element);
    put_u64(&writer->keys, count);
}

void px_gguf_put_strs(
    px_gguf_writer *writer, const char *key, const px_slice *texts, uint64_t count)
{
    begin_array(writer, key, PX_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) put_string(&writer->keys, texts[i]);
}

void px_gguf_put_f32s(px_gguf_writer *writer, const char *key, const float *values, uint64_t count)
{
    begin_array(writer, key, PX_GGUF_F32, count);
    px_buf_append(&writer->keys, values, count * sizeof *values);
}

void px_gguf_put_i32s(
    px_gguf_writer *writer, const char *key, const int32_t *values, uint64_t count)
{
    begin_array(writer, key, PX_GGUF_I32, count);
    px_buf_append(&writer->keys, values, count * sizeof *values);
}

void px_gguf_put_pair(px_gguf_writer *writer, const px_gguf_pair *pair)
{
    begin_key(writer, pair->key, pair->type);
    px_buf_append(&writer->keys, pair->value.data, pair->value.length);
}

/* --- tensors ---------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

px_status px_gguf_writer_add(px_gguf_writer *writer, const px_tensor *like)
{
    uint32_t number;
    if (!px_gguf_type_number(like->dtype, &number))
        return px_fail(PX_UNIMPLEMENTED, "tensor '%s': GGUF has no type for %s", like->name,
            px_dtype_of(like->dtype)->name);
    if (writer->tensor_count == writer->tensor_capacity) {
        uint32_t capacity = writer->tensor_capacity ? 2 * writer->tensor_capacity : 256;
        uint64_t *grown = px_alloc_array(capacity, sizeof *grown);
        if (writer->tensor_count)
            memcpy(grown, writer->offsets, writer->tensor_count * sizeof *grown);
        free(writer->offsets);
        writer->offsets = grown;
        writer->tensor_capacity = capacity;
    }
    uint64_t elements = 1;
    put_string(&writer->table, (px_slice){like->name, strlen(like->name)});
    put_u32(&writer->table, like->dims);
    for (uint32_t i = like->dims; i-- > 0;) {
        put_u64(&writer->table, like->shape[i]);
        elements *= like->shape[i];
    }
    put_u32(&writer->table, number);
    put_u64(&writer->table, writer->data_bytes);
    writer->offsets[writer->tensor_count++] = writer->data_bytes;
    writer->data_bytes += aligned(px_dtype_bytes(like->dtype, elements));
    return px_ok();
}

/* --- bytes ------------------------------------------------------------------------------------ */

static px_status write_at(px_gguf_writer *writer, const void *bytes, size_t length, uint64_t offset)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t put = pwrite(writer->fd, at, length, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return px_fail_errno(errno, "cannot write '%s'", writer->path);
        at += put;
        length -= (size_t)put;
        offset += (uint64_t)put;
    }
    return px_ok();
}

px_status px_gguf_writer_begin(px_gguf_writer *writer)
{
    if (writer->keys.overflowed || writer->table.overflowed || writer->names.overflowed)
        return px_fail(PX_RESOURCE_EXHAUSTED, "the header would be larger than %zu MiB",
            HEADER_BYTES_MAX >> 20);
    px_buf head;
    px_buf_init(&head, 64);
    px_buf_puts(&head, "GGUF");
    put_u32(&head, VERSION);
    put_u64(&head, writer->tensor_count);
    put_u64(&head, writer->key_count);
    const px_buf *parts[] = {&head, &writer->keys, &writer->table};
    uint64_t offset = 0;
    px_status status = px_ok();
    for (size_t i = 0; i < sizeof parts / sizeof *parts && px_is_ok(status); i++) {
        status = write_at(writer, px_buf_text(parts[i]), parts[i]->length, offset);
        offset += parts[i]->length;
    }
    px_buf_done(&head);
    PX_TRY(status);
    writer->data_begin = aligned(offset);
    /* The space is taken now, so that a disk that is too small says so before the work. */
    int error = posix_fallocate(writer->fd, 0, (off_t)(writer->data_begin + writer->data_bytes));
    if (error == ENOSPC || error == EFBIG)
        return px_fail_errno(error, "cannot write '%s'", writer->path);
    if (error && ftruncate(writer->fd, (off_t)(writer->data_begin + writer->data_bytes)) != 0)
        return px_fail_errno(errno, "cannot write '%s'", writer->path);
    return px_ok();
}

px_status px_gguf_writer_write(px_gguf_writer *writer, const px_gguf_span *span)
{
    PX_ASSERT(span->tensor < writer->tensor_count);
    uint64_t offset = writer->data_begin + writer->offsets[span->tensor] + span->offset;
    return write_at(writer, span->bytes, span->length, offset);
}

px_status px_gguf_writer_sync(px_gguf_writer *writer)
{
    if (fchmod(writer->fd, 0644) != 0 || fsync(writer->fd) != 0)
        return px_fail_errno(errno, "cannot write '%s'", writer->path);
    (void)posix_fadvise(writer->fd, 0, 0, POSIX_FADV_DONTNEED);
    return px_ok();
}

const char *px_gguf_writer_path(const px_gguf_writer *writer)
{
    return writer->finished ? writer->path : writer->temporary;
}

uint64_t px_gguf_writer_bytes(const px_gguf_writer *writer)
{
    return writer->data_begin + writer->data_bytes;
}

px_status px_gguf_writer_finish(px_gguf_writer *writer)
{
    if (rename(writer->temporary, writer->path) != 0)
        return px_fail_errno(errno, "cannot replace '%s'", writer->path);
    writer->finished = true;
    px_fs_sync_folder_of(writer->path);
    return px_ok();
}
