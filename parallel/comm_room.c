/* comm_room.c - collectives through shared memory.
 *
 * Collectives go in turns. In a turn each member puts up to PX_ROOM_SLOT_BYTES into its slot, posts
 * (raises its gate), waits for the posts it needs and reads those slots. Slots alternate by the
 * turn's parity: a member that posts turn t has done with turn t - 1, so once all have posted
 * t - 1, the slots of t - 2 are free for turn t. A turn needs no second meeting.
 *
 *   member 0   copy  post ------ wait 1 -- sum                 (all-reduce of two members)
 *   member 1      copy  post ------------- wait 0 -- sum
 *
 * Sums are added in rank order by every member, so all hold the same bits. A long turn is summed in
 * parts instead: member m adds up part m, posts again, and all copy the parts, which moves
 * 2 (n-1)/n of the data between cores, not n-1 times, and adds each float once.
 */
#include "parallel/comm_room.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "parallel/columns.h"
#include "parallel/sum.h"

enum {
    SLICE_NS = 50 * 1000 * 1000, /* a long wait looks this often whether the peer still lives */
    PARTS_FROM_FLOATS = 16384,   /* that a member would read from the others: below, sum whole */
    STREAM_PIECE_BYTES_MAX = 64 * 1024 /* so that a reader can follow while the writer goes on */
};

typedef struct room_comm {
    px_comm base;
    px_room *room;
    uint32_t posts;      /* mine so far */
    uint32_t first_post; /* count at the first post of the current turn */
    uint32_t parity;     /* of the current turn */
} room_comm;

static room_comm *self_of(px_comm *comm)
{
    return (room_comm *)comm;
}

/* --- waiting ------------------------------------------------------------------------------ */

static px_status gone(room_comm *c, int peer)
{
    px_status words = px_room_last_words(c->room, peer);
    if (!px_is_ok(words))
        return px_fail(PX_UNAVAILABLE, "rank %d of the group ended: %s", peer, words.text);
    return px_fail(PX_UNAVAILABLE, "rank %d of the group has ended", peer);
}

/* Waits until `peer` has raised its gate to `value`. In slices, to look in between whether the peer
 * still lives; only the first is spent awake. */
static px_status await_patiently(
    room_comm *c, int peer, px_gate *gate, uint32_t value, px_patience patience)
{
    for (;;) {
        int64_t now_ns = px_now_ns();
        px_patience slice = patience;
        if (patience.until_ns - now_ns > SLICE_NS) slice.until_ns = now_ns + SLICE_NS;
        if (px_gate_wait(gate, value, slice)) return px_ok();
        /* It may have raised the gate and then left: look again, in this order. */
        bool is_gone = px_room_is_gone(c->room, peer);
        if (px_gate_reached(gate, value)) return px_ok();
        if (is_gone) return gone(c, peer);
        if (px_now_ns() >= patience.until_ns)
            return px_fail(PX_UNAVAILABLE, "rank %d of the group did not answer within %.1f s",
                peer, (double)c->base.deadline_ns / PX_SEC);
        patience.awake_ns = 0;
    }
}

/* For a peer that is about to do its part in what this rank does. */
static inline px_status await(room_comm *c, int peer, px_gate *gate, uint32_t value)
{
    if (px_gate_reached(gate, value)) return px_ok();
    return await_patiently(c, peer, gate, value,
        (px_patience){
            .awake_ns = PX_GATE_AWAKE_MEETING_NS, .until_ns = px_now_ns() + c->base.deadline_ns});
}

static px_status await_post(room_comm *c, int member, uint32_t post)
{
    return await(c, member, &px_room_get_member(c->room, member)->posted, post);
}

static px_status await_posts(room_comm *c, uint32_t post)
{
    for (int m = 0; m < c->base.size; m++) PX_TRY(await_post(c, m, post));
    return px_ok();
}

/* --- turns -------------------------------------------------------------------------------- */

/* Starts a turn: afterwards this member's slot of the turn may be written. */
static px_status begin_turn(room_comm *c)
{
    uint32_t previous = c->first_post;
    c->first_post = c->posts + 1;
    c->parity ^= 1;
    return await_posts(c, previous);
}

