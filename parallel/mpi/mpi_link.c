/* mpi_link.c - nonblocking MPI calls and the loop that waits for them. */
#include "parallel/mpi/mpi_link.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

/* --- waiting ------------------------------------------------------------------------------ */

enum {
    YIELD_NS = 300 * 1000, /* longer than a round trip between hosts takes */
    SLEEP_NS_MIN = 20 * 1000,
    SLEEP_NS_MAX = 1000 * 1000,
};

typedef struct backoff {
    int64_t started_ns, until_ns, sleep_ns;
} backoff;

static backoff backoff_start(int64_t wait_ns)
{
    int64_t now_ns = px_now_ns();
    return (backoff){.started_ns = now_ns,
        .until_ns = wait_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + wait_ns,
        .sleep_ns = SLEEP_NS_MIN};
}

/* Pauses between two tests; false once the time is up. */
static bool backoff_pause(backoff *b)
{
    int64_t now_ns = px_now_ns();
    if (now_ns >= b->until_ns) return false;
    if (now_ns - b->started_ns < YIELD_NS) {
        sched_yield();
        return true;
    }
    int64_t left_ns = b->until_ns - now_ns;
    px_sleep_ns(b->sleep_ns < left_ns ? b->sleep_ns : left_ns);
    b->sleep_ns = b->sleep_ns * 2 < SLEEP_NS_MAX ? b->sleep_ns * 2 : SLEEP_NS_MAX;
    return true;
}

/* --- transfers ---------------------------------------------------------------------------- */

static px_status check(int code, int member)
{
    if (code == MPI_SUCCESS) return px_ok();
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    return px_fail(PX_UNAVAILABLE, "rank %d of the group cannot be reached: %s", member, text);
}

static int tag_of(const px_mpi_link *link, px_mpi_lane lane)
{
    return link->context * PX_MPI_LANE_COUNT + (int)lane;
}

void px_mpi_batch_init(px_mpi_batch *batch, const px_mpi_link *link, int capacity)
{
    *batch = (px_mpi_batch){.link = link, .capacity = capacity};
    batch->requests = px_alloc_array((size_t)capacity, sizeof *batch->requests);
    batch->members = px_alloc_array((size_t)capacity, sizeof *batch->members);
}

void px_mpi_batch_done(px_mpi_batch *batch)
{
    free(batch->requests);
    free(batch->members);
}

static MPI_Request *next_request(px_mpi_batch *batch, int member, size_t bytes)
{
    PX_ASSERT(batch->count < batch->capacity && bytes <= INT_MAX);
    batch->members[batch->count] = member;
    return &batch->requests[batch->count++];
}

px_status px_mpi_send(px_mpi_batch *batch, px_mpi_peer to, const void *data, size_t bytes)
{
    MPI_Request *request = next_request(batch, to.member, bytes);
    return check(MPI_Isend(data, (int)bytes, MPI_BYTE, batch->link->world_ranks[to.member],
                     tag_of(batch->link, to.lane), MPI_COMM_WORLD, request),
        to.member);
}

px_status px_mpi_recv(px_mpi_batch *batch, px_mpi_peer from, void *data, size_t bytes)
{
    MPI_Request *request = next_request(batch, from.member, bytes);
    return check(MPI_Irecv(data, (int)bytes, MPI_BYTE, batch->link->world_ranks[from.member],
                     tag_of(batch->link, from.lane), MPI_COMM_WORLD, request),
        from.member);
}

int px_mpi_late_member(const px_mpi_batch *batch)
{
    for (int i = 0; i < batch->count; i++) {
        int done = 0; /* a test of all leaves the done among them as they are until all are */
        MPI_Request_get_status(batch->requests[i], &done, MPI_STATUS_IGNORE);
        if (!done) return batch->members[i];
    }
    return batch->members[0];
}

px_status px_mpi_wait(px_mpi_batch *batch, int64_t wait_ns, bool *out_done)
{
    backoff pause = backoff_start(wait_ns);
    int done = 0, code;
    do {
        code = MPI_Testall(batch->count, batch->requests, &done, MPI_STATUSES_IGNORE);
    } while (code == MPI_SUCCESS && !done && backoff_pause(&pause));
    if (code != MPI_SUCCESS) return check(code, px_mpi_late_member(batch));
    if (done) batch->count = 0;
    *out_done = done != 0;
    return px_ok();
}

px_status px_mpi_expect(const px_mpi_link *link, px_mpi_peer from, int64_t wait_ns,
    px_mpi_arrival *out, bool *out_found)
{
    backoff pause = backoff_start(wait_ns);
    MPI_Status envelope;
    int found = 0, bytes = 0;
    do {
        PX_TRY(check(MPI_Improbe(link->world_ranks[from.member], tag_of(link, from.lane),
                         MPI_COMM_WORLD, &found, &out->message, &envelope),
            from.member));
    } while (!found && backoff_pause(&pause));
    if (found) PX_TRY(check(MPI_Get_count(&envelope, MPI_BYTE, &bytes), from.member));
    out->bytes = (size_t)bytes;
    *out_found = found != 0;
    return px_ok();
}

px_status px_mpi_take(px_mpi_batch *batch, px_mpi_peer from, px_mpi_arrival *arrival, void *data)
{
    MPI_Request *request = next_request(batch, from.member, arrival->bytes);
    return check(
        MPI_Imrecv(data, (int)arrival->bytes, MPI_BYTE, &arrival->message, request), from.member);
}
