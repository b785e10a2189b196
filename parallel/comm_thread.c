/* comm_thread.c - ranks that are threads of one process: a room in this process's memory. */
#include "parallel/comm_room.h"

px_status px_comm_threads(int size, px_comm **out)
{
    if (size < 1 || size > PX_ROOM_MEMBERS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "a group has 1 to %d ranks, not %d", PX_ROOM_MEMBERS_MAX, size);
    if (size == 1) return px_comm_self(out);
    px_room *room;
    PX_TRY(px_room_create(size, &room));
    for (int rank = 0; rank < size; rank++) {
        px_comm_over_room_options options = {
            .rank = rank, .kind = "thread", .deadline_ns = PX_COMM_DEADLINE_NS};
        px_status status = px_comm_over_room(room, &options, &out[rank]);
        PX_ASSERT(px_is_ok(status)); /* only processes meet in it, and only that can fail */
    }
    return px_ok();
}
