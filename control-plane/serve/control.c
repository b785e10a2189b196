#include "control/serve/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/front/admin_adapters.h"
#include "control/front/inference.h"
#include "control/serve/acting.h"
#include "etcd/keys.h"
#include "etcd/private.h"

enum { SOLE_TTL_S = 30 }; /* nobody waits to take over: a disk that stalls need not depose us */
#define TICK_NS       (50 * PX_MS)
#define READ_RETRY_NS (1 * PX_SEC)
#define GOODBYE_NS    (1 * PX_SEC) /* for giving the leader's key back */
#define INFERENCE     "phalanx.v1.Inference"
#define ADMIN         "phalanx.v1.Admin"
#define CLUSTER       "phalanx.v1.Cluster"

struct px_control {
    px_loop *loop;
    px_rpc *rpc;
    px_rpc_server *server;
    char address[256];
    px_etcd_private *private_etcd; /* NULL: the operator's */
    px_etcd *etcd;                 /* NULL: not healthy yet */
    px_leader *leader;
    px_registry *registry;
    px_router *router;
    px_agents agents;
    px_acting *acting; /* NULL: starting or standing by */
    px_tenants *tenants;
    px_inference inference;
    px_admin admin;
    px_loop_timer *tick, *later; /* later: the next step of starting or stopping */
    bool stopping;
    px_status outcome; /* for on_end */
    int64_t drain_ns, goodbye_by_ns;
    void (*on_end)(void *arg, px_status status);
    void *arg;
};

/* ------------------------------------------------------------------------------ acting or not */

static void refuse(px_control *control, px_status why)
{
    control->inference.deployer = NULL;
    control->admin.deployer = NULL;
    control->inference.refusal = control->admin.refusal = why;
    px_registry_close(control->registry, why);
    px_rpc_server_set_health(control->server, "", false);
    px_rpc_server_set_health(control->server, INFERENCE, false);
    px_rpc_server_set_health(control->server, CLUSTER, false);
}

static void stop_acting(px_control *control, px_status why)
{
    if (control->acting) px_admin_end_waits(&control->admin, why);
    for (uint32_t i = 0; control->acting && i < px_deployer_count(control->admin.deployer); i++)
        px_rpc_server_set_health(
            control->server, px_deployer_at(control->admin.deployer, i)->spec.name, false);
    refuse(control, why);
    control->admin.events = NULL;
    px_acting_free(control->acting);
    control->acting = NULL;
}

static void on_deployment_changed(void *arg, const px_deployment *d)
{
    px_control *control = arg;
    bool serving = d->state == PX_DEPLOY_READY && !d->removed;
    px_rpc_server_set_health(control->server, d->spec.name, serving);
    px_admin_deployment_changed(&control->admin, d);
}

static void read_state(void *arg);

static void on_state_read(void *arg, px_status status, const px_etcd_result *result)
{
    px_control *control = arg;
    if (!px_leader_is_elected(control->leader) || control->acting || control->stopping) return;
    if (!px_is_ok(status)) {
        px_log(PX_WARN, "etcd.read_failed", PX_S("message", status.text));
        px_loop_cancel(control->loop, control->later);
        control->later = px_loop_after(control->loop, READ_RETRY_NS, read_state, control);
        return;
    }
    px_acting_options options = {.loop = control->loop,
        .etcd = control->etcd,
        .leader = control->leader,
        .agents = &control->agents,
        .router = control->router,
        .on_changed = on_deployment_changed,
        .arg = control};
    control->acting = px_acting_create(&options, result->kvs, result->count);
    control->admin.events = px_acting_events(control->acting);
    control->inference.deployer = control->admin.deployer = px_acting_deployer(control->acting);
    px_registry_open(control->registry);
    px_rpc_server_set_health(control->server, "", true);
    px_rpc_server_set_health(control->server, INFERENCE, true);
    px_rpc_server_set_health(control->server, CLUSTER, true);
    px_log(PX_INFO, "control.leading", PX_S("address", control->address),
        PX_U("deployments", px_deployer_count(control->admin.deployer)));
}

static void read_state(void *arg)
{
    px_control *control = arg;
    control->later = NULL;
    px_etcd_range(control->etcd,
        &(px_etcd_op){.kind = PX_ETCD_RANGE, .key = PX_KEY_ROOT, .prefix = true}, on_state_read,
        control);
}

static void on_elected(void *arg)
{
    read_state(arg);
}

static void on_deposed(void *arg, px_status why)
{
    px_control *control = arg;
    px_log(PX_WARN, "control.deposed", PX_S("message", why.text));
    stop_acting(control, px_fail(PX_UNAVAILABLE, "this control plane stands by: %s", why.text));
}

