/* test_rpc_calls.c - every kind of call, and every way in which one can end. */
#include <unistd.h>

#include "rpc_pair.h"

/* A service that records what it was told. Streams of `todo` messages pause when the queue is full.
 */
typedef struct service_log {
    rpc_pair *pair;
    int opened, messages, half_closed, closed, cancelled, writable, refused;
    uint32_t todo, sent; /* responses of the running stream */
    size_t ids_each;
    int64_t deadline_ns;
    px_rpc_call *call;
    char metadata[64], peer[64];
    bool stop_on_close;
    bool abort_when_full;
} service_log;

static px_status respond(px_rpc_call *call, uint32_t id, size_t ids)
{
    test_response response = PHALANX__V1__TOKENIZE_RESPONSE__INIT;
    static uint32_t values[4096];
    values[ids - 1] = id;
    response.n_ids = ids;
    response.ids = values;
    return px_rpc_call_send(call, &response.base);
}

static void note_call(service_log *log, px_rpc_call *call)
{
    const char *value = px_rpc_call_metadata(call, "phalanx-test");
    snprintf(log->metadata, sizeof log->metadata, "%s", value ? value : "(none)");
    snprintf(log->peer, sizeof log->peer, "%s", px_rpc_call_peer(call));
    log->deadline_ns = px_rpc_call_deadline_ns(call);
    log->messages++;
    log->call = call;
}

static void on_unary(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    service_log *log = service;
    const char *model = ((const test_request *)message)->model;
    note_call(log, call);
    if (strcmp(model, "silent") == 0) return; /* never answers */
    if (strcmp(model, "fail") == 0) {
        px_rpc_call_finish(call, px_fail(PX_ABORTED, "because of %s", model));
        return;
    }
    if (strcmp(model, "later") == 0) {
        px_rpc_call_finish(call, px_retry_after(px_fail(PX_RESOURCE_EXHAUSTED, "full"), 12345));
        return;
    }
    PX_CHECK_OK(respond(call, 42, 3));
    px_rpc_call_finish(call, px_ok());
}

static void pump(service_log *log, px_rpc_call *call)
{
    while (log->sent < log->todo) {
        px_status status = respond(call, log->sent, log->ids_each);
        if (status.code == PX_RESOURCE_EXHAUSTED) {
            log->refused++;
            if (log->abort_when_full) px_rpc_call_abort(call, status);
            return;
        }
        PX_CHECK_OK(status);
        log->sent++;
    }
    px_rpc_call_finish(call, px_ok());
    px_rpc_call_finish(call, px_fail(PX_INTERNAL, "a second finish changes nothing"));
    PX_CHECK(respond(call, 0, 1).code == PX_FAILED_PRECONDITION);
}

static void on_stream(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    note_call(service, call);
    pump(service, call);
}

static void on_writable(void *service, px_rpc_call *call)
{
    ((service_log *)service)->writable++;
    pump(service, call);
}

static void on_open(void *service, px_rpc_call *call)
{
    service_log *log = service;
    log->opened++;
    px_rpc_call_set_user(call, log);
    const char *value = px_rpc_call_metadata(call, "phalanx-test");
    if (value && strcmp(value, "refuse") == 0)
        px_rpc_call_finish(call, px_fail(PX_PERMISSION_DENIED, "not you"));
}

static void on_echo(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    service_log *log = service;
    PX_CHECK(px_rpc_call_user(call) == log);
    note_call(log, call);
    PX_CHECK_OK(respond(call, (uint32_t)log->messages, 1));
}

static void on_half_close(void *service, px_rpc_call *call)
{
    ((service_log *)service)->half_closed++;
    px_rpc_call_finish(call, px_ok());
}

static void on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    service_log *log = service;
    log->closed++;
    log->cancelled += cancelled;
    log->call = NULL;
    if (log->stop_on_close) px_rpc_stop(log->pair->rpc);
}

