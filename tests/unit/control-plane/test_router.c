/* The router and the Inference service against a fake engine: a px_rpc server that speaks Engine
 * and does what the test tells it to. All of it shares one loop, so each step is run to its end. */
#include "control/front/inference.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "test.h"

static px_loop *loop;
static px_rpc *rpc;

/* Runs the process until *flag or for 10 s. */
static bool *awaited;
static int64_t give_up_ns;
static void look(void *arg)
{
    if (*awaited || px_now_ns() > give_up_ns) px_rpc_stop(rpc);
}
static bool run_until(bool *flag)
{
    awaited = flag;
    give_up_ns = px_now_ns() + 10 * PX_SEC;
    px_loop_timer *timer = px_loop_every(loop, PX_MS, look, NULL);
    px_rpc_run(rpc);
    px_loop_cancel(loop, timer);
    return *flag;
}
static void run_for(int64_t ns)
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
static bool engine_got, engine_refuses;
static uint64_t engine_timeout_us;

static void engine_send(Phalanx__V1__EngineEvent *event)
{
    PX_CHECK_OK(px_rpc_call_send(engine_stream, &event->base));
}

static void engine_say_load(void)
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

static void engine_part(uint64_t id, const char *text, bool done)
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

static void engine_fail(uint64_t id, px_code code, const char *message)
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

static void engine_tokens(uint64_t id)
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

static void note(const char *what, const char *text, size_t length, uint64_t id)
{
    snprintf(engine_saw + strlen(engine_saw), sizeof engine_saw - strlen(engine_saw), "%s%.*s ",
        what, (int)length, text);
    engine_ids[engine_id_count++ % 64] = id;
    engine_got = true;
}

static void engine_on_open(void *service, px_rpc_call *call)
{
    const char *secret = px_rpc_call_metadata(call, "phalanx-group-secret");
    if (engine_refuses || !secret || strcmp(secret, "s3cret") != 0) {
        px_rpc_call_finish(call, px_fail(PX_PERMISSION_DENIED, "not of this group"));
        return;
    }
    engine_stream = call;
    engine_say_load();
}

static void engine_on_message(void *service, px_rpc_call *call, const ProtobufCMessage *message)
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

static void engine_on_closed(void *service, px_rpc_call *call, bool cancelled)
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

static void on_up(
    void *arg, const char *model, uint64_t generation, const Phalanx__V1__ModelInfo *info)
{
    PX_CHECK(generation == 7 && strcmp(info->architecture, "llama") == 0);
    up = true;
}

static void on_down(void *arg, const char *model, uint64_t generation, px_status why)
{
    down = true;
    down_why = why;
}

typedef struct asked { /* one request of ours, and what came back */
    uint64_t id;
    char text[256];
    bool ended, got;
    px_status status;
    size_t tokens;
    bool cancel_on_part;
} asked;

static void on_part(void *arg, const Phalanx__V1__GenerateResponse *part)
{
    asked *a = arg;
    snprintf(a->text + strlen(a->text), sizeof a->text - strlen(a->text), "%.*s",
        (int)part->text.len, part->text.data);
    a->got = true;
    if (a->cancel_on_part) px_router_cancel(router, a->id);
}

static void on_tokens(void *arg, const Phalanx__V1__TokenizeResponse *tokens)
{
    asked *a = arg;
    a->tokens = tokens->n_ids;
}

static void on_end(void *arg, px_status status)
{
    asked *a = arg;
    PX_CHECK(!a->ended);
    a->ended = true;
    a->status = status;
}

static px_status ask(asked *a, const char *prompt)
{
    Phalanx__V1__GenerateRequest request = PHALANX__V1__GENERATE_REQUEST__INIT;
    request.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    request.text = (ProtobufCBinaryData){strlen(prompt), (uint8_t *)prompt};
    px_route_request route = {.generate = &request,
        .deadline_ns = px_now_ns() + 5 * PX_SEC,
        .on_part = on_part,
        .on_tokens = on_tokens,
        .on_end = on_end,
        .arg = a};
    return px_router_submit(router, "m", &route, &a->id);
}

