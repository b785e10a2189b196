#include "etcd/private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fs.h"
#include "etcd/internal.h"

/* Ports below the ephemeral range, so that no outgoing connection sits on them. */
enum { PORT_MIN = 20000, PORT_MAX = 32000, PORT_TRIES = 100, START_TRIES = 3, PATH_BYTES = 1024 };
#define TIMEOUT_NS (30 * PX_SEC)
#define PROBE_NS   (50 * PX_MS)

struct px_etcd_private {
    px_loop *loop;
    px_http *http;
    int lock; /* holds an exclusive flock on the folder's lock file; -1: not yet */
    char data_dir[PATH_BYTES], log_path[PATH_BYTES + 16], url[64];
    px_child *child;
    px_http_call *probe;
    px_loop_timer *timer;
    int64_t deadline_ns;
    int tries_left; /* another process may take a port between our look and etcd's bind */
    bool ready;
    void (*on_ready)(void *arg, px_status status, const char *url);
    void (*on_lost)(void *arg, px_status status);
    void *arg;
};

static px_status lock_folder(px_etcd_private *etcd)
{
    char path[PATH_BYTES + 16];
    PX_TRY(px_fs_make_dirs(etcd->data_dir, 0700));
    snprintf(path, sizeof path, "%s/lock", etcd->data_dir);
    etcd->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (etcd->lock < 0)
        return px_fail(PX_FAILED_PRECONDITION, "cannot write to '%s': %s", path, strerror(errno));
    if (flock(etcd->lock, LOCK_EX | LOCK_NB) != 0)
        return px_fail(PX_FAILED_PRECONDITION,
            "the data folder '%s' is in use by another control plane; choose another with --data",
            etcd->data_dir);
    return px_ok();
}

static bool is_free(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool ok = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return ok;
}

/* Two neighbouring free ports, or 0. */
static int free_port_pair(void)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t random;
        if (getrandom(&random, sizeof random, 0) != sizeof random) return 0;
        int port = PORT_MIN + random % (PORT_MAX - PORT_MIN);
        if (is_free(port) && is_free(port + 1)) return port;
    }
    return 0;
}

static void probe(void *arg);

static void report_ready(px_etcd_private *etcd, px_status status)
{
    etcd->ready = px_is_ok(status);
    etcd->on_ready(etcd->arg, status, etcd->url);
}

static void on_probed(void *arg, px_status status, long http_code, px_slice body)
{
    px_etcd_private *etcd = arg;
    etcd->probe = NULL;
    if (px_is_ok(status) && http_code == 200) {
        report_ready(etcd, px_ok());
    } else if (px_now_ns() >= etcd->deadline_ns) {
        report_ready(etcd, px_fail(PX_UNAVAILABLE,
                               "the private etcd does not become healthy; see %s", etcd->log_path));
    } else {
        etcd->timer = px_loop_after(etcd->loop, PROBE_NS, probe, etcd);
    }
}

static void probe(void *arg)
{
    px_etcd_private *etcd = arg;
    etcd->timer = NULL;
    char url[96];
    snprintf(url, sizeof url, "%s/health", etcd->url);
    etcd->probe = px_http_start(etcd->http,
        &(px_http_post){.url = url, .timeout_ns = PX_SEC, .on_done = on_probed, .arg = etcd});
}

static px_status launch(px_etcd_private *etcd);

static void on_exit_of_child(void *arg, int exit_code, int signal_number)
{
    px_etcd_private *etcd = arg;
    etcd->child = NULL;
    px_status ended = px_fail(PX_UNAVAILABLE, "the private etcd ended (%s %d); see %s",
        signal_number ? "signal" : "exit code", signal_number ? signal_number : exit_code,
        etcd->log_path);
    if (etcd->ready) {
        etcd->on_lost(etcd->arg, ended);
        return;
    }
    px_http_cancel(etcd->probe);
    px_loop_cancel(etcd->loop, etcd->timer);
    etcd->probe = NULL;
    etcd->timer = NULL;
    if (etcd->tries_left-- > 0) {
        px_status status = launch(etcd);
        if (px_is_ok(status)) return;
        ended = status;
    }
    report_ready(etcd, ended);
}

static px_status launch(px_etcd_private *etcd)
{
    int port = free_port_pair();
    if (!port) return px_fail(PX_UNAVAILABLE, "no free port between %d and %d", PORT_MIN, PORT_MAX);
    char peer_url[64], member[96], store[PATH_BYTES + 16];
    snprintf(etcd->url, sizeof etcd->url, "http://127.0.0.1:%d", port);
    snprintf(peer_url, sizeof peer_url, "http://127.0.0.1:%d", port + 1);
    snprintf(member, sizeof member, "phalanx=%s", peer_url);
    snprintf(store, sizeof store, "%s/etcd", etcd->data_dir);
    const char *const argv[] = {"etcd", "--name", "phalanx", "--data-dir", store,
        "--listen-client-urls", etcd->url, "--advertise-client-urls", etcd->url,
        "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
        "--initial-cluster", member, "--logger", "zap", "--log-level", "warn",
        "--auto-compaction-mode", "periodic", "--auto-compaction-retention", "1h",
        "--experimental-watch-progress-notify-interval", "1s", NULL};
    px_child_options options = {
        .argv = argv, .log_path = etcd->log_path, .on_exit = on_exit_of_child, .arg = etcd};
    px_status status = px_child_start(etcd->loop, &options, &etcd->child);
    if (status.code == PX_NOT_FOUND)
        return px_fail(PX_FAILED_PRECONDITION,
            "the program 'etcd' is missing: apt-get install etcd-server, or name your own cluster "
            "with --etcd URL");
    PX_TRY(status);
    etcd->timer = px_loop_after(etcd->loop, PROBE_NS, probe, etcd);
    return px_ok();
}

px_status px_etcd_private_start(
    px_loop *loop, const px_etcd_private_options *options, px_etcd_private **out)
{
    px_etcd_private *etcd = px_alloc(sizeof *etcd);
    *etcd = (px_etcd_private){.loop = loop,
        .lock = -1,
        .tries_left = START_TRIES - 1,
        .on_ready = options->on_ready,
        .on_lost = options->on_lost,
        .arg = options->arg};
    etcd->deadline_ns = px_now_ns() + (options->timeout_ns ? options->timeout_ns : TIMEOUT_NS);
    snprintf(etcd->data_dir, sizeof etcd->data_dir, "%s", options->data_dir);
    snprintf(etcd->log_path, sizeof etcd->log_path, "%s/etcd.log", etcd->data_dir);
    px_status status;
    PX_TRY_GOTO(lock_folder(etcd), failed);
    PX_TRY_GOTO(px_http_create(loop, px_etcd_headers, &etcd->http), failed);
    PX_TRY_GOTO(launch(etcd), failed);
    *out = etcd;
    return px_ok();
failed:
    px_etcd_private_stop(etcd);
    return status;
}

pid_t px_etcd_private_pid(const px_etcd_private *etcd)
{
    return px_child_pid(etcd->child);
}

void px_etcd_private_stop(px_etcd_private *etcd)
{
    if (!etcd) return;
    px_http_cancel(etcd->probe);
    px_loop_cancel(etcd->loop, etcd->timer);
    px_http_free(etcd->http);
    px_child_kill_now(etcd->child);
    if (etcd->lock >= 0) close(etcd->lock);
    free(etcd);
}
