/* arrivals.h - when the requests of an open-loop load are sent: pure functions.
 *
 * The gaps between requests are gamma distributed with mean 1 / rate. Shape 1 is a Poisson process,
 * as independent users make it; smaller shapes come in bursts, larger ones evenly: the meaning of
 * "burstiness" in vLLM's benchmark.
 */
#ifndef PX_CONTROL_ARRIVALS_H
#define PX_CONTROL_ARRIVALS_H

#include <stdint.h>

typedef struct px_arrivals {
    double rate;       /* requests per second, > 0 */
    double burstiness; /* the gamma distribution's shape, > 0 */
    uint64_t seed;
} px_arrivals;

/* out_ns[i]: when request i is sent, counted from the start; ascending, the first after one gap. */
void px_arrivals_make(const px_arrivals *arrivals, uint32_t count, int64_t *out_ns);

#endif
