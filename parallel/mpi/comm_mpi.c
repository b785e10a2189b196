/* comm_mpi.c - ranks that are processes started by mpirun.
 *
 * MPI carries what goes between hosts, and brings ranks of one host together in a room
 * (comm_room.h): a group whose members share a host does not call MPI again.
 *
 * Sums between hosts are added in rank order too. A short one is exchanged whole and everyone adds
 * it up; of a long one member m adds up part m and sends that round:
 *
 *   whole   x -> all          sum
 *   parts   x[m] -> each m    sum of x[mine]    x[mine] -> all
 *
 * The parts move as little as a ring does, in two steps instead of 2 (n-1).
 */
#include "parallel/mpi/comm_mpi.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/memory.h"
#include "parallel/columns.h"
#include "parallel/comm_room.h"
#include "parallel/mpi/mpi_link.h"
#include "parallel/sum.h"

enum {
    SLICE_NS = 100 * 1000 * 1000, /* a long wait looks this often whether a peer has ended */
    ROUND_FLOATS = 128 * 1024,    /* of one round of a sum: what scratch holds of each member */
    PARTS_FROM_FLOATS = 8192,     /* shorter sums are exchanged whole: one step */
    PLANS_UNDER_WAY = 16,         /* plans that followers need not have taken yet */
};

typedef struct plan_slot { /* a plan that MPI may still be sending */
    px_mpi_batch batch;
    px_buf bytes;
} plan_slot;

typedef struct mpi_comm {
    px_comm base;
    px_mpi_link link;
    px_mpi_batch batch;
    float *scratch;                   /* [size][ROUND_FLOATS]; pages are taken when touched */
    plan_slot plans[PLANS_UNDER_WAY]; /* rank 0 */
    unsigned next_plan;
    px_status heard; /* not OK: why a peer ended */
} mpi_comm;

static mpi_comm *self_of(px_comm *comm)
{
    return (mpi_comm *)comm;
}

/* --- transfers ---------------------------------------------------------------------------- */

static px_status start_send(mpi_comm *c, int to, const void *data, size_t bytes)
{
    return px_mpi_send(&c->batch, (px_mpi_peer){to, PX_MPI_COLLECTIVE}, data, bytes);
}

static px_status start_recv(mpi_comm *c, int from, void *data, size_t bytes)
{
    return px_mpi_recv(&c->batch, (px_mpi_peer){from, PX_MPI_COLLECTIVE}, data, bytes);
}

static bool mpi_hear(px_comm *comm, px_status *out_why);

/* Waits in slices, to hear in between whether a peer has ended. */
static px_status finish_batch(mpi_comm *c, px_mpi_batch *batch)
{
    int64_t until_ns = px_now_ns() + c->base.deadline_ns;
    for (;;) {
        bool done = false;
        px_status words;
        int64_t left_ns = until_ns - px_now_ns();
        PX_TRY(px_mpi_wait(batch, left_ns < SLICE_NS ? left_ns : SLICE_NS, &done));
        if (done) return px_ok();
        if (mpi_hear(&c->base, &words)) return px_fail(PX_UNAVAILABLE, "%s", words.text);
        if (px_now_ns() >= until_ns)
            return px_fail(PX_UNAVAILABLE, "rank %d of the group did not answer within %.1f s",
                px_mpi_late_member(batch), (double)c->base.deadline_ns / PX_SEC);
    }
}

static px_status finish(mpi_comm *c)
{
    return finish_batch(c, &c->batch);
}

/* --- all-reduce --------------------------------------------------------------------------- */

static float *scratch_of(mpi_comm *c, int member)
{
    return c->scratch + (size_t)member * ROUND_FLOATS;
}

/* x[part] = its sum in rank order; the others' addends lie at the start of their scratch. */
static void sum_scratch(mpi_comm *c, float *x, px_span part)
{
    const float *addends[PX_COMM_RANKS_MAX];
    for (int m = 0; m < c->base.size; m++)
        addends[m] = m == c->base.rank ? x + part.begin : scratch_of(c, m);
    px_sum_in_order(addends, c->base.size, x + part.begin, part.end - part.begin);
}

