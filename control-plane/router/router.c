#include "control/router/router.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

#define REDIAL_NS     (200 * PX_MS)
#define ID_INDEX_BITS 13 /* PX_ROUTES_MAX = 1 << ID_INDEX_BITS */
_Static_assert(PX_ROUTES_MAX == 1 << ID_INDEX_BITS, "an id holds the index of its route");

typedef struct engine {
    px_router *router;
    struct engine *next, **link;
    char *model, *secret;
    uint64_t generation;
    px_rpc_channel *channel;
    px_rpc_stream *stream; /* NULL: waiting to dial again */
    px_loop_timer *redial;
    bool up;           /* the stream is open and the engine has said what it serves */
    bool detached;     /* freed when its stream has ended */
    bool lost_cancels; /* the stream was too full for a cancel: sent again when output shows it */
    px_router_load load;
} engine;

typedef struct route { /* a request in flight; free while id is 0 */
    uint64_t id;
    engine *engine;
    uint32_t next_free;
    void (*on_part)(void *arg, const Phalanx__V1__GenerateResponse *part);
    void (*on_vector)(void *arg, const Phalanx__V1__EngineVector *vector);
    void (*on_tokens)(void *arg, const Phalanx__V1__TokenizeResponse *tokens);
    void (*on_end)(void *arg, px_status status);
    void *arg;
} route;

struct px_router {
    px_rpc *rpc;
    px_loop *loop;
    void (*on_engine_up)(
        void *arg, const char *model, uint64_t generation, const Phalanx__V1__ModelInfo *info);
    void (*on_engine_down)(void *arg, const char *model, uint64_t generation, px_status why);
    void *arg;
    engine *engines;
    route routes[PX_ROUTES_MAX];
    uint32_t first_free; /* PX_ROUTES_MAX: full */
    uint64_t id_count;
    px_router_stats stats;
};

/* ------------------------------------------------------------------------------ routes */

static route *find_route(px_router *router, uint64_t id)
{
    route *r = &router->routes[id % PX_ROUTES_MAX];
    return id && r->id == id ? r : NULL;
}

static route *take_route(px_router *router)
{
    uint32_t index = router->first_free;
    if (index == PX_ROUTES_MAX) return NULL;
    route *r = &router->routes[index];
    router->first_free = r->next_free;
    r->id = ++router->id_count << ID_INDEX_BITS | index;
    router->stats.running++;
    return r;
}

static void give_route_back(px_router *router, route *r)
{
    r->id = 0;
    r->next_free = router->first_free;
    router->first_free = (uint32_t)(r - router->routes);
    router->stats.running--;
}

static void end_route(px_router *router, route *r, px_status status)
{
    void (*on_end)(void *, px_status) = r->on_end;
    void *arg = r->arg;
    if (!px_is_ok(status)) router->stats.failed++;
    give_route_back(router, r);
    on_end(arg, status);
}

static void end_routes_of(engine *e, px_status why)
{
    px_router *router = e->router;
    for (uint32_t i = 0; i < PX_ROUTES_MAX; i++)
        if (router->routes[i].id && router->routes[i].engine == e)
            end_route(router, &router->routes[i], why);
}

/* ------------------------------------------------------------------------------ what engines say
 */

static void send_cancel(engine *e, uint64_t id)
{
    Phalanx__V1__EngineCancel cancel = PHALANX__V1__ENGINE_CANCEL__INIT;
    cancel.id = id;
    Phalanx__V1__EngineRequest request = PHALANX__V1__ENGINE_REQUEST__INIT;
    request.kind_case = PHALANX__V1__ENGINE_REQUEST__KIND_CANCEL;
    request.cancel = &cancel;
    if (e->stream && !px_is_ok(px_rpc_stream_send(e->stream, &request.base)))
        e->lost_cancels = true;
}

static void take_output(engine *e, const Phalanx__V1__EngineOutput *output)
{
    px_router *router = e->router;
    route *r = find_route(router, output->id);
    if (!r) {
        if (e->lost_cancels) send_cancel(e, output->id);
        return;
    }
    if (!output->part || r->engine != e || !r->on_part) return;
    if (output->vector && r->on_vector) r->on_vector(r->arg, output->vector);
    const Phalanx__V1__Done *done = output->part->done;
    if (done) router->stats.output_tokens += done->output_tokens;
    r->on_part(r->arg, output->part); /* may cancel the route */
    if (done && (r = find_route(router, output->id))) end_route(router, r, px_ok());
}

static void take_failure(engine *e, const Phalanx__V1__EngineFailed *failed)
{
    route *r = find_route(e->router, failed->id);
    if (!r || r->engine != e) return;
    px_code code =
        failed->code > 0 && failed->code < PX_CODE_COUNT ? (px_code)failed->code : PX_INTERNAL;
    px_status status = px_fail(code, "%s", failed->message);
    status.retry_ms = failed->retry_ms;
    end_route(e->router, r, status);
}

