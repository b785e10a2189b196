/* gate.c - spin, yield, sleep. The stages' lengths are measured in README.md. */
#include "parallel/gate.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    SPINS = 30,         /* half a microsecond; more is lost if the peer waits for this core */
    YIELDS_PER_LOOK = 8 /* yields between two looks at the clock */
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Not FUTEX_PRIVATE: the word may lie in memory shared by processes. */
static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int64_t timeout_ns)
{
    struct timespec t = {.tv_sec = timeout_ns / PX_SEC, .tv_nsec = timeout_ns % PX_SEC};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, timeout_ns == INT64_MAX ? NULL : &t, NULL, 0);
}

void px_gate_nudge(px_gate *gate)
{
    syscall(SYS_futex, &gate->value, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void px_gate_raise(px_gate *gate, uint32_t value)
{
    /* Sequentially consistent on both sides: either we see the sleeper, or it sees the value. */
    atomic_store(&gate->value, value);
    if (atomic_load(&gate->sleepers) > 0) px_gate_nudge(gate);
}

static bool wait_asleep(px_gate *gate, uint32_t value, int64_t until_ns)
{
    atomic_fetch_add(&gate->sleepers, 1);
    uint32_t seen = atomic_load(&gate->value);
    bool reached = (int32_t)(seen - value) >= 0;
    if (!reached) {
        int64_t left_ns = until_ns == INT64_MAX ? INT64_MAX : until_ns - px_now_ns();
        if (left_ns > 0) futex_wait(&gate->value, seen, left_ns);
        reached = px_gate_reached(gate, value);
    }
    atomic_fetch_sub(&gate->sleepers, 1);
    return reached;
}

/* Lets others run on this core between looks. */
static bool wait_awake(px_gate *gate, uint32_t value, px_patience patience)
{
    int64_t now_ns = px_now_ns(), sleep_from_ns = now_ns + patience.awake_ns;
    while (now_ns < sleep_from_ns && now_ns < patience.until_ns) {
        for (int i = 0; i < YIELDS_PER_LOOK; i++) {
            if (px_gate_reached(gate, value)) return true;
            sched_yield();
        }
        now_ns = px_now_ns();
    }
    return false;
}

bool px_gate_wait(px_gate *gate, uint32_t value, px_patience patience)
{
    for (int i = 0; i < SPINS; i++) {
        if (px_gate_reached(gate, value)) return true;
        cpu_relax();
    }
    if (wait_awake(gate, value, patience)) return true;
    /* A sleep ends at a raise that is still short of `value`, at a nudge, or for no reason. */
    uint32_t before;
    do {
        before = px_gate_value(gate);
        if (wait_asleep(gate, value, patience.until_ns)) return true;
    } while (px_gate_value(gate) != before && px_now_ns() < patience.until_ns);
    return false;
}