static px_status reduce_whole(mpi_comm *c, float *x, size_t count)
{
    for (int m = 0; m < c->base.size; m++) {
        if (m == c->base.rank) continue;
        PX_TRY(start_recv(c, m, scratch_of(c, m), count * sizeof *x));
        PX_TRY(start_send(c, m, x, count * sizeof *x));
    }
    PX_TRY(finish(c));
    sum_scratch(c, x, (px_span){0, count});
    return px_ok();
}

static px_status reduce_in_parts(mpi_comm *c, float *x, size_t count)
{
    int rank = c->base.rank, size = c->base.size;
    px_span mine = px_span_part(count, rank, size);
    size_t mine_bytes = (mine.end - mine.begin) * sizeof *x;
    for (int m = 0; m < size; m++) {
        if (m == rank) continue;
        px_span part = px_span_part(count, m, size);
        PX_TRY(start_recv(c, m, scratch_of(c, m), mine_bytes));
        PX_TRY(start_send(c, m, x + part.begin, (part.end - part.begin) * sizeof *x));
    }
    PX_TRY(finish(c));
    sum_scratch(c, x, mine);
    for (int m = 0; m < size; m++) {
        if (m == rank) continue;
        px_span part = px_span_part(count, m, size);
        PX_TRY(start_recv(c, m, x + part.begin, (part.end - part.begin) * sizeof *x));
        PX_TRY(start_send(c, m, x + mine.begin, mine_bytes));
    }
    return finish(c);
}

static px_status mpi_all_reduce(px_comm *comm, float *x, size_t count)
{
    mpi_comm *c = self_of(comm);
    if (comm->size == 1) return px_ok();
    for (size_t at = 0; at < count; at += ROUND_FLOATS) {
        size_t round = count - at < ROUND_FLOATS ? count - at : ROUND_FLOATS;
        PX_TRY(round < PARTS_FROM_FLOATS ? reduce_whole(c, x + at, round)
                                         : reduce_in_parts(c, x + at, round));
    }
    return px_ok();
}

/* --- the other collectives ---------------------------------------------------------------- */

/* Each member's share of a round goes to all, by way of everyone's scratch. */
static px_status all_gather_round(mpi_comm *c, const px_comm_columns *columns, size_t at)
{
    enum { ROUND_BYTES = ROUND_FLOATS * sizeof(float) };
    size_t bytes[PX_COMM_RANKS_MAX];
    for (int m = 0; m < c->base.size; m++) {
        size_t all = px_columns_bytes(columns, m);
        bytes[m] = all <= at ? 0 : all - at < ROUND_BYTES ? all - at : ROUND_BYTES;
    }
    int rank = c->base.rank;
    px_columns_read(columns, rank, at, bytes[rank], scratch_of(c, rank));
    for (int m = 0; m < c->base.size; m++) {
        if (m == rank) continue;
        if (bytes[m]) PX_TRY(start_recv(c, m, scratch_of(c, m), bytes[m]));
        if (bytes[rank]) PX_TRY(start_send(c, m, scratch_of(c, rank), bytes[rank]));
    }
    PX_TRY(finish(c));
    for (int m = 0; m < c->base.size; m++)
        if (m != rank) px_columns_write(columns, m, at, bytes[m], scratch_of(c, m));
    return px_ok();
}

static px_status mpi_all_gather(px_comm *comm, const px_comm_columns *columns)
{
    mpi_comm *c = self_of(comm);
    size_t longest = px_columns_longest(columns, comm->size);
    for (size_t at = 0; at < longest; at += ROUND_FLOATS * sizeof(float))
        PX_TRY(all_gather_round(c, columns, at));
    return px_ok();
}

static px_status mpi_gather(px_comm *comm, const void *mine, const size_t *bytes, void *all)
{
    mpi_comm *c = self_of(comm);
    if (comm->rank != 0) {
        PX_TRY(start_send(c, 0, mine, bytes[comm->rank]));
        return finish(c);
    }
    unsigned char *at = all;
    if (all != mine && bytes[0] > 0) memmove(all, mine, bytes[0]);
    for (int m = 1; m < comm->size; m++) {
        at += bytes[m - 1];
        PX_TRY(start_recv(c, m, at, bytes[m]));
    }
    return finish(c);
}

