#include "control/front/admin.h"

#include <stdlib.h>
#include <string.h>

#include "control/front/admin_adapters.h"
#include "control/front/admin_messages.h"

enum { RESPONSE_BYTES_MAX = 8 << 20, EVENTS_DEFAULT = 100 };

typedef enum wait_kind { WAIT_DEPLOY, WAIT_UNDEPLOY, WAIT_EVENTS } wait_kind;

typedef struct px_admin_wait { /* the user pointer of a call that outlives its request */
    px_admin *admin;
    struct px_admin_wait *next, **link;
    wait_kind kind;
    px_rpc_call *call;
    char name[PX_NAME_BYTES]; /* DEPLOY, UNDEPLOY */
    uint64_t next_event;      /* EVENTS */
    bool finished;
} wait;

static wait *wait_add(px_admin *admin, px_rpc_call *call, wait_kind kind)
{
    wait *w = px_alloc(sizeof *w);
    *w = (wait){
        .admin = admin, .next = admin->waits, .link = &admin->waits, .kind = kind, .call = call};
    if (w->next) w->next->link = &w->next;
    admin->waits = w;
    px_rpc_call_set_user(call, w);
    return w;
}

static void wait_finish(wait *w, px_status status)
{
    if (w->finished) return;
    w->finished = true;
    px_rpc_call_finish(w->call, status);
}

static void on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    wait *w = px_rpc_call_user(call);
    if (!w) return;
    if (w->kind == WAIT_EVENTS && w->admin->events) px_events_unfollow(w->admin->events, w);
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    free(w);
}

void px_admin_end_waits(px_admin *admin, px_status why)
{
    px_admin_adapters_end(admin, why);
    for (wait *w = admin->waits; w; w = w->next) {
        if (w->kind == WAIT_EVENTS && admin->events) px_events_unfollow(admin->events, w);
        wait_finish(w, why);
    }
}

/* A unary answer, built in `arena`; NULL: it did not fit. */
static void answer(px_rpc_call *call, px_arena *arena, const ProtobufCMessage *message)
{
    px_status status = message ? px_rpc_call_send(call, message)
                               : px_fail(PX_RESOURCE_EXHAUSTED, "the answer is too large");
    px_rpc_call_finish(call, status);
    px_arena_done(arena);
}

static bool is_acting(const px_admin *admin, px_rpc_call *call)
{
    if (admin->deployer) return true;
    px_rpc_call_finish(call, admin->refusal);
    return false;
}

/* ------------------------------------------------------------------------------ looking */

static void on_status(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const px_admin *admin = service;
    px_router_stats stats = px_router_stats_of(admin->router);
    Phalanx__V1__StatusResponse response = PHALANX__V1__STATUS_RESPONSE__INIT;
    response.version = PX_VERSION;
    response.leader = (char *)(admin->leader ? px_leader_address(admin->leader) : "");
    response.etcd = (char *)admin->etcd;
    response.uptime_s = (uint64_t)((px_now_ns() - admin->started_ns) / PX_SEC);
    response.nodes = admin->agents->count;
    response.requests_running = stats.running;
    response.requests_total = stats.total;
    response.requests_failed = stats.failed;
    response.output_tokens_total = stats.output_tokens;
    if (admin->deployer) {
        response.deployments = px_deployer_count(admin->deployer);
        for (uint32_t i = 0; i < response.deployments; i++)
            response.deployments_ready +=
                px_deployer_at(admin->deployer, i)->state == PX_DEPLOY_READY;
    }
    px_rpc_call_finish(call, px_rpc_call_send(call, &response.base));
}

static void on_list_nodes(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const px_admin *admin = service;
    if (!is_acting(admin, call)) return;
    px_arena arena;
    px_arena_init(&arena, RESPONSE_BYTES_MAX);
    Phalanx__V1__ListNodesResponse *response =
        px_admin_nodes(&arena, admin->agents, admin->deployer, px_now_ns());
    answer(call, &arena, response ? &response->base : NULL);
}

static void on_list_deployments(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const px_admin *admin = service;
    if (!is_acting(admin, call)) return;
    px_arena arena;
    px_arena_init(&arena, RESPONSE_BYTES_MAX);
    Phalanx__V1__ListDeploymentsResponse *response =
        px_admin_deployments(&arena, admin->deployer, admin->router);
    answer(call, &arena, response ? &response->base : NULL);
}

/* ------------------------------------------------------------------------------ deploying */

static void send_progress(wait *w, const px_deployment *d)
{
    px_arena arena;
    px_arena_init(&arena, RESPONSE_BYTES_MAX);
    Phalanx__V1__DeployProgress progress = PHALANX__V1__DEPLOY_PROGRESS__INIT;
    progress.deployment = px_admin_deployment(&arena, d, w->admin->router);
    /* A client that does not read misses steps, never the end: that is the call's status. */
    px_ignore(px_rpc_call_send(w->call, &progress.base));
    px_arena_done(&arena);
}

