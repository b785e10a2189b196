/* test_codec.c - what is honest passes, what is malformed or swells is refused. */
#include <grpc/slice.h>

#include "phalanx/v1/engine.pb-c.h"
#include "proto/codec.h"
#include "test.h"

typedef Phalanx__V1__ChatRequest chat_request;

static grpc_byte_buffer *buffer_of(const void *bytes, size_t length)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(bytes, length);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static px_status decode(px_arena *arena, const ProtobufCMessageDescriptor *type, const void *bytes,
    size_t length, const ProtobufCMessage **out)
{
    grpc_byte_buffer *buffer = buffer_of(bytes, length);
    px_status status = px_rpc_decode(arena, type, buffer, out);
    grpc_byte_buffer_destroy(buffer);
    return status;
}

PX_TEST(a_message_survives_the_round_trip_in_any_slices)
{
    px_arena arena;
    px_arena_init(&arena, 0);
    uint32_t ids[] = {1, 300, 70000};
    Phalanx__V1__GenerateResponse part = PHALANX__V1__GENERATE_RESPONSE__INIT;
    part.text = (ProtobufCBinaryData){.len = 5, .data = (uint8_t *)"a\0\xff z"};
    part.n_token_ids = 3;
    part.token_ids = ids;
    grpc_byte_buffer *whole = px_rpc_encode(&part.base);
    grpc_slice bytes = whole->data.raw.slice_buffer.slices[0];
    size_t half = GRPC_SLICE_LENGTH(bytes) / 2;
    grpc_slice pieces[2] = {
        grpc_slice_sub(bytes, 0, half), grpc_slice_sub(bytes, half, GRPC_SLICE_LENGTH(bytes))};
    grpc_byte_buffer *split = grpc_raw_byte_buffer_create(pieces, 2);
    grpc_byte_buffer *buffers[] = {whole, split};
    for (int i = 0; i < 2; i++) {
        const ProtobufCMessage *message = NULL;
        PX_CHECK_OK(px_rpc_decode(
            &arena, &phalanx__v1__generate_response__descriptor, buffers[i], &message));
        PX_REQUIRE(message != NULL);
        const Phalanx__V1__GenerateResponse *got = (const void *)message;
        PX_CHECK(got->text.len == 5 && memcmp(got->text.data, part.text.data, 5) == 0);
        PX_CHECK(got->n_token_ids == 3 && got->token_ids[2] == 70000);
        grpc_byte_buffer_destroy(buffers[i]);
    }
    grpc_slice_unref(pieces[0]);
    grpc_slice_unref(pieces[1]);
    px_arena_done(&arena);
}

PX_TEST(dense_but_honest_messages_pass)
{
    enum { OUTPUTS = 20000 }; /* two tokens' worth each, about 14 bytes: the densest that we send */
    px_arena arena;
    px_arena_init(&arena, 0);
    uint32_t id = 7;
    Phalanx__V1__GenerateResponse part = PHALANX__V1__GENERATE_RESPONSE__INIT;
    part.text = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"hi"};
    part.n_token_ids = 1;
    part.token_ids = &id;
    Phalanx__V1__EngineOutput output = PHALANX__V1__ENGINE_OUTPUT__INIT;
    output.id = 123456;
    output.part = &part;
    Phalanx__V1__EngineEvents events = PHALANX__V1__ENGINE_EVENTS__INIT;
    static Phalanx__V1__EngineOutput *outputs[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) outputs[i] = &output;
    events.outputs = outputs;
    events.n_outputs = OUTPUTS;
    grpc_byte_buffer *buffer = px_rpc_encode(&events.base);
    const ProtobufCMessage *message = NULL;
    PX_CHECK_OK(px_rpc_decode(&arena, &phalanx__v1__engine_events__descriptor, buffer, &message));
    PX_CHECK(message && ((const Phalanx__V1__EngineEvents *)message)->n_outputs == OUTPUTS);
    grpc_byte_buffer_destroy(buffer);
    px_arena_done(&arena);
}

