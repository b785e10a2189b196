/* world.h - which ranks a command runs on: mpirun's processes, threads of this one, or just itself.
 */
#ifndef PX_OFFLINE_WORLD_H
#define PX_OFFLINE_WORLD_H

#include "parallel/comm.h"

typedef struct px_world {
    uint32_t tp, pp; /* resolved: tp * pp == ranks */
    int ranks;
    uint32_t threads_each; /* workers of each rank, from `threads` of the whole world */
    bool is_mpi;
} px_world;

/* Body of one rank. Rank 0's status is the command's; all ranks get the same `arg`. */
typedef px_status (*px_world_fn)(void *arg, px_comm *comm, const px_world *world);

/* Runs `fn` once for each rank this process holds and returns the worst status. tp or pp of 0: 1,
 * or under mpirun whatever makes tp * pp the number of processes (a mismatch is INVALID_ARGUMENT).
 * `threads`: of the whole command when ranks are threads, of each process under mpirun; 0: all
 * cores shared out over the ranks of this host. */
px_status px_world_run(
    uint32_t tp, uint32_t pp, uint32_t threads, px_world_fn fn, void *arg) PX_MUST_USE;

#endif
