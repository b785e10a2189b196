#include "control/front/inference.h"

#include <stdlib.h>
#include <string.h>

#include "control/front/gathering.h"
#include "control/front/validate.h"

typedef struct front_call { /* the user pointer of a call from its request to its end */
    px_inference *inference;
    px_rpc_call *call;
    uint64_t route;          /* 0: over, or never routed */
    px_gathering *gathering; /* of Embed and Score; else NULL */
} front_call;

/* ------------------------------------------------------------------------------ models */

static px_status not_found(const px_deployer *deployer, const char *wanted)
{
    uint32_t count = px_deployer_count(deployer);
    if (!count)
        return px_fail(PX_NOT_FOUND, "no model is deployed; 'control-plane deploy PATH' does that");
    px_buf names;
    px_buf_init(&names, 160);
    for (uint32_t i = 0; i < count; i++)
        px_buf_printf(&names, "%s%s", i ? ", " : "", px_deployer_at(deployer, i)->spec.name);
    /* A client's bytes are repeated only if they can be a name: others may cut a character or
     * command a terminal. */
    bool is_name = px_is_ok(px_name_check(wanted, "a model's name"));
    px_status status = px_fail(PX_NOT_FOUND, "no model is called %s%s%s; there %s: %s%s",
        is_name ? "'" : "", is_name ? wanted : "that", is_name ? "'" : "",
        count == 1 ? "is" : "are", px_buf_text(&names), names.overflowed ? " ..." : "");
    if (!wanted[0])
        status = px_fail(PX_INVALID_ARGUMENT, "several models are served, name one of: %s%s",
            px_buf_text(&names), names.overflowed ? " ..." : "");
    px_buf_done(&names);
    return status;
}

static px_status why_not_ready(const px_deployment *d)
{
    switch (d->state) {
    case PX_DEPLOY_LOADING:
        return px_fail(PX_UNAVAILABLE, "'%s' is loading (%.0f %%): try again in a moment",
            d->spec.name, 100 * px_deployment_progress(d));
    case PX_DEPLOY_FAILED:
        return px_fail(PX_UNAVAILABLE, "'%s' failed to start: %s", d->spec.name, d->message);
    case PX_DEPLOY_RESTARTING:
        return px_fail(PX_UNAVAILABLE, "'%s' is being started anew: %s", d->spec.name, d->message);
    case PX_DEPLOY_STOPPING:
        return px_fail(PX_UNAVAILABLE, "'%s' is being undeployed", d->spec.name);
    default:
        return px_fail(
            PX_UNAVAILABLE, "'%s' is waiting to be started: %s", d->spec.name, d->message);
    }
}

/* An empty name means the one model there is. */
static px_status find_model(
    const px_inference *inference, const char *wanted, const px_deployment **out)
{
    const px_deployer *deployer = inference->deployer;
    if (!deployer) return inference->refusal;
    bool is_only = !wanted[0] && px_deployer_count(deployer) == 1;
    const px_deployment *d =
        is_only ? px_deployer_at(deployer, 0) : px_deployer_find(deployer, wanted);
    if (!d) return not_found(deployer, wanted);
    if (d->state != PX_DEPLOY_READY) return why_not_ready(d);
    *out = d;
    return px_ok();
}

/* ------------------------------------------------------------------------------ routing */

static void on_end(void *arg, px_status status)
{
    front_call *fc = arg;
    fc->route = 0;
    px_rpc_call_finish(fc->call, status);
}

static void send_or_cancel(front_call *fc, const ProtobufCMessage *message)
{
    px_status status = px_rpc_call_send(fc->call, message);
    if (px_is_ok(status)) return;
    px_router_cancel(fc->inference->router, fc->route);
    fc->route = 0;
    if (status.code == PX_RESOURCE_EXHAUSTED)
        status = px_fail(PX_RESOURCE_EXHAUSTED, "the answer was not read fast enough");
    px_rpc_call_abort(fc->call, status);
}

static void on_part(void *arg, const Phalanx__V1__GenerateResponse *part)
{
    front_call *fc = arg;
    if (!fc->gathering)
        send_or_cancel(fc, &part->base);
    else if (part->done)
        send_or_cancel(fc, px_gathering_answer(fc->gathering, part->done));
}

static void on_vector(void *arg, const Phalanx__V1__EngineVector *vector)
{
    front_call *fc = arg;
    if (fc->gathering) px_gathering_add(fc->gathering, vector);
}

static void on_tokens(void *arg, const Phalanx__V1__TokenizeResponse *tokens)
{
    send_or_cancel(arg, &tokens->base);
}