/* The engine's id of the newest thing it saw. */
static uint64_t newest(void)
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

static void attach(const char *secret)
{
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%d", px_rpc_server_port(engine_server));
    px_router_attach(router, &(px_router_engine){"m", 7, address, secret});
}

PX_TEST(connects_with_the_secret)
{
    PX_CHECK_OK(px_loop_create(&loop));
    PX_CHECK_OK(px_rpc_create(loop, &rpc));
    PX_CHECK_OK(px_rpc_server_create(
        rpc, &(px_rpc_server_options){.listen = "127.0.0.1:0"}, &engine_server));
    px_rpc_server_add(engine_server, engine_methods, NULL);
    PX_CHECK_OK(px_rpc_server_start(engine_server));
    router = px_router_create(&(px_router_options){
        .rpc = rpc, .loop = loop, .on_engine_up = on_up, .on_engine_down = on_down});
    asked a = {0};
    PX_CHECK(ask(&a, "early").code == PX_UNAVAILABLE);
    attach("wrong");
    PX_CHECK(run_until(&down) && !up);
    PX_CHECK(strstr(down_why.text, "not of this group"));
    attach("s3cret");
    PX_CHECK(run_until(&up));
    px_router_load load;
    PX_CHECK(px_router_load_of(router, "m", &load) && load.said.kv_blocks == 100);
    PX_CHECK(!px_router_load_of(router, "other", &load));
}

