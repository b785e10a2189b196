#include "control/cli/client.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct px_client {
    char server[256];
    px_loop *loop;
    px_rpc *rpc;
    px_rpc_channel *channel;
    px_rpc_stream *stream; /* of the call under way */
    const px_client_request *request;
    px_status status;
};

px_loop *px_client_loop(px_client *client)
{
    return client->loop;
}
px_rpc *px_client_rpc(px_client *client)
{
    return client->rpc;
}

static void close_client(px_client *client)
{
    if (!client) return;
    px_rpc_channel_free(client->channel);
    px_rpc_free(client->rpc);
    px_loop_free(client->loop);
    free(client);
}

static px_status open_client(const char *server, px_client **out)
{
    px_client *client = px_alloc(sizeof *client);
    snprintf(client->server, sizeof client->server, "%s", server);
    px_status status = px_loop_create(&client->loop);
    if (px_is_ok(status)) status = px_rpc_create(client->loop, &client->rpc);
    if (px_is_ok(status)) status = px_rpc_channel_create(client->rpc, server, &client->channel);
    if (px_is_ok(status))
        *out = client;
    else
        close_client(client);
    return status;
}

static void on_message(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    px_client *client = arg;
    client->request->on_message(client->request->arg, message);
}

static void on_done(void *arg, px_rpc_stream *stream, px_status status)
{
    px_client *client = arg;
    client->stream = NULL;
    client->status = status;
    px_rpc_stop(client->rpc);
}

px_status px_client_call(px_client *client, const px_client_request *request)
{
    client->request = request;
    px_rpc_client_call call = {.path = request->path,
        .response = request->response,
        .timeout_ns = request->timeout_ns,
        .metadata_key = request->tenant ? "phalanx-tenant" : NULL,
        .metadata_value = request->tenant,
        .on_message = on_message,
        .on_done = on_done,
        .arg = client};
    PX_TRY(px_rpc_stream_open(client->channel, &call, &client->stream));
    px_status sent = px_rpc_stream_send(client->stream, request->message);
    if (px_is_ok(sent))
        px_rpc_stream_half_close(client->stream);
    else
        px_rpc_stream_cancel(client->stream);
    px_rpc_run(client->rpc);
    if (!px_is_ok(sent)) return sent;
    return px_client_explain(client->status, client->server);
}

px_status px_client_explain(px_status status, const char *server)
{
    /* gRPC's words for a refused connection, which are not our server's. */
    bool nobody =
        status.code == PX_UNAVAILABLE &&
        (strstr(status.text, "failed to connect") || strstr(status.text, "DNS resolution failed"));
    if (!nobody) return status;
    return px_fail(PX_UNAVAILABLE,
        "nobody answers at %s: is 'control-plane serve' running there? (--server names another)",
        server);
}

void px_client_cancel(px_client *client)
{
    if (client->stream) px_rpc_stream_cancel(client->stream);
}

int px_client_main(const px_client_command *command, int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(command->specs, command->doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(command->specs, command->doc, stdout);
        return 0;
    }
    px_client *client = NULL;
    status = open_client(px_args_str(args, "server"), &client);
    if (px_is_ok(status)) status = command->run(client, args);
    close_client(client);
    px_args_free(args);
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
