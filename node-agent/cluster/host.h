/* host.h - what this machine is: cores, memory, GPUs, and which machine it is.
 *
 * Read from the kernel's files; limits of a container (cgroup v2) count as the machine's.
 */
#ifndef PX_CLUSTER_HOST_H
#define PX_CLUSTER_HOST_H

#include <stdint.h>

#include "base/status.h"

enum { PX_HOST_GPUS_MAX = 64 };

typedef struct px_host {
    char name[256];    /* host name */
    char machine[128]; /* boot id and network namespace: equal for agents that share a machine */
    uint32_t cores;    /* this process may use */
    uint64_t memory_bytes;
    uint32_t gpu_count;
    char gpus[PX_HOST_GPUS_MAX][96]; /* model names, as NVIDIA's driver lists them */
} px_host;

px_status px_host_look(px_host *out) PX_MUST_USE;
uint64_t px_host_memory_free(void); /* available without swapping, now */
uint64_t px_host_oom_kills(void);   /* processes the kernel has killed for want of memory */

/* INVALID_ARGUMENT unless it has the form "host:port" or "[host]:port". */
px_status px_host_check_server(const char *server) PX_MUST_USE;
/* The numeric address by which `server` ("host:port") sees this machine, or, given `address`, that
 * name resolved. UNAVAILABLE with a sentence when a name does not resolve or no route leads there.
 */
px_status px_host_address(const char *server, const char *address, char out[64]) PX_MUST_USE;

#endif
