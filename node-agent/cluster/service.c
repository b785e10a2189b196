/* service.c - see service.h. */
#include "cluster/service.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "cluster/outbox.h"
#include "cluster/submission.h"

enum {
    STREAMS_MAX = 64,
    LOAD_MS = 250,
    TOKENIZE_BYTES_MAX = 1024 * 1024,
    SEND_QUEUE_MIB = 8,
    ADAPTER_JOBS_MAX = 64
};

typedef Phalanx__V1__EngineEvent msg_event;
typedef Phalanx__V1__EngineRequest msg_request;

typedef struct stream {
    px_service *service;
    px_rpc_call *call;
    px_outbox outbox;
    struct stream *prev, *next;
} stream;

/* An adapter being loaded or unloaded. */
typedef struct adapter_job {
    uint64_t engine_id; /* 0: none */
    stream *stream;     /* who asked; NULL: gone */
    uint64_t id;        /* as it called it */
} adapter_job;

struct px_service {
    px_service_options options;
    px_rpc_server *server;
    stream *first;
    unsigned stream_count;
    px_idmap answers; /* running, by the engine's id */
    adapter_job jobs[ADAPTER_JOBS_MAX];
    px_engine_stats told; /* what the last EngineLoad said */
};

/* ---------------------------------------------------------------------------------- load */

/* Those that requests can name; `out` has room for PX_ADAPTERS_MAX. */
static size_t list_adapters(const px_engine *engine, char **out)
{
    size_t count = 0;
    px_adapter_info info;
    for (uint32_t i = 0; px_engine_adapter_at(engine, i, &info); i++)
        if (info.is_ready) out[count++] = (char *)info.name;
    return count;
}

static void send_load(stream *s, const px_engine_stats *stats)
{
    const px_model_info *info = px_engine_model(s->service->options.engine);
    Phalanx__V1__ModelInfo model = PHALANX__V1__MODEL_INFO__INIT;
    model.name = (char *)s->service->options.model_name;
    model.architecture = (char *)info->arch;
    model.context = info->context;
    model.vocabulary = info->vocabulary;
    model.parameters = info->parameters;
    model.ready = true;
    char *adapters[PX_ADAPTERS_MAX];
    model.adapters = adapters;
    model.n_adapters = list_adapters(s->service->options.engine, adapters);
    Phalanx__V1__EngineLoad load = PHALANX__V1__ENGINE_LOAD__INIT;
    load.running = stats->running;
    load.waiting = stats->waiting;
    load.kv_blocks = stats->kv_blocks;
    load.kv_blocks_free = stats->kv_blocks_free;
    load.steps = stats->steps;
    load.kv_blocks_parked = stats->kv_blocks_parked;
    load.prompt_tokens = stats->prompt_tokens;
    load.output_tokens = stats->output_tokens;
    load.prefix_queries = stats->prefix_queries;
    load.prefix_hits = stats->prefix_hits;
    load.preemptions = stats->preemptions;
    load.recomputed_tokens = stats->recomputed_tokens;
    load.refused = stats->refused;
    load.proposed_tokens = stats->proposed;
    load.accepted_tokens = stats->accepted;
    load.model = &model;
    msg_event event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_LOAD;
    event.load = &load;
    px_ignore(
        px_rpc_call_send(s->call, &event.base)); /* a full stream misses one; the next is newer */
}

static void on_load_tick(void *arg)
{
    px_service *service = arg;
    px_engine_stats now;
    if (!service->first) return;
    px_engine_get_stats(service->options.engine, &now);
    const px_engine_stats *told = &service->told;
    if (now.steps == told->steps && now.running == told->running && now.waiting == told->waiting &&
        now.kv_blocks_free == told->kv_blocks_free)
        return;
    service->told = now;
    for (stream *s = service->first; s; s = s->next) send_load(s, &now);
}

/* ------------------------------------------------------------------------------- answers */

