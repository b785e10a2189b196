/* cpus.h - how many threads a rank should have, and letting them at the CPUs.
 *
 * mpirun binds each process to one core unless told otherwise. That is right for one thread and
 * traps several on one core.
 */
#ifndef PX_PARALLEL_CPUS_H
#define PX_PARALLEL_CPUS_H

#include <stdint.h>

#include "parallel/comm.h"

/* CPUs that this thread may run on; at least 1. */
uint32_t px_cpus_allowed(void);

/* Threads for this rank of `world`: `wanted`, or with 0 an even share of the CPUs among the ranks
 * of this host, at least 1. Under mpirun, CPUs that this rank was given alone are its share, and a
 * binding narrower than the result is lifted from the calling thread and those it starts later. */
uint32_t px_cpus_claim(const px_comm *world, uint32_t wanted);

#endif
