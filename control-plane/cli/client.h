/* client.h - the CLI's side of the wire: one call after the other, each waited for.
 *
 * Threads: one. Callbacks run within px_client_call().
 */
#ifndef PX_CONTROL_CLIENT_H
#define PX_CONTROL_CLIENT_H

#include "base/args.h"
#include "proto/rpc.h"

/* What every client command takes. */
// clang-format off
#define PX_CLIENT_SPECS                                                                            \
    {.name = "server", .kind = PX_ARG_STR, .value = "HOST:PORT", .default_value = "127.0.0.1:8081", \
        .help = "the control plane to ask"},                                                       \
    {.name = "json", .kind = PX_ARG_FLAG, .help = "print JSON, one object a line"}
// clang-format on

typedef struct px_client px_client;
px_loop *px_client_loop(px_client *client);
px_rpc *px_client_rpc(px_client *client);

typedef struct px_client_request {
    const char *path;
    const ProtobufCMessage *message;
    const ProtobufCMessageDescriptor *response;
    int64_t timeout_ns;                                             /* 0: none */
    const char *tenant;                                             /* NULL: none */
    void (*on_message)(void *arg, const ProtobufCMessage *message); /* borrowed */
    void *arg;
} px_client_request;

/* The call's status. UNAVAILABLE with a sentence that says what to do when nobody answers there. */
px_status px_client_call(px_client *client, const px_client_request *request) PX_MUST_USE;
/* `status` of a call to `server`, in our words where gRPC's do not say what to do. */
px_status px_client_explain(px_status status, const char *server) PX_MUST_USE;
/* From a callback: the call under way ends with CANCELLED. None: nothing happens. */
void px_client_cancel(px_client *client);

/* A whole client command: parses, prints --help, connects, runs, says what failed. */
typedef struct px_client_command {
    const px_arg_spec *specs;
    const px_command_doc *doc;
    px_status (*run)(px_client *client, const px_args *args);
} px_client_command;
int px_client_main(const px_client_command *command, int argc, char **argv);

#endif