/* What a standby says names the leader as soon as it is known. */
static void on_following(void *arg, const char *leader)
{
    px_control *control = arg;
    if (control->stopping) return;
    px_log(PX_INFO, "control.standby", PX_S("leader", leader));
    refuse(control, px_fail(PX_UNAVAILABLE,
                        "this control plane stands by; the one that acts is at %s", leader));
}

/* ------------------------------------------------------------------------------ etcd */

static void stop(px_control *control, px_status outcome, int64_t grace_ns);

static void campaign(px_control *control)
{
    bool is_sole = control->private_etcd != NULL;
    px_leader_options options = {.address = control->address,
        .sole = is_sole,
        .ttl_s = is_sole ? SOLE_TTL_S : 0,
        .on_elected = on_elected,
        .on_deposed = on_deposed,
        .on_following = on_following,
        .arg = control};
    control->leader = px_leader_create(control->loop, control->etcd, &options);
    control->admin.leader = control->leader;
}

/* An etcd that is not there is said at once and plainly; one that goes away later is waited for. */
static void on_first_answer(void *arg, px_status status, const px_etcd_result *result)
{
    px_control *control = arg;
    if (px_is_ok(status))
        campaign(control);
    else
        stop(control, px_prefix(status, "no etcd answers"), 0);
}

static px_status connect_etcd(px_control *control, const char *endpoints)
{
    PX_TRY(
        px_etcd_create(control->loop, &(px_etcd_options){.endpoints = endpoints}, &control->etcd));
    px_etcd_range(control->etcd, &(px_etcd_op){.kind = PX_ETCD_RANGE, .key = PX_KEY_LEADER},
        on_first_answer, control);
    return px_ok();
}

static void on_private_ready(void *arg, px_status status, const char *url)
{
    px_control *control = arg;
    snprintf(control->admin.etcd, sizeof control->admin.etcd, "private, %s", url);
    if (px_is_ok(status)) status = connect_etcd(control, url);
    if (!px_is_ok(status)) stop(control, status, 0);
}

static void on_private_lost(void *arg, px_status status)
{
    stop(arg, status, 0);
}

static px_status start_etcd(px_control *control, const px_control_options *options)
{
    if (options->etcd) {
        snprintf(control->admin.etcd, sizeof control->admin.etcd, "%s", options->etcd);
        return connect_etcd(control, options->etcd);
    }
    px_etcd_private_options private_options = {.data_dir = options->data_dir,
        .on_ready = on_private_ready,
        .on_lost = on_private_lost,
        .arg = control};
    return px_etcd_private_start(control->loop, &private_options, &control->private_etcd);
}

/* ------------------------------------------------------------------------------ agents, engines */

static void on_joined(void *arg, px_agent *agent, const Phalanx__V1__Register *hello, bool is_back)
{
    px_acting_agent_joined(((px_control *)arg)->acting, agent, hello, is_back);
}

static void on_message(void *arg, px_agent *agent, const Phalanx__V1__AgentMessage *message)
{
    px_acting_agent_message(((px_control *)arg)->acting, agent, message);
}

static void on_lost(void *arg, px_agent *agent, const char *why)
{
    px_acting_agent_lost(((px_control *)arg)->acting, agent, why);
}

static void on_engine_up(
    void *arg, const char *model, uint64_t generation, const Phalanx__V1__ModelInfo *info)
{
    px_control *control = arg;
    if (control->acting)
        px_deployer_engine_up(control->admin.deployer, model, generation, info, px_now_ns());
}

static void on_engine_down(void *arg, const char *model, uint64_t generation, px_status why)
{
    px_control *control = arg;
    if (control->acting)
        px_deployer_engine_down(control->admin.deployer, model, generation, why, px_now_ns());
}

static void on_tick(void *arg)
{
    px_control *control = arg;
    int64_t now_ns = px_now_ns();
    if (!control->acting) return;
    px_registry_tick(control->registry, now_ns);
    px_acting_tick(control->acting, now_ns);
}

/* ------------------------------------------------------------------------------ start */

/* What others call us: the host listened on, or this machine's name when that is all of them. */
static void name_address(px_control *control, const char *listen)
{
    char host[sizeof control->address - 8];
    snprintf(host, sizeof host, "%.*s", (int)(strrchr(listen, ':') - listen), listen);
    bool is_any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0 || !host[0];
    if (is_any && gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "?");
    host[sizeof host - 1] = '\0';
    snprintf(control->address, sizeof control->address, "%s:%d", host,
        px_rpc_server_port(control->server));
}

