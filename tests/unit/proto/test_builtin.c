/* test_builtin.c - health and reflection, asked by our own client. tests/e2e asks with stock ones.
 */
#include <stdarg.h>

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/descriptor_set.h"
#include "rpc_pair.h"

typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
enum { UNKNOWN_SERVICE = 3, SERVING = 1, NOT_SERVING = 2 };

typedef struct builtin_log {
    rpc_pair *pair;
    px_rpc_stream *stream;
    px_status status;
    int count, done;
    int last_health;         /* of Check and Watch */
    char text[4096];         /* what List and reflection answered, in words */
    int stop_after;          /* messages; 0: at the end */
    bool half_close_at_once; /* unary and server streams */
} builtin_log;

PX_PRINTF(2, 3) static void say(builtin_log *log, const char *format, ...)
{
    size_t used = strlen(log->text);
    va_list args;
    va_start(args, format);
    vsnprintf(log->text + used, sizeof log->text - used, format, args);
    va_end(args);
}

static void on_done(void *arg, px_rpc_stream *stream, px_status status)
{
    builtin_log *log = arg;
    log->done++;
    log->status = status;
    px_rpc_stop(log->pair->rpc);
}

static void counted(builtin_log *log)
{
    if (++log->count == log->stop_after) px_rpc_stop(log->pair->rpc);
}

static void on_health(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    builtin_log *log = arg;
    log->last_health = (int)((const health_response *)message)->status;
    counted(log);
}

static void on_health_list(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    const Grpc__Health__V1__HealthListResponse *list = (const void *)message;
    for (size_t i = 0; i < list->n_statuses; i++)
        say(arg, "%s=%d;", list->statuses[i]->key, (int)list->statuses[i]->value->status);
    counted(arg);
}

static void on_reflection(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    builtin_log *log = arg;
    const reflection_response *response = (const reflection_response *)message;
    switch (response->message_response_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE:
        for (size_t i = 0; i < response->list_services_response->n_service; i++)
            say(log, "%s;", response->list_services_response->service[i]->name);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE:
        for (size_t i = 0; i < response->file_descriptor_response->n_file_descriptor_proto; i++) {
            /* Field 1 of a FileDescriptorProto, and the first on the wire, is its name. */
            ProtobufCBinaryData file = response->file_descriptor_response->file_descriptor_proto[i];
            say(log, "%.*s;", (int)file.data[1], (const char *)file.data + 2);
        }
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE:
        say(log, "error %d;", (int)response->error_response->error_code);
        break;
    default: say(log, "other %d;", (int)response->message_response_case);
    }
    counted(log);
}

static void open_call(builtin_log *log, const char *path, const ProtobufCMessageDescriptor *type,
    void (*on_message)(void *, px_rpc_stream *, const ProtobufCMessage *))
{
    px_rpc_client_call call = {
        .path = path, .response = type, .on_message = on_message, .on_done = on_done, .arg = log};
    log->count = log->done = 0;
    log->text[0] = '\0';
    PX_CHECK_OK(px_rpc_stream_open(log->pair->channel, &call, &log->stream));
}

static void ask_health(builtin_log *log, const char *method, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    char path[64];
    request.service = (char *)service;
    snprintf(path, sizeof path, "/grpc.health.v1.Health/%s", method);
    bool list = strcmp(method, "List") == 0;
    open_call(log, path,
        list ? &grpc__health__v1__health_list_response__descriptor
             : &grpc__health__v1__health_check_response__descriptor,
        list ? on_health_list : on_health);
    PX_CHECK_OK(px_rpc_stream_send(log->stream, &request.base));
    px_rpc_stream_half_close(log->stream);
    pair_run(log->pair);
}

static void no_op(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    px_rpc_call_finish(call, px_ok());
}

static const px_rpc_method methods[] = {
    {"/phalanx.v1.Inference/Generate", PX_RPC_UNARY, TEST_REQUEST, .on_message = no_op},
    {"/phalanx.v1.Inference/Chat", PX_RPC_UNARY, TEST_REQUEST, .on_message = no_op}, {0}};

static void open_builtin(rpc_pair *pair)
{
    pair_open(pair, (px_rpc_server_options){0});
    px_rpc_server_add_health(pair->server);
    px_rpc_server_add(pair->server, methods, NULL);
    px_rpc_server_add_reflection(pair->server);
    pair_start(pair);
}

PX_TEST(check_and_list_know_every_service)
{
    rpc_pair pair;
    open_builtin(&pair);
    builtin_log log = {.pair = &pair};
    ask_health(&log, "Check", "");
    PX_CHECK(log.status.code == PX_OK && log.last_health == SERVING);
    px_rpc_server_set_health(pair.server, "phalanx.v1.Inference", false);
    px_rpc_server_set_health(pair.server, "model/tiny", true);
    ask_health(&log, "Check", "phalanx.v1.Inference");
    PX_CHECK(log.status.code == PX_OK && log.last_health == NOT_SERVING);
    ask_health(&log, "Check", "nobody");
    PX_CHECK(log.status.code == PX_NOT_FOUND);
    ask_health(&log, "List", "");
    PX_CHECK(strstr(log.text, "phalanx.v1.Inference=2;") && strstr(log.text, "model/tiny=1;"));
    PX_CHECK(strstr(log.text, "grpc.health.v1.Health=1;"));
    pair_close(&pair);
}

