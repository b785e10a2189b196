/* room.c - the memory of a room: layout, sharing by name, and who is still there. */
#include "parallel/room.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"

enum {
    PLAN_RING_BYTES = 256 * 1024,     /* some dozens of plans of a busy engine */
    PAIR_RING_BYTES_MAX = 256 * 1024, /* activations of a pipeline's hand-off stream through */
    PAIR_RING_BYTES_MIN = 16 * 1024,
    PAIR_RINGS_BYTES = 16 * 1024 * 1024, /* what all pairs together should not pass */
};

struct px_room {
    int size;
    bool is_shared;
    _Atomic int references;
    char name[PX_ROOM_NAME_MAX]; /* to be removed by this process */
    unsigned char *base;
    size_t bytes;
    size_t slots_at, plan_at, pairs_at;
    uint32_t pair_ring_bytes;
    int *pidfds; /* [size], of a shared room (whose view has one user) */
};

enum { PIDFD_UNASKED = -1, PIDFD_UNKNOWN = -2 };

/* --- layout ------------------------------------------------------------------------------- */

static size_t stream_bytes(int readers, uint32_t capacity)
{
    return sizeof(px_gate) * (1 + (size_t)readers) + capacity;
}

static void lay_out(px_room *room, int size)
{
    room->size = size;
    room->pair_ring_bytes = PAIR_RING_BYTES_MAX;
    while (room->pair_ring_bytes > PAIR_RING_BYTES_MIN &&
           (size_t)size * size * room->pair_ring_bytes > PAIR_RINGS_BYTES)
        room->pair_ring_bytes /= 2;
    room->slots_at = (size_t)size * sizeof(px_room_member);
    room->plan_at = room->slots_at + (size_t)size * 2 * PX_ROOM_SLOT_BYTES;
    room->pairs_at = room->plan_at + stream_bytes(size - 1, PLAN_RING_BYTES);
    room->bytes = room->pairs_at + (size_t)size * size * stream_bytes(1, room->pair_ring_bytes);
}

static px_stream stream_at(px_room *room, size_t at, int readers, uint32_t capacity)
{
    px_gate *gates = (px_gate *)(void *)(room->base + at);
    return (px_stream){.written = gates,
        .read = gates + 1,
        .readers = readers,
        .capacity = capacity,
        .ring = (unsigned char *)(gates + 1 + readers)};
}

int px_room_size(const px_room *room)
{
    return room->size;
}
bool px_room_is_shared(const px_room *room)
{
    return room->is_shared;
}

px_room_member *px_room_get_member(px_room *room, int member)
{
    return (px_room_member *)(void *)room->base + member;
}

void *px_room_slot(px_room *room, int member, uint32_t parity)
{
    return room->base + room->slots_at + ((size_t)member * 2 + parity) * PX_ROOM_SLOT_BYTES;
}

px_stream px_room_plan(px_room *room)
{
    return stream_at(room, room->plan_at, room->size - 1, PLAN_RING_BYTES);
}

px_stream px_room_pair(px_room *room, int from, int to)
{
    size_t index = (size_t)from * room->size + to;
    size_t at = room->pairs_at + index * stream_bytes(1, room->pair_ring_bytes);
    return stream_at(room, at, 1, room->pair_ring_bytes);
}

/* --- making and sharing ------------------------------------------------------------------- */

/* Maps the room's memory: of the file behind `fd`, or of this process when fd is -1. Pages are
 * only taken when touched, so that rarely used streams cost nothing. */
