/* fuzz_rpc_codec.c - bytes from the wire, as each kind of message that a peer may send us. */
#include <grpc/slice.h>

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "phalanx/v1/admin.pb-c.h"
#include "phalanx/v1/cluster.pb-c.h"
#include "phalanx/v1/engine.pb-c.h"
#include "proto/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &phalanx__v1__generate_request__descriptor,
    &phalanx__v1__chat_request__descriptor,
    &phalanx__v1__tokenize_request__descriptor,
    &phalanx__v1__engine_request__descriptor,
    &phalanx__v1__engine_event__descriptor,
    &phalanx__v1__agent_message__descriptor,
    &phalanx__v1__control_message__descriptor,
    &phalanx__v1__deploy_request__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
    &grpc__reflection__v1__server_reflection_request__descriptor,
};

/* In two slices, as the network may cut them. */
static grpc_byte_buffer *buffer_of(const uint8_t *data, size_t size, size_t cut)
{
    if (cut > size) cut = size;
    grpc_slice slices[2] = {grpc_slice_from_copied_buffer((const char *)data, cut),
        grpc_slice_from_copied_buffer((const char *)data + cut, size - cut)};
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, cut < size ? 2 : 1);
    grpc_slice_unref(slices[0]);
    grpc_slice_unref(slices[1]);
    return buffer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const ProtobufCMessageDescriptor *type = types[data[0] % (sizeof types / sizeof types[0])];
    px_arena arena, again_arena;
    px_arena_init(&arena, 0);
    px_arena_init(&again_arena, 0);
    grpc_byte_buffer *buffer = buffer_of(data + 2, size - 2, data[1]);
    const ProtobufCMessage *message = NULL, *again = NULL;
    px_status status = px_rpc_decode(&arena, type, buffer, &message);
    PX_ASSERT((status.code == PX_OK) == (message != NULL));
    PX_ASSERT(arena.used_bytes <= arena.limit_bytes);
    if (message) { /* what we accept, we can send, and it stays acceptable */
        grpc_byte_buffer *packed = px_rpc_encode(message);
        status = px_rpc_decode(&again_arena, type, packed, &again);
        PX_ASSERT(status.code == PX_OK);
        grpc_byte_buffer_destroy(packed);
    }
    grpc_byte_buffer_destroy(buffer);
    px_arena_done(&arena);
    px_arena_done(&again_arena);
    return 0;
}