PX_TEST(watch_tells_each_change_and_ends_with_the_server)
{
    rpc_pair pair;
    open_builtin(&pair);
    builtin_log log = {.pair = &pair, .stop_after = 1};
    ask_health(&log, "Watch", "later");
    PX_CHECK(log.last_health == UNKNOWN_SERVICE);
    log.stop_after = 2;
    px_rpc_server_set_health(pair.server, "later", true);
    px_rpc_server_set_health(pair.server, "other", true);
    pair_run(&pair);
    PX_CHECK(log.last_health == SERVING);
    px_rpc_server_set_health(pair.server, "later", true); /* no change: nothing is told */
    pair_run_for(&pair, 20 * PX_MS);
    PX_CHECK(log.count == 2);
    px_rpc_server_shutdown(pair.server, PX_SEC, NULL, NULL);
    pair_run(&pair);
    PX_CHECK(log.last_health == NOT_SERVING);
    PX_CHECK(log.done == 1 && log.status.code == PX_UNAVAILABLE);
    pair_close(&pair);
}

/* --- reflection --- */

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
#define ASK(kind, member, text)                                                                    \
    (&(reflection_request){.base = PROTOBUF_C_MESSAGE_INIT(                                        \
                               &grpc__reflection__v1__server_reflection_request__descriptor),      \
        .host = "",                                                                                \
        .message_request_case =                                                                    \
            GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##kind,               \
        .member = text})
#define ASK_FILE(name)   ASK(FILE_BY_FILENAME, file_by_filename, name)
#define ASK_SYMBOL(name) ASK(FILE_CONTAINING_SYMBOL, file_containing_symbol, name)

static void check_reflection(const char *path)
{
    rpc_pair pair;
    open_builtin(&pair);
    builtin_log log = {.pair = &pair};
    const reflection_request *questions[] = {
        ASK(LIST_SERVICES, list_services, ""),
        ASK_FILE("phalanx/v1/engine.proto"), /* imports inference.proto */
        ASK_SYMBOL("phalanx.v1.Inference"),
        ASK_SYMBOL("phalanx.v1.Engine.Serve"),
        ASK_SYMBOL("grpc.health.v1.HealthCheckResponse.ServingStatus"),
        ASK_FILE("phalanx/v1/nothing.proto"),
        ASK_SYMBOL("phalanx.v1.Inferenc"),
    };
    open_call(
        &log, path, &grpc__reflection__v1__server_reflection_response__descriptor, on_reflection);
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
        PX_CHECK_OK(px_rpc_stream_send(log.stream, &questions[i]->base));
    px_rpc_stream_half_close(log.stream);
    pair_run(&pair);
    PX_CHECK_OK(log.status);
    PX_CHECK_STR(log.text,
        "grpc.health.v1.Health;phalanx.v1.Inference;grpc.reflection.v1.ServerReflection;"
        "grpc.reflection.v1alpha.ServerReflection;"
        "phalanx/v1/engine.proto;phalanx/v1/inference.proto;"
        "phalanx/v1/inference.proto;"
        "phalanx/v1/engine.proto;phalanx/v1/inference.proto;"
        "grpc/health/v1/health.proto;"
        "error 5;error 5;");
    pair_close(&pair);
}

PX_TEST(reflection_v1_answers_several_questions_on_a_stream)
{
    check_reflection("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
}

PX_TEST(reflection_v1alpha_is_the_same)
{
    check_reflection("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
}

PX_TEST(symbols_are_found_where_they_are_declared)
{
    static const struct {
        const char *symbol, *file;
    } known[] = {
        {"phalanx.v1.Cluster", "phalanx/v1/cluster.proto"},
        {"phalanx.v1.GenerateRequest.sampling", "phalanx/v1/inference.proto"},
        {"phalanx.v1.GenerateRequest.prompt", "phalanx/v1/inference.proto"},
        {"phalanx.v1.FinishReason", "phalanx/v1/inference.proto"},
        {"phalanx.v1.FINISH_REASON_STOP", "phalanx/v1/inference.proto"},
        {"grpc.health.v1.HealthListResponse.StatusesEntry", "grpc/health/v1/health.proto"},
        {"grpc.reflection.v1alpha.ServerReflection", "grpc/reflection/v1alpha/reflection.proto"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        px_proto_file got = {0}, want = {0};
        PX_CHECK(px_proto_find_symbol(known[i].symbol, &got));
        PX_CHECK(px_proto_find_file(known[i].file, &want));
        PX_CHECK(got.bytes == want.bytes && got.length > 0);
    }
    static const char *const unknown[] = {"", ".", "phalanx", "phalanx.v1", "phalanx.v1.",
        "phalanx.v1.Cluster.", "phalanx.v1.Cluster.Joi", "Cluster", "phalanx.v1.Cluster.Join.x"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        px_proto_file got;
        PX_CHECK(!px_proto_find_symbol(unknown[i], &got));
    }
}

PX_TEST_MAIN()
