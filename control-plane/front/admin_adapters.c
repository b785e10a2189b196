#include "control/front/admin_adapters.h"

#include <stdlib.h>
#include <string.h>

#include "phalanx/v1/admin.pb-c.h"

enum { RESPONSE_BYTES_MAX = 8 << 20 };

typedef struct px_adapter_wait { /* the user pointer of a call that loads or unloads */
    px_admin *admin;
    struct px_adapter_wait *next, **link;
    px_rpc_call *call; /* NULL: over, or the client has gone */
    bool is_routed;    /* the engine is at it */
    bool is_noted;     /* it has done it; the answer comes when etcd has it: */
    uint32_t change;
    char model[PX_NAME_BYTES];
    px_adapter_change what;
} wait;

static void wait_free(wait *w)
{
    *w->link = w->next;
    if (w->next) w->next->link = w->link;
    free(w);
}

static void wait_finish(wait *w, px_status status)
{
    px_rpc_call *call = w->call;
    w->call = NULL;
    if (call) px_rpc_call_finish(call, status);
}

static void answer(wait *w)
{
    Phalanx__V1__LoadAdapterResponse loaded = PHALANX__V1__LOAD_ADAPTER_RESPONSE__INIT;
    Phalanx__V1__UnloadAdapterResponse unloaded = PHALANX__V1__UNLOAD_ADAPTER_RESPONSE__INIT;
    if (w->call)
        wait_finish(w, px_rpc_call_send(w->call, w->what.unloads ? &unloaded.base : &loaded.base));
}

static void on_closed(void *service, px_rpc_call *call, bool cancelled)
{
    wait *w = px_rpc_call_user(call);
    if (!w) return;
    w->call = NULL;
    px_rpc_call_set_user(call, NULL);
    if (!w->is_routed) wait_free(w); /* else the engine's word is waited for */
}

/* ------------------------------------------------------------------------------ the way through */

static px_status note(wait *w)
{
    px_admin *admin = w->admin;
    if (!admin->deployer) return admin->refusal;
    PX_TRY(px_deployer_note_adapter(admin->deployer, w->model, &w->what, px_now_ns(), &w->change));
    w->is_noted = true;
    px_events_add(admin->events, w->what.unloads ? "adapter.unloaded" : "adapter.loaded", w->model,
        w->what.adapter.name);
    return px_ok();
}

static void on_engine_done(void *arg, px_status status)
{
    wait *w = arg;
    bool has_client = w->call != NULL;
    w->is_routed = false;
    if (px_is_ok(status)) status = note(w);
    if (!has_client)
        wait_free(w);
    else if (!px_is_ok(status))
        wait_finish(w, status);
    else if (px_deployer_find(w->admin->deployer, w->model)->adapter_changes_saved == w->change)
        answer(w);
}

void px_admin_adapters_changed(px_admin *admin, const px_deployment *d)
{
    for (wait *w = admin->adapter_waits; w; w = w->next) {
        if (!w->is_noted || strcmp(w->model, d->spec.name) != 0) continue;
        if (d->removed || d->state == PX_DEPLOY_STOPPING)
            wait_finish(w, px_fail(PX_ABORTED, "'%s' was undeployed meanwhile", w->model));
        else if ((int32_t)(d->adapter_changes_saved - w->change) >= 0)
            answer(w);
    }
}

void px_admin_adapters_end(px_admin *admin, px_status why)
{
    for (wait *w = admin->adapter_waits; w; w = w->next) wait_finish(w, why);
}

/* ------------------------------------------------------------------------------ asking */

/* An empty name means the one model there is. */
static px_status find_ready(const px_admin *admin, const char *model, const px_deployment **out)
{
    if (!admin->deployer) return admin->refusal;
    bool is_only = !model[0] && px_deployer_count(admin->deployer) == 1;
    const px_deployment *d =
        is_only ? px_deployer_at(admin->deployer, 0) : px_deployer_find(admin->deployer, model);
    if (!d && !model[0])
        return px_fail(PX_INVALID_ARGUMENT, "name the model: there are %u deployments",
            px_deployer_count(admin->deployer));
    if (!d) return px_fail(PX_NOT_FOUND, "nothing is deployed as '%s'", model);
    if (d->state != PX_DEPLOY_READY)
        return px_fail(PX_FAILED_PRECONDITION, "'%s' is %s: adapters come and go while it is READY",
            d->spec.name, px_deploy_state_name(d->state));
    *out = d;
    return px_ok();
}