static const px_rpc_method methods[] = {{"/test.Test/Unary", PX_RPC_UNARY, TEST_REQUEST,
                                            .on_message = on_unary, .on_closed = on_closed},
    {"/test.Test/Stream", PX_RPC_SERVER_STREAM, TEST_REQUEST, .on_message = on_stream,
        .on_closed = on_closed, .on_writable = on_writable},
    {"/test.Test/Bidi", PX_RPC_BIDI, TEST_REQUEST, .on_open = on_open, .on_message = on_echo,
        .on_half_close = on_half_close, .on_closed = on_closed},
    {"/test.Test/Chat", PX_RPC_UNARY, &phalanx__v1__chat_request__descriptor,
        .on_message = on_unary, .on_closed = on_closed},
    {0}};

static void open_test(rpc_pair *pair, service_log *log, px_rpc_server_options options)
{
    *log = (service_log){.pair = pair, .ids_each = 1};
    pair_open(pair, options);
    px_rpc_server_add(pair->server, methods, log);
    pair_start(pair);
}

#define OPEN_TEST(...)                                                                             \
    rpc_pair pair;                                                                                 \
    service_log service;                                                                           \
    open_test(&pair, &service, (px_rpc_server_options){__VA_ARGS__});                              \
    client_log client = {.pair = &pair}

PX_TEST(unary_answers_and_closes)
{
    OPEN_TEST();
    client_ask(&client,
        (px_rpc_client_call){
            "/test.Test/Unary", .metadata_key = "phalanx-test", .metadata_value = "secret"},
        "x");
    PX_CHECK_OK(client.status);
    PX_CHECK(client.messages == 1 && client.last_id == 42 && client.done == 1);
    pair_run_for(&pair, 20 * PX_MS);
    PX_CHECK(service.closed == 1 && service.cancelled == 0);
    PX_CHECK_STR(service.metadata, "secret");
    PX_CHECK(strncmp(service.peer, "ipv4:127.0.0.1:", 15) == 0);
    PX_CHECK(service.deadline_ns == INT64_MAX);
    pair_close(&pair);
}

PX_TEST(a_status_arrives_as_it_was_made)
{
    OPEN_TEST();
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "fail");
    PX_CHECK(client.status.code == PX_ABORTED && client.messages == 0);
    PX_CHECK_STR(client.status.text, "because of fail");
    pair_run_for(&pair, 20 * PX_MS);
    PX_CHECK(service.closed == 1 && service.cancelled == 0); /* we ended it, nobody cancelled */
    pair_close(&pair);
}

PX_TEST(a_refusal_says_when_to_come_back)
{
    OPEN_TEST();
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "later");
    PX_CHECK(client.status.code == PX_RESOURCE_EXHAUSTED && client.status.retry_ms == 12345);
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "fail");
    PX_CHECK(client.status.code == PX_ABORTED && client.status.retry_ms == 0);
    pair_close(&pair);
}

PX_TEST(a_stream_is_whole_and_in_order)
{
    OPEN_TEST();
    service.todo = 10000;
    client_ask(&client, (px_rpc_client_call){"/test.Test/Stream"}, "x");
    PX_CHECK_OK(client.status);
    PX_CHECK(client.messages == 10000 && client.last_id == 9999);
    pair_close(&pair);
}

PX_TEST(the_send_queue_is_bounded_and_says_when_there_is_room)
{
    OPEN_TEST(.send_queue_bytes = 64 * 1024);
    service.todo = 500;
    service.ids_each = 4096; /* about 4 KiB a message: 2 MB in all */
    client_ask(&client, (px_rpc_client_call){"/test.Test/Stream"}, "x");
    PX_CHECK_OK(client.status);
    PX_CHECK(service.refused > 0 && service.writable == service.refused);
    PX_CHECK(client.messages == 500 && client.count_ids == 500 * 4096);
    pair_close(&pair);
}