static px_status mpi_broadcast(px_comm *comm, void *data, size_t bytes)
{
    mpi_comm *c = self_of(comm);
    if (comm->rank != 0) {
        PX_TRY(start_recv(c, 0, data, bytes));
        return finish(c);
    }
    for (int m = 1; m < comm->size; m++) PX_TRY(start_send(c, m, data, bytes));
    return finish(c);
}

/* What each contributes, on everyone, in rank order. */
static px_status all_gather(mpi_comm *c, const void *mine, size_t bytes, void *all)
{
    size_t each[PX_COMM_RANKS_MAX];
    for (int m = 0; m < c->base.size; m++) each[m] = bytes;
    PX_TRY(mpi_gather(&c->base, mine, each, all));
    return mpi_broadcast(&c->base, all, bytes * (size_t)c->base.size);
}

static px_status mpi_barrier(px_comm *comm)
{
    unsigned char here = 0, all[PX_COMM_RANKS_MAX];
    return all_gather(self_of(comm), &here, sizeof here, all);
}

static px_status mpi_send(px_comm *comm, int to, const void *data, size_t bytes)
{
    mpi_comm *c = self_of(comm);
    PX_TRY(px_mpi_send(&c->batch, (px_mpi_peer){to, PX_MPI_PAIR}, data, bytes));
    return finish(c);
}

static px_status mpi_recv(px_comm *comm, int from, void *data, size_t bytes)
{
    mpi_comm *c = self_of(comm);
    PX_TRY(px_mpi_recv(&c->batch, (px_mpi_peer){from, PX_MPI_PAIR}, data, bytes));
    return finish(c);
}

/* --- the plan ----------------------------------------------------------------------------- */

/* Copies the plan, so that it can still be on its way when the next steps are planned. */
static px_status mpi_plan_send(px_comm *comm, const void *message, size_t bytes)
{
    mpi_comm *c = self_of(comm);
    plan_slot *slot = &c->plans[c->next_plan++ % PLANS_UNDER_WAY];
    PX_TRY(finish_batch(c, &slot->batch));
    px_buf_reset(&slot->bytes);
    px_buf_append(&slot->bytes, message, bytes);
    for (int m = 1; m < comm->size; m++)
        PX_TRY(px_mpi_send(&slot->batch, (px_mpi_peer){m, PX_MPI_PLAN}, slot->bytes.data, bytes));
    return px_ok();
}

static px_status mpi_plan_wait(px_comm *comm, void *message, size_t capacity, size_t *out_bytes)
{
    mpi_comm *c = self_of(comm);
    px_mpi_peer leader = {0, PX_MPI_PLAN};
    px_mpi_arrival arrival;
    px_status words;
    for (bool found = false; !found;) {
        PX_TRY(px_mpi_expect(&c->link, leader, SLICE_NS, &arrival, &found));
        if (!found && mpi_hear(comm, &words)) return px_fail(PX_UNAVAILABLE, "%s", words.text);
    }
    if (arrival.bytes > capacity)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "rank 0 sent a plan of %zu bytes, but this rank has room for %zu", arrival.bytes,
            capacity);
    PX_TRY(px_mpi_take(&c->batch, leader, &arrival, message));
    PX_TRY(finish(c));
    *out_bytes = arrival.bytes;
    return px_ok();
}

/* --- last words --------------------------------------------------------------------------- */

static void mpi_say(px_comm *comm, const px_status *why)
{
    mpi_comm *c = self_of(comm);
    px_mpi_batch words;
    bool done;
    px_mpi_batch_init(&words, &c->link, comm->size);
    for (int m = 0; m < comm->size; m++)
        if (m != comm->rank)
            px_ignore(px_mpi_send(&words, (px_mpi_peer){m, PX_MPI_WORDS}, why, sizeof *why));
    /* Best effort: who does not listen by now will find us gone. */
    px_ignore(px_mpi_wait(&words, SLICE_NS, &done));
    px_mpi_batch_done(&words);
}