PX_TEST(parts_come_back_in_order_and_end_once)
{
    PX_REQUIRE(up);
    engine_saw[0] = '\0';
    asked a = {0}, b = {0};
    PX_CHECK_OK(ask(&a, "one"));
    PX_CHECK_OK(ask(&b, "two"));
    PX_CHECK(engine_sees("submit:one submit:two "));
    PX_CHECK(engine_timeout_us > 4000000 && engine_timeout_us <= 5000000);
    PX_CHECK(px_router_stats_of(router).running == 2);
    engine_part(b.id, "B1", false);
    engine_part(a.id, "A1", false);
    engine_part(a.id, "A2", true);
    engine_part(a.id, "late", false); /* behind its end: nobody hears it */
    PX_CHECK(run_until(&a.ended));
    PX_CHECK_OK(a.status);
    PX_CHECK_STR(a.text, "A1A2");
    PX_CHECK(!b.ended);
    engine_fail(b.id, PX_RESOURCE_EXHAUSTED, "no KV block is left");
    PX_CHECK(run_until(&b.ended));
    PX_CHECK_STR(b.text, "B1");
    PX_CHECK(b.status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK_STR(b.status.text, "no KV block is left");
    px_router_stats stats = px_router_stats_of(router);
    PX_CHECK(
        stats.running == 0 && stats.total == 2 && stats.failed == 1 && stats.output_tokens == 3);
}

PX_TEST(cancel_reaches_the_engine_and_nothing_comes_back)
{
    PX_REQUIRE(up);
    engine_saw[0] = '\0';
    asked a = {0}, b = {.cancel_on_part = true};
    PX_CHECK_OK(ask(&a, "x"));
    PX_CHECK_OK(ask(&b, "y"));
    PX_CHECK(engine_sees("submit:x submit:y "));
    px_router_cancel(router, a.id);
    PX_CHECK(engine_sees("cancel ") && newest() == a.id);
    px_router_cancel(router, a.id); /* again: fine */
    engine_part(a.id, "late", true);
    engine_part(b.id, "B", true); /* cancelled from within its own part */
    PX_CHECK(engine_sees("cancel cancel ") && newest() == b.id);
    run_for(20 * PX_MS);
    PX_CHECK(!a.ended && !b.ended && !a.got);
    PX_CHECK(px_router_stats_of(router).running == 0);
}

PX_TEST(tokenize_goes_the_same_way)
{
    PX_REQUIRE(up);
    engine_saw[0] = '\0';
    Phalanx__V1__TokenizeRequest request = PHALANX__V1__TOKENIZE_REQUEST__INIT;
    request.text = (ProtobufCBinaryData){5, (uint8_t *)"hello"};
    asked a = {0};
    PX_CHECK_OK(px_router_submit(router, "m",
        &(px_route_request){.tokenize = &request,
            .deadline_ns = INT64_MAX,
            .on_part = on_part,
            .on_tokens = on_tokens,
            .on_end = on_end,
            .arg = &a},
        &a.id));
    PX_CHECK(engine_sees("tokenize:hello "));
    engine_tokens(a.id);
    PX_CHECK(run_until(&a.ended));
    PX_CHECK(px_is_ok(a.status) && a.tokens == 3);
}

PX_TEST(a_lost_stream_ends_its_requests_and_is_dialled_again)
{
    PX_REQUIRE(up);
    asked a = {0};
    engine_saw[0] = '\0';
    PX_CHECK_OK(ask(&a, "x"));
    PX_CHECK(engine_sees("submit:x"));
    up = down = false;
    px_rpc_call_finish(engine_stream, px_fail(PX_UNAVAILABLE, "rank 1 is gone"));
    PX_CHECK(run_until(&down));
    PX_CHECK(a.ended && a.status.code == PX_UNAVAILABLE);
    PX_CHECK(strstr(a.status.text, "rank 1 is gone"));
    PX_CHECK(run_until(&up));
    asked b = {0};
    PX_CHECK_OK(ask(&b, "again"));
    PX_CHECK(engine_sees("submit:again"));
    engine_part(a.id, "old", true); /* an id of before means nothing */
    engine_part(b.id, "new", true);
    PX_CHECK(run_until(&b.ended));
    PX_CHECK_STR(b.text, "new");
}

/* ------------------------------------------------------------------------------ the front above */

static px_rpc_server *front_server;
static px_inference inference;
static px_agents agents;
static px_deployer *deployer;

static uint32_t no_ranks(void *arg, const char *agent)
{
    return 0;
}
static void no_write(void *arg, px_deployment *d, uint64_t t, const px_etcd_op *ops, size_t n) {}
static void no_attach(void *arg, const px_deployment *d) {}
static void no_detach(void *arg, const px_deployment *d, px_status why) {}
static void no_event(void *arg, const px_deployment *d, const char *kind, const char *m) {}
static void no_change(void *arg, const px_deployment *d) {}
static const px_deploy_ports ports = {.agents = &agents,
    .ranks_on = no_ranks,
    .write = no_write,
    .attach = no_attach,
    .detach = no_detach,
    .event = no_event,
    .changed = no_change};

typedef struct client_call {
    char text[256];
    bool ended, got;
    px_status status;
    size_t models;
    bool ready;
} client_call;

static void client_on_message(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    client_call *c = arg;
    c->got = true;
    if (message->descriptor == &phalanx__v1__list_models_response__descriptor) {
        const Phalanx__V1__ListModelsResponse *list =
            (const Phalanx__V1__ListModelsResponse *)message;
        c->models = list->n_models;
        c->ready = list->n_models && list->models[0]->ready;
        return;
    }
    const Phalanx__V1__GenerateResponse *part = (const Phalanx__V1__GenerateResponse *)message;
    snprintf(c->text + strlen(c->text), sizeof c->text - strlen(c->text), "%.*s",
        (int)part->text.len, part->text.data);
}

static void client_on_done(void *arg, px_rpc_stream *stream, px_status status)
{
    client_call *c = arg;
    c->ended = true;
    c->status = status;
}

static px_rpc_channel *client;

static px_rpc_stream *client_ask(client_call *c, const char *model, const char *prompt)
{
    Phalanx__V1__GenerateRequest request = PHALANX__V1__GENERATE_REQUEST__INIT;
    request.model = (char *)model;
    request.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    request.text = (ProtobufCBinaryData){strlen(prompt), (uint8_t *)prompt};
    px_rpc_stream *stream;
    PX_CHECK_OK(px_rpc_stream_open(client,
        &(px_rpc_client_call){.path = "/phalanx.v1.Inference/Generate",
            .response = &phalanx__v1__generate_response__descriptor,
            .wait_for_ready = true,
            .on_message = client_on_message,
            .on_done = client_on_done,
            .arg = c},
        &stream));
    PX_CHECK_OK(px_rpc_stream_send(stream, &request.base));
    px_rpc_stream_half_close(stream);
    return stream;
}

static bool refused(const char *model, const char *prompt, px_code code, const char *words)
{
    client_call c = {0};
    client_ask(&c, model, prompt);
    bool ok = run_until(&c.ended) && c.status.code == code && strstr(c.status.text, words);
    if (!ok) printf("got %s: %s\n", px_code_name(c.status.code), c.status.text);
    return ok;
}

static px_deployment *deployed(const char *name, px_deploy_state state)
{
    px_spec spec = {.tp = 1, .pp = 1, .model_path = "/m"};
    px_name_copy(spec.name, name);
    const px_deployment *d = NULL;
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, true, px_now_ns(), &d));
    ((px_deployment *)d)->state = state;
    return (px_deployment *)d;
}

