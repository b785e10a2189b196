/* adapters.c - the engine's adapters: by name on the caller's side, by slot on the engine thread.
 *
 *   caller: load, unload --adapter_inbox--> engine thread: orders to all ranks, between steps
 *           take_done    <----outbox------
 *
 * The caller's side knows who uses an adapter, since it sees every request come and go: so when the
 * engine thread is told to drop one, no sequence has it.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

/* --- the caller's side -------------------------------------------------------------------- */

void px_adapters_create(px_engine *engine)
{
    uint32_t count = engine->parts.limits.adapters;
    engine->caller.adapters = px_alloc_array(count, sizeof *engine->caller.adapters);
}

void px_adapters_free(px_engine *engine)
{
    free(engine->caller.adapters);
}

static bool is_called(const px_adapter_entry *entry, px_slice name)
{
    return entry->state != PX_ADAPTER_FREE && strlen(entry->name) == name.length &&
           memcmp(entry->name, name.data, name.length) == 0;
}

static px_adapter_entry *find(const px_engine *engine, px_slice name)
{
    for (uint32_t i = 0; i < engine->parts.limits.adapters; i++)
        if (is_called(&engine->caller.adapters[i], name)) return &engine->caller.adapters[i];
    return NULL;
}

/* The sentence names what there is, as far as it has room. */
static px_status not_found(const px_engine *engine, px_slice name)
{
    char known[160] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < engine->parts.limits.adapters && used < sizeof known; i++) {
        const px_adapter_entry *entry = &engine->caller.adapters[i];
        if (entry->state == PX_ADAPTER_READY)
            used += (size_t)snprintf(
                known + used, sizeof known - used, "%s'%s'", used ? ", " : "", entry->name);
    }
    return px_fail(PX_NOT_FOUND, "there is no adapter '%.*s'; %s%s",
        name.length < PX_ADAPTER_NAME_MAX ? (int)name.length : PX_ADAPTER_NAME_MAX, name.data,
        used ? "loaded are " : "none is loaded", known);
}

px_status px_adapters_find(const px_engine *engine, px_slice name, uint32_t *out_adapter)
{
    const px_adapter_entry *entry = name.length ? find(engine, name) : NULL;
    *out_adapter = 0;
    if (!name.length) return px_ok();
    if (!entry || entry->state == PX_ADAPTER_LOADING) return not_found(engine, name);
    if (entry->state != PX_ADAPTER_READY)
        return px_fail(PX_NOT_FOUND, "the adapter '%s' is being unloaded", entry->name);
    *out_adapter = (uint32_t)(entry - engine->caller.adapters) + 1;
    return px_ok();
}

/* The next thing that happens to the entry is the engine thread's. */
static void give_job(px_engine *engine, px_adapter_entry *entry, px_adapter_state state)
{
    entry->state = state;
    bool pushed = px_ring_push(&engine->adapter_inbox, &entry);
    PX_ASSERT(pushed); /* an entry has one job at a time, and the ring room for all entries */
    px_doorbell_ring(&engine->bell);
}

void px_adapters_hold(px_engine *engine, uint32_t adapter)
{
    if (adapter) engine->caller.adapters[adapter - 1].requests++;
}

void px_adapters_release(px_engine *engine, uint32_t adapter)
{
    px_adapter_entry *entry = adapter ? &engine->caller.adapters[adapter - 1] : NULL;
    if (!entry || --entry->requests || entry->state != PX_ADAPTER_LEAVING) return;
    give_job(engine, entry, PX_ADAPTER_DROPPING);
}

static px_status check_name(px_slice name)
{
    bool is_good = name.length && name.length < PX_ADAPTER_NAME_MAX;
    for (size_t i = 0; is_good && i < name.length; i++)
        is_good = isalnum((unsigned char)name.data[i]) || strchr("._-", name.data[i]);
    return is_good ? px_ok()
                   : px_fail(PX_INVALID_ARGUMENT,
                         "an adapter's name has 1 to %d letters, digits, '.', '_' and '-'",
                         PX_ADAPTER_NAME_MAX - 1);
}

px_status px_engine_load_adapter(px_engine *engine, px_slice name, px_slice path, uint64_t *out_id)
{
    px_caller_side *side = &engine->caller;
    px_adapter_entry *entry = NULL;
    PX_TRY(px_engine_health(engine));
    PX_TRY(check_name(name));
    if (!path.length || path.length >= PX_ADAPTER_PATH_MAX || memchr(path.data, 0, path.length))
        return px_fail(PX_INVALID_ARGUMENT, "the path of adapter '%.*s' has not 1 to %d bytes",
            (int)name.length, name.data, PX_ADAPTER_PATH_MAX - 1);
    if (find(engine, name))
        return px_fail(PX_ALREADY_EXISTS, "there is an adapter '%.*s' already: unload it first",
            (int)name.length, name.data);
    for (uint32_t i = 0; i < engine->parts.limits.adapters && !entry; i++)
        if (side->adapters[i].state == PX_ADAPTER_FREE) entry = &side->adapters[i];
    if (!entry)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "%u adapters are loaded already, as many as the engine was opened for",
            engine->parts.limits.adapters);
    *entry = (px_adapter_entry){
        .job = ++side->adapter_jobs, .generation = side->adapter_jobs, .status = px_ok()};
    memcpy(entry->name, name.data, name.length);
    memcpy(entry->path, path.data, path.length);
    *out_id = entry->job;
    give_job(engine, entry, PX_ADAPTER_LOADING);
    return px_ok();
}