PX_TEST(an_abort_does_not_wait_for_the_queue)
{
    OPEN_TEST(.send_queue_bytes = 64 * 1024);
    service.todo = 500;
    service.ids_each = 4096;
    service.abort_when_full = true;
    client_ask(&client, (px_rpc_client_call){"/test.Test/Stream"}, "x");
    PX_CHECK(client.status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(strstr(client.status.text, "reads too slowly") != NULL);
    PX_CHECK(client.messages < (int)service.sent); /* what waited was dropped */
    service.stop_on_close = true;
    if (!service.closed) pair_run(&pair);
    PX_CHECK(service.closed == 1 && service.cancelled == 1 && service.refused == 1);
    pair_close(&pair);
}

PX_TEST(an_unread_stream_holds_the_server_back)
{
    OPEN_TEST(.send_queue_bytes = 256 * 1024);
    rpc_pair reader = {0}; /* a queue of its own, so that it can stop reading */
    char target[64];
    PX_CHECK_OK(px_loop_create(&reader.loop));
    PX_CHECK_OK(px_rpc_create(reader.loop, &reader.rpc));
    snprintf(target, sizeof target, "127.0.0.1:%d", px_rpc_server_port(pair.server));
    PX_CHECK_OK(px_rpc_channel_create(reader.rpc, target, &reader.channel));
    client.pair = &reader;
    service.todo = 10000; /* 40 MB */
    service.ids_each = 4096;
    client_open(&client, (px_rpc_client_call){"/test.Test/Stream"});
    PX_CHECK_OK(client_send(&client, "x", 0));
    px_rpc_stream_half_close(client.stream);
    for (int i = 0; i < 2000 && service.refused < 1; i++) {
        pair_run_for(&reader, PX_MS);
        pair_run_for(&pair, PX_MS);
    }
    pair_run_for(&pair, 200 * PX_MS); /* nobody reads now */
    uint32_t stuck_at = service.sent;
    PX_CHECK(stuck_at > 0 && stuck_at < 1500); /* the queue, the window, and the sockets' buffers */
    pair_run_for(&pair, 100 * PX_MS);
    PX_CHECK(service.sent == stuck_at);
    px_rpc_stream_cancel(client.stream);
    pair_run(&reader);
    PX_CHECK(client.status.code == PX_CANCELLED);
    service.stop_on_close = true;
    if (!service.closed) pair_run(&pair);
    PX_CHECK(service.cancelled == 1);
    pair_close(&reader);
    pair_close(&pair);
}

PX_TEST(bidi_echoes_until_the_half_close)
{
    OPEN_TEST();
    client_open(&client, (px_rpc_client_call){"/test.Test/Bidi"});
    for (int i = 0; i < 100; i++) PX_CHECK_OK(client_send(&client, "x", 100));
    px_rpc_stream_half_close(client.stream);
    PX_CHECK(client_send(&client, "x", 0).code == PX_FAILED_PRECONDITION);
    pair_run(&pair);
    PX_CHECK_OK(client.status);
    PX_CHECK(client.messages == 100 && client.last_id == 100);
    PX_CHECK(service.opened == 1 && service.half_closed == 1);
    pair_close(&pair);
}

PX_TEST(bidi_opens_before_any_message_and_can_be_refused)
{
    OPEN_TEST();
    client_open(&client, (px_rpc_client_call){"/test.Test/Bidi", .metadata_key = "phalanx-test",
                             .metadata_value = "refuse"});
    pair_run(&pair);
    PX_CHECK(client.status.code == PX_PERMISSION_DENIED);
    PX_CHECK(service.opened == 1 && service.messages == 0);
    pair_close(&pair);
}

PX_TEST(a_cancel_reaches_the_server)
{
    OPEN_TEST();
    client_open(&client, (px_rpc_client_call){"/test.Test/Unary"});
    client.keep_running = true;
    service.stop_on_close = true;
    PX_CHECK_OK(client_send(&client, "silent", 0));
    px_rpc_stream_half_close(client.stream);
    for (int i = 0; i < 1000 && service.messages == 0; i++) pair_run_for(&pair, PX_MS);
    PX_REQUIRE(service.messages == 1);
    px_rpc_stream_cancel(client.stream);
    pair_run(&pair);
    PX_CHECK(service.closed == 1 && service.cancelled == 1);
    if (!client.done) pair_run_for(&pair, 50 * PX_MS);
    PX_CHECK(client.done == 1 && client.status.code == PX_CANCELLED);
    pair_close(&pair);
}

PX_TEST(a_cancel_in_the_middle_ends_the_messages)
{
    OPEN_TEST(.send_queue_bytes = 16 * 1024);
    service.todo = 100000;
    service.ids_each = 1024;
    client.cancel_after = 10;
    client_ask(&client, (px_rpc_client_call){"/test.Test/Stream"}, "x");
    PX_CHECK(client.status.code == PX_CANCELLED && client.messages == 10);
    service.stop_on_close = true;
    if (!service.closed) pair_run(&pair);
    PX_CHECK(service.cancelled == 1 && service.sent < service.todo);
    pair_close(&pair);
}

PX_TEST(a_deadline_is_known_to_both_and_ends_the_call)
{
    OPEN_TEST();
    int64_t before_ns = px_now_ns();
    client_ask(
        &client, (px_rpc_client_call){"/test.Test/Unary", .timeout_ns = 200 * PX_MS}, "silent");
    PX_CHECK(client.status.code == PX_DEADLINE_EXCEEDED);
    PX_CHECK(service.messages == 1);
    PX_CHECK(service.deadline_ns > before_ns + 100 * PX_MS &&
             service.deadline_ns < px_now_ns() + 200 * PX_MS);
    service.stop_on_close = true;
    if (!service.closed) pair_run(&pair);
    PX_CHECK(service.cancelled == 1);
    pair_close(&pair);
}

PX_TEST(an_unknown_method_is_unimplemented)
{
    OPEN_TEST();
    client_ask(&client, (px_rpc_client_call){"/test.Test/Nothing"}, "x");
    PX_CHECK(client.status.code == PX_UNIMPLEMENTED);
    PX_CHECK(strstr(client.status.text, "/test.Test/Nothing") != NULL);
    pair_close(&pair);
}

PX_TEST(a_malformed_request_never_reaches_the_service)
{
    OPEN_TEST();
    /* As a ChatRequest, field 2 is a message: zeros are no tag. */
    client_open(&client, (px_rpc_client_call){"/test.Test/Chat"});
    PX_CHECK_OK(client_send(&client, "x", 5));
    px_rpc_stream_half_close(client.stream);
    pair_run(&pair);
    PX_CHECK(client.status.code == PX_INVALID_ARGUMENT);
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "not \xff utf-8");
    PX_CHECK(client.status.code == PX_INVALID_ARGUMENT && strstr(client.status.text, "UTF-8"));
    client_open(&client, (px_rpc_client_call){"/test.Test/Unary"}); /* no request at all */
    px_rpc_stream_half_close(client.stream);
    pair_run(&pair);
    PX_CHECK(client.status.code == PX_INVALID_ARGUMENT);
    PX_CHECK(service.messages == 0 && service.closed == 0);
    pair_close(&pair);
}