/* A router's request that is no answer in progress fails as one would. */
static px_status fail_request(stream *s, uint64_t id, px_status why)
{
    px_answer *answer;
    PX_TRY(px_outbox_open(&s->outbox, id, &answer));
    px_answer_fail(answer, why);
    px_outbox_flush(&s->outbox);
    return px_ok();
}

/* ------------------------------------------------------------------------------ adapters */

static adapter_job *find_job(px_service *service, uint64_t engine_id)
{
    for (int i = 0; i < ADAPTER_JOBS_MAX; i++)
        if (service->jobs[i].engine_id == engine_id) return &service->jobs[i];
    return NULL;
}

static px_status change_adapter(stream *s, const Phalanx__V1__EngineAdapter *ask)
{
    px_engine *engine = s->service->options.engine;
    px_slice name = {ask->name, strlen(ask->name)}, path = {ask->path, strlen(ask->path)};
    adapter_job *job = find_job(s->service, 0);
    uint64_t engine_id;
    if (!job)
        return px_fail(PX_RESOURCE_EXHAUSTED, "%d adapters are coming or going", ADAPTER_JOBS_MAX);
    if (path.length)
        PX_TRY(px_engine_load_adapter(engine, name, path, &engine_id));
    else
        PX_TRY(px_engine_unload_adapter(engine, name, &engine_id));
    *job = (adapter_job){.engine_id = engine_id, .stream = s, .id = ask->id};
    return px_ok();
}

static void end_adapter_job(px_service *service, const px_event *event)
{
    adapter_job *job = find_job(service, event->id);
    if (!job) return;
    stream *s = job->stream;
    uint64_t id = job->id;
    *job = (adapter_job){.engine_id = 0};
    if (!s) return;
    if (!px_is_ok(event->status)) {
        px_ignore(fail_request(s, id, event->status));
        return;
    }
    Phalanx__V1__EngineAdapterDone done = PHALANX__V1__ENGINE_ADAPTER_DONE__INIT;
    done.id = id;
    msg_event message = PHALANX__V1__ENGINE_EVENT__INIT;
    message.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_ADAPTER_DONE;
    message.adapter_done = &done;
    /* A router that cannot be told must not wait for ever: it loses its stream. */
    px_status status = px_rpc_call_send(s->call, &message.base);
    if (!px_is_ok(status)) px_rpc_call_finish(s->call, status);
}

/* ------------------------------------------------------------------------------ events */

/* The engine has events: hand each to its answer, then send what all of them say. */
static void on_wake(void *arg)
{
    px_service *service = arg;
    px_event event;
    while (px_engine_poll(service->options.engine, &event)) {
        if (event.kind == PX_EVENT_ADAPTER) {
            end_adapter_job(service, &event);
            continue;
        }
        px_answer *answer = px_idmap_get(&service->answers, event.id);
        if (!answer) continue;
        if (!px_answer_add(answer, &event)) px_engine_cancel(service->options.engine, event.id);
        if (event.kind != PX_EVENT_DONE) continue;
        px_idmap_remove(&service->answers, event.id);
        answer->running = false;
        if (!answer->box) px_answer_free(answer);
    }
    for (stream *s = service->first; s; s = s->next) px_outbox_flush(&s->outbox);
}

static px_status send_event(void *arg, const msg_event *event)
{
    return px_rpc_call_send(((stream *)arg)->call, &event->base);
}

/* The stream went: the engine need not go on. The answer is freed at the engine's last word. */
static void orphan(void *arg, px_answer *answer)
{
    px_engine_cancel(((px_service *)arg)->options.engine, answer->engine_id);
}

