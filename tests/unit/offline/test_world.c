/* test_world.c - the ranks a command gets without mpirun, and how a world of them ends. */
#include "offline/world.h"

#include <stdatomic.h>

#include "test.h"

typedef struct roll_call {
    _Atomic int ranks;
    _Atomic int sum; /* of 1 << rank */
    px_world seen;   /* by rank 0 */
    int failing;     /* rank that fails, -1: none */
} roll_call;

static px_status answer(void *arg, px_comm *comm, const px_world *world)
{
    roll_call *roll = arg;
    float x = 1;
    if (px_comm_rank(comm) == roll->failing) return px_fail(PX_NOT_FOUND, "the tensor is missing");
    if (px_comm_rank(comm) == 0) roll->seen = *world;
    atomic_fetch_add(&roll->ranks, 1);
    atomic_fetch_add(&roll->sum, 1 << px_comm_rank(comm));
    PX_TRY(px_comm_all_reduce(comm, &x, 1));
    return x == (float)world->ranks ? px_ok() : px_fail(PX_INTERNAL, "the sum is wrong");
}

PX_TEST(a_world_without_degrees_is_one_rank_in_this_thread)
{
    roll_call roll = {.failing = -1};
    PX_CHECK_OK(px_world_run(0, 0, 3, answer, &roll));
    PX_CHECK(roll.ranks == 1 && roll.seen.ranks == 1);
    PX_CHECK(roll.seen.tp == 1 && roll.seen.pp == 1 && !roll.seen.is_mpi);
    PX_CHECK(roll.seen.threads_each == 3);
}

PX_TEST(degrees_make_ranks_and_share_the_threads)
{
    roll_call roll = {.failing = -1};
    PX_CHECK_OK(px_world_run(3, 2, 13, answer, &roll));
    PX_CHECK(roll.ranks == 6 && roll.sum == 63);
    PX_CHECK(roll.seen.tp == 3 && roll.seen.pp == 2 && roll.seen.ranks == 6);
    PX_CHECK(roll.seen.threads_each == 2);
    roll = (roll_call){.failing = -1};
    PX_CHECK_OK(px_world_run(4, 0, 2, answer, &roll)); /* fewer threads than ranks */
    PX_CHECK(roll.ranks == 4 && roll.seen.threads_each == 1);
    roll = (roll_call){.failing = -1};
    PX_CHECK_OK(px_world_run(2, 0, 0, answer, &roll)); /* the machine's cores */
    PX_CHECK(roll.seen.threads_each >= 1);
}

PX_TEST(the_failure_that_started_it_is_the_commands)
{
    for (int failing = 0; failing < 3; failing++) {
        roll_call roll = {.failing = failing};
        px_status status = px_world_run(3, 1, 3, answer, &roll);
        PX_CHECK(status.code == PX_NOT_FOUND);
        PX_CHECK(strstr(status.text, "the tensor is missing") != NULL);
    }
}

PX_TEST(too_many_ranks_are_refused)
{
    roll_call roll = {.failing = -1};
    PX_CHECK(px_world_run(64, 64, 1, answer, &roll).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_world_run(UINT32_MAX, UINT32_MAX, 1, answer, &roll).code == PX_INVALID_ARGUMENT);
    PX_CHECK(roll.ranks == 0);
}

PX_TEST_MAIN()
