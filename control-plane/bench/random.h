/* random.h - the load generator's random numbers: the same seed makes the same load everywhere.
 *
 * Algorithm: splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
 * 2014). Threads: a value of its owner.
 */
#ifndef PX_CONTROL_BENCH_RANDOM_H
#define PX_CONTROL_BENCH_RANDOM_H

#include <stdint.h>

typedef struct px_random {
    uint64_t state; /* any value is a seed */
} px_random;

static inline uint64_t px_random_next(px_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* In (0, 1]: safe to take the logarithm of. */
static inline double px_random_unit(px_random *random)
{
    return (double)((px_random_next(random) >> 11) + 1) * 0x1p-53;
}

/* In [0, bound); bound > 0. */
static inline uint32_t px_random_below(px_random *random, uint32_t bound)
{
    return (uint32_t)((px_random_next(random) >> 32) * bound >> 32);
}

#endif
