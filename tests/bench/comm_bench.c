/* comm_bench.c - microseconds of the meeting points: teams, and comms of threads or of mpirun.
 *
 *   comm_bench team N          a run of N workers with nothing to do, and a barrier inside a run
 *   comm_bench threads N       all-reduce by size over N threads
 *   mpirun -n N comm_bench     the same over processes
 *
 * Each figure is the best and the median of several rounds: on a busy machine the best is nearer to
 * what the code costs, the median to what one gets.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "parallel/comm.h"
#include "parallel/team.h"

enum { ROUNDS = 21 };

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *what, size_t bytes, double *round_us)
{
    qsort(round_us, ROUNDS, sizeof *round_us, compare_doubles);
    printf("%-12s %8zu bytes  best %9.2f us  median %9.2f us\n", what, bytes, round_us[0],
        round_us[ROUNDS / 2]);
}

/* --- comm --------------------------------------------------------------------------------- */

static void require(px_status status)
{
    if (status.code == PX_OK) return;
    fprintf(stderr, "comm_bench: %s\n", status.text);
    exit(1);
}

/* Rows of 2304 bytes (576 float32 values), of which each rank has an even part. */
static void bench_all_gather(px_comm *comm, size_t rows)
{
    enum { ROW_BYTES = 2304, LINE_BYTES = 64, RANKS_MAX = 64 };
    int calls = rows > 64 ? 100 : 1000, size = px_comm_size(comm);
    size_t ends[RANKS_MAX];
    for (int r = 0; r < size; r++)
        ends[r] = (size_t)(r + 1) * (ROW_BYTES / LINE_BYTES) / (size_t)size * LINE_BYTES;
    px_comm_columns columns = {
        .data = calloc(rows, ROW_BYTES), .rows = rows, .row_bytes = ROW_BYTES, .ends = ends};
    double round_us[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        require(px_comm_barrier(comm));
        int64_t start_ns = px_now_ns();
        for (int i = 0; i < calls; i++) require(px_comm_all_gather(comm, &columns));
        round_us[round] = (double)(px_now_ns() - start_ns) / 1e3 / calls;
    }
    if (px_comm_rank(comm) == 0) print_row("all-gather", rows * ROW_BYTES, round_us);
    free(columns.data);
}

/* There and back between ranks 0 and 1. */
static void bench_hand_off(px_comm *comm, size_t bytes)
{
    enum { CALLS = 500 };
    int rank = px_comm_rank(comm);
    if (px_comm_size(comm) < 2) return;
    char *data = calloc(1, bytes);
    double round_us[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        require(px_comm_barrier(comm));
        int64_t start_ns = px_now_ns();
        for (int i = 0; i < CALLS && rank < 2; i++) {
            if (rank == 0) require(px_comm_send(comm, 1, data, bytes));
            require(px_comm_recv(comm, 1 - rank, data, bytes));
            if (rank == 1) require(px_comm_send(comm, 0, data, bytes));
        }
        round_us[round] = (double)(px_now_ns() - start_ns) / 2e3 / CALLS;
    }
    if (rank == 0) print_row("hand-off", bytes, round_us);
    free(data);
}

static void bench_comm(px_comm *comm)
{
    static const size_t rows[] = {1, 8, 64, 512};
    if (px_comm_rank(comm) == 0) printf("%s, %d ranks\n", px_comm_kind(comm), px_comm_size(comm));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) bench_all_gather(comm, rows[i]);
    bench_hand_off(comm, 64);
    bench_hand_off(comm, 2304);
    bench_hand_off(comm, 1179648);
}

static void *rank_main(void *arg)
{
    bench_comm(arg);
    px_comm_free(arg);
    return NULL;
}

static void bench_threads(int size)
{
    px_comm **comms = calloc((size_t)size, sizeof *comms);
    pthread_t *threads = calloc((size_t)size, sizeof *threads);
    require(px_comm_threads(size, comms));
    for (int i = 1; i < size; i++) pthread_create(&threads[i], NULL, rank_main, comms[i]);
    rank_main(comms[0]);
    for (int i = 1; i < size; i++) pthread_join(threads[i], NULL);
    free(comms);
    free(threads);
}

/* --- team --------------------------------------------------------------------------------- */

enum { BARRIERS = 1000 };

static void do_nothing(void *arg, uint32_t worker, uint32_t count) {}

static void pass_barriers(void *arg, uint32_t worker, uint32_t count)
{
    for (int i = 0; i < BARRIERS; i++) px_team_barrier(arg);
}

static void bench_team(uint32_t count)
{
    px_team *team;
    double run_us[ROUNDS], barrier_us[ROUNDS], cold_us[ROUNDS];
    require(px_team_create(count, false, &team));
    for (int round = 0; round < ROUNDS; round++) {
        int64_t start_ns = px_now_ns();
        for (int i = 0; i < BARRIERS; i++) px_team_run(team, do_nothing, NULL);
        run_us[round] = (double)(px_now_ns() - start_ns) / 1e3 / BARRIERS;
        start_ns = px_now_ns();
        px_team_run(team, pass_barriers, team);
        barrier_us[round] = (double)(px_now_ns() - start_ns) / 1e3 / BARRIERS;
        px_sleep_ns(5 * PX_MS);
        start_ns = px_now_ns();
        px_team_run(team, do_nothing, NULL);
        cold_us[round] = (double)(px_now_ns() - start_ns) / 1e3;
    }
    px_team_free(team);
    printf("team of %u\n", count);
    print_row("run, hot", 0, run_us);
    print_row("barrier", 0, barrier_us);
    print_row("run, asleep", 0, cold_us);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (px_comm_mpi_present()) {
        px_comm *comm;
        require(px_comm_mpi(&comm));
        bench_comm(comm);
        px_comm_free(comm);
        px_comm_mpi_end(true);
        return 0;
    }
    long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (count < 1 || count > 1024 || (strcmp(argv[1], "team") && strcmp(argv[1], "threads"))) {
        fprintf(stderr, "usage: comm_bench team|threads N, or mpirun -n N comm_bench\n");
        return 2;
    }
    if (strcmp(argv[1], "team") == 0)
        bench_team((uint32_t)count);
    else
        bench_threads((int)count);
    return 0;
}
