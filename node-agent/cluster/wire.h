/* wire.h - framed messages between an agent and the processes of its machine, on a unix socket.
 *
 * Frame:    a little-endian uint32 length, then one phalanx.v1.LocalMessage (proto/local.proto).
 * Owns:     its descriptor and its buffers, both bounded: a frame is at most PX_WIRE_FRAME_MAX, and
 *           a peer that leaves more than PX_WIRE_UNSENT_MAX unread is dropped.
 * Threads:  the loop's thread.
 * Trust:    the peer's bytes are hostile; a malformed frame closes the connection with a sentence.
 */
#ifndef PX_CLUSTER_WIRE_H
#define PX_CLUSTER_WIRE_H

#include <sys/types.h>

#include "base/loop.h"
#include "base/memory.h"
#include "cluster/messages.h"

enum { PX_WIRE_FRAME_MAX = 64 * 1024, PX_WIRE_UNSENT_MAX = 1024 * 1024 };

typedef struct px_wire px_wire;

typedef struct px_wire_events {
    void (*on_message)(void *arg, px_wire *wire, const px_msg_local *message); /* borrowed */
    /* Once, last: the peer went or broke the protocol. Not called after px_wire_close(). The wire
     * is freed when it returns. */
    void (*on_closed)(void *arg, px_wire *wire, px_status why);
    void *arg;
} px_wire_events;

/* Takes `fd` (also on failure), a connected stream socket. */
px_status px_wire_open(
    px_loop *loop, int fd, const px_wire_events *events, px_wire **out) PX_MUST_USE;
/* Connects to a listening path of any length; waits at most a second for a full backlog. */
px_status px_wire_connect(
    px_loop *loop, const char *path, const px_wire_events *events, px_wire **out) PX_MUST_USE;
/* Queues and writes what the socket takes now. RESOURCE_EXHAUSTED: the peer does not read. */
px_status px_wire_send(px_wire *wire, const px_msg_local *message) PX_MUST_USE;
/* Drops unsent bytes; safe inside the callbacks; NULL is fine. */
void px_wire_close(px_wire *wire);
/* The peer's process and user as the kernel knows them. */
px_status px_wire_peer(const px_wire *wire, pid_t *out_pid, uid_t *out_uid) PX_MUST_USE;

/* A listening socket at `path` (any length), mode 0600; a stale file there is replaced. */
px_status px_wire_listen(const char *path, int *out_fd) PX_MUST_USE;

/* The codec by itself. Encode appends one frame to `out`. Decode looks at the first `length` bytes:
 * *out_message NULL: more bytes are needed; else it was decoded from the first *out_used bytes and
 * is the caller's to free with phalanx__v1__local_message__free_unpacked(). */
px_status px_wire_encode(const px_msg_local *message, px_buf *out) PX_MUST_USE;
px_status px_wire_decode(
    const void *bytes, size_t length, px_msg_local **out_message, size_t *out_used) PX_MUST_USE;

#endif
