/* fs.c - see fs.h. */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_CHUNK_BYTES = 64 * 1024 };

/* Appends all that `fd` still has. */
static px_status read_all(int fd, const char *path, px_buf *buf)
{
    char chunk[READ_CHUNK_BYTES];
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return px_fail_errno(errno, "cannot read '%s'", path);
        if (got == 0) return px_ok();
        px_buf_append(buf, chunk, (size_t)got);
        if (buf->overflowed)
            return px_fail(PX_RESOURCE_EXHAUSTED, "'%s' is larger than the %zu bytes allowed here",
                path, buf->max);
    }
}

px_status px_fs_read(const char *path, px_buf *buf)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return px_fail_errno(errno, "cannot open '%s'", path);
    size_t length_before = buf->length;
    px_status status = read_all(fd, is_stdin ? "standard input" : path, buf);
    if (!is_stdin) close(fd);
    if (status.code != PX_OK) { /* leave the buffer as it was */
        buf->length = length_before;
        buf->overflowed = false;
        if (buf->data) buf->data[length_before] = '\0';
    }
    return status;
}

static px_status write_all(int fd, const char *path, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t put = write(fd, bytes, length);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return px_fail_errno(errno, "cannot write '%s'", path);
        bytes += put;
        length -= (size_t)put;
    }
    return px_ok();
}

void px_fs_sync_folder_of(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd); /* some file systems refuse it for folders; the rename itself is done */
    close(fd);
}

px_status px_fs_write_atomic(const char *path, const void *bytes, size_t length, int mode)
{
    char temporary[PATH_MAX];
    int used = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (used < 0 || (size_t)used >= sizeof temporary)
        return px_fail(PX_INVALID_ARGUMENT, "the path '%.80s...' is too long", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return px_fail_errno(errno, "cannot create '%s'", path);
    px_status status = write_all(fd, path, bytes, length);
    if (status.code == PX_OK && (fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0))
        status = px_fail_errno(errno, "cannot write '%s'", path);
    if (close(fd) != 0 && status.code == PX_OK)
        status = px_fail_errno(errno, "cannot write '%s'", path);
    if (status.code == PX_OK && rename(temporary, path) != 0)
        status = px_fail_errno(errno, "cannot replace '%s'", path);
    if (status.code != PX_OK) {
        unlink(temporary);
        return status;
    }
    px_fs_sync_folder_of(path);
    return status;
}

px_status px_fs_make_dirs(const char *path, int mode)
{
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return px_fail(PX_INVALID_ARGUMENT, "'%.80s' cannot be a folder's path", path);
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0') continue;
        partial[i] = '\0';
        if (mkdir(partial, (mode_t)mode) != 0 && errno != EEXIST)
            return px_fail_errno(errno, "cannot create the folder '%s'", partial);
        if (i < length) partial[i] = '/';
    }
    if (!px_fs_is_dir(path))
        return px_fail(PX_ALREADY_EXISTS, "'%s' exists and is not a folder", path);
    return px_ok();
}

bool px_fs_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool px_fs_is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

px_status px_map_open(const char *path, px_map *out_map)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not make us wait */
    if (fd < 0) return px_fail_errno(errno, "cannot open '%s'", path);
    struct stat info;
    px_status status = px_ok();
    px_map map = {0};
    if (fstat(fd, &info) != 0) {
        status = px_fail_errno(errno, "cannot inspect '%s'", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = px_fail(PX_INVALID_ARGUMENT, "'%s' is not a regular file", path);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = px_fail_errno(errno, "cannot map '%s'", path);
        else
            map = (px_map){.data = data, .bytes = (size_t)info.st_size};
    }
    close(fd);
    if (status.code == PX_OK) *out_map = map;
    return status;
}

void px_map_close(px_map *map)
{
    if (map->data) munmap((void *)map->data, map->bytes);
    *map = (px_map){0};
}