PX_TEST(a_message_over_the_limit_is_refused)
{
    OPEN_TEST(.max_message_bytes = 1000);
    client_open(&client, (px_rpc_client_call){"/test.Test/Unary"});
    PX_CHECK_OK(client_send(&client, "x", 2000));
    px_rpc_stream_half_close(client.stream);
    pair_run(&pair);
    PX_CHECK(client.status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(service.messages == 0);
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "x"); /* the others go on */
    PX_CHECK_OK(client.status);
    pair_close(&pair);
}

PX_TEST(nobody_there_is_unavailable_unless_asked_to_wait)
{
    OPEN_TEST();
    int port = px_rpc_server_port(pair.server);
    pair_close(&pair);

    service_log second;
    char listen[64];
    snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
    second = (service_log){.pair = &pair, .ids_each = 1};
    pair_open(&pair, (px_rpc_server_options){.listen = listen});
    px_rpc_server_add(pair.server, methods, &second);
    PX_CHECK_OK(px_rpc_channel_create(pair.rpc, listen, &pair.channel));
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "x");
    PX_CHECK(client.status.code == PX_UNAVAILABLE);

    client_open(&client, (px_rpc_client_call){"/test.Test/Unary", .wait_for_ready = true});
    PX_CHECK_OK(client_send(&client, "x", 0));
    px_rpc_stream_half_close(client.stream);
    pair_run_for(&pair, 50 * PX_MS);
    PX_CHECK(client.done == 1);
    PX_CHECK_OK(px_rpc_server_start(pair.server));
    pair_run(&pair);
    PX_CHECK_OK(client.status);
    pair_close(&pair);
}