/* What the answers to a request that is valid come to; NULL: they go out as they come. */
static px_gathering *gathering_of(const px_route_request *request, px_status valid)
{
    const Phalanx__V1__ScoreRequest *score = request->score;
    if (!px_is_ok(valid)) return NULL;
    if (request->embed) return px_gathering_create(PX_GATHER_EMBEDDINGS, request->embed->n_inputs);
    if (!score) return NULL;
    if (!score->template_.len)
        return px_gathering_create(PX_GATHER_COSINES, 1 + score->n_documents);
    return px_gathering_create(
        score->n_label_token_ids ? PX_GATHER_LABELS : PX_GATHER_SCORES, score->n_documents);
}

/* `request` holds the message; the rest is filled in. */
static void route(px_inference *inference, px_rpc_call *call, const char *model, px_status valid,
    px_route_request request)
{
    front_call *fc = px_alloc(sizeof *fc);
    *fc = (front_call){
        .inference = inference, .call = call, .gathering = gathering_of(&request, valid)};
    px_rpc_call_set_user(call, fc);
    request.deadline_ns = px_rpc_call_deadline_ns(call);
    request.tenant = px_rpc_call_metadata(call, "phalanx-tenant");
    request.tenant_weight = px_tenants_weight(inference->tenants, request.tenant);
    request.on_part = on_part;
    request.on_vector = on_vector;
    request.on_tokens = on_tokens;
    request.on_end = on_end;
    request.arg = fc;
    const px_deployment *d = NULL;
    px_status status = valid;
    if (px_is_ok(status)) status = px_validate_tenant(request.tenant);
    if (px_is_ok(status)) status = find_model(inference, model, &d);
    if (px_is_ok(status))
        status = px_router_submit(inference->router, d->spec.name, &request, &fc->route);
    if (!px_is_ok(status)) px_rpc_call_finish(call, status);
}

static void on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    px_inference *inference = service;
    front_call *fc = px_rpc_call_user(call);
    if (fc && fc->route) px_router_cancel(inference->router, fc->route);
    if (fc) px_gathering_free(fc->gathering);
    free(fc);
}

/* ------------------------------------------------------------------------------ methods */

static void on_generate(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__GenerateRequest *request = (const Phalanx__V1__GenerateRequest *)message;
    route(service, call, request->model, px_validate_generate(request),
        (px_route_request){.generate = request});
}

static void on_chat(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__ChatRequest *request = (const Phalanx__V1__ChatRequest *)message;
    route(service, call, request->model, px_validate_chat(request),
        (px_route_request){.chat = request});
}

static void on_embed(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__EmbedRequest *request = (const Phalanx__V1__EmbedRequest *)message;
    route(service, call, request->model, px_validate_embed(request),
        (px_route_request){.embed = request});
}

static void on_score(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__ScoreRequest *request = (const Phalanx__V1__ScoreRequest *)message;
    route(service, call, request->model, px_validate_score(request),
        (px_route_request){.score = request});
}

static void on_tokenize(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__TokenizeRequest *request = (const Phalanx__V1__TokenizeRequest *)message;
    route(service, call, request->model, px_validate_tokenize(request),
        (px_route_request){.tokenize = request});
}

static void on_list_models(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const px_inference *inference = service;
    if (!inference->deployer) {
        px_rpc_call_finish(call, inference->refusal);
        return;
    }
    Phalanx__V1__ModelInfo infos[PX_DEPLOYMENTS_MAX], *pointers[PX_DEPLOYMENTS_MAX];
    char *adapters[PX_DEPLOYMENTS_MAX][PX_ADAPTERS_MAX];
    Phalanx__V1__ListModelsResponse response = PHALANX__V1__LIST_MODELS_RESPONSE__INIT;
    response.models = pointers;
    response.n_models = px_deployer_count(inference->deployer);
    for (uint32_t i = 0; i < response.n_models; i++) {
        const px_deployment *d = px_deployer_at(inference->deployer, i);
        infos[i] = d->model;
        infos[i].ready = d->state == PX_DEPLOY_READY;
        infos[i].adapters = adapters[i];
        infos[i].n_adapters = d->spec.adapters.count;
        for (uint32_t a = 0; a < d->spec.adapters.count; a++)
            adapters[i][a] = (char *)d->spec.adapters.items[a].name;
        pointers[i] = &infos[i];
    }
    px_rpc_call_finish(call, px_rpc_call_send(call, &response.base));
}

const px_rpc_method px_inference_methods[] = {
    {.path = "/phalanx.v1.Inference/Generate",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &phalanx__v1__generate_request__descriptor,
        .on_message = on_generate,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Inference/Chat",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &phalanx__v1__chat_request__descriptor,
        .on_message = on_chat,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Inference/Embed",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__embed_request__descriptor,
        .on_message = on_embed,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Inference/Score",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__score_request__descriptor,
        .on_message = on_score,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Inference/ListModels",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__list_models_request__descriptor,
        .on_message = on_list_models},
    {.path = "/phalanx.v1.Inference/Tokenize",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__tokenize_request__descriptor,
        .on_message = on_tokenize,
        .on_closed = on_closed},
    {0},
};