static px_status open_view(int size, int fd, px_room **out)
{
    PX_ASSERT(size >= 1 && size <= PX_ROOM_MEMBERS_MAX);
    px_room *room = px_alloc(sizeof *room);
    lay_out(room, size);
    room->is_shared = fd >= 0;
    room->references = room->is_shared ? 1 : size;
    int flags =
        room->is_shared ? MAP_SHARED | MAP_NORESERVE : MAP_SHARED | MAP_NORESERVE | MAP_ANONYMOUS;
    void *base = mmap(NULL, room->bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (base == MAP_FAILED) {
        px_status status = px_fail(PX_RESOURCE_EXHAUSTED,
            "cannot map %zu bytes of memory between ranks: %s", room->bytes, strerror(errno));
        free(room);
        return status;
    }
    room->base = base;
    room->pidfds = px_alloc_array((size_t)size, sizeof *room->pidfds);
    for (int i = 0; i < size; i++) room->pidfds[i] = PIDFD_UNASKED;
    *out = room;
    return px_ok();
}

px_status px_room_create(int size, px_room **out)
{
    return open_view(size, -1, out);
}

static px_status size_and_open(int fd, int size, px_room **out)
{
    px_room layout;
    lay_out(&layout, size);
    if (ftruncate(fd, (off_t)layout.bytes) != 0)
        return px_fail(PX_RESOURCE_EXHAUSTED, "cannot get %zu bytes of shared memory: %s",
            layout.bytes, strerror(errno));
    return open_view(size, fd, out);
}

px_status px_room_create_shared(int size, px_room **out)
{
    uint64_t nonce[2];
    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
        return px_fail(PX_UNAVAILABLE, "cannot read random bytes: %s", strerror(errno));
    char name[PX_ROOM_NAME_MAX];
    snprintf(name, sizeof name, "/phalanx-%016llx%016llx", (unsigned long long)nonce[0],
        (unsigned long long)nonce[1]);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return px_fail(
            PX_RESOURCE_EXHAUSTED, "cannot make shared memory in /dev/shm: %s", strerror(errno));
    px_status status = size_and_open(fd, size, out);
    close(fd);
    if (px_is_ok(status))
        memcpy((*out)->name, name, sizeof name);
    else
        shm_unlink(name);
    return status;
}

px_status px_room_attach(const char *name, int size, px_room **out)
{
    px_room layout;
    lay_out(&layout, size);
    int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return px_fail(
            PX_UNAVAILABLE, "cannot open the ranks' shared memory %s: %s", name, strerror(errno));
    struct stat info;
    px_status status;
    if (fstat(fd, &info) != 0 || (size_t)info.st_size != layout.bytes)
        status = px_fail(PX_UNAVAILABLE,
            "the ranks' shared memory %s has not the size expected: "
            "run the same build on every rank",
            name);
    else
        status = open_view(size, fd, out);
    close(fd);
    return status;
}

const char *px_room_name(const px_room *room)
{
    return room->name;
}

void px_room_unname(px_room *room)
{
    if (room->name[0]) shm_unlink(room->name);
    room->name[0] = '\0';
}

void px_room_release(px_room *room)
{
    if (!room || atomic_fetch_sub(&room->references, 1) > 1) return;
    px_room_unname(room);
    for (int i = 0; i < room->size; i++)
        if (room->pidfds[i] >= 0) close(room->pidfds[i]);
    munmap(room->base, room->bytes);
    free(room->pidfds);
    free(room);
}

/* --- who is there ------------------------------------------------------------------------- */

static uint64_t own_pid_namespace(void)
{
    struct stat info;
    return stat("/proc/self/ns/pid", &info) == 0 ? (uint64_t)info.st_ino : 0;
}

void px_room_enter(px_room *room, int member)
{
    px_room_member *self = px_room_get_member(room, member);
    self->pid_namespace = own_pid_namespace();
    atomic_store(&self->pid, getpid());
}

void px_room_leave(px_room *room, int member)
{
    px_room_member *self = px_room_get_member(room, member);
    atomic_store(&self->left, 1);
    px_gate_nudge(&self->posted);
    for (int other = 0; other < room->size; other++) {
        if (other == member) continue;
        px_gate_nudge(px_room_pair(room, member, other).written);
        px_gate_nudge(px_room_pair(room, other, member).read);
    }
    if (member == 0)
        px_gate_nudge(px_room_plan(room).written);
    else
        px_gate_nudge(&px_room_plan(room).read[member - 1]);
}

void px_room_say_last_words(px_room *room, int member, const px_status *why)
{
    px_room_member *self = px_room_get_member(room, member);
    self->words = *why;
    atomic_store(&self->has_words, 1);
}

px_status px_room_last_words(px_room *room, int member)
{
    px_room_member *peer = px_room_get_member(room, member);
    return atomic_load(&peer->has_words) ? peer->words : px_ok();
}

/* A descriptor that turns readable when the member's process ends (a zombie included, which
 * kill(pid, 0) would call alive). */
static int member_pidfd(px_room *room, int member)
{
    int known = room->pidfds[member];
    if (known != PIDFD_UNASKED) return known;
    px_room_member *peer = px_room_get_member(room, member);
    pid_t pid = atomic_load(&peer->pid);
    if (pid == 0) return PIDFD_UNASKED;
    int fd = PIDFD_UNKNOWN;
    if (peer->pid_namespace == own_pid_namespace()) {
        fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0) fd = PIDFD_UNKNOWN;
    }
    room->pidfds[member] = fd;
    return fd;
}

bool px_room_is_gone(px_room *room, int member)
{
    if (atomic_load(&px_room_get_member(room, member)->left)) return true;
    if (!room->is_shared) return false;
    struct pollfd ended = {.fd = member_pidfd(room, member), .events = POLLIN};
    return ended.fd >= 0 && poll(&ended, 1, 0) > 0 && (ended.revents & POLLIN);
}
