/* comm.c - the front of every making: checks what the caller promised, keeps a broken comm broken.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "parallel/comm_internal.h"

/* How long a rank that lost a peer waits to hear from somebody what happened. */
#define HEAR_NS (500 * PX_MS)

int px_comm_rank(const px_comm *comm)
{
    return comm->rank;
}
int px_comm_size(const px_comm *comm)
{
    return comm->size;
}
int px_comm_host_size(const px_comm *comm)
{
    return comm->host_size;
}
const char *px_comm_kind(const px_comm *comm)
{
    return comm->kind;
}

void px_comm_free(px_comm *comm)
{
    if (comm) comm->ops->free(comm);
}

px_status px_comm_end(px_comm *comm, px_status status)
{
    if (status.code == PX_UNAVAILABLE) {
        px_status why;
        int64_t until_ns = px_now_ns() + HEAR_NS;
        while (!comm->ops->hear(comm, &why)) {
            if (px_now_ns() >= until_ns) {
                why = status;
                break;
            }
            px_sleep_ns(PX_MS);
        }
        status = why;
    } else if (!px_is_ok(status)) {
        comm->ops->say(comm, &status);
    }
    px_comm_free(comm);
    return status;
}

void px_comm_set_deadline(px_comm *comm, int64_t deadline_ns)
{
    comm->deadline_ns = deadline_ns > 0 ? deadline_ns : PX_COMM_DEADLINE_NS;
}

/* Returns what `call` returns, unless an earlier failure broke the comm; remembers its failure. */
#define GUARDED(comm, call)                                                                        \
    do {                                                                                           \
        if ((comm)->broken.code != PX_OK) return (comm)->broken;                                   \
        px_status status_ = (call);                                                                \
        if (status_.code != PX_OK) (comm)->broken = status_;                                       \
        return status_;                                                                            \
    } while (0)

px_status px_comm_all_reduce(px_comm *comm, float *x, size_t count)
{
    GUARDED(comm, comm->ops->all_reduce(comm, x, count));
}

px_status px_comm_all_gather(px_comm *comm, const px_comm_columns *columns)
{
    PX_ASSERT(columns->ends[comm->size - 1] == columns->row_bytes);
    GUARDED(comm, comm->ops->all_gather(comm, columns));
}

px_status px_comm_gather(px_comm *comm, const void *mine, const size_t *bytes, void *all)
{
    GUARDED(comm, comm->ops->gather(comm, mine, bytes, all));
}

px_status px_comm_send(px_comm *comm, int to, const void *data, size_t bytes)
{
    PX_ASSERT(to >= 0 && to < comm->size && to != comm->rank);
    GUARDED(comm, comm->ops->send(comm, to, data, bytes));
}

px_status px_comm_recv(px_comm *comm, int from, void *data, size_t bytes)
{
    PX_ASSERT(from >= 0 && from < comm->size && from != comm->rank);
    GUARDED(comm, comm->ops->recv(comm, from, data, bytes));
}

px_status px_comm_barrier(px_comm *comm)
{
    GUARDED(comm, comm->ops->barrier(comm));
}

px_status px_comm_broadcast(px_comm *comm, void *data, size_t bytes)
{
    GUARDED(comm, comm->ops->broadcast(comm, data, bytes));
}

px_status px_comm_plan_send(px_comm *comm, const void *message, size_t bytes)
{
    PX_ASSERT(comm->rank == 0);
    GUARDED(comm, comm->ops->plan_send(comm, message, bytes));
}

px_status px_comm_plan_wait(px_comm *comm, void *message, size_t capacity, size_t *out_bytes)
{
    PX_ASSERT(comm->rank != 0);
    GUARDED(comm, comm->ops->plan_wait(comm, message, capacity, out_bytes));
}

static px_status split(px_comm *comm, int colour, int key, px_comm **out)
{
    PX_TRY(comm->ops->split(comm, colour, key, out));
    px_comm_set_deadline(*out, 0);
    return px_ok();
}

px_status px_comm_split(px_comm *comm, int colour, int key, px_comm **out)
{
    GUARDED(comm, split(comm, colour, key, out));
}

/* Open MPI's and Slurm's launchers (PMIx, PMI) set one of these for each process. */
bool px_comm_mpi_present(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK");
}
