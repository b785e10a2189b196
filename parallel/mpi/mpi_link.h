/* mpi_link.h - messages between mpirun's processes, with deadlines: all that Phalanx asks of MPI.
 *
 * Only MPI_COMM_WORLD is used: the members of a group find their messages by the group's `context`
 * in the tag, so that making a group needs none of MPI's blocking calls. MPI has no wait with a
 * deadline: ours tests, at first yielding between tests, then sleeping longer and longer, up to a
 * millisecond, so that a rank that waits long does not burn its core.
 *
 * Threads: one at a time (MPI_THREAD_SERIALIZED).
 * Errors:  UNAVAILABLE naming the member. Transfers under way stay under way after a failure or a
 *          wait that was given up: MPI keeps their buffers until the process ends.
 */
#ifndef PX_PARALLEL_MPI_LINK_H
#define PX_PARALLEL_MPI_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mpi.h>

#include "base/status.h"

typedef enum px_mpi_lane { /* messages of different lanes never meet */
    PX_MPI_COLLECTIVE,
    PX_MPI_PAIR,
    PX_MPI_PLAN,
    PX_MPI_WORDS, /* why a rank ended */
    PX_MPI_LANE_COUNT
} px_mpi_lane;

enum { PX_MPI_CONTEXT_MAX = 1 << 20 };

typedef struct px_mpi_link {
    int size, context;
    int *world_ranks; /* [size]: the members' ranks in MPI_COMM_WORLD */
} px_mpi_link;

typedef struct px_mpi_peer {
    int member;
    px_mpi_lane lane;
} px_mpi_peer;

/* Transfers that are waited for together. */
typedef struct px_mpi_batch {
    const px_mpi_link *link; /* borrowed */
    int count, capacity;
    MPI_Request *requests; /* [capacity] */
    int *members;          /* [capacity]: whom each waits for */
} px_mpi_batch;

void px_mpi_batch_init(px_mpi_batch *batch, const px_mpi_link *link, int capacity);
void px_mpi_batch_done(px_mpi_batch *batch);
/* Start a transfer of at most INT_MAX bytes; `data` is in use until the batch has been waited for.
 */
px_status px_mpi_send(
    px_mpi_batch *batch, px_mpi_peer to, const void *data, size_t bytes) PX_MUST_USE;
px_status px_mpi_recv(px_mpi_batch *batch, px_mpi_peer from, void *data, size_t bytes) PX_MUST_USE;
/* Waits for all, at most `wait_ns`; once *out_done, the batch is empty. */
px_status px_mpi_wait(px_mpi_batch *batch, int64_t wait_ns, bool *out_done) PX_MUST_USE;
/* Of a batch that is not done: a member that a transfer waits for. */
int px_mpi_late_member(const px_mpi_batch *batch);

/* A message whose length the receiver does not know. Looks for one for `wait_ns` (0: once,
 * INT64_MAX: until it comes); then it must be taken. */
typedef struct px_mpi_arrival {
    MPI_Message message;
    size_t bytes;
} px_mpi_arrival;
px_status px_mpi_expect(const px_mpi_link *link, px_mpi_peer from, int64_t wait_ns,
    px_mpi_arrival *out, bool *out_found) PX_MUST_USE;
px_status px_mpi_take(px_mpi_batch *batch, px_mpi_peer from, px_mpi_arrival *arrival,
    void *data) PX_MUST_USE; /* joins the batch */

#endif
