#include "control/bench/arrivals.h"

#include <math.h>

#include "control/bench/random.h"

/* Box and Muller, "A note on the generation of random normal deviates", 1958. */
static double normal(px_random *random)
{
    double radius = sqrt(-2 * log(px_random_unit(random)));
    return radius * cos(2 * M_PI * px_random_unit(random));
}

/* Marsaglia and Tsang, "A simple method for generating gamma variables", 2000. Scale 1. */
static double gamma_of(px_random *random, double shape)
{
    if (shape < 1) return gamma_of(random, shape + 1) * pow(px_random_unit(random), 1 / shape);
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = normal(random), v = 1 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(px_random_unit(random)) < 0.5 * x * x + d - d * v + d * log(v)) return d * v;
    }
}

void px_arrivals_make(const px_arrivals *arrivals, uint32_t count, int64_t *out_ns)
{
    px_random random = {arrivals->seed};
    double at_s = 0, scale = 1 / (arrivals->rate * arrivals->burstiness);
    for (uint32_t i = 0; i < count; i++) {
        at_s += gamma_of(&random, arrivals->burstiness) * scale;
        out_ns[i] = (int64_t)(at_s * 1e9);
    }
}
