/* router.h - from a model's name to the engine that serves it, and the answers back.
 *
 * One long-lived stream leads to rank 0 of each group; requests of many clients share it under ids
 * of ours. The table of requests is bounded. A lost stream ends its requests with UNAVAILABLE, and
 * is dialled again until the deployer detaches the engine. Owns:    channels, streams and the
 * request table; copies of nothing that passes through. Threads: the polling thread. Callbacks
 * never run from within submit or cancel.
 */
#ifndef PX_CONTROL_ROUTER_H
#define PX_CONTROL_ROUTER_H

#include "phalanx/v1/engine.pb-c.h"
#include "proto/rpc.h"

enum { PX_ROUTES_MAX = 8192 };

typedef struct px_router px_router;

typedef struct px_router_options {
    px_rpc *rpc;   /* borrowed */
    px_loop *loop; /* borrowed */
    /* The engine said for the first time what it serves. */
    void (*on_engine_up)(
        void *arg, const char *model, uint64_t generation, const Phalanx__V1__ModelInfo *info);
    /* Its stream broke after that, or could not be opened; the router goes on trying. */
    void (*on_engine_down)(void *arg, const char *model, uint64_t generation, px_status why);
    void *arg;
} px_router_options;

px_router *px_router_create(const px_router_options *options);
/* Detaches all. The rpc must still run, or be freed, before what `arg` points to goes. */
void px_router_free(px_router *router); /* NULL is fine */

typedef struct px_router_engine { /* strings are copied */
    const char *model;
    uint64_t generation;
    const char *address; /* host:port */
    const char *secret;  /* of the group */
} px_router_engine;
/* One engine a model: a second one replaces the first. */
void px_router_attach(px_router *router, const px_router_engine *engine);
/* Requests in flight end with `why`. An unknown model is fine. */
void px_router_detach(px_router *router, const char *model, px_status why);

typedef struct px_router_load {
    Phalanx__V1__EngineLoad said; /* by the engine, last; without its model */
    uint64_t requests_total;      /* sent to it by this router */
} px_router_load;
bool px_router_load_of(const px_router *router, const char *model, px_router_load *out);

typedef struct px_router_stats {
    uint32_t running;
    uint64_t total, failed, output_tokens;
} px_router_stats;
px_router_stats px_router_stats_of(const px_router *router);

typedef struct px_route_request { /* one of the six, borrowed for the call */
    const Phalanx__V1__GenerateRequest *generate;
    const Phalanx__V1__ChatRequest *chat;
    const Phalanx__V1__TokenizeRequest *tokenize;
    const Phalanx__V1__EmbedRequest *embed;
    const Phalanx__V1__ScoreRequest *score;
    const Phalanx__V1__EngineAdapter *adapter; /* its id is ours to give */
    int64_t deadline_ns;                       /* px_now_ns() scale; INT64_MAX: none */
    const char *tenant;                        /* NULL: of nobody in particular */
    double tenant_weight;                      /* 0: 1 */
    void (*on_part)(void *arg, const Phalanx__V1__GenerateResponse *part);
    void (*on_vector)(void *arg, const Phalanx__V1__EngineVector *vector); /* of embed and score */
    void (*on_tokens)(void *arg, const Phalanx__V1__TokenizeResponse *tokens);
    void (*on_end)(void *arg, px_status status); /* once, last, unless cancelled by us */
    void *arg;
} px_route_request;

/* *out_id (never 0) is valid until on_end or cancel. UNAVAILABLE: no connected engine serves the
 * model; RESOURCE_EXHAUSTED: the table or the stream to the engine is full. */
px_status px_router_submit(px_router *router, const char *model, const px_route_request *request,
    uint64_t *out_id) PX_MUST_USE;
/* The engine is told at once; no callback follows. An id that is gone is fine. */
void px_router_cancel(px_router *router, uint64_t id);

#endif
