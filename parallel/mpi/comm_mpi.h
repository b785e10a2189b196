/* comm_mpi.h - the making of comm for mpirun's processes; mpi_world.c starts and ends MPI. */
#ifndef PX_PARALLEL_COMM_MPI_H
#define PX_PARALLEL_COMM_MPI_H

#include "parallel/comm_internal.h"

typedef struct px_mpi_world { /* this process in MPI_COMM_WORLD */
    int rank, size;
} px_mpi_world;

/* A comm over all processes of MPI, which must be running. */
px_status px_comm_over_mpi(const px_mpi_world *world, px_comm **out) PX_MUST_USE;

#endif