static px_status start_server(px_control *control, const char *listen)
{
    px_rpc_server_options options = {.listen = listen};
    PX_TRY(px_rpc_server_create(control->rpc, &options, &control->server));
    px_rpc_server_add(control->server, px_inference_methods, &control->inference);
    px_rpc_server_add(control->server, px_admin_methods, &control->admin);
    px_rpc_server_add(control->server, px_admin_adapter_methods, &control->admin);
    px_rpc_server_add(control->server, px_registry_methods, control->registry);
    px_rpc_server_add_health(control->server);
    px_rpc_server_add_reflection(control->server);
    PX_TRY(px_rpc_server_start(control->server));
    name_address(control, listen);
    px_rpc_server_set_health(control->server, ADMIN, true);
    refuse(
        control, px_fail(PX_UNAVAILABLE, "this control plane is starting: try again in a moment"));
    return px_ok();
}

px_status px_control_create(const px_control_options *options, px_control **out)
{
    px_control *control = px_alloc(sizeof *control);
    *control = (px_control){.loop = options->loop,
        .rpc = options->rpc,
        .drain_ns = options->drain_ns,
        .on_end = options->on_end,
        .arg = options->arg};
    control->registry = px_registry_create(&(px_registry_options){.agents = &control->agents,
        .on_joined = on_joined,
        .on_message = on_message,
        .on_lost = on_lost,
        .arg = control});
    control->router = px_router_create(&(px_router_options){.rpc = control->rpc,
        .loop = control->loop,
        .on_engine_up = on_engine_up,
        .on_engine_down = on_engine_down,
        .arg = control});
    control->inference = (px_inference){.router = control->router};
    control->admin = (px_admin){
        .router = control->router, .agents = &control->agents, .started_ns = px_now_ns()};
    control->tick = px_loop_every(control->loop, TICK_NS, on_tick, control);
    px_status status = px_tenants_parse(options->tenant_weights, &control->tenants);
    control->inference.tenants = control->tenants;
    if (px_is_ok(status)) status = start_server(control, options->listen);
    if (px_is_ok(status)) status = start_etcd(control, options);
    if (px_is_ok(status))
        *out = control;
    else
        px_control_free(control);
    return status;
}

int px_control_port(const px_control *control)
{
    return px_rpc_server_port(control->server);
}

/* ------------------------------------------------------------------------------ end */

static void wait_for_goodbye(void *arg)
{
    px_control *control = arg;
    bool done = !control->etcd || px_etcd_is_idle(control->etcd);
    control->later = NULL;
    if (done || px_now_ns() >= control->goodbye_by_ns)
        control->on_end(control->arg, control->outcome);
    else
        control->later = px_loop_after(control->loop, TICK_NS / 10, wait_for_goodbye, control);
}

static void on_server_shut_down(void *arg)
{
    px_control *control = arg;
    px_loop_cancel(control->loop, control->later);
    stop_acting(control, control->inference.refusal);
    px_leader_free(control->leader);
    control->leader = control->admin.leader = NULL;
    control->goodbye_by_ns = px_now_ns() + GOODBYE_NS;
    wait_for_goodbye(control);
}

/* Streams that never end by themselves are ended once no request is in flight any more. */
static void wait_for_requests(void *arg)
{
    px_control *control = arg;
    control->later = NULL;
    if (px_router_stats_of(control->router).running) {
        control->later = px_loop_after(control->loop, TICK_NS, wait_for_requests, control);
        return;
    }
    px_status why = px_fail(PX_UNAVAILABLE, "this control plane is stopping");
    px_admin_end_waits(&control->admin, why);
    px_registry_close(control->registry, why);
}

static void stop(px_control *control, px_status outcome, int64_t grace_ns)
{
    if (control->stopping) return;
    control->stopping = true;
    control->outcome = outcome;
    px_loop_cancel(control->loop, control->later);
    px_rpc_server_shutdown(control->server, grace_ns, on_server_shut_down, control);
    wait_for_requests(control);
}

void px_control_stop(px_control *control)
{
    /* Asked again: the requests in flight are not waited for any more. */
    if (control->stopping)
        stop_acting(control, px_fail(PX_UNAVAILABLE, "this control plane was stopped"));
    stop(control, px_ok(), control->drain_ns);
}

void px_control_free(px_control *control)
{
    if (!control) return;
    px_loop_cancel(control->loop, control->tick);
    px_loop_cancel(control->loop, control->later);
    px_acting_free(control->acting);
    px_leader_free(control->leader);
    px_router_free(control->router);
    px_etcd_free(control->etcd);
    px_etcd_private_stop(control->private_etcd);
    px_registry_free(control->registry);
    px_tenants_free(control->tenants);
    free(control);
}