static void post(room_comm *c)
{
    px_gate_raise(&px_room_get_member(c->room, c->base.rank)->posted, ++c->posts);
}

static void *slot_of(room_comm *c, int member)
{
    return px_room_slot(c->room, member, c->parity);
}

/* --- all-reduce --------------------------------------------------------------------------- */

/* x[part] = the members' x added in rank order: this one's from x itself, the others' from their
 * slots. */
static void sum_slots(room_comm *c, float *x, px_span part)
{
    const float *addends[PX_ROOM_MEMBERS_MAX];
    for (int m = 0; m < c->base.size; m++)
        addends[m] = (m == c->base.rank ? x : (const float *)slot_of(c, m)) + part.begin;
    px_sum_in_order(addends, c->base.size, x + part.begin, part.end - part.begin);
}

static void put(room_comm *c, const float *x, px_span part)
{
    float *slot = slot_of(c, c->base.rank);
    px_copy_for_others(slot + part.begin, x + part.begin, (part.end - part.begin) * sizeof *x);
}

/* Everyone shows all it has and adds up everything. */
static px_status reduce_whole(room_comm *c, float *x, size_t count)
{
    px_span all = {0, count};
    put(c, x, all);
    post(c);
    PX_TRY(await_posts(c, c->posts));
    sum_slots(c, x, all);
    return px_ok();
}

/* Everyone shows what others add up, adds up its own part, shows that, and copies the others'. */
static px_status reduce_in_parts(room_comm *c, float *x, size_t count)
{
    int rank = c->base.rank, size = c->base.size;
    px_span mine = px_span_part(count, rank, size);
    put(c, x, (px_span){0, mine.begin});
    put(c, x, (px_span){mine.end, count});
    post(c);
    PX_TRY(await_posts(c, c->posts));
    sum_slots(c, x, mine);
    put(c, x, mine);
    post(c);
    for (int i = 1; i < size; i++) {
        int m = (rank + i) % size; /* not all at the same member at once */
        px_span part = px_span_part(count, m, size);
        PX_TRY(await_post(c, m, c->posts));
        memcpy(x + part.begin, (const float *)slot_of(c, m) + part.begin,
            (part.end - part.begin) * sizeof *x);
    }
    return px_ok();
}

static px_status room_all_reduce(px_comm *comm, float *x, size_t count)
{
    enum { TURN_FLOATS = PX_ROOM_SLOT_BYTES / sizeof(float) };
    room_comm *c = self_of(comm);
    for (size_t at = 0; at < count; at += TURN_FLOATS) {
        size_t turn = count - at < TURN_FLOATS ? count - at : TURN_FLOATS;
        PX_TRY(begin_turn(c));
        bool whole = turn * (size_t)(comm->size - 1) < PARTS_FROM_FLOATS;
        PX_TRY(whole ? reduce_whole(c, x + at, turn) : reduce_in_parts(c, x + at, turn));
    }
    return px_ok();
}

/* --- gather, broadcast, barrier ----------------------------------------------------------- */

/* Bytes that a contribution of `bytes` has in the turn that starts `at`. */
static size_t turn_bytes(size_t bytes, size_t at)
{
    if (bytes <= at) return 0;
    return bytes - at < PX_ROOM_SLOT_BYTES ? bytes - at : PX_ROOM_SLOT_BYTES;
}

/* Shows this member's share of the turn, copies the others'. */
static px_status all_gather_turn(room_comm *c, const px_comm_columns *columns, size_t at)
{
    int rank = c->base.rank, size = c->base.size;
    px_columns_read(
        columns, rank, at, turn_bytes(px_columns_bytes(columns, rank), at), slot_of(c, rank));
    post(c);
    for (int i = 1; i < size; i++) {
        int m = (rank + i) % size; /* not all at the same member at once */
        PX_TRY(await_post(c, m, c->posts));
        px_columns_write(
            columns, m, at, turn_bytes(px_columns_bytes(columns, m), at), slot_of(c, m));
    }
    return px_ok();
}