static void tell_deploy(wait *w, const px_deployment *d)
{
    if (w->finished) return;
    send_progress(w, d);
    if (d->removed || d->state == PX_DEPLOY_STOPPING)
        wait_finish(w, px_fail(PX_ABORTED, "'%s' was undeployed meanwhile", d->spec.name));
    else if (d->state == PX_DEPLOY_READY)
        wait_finish(w, px_ok());
    else if (d->state == PX_DEPLOY_FAILED)
        wait_finish(w, px_fail(PX_FAILED_PRECONDITION, "%s", d->message));
}

void px_admin_deployment_changed(px_admin *admin, const px_deployment *d)
{
    px_admin_adapters_changed(admin, d);
    for (wait *w = admin->waits; w; w = w->next) {
        if (w->kind == WAIT_EVENTS || strcmp(w->name, d->spec.name) != 0) continue;
        if (w->kind == WAIT_DEPLOY) {
            tell_deploy(w, d);
        } else if (d->removed && !w->finished) {
            Phalanx__V1__UndeployResponse response = PHALANX__V1__UNDEPLOY_RESPONSE__INIT;
            wait_finish(w, px_rpc_call_send(w->call, &response.base));
        }
    }
}

static void on_deploy(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    px_admin *admin = service;
    const Phalanx__V1__DeployRequest *request = (const Phalanx__V1__DeployRequest *)message;
    if (!is_acting(admin, call)) return;
    px_spec spec;
    const px_deployment *d;
    px_status status = px_admin_spec(request, &spec);
    if (px_is_ok(status))
        status = px_deployer_deploy(admin->deployer, &spec, request->detach, px_now_ns(), &d);
    if (!px_is_ok(status)) {
        px_rpc_call_finish(call, status);
        return;
    }
    wait *w = wait_add(admin, call, WAIT_DEPLOY);
    px_name_copy(w->name, spec.name);
    tell_deploy(w, d);
    if (request->detach) wait_finish(w, px_ok());
}

static void on_undeploy(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    px_admin *admin = service;
    const Phalanx__V1__UndeployRequest *request = (const Phalanx__V1__UndeployRequest *)message;
    if (!is_acting(admin, call)) return;
    px_status status = px_deployer_undeploy(admin->deployer, request->name, px_now_ns());
    if (!px_is_ok(status)) {
        px_rpc_call_finish(call, status);
        return;
    }
    wait *w = wait_add(admin, call, WAIT_UNDEPLOY);
    px_name_copy(w->name, request->name);
}

/* ------------------------------------------------------------------------------ events */

static void send_events(void *arg)
{
    wait *w = arg;
    const px_events *events = w->admin->events;
    uint64_t newest = px_events_newest(events);
    /* Whoever fell behind by more than the log keeps goes on with the oldest that is left. */
    if (newest > PX_EVENTS_MAX && w->next_event + PX_EVENTS_MAX <= newest)
        w->next_event = newest - PX_EVENTS_MAX + 1;
    for (; w->next_event <= newest && !w->finished; w->next_event++) {
        const px_event *e = px_events_get(events, w->next_event);
        if (!e) continue;
        Phalanx__V1__Event event = PHALANX__V1__EVENT__INIT;
        event.sequence = e->sequence;
        event.wall_ms = e->wall_ms;
        event.kind = (char *)e->kind;
        event.subject = (char *)e->subject;
        event.message = (char *)e->message;
        if (!px_is_ok(px_rpc_call_send(w->call, &event.base))) return; /* on_writable goes on */
    }
}

static void on_events(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    px_admin *admin = service;
    const Phalanx__V1__EventsRequest *request = (const Phalanx__V1__EventsRequest *)message;
    if (!is_acting(admin, call)) return;
    uint64_t last = request->last ? request->last : EVENTS_DEFAULT;
    uint64_t newest = px_events_newest(admin->events);
    wait *w = wait_add(admin, call, WAIT_EVENTS);
    w->next_event = newest > last ? newest - last + 1 : 1;
    px_status status = px_ok();
    if (request->follow) status = px_events_follow(admin->events, send_events, w);
    if (px_is_ok(status)) send_events(w);
    if (!request->follow || !px_is_ok(status)) wait_finish(w, status);
}

static void on_writable(void *service, px_rpc_call *call)
{
    wait *w = px_rpc_call_user(call);
    if (w && w->kind == WAIT_EVENTS && !w->finished) send_events(w);
}

const px_rpc_method px_admin_methods[] = {
    {.path = "/phalanx.v1.Admin/Status",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__status_request__descriptor,
        .on_message = on_status},
    {.path = "/phalanx.v1.Admin/ListNodes",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__list_nodes_request__descriptor,
        .on_message = on_list_nodes},
    {.path = "/phalanx.v1.Admin/ListDeployments",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__list_deployments_request__descriptor,
        .on_message = on_list_deployments},
    {.path = "/phalanx.v1.Admin/Deploy",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &phalanx__v1__deploy_request__descriptor,
        .on_message = on_deploy,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Admin/Undeploy",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__undeploy_request__descriptor,
        .on_message = on_undeploy,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Admin/Events",
        .kind = PX_RPC_SERVER_STREAM,
        .request = &phalanx__v1__events_request__descriptor,
        .on_message = on_events,
        .on_closed = on_closed,
        .on_writable = on_writable},
    {0},
};
