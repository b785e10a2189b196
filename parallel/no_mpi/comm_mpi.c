/* comm_mpi.c - ranks that are processes started by mpirun. */
#include "parallel/comm_internal.h"

bool px_comm_mpi_present(void)
{
    return false;
}

px_status px_comm_mpi(px_comm **out)
{
    return px_fail(PX_UNIMPLEMENTED, "this build has no MPI: build with Open MPI installed");
}

void px_comm_mpi_end(bool success) {}