PX_TEST(the_front_says_which_models_there_are)
{
    PX_REQUIRE(up);
    deployer = px_deployer_create(&ports);
    inference = (px_inference){
        .router = router, .refusal = px_fail(PX_UNAVAILABLE, "this control plane stands by")};
    char address[64];
    PX_CHECK_OK(px_rpc_server_create(rpc,
        &(px_rpc_server_options){.listen = "127.0.0.1:0", .send_queue_bytes = 2000},
        &front_server));
    px_rpc_server_add(front_server, px_inference_methods, &inference);
    PX_CHECK_OK(px_rpc_server_start(front_server));
    snprintf(address, sizeof address, "127.0.0.1:%d", px_rpc_server_port(front_server));
    PX_CHECK_OK(px_rpc_channel_create(rpc, address, &client));

    PX_CHECK(refused("m", "hi", PX_UNAVAILABLE, "stands by"));
    inference.deployer = deployer;
    PX_CHECK(refused("m", "hi", PX_NOT_FOUND, "no model is deployed"));
    deployed("m", PX_DEPLOY_READY);
    PX_CHECK(refused("x", "hi", PX_NOT_FOUND, "no model is called 'x'; there is: m"));
    PX_CHECK(refused("x\n\x1b[31m", "hi", PX_NOT_FOUND, "no model is called that; there is: m"));
    px_deployment *slow = deployed("slow", PX_DEPLOY_LOADING);
    PX_CHECK(refused("", "hi", PX_INVALID_ARGUMENT, "name one of: m, slow"));
    PX_CHECK(refused("slow", "hi", PX_UNAVAILABLE, "is loading (0 %)"));
    slow->state = PX_DEPLOY_FAILED;
    snprintf(slow->message, sizeof slow->message, "no such file");
    PX_CHECK(refused("slow", "hi", PX_UNAVAILABLE, "failed to start: no such file"));
    PX_CHECK(refused("m", "", PX_INVALID_ARGUMENT, "empty"));
    PX_CHECK(refused("m", "\xff", PX_INVALID_ARGUMENT, "UTF-8"));

    Phalanx__V1__ListModelsRequest request = PHALANX__V1__LIST_MODELS_REQUEST__INIT;
    client_call c = {0};
    px_rpc_stream *stream;
    PX_CHECK_OK(px_rpc_stream_open(client,
        &(px_rpc_client_call){.path = "/phalanx.v1.Inference/ListModels",
            .response = &phalanx__v1__list_models_response__descriptor,
            .on_message = client_on_message,
            .on_done = client_on_done,
            .arg = &c},
        &stream));
    PX_CHECK_OK(px_rpc_stream_send(stream, &request.base));
    px_rpc_stream_half_close(stream);
    PX_CHECK(run_until(&c.ended) && c.models == 2 && c.ready);
}

