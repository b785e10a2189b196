/* test_comm.c - the cases of comm_cases.h over threads, and what happens when a peer fails. */
#include "unit/parallel/comm_cases.h"

#include <pthread.h>

#include "test.h"

typedef struct rank_run {
    pthread_t thread;
    px_comm *comm;
    comm_case run;
    bool free_after;
    const char *failed;
} rank_run;

static void *rank_main(void *arg)
{
    rank_run *self = arg;
    self->failed = self->run(self->comm);
    if (self->free_after) px_comm_free(self->comm);
    return NULL;
}

enum { RANKS_MAX = 8 };

/* Runs the case on each rank of a world of threads; the first failure, or NULL. */
static const char *on_threads(int size, comm_case run)
{
    px_comm *comms[RANKS_MAX];
    rank_run ranks[RANKS_MAX];
    if (!px_is_ok(px_comm_threads(size, comms))) return "px_comm_threads";
    for (int r = 0; r < size; r++) {
        ranks[r] = (rank_run){.comm = comms[r], .run = run, .free_after = true};
        pthread_create(&ranks[r].thread, NULL, rank_main, &ranks[r]);
    }
    const char *failed = NULL;
    for (int r = 0; r < size; r++) {
        pthread_join(ranks[r].thread, NULL);
        if (!failed) failed = ranks[r].failed;
    }
    return failed;
}

PX_TEST(every_case_over_one_to_eight_threads)
{
    static const int sizes[] = {1, 2, 3, 4, 8};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int c = 0; c < COMM_CASE_COUNT; c++) {
            const char *failed = on_threads(sizes[s], comm_cases[c].run);
            if (failed) printf("%s, %d ranks: %s\n", comm_cases[c].name, sizes[s], failed);
            PX_CHECK(!failed);
        }
}

PX_TEST(a_peer_that_stays_away_is_named_and_the_comm_stays_broken)
{
    px_comm *comms[3];
    float x = 1;
    PX_CHECK_OK(px_comm_threads(3, comms));
    px_comm_set_deadline(comms[0], 30 * PX_MS);
    int64_t start_ns = px_now_ns();
    px_status status = px_comm_recv(comms[0], 2, &x, sizeof x);
    PX_CHECK(px_now_ns() - start_ns >= 30 * PX_MS);
    PX_CHECK(status.code == PX_UNAVAILABLE);
    PX_CHECK(strstr(status.text, "rank 2") != NULL);
    status = px_comm_all_reduce(comms[0], &x, 1);
    PX_CHECK(status.code == PX_UNAVAILABLE);
    PX_CHECK(strstr(status.text, "rank 2") != NULL);
    for (int r = 0; r < 3; r++) px_comm_free(comms[r]);
}

static const char *wait_for_a_plan_that_never_comes(px_comm *comm)
{
    unsigned char plan[8];
    size_t bytes;
    px_status status = px_comm_plan_wait(comm, plan, sizeof plan, &bytes);
    REQUIRE(status.code == PX_UNAVAILABLE);
    REQUIRE(strstr(status.text, "rank 0") != NULL);
    return NULL;
}

PX_TEST(a_leader_that_ends_frees_the_followers)
{
    px_comm *comms[2];
    PX_CHECK_OK(px_comm_threads(2, comms));
    rank_run follower = {.comm = comms[1], .run = wait_for_a_plan_that_never_comes};
    pthread_create(&follower.thread, NULL, rank_main, &follower);
    px_sleep_ns(20 * PX_MS); /* asleep in the kernel by now, most likely; either way is fine */
    px_comm_free(comms[0]);
    pthread_join(follower.thread, NULL);
    PX_CHECK(!follower.failed);
    px_comm_free(comms[1]);
}

PX_TEST(what_a_peer_sent_before_it_ended_still_arrives)
{
    px_comm *comms[2];
    int word = 42, got = 0;
    PX_CHECK_OK(px_comm_threads(2, comms));
    PX_CHECK_OK(px_comm_send(comms[0], 1, &word, sizeof word));
    px_comm_free(comms[0]);
    PX_CHECK_OK(px_comm_recv(comms[1], 0, &got, sizeof got));
    PX_CHECK(got == 42);
    PX_CHECK(px_comm_barrier(comms[1]).code == PX_UNAVAILABLE);
    px_comm_free(comms[1]);
}

PX_TEST(a_plan_longer_than_the_followers_buffer_is_refused)
{
    px_comm *comms[2];
    unsigned char plan[100] = {0};
    size_t bytes;
    PX_CHECK_OK(px_comm_threads(2, comms));
    PX_CHECK_OK(px_comm_plan_send(comms[0], plan, sizeof plan));
    PX_CHECK(px_comm_plan_wait(comms[1], plan, 99, &bytes).code == PX_RESOURCE_EXHAUSTED);
    px_comm_free(comms[0]);
    px_comm_free(comms[1]);
}

PX_TEST(plan_send_does_not_wait_for_followers)
{
    px_comm *comms[2];
    unsigned char plan[4000] = {0};
    PX_CHECK_OK(px_comm_threads(2, comms));
    for (int i = 0; i < 50; i++) PX_CHECK_OK(px_comm_plan_send(comms[0], plan, sizeof plan));
    px_comm_free(comms[0]);
    px_comm_free(comms[1]);
}

PX_TEST_MAIN()
