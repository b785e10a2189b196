/* comm.h - how the ranks of one group talk: collectives with deadlines, one interface, four
 * makings.
 *
 *   self    a world of one; every operation returns at once
 *   thread  ranks are threads of one process
 *   mpi     ranks are processes under mpirun; ranks on one host reduce through shared memory
 *   nccl    ranks own GPUs (device memory); the module that the CUDA backend loads
 *
 * Threads: one thread of each rank at a time (its engine thread / worker 0 of its team).
 * Errors:  a peer that does not answer within the deadline is UNAVAILABLE naming the rank; the comm
 *          is then broken: every later call fails the same way. The rank ends (crash-only).
 * Order:   all ranks make the same calls in the same order. Sums are added in rank order 0..n-1 on
 *          every rank, so all hold bitwise the same result.
 */
#ifndef PX_PARALLEL_COMM_H
#define PX_PARALLEL_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct px_comm px_comm;

int px_comm_rank(const px_comm *comm);
int px_comm_size(const px_comm *comm);
int px_comm_host_size(const px_comm *comm);    /* ranks on this host, this one included */
const char *px_comm_kind(const px_comm *comm); /* "self", "thread", "mpi" */
/* NULL is fine. Does not wait for peers: those that still need this rank fail at once. */
void px_comm_free(px_comm *comm);
/* Frees the comm of a rank that ends with `status` and tells the peers why. Returns the failure
 * that started it all: that of a peer, if this rank only lost a peer (waits half a second to hear).
 */
px_status px_comm_end(px_comm *comm, px_status status) PX_MUST_USE;
/* Every wait below ends after this long (default 30 s; 0: the default). */
void px_comm_set_deadline(px_comm *comm, int64_t deadline_ns);

/* x[0..count) becomes the sum over the ranks, on every rank. */
px_status px_comm_all_reduce(px_comm *comm, float *x, size_t count) PX_MUST_USE;
/* A matrix of which each rank holds some columns: rank r those from byte ends[r - 1] (0) of a row
 * to ends[r]; a rank may hold none. */
typedef struct px_comm_columns {
    void *data; /* [rows][row_bytes] */
    size_t rows, row_bytes;
    const size_t *ends; /* [size]; the last is row_bytes */
} px_comm_columns;
/* All columns reach every rank. Only `data` may differ between the ranks' calls. */
px_status px_comm_all_gather(px_comm *comm, const px_comm_columns *columns) PX_MUST_USE;
/* Rank r contributes bytes[r] bytes at `mine`; rank 0 receives them in rank order at `all`. */
px_status px_comm_gather(
    px_comm *comm, const void *mine, const size_t *bytes, void *all) PX_MUST_USE;
px_status px_comm_send(px_comm *comm, int to, const void *data, size_t bytes) PX_MUST_USE;
px_status px_comm_recv(px_comm *comm, int from, void *data, size_t bytes) PX_MUST_USE;
px_status px_comm_barrier(px_comm *comm) PX_MUST_USE;
/* Rank 0's bytes reach everyone. `bytes` is the same on all ranks. */
px_status px_comm_broadcast(px_comm *comm, void *data, size_t bytes) PX_MUST_USE;

/* The plan channel: rank 0 sends a message of any length up to the capacity, the others wait for
 * it without a deadline and without burning a core when it stays away (spin briefly, then sleep).
 * plan_send does not wait for the others unless they are a ring's length behind. A dead rank 0 ends
 * the wait with UNAVAILABLE where that can be seen. RESOURCE_EXHAUSTED: longer than `capacity`. */
px_status px_comm_plan_send(px_comm *comm, const void *message, size_t bytes) PX_MUST_USE;
px_status px_comm_plan_wait(
    px_comm *comm, void *message, size_t capacity, size_t *out_bytes) PX_MUST_USE;

/* A comm over the ranks that pass the same colour, ordered by key; all ranks call it. Making it
 * keeps this comm's deadline; its own is the default. */
px_status px_comm_split(px_comm *comm, int colour, int key, px_comm **out) PX_MUST_USE;

/* --- the makings --- */
px_status px_comm_self(px_comm **out) PX_MUST_USE;
/* `out` gets `size` comms, one for each thread; the shared part goes with the last one freed. */
px_status px_comm_threads(int size, px_comm **out) PX_MUST_USE;
/* Was this process started by mpirun (or PMI)? Cheap; does not initialise MPI. */
bool px_comm_mpi_present(void);
/* The world of mpirun's processes; initialises MPI, so once a process. UNIMPLEMENTED when built
 * without it. */
px_status px_comm_mpi(px_comm **out) PX_MUST_USE;
/* The last words to MPI, after all comms are freed. With success it waits for the other ranks to
 * say so too (bounded by the default deadline); else the process should exit with a code that is
 * not 0, on which mpirun ends the other ranks. Nothing happens when px_comm_mpi was never called.
 */
void px_comm_mpi_end(bool success);

#endif