static px_status submit(stream *s, const Phalanx__V1__EngineSubmit *work, px_answer *answer)
{
    px_service *service = s->service;
    px_submission_context context = {.now_ns = px_now_ns()};
    if (getrandom(&context.fresh_seed, sizeof context.fresh_seed, 0) !=
        (ssize_t)sizeof context.fresh_seed)
        return px_fail(PX_INTERNAL, "the kernel gives no random numbers");
    px_submission submission;
    PX_TRY(px_submission_make(work, &context, &submission));
    px_status status =
        px_engine_submit(service->options.engine, &submission.request, &answer->engine_id);
    px_submission_done(&submission);
    PX_TRY(status);
    if (!px_idmap_put(&service->answers, answer->engine_id, answer)) {
        px_engine_cancel(service->options.engine, answer->engine_id);
        return px_fail(
            PX_RESOURCE_EXHAUSTED, "more than %d requests are running", PX_OUTBOX_ANSWERS_MAX);
    }
    answer->running = true;
    return px_ok();
}

static px_status tokenize(stream *s, const Phalanx__V1__EngineTokenize *ask)
{
    if (!ask->request) return px_fail(PX_INVALID_ARGUMENT, "the request is missing");
    const ProtobufCBinaryData *text = &ask->request->text;
    if (text->len > TOKENIZE_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT,
            "the text has %zu bytes; at most %d are tokenized at once", text->len,
            TOKENIZE_BYTES_MAX);
    px_slice slice = {.data = text->data ? (const char *)text->data : "", .length = text->len};
    Phalanx__V1__TokenizeResponse response = PHALANX__V1__TOKENIZE_RESPONSE__INIT;
    PX_TRY(px_engine_tokenize(s->service->options.engine, slice, ask->request->add_special,
        &response.ids, &response.n_ids));
    Phalanx__V1__EngineTokenized tokenized = PHALANX__V1__ENGINE_TOKENIZED__INIT;
    tokenized.id = ask->id;
    tokenized.response = &response;
    msg_event event = PHALANX__V1__ENGINE_EVENT__INIT;
    event.kind_case = PHALANX__V1__ENGINE_EVENT__KIND_TOKENIZED;
    event.tokenized = &tokenized;
    px_status status = px_rpc_call_send(s->call, &event.base);
    free(response.ids);
    return status;
}

/* -------------------------------------------------------------------------------- stream */

/* A router that breaks the protocol loses its stream; other streams go on. */
static void refuse(stream *s, px_status why)
{
    px_rpc_call_finish(s->call, why);
}

static void on_message(void *unused, px_rpc_call *call, const ProtobufCMessage *message)
{
    const msg_request *request = (const msg_request *)message;
    stream *s = px_rpc_call_user(call);
    px_answer *answer = NULL;
    px_status status;
    if (!s) return; /* refused in on_open */
    switch (request->kind_case) {
    case PHALANX__V1__ENGINE_REQUEST__KIND_SUBMIT:
        status = px_outbox_open(&s->outbox, request->submit->id, &answer);
        if (!px_is_ok(status)) return refuse(s, status);
        status = submit(s, request->submit, answer);
        break;
    case PHALANX__V1__ENGINE_REQUEST__KIND_TOKENIZE:
        status = tokenize(s, request->tokenize);
        if (px_is_ok(status)) return;
        status = fail_request(s, request->tokenize->id, status);
        if (!px_is_ok(status)) refuse(s, status);
        return;
    case PHALANX__V1__ENGINE_REQUEST__KIND_ADAPTER:
        status = change_adapter(s, request->adapter);
        if (px_is_ok(status)) return;
        status = fail_request(s, request->adapter->id, status);
        if (!px_is_ok(status)) refuse(s, status);
        return;
    case PHALANX__V1__ENGINE_REQUEST__KIND_CANCEL:
        answer = px_outbox_find(&s->outbox, request->cancel->id);
        if (answer && answer->running)
            px_engine_cancel(s->service->options.engine, answer->engine_id);
        return; /* it may have ended by itself just now */
    default: return refuse(s, px_fail(PX_INVALID_ARGUMENT, "a message of an unknown kind"));
    }
    if (!px_is_ok(status)) px_answer_fail(answer, status);
    px_outbox_flush(&s->outbox);
}