px_status px_engine_unload_adapter(px_engine *engine, px_slice name, uint64_t *out_id)
{
    px_adapter_entry *entry = find(engine, name);
    PX_TRY(px_engine_health(engine));
    if (!entry) return not_found(engine, name);
    if (entry->state != PX_ADAPTER_READY)
        return px_fail(PX_FAILED_PRECONDITION, "the adapter '%s' is being %s", entry->name,
            entry->state == PX_ADAPTER_LOADING ? "loaded" : "unloaded already");
    *out_id = entry->job = ++engine->caller.adapter_jobs;
    if (entry->requests)
        entry->state = PX_ADAPTER_LEAVING;
    else
        give_job(engine, entry, PX_ADAPTER_DROPPING);
    return px_ok();
}

void px_adapters_take_done(px_engine *engine, uint32_t slot, px_event *out)
{
    px_adapter_entry *entry = &engine->caller.adapters[slot];
    bool loaded = entry->state == PX_ADAPTER_LOADING && px_is_ok(entry->status);
    *out = (px_event){.id = entry->job, .kind = PX_EVENT_ADAPTER, .status = entry->status};
    entry->state = loaded ? PX_ADAPTER_READY : PX_ADAPTER_FREE;
}

bool px_engine_adapter_at(const px_engine *engine, uint32_t index, px_adapter_info *out)
{
    for (uint32_t i = 0; i < engine->parts.limits.adapters; i++) {
        const px_adapter_entry *entry = &engine->caller.adapters[i];
        if (entry->state == PX_ADAPTER_FREE || index--) continue;
        *out = (px_adapter_info){.name = entry->name,
            .path = entry->path,
            .is_ready = entry->state == PX_ADAPTER_READY,
            .requests = entry->requests,
            .bytes = entry->state == PX_ADAPTER_LOADING ? 0 : entry->bytes};
        return true;
    }
    return false;
}

/* --- the engine thread -------------------------------------------------------------------- */

static void ring_bell(void *arg)
{
    px_doorbell_ring(&((px_engine *)arg)->bell);
}

/* What all ranks do, this one too; *out_result as in order.h. */
static px_status order_all(px_engine *engine, const px_adapter_entry *entry,
    px_adapter_order_kind kind, px_status *out_result)
{
    const px_parts *parts = &engine->parts;
    px_adapter_order order = {.kind = kind, .slot = (uint32_t)(entry - engine->caller.adapters)};
    memcpy(order.path, entry->path, sizeof order.path);
    if (px_comm_size(parts->comm) > 1) {
        size_t bytes = px_adapter_order_encode(&order, engine->side.message);
        PX_TRY(px_comm_plan_send(parts->comm, engine->side.message, bytes));
    }
    px_adapter_obeying how = {
        .slots = parts->adapters, .comm = parts->comm, .on_loaded = ring_bell, .arg = engine};
    return px_adapter_obey(&how, &order, out_result);
}

/* Gives the order; false: it ended the entry's job, with the event. */
static bool give_order(px_engine *engine, px_adapter_entry *entry, px_adapter_order_kind kind)
{
    px_status result = px_engine_health(engine);
    if (px_is_ok(result)) {
        px_status status = order_all(engine, entry, kind, &result);
        if (!px_is_ok(status)) px_engine_break(engine, result = status);
    }
    if (kind == PX_ADAPTER_LOAD && px_is_ok(result)) return true;
    entry->status = result;
    if (kind == PX_ADAPTER_SETTLE && px_is_ok(result))
        entry->bytes =
            px_adapter_slots_at(engine->parts.adapters, (uint32_t)(entry - engine->caller.adapters))
                ->bytes;
    px_output_adapter(engine, entry);
    return false;
}

void px_adapters_serve(px_engine *engine)
{
    px_engine_side *side = &engine->side;
    if (side->adapter) {
        bool is_lost = !px_is_ok(px_engine_health(engine));
        if (!is_lost && !px_adapter_slots_is_loaded(engine->parts.adapters)) return;
        (void)give_order(engine, side->adapter, PX_ADAPTER_SETTLE);
        side->adapter = NULL;
    }
    px_adapter_entry *entry;
    while (!side->adapter && px_ring_pop(&engine->adapter_inbox, &entry)) {
        bool loads = entry->state == PX_ADAPTER_LOADING;
        if (give_order(engine, entry, loads ? PX_ADAPTER_LOAD : PX_ADAPTER_DROP))
            side->adapter = entry;
    }
}

px_status px_adapters_follow(px_engine *engine, const void *message, size_t bytes)
{
    const px_parts *parts = &engine->parts;
    px_adapter_order order;
    px_status result;
    PX_TRY(px_adapter_order_decode(message, bytes, parts->limits.adapters, &order));
    px_adapter_obeying how = {.slots = parts->adapters, .comm = parts->comm};
    return px_adapter_obey(&how, &order, &result);
}
