/* world.c - finding out which ranks a command has, running its body on them, ending as one. */
#include "offline/world.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "parallel/cpus.h"

/* How long a rank that failed leaves it to rank 0 to report it. */
#define FOLLOWER_LINGER_NS (3 * PX_SEC)

/* Ranks that are threads need no more than a CPU each; beyond this it is a typing error. */
enum { THREAD_RANKS_MAX = 1024 };

/* --- the degrees -------------------------------------------------------------------------- */

static px_status resolve_threads_world(uint32_t tp, uint32_t pp, px_world *out)
{
    out->tp = tp ? tp : 1;
    out->pp = pp ? pp : 1;
    uint64_t ranks = (uint64_t)out->tp * out->pp;
    if (ranks > THREAD_RANKS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "--tp %u --pp %u makes more than %d ranks", out->tp,
            out->pp, THREAD_RANKS_MAX);
    out->ranks = (int)ranks;
    return px_ok();
}

static uint32_t at_least_one(uint32_t value)
{
    return value ? value : 1;
}

/* A degree that was not given is what the processes leave for it. */
static px_status resolve_mpi_world(uint32_t tp, uint32_t pp, uint32_t size, px_world *out)
{
    out->ranks = (int)size;
    out->pp = pp ? pp : at_least_one(tp ? size / tp : 1);
    out->tp = tp ? tp : at_least_one(size / out->pp);
    if ((uint64_t)out->tp * out->pp == size) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT,
        "mpirun started %u processes, but --tp %u --pp %u needs tp x pp to be that many", size,
        out->tp, out->pp);
}

/* --- ranks as threads --------------------------------------------------------------------- */

typedef struct thread_rank {
    pthread_t thread;
    px_comm *comm;
    const px_world *world;
    px_world_fn fn;
    void *arg;
    px_status status;
} thread_rank;

/* The comm ends with the body, so that a failure ends the other ranks too. */
static void *thread_rank_main(void *arg)
{
    thread_rank *self = arg;
    self->status = px_comm_end(self->comm, self->fn(self->arg, self->comm, self->world));
    return NULL;
}

static px_status first_failure(const thread_rank *ranks, int count)
{
    for (int i = 0; i < count; i++)
        if (!px_is_ok(ranks[i].status)) return ranks[i].status;
    return px_ok();
}

static px_status run_thread_ranks(const px_world *world, px_comm **comms, px_world_fn fn, void *arg)
{
    thread_rank *ranks = px_alloc_array((size_t)world->ranks, sizeof *ranks);
    int started = 1, error = 0; /* rank 0 is this thread */
    for (int i = 0; i < world->ranks; i++)
        ranks[i] = (thread_rank){.comm = comms[i], .world = world, .fn = fn, .arg = arg};
    for (; started < world->ranks; started++) {
        error = pthread_create(&ranks[started].thread, NULL, thread_rank_main, &ranks[started]);
        if (error != 0) break;
    }
    if (error != 0) { /* those that run see the others leave */
        for (int i = started; i < world->ranks; i++) px_comm_free(comms[i]);
        px_comm_free(comms[0]);
        ranks[0].status = px_fail(PX_RESOURCE_EXHAUSTED, "cannot start a thread for rank %d: %s",
            started, strerror(error));
    } else {
        thread_rank_main(&ranks[0]);
    }
    for (int i = 1; i < started; i++) pthread_join(ranks[i].thread, NULL);
    px_status status = first_failure(ranks, started);
    free(ranks);
    return status;
}

static px_status run_in_threads(px_world *world, uint32_t threads, px_world_fn fn, void *arg)
{
    px_comm **comms = px_alloc_array((size_t)world->ranks, sizeof *comms);
    px_status status = px_comm_threads(world->ranks, comms);
    if (px_is_ok(status)) {
        uint32_t wanted = threads / (uint32_t)world->ranks;
        world->threads_each = px_cpus_claim(comms[0], threads && wanted == 0 ? 1 : wanted);
        status = run_thread_ranks(world, comms, fn, arg);
    }
    free(comms);
    return status;
}

/* --- ranks as processes ------------------------------------------------------------------- */

static px_status run_as_process(
    uint32_t tp, uint32_t pp, uint32_t threads, px_world_fn fn, void *arg)
{
    px_comm *comm;
    px_world world = {.is_mpi = true};
    PX_TRY(px_comm_mpi(&comm));
    px_status status = resolve_mpi_world(tp, pp, (uint32_t)px_comm_size(comm), &world);
    if (px_is_ok(status)) {
        world.threads_each = px_cpus_claim(comm, threads);
        status = fn(arg, comm, &world);
    }
    bool is_leader = px_comm_rank(comm) == 0;
    status = px_comm_end(comm, status);
    px_comm_mpi_end(px_is_ok(status));
    /* The leader has heard why, says it for all and exits, on which mpirun ends this process. */
    if (!px_is_ok(status) && !is_leader) px_sleep_ns(FOLLOWER_LINGER_NS);
    return status;
}

px_status px_world_run(uint32_t tp, uint32_t pp, uint32_t threads, px_world_fn fn, void *arg)
{
    if (px_comm_mpi_present()) return run_as_process(tp, pp, threads, fn, arg);
    px_world world = {0};
    PX_TRY(resolve_threads_world(tp, pp, &world));
    return run_in_threads(&world, threads, fn, arg);
}
