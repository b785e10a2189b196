/* measure.h - how fast this machine is, in two numbers, within 150 ms.
 *
 * Decoding is bound by reading weights, prefill by multiplying them: the control plane weighs
 * machines by these two. They are taken by all threads at once, on memory larger than most caches,
 * with the widest vectors the processor has; they are for comparing machines, not for boasting.
 */
#ifndef PX_CLUSTER_MEASURE_H
#define PX_CLUSTER_MEASURE_H

#include <stdint.h>

#include "base/status.h"

typedef struct px_measure {
    uint64_t read_bytes_s; /* memory read by all threads together */
    uint64_t flops;        /* float32 multiply and add, counted as two */
} px_measure;

px_status px_measure_run(uint32_t threads, px_measure *out) PX_MUST_USE;

#endif
