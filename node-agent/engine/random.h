/* random.h - random numbers as a pure function of (seed, sequence, position): no state, no order.
 *
 * Whatever else runs beside a sequence, however its prompt is cut, wherever it is replayed, the
 * number drawn for a position is the same.
 * Source:  J. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC11): Philox-4x32-10.
 * Threads: pure functions.
 */
#ifndef PX_ENGINE_RANDOM_H
#define PX_ENGINE_RANDOM_H

#include <stdint.h>

typedef struct px_philox_counter {
    uint32_t word[4];
} px_philox_counter;
typedef struct px_philox_key {
    uint32_t word[2];
} px_philox_key;

static inline px_philox_counter px_philox(px_philox_counter c, px_philox_key k)
{
    enum { ROUNDS = 10 };
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * c.word[0], b = UINT64_C(0xCD9E8D57) * c.word[2];
        c = (px_philox_counter){{(uint32_t)(b >> 32) ^ c.word[1] ^ k.word[0], (uint32_t)b,
            (uint32_t)(a >> 32) ^ c.word[3] ^ k.word[1], (uint32_t)a}};
        k.word[0] += 0x9E3779B9; /* the golden ratio */
        k.word[1] += 0xBB67AE85; /* sqrt(3) - 1 */
    }
    return c;
}

typedef struct px_random_place {
    uint32_t sequence, position; /* the draw for the token there of one of a seed's sequences */
} px_random_place;

static inline uint64_t px_random_bits(uint64_t seed, px_random_place place)
{
    px_philox_counter r = px_philox((px_philox_counter){{place.position, place.sequence, 0, 0}},
        (px_philox_key){{(uint32_t)seed, (uint32_t)(seed >> 32)}});
    return (uint64_t)r.word[0] << 32 | r.word[1];
}

/* Uniform in [0, 1), 53 bits. */
static inline double px_random_at(uint64_t seed, px_random_place place)
{
    return (double)(px_random_bits(seed, place) >> 11) * 0x1p-53;
}

/* Of a seed's first sequence. */
static inline double px_random_unit(uint64_t seed, uint32_t position)
{
    return px_random_at(seed, (px_random_place){.position = position});
}

#endif
