/* rpc_server.h - what a server, its calls and its built-in services know of each other.
 *
 * Threads: the polling thread.
 */
#ifndef PX_PROTO_RPC_SERVER_H
#define PX_PROTO_RPC_SERVER_H

#include "proto/rpc_internal.h"

enum { PX_RPC_CALLS_MAX = 8192 }; /* open calls of one server; more are refused */

typedef struct px_rpc_service { /* a table of methods and its owner's pointer */
    const px_rpc_method *methods;
    void *service;
    struct px_rpc_service *next;
} px_rpc_service;

/* A call that gRPC has announced, not yet ours. Owned by whoever holds the struct. */
typedef struct px_rpc_accepted {
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
} px_rpc_accepted;

typedef struct px_rpc_health px_rpc_health;
typedef struct px_rpc_reflection px_rpc_reflection;

struct px_rpc_server {
    px_rpc *rpc;
    px_rpc_server *next;
    grpc_server *server;
    px_rpc_service *services; /* owned, in the order they were added */
    px_rpc_health *health;    /* NULL: not added */
    px_rpc_reflection *reflection;
    char *listen;
    int port;
    size_t max_message_bytes, send_queue_bytes;
    int calls_open;

    px_rpc_accepted accepted; /* the request for the next call, always open while we serve */
    px_rpc_tag accept_tag;
    bool accepting;

    bool started, shutting_down, closing, shut_down;
    px_rpc_tag shutdown_tag;
    px_loop_timer *grace_timer;
    px_loop_fn on_shut_down;
    void *on_shut_down_arg;
};

/* rpc_call.c: takes over `accepted`'s contents and runs the call to its end. `method` NULL: nobody
 * serves the path, the call ends with UNIMPLEMENTED. */
void px_rpc_call_start(
    px_rpc_server *server, px_rpc_accepted *accepted, const px_rpc_method *method, void *service);

/* rpc_server.c: the counterpart, when the call's memory is gone. */
void px_rpc_server_call_ended(px_rpc_server *server);

/* health.c */
px_rpc_health *px_rpc_health_create(px_rpc_server *server);
void px_rpc_health_free(px_rpc_health *health); /* NULL is fine */
void px_rpc_health_set(px_rpc_health *health, const char *service, bool serving);
/* All services are said to serve, unless they were set before; then to serve no more. */
void px_rpc_health_started(px_rpc_health *health);
void px_rpc_health_stopping(px_rpc_health *health); /* and ends the watches */

/* reflection.c */
px_rpc_reflection *px_rpc_reflection_create(px_rpc_server *server);
void px_rpc_reflection_free(px_rpc_reflection *reflection); /* NULL is fine */

/* The next service's full name ("phalanx.v1.Engine") that `server` offers, after the `index`-th;
 * false: there is none. Names are cut at PX_RPC_SERVICE_NAME_MAX. */
enum { PX_RPC_SERVICE_NAME_MAX = 128 };
bool px_rpc_server_service_name(
    const px_rpc_server *server, int index, char out_name[PX_RPC_SERVICE_NAME_MAX]);

#endif