static bool hear_member(mpi_comm *c, int member, px_status *out)
{
    px_mpi_peer from = {member, PX_MPI_WORDS};
    px_mpi_arrival arrival;
    px_mpi_batch batch;
    bool found = false, done = false;
    px_status status = px_mpi_expect(&c->link, from, 0, &arrival, &found);
    if (!px_is_ok(status) || !found || arrival.bytes != sizeof *out) return false;
    px_mpi_batch_init(&batch, &c->link, 1);
    status = px_mpi_take(&batch, from, &arrival, out);
    if (px_is_ok(status)) status = px_mpi_wait(&batch, SLICE_NS, &done);
    px_mpi_batch_done(&batch);
    out->text[sizeof out->text - 1] = '\0';
    return px_is_ok(status) && done && out->code > PX_OK && out->code < PX_CODE_COUNT;
}

static bool mpi_hear(px_comm *comm, px_status *out_why)
{
    mpi_comm *c = self_of(comm);
    px_status words;
    for (int m = 0; m < comm->size && px_is_ok(c->heard); m++)
        if (m != comm->rank && hear_member(c, m, &words)) c->heard = px_prefix(words, "rank %d", m);
    *out_why = c->heard;
    return !px_is_ok(c->heard);
}

/* --- groups ------------------------------------------------------------------------------- */

/* Ranks with the same number can share memory. Made of what tells one booted machine, and on it one
 * container or emulated host, from another: the boot's id, the host's name, and the device number
 * of the file system that shared memory lies in. */
static uint64_t host_number(void)
{
    px_buf key;
    struct utsname names;
    struct stat shm;
    px_buf_init(&key, 4096);
    px_ignore(px_fs_read("/proc/sys/kernel/random/boot_id", &key));
    if (uname(&names) == 0) px_buf_puts(&key, names.nodename);
    if (stat("/dev/shm", &shm) == 0) px_buf_printf(&key, "/%llu", (unsigned long long)shm.st_dev);
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    for (size_t i = 0; i < key.length; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * UINT64_C(0x100000001B3);
    px_buf_done(&key);
    return hash;
}

typedef struct wish { /* what each rank tells the others in a split */
    int colour, key;
    int next_context; /* the first that this process has not used */
    int world_rank;
    uint64_t host;
} wish;

typedef struct group_options {
    int size, rank, context;
    int64_t deadline_ns;
} group_options;

/* No two groups that share two ranks may share a context: each split takes the first that none of
 * its ranks has used. */
static int next_context = 1;

static int compare_wishes(const void *a, const void *b)
{
    const wish *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->world_rank > y->world_rank) - (x->world_rank < y->world_rank);
}

static const px_comm_ops mpi_ops;

