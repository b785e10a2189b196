/* race.h - which of many weighted tokens is drawn, when each has a random number of its own.
 *
 * Token i with weight w arrives after -log(u_i) / w, and the first to arrive is drawn: that is i
 * with the probability w / (sum of weights), however many run and in whatever order they are looked
 * at. Two distributions raced with the same numbers mostly have the same winner: with a total
 * variation of d between them, at least (1 - d) / (1 + d) of the time. That is what lets a draft
 * model guess what its target will draw (speculate/draft.h), which one number for all tokens would
 * not. A token's number is a function of (seed, sequence, position, id) alone. Scores are base-2
 * logarithms: log2(w) - log2(-log(u)), the highest wins. Source:  E. Gumbel, "Statistical Theory of
 * Extreme Values" (1954); for the bound, C. Maddison et al., "A* Sampling" (2014) and J. Gao et al.
 * on Gumbel couplings; the mixing constants are C. Wellons' "lowbias32". Threads: pure functions.
 */
#ifndef PX_SAMPLE_RACE_H
#define PX_SAMPLE_RACE_H

#include <string.h>

#include "engine/random.h"

enum { PX_RACE_BITS = 31 };

typedef struct px_race {
    uint32_t key[2];
} px_race;

static inline px_race px_race_at(uint64_t seed, px_random_place place)
{
    uint64_t bits = px_random_bits(seed, place);
    return (px_race){{(uint32_t)bits, (uint32_t)(bits >> 32)}};
}

/* Of PX_RACE_BITS bits. A macro, as it is used for single tokens and for vectors of them. */
#define PX_RACE_NUMBER(x, race)                                                                    \
    do {                                                                                           \
        (x) += (race).key[0];                                                                      \
        (x) ^= (x) >> 16;                                                                          \
        (x) *= 0x7feb352du;                                                                        \
        (x) ^= (race).key[1];                                                                      \
        (x) ^= (x) >> 15;                                                                          \
        (x) *= 0x846ca68bu;                                                                        \
        (x) ^= (x) >> 16;                                                                          \
        (x) >>= 32 - PX_RACE_BITS;                                                                 \
    } while (0)

/* log2(y) for y > 0, to 12 digits: our own, so that it is the same number on every machine. */
static inline double px_race_log2(double y)
{
    uint64_t bits;
    memcpy(&bits, &y, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    memcpy(&y, &bits, sizeof y);
    if (y > 1.4142135623730951) y /= 2, exponent++;
    double s = (y - 1) / (y + 1), q = s * s; /* log(y) = 2 atanh(s) */
    double series =
        1 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * (1.0 / 11 + q / 13)))));
    return exponent + 2.8853900817779268 * s * series;
}

/* What the token's number adds to the logarithm of its weight. */
static inline double px_race_luck(px_race race, uint32_t id)
{
    PX_RACE_NUMBER(id, race);
    double late = -px_race_log2(1 - (id + 0.5) / (UINT64_C(1) << PX_RACE_BITS));
    return -px_race_log2(late * 0.69314718055994531);
}

#endif
