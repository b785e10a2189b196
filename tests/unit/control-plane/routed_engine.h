/* routed_engine.h - a router and the one engine that it knows: a fake one, a px_rpc server that
 * speaks Engine and does what the test tells it to. All of it shares one loop, so each step is run
 * to its end.
 */
#ifndef PX_TEST_ROUTED_ENGINE_H
#define PX_TEST_ROUTED_ENGINE_H

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "control/router/router.h"
#include "test.h"

static px_loop *loop;
static px_rpc *rpc;

/* Runs the process until *flag or for 10 s. */
static bool *awaited;
static int64_t give_up_ns;
static inline void look(void *arg)
{
    if (*awaited || px_now_ns() > give_up_ns) px_rpc_stop(rpc);
}
static inline bool run_until(bool *flag)
{
    awaited = flag;
    give_up_ns = px_now_ns() + 10 * PX_SEC;
    px_loop_timer *timer = px_loop_every(loop, PX_MS, look, NULL);
    px_rpc_run(rpc);
    px_loop_cancel(loop, timer);
    return *flag;
}
static inline void run_for(int64_t ns)
{
    bool never = false;
    awaited = &never;
    give_up_ns = px_now_ns() + ns;
    px_loop_timer *timer = px_loop_every(loop, PX_MS, look, NULL);
    px_rpc_run(rpc);
    px_loop_cancel(loop, timer);
}

/* ------------------------------------------------------------------------------ the fake engine */

static px_rpc_server *engine_server;
static px_rpc_call *engine_stream; /* the router's, or NULL */
static char engine_saw[512];       /* "submit:TEXT cancel tokenize:TEXT " */
static uint64_t engine_ids[64];
static size_t engine_id_count;
static bool engine_got;
static uint64_t engine_timeout_us;

static inline void engine_send(Phalanx__V1__EngineEvent *event)
{
    PX_CHECK_OK(px_rpc_call_send(engine_stream, &event->base));
}

static inline void engine_say_load(void)
{
    Phalanx__V1__ModelInfo info = PHALANX__V1__MODEL_INFO__INIT;
    info.architecture = "llama";
    Phalanx__V1__EngineLoad load = PHALANX__V1__ENGINE_LOAD__INIT;
    load.model = &info;
    load.kv_blocks = 100;
    Phalanx__V1__EngineEvent event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_LOAD;
    event.load = &load;
    engine_send(&event);
}

static inline void engine_part(uint64_t id, const char *text, bool done)
{
    Phalanx__V1__Done last = PHALANX__V1__DONE__INIT;
    last.output_tokens = 3;
    Phalanx__V1__GenerateResponse part = PHALANX__V1__GENERATE_RESPONSE__INIT;
    part.text = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    if (done) part.done = &last;
    Phalanx__V1__EngineOutput output = PHALANX__V1__ENGINE_OUTPUT__INIT, *outputs[] = {&output};
    output.id = id;
    output.part = &part;
    Phalanx__V1__EngineEvents events = PHALANX__V1__ENGINE_EVENTS__INIT;
    events.outputs = outputs;
    events.n_outputs = 1;
    Phalanx__V1__EngineEvent event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_OUTPUTS;
    event.outputs = &events;
    engine_send(&event);
}

static inline void engine_fail(uint64_t id, px_code code, const char *message)
{
    Phalanx__V1__EngineFailed failed = PHALANX__V1__ENGINE_FAILED__INIT;
    failed.id = id;
    failed.code = code;
    failed.message = (char *)message;
    Phalanx__V1__EngineEvent event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_FAILED;
    event.failed = &failed;
    engine_send(&event);
}

static inline void engine_tokens(uint64_t id)
{
    uint32_t ids[] = {5, 6, 7};
    Phalanx__V1__TokenizeResponse response = PHALANX__V1__TOKENIZE_RESPONSE__INIT;
    response.ids = ids;
    response.n_ids = 3;
    Phalanx__V1__EngineTokenized tokenized = PHALANX__V1__ENGINE_TOKENIZED__INIT;
    tokenized.id = id;
    tokenized.response = &response;
    Phalanx__V1__EngineEvent event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_TOKENIZED;
    event.tokenized = &tokenized;
    engine_send(&event);
}