/* A comm over `members` in their order; this process is number `rank` of them. */
static px_status make_group(const wish *members, const group_options *options, px_comm **out)
{
    int size = options->size, rank = options->rank;
    size_t scratch_bytes = (size_t)size * ROUND_FLOATS * sizeof(float);
    void *scratch = mmap(NULL, scratch_bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (scratch == MAP_FAILED)
        return px_fail(PX_RESOURCE_EXHAUSTED, "cannot map %zu bytes for sums over %d ranks",
            scratch_bytes, size);
    mpi_comm *c = px_alloc(sizeof *c);
    c->base = (px_comm){.ops = &mpi_ops,
        .kind = "mpi",
        .rank = rank,
        .size = size,
        .deadline_ns = options->deadline_ns};
    c->scratch = scratch;
    c->link = (px_mpi_link){.size = size, .context = options->context};
    c->link.world_ranks = px_alloc_array((size_t)size, sizeof *c->link.world_ranks);
    for (int m = 0; m < size; m++) {
        c->link.world_ranks[m] = members[m].world_rank;
        c->base.host_size += members[m].host == members[rank].host;
    }
    px_mpi_batch_init(&c->batch, &c->link, 2 * size);
    for (int p = 0; p < PLANS_UNDER_WAY; p++) {
        px_mpi_batch_init(&c->plans[p].batch, &c->link, size);
        px_buf_init(&c->plans[p].bytes, INT32_MAX);
    }
    *out = &c->base;
    return px_ok();
}

static void mpi_free(px_comm *comm)
{
    if (!comm) return;
    mpi_comm *c = self_of(comm);
    for (int p = 0; p < PLANS_UNDER_WAY; p++) {
        bool done = false;
        px_ignore(px_mpi_wait(&c->plans[p].batch, 0, &done));
        /* What MPI is still sending (the last plan, say) stays until the process ends. */
        if (!done) continue;
        px_mpi_batch_done(&c->plans[p].batch);
        px_buf_done(&c->plans[p].bytes);
    }
    if (c->batch.count == 0) {
        munmap(c->scratch, (size_t)comm->size * ROUND_FLOATS * sizeof(float));
        px_mpi_batch_done(&c->batch);
    }
    free(c->link.world_ranks);
    free(c);
}

/* Members of one host move into a room, if all of them can; else the group stays with MPI. Takes
 * `group`. */
static px_status move_into_room(px_comm *group, px_comm **out)
{
    char name[PX_ROOM_NAME_MAX] = "";
    px_room *room = NULL;
    px_status status = px_ok();
    if (group->rank == 0) {
        status = px_room_create_shared(group->size, &room);
        if (room) memcpy(name, px_room_name(room), sizeof name);
    }
    PX_TRY_GOTO(mpi_broadcast(group, name, sizeof name), failed);
    if (group->rank != 0 && name[0]) status = px_room_attach(name, group->size, &room);
    float outside = room ? 0 : 1;
    PX_TRY_GOTO(mpi_all_reduce(group, &outside, 1), failed);
    if (outside > 0) {
        px_room_release(room);
        *out = group;
        return px_ok();
    }
    px_comm_over_room_options options = {
        .rank = group->rank, .kind = "mpi", .deadline_ns = group->deadline_ns};
    mpi_free(group);
    return px_comm_over_room(room, &options, out);
failed:
    px_room_release(room);
    mpi_free(group);
    return status;
}

static px_status open_group(const wish *members, const group_options *options, px_comm **out)
{
    PX_TRY(make_group(members, options, out));
    bool one_host = (*out)->host_size == options->size;
    if (options->size == 1 || !one_host || options->size > PX_ROOM_MEMBERS_MAX) return px_ok();
    return move_into_room(*out, out);
}

static px_status mpi_split(px_comm *comm, int colour, int key, px_comm **out)
{
    wish mine = {.colour = colour,
        .key = key,
        .next_context = next_context,
        .world_rank = self_of(comm)->link.world_ranks[comm->rank],
        .host = host_number()};
    wish *all = px_alloc_array((size_t)comm->size, sizeof *all);
    px_status status = all_gather(self_of(comm), &mine, sizeof mine, all);
    group_options options = {.deadline_ns = comm->deadline_ns};
    for (int m = 0; m < comm->size; m++) {
        if (all[m].next_context > options.context) options.context = all[m].next_context;
        if (all[m].colour == colour) all[options.size++] = all[m];
    }
    next_context = options.context + 1;
    qsort(all, (size_t)options.size, sizeof *all, compare_wishes);
    while (px_is_ok(status) && all[options.rank].world_rank != mine.world_rank) options.rank++;
    if (px_is_ok(status) && options.context >= PX_MPI_CONTEXT_MAX)
        status = px_fail(PX_RESOURCE_EXHAUSTED, "these ranks have been split too often");
    if (px_is_ok(status)) status = open_group(all, &options, out);
    free(all);
    return status;
}

static const px_comm_ops mpi_ops = {
    .all_reduce = mpi_all_reduce,
    .all_gather = mpi_all_gather,
    .gather = mpi_gather,
    .send = mpi_send,
    .recv = mpi_recv,
    .barrier = mpi_barrier,
    .broadcast = mpi_broadcast,
    .plan_send = mpi_plan_send,
    .plan_wait = mpi_plan_wait,
    .split = mpi_split,
    .say = mpi_say,
    .hear = mpi_hear,
    .free = mpi_free,
};

/* The first group knows no hosts yet; splitting it into itself finds them. */
px_status px_comm_over_mpi(const px_mpi_world *world, px_comm **out)
{
    px_comm *first;
    wish *members = px_alloc_array((size_t)world->size, sizeof *members);
    for (int m = 0; m < world->size; m++) members[m] = (wish){.world_rank = m};
    group_options options = {
        .size = world->size, .rank = world->rank, .deadline_ns = PX_COMM_DEADLINE_NS};
    px_status status = make_group(members, &options, &first);
    free(members);
    PX_TRY(status);
    status = mpi_split(first, 0, world->rank, out);
    mpi_free(first);
    return status;
}
