/* comm_internal.h - what a making of px_comm implements (comm.c checks and dispatches).
 *
 *   comm_self.c       a world of one
 *   comm_room.c       ranks that share memory: threads of a process, or processes of a host
 *   mpi/comm_mpi.c    ranks on several hosts
 */
#ifndef PX_PARALLEL_COMM_INTERNAL_H
#define PX_PARALLEL_COMM_INTERNAL_H

#include "parallel/comm.h"

typedef struct px_comm_ops { /* each as the function of comm.h of the same name */
    px_status (*all_reduce)(px_comm *comm, float *x, size_t count);
    px_status (*all_gather)(px_comm *comm, const px_comm_columns *columns);
    px_status (*gather)(px_comm *comm, const void *mine, const size_t *bytes, void *all);
    px_status (*send)(px_comm *comm, int to, const void *data, size_t bytes);
    px_status (*recv)(px_comm *comm, int from, void *data, size_t bytes);
    px_status (*barrier)(px_comm *comm);
    px_status (*broadcast)(px_comm *comm, void *data, size_t bytes);
    px_status (*plan_send)(px_comm *comm, const void *message, size_t bytes);
    px_status (*plan_wait)(px_comm *comm, void *message, size_t capacity, size_t *out_bytes);
    px_status (*split)(px_comm *comm, int colour, int key, px_comm **out);
    void (*say)(px_comm *comm, const px_status *why); /* to the peers: why this rank ends */
    bool (*hear)(px_comm *comm, px_status *out_why);  /* has a peer said so? does not wait */
    void (*free)(px_comm *comm);
} px_comm_ops;

struct px_comm { /* first member of every making's own struct */
    const px_comm_ops *ops;
    const char *kind;
    int rank, size;
    int host_size;       /* how many of the ranks are on this host, this one included */
    int64_t deadline_ns; /* length of every bounded wait */
    px_status broken;    /* not OK: what every later call returns */
};

enum { PX_COMM_RANKS_MAX = 4096 }; /* PX_PLAN_TP_MAX * PX_PLAN_PP_MAX */
#define PX_COMM_DEADLINE_NS (INT64_C(30) * 1000 * 1000 * 1000)

#endif
