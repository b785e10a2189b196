/* test_team.c - every worker runs once, barriers hold, more workers than cores make progress. */
#include "parallel/team.h"

#include <stdatomic.h>

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
