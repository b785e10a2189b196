/* rpc_server.c - a listening port, the table of methods, accepting, and an orderly end. */
#include "proto/rpc_server.h"

#include <errno.h>
#include <grpc/grpc_security.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define DEFAULT_MESSAGE_BYTES    ((size_t)16 << 20)
#define DEFAULT_SEND_QUEUE_BYTES ((size_t)1 << 20)
#define DEFAULT_PING_INTERVAL_NS (5 * PX_SEC)
#define STREAMS_A_CONNECTION     1024
#define KEEPALIVE_NS             (20 * PX_SEC) /* our own pings find clients that vanished */
#define KEEPALIVE_TIMEOUT_NS     (10 * PX_SEC)

/* Ports that we choose ourselves stay below the kernel's ephemeral range (from 32768 on): there, a
 * socket in TIME-WAIT can hold the number. */
enum { OWN_PORT_FIRST = 20000, OWN_PORT_COUNT = 12000, OWN_PORT_TRIES = 100 };

/* --- creation and the table of methods --- */

px_status px_rpc_server_create(
    px_rpc *rpc, const px_rpc_server_options *options, px_rpc_server **out)
{
    px_rpc_server *server = px_alloc(sizeof *server);
    server->rpc = rpc;
    server->listen = px_strdup(options->listen);
    server->max_message_bytes =
        options->max_message_bytes ? options->max_message_bytes : DEFAULT_MESSAGE_BYTES;
    server->send_queue_bytes =
        options->send_queue_bytes ? options->send_queue_bytes : DEFAULT_SEND_QUEUE_BYTES;
    int64_t ping_ns =
        options->min_ping_interval_ns ? options->min_ping_interval_ns : DEFAULT_PING_INTERVAL_NS;
    grpc_arg args[PX_RPC_COMMON_ARGS + 6];
    size_t count = px_rpc_common_args(rpc, server->max_message_bytes, args, 0);
    args[count++] = px_rpc_int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0); /* a busy port must be an error */
    args[count++] = px_rpc_int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_A_CONNECTION);
    args[count++] =
        px_rpc_int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, ping_ns / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    args[count++] = px_rpc_int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_NS / PX_MS);
    args[count++] = px_rpc_int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_NS / PX_MS);
    server->server =
        grpc_server_create(&(grpc_channel_args){.num_args = count, .args = args}, NULL);
    grpc_server_register_completion_queue(server->server, rpc->queue, NULL);
    server->next = rpc->servers;
    rpc->servers = server;
    *out = server;
    return px_ok();
}

void px_rpc_server_add(px_rpc_server *server, const px_rpc_method *methods, void *service)
{
    PX_ASSERT(!server->started);
    px_rpc_service **last = &server->services;
    while (*last) last = &(*last)->next;
    *last = px_alloc(sizeof **last);
    (*last)->methods = methods;
    (*last)->service = service;
}

void px_rpc_server_add_health(px_rpc_server *server)
{
    if (!server->health) server->health = px_rpc_health_create(server);
}

void px_rpc_server_set_health(px_rpc_server *server, const char *service, bool serving)
{
    PX_ASSERT(server->health);
    if (!server->shutting_down) px_rpc_health_set(server->health, service, serving);
}

void px_rpc_server_add_reflection(px_rpc_server *server)
{
    if (!server->reflection) server->reflection = px_rpc_reflection_create(server);
}

int px_rpc_server_port(const px_rpc_server *server)
{
    return server->port;
}

/* "/phalanx.v1.Engine/Serve" belongs to phalanx.v1.Engine. */
static size_t service_name_length(const char *path)
{
    return strcspn(path + 1, "/");
}

static bool same_service(const char *path_a, const char *path_b)
{
    size_t length = service_name_length(path_a);
    return length == service_name_length(path_b) && memcmp(path_a, path_b, length + 1) == 0;
}

static bool named_before(const px_rpc_server *server, const px_rpc_method *method)
{
    for (const px_rpc_service *s = server->services; s; s = s->next)
        for (const px_rpc_method *m = s->methods; m->path; m++) {
            if (m == method) return false;
            if (same_service(m->path, method->path)) return true;
        }
    return false;
}

