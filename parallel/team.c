/* team.c - worker threads that meet at gates.
 *
 *   caller   fn, arg -> raise start    fn(0)   barrier   returns
 *   worker   wait start                fn(i)   barrier   wait start
 *
 * The barrier is a central counter: the last to arrive resets it and raises `passed`. For the few
 * workers of a rank this beats a tree: one line is contended once per worker.
 *
 * A deal has one word for each worker's share, {turn, pieces begun}, which a compare-and-swap
 * advances. A worker begins a turn only when it has seen every share of the turn before begun to
 * its end. So a word that shows a later turn says that nothing is left of this one, a word that
 * shows an earlier one that nothing is begun, and neither is ever reset.
 */
#include "parallel/team.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "parallel/gate.h"

enum { WORKERS_MAX = 1024 };

typedef struct worker {
    _Alignas(64) _Atomic uint64_t begun; /* of its share: turn << 32 | pieces */
    _Alignas(64) uint32_t turn;          /* deals that it has seen; its own */
    uint32_t index;
    pthread_t thread;
    px_team *team;
} worker;

struct px_team {
    uint32_t count;
    uint32_t started; /* threads that run, the caller not counted */
    worker *workers;  /* [count]; 0 is the caller */
    px_team_fn fn;    /* NULL tells the workers to end */
    void *arg;
    px_gate start;  /* raised once for each run */
    px_gate passed; /* raised once for each barrier */
    _Alignas(64) _Atomic uint32_t arrived;
};

static void wait_for(px_gate *gate, uint32_t value, int64_t awake_ns)
{
    px_patience patience = {.awake_ns = awake_ns, .until_ns = INT64_MAX};
    while (!px_gate_wait(gate, value, patience)) patience.awake_ns = 0;
}

static void *worker_main(void *arg)
{
    worker *self = arg;
    px_team *team = self->team;
    for (uint32_t turn = 1;; turn++) {
        wait_for(&team->start, turn, PX_GATE_AWAKE_IDLE_NS);
        if (!team->fn) return NULL;
        team->fn(team->arg, self->index, team->count);
        px_team_barrier(team);
    }
}

/* The index-th CPU that this process may use, counted round. */
static void pin_thread(pthread_t thread, uint32_t index)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    uint32_t skip = index % (uint32_t)CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || skip-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        /* Pinning is an improvement, not a need: a refusal is no failure. */
        pthread_setaffinity_np(thread, sizeof one, &one);
        return;
    }
}

static px_status start_workers(px_team *team)
{
    /* Signals belong to the threads that expect them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    for (uint32_t i = 1; i < team->count && error == 0; i++) {
        error = pthread_create(&team->workers[i].thread, NULL, worker_main, &team->workers[i]);
        if (error == 0) team->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) return px_ok();
    return px_fail(PX_RESOURCE_EXHAUSTED, "cannot start worker thread %u of %u: %s",
        team->started + 1, team->count - 1, strerror(error));
}

px_status px_team_create(uint32_t count, bool pin, px_team **out)
{
    if (count < 1 || count > WORKERS_MAX)
        return px_fail(
            PX_INVALID_ARGUMENT, "a team has 1 to %d threads, not %u", WORKERS_MAX, count);
    px_team *team = aligned_alloc(_Alignof(px_team), sizeof *team);
    if (!team) return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for a team of threads");
    memset(team, 0, sizeof *team);
    team->count = count;
    team->workers = aligned_alloc(_Alignof(worker), count * sizeof *team->workers);
    if (!team->workers) {
        free(team);
        return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for a team of threads");
    }
    for (uint32_t i = 0; i < count; i++) {
        worker *w = &team->workers[i];
        *w = (worker){.team = team, .index = i, .thread = pthread_self()};
    }
    px_status status = start_workers(team);
    if (!px_is_ok(status)) {
        px_team_free(team);
        return status;
    }
    /* The last first: pinning the caller narrows the set that the others are taken from. */
    for (uint32_t i = count; pin && i-- > 0;) pin_thread(team->workers[i].thread, i);
    *out = team;
    return px_ok();
}

void px_team_free(px_team *team)
{
    if (!team) return;
    team->fn = NULL;
    px_gate_raise(&team->start, px_gate_value(&team->start) + 1);
    for (uint32_t i = 1; i <= team->started; i++) pthread_join(team->workers[i].thread, NULL);
    free(team->workers);
    free(team);
}

uint32_t px_team_count(const px_team *team)
{
    return team->count;
}

void px_team_run(px_team *team, px_team_fn fn, void *arg)
{
    team->fn = fn;
    team->arg = arg;
    if (team->count > 1) px_gate_raise(&team->start, px_gate_value(&team->start) + 1);
    fn(arg, 0, team->count);
    px_team_barrier(team);
}

void px_team_barrier(px_team *team)
{
    if (team->count == 1) return;
    uint32_t turn = px_gate_value(&team->passed) + 1;
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == team->count) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        px_gate_raise(&team->passed, turn);
        return;
    }
    wait_for(&team->passed, turn, PX_GATE_AWAKE_MEETING_NS);
}

/* --- deals --- */

px_deal px_team_deal(px_team *team, uint32_t index, uint32_t pieces)
{
    return (px_deal){.team = team,
        .turn = ++team->workers[index].turn,
        .pieces = pieces,
        .worker = index,
        .from = index};
}

/* Where the share of a worker begins; that of the last ends where the one past it would. */
static uint32_t share_begin(const px_deal *deal, uint32_t whose)
{
    return (uint32_t)((uint64_t)deal->pieces * whose / deal->team->count);
}

/* The order of memory is the barriers' business: a piece is only a number. */
static bool take_of(px_deal *deal, uint32_t *out_piece)
{
    _Atomic uint64_t *word = &deal->team->workers[deal->from].begun;
    uint32_t begin = share_begin(deal, deal->from),
             count = share_begin(deal, deal->from + 1) - begin;
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        int32_t ahead = (int32_t)((uint32_t)(seen >> 32) - deal->turn); /* turns wrap */
        uint32_t begun = ahead == 0 ? (uint32_t)seen : 0;
        if (ahead > 0 || begun == count) return false;
        uint64_t next = (uint64_t)deal->turn << 32 | (begun + 1);
        if (atomic_compare_exchange_weak_explicit(
                word, &seen, next, memory_order_relaxed, memory_order_relaxed)) {
            *out_piece = begin + begun;
            return true;
        }
    }
}

bool px_deal_next(px_deal *deal, uint32_t *out_piece)
{
    do {
        if (take_of(deal, out_piece)) return true;
        deal->from = deal->from + 1 == deal->team->count ? 0 : deal->from + 1;
    } while (deal->from != deal->worker);
    return false;
}