static px_status begin(
    px_admin *admin, px_rpc_call *call, const char *model, const px_adapter_change *what)
{
    const px_deployment *d = NULL;
    PX_TRY(find_ready(admin, model, &d));
    wait *w = px_alloc(sizeof *w);
    *w = (wait){.admin = admin,
        .next = admin->adapter_waits,
        .link = &admin->adapter_waits,
        .call = call,
        .what = *what};
    if (w->next) w->next->link = &w->next;
    admin->adapter_waits = w;
    px_name_copy(w->model, d->spec.name);
    Phalanx__V1__EngineAdapter message = PHALANX__V1__ENGINE_ADAPTER__INIT;
    message.name = w->what.adapter.name;
    if (!what->unloads) message.path = w->what.adapter.path;
    px_route_request request = {
        .adapter = &message, .deadline_ns = INT64_MAX, .on_end = on_engine_done, .arg = w};
    uint64_t id; /* it is never cancelled: what the engine did must be known */
    px_status status = px_router_submit(admin->router, w->model, &request, &id);
    if (!px_is_ok(status)) {
        wait_free(w);
        return status;
    }
    w->is_routed = true;
    px_rpc_call_set_user(call, w);
    return px_ok();
}

static void on_load(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__LoadAdapterRequest *request =
        (const Phalanx__V1__LoadAdapterRequest *)message;
    px_adapter_change what = {.unloads = false};
    px_status status = px_fail(PX_INVALID_ARGUMENT, "the adapter is missing");
    if (request->adapter)
        status = px_adapter_take(request->adapter->name, request->adapter->path, &what.adapter);
    if (px_is_ok(status)) status = begin(service, call, request->model, &what);
    if (!px_is_ok(status)) px_rpc_call_finish(call, status);
}

static void on_unload(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__UnloadAdapterRequest *request =
        (const Phalanx__V1__UnloadAdapterRequest *)message;
    px_adapter_change what = {.unloads = true};
    px_status status = px_name_check(request->name, "an adapter's name");
    if (px_is_ok(status)) px_name_copy(what.adapter.name, request->name);
    if (px_is_ok(status)) status = begin(service, call, request->model, &what);
    if (!px_is_ok(status)) px_rpc_call_finish(call, status);
}

/* ------------------------------------------------------------------------------ looking */

/* Those of a deployment; false: the arena's limit. */
static bool list(
    px_arena *arena, const px_deployment *d, Phalanx__V1__ListAdaptersResponse *response)
{
    for (uint32_t i = 0; i < d->spec.adapters.count; i++) {
        const px_adapter_spec *spec = &d->spec.adapters.items[i];
        Phalanx__V1__ModelAdapter *entry = px_arena_alloc(arena, sizeof *entry);
        Phalanx__V1__Adapter *adapter = px_arena_alloc(arena, sizeof *adapter);
        if (!entry || !adapter) return false;
        phalanx__v1__model_adapter__init(entry);
        phalanx__v1__adapter__init(adapter);
        adapter->name = (char *)spec->name;
        adapter->path = (char *)spec->path;
        entry->model = (char *)d->spec.name;
        entry->adapter = adapter;
        response->adapters[response->n_adapters++] = entry;
    }
    return true;
}

static void on_list(void *service, px_rpc_call *call, const ProtobufCMessage *message)
{
    const Phalanx__V1__ListAdaptersRequest *request =
        (const Phalanx__V1__ListAdaptersRequest *)message;
    const px_admin *admin = service;
    if (!admin->deployer) {
        px_rpc_call_finish(call, admin->refusal);
        return;
    }
    px_arena arena;
    px_arena_init(&arena, RESPONSE_BYTES_MAX);
    uint32_t count = px_deployer_count(admin->deployer);
    Phalanx__V1__ListAdaptersResponse response = PHALANX__V1__LIST_ADAPTERS_RESPONSE__INIT;
    response.adapters =
        px_arena_alloc(&arena, ((size_t)count * PX_ADAPTERS_MAX + 1) * sizeof *response.adapters);
    bool complete = response.adapters != NULL, is_known = !request->model[0];
    for (uint32_t i = 0; i < count && complete; i++) {
        const px_deployment *d = px_deployer_at(admin->deployer, i);
        if (request->model[0] && strcmp(request->model, d->spec.name) != 0) continue;
        is_known = true;
        complete = list(&arena, d, &response);
    }
    px_status status = px_ok();
    if (!is_known)
        status = px_fail(PX_NOT_FOUND, "nothing is deployed under that name");
    else if (!complete)
        status = px_fail(PX_RESOURCE_EXHAUSTED, "the answer is too large");
    else
        status = px_rpc_call_send(call, &response.base);
    px_rpc_call_finish(call, status);
    px_arena_done(&arena);
}

const px_rpc_method px_admin_adapter_methods[] = {
    {.path = "/phalanx.v1.Admin/LoadAdapter",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__load_adapter_request__descriptor,
        .on_message = on_load,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Admin/UnloadAdapter",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__unload_adapter_request__descriptor,
        .on_message = on_unload,
        .on_closed = on_closed},
    {.path = "/phalanx.v1.Admin/ListAdapters",
        .kind = PX_RPC_UNARY,
        .request = &phalanx__v1__list_adapters_request__descriptor,
        .on_message = on_list},
    {0},
};
