/* doorbell.h - one thread sleeps until others ring; a ring that comes before the sleep is not lost.
 *
 *   sleeper:  seen = look(); check for work; wait(seen)
 *   ringer:   publish work; ring()
 *
 * Threads: any may ring; one waits.
 */
#ifndef PX_ENGINE_DOORBELL_H
#define PX_ENGINE_DOORBELL_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

typedef struct px_doorbell {
    _Atomic uint32_t rings;
} px_doorbell;

static inline uint32_t px_doorbell_look(const px_doorbell *bell)
{
    return atomic_load_explicit(&bell->rings, memory_order_acquire);
}

static inline void px_doorbell_ring(px_doorbell *bell)
{
    atomic_fetch_add_explicit(&bell->rings, 1, memory_order_release);
    syscall(SYS_futex, &bell->rings, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Returns once the bell was rung after `seen` was looked up, or (spuriously too) after timeout_ns.
 */
static inline void px_doorbell_wait(px_doorbell *bell, uint32_t seen, int64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = timeout_ns / PX_SEC, .tv_nsec = timeout_ns % PX_SEC};
    syscall(SYS_futex, &bell->rings, FUTEX_WAIT_PRIVATE, seen, &timeout, NULL, 0);
}

#endif
