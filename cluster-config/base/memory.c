/* memory.c - see memory.h. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BIG_MMAP_BYTES = 1 << 20, ARENA_CHUNK_BYTES = 16 * 1024 };

void *px_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) {
        fprintf(stderr, "phalanx: out of memory (asked for %zu bytes)\n", bytes);
        abort();
    }
    return memory;
}

void *px_alloc_array(size_t count, size_t element_bytes)
{
    size_t bytes;
    PX_ASSERT(!__builtin_mul_overflow(count, element_bytes, &bytes));
    return px_alloc(bytes);
}

char *px_strdup(const char *text)
{
    size_t length = strlen(text);
    char *copy = px_alloc(length + 1);
    memcpy(copy, text, length);
    return copy;
}

px_status px_big_alloc(size_t bytes, const char *what, void **out)
{
    void *memory = NULL;
    if (bytes >= BIG_MMAP_BYTES) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            memory = NULL;
        else
            (void)madvise(memory, bytes, MADV_HUGEPAGE); /* advice only: 4 KiB pages work too */
    } else if (posix_memalign(&memory, 64, bytes ? bytes : 64) == 0) {
        memset(memory, 0, bytes ? bytes : 64);
    } else {
        memory = NULL;
    }
    if (!memory)
        return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for %s (%.1f MiB)", what,
            (double)bytes / (1024.0 * 1024.0));
    *out = memory;
    return px_ok();
}

void px_big_free(void *memory, size_t bytes)
{
    if (!memory) return;
    if (bytes >= BIG_MMAP_BYTES)
        munmap(memory, bytes);
    else
        free(memory);
}

/* --- arena --- */

struct px_arena_chunk {
    px_arena_chunk *next;
    size_t used, capacity;
    _Alignas(16) unsigned char bytes[];
};

void px_arena_init(px_arena *arena, size_t limit_bytes)
{
    *arena = (px_arena){.limit_bytes = limit_bytes};
}

void *px_arena_alloc(px_arena *arena, size_t bytes)
{
    if (bytes > arena->limit_bytes) return NULL;
    size_t rounded = (bytes + 15) & ~(size_t)15;
    if (rounded > arena->limit_bytes - arena->used_bytes) return NULL;
    px_arena_chunk *chunk = arena->chunks;
    if (!chunk || chunk->capacity - chunk->used < rounded) {
        size_t capacity = rounded > ARENA_CHUNK_BYTES ? rounded : ARENA_CHUNK_BYTES;
        chunk = malloc(sizeof *chunk + capacity);
        if (!chunk) return NULL;
        *chunk = (px_arena_chunk){.next = arena->chunks, .capacity = capacity};
        arena->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += rounded;
    arena->used_bytes += rounded;
    memset(memory, 0, rounded);
    return memory;
}

char *px_arena_copy(px_arena *arena, const void *bytes, size_t length)
{
    char *copy = px_arena_alloc(arena, length + 1);
    if (copy && length) memcpy(copy, bytes, length);
    return copy;
}

void px_arena_reset(px_arena *arena)
{
    px_arena_chunk *chunk = arena->chunks;
    while (chunk && chunk->next) {
        px_arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    if (chunk) chunk->used = 0;
    arena->chunks = chunk;
    arena->used_bytes = 0;
}

void px_arena_done(px_arena *arena)
{
    for (px_arena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    arena->chunks = NULL;
    arena->used_bytes = 0;
}

/* --- buf --- */

void px_buf_init(px_buf *buf, size_t max)
{
    *buf = (px_buf){.max = max};
}

static bool make_room(px_buf *buf, size_t more)
{
    if (buf->overflowed || more > buf->max - buf->length) {
        buf->overflowed = true;
        return false;
    }
    size_t need = buf->length + more + 1;
    if (need <= buf->capacity) return true;
    size_t capacity = buf->capacity ? buf->capacity : 256;
    while (capacity < need) capacity *= 2;
    char *data = realloc(buf->data, capacity);
    if (!data) {
        buf->overflowed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void px_buf_reserve(px_buf *buf, size_t length)
{
    size_t missing = length > buf->length ? length - buf->length : 0;
    if (make_room(buf, missing)) buf->data[buf->length] = '\0';
}

void px_buf_append(px_buf *buf, const void *bytes, size_t length)
{
    if (!make_room(buf, length)) return;
    if (length) memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void px_buf_puts(px_buf *buf, const char *text)
{
    px_buf_append(buf, text, strlen(text));
}
void px_buf_putc(px_buf *buf, char c)
{
    px_buf_append(buf, &c, 1);
}

void px_buf_printf(px_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length >= 0 && make_room(buf, (size_t)length)) {
        vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    }
    va_end(again);
}

void px_buf_reset(px_buf *buf)
{
    buf->length = 0;
    buf->overflowed = false;
    if (buf->data) buf->data[0] = '\0';
}

void px_buf_done(px_buf *buf)
{
    free(buf->data);
    *buf = (px_buf){.max = buf->max};
}

const char *px_buf_text(const px_buf *buf)
{
    return buf->data ? buf->data : "";
}
