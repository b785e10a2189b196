/* memory_file.h - a fuzzer's bytes as a file with a path, without touching a disk.
 */
#ifndef PX_FUZZ_MEMORY_FILE_H
#define PX_FUZZ_MEMORY_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct memory_file {
    int fd;
    char path[64];
} memory_file;

static inline memory_file memory_file_make(const uint8_t *data, size_t size)
{
    memory_file file = {.fd = memfd_create("fuzz", 0)};
    if (file.fd < 0 || write(file.fd, data, size) != (ssize_t)size) abort();
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    return file;
}

static inline void memory_file_close(memory_file *file)
{
    close(file->fd);
}

#endif
