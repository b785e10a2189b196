/* comm_cases.h - what every making of comm must do; run by each rank of a world, whatever its kind.
 *
 * A case returns NULL or the sentence of what went wrong: ranks may be threads, and the harness
 * counts on one thread only.
 */
#ifndef PX_TEST_COMM_CASES_H
#define PX_TEST_COMM_CASES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "parallel/comm.h"

typedef const char *(*comm_case)(px_comm *comm);

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) return #cond;                                                                 \
    } while (0)
#define REQUIRE_OK(expr)                                                                           \
    do {                                                                                           \
        px_status status_ = (expr);                                                                \
        if (status_.code != PX_OK) {                                                               \
            fprintf(stderr, "%s: %s\n", #expr, status_.text);                                      \
            return #expr;                                                                          \
        }                                                                                          \
    } while (0)

/* The addend of a rank: magnitudes far apart, so that another order of adding gives other bits. */
static float addend(int rank, size_t i, uint32_t seed)
{
    uint64_t h = ((uint64_t)seed << 40) ^ ((uint64_t)rank << 32) ^ i;
    h *= UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 29;
    h *= UINT64_C(0xBF58476D1CE4E5B9);
    h ^= h >> 32;
    float value = (float)(h & 0xFFFFFF) / 16777216.0f - 0.5f;
    return value * (float)(1u << (h >> 24 & 15));
}

static float sequential_sum(int ranks, size_t i, uint32_t seed)
{
    float sum = addend(0, i, seed);
    for (int r = 1; r < ranks; r++) sum += addend(r, i, seed);
    return sum;
}

static const char *all_reduce_adds_in_rank_order(px_comm *comm)
{
    static const size_t counts[] = {
        0, 1, 2, 15, 16, 17, 576, 2047, 2048, 2049, 16383, 16384, 16385, 40000, 65537, 300001};
    int rank = px_comm_rank(comm), size = px_comm_size(comm);
    float *x = malloc(300001 * sizeof *x);
    const char *failed = NULL;
    for (size_t c = 0; c < sizeof counts / sizeof *counts && !failed; c++)
        for (uint32_t turn = 0; turn < 3 && !failed; turn++) {
            for (size_t i = 0; i < counts[c]; i++) x[i] = addend(rank, i, turn);
            if (!px_is_ok(px_comm_all_reduce(comm, x, counts[c]))) failed = "all_reduce";
            for (size_t i = 0; i < counts[c] && !failed; i++) {
                float want = sequential_sum(size, i, turn);
                if (memcmp(&x[i], &want, sizeof want) != 0) failed = "a sum's bits";
            }
        }
    free(x);
    return failed;
}

static unsigned char pattern(int rank, size_t i)
{
    return (unsigned char)(i * 7 + (size_t)rank * 31 + i / 251);
}

/* Columns of every width, none and more than a turn holds included. */
static const char *all_gather_brings_columns_together(px_comm *comm)
{
    static const size_t widths[][4] = {
        {1, 2, 3, 5}, {64, 0, 192, 7}, {2304, 2304, 64, 0}, {300000, 5, 262145, 1}};
    static const size_t rows[] = {1, 3, 97, 2};
    int rank = px_comm_rank(comm), size = px_comm_size(comm);
    for (size_t turn = 0; turn < 4; turn++) {
        size_t ends[64], row_bytes = 0;
        for (int r = 0; r < size; r++) ends[r] = row_bytes += widths[turn][r % 4];
        unsigned char *data = calloc(rows[turn], row_bytes);
        px_comm_columns columns = {
            .data = data, .rows = rows[turn], .row_bytes = row_bytes, .ends = ends};
        for (size_t row = 0; row < rows[turn]; row++)
            for (size_t i = rank ? ends[rank - 1] : 0; i < ends[rank]; i++)
                data[row * row_bytes + i] = pattern((int)row, i);
        REQUIRE_OK(px_comm_all_gather(comm, &columns));
        for (size_t row = 0; row < rows[turn]; row++)
            for (size_t i = 0; i < row_bytes; i++)
                REQUIRE(data[row * row_bytes + i] == pattern((int)row, i));
        free(data);
    }
    return NULL;
}

static const char *gather_is_ragged(px_comm *comm)
{
    int rank = px_comm_rank(comm), size = px_comm_size(comm);
    static const size_t lengths[] = {300000, 0, 5, 262144, 262145, 1};
    for (size_t turn = 0; turn < 6; turn++) {
        size_t *bytes = calloc((size_t)size, sizeof *bytes), total = 0;
        for (int r = 0; r < size; r++) total += bytes[r] = lengths[(turn + (size_t)r) % 6];
        unsigned char *mine = malloc(bytes[rank] + 1), *all = malloc(total + 1);
        for (size_t i = 0; i < bytes[rank]; i++) mine[i] = pattern(rank, i);
        REQUIRE_OK(px_comm_gather(comm, mine, bytes, rank == 0 ? all : NULL));
        unsigned char *at = all;
        for (int r = 0; r < size && rank == 0; r++)
            for (size_t i = 0; i < bytes[r]; i++) REQUIRE(*at++ == pattern(r, i));
        free(all), free(mine), free(bytes);
    }
    return NULL;
}

/* Each rank hands on to the next, as pipeline stages do; long messages exceed any ring. */
static const char *send_and_recv_keep_order(px_comm *comm)
{
    int rank = px_comm_rank(comm), size = px_comm_size(comm);
    static const size_t lengths[] = {1, 0, 4096, 1000003, 17, 262144};
    unsigned char *data = malloc(1000003);
    for (size_t turn = 0; turn < 12; turn++) {
        size_t bytes = lengths[turn % 6];
        if (rank > 0) {
            REQUIRE_OK(px_comm_recv(comm, rank - 1, data, bytes));
            for (size_t i = 0; i < bytes; i++) REQUIRE(data[i] == pattern((int)turn, i));
        } else {
            for (size_t i = 0; i < bytes; i++) data[i] = pattern((int)turn, i);
        }
        if (rank + 1 < size) REQUIRE_OK(px_comm_send(comm, rank + 1, data, bytes));
    }
    free(data);
    return NULL;
}

static const char *broadcast_reaches_all(px_comm *comm)
{
    static const size_t lengths[] = {1, 0, 262144, 262145, 400000};
    unsigned char *data = malloc(400000);
    for (size_t turn = 0; turn < 5; turn++) {
        for (size_t i = 0; i < lengths[turn]; i++)
            data[i] = px_comm_rank(comm) == 0 ? pattern((int)turn, i) : 0;
        REQUIRE_OK(px_comm_broadcast(comm, data, lengths[turn]));
        for (size_t i = 0; i < lengths[turn]; i++) REQUIRE(data[i] == pattern((int)turn, i));
    }
    free(data);
    return NULL;
}

/* Plans of many sizes, some sent while the others sleep, some in a row that no ring holds. */
static const char *plans_arrive_whole(px_comm *comm)
{
    enum { PLANS = 40, CAPACITY = 400000 };
    unsigned char *data = malloc(CAPACITY);
    for (size_t turn = 0; turn < PLANS; turn++) {
        size_t bytes = turn % 10 == 9 ? CAPACITY : turn * 997 % 60000;
        if (px_comm_rank(comm) == 0) {
            if (turn % 13 == 0) px_sleep_ns(3 * PX_MS);
            for (size_t i = 0; i < bytes; i++) data[i] = pattern((int)turn, i);
            REQUIRE_OK(px_comm_plan_send(comm, data, bytes));
        } else {
            size_t got = SIZE_MAX;
            REQUIRE_OK(px_comm_plan_wait(comm, data, CAPACITY, &got));
            REQUIRE(got == bytes);
            for (size_t i = 0; i < bytes; i++) REQUIRE(data[i] == pattern((int)turn, i));
        }
    }
    free(data);
    return NULL;
}

/* Even and odd ranks apart, in reverse order; then both halves and the whole work side by side. */
static const char *split_makes_working_groups(px_comm *comm)
{
    int rank = px_comm_rank(comm), size = px_comm_size(comm);
    px_comm *half = NULL;
    REQUIRE_OK(px_comm_split(comm, rank % 2, -rank, &half));
    int members = (size + 1 - rank % 2) / 2;
    REQUIRE(px_comm_size(half) == members);
    REQUIRE(px_comm_rank(half) == members - 1 - rank / 2);
    float sum[3] = {(float)rank, 1, addend(px_comm_rank(half), 0, 9)};
    REQUIRE_OK(px_comm_all_reduce(half, sum, 3));
    float ranks_sum = 0;
    for (int r = rank % 2; r < size; r += 2) ranks_sum += (float)r;
    REQUIRE(sum[0] == ranks_sum && sum[1] == (float)members);
    REQUIRE(sum[2] == sequential_sum(members, 0, 9));
    REQUIRE_OK(px_comm_barrier(comm));
    px_comm_free(half);
    return NULL;
}

static const char *mixed_operations_follow_one_another(px_comm *comm)
{
    int rank = px_comm_rank(comm), size = px_comm_size(comm);
    for (uint32_t turn = 0; turn < 300; turn++) {
        float x[40];
        for (size_t i = 0; i < 40; i++) x[i] = addend(rank, i, turn);
        REQUIRE_OK(px_comm_all_reduce(comm, x, 1 + turn % 40));
        for (size_t i = 0; i < 1 + turn % 40; i++) REQUIRE(x[i] == sequential_sum(size, i, turn));
        uint32_t word = rank == 0 ? turn : 0;
        if (turn % 3 == 0) {
            REQUIRE_OK(px_comm_broadcast(comm, &word, sizeof word));
            REQUIRE(word == turn);
        }
        if (turn % 7 == 0) REQUIRE_OK(px_comm_barrier(comm));
    }
    return NULL;
}

static const struct {
    const char *name;
    comm_case run;
} comm_cases[] = {
    {"all_reduce_adds_in_rank_order", all_reduce_adds_in_rank_order},
    {"all_gather_brings_columns_together", all_gather_brings_columns_together},
    {"gather_is_ragged", gather_is_ragged},
    {"send_and_recv_keep_order", send_and_recv_keep_order},
    {"broadcast_reaches_all", broadcast_reaches_all},
    {"plans_arrive_whole", plans_arrive_whole},
    {"split_makes_working_groups", split_makes_working_groups},
    {"mixed_operations_follow_one_another", mixed_operations_follow_one_another},
};
enum { COMM_CASE_COUNT = sizeof comm_cases / sizeof *comm_cases };

#endif
