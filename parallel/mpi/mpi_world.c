/* mpi_world.c - starting and ending MPI in this process. */
#include <mpi.h>

#include "base/clock.h"
#include "parallel/mpi/comm_mpi.h"

static bool is_running(void)
{
    int initialized = 0, finalized = 0;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    return initialized && !finalized;
}

px_status px_comm_mpi(px_comm **out)
{
    int provided = 0;
    px_mpi_world world;
    if (is_running()) return px_fail(PX_ALREADY_EXISTS, "MPI has been started in this process");
    /* One thread at a time calls MPI, but not always the one that starts it. */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS)
        return px_fail(PX_UNAVAILABLE, "MPI does not start: was this process started by mpirun?");
    if (provided < MPI_THREAD_SERIALIZED)
        return px_fail(PX_FAILED_PRECONDITION,
            "this MPI serves only one thread: use an Open MPI built with thread support");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &world.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world.size);
    if (world.size > PX_COMM_RANKS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "mpirun started %d processes; at most %d can be used",
            world.size, PX_COMM_RANKS_MAX);
    return px_comm_over_mpi(&world, out);
}

/* MPI_Finalize waits for all ranks without end, so meet them with a deadline before. */
static bool all_have_come(void)
{
    MPI_Request request;
    int done = 0;
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return false;
    int64_t until_ns = px_now_ns() + PX_COMM_DEADLINE_NS;
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
        if (px_now_ns() >= until_ns) return false;
        px_sleep_ns(PX_MS / 10);
    }
    return done != 0;
}

void px_comm_mpi_end(bool success)
{
    if (success && is_running() && all_have_come()) MPI_Finalize();
}
