/* ring.c - see ring.h. The release store of tail publishes the item, the acquire load reads it. */
#include "base/ring.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void px_ring_init(px_ring *ring, size_t item_bytes, uint32_t capacity)
{
    PX_ASSERT(capacity > 0 && capacity <= (1u << 30));
    uint32_t rounded = 1;
    while (rounded < capacity) rounded *= 2;
    ring->slots = px_alloc_array(rounded, item_bytes);
    ring->item_bytes = item_bytes;
    ring->mask = rounded - 1;
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
}

void px_ring_done(px_ring *ring)
{
    free(ring->slots);
    ring->slots = NULL;
}

bool px_ring_push(px_ring *ring, const void *item)
{
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (tail - head > ring->mask) return false;
    memcpy(ring->slots + (size_t)(tail & ring->mask) * ring->item_bytes, item, ring->item_bytes);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

bool px_ring_pop(px_ring *ring, void *out_item)
{
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (head == tail) return false;
    memcpy(
        out_item, ring->slots + (size_t)(head & ring->mask) * ring->item_bytes, ring->item_bytes);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}