static px_status room_all_gather(px_comm *comm, const px_comm_columns *columns)
{
    room_comm *c = self_of(comm);
    size_t longest = px_columns_longest(columns, comm->size);
    for (size_t at = 0; at < longest; at += PX_ROOM_SLOT_BYTES) {
        PX_TRY(begin_turn(c));
        PX_TRY(all_gather_turn(c, columns, at));
    }
    return px_ok();
}

static px_status collect_turn(room_comm *c, const size_t *bytes, size_t at, unsigned char *all)
{
    for (int m = 1; m < c->base.size; m++) {
        all += bytes[m - 1];
        PX_TRY(await_post(c, m, c->posts));
        memcpy(all + at, slot_of(c, m), turn_bytes(bytes[m], at));
    }
    return px_ok();
}

static px_status room_gather(px_comm *comm, const void *mine, const size_t *bytes, void *all)
{
    room_comm *c = self_of(comm);
    if (comm->rank == 0 && all != mine && bytes[0] > 0) memmove(all, mine, bytes[0]);
    size_t longest = 0;
    for (int m = 1; m < comm->size; m++) longest = bytes[m] > longest ? bytes[m] : longest;
    for (size_t at = 0; at < longest; at += PX_ROOM_SLOT_BYTES) {
        PX_TRY(begin_turn(c));
        size_t piece = comm->rank == 0 ? 0 : turn_bytes(bytes[comm->rank], at);
        if (piece > 0) memcpy(slot_of(c, comm->rank), (const unsigned char *)mine + at, piece);
        post(c);
        if (comm->rank == 0) PX_TRY(collect_turn(c, bytes, at, all));
    }
    return px_ok();
}

static px_status room_broadcast(px_comm *comm, void *data, size_t bytes)
{
    room_comm *c = self_of(comm);
    for (size_t at = 0; at < bytes; at += PX_ROOM_SLOT_BYTES) {
        size_t piece = turn_bytes(bytes, at);
        PX_TRY(begin_turn(c));
        if (comm->rank == 0) memcpy(slot_of(c, 0), (unsigned char *)data + at, piece);
        post(c);
        PX_TRY(await_post(c, 0, c->posts));
        if (comm->rank != 0) memcpy((unsigned char *)data + at, slot_of(c, 0), piece);
    }
    return px_ok();
}

static px_status room_barrier(px_comm *comm)
{
    room_comm *c = self_of(comm);
    PX_TRY(begin_turn(c));
    post(c);
    return await_posts(c, c->posts);
}

/* --- streams: send, recv and the plan ----------------------------------------------------- */

/* Who reads a stream as its r-th reader: the plan goes to all but member 0. */
typedef struct channel {
    px_stream stream;
    int writer, first_reader;
} channel;

static channel pair_channel(room_comm *c, int from, int to)
{
    return (channel){px_room_pair(c->room, from, to), from, to};
}

static channel plan_channel(room_comm *c)
{
    return (channel){px_room_plan(c->room), 0, 1};
}

/* Bytes that can be written now; waits until there is at least one. */
static px_status await_space(room_comm *c, const channel *to, uint32_t *out_space)
{
    const px_stream *s = &to->stream;
    uint32_t written = px_gate_value(s->written), space = s->capacity;
    for (int r = 0; r < s->readers; r++) {
        PX_TRY(await(c, to->first_reader + r, &s->read[r], written - s->capacity + 1));
        uint32_t left = s->capacity - (written - px_gate_value(&s->read[r]));
        space = left < space ? left : space;
    }
    *out_space = space;
    return px_ok();
}

static void ring_copy_in(const px_stream *s, uint32_t at, const void *data, uint32_t bytes)
{
    uint32_t from = at & (s->capacity - 1), tail = s->capacity - from;
    uint32_t first = bytes < tail ? bytes : tail;
    memcpy(s->ring + from, data, first);
    memcpy(s->ring, (const unsigned char *)data + first, bytes - first);
}

static void ring_copy_out(const px_stream *s, uint32_t at, void *data, uint32_t bytes)
{
    uint32_t from = at & (s->capacity - 1), tail = s->capacity - from;
    uint32_t first = bytes < tail ? bytes : tail;
    memcpy(data, s->ring + from, first);
    memcpy((unsigned char *)data + first, s->ring, bytes - first);
}