static void take_tokens(engine *e, const Phalanx__V1__EngineTokenized *tokenized)
{
    route *r = find_route(e->router, tokenized->id);
    if (!r || r->engine != e || !r->on_tokens || !tokenized->response) return;
    r->on_tokens(r->arg, tokenized->response);
    if ((r = find_route(e->router, tokenized->id))) end_route(e->router, r, px_ok());
}

static void take_adapter_done(engine *e, const Phalanx__V1__EngineAdapterDone *done)
{
    route *r = find_route(e->router, done->id);
    if (r && r->engine == e) end_route(e->router, r, px_ok());
}

static void take_load(engine *e, const Phalanx__V1__EngineLoad *load)
{
    e->load.said = *load;
    e->load.said.model = NULL; /* the message goes */
    if (e->up || !load->model) return;
    e->up = true;
    e->router->on_engine_up(e->router->arg, e->model, e->generation, load->model);
}

static void on_event(void *arg, px_rpc_stream *stream, const ProtobufCMessage *message)
{
    engine *e = arg;
    const Phalanx__V1__EngineEvent *event = (const Phalanx__V1__EngineEvent *)message;
    if (e->detached) return;
    switch (event->kind_case) {
    case PHALANX__V1__ENGINE_EVENT__KIND_OUTPUTS:
        for (size_t i = 0; i < event->outputs->n_outputs && !e->detached; i++)
            take_output(e, event->outputs->outputs[i]);
        break;
    case PHALANX__V1__ENGINE_EVENT__KIND_FAILED: take_failure(e, event->failed); break;
    case PHALANX__V1__ENGINE_EVENT__KIND_TOKENIZED: take_tokens(e, event->tokenized); break;
    case PHALANX__V1__ENGINE_EVENT__KIND_ADAPTER_DONE:
        take_adapter_done(e, event->adapter_done);
        break;
    case PHALANX__V1__ENGINE_EVENT__KIND_LOAD: take_load(e, event->load); break;
    default: break;
    }
}

/* ------------------------------------------------------------------------------ streams to engines
 */

static void dial(void *arg);

static void engine_free(engine *e)
{
    px_rpc_channel_free(e->channel);
    free(e->model);
    free(e->secret);
    free(e);
}

static void on_stream_end(void *arg, px_rpc_stream *stream, px_status status)
{
    engine *e = arg;
    e->stream = NULL;
    if (e->detached) { /* out of the router's list already; the router itself may be gone */
        engine_free(e);
        return;
    }
    px_router *router = e->router;
    px_status why = px_fail(PX_UNAVAILABLE, "the connection to the engine of '%s' broke: %s",
        e->model, px_is_ok(status) ? "it closed the stream" : status.text);
    e->up = e->lost_cancels = false;
    e->redial = px_loop_after(router->loop, REDIAL_NS, dial, e);
    end_routes_of(e, why);
    router->on_engine_down(router->arg, e->model, e->generation, why);
}

static void dial(void *arg)
{
    engine *e = arg;
    e->redial = NULL;
    px_rpc_client_call call = {.path = "/phalanx.v1.Engine/Serve",
        .response = &phalanx__v1__engine_event__descriptor,
        .metadata_key = "phalanx-group-secret",
        .metadata_value = e->secret,
        .on_message = on_event,
        .on_done = on_stream_end,
        .arg = e};
    if (!px_is_ok(px_rpc_stream_open(e->channel, &call, &e->stream)))
        e->redial = px_loop_after(e->router->loop, REDIAL_NS, dial, e);
}

static engine *find_engine(const px_router *router, const char *model)
{
    for (engine *e = router->engines; e; e = e->next)
        if (strcmp(e->model, model) == 0) return e;
    return NULL;
}

void px_router_attach(px_router *router, const px_router_engine *options)
{
    px_router_detach(router, options->model,
        px_fail(PX_UNAVAILABLE, "'%s' has moved to another engine", options->model));
    engine *e = px_alloc(sizeof *e);
    *e = (engine){.router = router,
        .next = router->engines,
        .link = &router->engines,
        .model = px_strdup(options->model),
        .secret = px_strdup(options->secret),
        .generation = options->generation};
    if (e->next) e->next->link = &e->next;
    router->engines = e;
    px_status status = px_rpc_channel_create(router->rpc, options->address, &e->channel);
    if (px_is_ok(status)) e->redial = px_loop_after(router->loop, 0, dial, e);
    /* Else the agent named no address: the deployer's deadline for connecting ends the group. */
}

static void detach(engine *e, px_status why)
{
    *e->link = e->next;
    if (e->next) e->next->link = e->link;
    e->detached = true;
    px_loop_cancel(e->router->loop, e->redial);
    e->redial = NULL;
    end_routes_of(e, why);
    if (e->stream)
        px_rpc_stream_cancel(e->stream); /* freed in on_stream_end */
    else
        engine_free(e);
}