static inline void note(const char *what, const char *text, size_t length, uint64_t id)
{
    snprintf(engine_saw + strlen(engine_saw), sizeof engine_saw - strlen(engine_saw), "%s%.*s ",
        what, (int)length, text);
    engine_ids[engine_id_count++ % 64] = id;
    engine_got = true;
}

static inline void engine_on_open(void *service, px_rpc_call *call)
{
    const char *secret = px_rpc_call_metadata(call, "phalanx-group-secret");
    if (!secret || strcmp(secret, "s3cret") != 0) {
        px_rpc_call_finish(call, px_fail(PX_PERMISSION_DENIED, "not of this group"));
        return;
    }
    engine_stream = call;
    engine_say_load();
}

static inline void engine_on_message(
    void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__EngineRequest *request = (const Phalanx__V1__EngineRequest *)message;
    switch (request->kind_case) {
    case PHALANX__V1__ENGINE_REQUEST__KIND_SUBMIT:
        engine_timeout_us = request->submit->timeout_us;
        if (request->submit->work_case == PHALANX__V1__ENGINE_SUBMIT__WORK_GENERATE)
            note("submit:", (char *)request->submit->generate->text.data,
                request->submit->generate->text.len, request->submit->id);
        else
            note("chat", "", 0, request->submit->id);
        break;
    case PHALANX__V1__ENGINE_REQUEST__KIND_CANCEL:
        note("cancel", "", 0, request->cancel->id);
        break;
    case PHALANX__V1__ENGINE_REQUEST__KIND_TOKENIZE:
        note("tokenize:", (char *)request->tokenize->request->text.data,
            request->tokenize->request->text.len, request->tokenize->id);
        break;
    default: break;
    }
}

static inline void engine_on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    if (call == engine_stream) engine_stream = NULL;
}

static const px_rpc_method engine_methods[] = {
    {.path = "/phalanx.v1.Engine/Serve",
        .kind = PX_RPC_BIDI,
        .request = &phalanx__v1__engine_request__descriptor,
        .on_open = engine_on_open,
        .on_message = engine_on_message,
        .on_closed = engine_on_closed},
    {0},
};

/* ------------------------------------------------------------------------------ the router */

static px_router *router;
static bool up, down;
static px_status down_why;

static inline void on_up(
    void *arg, const char *model, uint64_t generation, const Phalanx__V1__ModelInfo *info)
{
    PX_CHECK(generation == 7 && strcmp(info->architecture, "llama") == 0);
    up = true;
}

static inline void on_down(void *arg, const char *model, uint64_t generation, px_status why)
{
    down = true;
    down_why = why;
}

/* The engine's id of the newest thing it saw. */
static inline uint64_t newest(void)
{
    return engine_ids[(engine_id_count - 1) % 64];
}

static bool engine_sees(const char *what)
{
    engine_got = false;
    while (!strstr(engine_saw, what))
        if (!run_until(&engine_got))
            return false;
        else
            engine_got = false;
    return true;
}

static inline void attach(const char *secret)
{
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", px_rpc_server_port(engine_server));
    px_router_attach(router, &(px_router_engine){"m", 7, address, secret});
}

/* Everything but the attachment. */
static inline void open_router(void)
{
    PX_CHECK_OK(px_loop_create(&loop));
    PX_CHECK_OK(px_rpc_create(loop, &rpc));
    PX_CHECK_OK(px_rpc_server_create(
        rpc, &(px_rpc_server_options){.listen = "127.0.0.1:0"}, &engine_server));
    px_rpc_server_add(engine_server, engine_methods, NULL);
    PX_CHECK_OK(px_rpc_server_start(engine_server));
    router = px_router_create(&(px_router_options){
        .rpc = rpc, .loop = loop, .on_engine_up = on_up, .on_engine_down = on_down});
}

static inline void close_router(void)
{
    px_router_free(router);
    px_rpc_free(rpc);
    px_loop_free(loop);
}

#endif
