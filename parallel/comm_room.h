/* comm_room.h - ranks that share memory: the making of comm for one process or one host. */
#ifndef PX_PARALLEL_COMM_ROOM_H
#define PX_PARALLEL_COMM_ROOM_H

#include "parallel/comm_internal.h"
#include "parallel/room.h"

typedef struct px_comm_over_room_options {
    int rank;
    const char *kind; /* "thread" or "mpi" */
    int64_t deadline_ns;
} px_comm_over_room_options;

/* Takes one reference of `room`, also on failure. In a shared room all members meet here, and then
 * its name goes. */
px_status px_comm_over_room(
    px_room *room, const px_comm_over_room_options *options, px_comm **out) PX_MUST_USE;

#endif
