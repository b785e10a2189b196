/* wire.c - see wire.h. One read buffer of a frame's size, one bounded buffer of unsent bytes. */
#include "cluster/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/memory.h"

enum { LENGTH_BYTES = 4, BACKLOG = 128 };

struct px_wire {
    px_loop *loop;
    int fd;
    px_wire_events events;
    bool dispatching, closed; /* closed while dispatching: freed when the callback returns */
    px_buf unsent;
    size_t received;
    unsigned char buffer[LENGTH_BYTES + PX_WIRE_FRAME_MAX];
};

/* ------------------------------------------------------------------------------ codec */

px_status px_wire_encode(const px_msg_local *message, px_buf *out)
{
    size_t bytes = phalanx__v1__local_message__get_packed_size(message);
    if (bytes > PX_WIRE_FRAME_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "a message of %zu bytes is longer than a frame (%d)",
            bytes, PX_WIRE_FRAME_MAX);
    uint8_t *packed = px_alloc(LENGTH_BYTES + bytes);
    for (int i = 0; i < LENGTH_BYTES; i++) packed[i] = (uint8_t)(bytes >> 8 * i);
    phalanx__v1__local_message__pack(message, packed + LENGTH_BYTES);
    px_buf_append(out, packed, LENGTH_BYTES + bytes);
    free(packed);
    if (out->overflowed)
        return px_fail(
            PX_RESOURCE_EXHAUSTED, "the peer does not read: %zu bytes are unsent", out->length);
    return px_ok();
}

px_status px_wire_decode(
    const void *bytes, size_t length, px_msg_local **out_message, size_t *out_used)
{
    const uint8_t *at = bytes;
    *out_message = NULL;
    if (length < LENGTH_BYTES) return px_ok();
    uint32_t frame = 0;
    for (int i = 0; i < LENGTH_BYTES; i++) frame |= (uint32_t)at[i] << 8 * i;
    if (frame > PX_WIRE_FRAME_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "a frame of %u bytes is longer than allowed (%d)",
            frame, PX_WIRE_FRAME_MAX);
    if (length - LENGTH_BYTES < frame) return px_ok();
    px_msg_local *message = phalanx__v1__local_message__unpack(NULL, frame, at + LENGTH_BYTES);
    if (!message) return px_fail(PX_INVALID_ARGUMENT, "a frame is not a LocalMessage");
    if (message->kind_case == PX_LOCAL(_NOT_SET)) {
        phalanx__v1__local_message__free_unpacked(message, NULL);
        return px_fail(PX_INVALID_ARGUMENT, "a frame holds no message of a known kind");
    }
    *out_message = message;
    *out_used = LENGTH_BYTES + frame;
    return px_ok();
}

/* ------------------------------------------------------------------------- connection */

static void wire_free(px_wire *wire)
{
    px_loop_unwatch(wire->loop, wire->fd);
    close(wire->fd);
    px_buf_done(&wire->unsent);
    free(wire);
}

void px_wire_close(px_wire *wire)
{
    if (!wire || wire->closed) return;
    wire->closed = true;
    if (!wire->dispatching) wire_free(wire);
}

/* Hand out every whole frame in the buffer; the rest moves to its front. */
static px_status deliver(px_wire *wire)
{
    size_t at = 0;
    while (!wire->closed) {
        px_msg_local *message;
        size_t used;
        PX_TRY(px_wire_decode(wire->buffer + at, wire->received - at, &message, &used));
        if (!message) break;
        wire->events.on_message(wire->events.arg, wire, message);
        phalanx__v1__local_message__free_unpacked(message, NULL);
        at += used;
    }
    memmove(wire->buffer, wire->buffer + at, wire->received - at);
    wire->received -= at;
    return px_ok();
}

static px_status receive(px_wire *wire)
{
    while (!wire->closed) {
        ssize_t got =
            recv(wire->fd, wire->buffer + wire->received, sizeof wire->buffer - wire->received, 0);
        if (got == 0) return px_fail(PX_UNAVAILABLE, "the other side closed the socket");
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return px_ok();
        if (got < 0) return px_fail(PX_UNAVAILABLE, "reading failed: %s", strerror(errno));
        wire->received += (size_t)got;
        PX_TRY(deliver(wire));
    }
    return px_ok();
}

static void on_ready(void *arg, int fd, unsigned ready);