void px_router_detach(px_router *router, const char *model, px_status why)
{
    engine *e = find_engine(router, model);
    if (e) detach(e, why);
}

/* ------------------------------------------------------------------------------ requests */

static px_status send_request(engine *e, uint64_t id, const px_route_request *request)
{
    Phalanx__V1__EngineTokenize tokenize = PHALANX__V1__ENGINE_TOKENIZE__INIT;
    Phalanx__V1__EngineSubmit submit = PHALANX__V1__ENGINE_SUBMIT__INIT;
    Phalanx__V1__EngineRequest message = PHALANX__V1__ENGINE_REQUEST__INIT;
    if (request->tokenize) {
        tokenize.id = id;
        tokenize.request = (Phalanx__V1__TokenizeRequest *)request->tokenize;
        message.kind_case = PHALANX__V1__ENGINE_REQUEST__KIND_TOKENIZE;
        message.tokenize = &tokenize;
        return px_rpc_stream_send(e->stream, &message.base);
    }
    if (request->adapter) {
        Phalanx__V1__EngineAdapter adapter = *request->adapter;
        adapter.id = id;
        message.kind_case = PHALANX__V1__ENGINE_REQUEST__KIND_ADAPTER;
        message.adapter = &adapter;
        return px_rpc_stream_send(e->stream, &message.base);
    }
    submit.id = id;
    if (request->deadline_ns != INT64_MAX) {
        int64_t left_ns = request->deadline_ns - px_now_ns();
        submit.timeout_us = left_ns > 1000 ? (uint64_t)left_ns / 1000 : 1;
    }
    if (request->tenant) submit.tenant = (char *)request->tenant;
    submit.tenant_weight = request->tenant_weight;
    if (request->generate) {
        submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_GENERATE;
        submit.generate = (Phalanx__V1__GenerateRequest *)request->generate;
    } else if (request->embed) {
        submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_EMBED;
        submit.embed = (Phalanx__V1__EmbedRequest *)request->embed;
    } else if (request->score) {
        submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_SCORE;
        submit.score = (Phalanx__V1__ScoreRequest *)request->score;
    } else {
        submit.work_case = PHALANX__V1__ENGINE_SUBMIT__WORK_CHAT;
        submit.chat = (Phalanx__V1__ChatRequest *)request->chat;
    }
    message.kind_case = PHALANX__V1__ENGINE_REQUEST__KIND_SUBMIT;
    message.submit = &submit;
    return px_rpc_stream_send(e->stream, &message.base);
}

px_status px_router_submit(
    px_router *router, const char *model, const px_route_request *request, uint64_t *out_id)
{
    engine *e = find_engine(router, model);
    if (!e || !e->up)
        return px_fail(PX_UNAVAILABLE, "no engine serves '%s' at the moment: try again", model);
    route *r = take_route(router);
    if (!r)
        return px_fail(PX_RESOURCE_EXHAUSTED, "%d requests are in flight, the most there can be",
            PX_ROUTES_MAX);
    px_status status = send_request(e, r->id, request);
    if (!px_is_ok(status)) {
        give_route_back(router, r);
        return px_prefix(status, "the engine of '%s'", model);
    }
    r->engine = e;
    r->on_part = request->on_part;
    r->on_vector = request->on_vector;
    r->on_tokens = request->on_tokens;
    r->on_end = request->on_end;
    r->arg = request->arg;
    e->load.requests_total++;
    router->stats.total++;
    *out_id = r->id;
    return px_ok();
}

void px_router_cancel(px_router *router, uint64_t id)
{
    route *r = find_route(router, id);
    if (!r) return;
    engine *e = r->engine;
    give_route_back(router, r);
    send_cancel(e, id);
}

/* ------------------------------------------------------------------------------ the whole */

px_router *px_router_create(const px_router_options *options)
{
    px_router *router = px_alloc(sizeof *router);
    router->rpc = options->rpc;
    router->loop = options->loop;
    router->on_engine_up = options->on_engine_up;
    router->on_engine_down = options->on_engine_down;
    router->arg = options->arg;
    for (uint32_t i = 0; i < PX_ROUTES_MAX; i++) router->routes[i].next_free = i + 1;
    return router;
}

void px_router_free(px_router *router)
{
    if (!router) return;
    while (router->engines)
        detach(router->engines, px_fail(PX_UNAVAILABLE, "the control plane is stopping"));
    free(router);
}

bool px_router_load_of(const px_router *router, const char *model, px_router_load *out)
{
    const engine *e = find_engine(router, model);
    if (!e) return false;
    *out = e->load;
    return true;
}

px_router_stats px_router_stats_of(const px_router *router)
{
    return router->stats;
}
