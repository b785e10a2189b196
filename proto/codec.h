/* codec.h - protobuf-c messages to and from gRPC's byte buffers.
 *
 * Packs straight into a slice of exactly the right size. Unpacks into an arena whose limit is the
 * budget: an adversary could otherwise turn each byte into 92 of memory (repeated empty messages).
 */
#ifndef PX_PROTO_CODEC_H
#define PX_PROTO_CODEC_H

#include <grpc/byte_buffer.h>
#include <protobuf-c/protobuf-c.h>

#include "base/memory.h"

/* Owned: grpc_byte_buffer_destroy(). */
grpc_byte_buffer *px_rpc_encode(const ProtobufCMessage *message);

/* The message lives in `arena`, whose earlier contents are dropped, until the arena is used again.
 * INVALID_ARGUMENT for malformed bytes and for `string` fields that are not UTF-8. Fields that the
 * type does not know are dropped, so what was decoded can always be sent on. */
px_status px_rpc_decode(px_arena *arena, const ProtobufCMessageDescriptor *type,
    grpc_byte_buffer *bytes, const ProtobufCMessage **out) PX_MUST_USE;

#endif
