/* room.h - memory in which the ranks of one host meet: threads of a process or processes of a host.
 *
 *   members   [size]        a gate that counts the member's posts; whether it has left; its process
 *   slots     [size][2]     PX_ROOM_SLOT_BYTES each: what a member puts up for the others to read
 *   plan      a stream from member 0 to all others
 *   pairs     [size][size]  a stream from each member to each other
 *
 * A stream is a ring of bytes with one writer: it raises `written`, each reader raises its `read`.
 * All of it starts as zeros and holds no pointers, so it works at any address.
 *
 * Owns:    the memory. A view is counted: threads of one process share one, each process has its
 * own. Errors:  RESOURCE_EXHAUSTED when the memory cannot be had.
 */
#ifndef PX_PARALLEL_ROOM_H
#define PX_PARALLEL_ROOM_H

#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"
#include "parallel/gate.h"

enum { PX_ROOM_MEMBERS_MAX = 256, PX_ROOM_SLOT_BYTES = 256 * 1024, PX_ROOM_NAME_MAX = 64 };

typedef struct px_room_member {
    px_gate posted;
    _Alignas(64) _Atomic uint32_t left; /* 1: will never post, read or write again */
    uint64_t pid_namespace;             /* pids mean the same only within one */
    _Atomic pid_t pid;                  /* 0: has not entered yet */
    _Atomic uint32_t has_words;
    px_status words; /* valid once has_words is set */
} px_room_member;

typedef struct px_stream { /* a view of one stream of the room */
    px_gate *written;
    px_gate *read; /* [readers] */
    int readers;
    uint32_t capacity; /* a power of two */
    unsigned char *ring;
} px_stream;

typedef struct px_room px_room;

/* A room for the threads of this process, with one reference for each of its `size` members. */
px_status px_room_create(int size, px_room **out) PX_MUST_USE;
/* A room for processes of this host, and attaching to it by its name. */
px_status px_room_create_shared(int size, px_room **out) PX_MUST_USE;
px_status px_room_attach(const char *name, int size, px_room **out) PX_MUST_USE;
const char *px_room_name(const px_room *room); /* "" unless made by create_shared */
/* Once all have attached: the name goes, the memory stays with those who hold it. */
void px_room_unname(px_room *room);
void px_room_release(px_room *room); /* NULL is fine; the last reference frees the view */

int px_room_size(const px_room *room);
bool px_room_is_shared(const px_room *room);
px_room_member *px_room_get_member(px_room *room, int member);
void *px_room_slot(px_room *room, int member, uint32_t parity);
px_stream px_room_plan(px_room *room);
px_stream px_room_pair(px_room *room, int from, int to);

/* Says who the caller is: from here on the others can see it end. Each member once. */
void px_room_enter(px_room *room, int member);
/* Marks the member as gone and wakes those who wait for it. */
void px_room_leave(px_room *room, int member);
/* Why the member ends, for the others; once. OK from the getter: it has said nothing. */
void px_room_say_last_words(px_room *room, int member, const px_status *why);
px_status px_room_last_words(px_room *room, int member);
/* Has it left, or has its process ended? A system call: for waits that have become long. */
bool px_room_is_gone(px_room *room, int member);

#endif
