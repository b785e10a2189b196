/* gate.h - a counter that one side raises and the others wait for: how threads and processes meet.
 *
 * A gate lies in memory of this process or in memory that processes share. A wait first looks
 * (spin), then lets others run (yield), then sleeps in the kernel (futex), so that it costs well
 * under a microsecond while the peer is busy on another core, is right when more threads than
 * cores wait for one another, and costs nothing when the peer stays away.
 * Counters wrap: "reached" compares by signed distance, so waits must be less than 2^31 ahead.
 * Memory: what was written before a raise is visible after a wait that saw it.
 */
#ifndef PX_PARALLEL_GATE_H
#define PX_PARALLEL_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

typedef struct px_gate { /* zeroed memory is a gate at 0; a cache line of its own */
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
} px_gate;

/* Sets the value and wakes whoever sleeps. One raiser at a time. */
void px_gate_raise(px_gate *gate, uint32_t value);
/* Wakes whoever sleeps without raising, so that they look at what else has changed. */
void px_gate_nudge(px_gate *gate);

static inline uint32_t px_gate_value(px_gate *gate)
{
    return atomic_load_explicit(&gate->value, memory_order_acquire);
}

static inline bool px_gate_reached(px_gate *gate, uint32_t value)
{
    return (int32_t)(px_gate_value(gate) - value) >= 0;
}

typedef struct px_patience {
    int64_t awake_ns; /* stay on the core this long (others may run on it), then sleep */
    int64_t until_ns; /* give up then (px_now_ns() scale); INT64_MAX: never */
} px_patience;

/* For peers that are at work on the same thing, and for more work that may come. Waking a sleeper
 * takes some 50 us, which a meeting in every layer does not have to spare. */
#define PX_GATE_AWAKE_MEETING_NS (5 * PX_MS)
#define PX_GATE_AWAKE_IDLE_NS    (1 * PX_MS)

/* Waits until the gate reaches `value`, or patience ends. Whether it was reached; a nudge ends the
 * sleep early with false. */
bool px_gate_wait(px_gate *gate, uint32_t value, px_patience patience);

#endif
