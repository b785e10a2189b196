/* cpus.c - affinity: what it is, and lifting it. */
#include "parallel/cpus.h"

#include <sched.h>
#include <string.h>

uint32_t px_cpus_allowed(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    int count = CPU_COUNT(&allowed);
    return count > 0 ? (uint32_t)count : 1;
}

/* The kernel cuts the wish down to what the container's or service's cpuset allows. */
static void lift_binding(void)
{
    cpu_set_t all;
    memset(&all, 0xFF, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
}

/* What lifting the binding would give. */
static uint32_t host_cpus(void)
{
    cpu_set_t bound;
    if (sched_getaffinity(0, sizeof bound, &bound) != 0) return 1;
    lift_binding();
    uint32_t count = px_cpus_allowed();
    sched_setaffinity(0, sizeof bound, &bound);
    return count;
}

static uint32_t share(uint32_t cpus, uint32_t ranks)
{
    uint32_t each = cpus / ranks;
    return each > 0 ? each : 1;
}

uint32_t px_cpus_claim(const px_comm *world, uint32_t wanted)
{
    bool is_launched = strcmp(px_comm_kind(world), "mpi") == 0;
    uint32_t ranks = (uint32_t)px_comm_host_size(world), allowed = px_cpus_allowed();
    uint32_t all = is_launched ? host_cpus() : allowed;
    /* Bound to several CPUs of its own, as --map-by slot:PE=8 does; to a whole socket or to one
     * core is what mpirun does when nobody says anything. */
    bool has_own = is_launched && allowed > 1 && (uint64_t)allowed * ranks <= all;
    uint32_t threads = wanted ? wanted : has_own ? allowed : share(all, ranks);
    if (is_launched && threads > allowed) lift_binding();
    return threads;
}
