/* sender.c - see sender.h. */
#include "proto/sender.h"

#include <stdlib.h>

#include "proto/codec.h"

struct px_rpc_outgoing {
    px_rpc_outgoing *next;
    grpc_byte_buffer *buffer;
    size_t bytes;
};

void px_rpc_sender_init(
    px_rpc_sender *sender, grpc_call *call, px_rpc_tag tag, size_t queued_bytes_max)
{
    *sender = (px_rpc_sender){.call = call, .tag = tag, .queued_bytes_max = queued_bytes_max};
    sender->initial.op = GRPC_OP_SEND_INITIAL_METADATA;
}

static void drop_first(px_rpc_sender *sender)
{
    px_rpc_outgoing *first = sender->first;
    sender->first = first->next;
    if (!sender->first) sender->last = NULL;
    sender->queued_bytes -= first->bytes;
    grpc_byte_buffer_destroy(first->buffer);
    free(first);
}

void px_rpc_sender_done(px_rpc_sender *sender)
{
    while (sender->first) drop_first(sender);
}

px_status px_rpc_sender_push(px_rpc_sender *sender, const ProtobufCMessage *message)
{
    if (sender->ending) return px_fail(PX_FAILED_PRECONDITION, "the call is already finished");
    if (sender->broken) return px_fail(PX_CANCELLED, "the call has ended");
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (sender->first && sender->queued_bytes + bytes > sender->queued_bytes_max) {
        sender->full = true;
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "the peer reads too slowly: %zu bytes wait to be sent", sender->queued_bytes);
    }
    px_rpc_outgoing *outgoing = px_alloc(sizeof *outgoing);
    outgoing->buffer = px_rpc_encode(message);
    outgoing->bytes = bytes;
    if (sender->last)
        sender->last->next = outgoing;
    else
        sender->first = outgoing;
    sender->last = outgoing;
    sender->queued_bytes += bytes;
    return px_ok();
}

void px_rpc_sender_end(px_rpc_sender *sender, grpc_op final)
{
    sender->final = final;
    sender->ending = true;
}

void px_rpc_sender_break(px_rpc_sender *sender)
{
    sender->broken = true;
    if (!sender->message_in_flight) px_rpc_sender_done(sender); /* else when it completes */
}

bool px_rpc_sender_kick(px_rpc_sender *sender)
{
    if (sender->in_flight || sender->broken || sender->final_sent) return false;
    bool opens = sender->opening && !sender->initial_sent;
    if (!sender->first && !sender->ending && !opens) return false;
    grpc_op ops[3];
    size_t count = 0;
    if (!sender->initial_sent) ops[count++] = sender->initial;
    if (sender->first)
        ops[count++] = (grpc_op){
            .op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = sender->first->buffer};
    bool is_last = !sender->first || !sender->first->next;
    if (sender->ending && is_last) {
        ops[count++] = sender->final;
        sender->final_sent = true;
    }
    sender->initial_sent = true;
    sender->in_flight = true;
    sender->message_in_flight = sender->first != NULL;
    px_rpc_start_batch(sender->call, ops, count, &sender->tag);
    return true;
}

bool px_rpc_sender_completed(px_rpc_sender *sender, bool ok)
{
    sender->in_flight = false;
    if (sender->message_in_flight) drop_first(sender);
    sender->message_in_flight = false;
    if (!ok) sender->broken = true;
    if (sender->broken) {
        px_rpc_sender_done(sender);
        return false;
    }
    if (!sender->full || sender->ending || sender->queued_bytes > sender->queued_bytes_max / 2)
        return false;
    sender->full = false;
    return true;
}