PX_TEST(an_answer_streams_through)
{
    PX_REQUIRE(front_server);
    engine_saw[0] = '\0';
    client_call c = {0};
    client_ask(&c, "m", "hello");
    PX_CHECK(engine_sees("submit:hello "));
    PX_CHECK(engine_timeout_us == 0); /* no deadline */
    engine_part(newest(), "wor", false);
    PX_CHECK(run_until(&c.got));
    engine_part(newest(), "ld", true);
    PX_CHECK(run_until(&c.ended));
    PX_CHECK_OK(c.status);
    PX_CHECK_STR(c.text, "world");
}

PX_TEST(a_client_that_leaves_is_cancelled_at_the_engine)
{
    PX_REQUIRE(front_server);
    engine_saw[0] = '\0';
    client_call c = {0};
    px_rpc_stream *stream = client_ask(&c, "m", "bye");
    PX_CHECK(engine_sees("submit:bye "));
    uint64_t id = newest();
    px_rpc_stream_cancel(stream);
    PX_CHECK(engine_sees("cancel ") && newest() == id);
    PX_CHECK(run_until(&c.ended) && c.status.code == PX_CANCELLED);
}

/* Many parts in one message of the engine, more than the call's queue takes. */
static void engine_flood(uint64_t id)
{
    enum { PARTS = 64, PART_BYTES = 500 };
    static uint8_t text[PART_BYTES];
    memset(text, 'x', sizeof text);
    Phalanx__V1__GenerateResponse part = PHALANX__V1__GENERATE_RESPONSE__INIT;
    part.text = (ProtobufCBinaryData){sizeof text, text};
    Phalanx__V1__EngineOutput output = PHALANX__V1__ENGINE_OUTPUT__INIT, *outputs[PARTS];
    output.id = id;
    output.part = &part;
    for (int i = 0; i < PARTS; i++) outputs[i] = &output;
    Phalanx__V1__EngineEvents events = PHALANX__V1__ENGINE_EVENTS__INIT;
    events.outputs = outputs;
    events.n_outputs = PARTS;
    Phalanx__V1__EngineEvent event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_OUTPUTS;
    event.outputs = &events;
    engine_send(&event);
}

PX_TEST(a_client_that_does_not_keep_up_is_cut_off_alone)
{
    PX_REQUIRE(front_server);
    engine_saw[0] = '\0';
    client_call slow = {0}, other = {0};
    client_ask(&slow, "m", "slow");
    PX_CHECK(engine_sees("submit:slow "));
    uint64_t id = newest();
    client_ask(&other, "m", "other");
    PX_CHECK(engine_sees("submit:other "));
    uint64_t other_id = newest();
    engine_flood(id);
    PX_CHECK(run_until(&slow.ended));
    PX_CHECK(slow.status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(strstr(slow.status.text, "not read fast enough"));
    PX_CHECK(engine_sees("cancel ") && newest() == id);
    engine_part(other_id, "fine", true);
    PX_CHECK(run_until(&other.ended) && px_is_ok(other.status));
}

PX_TEST(detaching_ends_what_is_in_flight)
{
    PX_REQUIRE(front_server);
    engine_saw[0] = '\0';
    client_call c = {0};
    client_ask(&c, "m", "last");
    PX_CHECK(engine_sees("submit:last "));
    px_router_detach(router, "m", px_fail(PX_UNAVAILABLE, "'m' was undeployed"));
    PX_CHECK(run_until(&c.ended) && c.status.code == PX_UNAVAILABLE);
    PX_CHECK_STR(c.status.text, "'m' was undeployed");
    PX_CHECK(refused("m", "hi", PX_UNAVAILABLE, "no engine serves 'm'"));
}

PX_TEST(the_end)
{
    px_rpc_channel_free(client);
    px_router_free(router);
    px_rpc_free(rpc);
    px_deployer_free(deployer);
    px_loop_free(loop);
}

PX_TEST_MAIN()
