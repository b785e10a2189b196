/* rpc_server.c - a server of ours for check_rpc.py: Inference with canned answers.
 *
 * Generate streams max_tokens ids and pauses when the client does not read; Tokenize answers the
 * text's bytes. Prints its port, then a line for every call that ends: "closed SENT CANCELLED".
 * SIGTERM: an orderly shutdown with a grace of 0.5 s.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "phalanx/v1/inference.pb-c.h"
#include "proto/rpc.h"

typedef struct app {
    px_loop *loop;
    px_rpc *rpc;
    px_rpc_server *server;
} app;

typedef struct generation {
    uint32_t sent, total;
    size_t text_bytes;
} generation;

static void on_tokenize(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__TokenizeRequest *request = (const void *)message;
    Phalanx__V1__TokenizeResponse response = PHALANX__V1__TOKENIZE_RESPONSE__INIT;
    response.n_ids = request->text.len;
    response.ids = calloc(request->text.len + 1, sizeof *response.ids);
    for (size_t i = 0; i < request->text.len; i++) response.ids[i] = request->text.data[i];
    px_rpc_call_finish(call, px_rpc_call_send(call, &response.base));
    free(response.ids);
}

static void pump(px_rpc_call *call)
{
    static uint8_t text[16 * 1024];
    generation *g = px_rpc_call_user(call);
    for (; g->sent < g->total; g->sent++) {
        Phalanx__V1__GenerateResponse part = PHALANX__V1__GENERATE_RESPONSE__INIT;
        part.n_token_ids = 1;
        part.token_ids = &g->sent;
        part.text = (ProtobufCBinaryData){.len = g->text_bytes, .data = text};
        px_status status = px_rpc_call_send(call, &part.base);
        if (status.code == PX_RESOURCE_EXHAUSTED) return; /* on_writable goes on */
        if (status.code != PX_OK) break;
    }
    px_rpc_call_finish(call, px_ok());
}

static void on_generate(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__GenerateRequest *request = (const void *)message;
    generation *g = calloc(1, sizeof *g);
    g->total = request->stopping ? request->stopping->max_tokens : 1;
    g->text_bytes = request->sampling && request->sampling->top_k < 16 * 1024
                        ? request->sampling->top_k /* stands for the size of each part */
                        : 0;
    px_rpc_call_set_user(call, g);
    pump(call);
}

static void on_generate_writable(void *service, px_rpc_call *call)
{
    pump(call);
}

static void on_generate_closed(void *service, px_rpc_call *call, bool cancelled)
{
    generation *g = px_rpc_call_user(call);
    printf("closed %u %d\n", g->sent, cancelled);
    free(g);
}

static const px_rpc_method methods[] = {{.path = "/phalanx.v1.Inference/Tokenize",
                                            .kind = PX_RPC_UNARY,
                                            .request = &phalanx__v1__tokenize_request__descriptor,
                                            .on_message = on_tokenize},
    {.path = "/phalanx.v1.Inference/Generate",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &phalanx__v1__generate_request__descriptor,
        .on_message = on_generate,
        .on_closed = on_generate_closed,
        .on_writable = on_generate_writable},
    {0}};

static void on_shut_down(void *arg)
{
    px_rpc_stop(((app *)arg)->rpc);
}

static void on_terminate(void *arg)
{
    px_rpc_server_shutdown(((app *)arg)->server, PX_SEC / 2, on_shut_down, arg);
}

static px_status start(app *a)
{
    PX_TRY(px_loop_create(&a->loop));
    PX_TRY(px_loop_on_terminate(a->loop, on_terminate, a));
    PX_TRY(px_rpc_create(a->loop, &a->rpc));
    px_rpc_server_options options = {.listen = "127.0.0.1:0", .max_message_bytes = 1 << 20};
    PX_TRY(px_rpc_server_create(a->rpc, &options, &a->server));
    px_rpc_server_add_health(a->server);
    px_rpc_server_add(a->server, methods, NULL);
    px_rpc_server_add_reflection(a->server);
    return px_rpc_server_start(a->server);
}

int main(void)
{
    app a = {0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    px_status status = start(&a);
    if (status.code != PX_OK) {
        fprintf(stderr, "rpc_server: %s\n", status.text);
        return 1;
    }
    printf("port %d\n", px_rpc_server_port(a.server));
    px_rpc_run(a.rpc);
    px_rpc_free(a.rpc);
    px_loop_free(a.loop);
    return 0;
}
