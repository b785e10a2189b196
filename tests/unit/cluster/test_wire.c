/* The agent's socket: frames survive any cut, hostile bytes end one connection with a sentence. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/wire.h"
#include "test.h"

static void fill_signal(px_msg_local *message, Phalanx__V1__RemoteSignal *signal, int number)
{
    phalanx__v1__remote_signal__init(signal);
    phalanx__v1__local_message__init(message);
    signal->id = 7;
    signal->signal = number;
    message->kind_case = PX_LOCAL(REMOTE_SIGNAL);
    message->remote_signal = signal;
}

PX_TEST(frame_is_decoded_only_when_whole)
{
    Phalanx__V1__RemoteSignal signal;
    px_msg_local message, *decoded = NULL;
    px_buf bytes;
    size_t used = 0;
    px_buf_init(&bytes, 1 << 20);
    fill_signal(&message, &signal, 15);
    PX_CHECK_OK(px_wire_encode(&message, &bytes));
    for (size_t cut = 0; cut < bytes.length; cut++) {
        PX_CHECK_OK(px_wire_decode(bytes.data, cut, &decoded, &used));
        PX_CHECK(!decoded);
    }
    PX_CHECK_OK(px_wire_decode(bytes.data, bytes.length, &decoded, &used));
    PX_REQUIRE(decoded);
    PX_CHECK(used == bytes.length);
    PX_CHECK(decoded->kind_case == PX_LOCAL(REMOTE_SIGNAL) && decoded->remote_signal->signal == 15);
    phalanx__v1__local_message__free_unpacked(decoded, NULL);
    px_buf_done(&bytes);
}

PX_TEST(hostile_frames_are_refused)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"\xff\xff\xff\xff", 4},             /* longer than any frame */
        {"\x01\x00\x01\x00", 4},             /* one byte longer than allowed */
        {"\x00\x00\x00\x00", 4},             /* no message in it */
        {"\x03\x00\x00\x00\x0a\x7f\x01", 7}, /* a submessage longer than its frame */
        {"\x02\x00\x00\x00\xff\xff", 6},     /* an unfinished tag */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        px_msg_local *decoded = NULL;
        size_t used;
        px_status status = px_wire_decode(cases[i].bytes, cases[i].length, &decoded, &used);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && status.text[0]);
        PX_CHECK(!decoded);
    }
}

PX_TEST(message_longer_than_a_frame_is_not_sent)
{
    Phalanx__V1__RemoteOutput output = PHALANX__V1__REMOTE_OUTPUT__INIT;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    px_buf bytes;
    px_buf_init(&bytes, 1 << 20);
    output.data.len = PX_WIRE_FRAME_MAX;
    output.data.data = px_alloc(output.data.len);
    message.kind_case = PX_LOCAL(REMOTE_OUTPUT);
    message.remote_output = &output;
    PX_CHECK(px_wire_encode(&message, &bytes).code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(bytes.length == 0);
    free(output.data.data);
    px_buf_done(&bytes);
}

/* ------------------------------------------------------------- two ends over a real socket */

typedef struct end {
    px_loop *loop;
    px_wire *wire;
    int received, last_signal, closed;
    px_status why;
    bool close_at_first;
} end;

static void on_message(void *arg, px_wire *wire, const px_msg_local *message)
{
    end *e = arg;
    e->received++;
    e->last_signal = message->remote_signal ? message->remote_signal->signal : -1;
    if (e->close_at_first) px_wire_close(wire);
}

static void on_closed(void *arg, px_wire *wire, px_status why)
{
    end *e = arg;
    e->closed++;
    e->why = why;
}

static void spin(px_loop *loop)
{
    for (int i = 0; i < 20; i++) px_loop_dispatch(loop, 2 * PX_MS);
}

static px_status open_end(end *e, px_loop *loop, int fd)
{
    px_wire_events events = {.on_message = on_message, .on_closed = on_closed, .arg = e};
    e->loop = loop;
    return px_wire_open(loop, fd, &events, &e->wire);
}

PX_TEST(messages_cross_in_order_and_closing_is_seen)
{
    px_loop *loop;
    int fds[2];
    end a = {0}, b = {0};
    PX_CHECK_OK(px_loop_create(&loop));
    PX_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    PX_CHECK_OK(open_end(&a, loop, fds[0]));
    PX_CHECK_OK(open_end(&b, loop, fds[1]));
    for (int i = 1; i <= 1000; i++) {
        Phalanx__V1__RemoteSignal signal;
        px_msg_local message;
        fill_signal(&message, &signal, i);
        PX_CHECK_OK(px_wire_send(a.wire, &message));
    }
    spin(loop);
    PX_CHECK(b.received == 1000 && b.last_signal == 1000);
    px_wire_close(a.wire);
    spin(loop);
    PX_CHECK(a.closed == 0); /* who closes is not told */
    PX_CHECK(b.closed == 1 && b.why.code == PX_UNAVAILABLE);
    px_loop_free(loop);
}

PX_TEST(closing_inside_a_message_stops_delivery)
{
    px_loop *loop;
    int fds[2];
    end a = {0}, b = {.close_at_first = true};
    PX_CHECK_OK(px_loop_create(&loop));
    PX_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    PX_CHECK_OK(open_end(&a, loop, fds[0]));
    PX_CHECK_OK(open_end(&b, loop, fds[1]));
    for (int i = 0; i < 3; i++) {
        Phalanx__V1__RemoteSignal signal;
        px_msg_local message;
        fill_signal(&message, &signal, 1);
        PX_CHECK_OK(px_wire_send(a.wire, &message));
    }
    spin(loop);
    PX_CHECK(b.received == 1 && b.closed == 0);
    PX_CHECK(a.closed == 1);
    px_loop_free(loop);
}

PX_TEST(a_peer_that_does_not_read_is_bounded)
{
    px_loop *loop;
    int fds[2];
    end a = {0};
    PX_CHECK_OK(px_loop_create(&loop));
    PX_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    PX_CHECK_OK(open_end(&a, loop, fds[0]));
    Phalanx__V1__RemoteOutput output = PHALANX__V1__REMOTE_OUTPUT__INIT;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    output.data.len = 32 * 1024;
    output.data.data = px_alloc(output.data.len);
    message.kind_case = PX_LOCAL(REMOTE_OUTPUT);
    message.remote_output = &output;
    px_status status = px_ok();
    int sent = 0;
    while (px_is_ok(status) && sent < 10000) {
        status = px_wire_send(a.wire, &message);
        sent++;
    }
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED);
    free(output.data.data);
    px_wire_close(a.wire);
    close(fds[1]);
    px_loop_free(loop);
}

