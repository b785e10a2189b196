/* mpi_comm.c - the cases of comm_cases.h on a rank that mpirun started.
 *
 *   mpirun -n N mpi_comm            every case, over the transport that comm chose
 *   mpirun -n N mpi_comm late       the last rank stays away: the others name it and end
 *   mpirun -n N mpi_comm killed     the last rank is killed: the others notice at once
 *   mpirun -n N mpi_comm words      the last rank fails with a reason: rank 0 gets to know it
 *   mpirun -n N mpi_comm idle       followers wait for a plan for two seconds, nearly without CPU
 *   mpirun -n N mpi_comm threads    a rank that wants several threads is not left on one core
 * Exit code 0: as it should be (of "killed": mpirun reports the kill).
 */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "parallel/cpus.h"
#include "unit/parallel/comm_cases.h"

static const char *run_all(px_comm *comm)
{
    for (int i = 0; i < COMM_CASE_COUNT; i++) {
        const char *failed = comm_cases[i].run(comm);
        if (failed) {
            fprintf(stderr, "rank %d: %s: %s\n", px_comm_rank(comm), comm_cases[i].name, failed);
            return failed;
        }
        if (px_comm_rank(comm) == 0) printf("ok   %s\n", comm_cases[i].name);
    }
    return NULL;
}

static bool is_last(px_comm *comm)
{
    return px_comm_rank(comm) == px_comm_size(comm) - 1;
}

static bool names_last(px_comm *comm, px_status status)
{
    char name[32];
    snprintf(name, sizeof name, "rank %d", px_comm_size(comm) - 1);
    return strstr(status.text, name) != NULL;
}

static const char *last_rank_is_late(px_comm *comm)
{
    float x = 1;
    if (is_last(comm)) {
        px_sleep_ns(1500 * PX_MS);
        return NULL;
    }
    px_comm_set_deadline(comm, 200 * PX_MS);
    int64_t start_ns = px_now_ns();
    px_status status = px_comm_all_reduce(comm, &x, 1);
    REQUIRE(px_now_ns() - start_ns >= 200 * PX_MS && px_now_ns() - start_ns < 1200 * PX_MS);
    REQUIRE(status.code == PX_UNAVAILABLE && names_last(comm, status));
    REQUIRE(px_comm_barrier(comm).code == PX_UNAVAILABLE);
    return NULL;
}

static const char *last_rank_is_killed(px_comm *comm)
{
    float x = 1;
    REQUIRE_OK(px_comm_all_reduce(comm, &x, 1));
    if (is_last(comm)) raise(SIGKILL);
    int64_t start_ns = px_now_ns();
    px_status status = px_comm_all_reduce(comm, &x, 1);
    REQUIRE(status.code == PX_UNAVAILABLE && names_last(comm, status));
    REQUIRE(px_now_ns() - start_ns < PX_SEC);
    return NULL;
}

static const char *idle_followers_sleep(px_comm *comm)
{
    unsigned char plan[8] = {0};
    size_t bytes;
    struct rusage before, after;
    REQUIRE_OK(px_comm_barrier(comm));
    getrusage(RUSAGE_SELF, &before);
    if (px_comm_rank(comm) == 0) {
        px_sleep_ns(2 * PX_SEC);
        REQUIRE_OK(px_comm_plan_send(comm, plan, sizeof plan));
    } else {
        REQUIRE_OK(px_comm_plan_wait(comm, plan, sizeof plan, &bytes));
    }
    getrusage(RUSAGE_SELF, &after);
    int64_t cpu_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
                     after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                     (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
                     after.ru_stime.tv_usec - before.ru_stime.tv_usec;
    printf("rank %d used %lld us of CPU\n", px_comm_rank(comm), (long long)cpu_us);
    REQUIRE(cpu_us < 200000);
    return NULL;
}

static const char *threads_are_not_trapped(px_comm *comm)
{
    uint32_t online = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t threads = px_cpus_claim(comm, 0);
    REQUIRE(threads >= 1 && threads <= online);
    REQUIRE(px_cpus_claim(comm, online) == online);
    REQUIRE(px_cpus_allowed() > 1 || online == 1);
    REQUIRE(px_cpus_claim(comm, online + 3) == online + 3);
    return NULL;
}

/* The status with which rank 0 ends names the rank that failed and its reason. */
static int end_with_words(px_comm *comm)
{
    float x = 1;
    bool failed_first = is_last(comm), leads = px_comm_rank(comm) == 0;
    char name[32];
    snprintf(name, sizeof name, "rank %d", px_comm_size(comm) - 1);
    px_status status = failed_first ? px_fail(PX_NOT_FOUND, "tensor 'x' is missing")
                                    : px_comm_all_reduce(comm, &x, 1);
    status = px_comm_end(comm, status);
    if (leads) printf("rank 0 ends with: %s\n", status.text);
    bool right = status.code == PX_NOT_FOUND && strstr(status.text, "tensor 'x'");
    bool named = failed_first || strstr(status.text, name);
    px_comm_mpi_end(true); /* the test itself went well */
    return right && named ? 0 : 1;
}

static const struct {
    const char *name;
    comm_case run;
} runs[] = {
    {"all", run_all},
    {"late", last_rank_is_late},
    {"killed", last_rank_is_killed},
    {"idle", idle_followers_sleep},
    {"threads", threads_are_not_trapped},
};

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    px_comm *comm;
    setvbuf(stdout, NULL, _IOLBF, 0);
    px_status status = px_comm_mpi(&comm);
    if (!px_is_ok(status)) {
        fprintf(stderr, "%s\n", status.text);
        return 1;
    }
    if (px_comm_rank(comm) == 0)
        printf("%d ranks, %d on this host\n", px_comm_size(comm), px_comm_host_size(comm));
    if (strcmp(what, "words") == 0) return end_with_words(comm);
    comm_case run = NULL;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        if (strcmp(what, runs[i].name) == 0) run = runs[i].run;
    if (!run) {
        fprintf(stderr, "mpi_comm: there is no '%s'\n", what);
        return 2;
    }
    const char *failed = run(comm);
    if (failed) fprintf(stderr, "rank %d: %s: %s\n", px_comm_rank(comm), what, failed);
    px_comm_free(comm);
    px_comm_mpi_end(!failed);
    return failed ? 1 : 0;
}
