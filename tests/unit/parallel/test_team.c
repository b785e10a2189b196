/* test_team.c - every worker runs once, barriers hold, more workers than cores make progress. */
#include "parallel/team.h"

#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "test.h"

enum { PHASES = 300 };

typedef struct phases {
    px_team *team;
    _Atomic uint32_t arrived[PHASES];
    _Atomic uint32_t early; /* workers that passed a barrier before all had arrived */
} phases;

static void pass_all(void *arg, uint32_t worker, uint32_t count)
{
    phases *p = arg;
    for (int i = 0; i < PHASES; i++) {
        atomic_fetch_add(&p->arrived[i], 1);
        px_team_barrier(p->team);
        if (atomic_load(&p->arrived[i]) != count) atomic_fetch_add(&p->early, 1);
    }
}

PX_TEST(barriers_hold_back_everyone)
{
    static const uint32_t counts[] = {1, 2, 3, 5, 8};
    for (size_t c = 0; c < 5; c++) {
        phases p = {0};
        PX_CHECK_OK(px_team_create(counts[c], false, &p.team));
        PX_CHECK(px_team_count(p.team) == counts[c]);
        px_team_run(p.team, pass_all, &p);
        PX_CHECK(p.early == 0);
        for (int i = 0; i < PHASES; i++) PX_CHECK(p.arrived[i] == counts[c]);
        px_team_free(p.team);
    }
}

static void count_self(void *arg, uint32_t worker, uint32_t count)
{
    uint32_t *runs = arg;
    runs[worker * 16]++; /* not atomic: run must order them */
}

PX_TEST(each_run_reaches_each_worker_once)
{
    px_team *team;
    uint32_t runs[4 * 16] = {0};
    PX_CHECK_OK(px_team_create(4, true, &team));
    for (uint32_t i = 1; i <= 1000; i++) {
        px_team_run(team, count_self, runs);
        for (uint32_t w = 0; w < 4; w++) PX_CHECK(runs[w * 16] == i);
        if (i % 250 == 0) px_sleep_ns(2 * PX_MS); /* long enough that the workers sleep */
    }
    px_team_free(team);
}

enum { DEALS = 400, PIECES_MAX = 37 };

typedef struct dealing {
    px_team *team;
    _Atomic uint32_t taken[DEALS][PIECES_MAX];
} dealing;

static uint32_t pieces_of(uint32_t deal)
{
    return deal * 7 % (PIECES_MAX + 1);
}

static void take_all(void *arg, uint32_t worker, uint32_t count)
{
    dealing *d = arg;
    for (uint32_t i = 0; i < DEALS; i++) { /* no barriers between: some are deals ahead */
        px_deal deal = px_team_deal(d->team, worker, pieces_of(i));
        for (uint32_t piece; px_deal_next(&deal, &piece);) atomic_fetch_add(&d->taken[i][piece], 1);
    }
}

PX_TEST(each_piece_is_dealt_once)
{
    static const uint32_t counts[] = {1, 2, 3, 8};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        static dealing d;
        memset(&d, 0, sizeof d);
        PX_CHECK_OK(px_team_create(counts[c], false, &d.team));
        px_team_run(d.team, take_all, &d);
        px_team_run(d.team, take_all, &d); /* turns go on from run to run */
        for (uint32_t i = 0; i < DEALS; i++)
            for (uint32_t piece = 0; piece < PIECES_MAX; piece++)
                PX_CHECK(d.taken[i][piece] == (piece < pieces_of(i) ? 2 : 0));
        px_team_free(d.team);
    }
}

enum { HELD_PIECES = 24 };

typedef struct holding {
    px_team *team;
    _Atomic uint32_t done;
    uint32_t done_meanwhile; /* while worker 0 held its first piece */
} holding;

static void hold_first(void *arg, uint32_t worker, uint32_t count)
{
    holding *h = arg;
    int64_t until_ns = px_now_ns() + 20 * PX_SEC;
    px_deal deal = px_team_deal(h->team, worker, HELD_PIECES);
    for (uint32_t piece; px_deal_next(&deal, &piece);) {
        while (piece == 0 && atomic_load(&h->done) < HELD_PIECES - 1 && px_now_ns() < until_ns)
            px_sleep_ns(PX_MS);
        if (piece == 0) h->done_meanwhile = atomic_load(&h->done);
        atomic_fetch_add(&h->done, 1);
    }
}

PX_TEST(a_worker_that_is_held_up_leaves_its_share_to_the_others)
{
    holding h = {0};
    PX_CHECK_OK(px_team_create(3, false, &h.team));
    px_team_run(h.team, hold_first, &h);
    PX_CHECK(h.done_meanwhile == HELD_PIECES - 1);
    PX_CHECK(h.done == HELD_PIECES);
    px_team_free(h.team);
}

PX_TEST(a_team_of_none_is_refused)
{
    px_team *team = NULL;
    PX_CHECK(px_team_create(0, false, &team).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_team_create(100000, false, &team).code == PX_INVALID_ARGUMENT);
    PX_CHECK(team == NULL);
}

PX_TEST(freeing_an_idle_team_ends_its_threads)
{
    for (int i = 0; i < 20; i++) {
        px_team *team;
        PX_CHECK_OK(px_team_create(3, false, &team));
        px_team_free(team);
    }
    px_team_free(NULL);
}

PX_TEST_MAIN()
