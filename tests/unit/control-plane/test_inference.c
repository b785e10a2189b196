/* test_inference.c - the Inference service over the router: which models there are, answers
 * streamed to clients, and clients that leave or do not keep up.
 */
#include "control/front/inference.h"

#include "routed_engine.h"

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
    open_router();
    attach("s3cret");
    PX_REQUIRE(run_until(&up));
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
    px_deployer_free(deployer);
    close_router();
}

PX_TEST_MAIN()
