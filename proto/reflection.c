/* reflection.c - grpc.reflection v1 and v1alpha: which services there are, and their descriptors.
 *
 * The two versions differ in the name of their package only, so v1's messages serve both.
 */
#include <stdlib.h>
#include <string.h>

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/descriptor_set.h"
#include "proto/rpc_server.h"

enum { SERVICES_MAX = 64 };

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
#define REQUEST(kind)  GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##kind
#define RESPONSE(kind) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##kind

struct px_rpc_reflection {
    px_rpc_server *server;
};

static void answer(px_rpc_call *call, reflection_response *response)
{
    px_status sent = px_rpc_call_send(call, &response->base);
    if (sent.code != PX_OK) px_rpc_call_abort(call, sent); /* it asks but does not read */
}

static void answer_error(px_rpc_call *call, reflection_response *response, px_status status)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = (int32_t)status.code;
    error.error_message = status.text;
    response->message_response_case = RESPONSE(ERROR_RESPONSE);
    response->error_response = &error;
    answer(call, response);
}

static void answer_file(px_rpc_call *call, reflection_response *response, px_proto_file file)
{
    px_proto_file files[PX_PROTO_FILES_MAX];
    ProtobufCBinaryData bytes[PX_PROTO_FILES_MAX];
    size_t count = px_proto_with_imports(file, files);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (ProtobufCBinaryData){
            .len = files[i].length, .data = (uint8_t *)files[i].bytes}; /* only packed from */
    Grpc__Reflection__V1__FileDescriptorResponse found =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    found.n_file_descriptor_proto = count;
    found.file_descriptor_proto = bytes;
    response->message_response_case = RESPONSE(FILE_DESCRIPTOR_RESPONSE);
    response->file_descriptor_response = &found;
    answer(call, response);
}

static void answer_services(
    px_rpc_call *call, reflection_response *response, const px_rpc_server *server)
{
    typedef Grpc__Reflection__V1__ServiceResponse service_response;
    char names[SERVICES_MAX][PX_RPC_SERVICE_NAME_MAX];
    service_response services[SERVICES_MAX], *pointers[SERVICES_MAX];
    int count = 0;
    while (count < SERVICES_MAX && px_rpc_server_service_name(server, count, names[count])) {
        grpc__reflection__v1__service_response__init(&services[count]);
        services[count].name = names[count];
        pointers[count] = &services[count];
        count++;
    }
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    list.n_service = (size_t)count;
    list.service = pointers;
    response->message_response_case = RESPONSE(LIST_SERVICES_RESPONSE);
    response->list_services_response = &list;
    answer(call, response);
}

/* proto3 knows extensions of options only, and we declare none. */
static void answer_no_extensions(px_rpc_call *call, reflection_response *response, char *type)
{
    Grpc__Reflection__V1__ExtensionNumberResponse none =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    none.base_type_name = type;
    response->message_response_case = RESPONSE(ALL_EXTENSION_NUMBERS_RESPONSE);
    response->all_extension_numbers_response = &none;
    answer(call, response);
}

static void on_request(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const px_rpc_reflection *reflection = service;
    const reflection_request *request = (const reflection_request *)message;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    px_proto_file file;
    response.valid_host = request->host;
    response.original_request = (reflection_request *)request;
    switch (request->message_request_case) {
    case REQUEST(LIST_SERVICES): answer_services(call, &response, reflection->server); return;
    case REQUEST(FILE_BY_FILENAME):
        if (px_proto_find_file(request->file_by_filename, &file))
            answer_file(call, &response, file);
        else
            answer_error(call, &response,
                px_fail(PX_NOT_FOUND, "no file '%.150s'", request->file_by_filename));
        return;
    case REQUEST(FILE_CONTAINING_SYMBOL):
        if (px_proto_find_symbol(request->file_containing_symbol, &file))
            answer_file(call, &response, file);
        else
            answer_error(call, &response,
                px_fail(PX_NOT_FOUND, "no symbol '%.150s'", request->file_containing_symbol));
        return;
    case REQUEST(ALL_EXTENSION_NUMBERS_OF_TYPE):
        if (px_proto_find_symbol(request->all_extension_numbers_of_type, &file))
            answer_no_extensions(call, &response, request->all_extension_numbers_of_type);
        else
            answer_error(call, &response,
                px_fail(PX_NOT_FOUND, "no type '%.150s'", request->all_extension_numbers_of_type));
        return;
    case REQUEST(FILE_CONTAINING_EXTENSION):
        answer_error(call, &response, px_fail(PX_NOT_FOUND, "there are no extensions here"));
        return;
    default:
        answer_error(call, &response, px_fail(PX_INVALID_ARGUMENT, "the request asks for nothing"));
    }
}

static const px_rpc_method methods[] = {
    {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        .kind = PX_RPC_BIDI,
        .request = &grpc__reflection__v1__server_reflection_request__descriptor,
        .on_message = on_request},
    {.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        .kind = PX_RPC_BIDI,
        .request = &grpc__reflection__v1__server_reflection_request__descriptor,
        .on_message = on_request},
    {0}};

px_rpc_reflection *px_rpc_reflection_create(px_rpc_server *server)
{
    px_rpc_reflection *reflection = px_alloc(sizeof *reflection);
    reflection->server = server;
    px_rpc_server_add(server, methods, reflection);
    return reflection;
}

void px_rpc_reflection_free(px_rpc_reflection *reflection)
{
    free(reflection);
}