static uint32_t piece_of(size_t left, uint32_t available)
{
    uint32_t most = available < STREAM_PIECE_BYTES_MAX ? available : STREAM_PIECE_BYTES_MAX;
    return left < most ? (uint32_t)left : most;
}

static px_status stream_write(room_comm *c, const channel *to, const void *data, size_t bytes)
{
    const unsigned char *from = data;
    while (bytes > 0) {
        uint32_t space = 0, written = px_gate_value(to->stream.written);
        PX_TRY(await_space(c, to, &space));
        uint32_t piece = piece_of(bytes, space);
        ring_copy_in(&to->stream, written, from, piece);
        px_gate_raise(to->stream.written, written + piece);
        from += piece;
        bytes -= piece;
    }
    return px_ok();
}

/* `reader` counts from the channel's first reader. */
static px_status stream_read(
    room_comm *c, const channel *from, int reader, void *data, size_t bytes)
{
    unsigned char *to = data;
    px_gate *gate = &from->stream.read[reader];
    while (bytes > 0) {
        uint32_t read = px_gate_value(gate);
        PX_TRY(await(c, from->writer, from->stream.written, read + 1));
        uint32_t piece = piece_of(bytes, px_gate_value(from->stream.written) - read);
        ring_copy_out(&from->stream, read, to, piece);
        px_gate_raise(gate, read + piece);
        to += piece;
        bytes -= piece;
    }
    return px_ok();
}

static px_status room_send(px_comm *comm, int to, const void *data, size_t bytes)
{
    channel there = pair_channel(self_of(comm), comm->rank, to);
    return stream_write(self_of(comm), &there, data, bytes);
}

static px_status room_recv(px_comm *comm, int from, void *data, size_t bytes)
{
    channel here = pair_channel(self_of(comm), from, comm->rank);
    return stream_read(self_of(comm), &here, 0, data, bytes);
}

static px_status room_plan_send(px_comm *comm, const void *message, size_t bytes)
{
    channel all = plan_channel(self_of(comm));
    uint64_t length = bytes;
    PX_TRY(stream_write(self_of(comm), &all, &length, sizeof length));
    return stream_write(self_of(comm), &all, message, bytes);
}

static px_status room_plan_wait(px_comm *comm, void *message, size_t capacity, size_t *out_bytes)
{
    room_comm *c = self_of(comm);
    channel plan = plan_channel(c);
    int reader = comm->rank - 1;
    uint64_t length = 0;
    uint32_t read = px_gate_value(&plan.stream.read[reader]);
    px_patience idle = {.awake_ns = PX_GATE_AWAKE_IDLE_NS, .until_ns = INT64_MAX};
    PX_TRY(await_patiently(c, 0, plan.stream.written, read + 1, idle));
    PX_TRY(stream_read(c, &plan, reader, &length, sizeof length));
    if (length > capacity)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "rank 0 sent a plan of %llu bytes, but this rank has room for %zu",
            (unsigned long long)length, capacity);
    PX_TRY(stream_read(c, &plan, reader, message, (size_t)length));
    *out_bytes = (size_t)length;
    return px_ok();
}

/* --- split -------------------------------------------------------------------------------- */

typedef struct split_wish {
    int colour, key;
} split_wish;

typedef struct split_door {      /* how to get into a new room; all zero: it could not be made */
    px_room *room;               /* threads share the view */
    char name[PX_ROOM_NAME_MAX]; /* processes attach by it */
} split_door;

typedef struct split_group {
    int size, rank; /* of the new comm */
    int leader;     /* member of the old comm that has rank 0 */
} split_group;

