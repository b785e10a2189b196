/* target_grpc.c - a control plane of ours, asked through phalanx.v1.Inference. */
#include <stdlib.h>
#include <string.h>

#include "control/bench/target.h"
#include "phalanx/v1/inference.pb-c.h"
#include "proto/rpc.h"

typedef struct grpc_target {
    px_target target;
    px_rpc *rpc;
    px_rpc_channel *channel;
} grpc_target;

typedef struct grpc_call {
    px_target_ask ask;
    px_target_usage usage;
} grpc_call;

static void on_message(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    grpc_call *call = arg;
    const Phalanx__V1__GenerateResponse *part = (const Phalanx__V1__GenerateResponse *)message;
    if (part->n_token_ids) call->ask.on_part(call->ask.arg, (uint32_t)part->n_token_ids);
    if (part->done)
        call->usage = (px_target_usage){part->done->prompt_tokens, part->done->output_tokens};
}

static void on_done(void *arg, px_rpc_stream *stream, px_status status)
{
    grpc_call *call = arg;
    call->ask.on_done(call->ask.arg, status, call->usage);
    free(call);
}

typedef struct asked { /* what both kinds of request carry */
    Phalanx__V1__Sampling sampling;
    Phalanx__V1__Stopping stopping;
} asked;

static void fill_asked(const px_target_ask *ask, asked *out)
{
    phalanx__v1__sampling__init(&out->sampling);
    out->sampling.temperature__case = PHALANX__V1__SAMPLING__TEMPERATURE__TEMPERATURE;
    out->sampling.temperature = (float)ask->temperature;
    out->sampling.seed__case = PHALANX__V1__SAMPLING__SEED__SEED;
    out->sampling.seed = ask->seed;
    phalanx__v1__stopping__init(&out->stopping);
    out->stopping.max_tokens = ask->max_tokens;
    out->stopping.ignore_eos = ask->ignore_eos;
}

static px_status send_generate(px_rpc_stream *stream, const px_target_ask *ask)
{
    asked a;
    fill_asked(ask, &a);
    Phalanx__V1__TokenIds tokens = PHALANX__V1__TOKEN_IDS__INIT;
    Phalanx__V1__GenerateRequest request = PHALANX__V1__GENERATE_REQUEST__INIT;
    request.model = (char *)ask->model;
    request.sampling = &a.sampling;
    request.stopping = &a.stopping;
    if (ask->prompt->text) {
        request.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
        request.text = (ProtobufCBinaryData){
            strlen(ask->prompt->text), (uint8_t *)(uintptr_t)ask->prompt->text};
    } else {
        request.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TOKENS;
        request.tokens = &tokens;
        tokens.ids = (uint32_t *)(uintptr_t)ask->prompt->ids;
        tokens.n_ids = ask->prompt->id_count;
    }
    return px_rpc_stream_send(stream, &request.base);
}

static px_status send_chat(px_rpc_stream *stream, const px_target_ask *ask)
{
    asked a;
    fill_asked(ask, &a);
    size_t count = json_array_size(ask->prompt->messages);
    Phalanx__V1__ChatMessage *messages = px_alloc_array(count, sizeof *messages);
    Phalanx__V1__ChatMessage **list = px_alloc_array(count, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        const json_t *from = json_array_get(ask->prompt->messages, i);
        const json_t *content = json_object_get(from, "content");
        list[i] = &messages[i];
        phalanx__v1__chat_message__init(list[i]);
        list[i]->role = (char *)(uintptr_t)json_string_value(json_object_get(from, "role"));
        list[i]->content = (ProtobufCBinaryData){
            json_string_length(content), (uint8_t *)(uintptr_t)json_string_value(content)};
    }
    Phalanx__V1__ChatRequest request = PHALANX__V1__CHAT_REQUEST__INIT;
    request.model = (char *)ask->model;
    request.messages = list;
    request.n_messages = count;
    request.sampling = &a.sampling;
    request.stopping = &a.stopping;
    px_status status = px_rpc_stream_send(stream, &request.base);
    free(messages);
    free(list);
    return status;
}

static void ask_grpc(px_target *target, const px_target_ask *ask)
{
    grpc_target *t = (grpc_target *)target;
    grpc_call *call = px_alloc(sizeof *call);
    call->ask = *ask;
    bool chats = ask->prompt->messages != NULL;
    px_rpc_client_call options = {
        .path = chats ? "/phalanx.v1.Inference/Chat" : "/phalanx.v1.Inference/Generate",
        .response = &phalanx__v1__generate_response__descriptor,
        .timeout_ns = ask->timeout_ns,
        .metadata_key = ask->tenant ? "phalanx-tenant" : NULL,
        .metadata_value = ask->tenant,
        .on_message = on_message,
        .on_done = on_done,
        .arg = call};
    px_rpc_stream *stream;
    px_status status = px_rpc_stream_open(t->channel, &options, &stream);
    if (!px_is_ok(status)) {
        on_done(call, NULL, status);
        return;
    }
    status = chats ? send_chat(stream, ask) : send_generate(stream, ask);
    if (px_is_ok(status))
        px_rpc_stream_half_close(stream);
    else
        px_rpc_stream_cancel(stream); /* on_done follows */
}

static void run_grpc(px_target *target)
{
    px_rpc_run(((grpc_target *)target)->rpc);
}

static void stop_grpc(px_target *target)
{
    px_rpc_stop(((grpc_target *)target)->rpc);
}

static void free_grpc(px_target *target)
{
    grpc_target *t = (grpc_target *)target;
    px_rpc_channel_free(t->channel);
    px_rpc_free(t->rpc);
    free(t);
}

px_status px_target_grpc(px_loop *loop, const char *server, px_target **out)
{
    grpc_target *t = px_alloc(sizeof *t);
    t->target = (px_target){ask_grpc, run_grpc, stop_grpc, free_grpc};
    px_status status = px_rpc_create(loop, &t->rpc);
    if (px_is_ok(status)) status = px_rpc_channel_create(t->rpc, server, &t->channel);
    if (px_is_ok(status))
        *out = &t->target;
    else
        free_grpc(&t->target);
    return status;
}
