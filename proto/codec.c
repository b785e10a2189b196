/* codec.c - see codec.h. */
#include "proto/codec.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <string.h>

#include "base/utf8.h"

/* A message may need this many times its packed bytes, plus a base for small ones. Our densest
 * honest messages (a step's outputs, a chat of short turns) need about ten times. */
enum { AMPLIFICATION_MAX = 24, BUDGET_BASE_BYTES = 64 * 1024 };
/* Large messages consist of text or packed ids (one byte becomes four). */
enum { LARGE_BYTES = 1 << 20, LARGE_AMPLIFICATION_MAX = 5 };
enum {
    ARENA_KEPT_BYTES = 256 * 1024
}; /* a process must not stay as large as its largest message */

grpc_byte_buffer *px_rpc_encode(const ProtobufCMessage *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(bytes);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice); /* the buffer holds its own reference */
    return buffer;
}

static size_t budget_for(size_t packed_bytes)
{
    if (packed_bytes <= LARGE_BYTES) return packed_bytes * AMPLIFICATION_MAX + BUDGET_BASE_BYTES;
    return (size_t)LARGE_BYTES * AMPLIFICATION_MAX + packed_bytes * LARGE_AMPLIFICATION_MAX;
}

static void *arena_alloc(void *arena, size_t bytes)
{
    return px_arena_alloc(arena, bytes);
}
static void arena_free(void *arena, void *memory) {} /* freed whole */

/* --- what protobuf-c lets pass ---
 *
 * proto3 strings are UTF-8; it does not check. It keeps unknown fields and would send them on, even
 * ones that no parser takes back, so that one client's message could end the stream it shares with
 * others; they are dropped. */

static bool tidy(ProtobufCMessage *message);

static bool tidy_value(const ProtobufCFieldDescriptor *field, void *value)
{
    if (!value) return true;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) return tidy(value);
    size_t length = strlen(value);
    return px_utf8_valid_prefix(value, length) == length;
}

static bool tidy_field(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    char *base = (char *)message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(base + field->quantifier_offset);
        void **values = *(void ***)(base + field->offset);
        for (size_t i = 0; i < count; i++)
            if (!tidy_value(field, values[i])) return false;
        return true;
    }
    bool in_oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (in_oneof && *(const uint32_t *)(base + field->quantifier_offset) != field->id) return true;
    return tidy_value(field, *(void **)(base + field->offset));
}

/* False: a string is not UTF-8. The depth is bounded, as our message types do not recurse. */
static bool tidy(ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    message->n_unknown_fields = 0;
    message->unknown_fields = NULL;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (!tidy_field(message, field)) return false;
    }
    return true;
}

/* --- unpacking --- */

static px_status unpack(px_arena *arena, const ProtobufCMessageDescriptor *type, grpc_slice bytes,
    const ProtobufCMessage **out)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
    size_t length = GRPC_SLICE_LENGTH(bytes);
    if (arena->used_bytes <= ARENA_KEPT_BYTES)
        px_arena_reset(arena);
    else
        px_arena_done(arena);
    arena->limit_bytes = budget_for(length);
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, &allocator, length, GRPC_SLICE_START_PTR(bytes));
    if (!message)
        return px_fail(PX_INVALID_ARGUMENT, "the message is not a well-formed %s", type->name);
    if (!tidy(message))
        return px_fail(PX_INVALID_ARGUMENT, "a string in the %s is not valid UTF-8", type->name);
    *out = message;
    return px_ok();
}

px_status px_rpc_decode(px_arena *arena, const ProtobufCMessageDescriptor *type,
    grpc_byte_buffer *bytes, const ProtobufCMessage **out)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, bytes))
        return px_fail(PX_INVALID_ARGUMENT, "the message is compressed; send it as it is");
    /* Nearly always one slice, which can be read in place. */
    grpc_slice *only = NULL;
    bool in_place =
        bytes->data.raw.slice_buffer.count == 1 && grpc_byte_buffer_reader_peek(&reader, &only);
    grpc_slice slice = in_place ? grpc_slice_ref(*only) : grpc_byte_buffer_reader_readall(&reader);
    px_status status = unpack(arena, type, slice, out);
    grpc_slice_unref(slice);
    grpc_byte_buffer_reader_destroy(&reader);
    return status;
}