bool px_rpc_server_service_name(
    const px_rpc_server *server, int index, char out_name[PX_RPC_SERVICE_NAME_MAX])
{
    for (const px_rpc_service *s = server->services; s; s = s->next)
        for (const px_rpc_method *m = s->methods; m->path; m++) {
            if (named_before(server, m) || index-- > 0) continue;
            snprintf(out_name, PX_RPC_SERVICE_NAME_MAX, "%.*s", (int)service_name_length(m->path),
                m->path + 1);
            return true;
        }
    return false;
}

/* --- accepting --- */

static bool slice_is(grpc_slice slice, const char *text)
{
    size_t length = strlen(text);
    return GRPC_SLICE_LENGTH(slice) == length &&
           memcmp(GRPC_SLICE_START_PTR(slice), text, length) == 0;
}

static const px_rpc_method *find_method(
    const px_rpc_server *server, grpc_slice path, void **out_service)
{
    for (const px_rpc_service *s = server->services; s; s = s->next)
        for (const px_rpc_method *m = s->methods; m->path; m++)
            if (slice_is(path, m->path)) {
                *out_service = s->service;
                return m;
            }
    return NULL;
}

/* A request for the next call is open at all times: without one, calls would hang instead of being
 * refused. */
static void request_call(px_rpc_server *server)
{
    px_rpc_accepted *accepted = &server->accepted;
    accepted->call = NULL;
    grpc_call_details_init(&accepted->details);
    grpc_metadata_array_init(&accepted->metadata);
    grpc_completion_queue *queue = server->rpc->queue;
    grpc_call_error error = grpc_server_request_call(server->server, &accepted->call,
        &accepted->details, &accepted->metadata, queue, queue, &server->accept_tag);
    PX_ASSERT(error == GRPC_CALL_OK);
    server->accepting = true;
}

static void on_accepted(void *owner, bool ok)
{
    px_rpc_server *server = owner;
    px_rpc_accepted accepted = server->accepted;
    server->accepting = false;
    if (!ok) { /* the server is shutting down */
        grpc_call_details_destroy(&accepted.details);
        grpc_metadata_array_destroy(&accepted.metadata);
        return;
    }
    request_call(server);
    void *service = NULL;
    const px_rpc_method *method = find_method(server, accepted.details.method, &service);
    px_rpc_call_start(server, &accepted, method, service);
}

/* --- listening --- */

/* Splits "host:port" or "[v6]:port"; the port is a number. */
static px_status split_address(const char *address, char host[256], int *out_port)
{
    const char *colon = strrchr(address, ':');
    char *end;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    if (!colon || end == colon + 1 || *end != '\0' || port < 0 || port > 65535 ||
        colon - address >= 256)
        return px_fail(PX_INVALID_ARGUMENT,
            "'%.100s' is not an address to listen on; write HOST:PORT, as 127.0.0.1:8081", address);
    snprintf(host, 256, "%.*s", (int)(colon - address), address);
    *out_port = (int)port;
    return px_ok();
}

static int try_port(px_rpc_server *server, const char *host, int port)
{
    char address[300];
    snprintf(address, sizeof address, "%s:%d", host, port);
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    int bound = grpc_server_add_http2_port(server->server, address, credentials);
    grpc_server_credentials_release(credentials);
    return bound;
}

/* gRPC only says that it failed: bind once more, to learn why. */
static px_status explain_bind_failure(const char *address, const char *host, int port)
{
    char bare[256], service[16];
    size_t length = strlen(host);
    bool bracketed = length >= 2 && host[0] == '[' && host[length - 1] == ']';
    snprintf(bare, sizeof bare, "%.*s", (int)(bracketed ? length - 2 : length), host + bracketed);
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    if (getaddrinfo(bare[0] ? bare : NULL, service, &hints, &found) != 0)
        return px_fail(PX_FAILED_PRECONDITION, "cannot listen on %s: unknown host", address);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int error = 0;
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0)
        error = errno;
    if (fd >= 0) close(fd);
    freeaddrinfo(found);
    if (error == EADDRINUSE)
        return px_fail(PX_FAILED_PRECONDITION,
            "cannot listen on %s: port %d is in use; stop what uses it or choose another port",
            address, port);
    return px_fail(PX_FAILED_PRECONDITION, "cannot listen on %s: %s", address,
        error ? strerrordesc_np(error) : "the port was in use just now; try again");
}