/* Write what the socket takes; watch for room only while something is left. */
static px_status transmit(px_wire *wire)
{
    size_t at = 0;
    while (at < wire->unsent.length) {
        ssize_t sent =
            send(wire->fd, wire->unsent.data + at, wire->unsent.length - at, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (sent < 0) return px_fail(PX_UNAVAILABLE, "writing failed: %s", strerror(errno));
        at += (size_t)sent;
    }
    if (at) {
        memmove(wire->unsent.data, wire->unsent.data + at, wire->unsent.length - at);
        wire->unsent.length -= at;
    }
    unsigned events = PX_LOOP_READ | (wire->unsent.length ? PX_LOOP_WRITE : 0u);
    return px_loop_watch(wire->loop, wire->fd, events, on_ready, wire);
}

static void on_ready(void *arg, int fd, unsigned ready)
{
    px_wire *wire = arg;
    px_status status = px_ok();
    wire->dispatching = true;
    if (ready & PX_LOOP_READ) status = receive(wire);
    if (px_is_ok(status) && !wire->closed && ready & PX_LOOP_WRITE) status = transmit(wire);
    if (!px_is_ok(status) && !wire->closed) {
        wire->closed = true;
        wire->events.on_closed(wire->events.arg, wire, status);
    }
    wire->dispatching = false;
    if (wire->closed) wire_free(wire);
}

px_status px_wire_send(px_wire *wire, const px_msg_local *message)
{
    size_t before = wire->unsent.length;
    if (wire->closed) return px_fail(PX_UNAVAILABLE, "the socket is closed");
    px_status status = px_wire_encode(message, &wire->unsent);
    if (!px_is_ok(status)) {
        wire->unsent.length = before; /* never half a frame */
        wire->unsent.overflowed = false;
        return status;
    }
    return before ? px_ok() : transmit(wire);
}

px_status px_wire_open(px_loop *loop, int fd, const px_wire_events *events, px_wire **out)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    px_wire *wire = px_alloc(sizeof *wire);
    *wire = (px_wire){.loop = loop, .fd = fd, .events = *events};
    px_buf_init(&wire->unsent, PX_WIRE_UNSENT_MAX);
    px_status status = px_loop_watch(loop, fd, PX_LOOP_READ, on_ready, wire);
    if (!px_is_ok(status)) {
        wire_free(wire);
        return status;
    }
    *out = wire;
    return px_ok();
}

px_status px_wire_peer(const px_wire *wire, pid_t *out_pid, uid_t *out_uid)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    if (getsockopt(wire->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
        return px_fail(PX_INTERNAL, "the peer's credentials cannot be read: %s", strerror(errno));
    *out_pid = peer.pid;
    *out_uid = peer.uid;
    return px_ok();
}

/* ------------------------------------------------------------------------------ paths */

/* sun_path holds 107 bytes and folders are longer than that in real life: name the socket through a
 * descriptor of its folder. The caller closes *out_folder after bind or connect. */
static px_status socket_address(const char *path, struct sockaddr_un *out, int *out_folder)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : px_strdup(".");
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *out_folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (*out_folder < 0)
        return px_fail(PX_NOT_FOUND, "the folder of socket '%s': %s", path, strerror(errno));
    int wrote =
        snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", *out_folder, name);
    if (wrote < 0 || (size_t)wrote >= sizeof out->sun_path) {
        close(*out_folder);
        return px_fail(PX_INVALID_ARGUMENT, "the socket's name '%s' is too long", name);
    }
    return px_ok();
}

px_status px_wire_listen(const char *path, int *out_fd)
{
    struct sockaddr_un address;
    int folder;
    PX_TRY(socket_address(path, &address, &folder));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(path);
    mode_t mask = umask(0177); /* 0600 from the first moment */
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                listen(fd, BACKLOG) == 0;
    int error = errno;
    umask(mask);
    close(folder);
    if (!good) {
        if (fd >= 0) close(fd);
        return px_fail(PX_FAILED_PRECONDITION, "cannot listen on '%s': %s", path, strerror(error));
    }
    *out_fd = fd;
    return px_ok();
}

px_status px_wire_connect(
    px_loop *loop, const char *path, const px_wire_events *events, px_wire **out)
{
    struct sockaddr_un address;
    int folder;
    PX_TRY(socket_address(path, &address, &folder));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval second = {.tv_sec = 1};
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second) == 0 &&
                connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    int error = errno;
    close(folder);
    if (!good) {
        if (fd >= 0) close(fd);
        return px_fail(PX_UNAVAILABLE, "no agent answers (%s) at '%s'", strerror(error), path);
    }
    return px_wire_open(loop, fd, events, out);
}
