/* sender.h - the outgoing half of one call, the same for servers and clients.
 *
 * A bounded queue of packed messages with at most one send in flight: its completion is the
 * peer's real backpressure. What begins a call (initial metadata) travels with the first batch,
 * what ends it (status, or the client's half-close) with the last message.
 *
 * Owner:   the call; it must live while a batch is in flight: kick says when one started, and the
 *          tag's callback, where px_rpc_sender_completed() must be called, ends it.
 * Threads: the polling thread.
 */
#ifndef PX_PROTO_SENDER_H
#define PX_PROTO_SENDER_H

#include "proto/rpc_internal.h"

typedef struct px_rpc_outgoing px_rpc_outgoing;

typedef struct px_rpc_sender {
    grpc_call *call; /* borrowed */
    px_rpc_tag tag;
    grpc_op initial, final; /* what they point to must live until they are sent */
    px_rpc_outgoing *first, *last;
    size_t queued_bytes, queued_bytes_max;
    bool in_flight, message_in_flight;
    bool opening; /* send the initial metadata even before there is a message */
    bool initial_sent, ending, final_sent;
    bool full;   /* a message was refused; px_rpc_sender_completed() says when there is room */
    bool broken; /* the call is gone; nothing more can be sent */
} px_rpc_sender;

void px_rpc_sender_init(
    px_rpc_sender *sender, grpc_call *call, px_rpc_tag tag, size_t queued_bytes_max);
void px_rpc_sender_done(px_rpc_sender *sender);

/* Packs and queues. A message larger than the bound passes when nothing else waits. */
px_status px_rpc_sender_push(px_rpc_sender *sender, const ProtobufCMessage *message) PX_MUST_USE;
/* Nothing more will be pushed; `final` ends the call. */
void px_rpc_sender_end(px_rpc_sender *sender, grpc_op final);
/* The call is gone: drop what waits. */
void px_rpc_sender_break(px_rpc_sender *sender);

/* Starts the next batch if one can start; true: it did, and the tag will fire. */
bool px_rpc_sender_kick(px_rpc_sender *sender);
/* To be called when the tag fired. True: after a refusal there is room again (half the bound). */
bool px_rpc_sender_completed(px_rpc_sender *sender, bool ok);

#endif