/* The time it takes does not depend on how much of the guess is right. */
static bool secret_matches(const char *secret, const char *shown)
{
    size_t length = strlen(secret);
    if (!shown || strlen(shown) != length) return false;
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < length; i++) difference |= (unsigned char)(secret[i] ^ shown[i]);
    return difference == 0;
}

static void on_open(void *arg, px_rpc_call *call)
{
    px_service *service = arg;
    if (!secret_matches(
            service->options.secret, px_rpc_call_metadata(call, "phalanx-group-secret")))
        return px_rpc_call_finish(call,
            px_fail(PX_UNAUTHENTICATED, "phalanx-group-secret is missing or is not this group's"));
    if (service->stream_count == STREAMS_MAX)
        return px_rpc_call_finish(
            call, px_fail(PX_RESOURCE_EXHAUSTED, "%d routers are connected already", STREAMS_MAX));
    stream *s = px_alloc(sizeof *s);
    *s = (stream){.service = service, .call = call, .next = service->first};
    px_outbox_init(&s->outbox, send_event, s);
    if (s->next) s->next->prev = s;
    service->first = s;
    service->stream_count++;
    px_rpc_call_set_user(call, s);
    px_engine_stats stats;
    px_engine_get_stats(service->options.engine, &stats);
    send_load(s, &stats);
}

static void on_closed(void *arg, px_rpc_call *call, bool cancelled)
{
    px_service *service = arg;
    stream *s = px_rpc_call_user(call);
    if (!s) return;
    if (s->prev)
        s->prev->next = s->next;
    else
        service->first = s->next;
    if (s->next) s->next->prev = s->prev;
    service->stream_count--;
    for (int i = 0; i < ADAPTER_JOBS_MAX; i++)
        if (service->jobs[i].stream == s) service->jobs[i].stream = NULL;
    px_outbox_done(&s->outbox, orphan, service);
    free(s);
}

static void on_writable(void *unused, px_rpc_call *call)
{
    stream *s = px_rpc_call_user(call);
    if (s) px_outbox_flush(&s->outbox);
}

static const px_rpc_method methods[] = {{.path = "/phalanx.v1.Engine/Serve",
                                            .kind = PX_RPC_BIDI,
                                            .request = &phalanx__v1__engine_request__descriptor,
                                            .on_open = on_open,
                                            .on_message = on_message,
                                            .on_closed = on_closed,
                                            .on_writable = on_writable},
    {0}};

/* ---------------------------------------------------------------------------------- life */

void px_service_endpoint(const char *address, int port, px_buf *out)
{
    px_buf_printf(out, strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, port);
}

px_status px_service_start(const px_service_options *options, px_service **out)
{
    px_service *service = px_alloc(sizeof *service);
    *service = (px_service){.options = *options};
    px_idmap_init(&service->answers, PX_OUTBOX_ANSWERS_MAX);
    px_buf listen;
    px_buf_init(&listen, 512);
    px_service_endpoint(options->address, 0, &listen);
    px_rpc_server_options server = {
        .listen = px_buf_text(&listen), .send_queue_bytes = SEND_QUEUE_MIB << 20};
    px_status status = px_rpc_server_create(options->rpc, &server, &service->server);
    if (px_is_ok(status)) {
        px_rpc_server_add(service->server, methods, service);
        px_rpc_server_add_health(service->server);
        px_rpc_on_wake(options->rpc, on_wake, service);
        px_loop_every(options->loop, LOAD_MS * PX_MS, on_load_tick, service);
        status = px_rpc_server_start(service->server);
    }
    px_buf_done(&listen);
    if (px_is_ok(status)) *out = service;
    return status; /* on failure the process ends: what was made goes with it */
}

int px_service_port(const px_service *service)
{
    return px_rpc_server_port(service->server);
}