PX_TEST(a_busy_port_is_a_sentence)
{
    OPEN_TEST();
    char listen[64], port[16];
    snprintf(port, sizeof port, "%d", px_rpc_server_port(pair.server));
    snprintf(listen, sizeof listen, "127.0.0.1:%s", port);
    px_rpc_server *other;
    PX_CHECK_OK(px_rpc_server_create(pair.rpc, &(px_rpc_server_options){.listen = listen}, &other));
    px_status status = px_rpc_server_start(other);
    PX_CHECK(status.code == PX_FAILED_PRECONDITION && strstr(status.text, port) &&
             strstr(status.text, "in use"));
    PX_CHECK_OK(
        px_rpc_server_create(pair.rpc, &(px_rpc_server_options){.listen = "nonsense"}, &other));
    PX_CHECK(px_rpc_server_start(other).code == PX_INVALID_ARGUMENT);
    client_ask(&client, (px_rpc_client_call){"/test.Test/Unary"}, "x"); /* the first one lives */
    PX_CHECK_OK(client.status);
    pair_close(&pair);
}

static void note_shut_down(void *arg)
{
    rpc_pair *pair = arg;
    px_rpc_stop(pair->rpc);
}

PX_TEST(shutdown_lets_calls_finish_and_cancels_the_rest)
{
    OPEN_TEST();
    client_log other = {.pair = &pair, .keep_running = true}, late = other;
    client.keep_running = true;
    client_open(&client, (px_rpc_client_call){"/test.Test/Bidi"}); /* stays open */
    client_open(&other, (px_rpc_client_call){"/test.Test/Unary"}); /* answered during the grace */
    PX_CHECK_OK(client_send(&other, "silent", 0));
    px_rpc_stream_half_close(other.stream);
    for (int i = 0; i < 1000 && !(service.opened && service.call); i++) pair_run_for(&pair, PX_MS);
    PX_REQUIRE(service.opened && service.call);
    px_rpc_call *unary = service.call;
    int64_t start_ns = px_now_ns();
    px_rpc_server_shutdown(pair.server, 100 * PX_MS, note_shut_down, &pair);
    PX_CHECK_OK(respond(unary, 7, 1));
    px_rpc_call_finish(unary, px_ok());
    client_open(&late, (px_rpc_client_call){"/test.Test/Unary"});
    PX_CHECK_OK(client_send(&late, "x", 0));
    pair_run(&pair);
    PX_CHECK(px_now_ns() - start_ns >= 100 * PX_MS);
    for (int i = 0; i < 1000 && !(late.done && client.done); i++) pair_run_for(&pair, PX_MS);
    PX_CHECK_OK(other.status);
    PX_CHECK(other.messages == 1 && other.last_id == 7);
    PX_CHECK(late.done == 1 && late.status.code == PX_UNAVAILABLE);
    PX_CHECK(client.done == 1 && client.status.code != PX_OK);
    PX_CHECK(service.cancelled == 1);
    pair_close(&pair);
}

PX_TEST(free_ends_what_is_open)
{
    OPEN_TEST();
    client.keep_running = true;
    client_open(&client, (px_rpc_client_call){"/test.Test/Bidi"});
    PX_CHECK_OK(client_send(&client, "x", 0));
    for (int i = 0; i < 1000 && client.messages == 0; i++) pair_run_for(&pair, PX_MS);
    PX_CHECK(client.messages == 1);
    pair_close(&pair);
    PX_CHECK(client.done == 1 && client.status.code != PX_OK);
    PX_CHECK(service.closed == 1 && service.cancelled == 1);
}

PX_TEST_MAIN()