/* Everyone's wish is read from the slots of the turn. */
static px_status find_group(room_comm *c, split_wish mine, split_group *out)
{
    PX_TRY(begin_turn(c));
    memcpy(slot_of(c, c->base.rank), &mine, sizeof mine);
    post(c);
    PX_TRY(await_posts(c, c->posts));
    split_group group = {.leader = c->base.rank};
    int leader_key = mine.key;
    for (int m = 0; m < c->base.size; m++) {
        split_wish wish;
        memcpy(&wish, slot_of(c, m), sizeof wish);
        if (wish.colour != mine.colour) continue;
        group.size++;
        if (wish.key < mine.key || (wish.key == mine.key && m < c->base.rank)) group.rank++;
        if (wish.key < leader_key || (wish.key == leader_key && m < group.leader)) {
            group.leader = m;
            leader_key = wish.key;
        }
    }
    *out = group;
    return px_ok();
}

/* The leader makes the room; the turn tells the others where it is. */
static px_status open_group_room(room_comm *c, const split_group *group, px_room **out)
{
    bool leads = group->leader == c->base.rank, is_shared = px_room_is_shared(c->room);
    px_status made = px_ok();
    if (leads && group->size > 1)
        made =
            is_shared ? px_room_create_shared(group->size, out) : px_room_create(group->size, out);
    split_door door = {.room = *out};
    if (*out) memcpy(door.name, px_room_name(*out), sizeof door.name);
    PX_TRY(begin_turn(c));
    memcpy(slot_of(c, c->base.rank), &door, sizeof door);
    post(c);
    PX_TRY(await_posts(c, c->posts));
    if (leads || group->size == 1) return made;
    memcpy(&door, slot_of(c, group->leader), sizeof door);
    if (!door.room)
        return px_fail(PX_UNAVAILABLE,
            "rank %d of the group could not make memory for a part of it", group->leader);
    if (is_shared) return px_room_attach(door.name, group->size, out);
    *out = door.room;
    return px_ok();
}

static px_status room_split(px_comm *comm, int colour, int key, px_comm **out)
{
    room_comm *c = self_of(comm);
    split_group group;
    px_room *room = NULL;
    PX_TRY(find_group(c, (split_wish){colour, key}, &group));
    px_status status = open_group_room(c, &group, &room);
    if (!px_is_ok(status)) {
        px_room_release(room);
        return status;
    }
    if (group.size == 1) return px_comm_self(out);
    px_comm_over_room_options options = {
        .rank = group.rank, .kind = comm->kind, .deadline_ns = comm->deadline_ns};
    return px_comm_over_room(room, &options, out);
}

/* --- making ------------------------------------------------------------------------------- */

static void room_say(px_comm *comm, const px_status *why)
{
    px_room_say_last_words(self_of(comm)->room, comm->rank, why);
}

static bool room_hear(px_comm *comm, px_status *out_why)
{
    for (int m = 0; m < comm->size; m++) {
        px_status words = px_room_last_words(self_of(comm)->room, m);
        if (px_is_ok(words)) continue;
        *out_why = px_prefix(words, "rank %d", m);
        return true;
    }
    return false;
}

static void room_free(px_comm *comm)
{
    px_room_leave(self_of(comm)->room, comm->rank);
    px_room_release(self_of(comm)->room);
    free(comm);
}

static const px_comm_ops room_ops = {
    .all_reduce = room_all_reduce,
    .all_gather = room_all_gather,
    .gather = room_gather,
    .send = room_send,
    .recv = room_recv,
    .barrier = room_barrier,
    .broadcast = room_broadcast,
    .plan_send = room_plan_send,
    .plan_wait = room_plan_wait,
    .split = room_split,
    .say = room_say,
    .hear = room_hear,
    .free = room_free,
};

px_status px_comm_over_room(px_room *room, const px_comm_over_room_options *options, px_comm **out)
{
    room_comm *c = px_alloc(sizeof *c);
    c->base = (px_comm){.ops = &room_ops,
        .kind = options->kind,
        .rank = options->rank,
        .size = px_room_size(room),
        .host_size = px_room_size(room),
        .deadline_ns = options->deadline_ns};
    c->room = room;
    px_room_enter(room, options->rank);
    if (px_room_is_shared(room)) {
        px_status met = room_barrier(&c->base);
        px_room_unname(room);
        if (!px_is_ok(met)) {
            room_free(&c->base);
            return met;
        }
    }
    *out = &c->base;
    return px_ok();
}