PX_TEST(garbage_closes_the_connection_with_a_sentence)
{
    px_loop *loop;
    int fds[2];
    end a = {0};
    PX_CHECK_OK(px_loop_create(&loop));
    PX_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    PX_CHECK_OK(open_end(&a, loop, fds[0]));
    PX_CHECK(write(fds[1], "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    spin(loop);
    PX_CHECK(a.closed == 1 && a.received == 0 && a.why.code == PX_INVALID_ARGUMENT);
    PX_CHECK(a.why.text[0]);
    close(fds[1]);
    px_loop_free(loop);
}

PX_TEST(sockets_work_in_folders_with_long_paths)
{
    char root[] = "/tmp/px-wire-XXXXXX", folder[1024], path[1200];
    PX_REQUIRE(mkdtemp(root));
    int length = snprintf(folder, sizeof folder, "%s", root);
    for (int i = 0; i < 6; i++) { /* past the 107 bytes of sun_path */
        length += snprintf(folder + length, sizeof folder - (size_t)length,
            "/a-folder-with-a-rather-long-name-%d", i);
        PX_REQUIRE(mkdir(folder, 0700) == 0);
    }
    snprintf(path, sizeof path, "%s/agent.sock", folder);
    int fd;
    px_loop *loop;
    end a = {0};
    struct stat info;
    PX_CHECK_OK(px_loop_create(&loop));
    PX_CHECK_OK(px_wire_listen(path, &fd));
    PX_CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0600);
    px_wire_events events = {.on_message = on_message, .on_closed = on_closed, .arg = &a};
    PX_CHECK_OK(px_wire_connect(loop, path, &events, &a.wire));
    int connection = accept(fd, NULL, NULL);
    PX_CHECK(connection >= 0);
    pid_t pid = 0;
    uid_t uid = 1;
    PX_CHECK_OK(px_wire_peer(a.wire, &pid, &uid));
    PX_CHECK(pid == getpid() && uid == geteuid());
    close(connection);
    close(fd);
    spin(loop);
    PX_CHECK(a.closed == 1);
    px_status status = px_wire_connect(loop, path, &events, &a.wire); /* nobody listens any more */
    PX_CHECK(status.code == PX_UNAVAILABLE && strstr(status.text, "no agent answers"));
    px_loop_free(loop);
    unlink(path);
    while (strlen(folder) >= strlen(root)) {
        PX_CHECK(rmdir(folder) == 0);
        *strrchr(folder, '/') = '\0';
    }
}

PX_TEST_MAIN()
