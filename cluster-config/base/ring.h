/* ring.h - bounded single-producer, single-consumer queue of fixed-size items.
 *
 * How threads meet: one pushes, one pops, neither waits. A full ring is the producer's problem
 * to answer (refuse, cancel, retry later); nothing is ever dropped in silence.
 * Owns:    its slots, allocated in init. Items are copied in and out.
 */
#ifndef PX_BASE_RING_H
#define PX_BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct px_ring {
    unsigned char *slots;
    size_t item_bytes;
    uint32_t mask;                      /* capacity - 1; the capacity is a power of two */
    _Alignas(64) _Atomic uint32_t head; /* next to pop; the consumer writes it */
    _Alignas(64) _Atomic uint32_t tail; /* next to push; the producer writes it */
} px_ring;

/* Capacity is rounded up to a power of two. */
void px_ring_init(px_ring *ring, size_t item_bytes, uint32_t capacity);
void px_ring_done(px_ring *ring);
bool px_ring_push(px_ring *ring, const void *item); /* false: full. Producer only. */
bool px_ring_pop(px_ring *ring, void *out_item);    /* false: empty. Consumer only. */

#endif