static px_status listen_on(px_rpc_server *server)
{
    char host[256];
    int port = 0;
    PX_TRY(split_address(server->listen, host, &port));
    if (port != 0) {
        server->port = try_port(server, host, port);
        if (server->port == 0) return explain_bind_failure(server->listen, host, port);
        return px_ok();
    }
    unsigned start = (unsigned)(px_now_ns() / 1000) ^ (unsigned)getpid() * 2654435761u;
    for (unsigned i = 0; i < OWN_PORT_TRIES && server->port == 0; i++) {
        port = OWN_PORT_FIRST + (int)((start + i * 97) % OWN_PORT_COUNT);
        server->port = try_port(server, host, port);
    }
    return server->port ? px_ok() : explain_bind_failure(server->listen, host, port);
}

px_status px_rpc_server_start(px_rpc_server *server)
{
    PX_ASSERT(!server->started);
    PX_TRY(listen_on(server));
    server->accept_tag = (px_rpc_tag){on_accepted, server};
    server->started = true;
    grpc_server_start(server->server);
    if (server->health) px_rpc_health_started(server->health);
    request_call(server);
    return px_ok();
}

/* --- the end --- */

/* New calls are refused with UNAVAILABLE while old ones still run. gRPC's own shutdown comes after
 * that: it would answer calls that are on their way with a bare CANCELLED, which tells a client
 * nothing about trying elsewhere. */

static void on_shut_down(void *owner, bool ok)
{
    px_rpc_server *server = owner;
    server->shut_down = true;
    if (server->on_shut_down) server->on_shut_down(server->on_shut_down_arg);
}

static void close_port(px_rpc_server *server)
{
    px_loop_cancel(server->rpc->loop, server->grace_timer);
    server->grace_timer = NULL;
    server->closing = true;
    server->shutdown_tag = (px_rpc_tag){on_shut_down, server};
    grpc_server_shutdown_and_notify(server->server, server->rpc->queue, &server->shutdown_tag);
}

static void on_grace_over(void *arg)
{
    px_rpc_server *server = arg;
    server->grace_timer = NULL;
    close_port(server);
    grpc_server_cancel_all_calls(server->server);
}

void px_rpc_server_call_ended(px_rpc_server *server)
{
    server->calls_open--;
    if (server->calls_open == 0 && server->shutting_down && !server->closing) close_port(server);
}

void px_rpc_server_shutdown(px_rpc_server *server, int64_t grace_ns, px_loop_fn fn, void *arg)
{
    PX_ASSERT(!server->shutting_down);
    server->shutting_down = true;
    server->on_shut_down = fn;
    server->on_shut_down_arg = arg;
    if (server->health) px_rpc_health_stopping(server->health);
    if (server->calls_open == 0)
        close_port(server);
    else
        server->grace_timer = px_loop_after(server->rpc->loop, grace_ns, on_grace_over, server);
}

px_rpc_server *px_rpc_server_next(const px_rpc_server *server)
{
    return server->next;
}

void px_rpc_server_abort(px_rpc_server *server)
{
    server->on_shut_down = NULL;
    server->shutting_down = true;
    if (server->health) px_rpc_health_stopping(server->health);
    if (!server->closing) close_port(server);
    grpc_server_cancel_all_calls(server->server);
}

bool px_rpc_server_is_busy(const px_rpc_server *server)
{
    return !server->shut_down || server->accepting || server->calls_open > 0;
}

void px_rpc_server_free(px_rpc_server *server)
{
    grpc_server_destroy(server->server);
    px_rpc_health_free(server->health);
    px_rpc_reflection_free(server->reflection);
    while (server->services) {
        px_rpc_service *next = server->services->next;
        free(server->services);
        server->services = next;
    }
    free(server->listen);
    free(server);
}
