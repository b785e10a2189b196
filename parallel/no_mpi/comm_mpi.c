/* comm_mpi.c - what a build without MPI says to mpirun. */
#include "parallel/comm_internal.h"

px_status px_comm_mpi(px_comm **out)
{
    return px_fail(PX_UNIMPLEMENTED,
        "mpirun started this process, but it was built without MPI: build it where Open MPI is "
        "installed");
}

void px_comm_mpi_end(bool success) {}
