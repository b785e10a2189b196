/* The watch against a scripted server: compaction, errors and cuts at moments a real etcd cannot be
 * brought to on demand. The server answers each request with the next entry of its script. */
#include <arpa/inet.h>
#include <unistd.h>

#include "base/clock.h"
#include "etcd/watch.h"
#include "test.h"

typedef struct scripted { /* one exchange */
    const char *path;     /* that must be asked for */
    const char *expect;   /* that must occur in the request's body; NULL: anything */
    const char *answer;   /* JSON lines */
    bool keep_open;       /* a stream that stays silent after the answer */
} scripted;

typedef struct server {
    px_loop *loop;
    int listener, port;
    const scripted *script;
    size_t step;
    bool mismatch;
    int open_fds[16];
    size_t open_count;
} server;

static void serve(void *arg, int fd, unsigned ready)
{
    server *s = arg;
    char request[4096];
    ssize_t length = read(fd, request, sizeof request - 1);
    px_loop_unwatch(s->loop, fd);
    const scripted *now = &s->script[s->step];
    if (length <= 0 || !now->path) {
        close(fd);
        return;
    }
    request[length] = '\0';
    s->step++;
    bool fits = strstr(request, now->path) && (!now->expect || strstr(request, now->expect));
    if (!fits) {
        printf("step %zu: asked %s\n", s->step, request);
        s->mismatch = true;
    }
    dprintf(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n%s",
        strlen(now->answer), now->answer, now->keep_open ? "" : "0\r\n\r\n");
    if (now->keep_open)
        s->open_fds[s->open_count++] = fd;
    else
        close(fd);
}

static void on_connection(void *arg, int listener, unsigned ready)
{
    server *s = arg;
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0) px_ignore(px_loop_watch(s->loop, fd, PX_LOOP_READ, serve, s));
}

static void server_open(server *s, px_loop *loop, const scripted *script)
{
    *s = (server){.loop = loop, .script = script};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    PX_CHECK(bind(s->listener, (struct sockaddr *)&address, sizeof address) == 0);
    PX_CHECK(listen(s->listener, 8) == 0);
    PX_CHECK(getsockname(s->listener, (struct sockaddr *)&address, &length) == 0);
    s->port = ntohs(address.sin_port);
    PX_CHECK_OK(px_loop_watch(loop, s->listener, PX_LOOP_READ, on_connection, s));
}

static void server_close(server *s)
{
    px_loop_unwatch(s->loop, s->listener);
    close(s->listener);
    for (size_t i = 0; i < s->open_count; i++) close(s->open_fds[i]);
}

static char seen[256];

static void on_state(void *arg, const px_etcd_kv *kvs, size_t count)
{
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "=%zu ", count);
}

static void on_change(void *arg, const px_etcd_change *change)
{
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%c%s ", change->deleted ? '-' : '+',
        change->kv.key);
}

/* Runs the script to its end and 200 ms more, and checks what the watch handed out. */
static void play(const scripted *script, int64_t idle_ns, const char *want)
{
    px_loop *loop;
    px_etcd *etcd;
    px_etcd_watch *watch;
    server s;
    char url[64];
    PX_CHECK_OK(px_loop_create(&loop));
    server_open(&s, loop, script);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", s.port);
    PX_CHECK_OK(px_etcd_create(loop, &(px_etcd_options){.endpoints = url}, &etcd));
    seen[0] = '\0';
    px_etcd_watch_start(etcd,
        &(px_etcd_watch_options){
            .prefix = "w/", .idle_ns = idle_ns, .on_state = on_state, .on_change = on_change},
        &watch);
    int64_t end_ns = px_now_ns() + 20 * PX_SEC;
    while ((script[s.step].path || strcmp(seen, want) != 0) && px_now_ns() < end_ns)
        px_loop_dispatch(loop, 20 * PX_MS);
    for (int i = 0; i < 10; i++) px_loop_dispatch(loop, 20 * PX_MS);
    PX_CHECK(!s.mismatch && !script[s.step].path);
    PX_CHECK_STR(seen, want);
    px_etcd_watch_stop(watch);
    px_etcd_free(etcd);
    server_close(&s);
    px_loop_free(loop);
}

#define RANGE_AT(revision) "{\"header\":{\"revision\":\"" revision "\"}}\n"
#define PUT_AT(revision)                                                                           \
    "{\"result\":{\"header\":{\"revision\":\"" revision                                            \
    "\"},\"events\":[{\"kv\":{\"key\":\"YQ==\"}}]}}\n"

PX_TEST(compaction_reads_the_state_anew)
{
    play((const scripted[]){{"/v3/kv/range", NULL, RANGE_AT("10"), false},
             {"/v3/watch", "\"start_revision\":\"11\"", PUT_AT("12"), false},
             {"/v3/watch", "\"start_revision\":\"13\"",
                 "{\"result\":{\"header\":{\"revision\":\"90\"},\"canceled\":true,"
                 "\"compact_revision\":\"50\"}}\n",
                 true},
             {"/v3/kv/range", NULL, RANGE_AT("95"), false},
             {"/v3/watch", "\"start_revision\":\"96\"", "\n", true}, {0}},
        0, "=0 +a =0 ");
}

PX_TEST(a_cut_stream_resumes_behind_the_last_change)
{
    /* Two messages, the second cut in half: it comes again whole, and once. Progress messages do
     * not move the revision. */
    play((const scripted[]){{"/v3/kv/range", NULL, RANGE_AT("10"), false},
             {"/v3/watch", "\"start_revision\":\"11\"", PUT_AT("11") "{\"result\":{\"head", false},
             {"/v3/watch", "\"start_revision\":\"12\"",
                 "{\"result\":{\"header\":{\"revision\":\"40\"}}}\n", false},
             {"/v3/watch", "\"start_revision\":\"12\"", PUT_AT("12"), true}, {0}},
        0, "=0 +a +a ");
}

PX_TEST(errors_and_nonsense_on_the_stream_are_survived)
{
    play((const scripted[]){{"/v3/kv/range", NULL, "what?\n", false},
             {"/v3/kv/range", NULL, RANGE_AT("10"), false},
             {"/v3/watch", NULL,
                 "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n", true},
             {"/v3/watch", "\"start_revision\":\"11\"", "\xff\xff\n", true},
             {"/v3/watch", "\"start_revision\":\"11\"", PUT_AT("12"), true}, {0}},
        0, "=0 +a ");
}

PX_TEST(a_silent_stream_is_left)
{
    play((const scripted[]){{"/v3/kv/range", NULL, RANGE_AT("10"), false},
             {"/v3/watch", NULL, "\n", true},
             {"/v3/watch", "\"start_revision\":\"11\"", PUT_AT("12"), true}, {0}},
        400 * PX_MS, "=0 +a ");
}

PX_TEST_MAIN()