PX_TEST(a_small_message_cannot_become_a_large_one)
{
    enum { PAIRS = 500000 };
    static uint8_t bytes[2 * PAIRS]; /* messages[i] = {} : two bytes each, some ninety unpacked */
    for (int i = 0; i < PAIRS; i++) bytes[2 * i] = 0x12;
    px_arena arena;
    px_arena_init(&arena, 0);
    const ProtobufCMessage *message = NULL;
    px_status status =
        decode(&arena, &phalanx__v1__chat_request__descriptor, bytes, sizeof bytes, &message);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT && message == NULL);
    PX_CHECK(arena.used_bytes < 32 * sizeof bytes);
    px_arena_done(&arena);
}

PX_TEST(truncated_and_random_bytes_never_do_harm)
{
    chat_request request = PHALANX__V1__CHAT_REQUEST__INIT;
    Phalanx__V1__ChatMessage turn = PHALANX__V1__CHAT_MESSAGE__INIT, *turns[] = {&turn, &turn};
    turn.role = "user";
    turn.content = (ProtobufCBinaryData){.len = 11, .data = (uint8_t *)"hello there"};
    request.model = "m";
    request.messages = turns;
    request.n_messages = 2;
    uint8_t good[256], bad[256];
    size_t length = protobuf_c_message_pack(&request.base, good);
    px_arena arena;
    px_arena_init(&arena, 0);
    const ProtobufCMessage *message;
    int refused = 0;
    for (size_t cut = 0; cut < length; cut++)
        refused +=
            decode(&arena, &phalanx__v1__chat_request__descriptor, good, cut, &message).code != 0;
    PX_CHECK(refused > (int)length / 2);
    unsigned random = 1;
    refused = 0;
    for (int round = 0; round < 20000; round++) {
        memcpy(bad, good, length);
        for (int i = 0; i < 3; i++) {
            random = random * 1664525u + 1013904223u;
            bad[(random >> 8) % length] = (uint8_t)(random >> 24);
        }
        refused +=
            decode(&arena, &phalanx__v1__chat_request__descriptor, bad, length, &message).code != 0;
    }
    PX_CHECK(refused > 0 && refused < 20000);
    px_arena_done(&arena);
}

PX_TEST(strings_must_be_utf8_wherever_they_stand)
{
    px_arena arena;
    px_arena_init(&arena, 0);
    const ProtobufCMessage *message;
    static const char top[] = "\x0a\x02\xc3\x28";            /* model = C3 28 */
    static const char nested[] = "\x12\x04\x0a\x02\xff\xfe"; /* messages[0].role = FF FE */
    static const char fine[] = "\x12\x05\x0a\x03\xe2\x82\xac";
    const ProtobufCMessageDescriptor *type = &phalanx__v1__chat_request__descriptor;
    PX_CHECK(decode(&arena, type, top, sizeof top - 1, &message).code == PX_INVALID_ARGUMENT);
    PX_CHECK(decode(&arena, type, nested, sizeof nested - 1, &message).code == PX_INVALID_ARGUMENT);
    PX_CHECK_OK(decode(&arena, type, fine, sizeof fine - 1, &message));
    px_arena_done(&arena);
}

PX_TEST(unknown_fields_are_not_sent_on)
{
    px_arena arena;
    px_arena_init(&arena, 0);
    const ProtobufCMessage *message = NULL;
    /* model = "m", then a field of number 0, and one of number 99 inside messages[0]. */
    static const char bytes[] = "\x0a\x01m\x81\x00qqqqqqqq\x12\x03\x98\x06\x05";
    PX_CHECK_OK(
        decode(&arena, &phalanx__v1__chat_request__descriptor, bytes, sizeof bytes - 1, &message));
    PX_REQUIRE(message != NULL);
    PX_CHECK(protobuf_c_message_get_packed_size(message) == 5); /* the name and an empty message */
    px_arena_done(&arena);
}

PX_TEST_MAIN()
