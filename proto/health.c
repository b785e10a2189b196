/* health.c - grpc.health.v1: Check, List and Watch.
 *
 * Source: the gRPC health checking protocol. Check of an unknown name is NOT_FOUND; Watch of one
 * answers SERVICE_UNKNOWN and goes on watching.
 */
#include <stdlib.h>
#include <string.h>

#include "grpc/health/v1/health.pb-c.h"
#include "proto/rpc_server.h"

enum { WATCHES_MAX = 1024 };

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;
#define SERVING         GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

typedef struct entry {
    struct entry *next;
    serving_status status;
    char name[];
} entry;

typedef struct watch {
    struct watch *next;
    px_rpc_call *call;
    serving_status sent;
    char name[];
} watch;

struct px_rpc_health {
    px_rpc_server *server;
    entry *entries; /* "" is the whole server */
    watch *watches;
    int watch_count;
};

static entry *find(const px_rpc_health *health, const char *name)
{
    for (entry *e = health->entries; e; e = e->next)
        if (strcmp(e->name, name) == 0) return e;
    return NULL;
}

static serving_status status_of(const px_rpc_health *health, const char *name)
{
    const entry *e = find(health, name);
    return e ? e->status : SERVICE_UNKNOWN;
}

static entry *add_entry(px_rpc_health *health, const char *name, bool serving)
{
    size_t length = strlen(name);
    entry *e = px_alloc(sizeof *e + length + 1);
    memcpy(e->name, name, length);
    e->status = serving ? SERVING : NOT_SERVING;
    e->next = health->entries;
    health->entries = e;
    return e;
}

/* --- the methods --- */

static px_status send_status(px_rpc_call *call, serving_status status)
{
    check_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = status;
    return px_rpc_call_send(call, &response.base);
}

static void on_check(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const char *name = ((const check_request *)message)->service;
    const entry *e = find(service, name);
    px_rpc_call_finish(call, e ? send_status(call, e->status)
                               : px_fail(PX_NOT_FOUND, "no service '%.100s' is known here", name));
}

static void on_list(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const px_rpc_health *health = service;
    size_t count = 0;
    for (const entry *e = health->entries; e; e = e->next) count++;
    typedef Grpc__Health__V1__HealthListResponse__StatusesEntry map_entry;
    map_entry *pairs = px_alloc_array(count, sizeof *pairs);
    map_entry **pointers = px_alloc_array(count, sizeof *pointers);
    check_response *values = px_alloc_array(count, sizeof *values);
    size_t i = 0;
    for (entry *e = health->entries; e; e = e->next, i++) {
        grpc__health__v1__health_check_response__init(&values[i]);
        grpc__health__v1__health_list_response__statuses_entry__init(&pairs[i]);
        values[i].status = e->status;
        pairs[i].key = e->name;
        pairs[i].value = &values[i];
        pointers[i] = &pairs[i];
    }
    Grpc__Health__V1__HealthListResponse response = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    response.n_statuses = count;
    response.statuses = pointers;
    px_rpc_call_finish(call, px_rpc_call_send(call, &response.base));
    free(pairs);
    free(pointers);
    free(values);
}

static void tell(watch *w, serving_status status)
{
    w->sent = status;
    px_status sent = send_status(w->call, status);
    if (sent.code != PX_OK) px_rpc_call_abort(w->call, sent); /* it does not read */
}

static void on_watch(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    px_rpc_health *health = service;
    const char *name = ((const check_request *)message)->service;
    if (health->watch_count == WATCHES_MAX) {
        px_rpc_call_finish(
            call, px_fail(PX_RESOURCE_EXHAUSTED, "%d watches are open already", (int)WATCHES_MAX));
        return;
    }
    size_t length = strlen(name);
    watch *w = px_alloc(sizeof *w + length + 1);
    memcpy(w->name, name, length);
    w->call = call;
    w->next = health->watches;
    health->watches = w;
    health->watch_count++;
    px_rpc_call_set_user(call, w);
    tell(w, status_of(health, name));
}

static void on_watch_closed(void *service, px_rpc_call *call, bool cancelled)
{
    px_rpc_health *health = service;
    watch *w = px_rpc_call_user(call);
    if (!w) return; /* refused */
    watch **link = &health->watches;
    while (*link != w) link = &(*link)->next;
    *link = w->next;
    health->watch_count--;
    free(w);
}

static const px_rpc_method methods[] = {
    {.path = "/grpc.health.v1.Health/Check",
        .kind = PX_RPC_UNARY,
        .request = &grpc__health__v1__health_check_request__descriptor,
        .on_message = on_check},
    {.path = "/grpc.health.v1.Health/List",
        .kind = PX_RPC_UNARY,
        .request = &grpc__health__v1__health_list_request__descriptor,
        .on_message = on_list},
    {.path = "/grpc.health.v1.Health/Watch",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &grpc__health__v1__health_check_request__descriptor,
        .on_message = on_watch,
        .on_closed = on_watch_closed},
    {0}};

/* --- the server's side --- */

px_rpc_health *px_rpc_health_create(px_rpc_server *server)
{
    px_rpc_health *health = px_alloc(sizeof *health);
    health->server = server;
    px_rpc_server_add(server, methods, health);
    return health;
}

void px_rpc_health_free(px_rpc_health *health)
{
    if (!health) return;
    PX_ASSERT(!health->watches);
    while (health->entries) {
        entry *next = health->entries->next;
        free(health->entries);
        health->entries = next;
    }
    free(health);
}

void px_rpc_health_set(px_rpc_health *health, const char *service, bool serving)
{
    entry *e = find(health, service);
    if (!e) e = add_entry(health, service, serving);
    e->status = serving ? SERVING : NOT_SERVING;
    for (watch *w = health->watches; w; w = w->next)
        if (strcmp(w->name, service) == 0 && w->sent != e->status) tell(w, e->status);
}

void px_rpc_health_started(px_rpc_health *health)
{
    char name[PX_RPC_SERVICE_NAME_MAX];
    if (!find(health, "")) add_entry(health, "", true);
    for (int i = 0; px_rpc_server_service_name(health->server, i, name); i++)
        if (!find(health, name)) add_entry(health, name, true);
}

void px_rpc_health_stopping(px_rpc_health *health)
{
    for (entry *e = health->entries; e; e = e->next) px_rpc_health_set(health, e->name, false);
    for (watch *w = health->watches; w; w = w->next)
        px_rpc_call_finish(w->call, px_fail(PX_UNAVAILABLE, "the server is shutting down"));
}
