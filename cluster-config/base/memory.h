/* memory.h - allocation that says what it wanted, arenas and bounded growing buffers.
 *
 * Lifetimes: process (px_alloc at start), request (an arena, freed whole), step (scratch that is
 * sized once). Everything that grows has a hard maximum given by its owner.
 * Threads: no locking; an object belongs to one thread at a time.
 */
#ifndef PX_BASE_MEMORY_H
#define PX_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Zeroed memory or a process-ending sentence: for small bookkeeping whose size no outsider
 * controls. free() releases it. */
void *px_alloc(size_t bytes);
void *px_alloc_array(size_t count, size_t element_bytes); /* overflow-checked, zeroed */
char *px_strdup(const char *text);

/* 64-byte aligned, zeroed, for sizes that input or configuration decides. Backed by mmap from
 * 1 MiB up (huge pages advised). RESOURCE_EXHAUSTED if the machine has not that much. */
px_status px_big_alloc(size_t bytes, const char *what, void **out) PX_MUST_USE;
void px_big_free(void *memory, size_t bytes);

/* Borrowed bytes, not NUL-terminated. */
typedef struct px_slice {
    const char *data;
    size_t length;
} px_slice;

/* --- arena: bump allocation, freed whole --- */
typedef struct px_arena_chunk px_arena_chunk;
typedef struct px_arena {
    px_arena_chunk *chunks; /* newest first */
    size_t used_bytes, limit_bytes;
} px_arena;

void px_arena_init(px_arena *arena, size_t limit_bytes);
/* 16-byte aligned and zeroed; NULL once the limit would be passed. */
void *px_arena_alloc(px_arena *arena, size_t bytes);
/* Copies `length` bytes and adds a NUL; NULL once the limit would be passed. */
char *px_arena_copy(px_arena *arena, const void *bytes, size_t length);
void px_arena_reset(px_arena *arena); /* frees all but one chunk */
void px_arena_done(px_arena *arena);

/* --- buf: growing bytes with a hard maximum --- */
typedef struct px_buf {
    char *data; /* always NUL-terminated when not NULL; the NUL is not counted */
    size_t length, capacity, max;
    bool overflowed; /* an append did not fit under max; the contents stop before it */
} px_buf;

void px_buf_init(px_buf *buf, size_t max);
/* Room for `length` bytes, so that appending up to them will not allocate. */
void px_buf_reserve(px_buf *buf, size_t length);
void px_buf_append(px_buf *buf, const void *bytes, size_t length);
void px_buf_puts(px_buf *buf, const char *text);
void px_buf_putc(px_buf *buf, char c);
void px_buf_printf(px_buf *buf, const char *format, ...) PX_PRINTF(2, 3);
void px_buf_reset(px_buf *buf); /* keeps capacity */
void px_buf_done(px_buf *buf);
const char *px_buf_text(const px_buf *buf); /* "" when empty; borrowed until the next append */

#endif
