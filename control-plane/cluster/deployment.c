#include "control/cluster/deployment.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "control/cluster/launch.h"
#include "control/cluster/placement.h"
#include "etcd/keys.h"

enum { RECORD_BYTES_MAX = 64 << 10 };

#define STATE(name) PHALANX__V1__RANK_STATE__RANK_STATE_##name

const char *px_deploy_state_name(px_deploy_state state)
{
    static const char *const names[PX_DEPLOY_STATE_COUNT] = {
        "PENDING", "LOADING", "READY", "RESTARTING", "FAILED", "STOPPING"};
    return names[state];
}

double px_deployment_progress(const px_deployment *d)
{
    if (d->state == PX_DEPLOY_READY) return 1;
    if (d->state != PX_DEPLOY_LOADING || !d->record.world) return 0;
    double sum = 0;
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        sum += d->ranks[rank].state == STATE(READY) ? 1 : d->ranks[rank].progress;
    return sum / d->record.world;
}

/* ------------------------------------------------------------------------------ small steps */

static void event(const px_deployment *d, const char *kind)
{
    d->ports->event(d->ports->arg, d, kind, d->message);
}

PX_PRINTF(3, 4)
static void enter(px_deployment *d, px_deploy_state state, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(d->message, sizeof d->message, format, args);
    va_end(args);
    d->state = state;
    d->ports->changed(d->ports->arg, d);
}

static void detach(px_deployment *d, px_status why)
{
    if (d->attached) d->ports->detach(d->ports->arg, d, why);
    d->attached = false;
}

/* Agents know of this generation and nobody has given it up. */
static bool is_live(const px_deployment *d)
{
    return d->launched && (d->state == PX_DEPLOY_LOADING || d->state == PX_DEPLOY_READY);
}

static bool all_ranks_are(const px_deployment *d, Phalanx__V1__RankState state)
{
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        if (d->ranks[rank].state != state) return false;
    return true;
}

/* Memory and cores of the last generation are free again, or have had time enough to be. */
static bool have_ended(const px_deployment *d, int64_t now_ns)
{
    return !d->launched || d->launch_ended || now_ns >= d->end_by_ns ||
           all_ranks_are(d, STATE(ENDED));
}

static void stop_ranks(px_deployment *d, px_status why, int64_t now_ns)
{
    detach(d, why);
    if (!d->launched) return;
    px_launch_send_stops(d);
    d->end_by_ns = now_ns + PX_DEPLOY_END_NS;
}

static int64_t backoff_ns(unsigned failures)
{
    int64_t delay_ns = PX_DEPLOY_BACKOFF_NS_MIN;
    for (unsigned i = 1; i < failures && delay_ns < PX_DEPLOY_BACKOFF_NS_MAX; i++) delay_ns *= 2;
    return delay_ns < PX_DEPLOY_BACKOFF_NS_MAX ? delay_ns : PX_DEPLOY_BACKOFF_NS_MAX;
}

/* Causes that the next start would meet again, as long as no start has ever gone well. */
static bool is_final(const px_deployment *d, px_code code)
{
    bool by_code = code == PX_INVALID_ARGUMENT || code == PX_NOT_FOUND ||
                   code == PX_UNIMPLEMENTED || code == PX_DATA_LOSS ||
                   code == PX_PERMISSION_DENIED || code == PX_RESOURCE_EXHAUSTED;
    return by_code && !d->record.ever_ready;
}

/* The group of this generation is over: clear it away and start anew later, or not at all. */
static void fail(px_deployment *d, px_status why, int64_t now_ns)
{
    stop_ranks(d,
        px_fail(PX_UNAVAILABLE, "the group that served '%s' failed: %s", d->spec.name, why.text),
        now_ns);
    d->failures++;
    d->due_ns = now_ns + backoff_ns(d->failures);
    if (is_final(d, why.code)) {
        enter(d, PX_DEPLOY_FAILED, "%s", why.text);
        event(d, "deploy.failed");
    } else {
        enter(d, PX_DEPLOY_RESTARTING, "%s", why.text);
        event(d, "group.failed");
    }
}

/* ------------------------------------------------------------------------------ writing */

static px_slice slice_of(const px_buf *buf)
{
    return (px_slice){px_buf_text(buf), buf->length};
}

static void write_key(px_deployment *d, int what, const char *folder, const px_buf *value)
{
    px_key key = px_key_of(folder, d->spec.name);
    px_etcd_op op = {.kind = PX_ETCD_PUT, .key = key.text, .value = slice_of(value)};
    d->writing = what;
    d->ports->write(d->ports->arg, d, ++d->ticket, &op, 1);
}

static void write_spec(px_deployment *d, int what)
{
    px_buf json;
    px_buf_init(&json, RECORD_BYTES_MAX);
    px_spec_encode(&json, &d->spec);
    write_key(d, what, PX_KEY_DEPLOYMENTS, &json);
    px_buf_done(&json);
}

static void write_record(px_deployment *d, int what)
{
    px_buf json;
    px_buf_init(&json, RECORD_BYTES_MAX);
    px_group_record_encode(&json, &d->record);
    write_key(d, what, PX_KEY_GROUPS, &json);
    px_buf_done(&json);
}

static void write_delete(px_deployment *d)
{
    px_key spec = px_key_of(PX_KEY_DEPLOYMENTS, d->spec.name);
    px_key record = px_key_of(PX_KEY_GROUPS, d->spec.name);
    px_etcd_op ops[] = {
        {.kind = PX_ETCD_DELETE, .key = spec.text}, {.kind = PX_ETCD_DELETE, .key = record.text}};
    d->writing = PX_WRITE_DELETE;
    d->ports->write(d->ports->arg, d, ++d->ticket, ops, 2);
}

/* ------------------------------------------------------------------------------ starting */

/* Agents that the operator named are waited for until the first success; later the rest will do. */
static px_status named_agents_are_here(const px_deployment *d)
{
    for (uint32_t i = 0; i < d->spec.agent_count && !d->record.ever_ready; i++)
        if (!px_agents_find(d->ports->agents, d->spec.agents[i]))
            return px_fail(PX_UNAVAILABLE, "waiting for agent '%s' to join", d->spec.agents[i]);
    return px_ok();
}

px_status px_deploy_place(
    const px_deploy_ports *ports, const px_spec *spec, char (*out_agents)[PX_NAME_BYTES])
{
    const px_agents *agents = ports->agents;
    px_placement_request request = {
        .world = px_spec_world(spec), .only = spec->agents, .only_count = spec->agent_count};
    px_placement_agent *offers = px_alloc_array(agents->count + 1, sizeof *offers);
    uint32_t count = 0;
    for (uint32_t i = 0; i < agents->count; i++) {
        const px_agent *agent = agents->entries[i];
        if (!agent->connected) continue;
        const px_agent_model *model = px_agent_model_find(agent, spec->model_path);
        if (model) request.model_bytes = model->bytes;
        offers[count++] = (px_placement_agent){.name = agent->name,
            .machine = agent->machine,
            .cores = agent->cores,
            .memory_free_bytes = agent->memory_free_bytes,
            .bandwidth_bytes_s = agent->bandwidth_bytes_s,
            .has_model = model != NULL,
            .ranks = ports->ranks_on(ports->arg, agent->name)};
    }
    uint32_t at[PX_WORLD_MAX];
    px_status status = px_place(&request, offers, count, at);
    for (uint32_t rank = 0; rank < request.world && px_is_ok(status); rank++)
        px_name_copy(out_agents[rank], offers[at[rank]].name);
    free(offers);
    return status;
}

static void make_secret(char out[PX_SECRET_BYTES])
{
    unsigned char random[(PX_SECRET_BYTES - 1) / 2];
    PX_ASSERT(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    for (size_t i = 0; i < sizeof random; i++) snprintf(out + 2 * i, 3, "%02x", random[i]);
}

/* "alpha, beta (3 ranks)": neighbouring ranks are mostly on one agent. */
static void enter_starting(px_deployment *d)
{
    char names[sizeof d->message];
    int used = 0;
    uint32_t ranks;
    for (uint32_t rank = 0; rank < d->record.world && used < (int)sizeof names; rank += ranks) {
        const char *name = d->record.agents[rank];
        ranks = 1;
        while (rank + ranks < d->record.world && !strcmp(d->record.agents[rank + ranks], name))
            ranks++;
        used += snprintf(names + used, sizeof names - (size_t)used, "%s%s", rank ? ", " : "", name);
        if (ranks > 1 && used < (int)sizeof names)
            used += snprintf(names + used, sizeof names - (size_t)used, " (%u ranks)", ranks);
    }
    enter(d, PX_DEPLOY_LOADING, "starting on %.200s", names);
}

/* Chooses agents and writes the new generation down; px_deployment_written() goes on. */
static void start(px_deployment *d, int64_t now_ns)
{
    d->record.world = 0; /* so that it does not count its own old ranks as load */
    char agents[PX_WORLD_MAX][PX_NAME_BYTES] = {{0}};
    px_status status = named_agents_are_here(d);
    if (px_is_ok(status)) status = px_deploy_place(d->ports, &d->spec, agents);
    if (!px_is_ok(status)) {
        bool is_news = d->state != PX_DEPLOY_PENDING || strcmp(d->message, status.text) != 0;
        d->due_ns = now_ns + PX_DEPLOY_RETRY_NS;
        if (!is_news) return;
        enter(d, PX_DEPLOY_PENDING, "%s", status.text);
        event(d, "deploy.pending");
        return;
    }
    if (d->launched) d->record.restarts++;
    d->record.generation++;
    d->record.world = px_spec_world(&d->spec);
    memcpy(d->record.agents, agents, sizeof agents);
    make_secret(d->record.secret);
    memset(d->ranks, 0, sizeof d->ranks);
    d->engine_address[0] = '\0';
    d->launched = d->launch_ended = false;
    d->due_ns = now_ns + PX_DEPLOY_SILENCE_NS;
    write_record(d, PX_WRITE_START);
    enter_starting(d);
}

static void launch(px_deployment *d, int64_t now_ns)
{
    d->launched = true;
    px_status status = px_launch_send(d);
    if (px_is_ok(status))
        event(d, "group.started");
    else
        fail(d, px_fail(PX_UNAVAILABLE, "%s", status.text), now_ns);
}

/* All ranks are ready and rank 0 has said where it listens: let the router connect. */
static void attach_if_complete(px_deployment *d, int64_t now_ns)
{
    if (d->attached || !d->engine_address[0] || !all_ranks_are(d, STATE(READY))) return;
    d->attached = true;
    d->due_ns = now_ns + PX_DEPLOY_CONNECT_NS;
    d->ports->attach(d->ports->arg, d);
}

/* ------------------------------------------------------------------------------ life */

static px_deployment *create(const px_deploy_ports *ports, const px_spec *spec)
{
    px_deployment *d = px_alloc(sizeof *d);
    d->ports = ports;
    d->spec = *spec;
    phalanx__v1__model_info__init(&d->model);
    d->model.name = d->spec.name;
    d->model.architecture = d->model_architecture;
    return d;
}

px_deployment *px_deployment_create(
    const px_deploy_ports *ports, const px_spec *spec, int64_t now_ns)
{
    px_deployment *d = create(ports, spec);
    write_spec(d, PX_WRITE_SPEC);
    return d;
}

px_deployment *px_deployment_restore(const px_deploy_ports *ports, const px_spec *spec,
    const px_group_record *record, int64_t spec_revision, int64_t now_ns)
{
    px_deployment *d = create(ports, spec);
    d->spec_saved = true;
    d->record = *record;
    d->due_ns = now_ns;
    if (record->world != px_spec_world(spec)) { /* never started */
        d->record.world = 0;
        if (d->record.generation < (uint64_t)spec_revision)
            d->record.generation = (uint64_t)spec_revision;
        return d;
    }
    d->launched = true;
    d->due_ns = now_ns + PX_DEPLOY_ADOPT_NS;
    enter(d, PX_DEPLOY_LOADING, "waiting for the agents to report the ranks of before");
    return d;
}

void px_deployment_free(px_deployment *d)
{
    free(d);
}

static void spec_written(px_deployment *d, px_status status, int64_t revision, int64_t now_ns)
{
    d->due_ns = now_ns + PX_DEPLOY_RETRY_NS;
    if (!px_is_ok(status)) {
        enter(d, d->state, "%s", status.text);
        return;
    }
    d->spec_saved = true;
    d->record.generation = (uint64_t)revision;
    snprintf(d->message, sizeof d->message, "%s, tp %u, pp %u", d->spec.model_path, d->spec.tp,
        d->spec.pp);
    event(d, "deploy.requested");
    if (d->state == PX_DEPLOY_PENDING) start(d, now_ns);
}

static void adapters_written(px_deployment *d, px_status status, int64_t now_ns)
{
    if (px_is_ok(status)) {
        d->adapter_changes_saved = d->adapter_changes_written;
        d->ports->changed(d->ports->arg, d);
    } else {
        d->save_due_ns = now_ns + PX_DEPLOY_RETRY_NS;
    }
}

void px_deployment_set_adapters(px_deployment *d, const px_adapters *adapters, int64_t now_ns)
{
    d->spec.adapters = *adapters;
    d->adapter_changes++;
    d->save_due_ns = now_ns;
    px_deployment_tick(d, now_ns);
}

void px_deployment_written(
    px_deployment *d, uint64_t ticket, px_status status, int64_t revision, int64_t now_ns)
{
    if (ticket != d->ticket) return;
    int wrote = d->writing;
    d->writing = PX_WRITE_NONE;
    if (wrote == PX_WRITE_SPEC) {
        spec_written(d, status, revision, now_ns);
    } else if (wrote == PX_WRITE_START && d->state == PX_DEPLOY_LOADING) {
        if (px_is_ok(status))
            launch(d, now_ns);
        else
            fail(
                d, px_fail(PX_UNAVAILABLE, "cannot write the group down: %s", status.text), now_ns);
    } else if (wrote == PX_WRITE_ADAPTERS) {
        adapters_written(d, status, now_ns);
    } else if (wrote == PX_WRITE_DELETE) {
        d->deleted = px_is_ok(status);
        d->due_ns = now_ns + PX_DEPLOY_RETRY_NS;
        if (!d->deleted) enter(d, d->state, "%s", status.text);
    }
    px_deployment_tick(d, now_ns);
}

void px_deployment_stop(px_deployment *d, int64_t now_ns)
{
    if (d->state == PX_DEPLOY_STOPPING) return;
    stop_ranks(d, px_fail(PX_UNAVAILABLE, "'%s' was undeployed", d->spec.name), now_ns);
    d->due_ns = now_ns;
    enter(d, PX_DEPLOY_STOPPING, "undeployed");
    event(d, "deploy.removed");
    px_deployment_tick(d, now_ns);
}

void px_deployment_retry(px_deployment *d, int64_t now_ns)
{
    if (d->state != PX_DEPLOY_FAILED) return;
    d->failures = 0;
    d->due_ns = now_ns;
    enter(d, PX_DEPLOY_RESTARTING, "tried again on request");
    px_deployment_tick(d, now_ns);
}

static void tick_stopping(px_deployment *d, int64_t now_ns)
{
    if (!d->deleted && d->writing == PX_WRITE_NONE && now_ns >= d->due_ns) write_delete(d);
    d->removed = d->deleted && have_ended(d, now_ns);
}

/* Beside the states: whatever happens to the group, the next one should have its adapters. */
static void save_adapters(px_deployment *d, int64_t now_ns)
{
    bool unsaved = d->adapter_changes_saved != d->adapter_changes && d->state != PX_DEPLOY_STOPPING;
    if (!unsaved || d->writing != PX_WRITE_NONE || now_ns < d->save_due_ns) return;
    d->adapter_changes_written = d->adapter_changes;
    write_spec(d, PX_WRITE_ADAPTERS);
}

void px_deployment_tick(px_deployment *d, int64_t now_ns)
{
    save_adapters(d, now_ns);
    bool due = now_ns >= d->due_ns && d->writing == PX_WRITE_NONE;
    switch (d->state) {
    case PX_DEPLOY_PENDING:
        if (due && d->spec_saved)
            start(d, now_ns);
        else if (due)
            write_spec(d, PX_WRITE_SPEC);
        break;
    case PX_DEPLOY_LOADING:
        if (due)
            fail(d,
                px_fail(PX_DEADLINE_EXCEEDED, "%s",
                    d->attached ? "the engine cannot be reached" : "no progress for too long"),
                now_ns);
        break;
    case PX_DEPLOY_READY:
        if (now_ns - d->ready_since_ns >= PX_DEPLOY_STEADY_NS) d->failures = 0;
        break;
    case PX_DEPLOY_RESTARTING:
        if (due && have_ended(d, now_ns)) start(d, now_ns);
        break;
    case PX_DEPLOY_STOPPING: tick_stopping(d, now_ns); break;
    case PX_DEPLOY_FAILED:
    case PX_DEPLOY_STATE_COUNT: break;
    }
}

/* ------------------------------------------------------------------------------ what agents say */

static bool is_of_this_generation(
    const px_deployment *d, const char *agent, const Phalanx__V1__RankReport *report)
{
    return d->launched && report->generation == d->record.generation &&
           report->rank < d->record.world && strcmp(d->record.agents[report->rank], agent) == 0;
}

static px_status why_ended(const char *agent, const Phalanx__V1__RankReport *report)
{
    bool stuck = report->state == STATE(STUCK);
    px_code code =
        report->code > 0 && report->code < PX_CODE_COUNT ? (px_code)report->code : PX_UNAVAILABLE;
    return px_fail(code, "rank %u on %s %s: %s", report->rank, agent, stuck ? "is stuck" : "ended",
        report->message[0] ? report->message
        : stuck            ? "its step does not end"
                           : "without a word");
}

static void rank_failed(px_deployment *d, px_status why, int64_t now_ns)
{
    if (is_live(d)) {
        fail(d, why, now_ns);
    } else if (d->state == PX_DEPLOY_RESTARTING && is_final(d, why.code)) {
        /* The first word was a rank that missed its peer; this is the peer's own. */
        enter(d, PX_DEPLOY_FAILED, "%s", why.text);
        event(d, "deploy.failed");
    }
}

void px_deployment_rank_report(
    px_deployment *d, const char *agent, const Phalanx__V1__RankReport *report, int64_t now_ns)
{
    if (!is_of_this_generation(d, agent, report)) return;
    px_deploy_rank *rank = &d->ranks[report->rank];
    bool moved = rank->state != report->state || rank->progress != report->progress;
    *rank = (px_deploy_rank){.state = report->state,
        .progress = report->progress,
        .resident_bytes = report->resident_bytes,
        .steps = report->steps,
        .pid = report->pid};
    if (report->state == STATE(ENDED) || report->state == STATE(STUCK)) {
        if (moved) rank_failed(d, why_ended(agent, report), now_ns);
        return;
    }
    if (d->state != PX_DEPLOY_LOADING) return;
    if (moved && !d->attached) d->due_ns = now_ns + PX_DEPLOY_SILENCE_NS;
    if (report->rank == 0 && report->state == STATE(READY))
        snprintf(d->engine_address, sizeof d->engine_address, "%s", report->engine_address);
    attach_if_complete(d, now_ns);
    if (moved)
        enter(d, d->state, "%s", d->attached ? "connecting to the engine" : "loading the model");
}

void px_deployment_launch_ended(
    px_deployment *d, const char *agent, const Phalanx__V1__LaunchEnded *ended, int64_t now_ns)
{
    if (!d->launched || ended->generation != d->record.generation ||
        strcmp(d->record.agents[0], agent) != 0)
        return;
    d->launch_ended = true;
    if (is_live(d))
        fail(d,
            px_fail(PX_UNAVAILABLE, "the launch on %s ended with exit code %d%s%s", agent,
                ended->exit_code, ended->message[0] ? ": " : "", ended->message),
            now_ns);
}

/* What an agent that joins (again) runs of this deployment: the current ranks go on, all others are
 * stopped, and current ranks that it does not run are gone. */
void px_deployment_agent_joined(px_deployment *d, const char *agent,
    Phalanx__V1__RankReport *const *reports, size_t count, int64_t now_ns)
{
    if (d->state == PX_DEPLOY_PENDING && d->spec_saved &&
        d->due_ns > now_ns + PX_DEPLOY_RETRY_NS / 2)
        d->due_ns = now_ns + PX_DEPLOY_RETRY_NS / 2; /* the next agents may be on their way too */
    bool runs[PX_WORLD_MAX] = {false};
    for (size_t i = 0; i < count; i++) {
        const Phalanx__V1__RankReport *report = reports[i];
        if (strcmp(report->group, d->spec.name) != 0) continue;
        bool wanted = is_live(d) && is_of_this_generation(d, agent, report);
        if (!wanted) {
            px_launch_send_stop(d->ports->agents, agent, report->group, report->generation);
            continue;
        }
        runs[report->rank] = report->state != STATE(ENDED);
        px_deployment_rank_report(d, agent, report, now_ns);
    }
    for (uint32_t rank = 0; rank < d->record.world; rank++) {
        if (runs[rank] || strcmp(d->record.agents[rank], agent) != 0) continue;
        if (d->launched) d->ranks[rank].state = STATE(ENDED);
        if (is_live(d))
            fail(d, px_fail(PX_UNAVAILABLE, "rank %u on %s is gone", rank, agent), now_ns);
    }
}

static bool uses_agent(const px_deployment *d, const char *agent)
{
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        if (strcmp(d->record.agents[rank], agent) == 0) return true;
    return false;
}

void px_deployment_agent_lost(px_deployment *d, const char *agent, int64_t now_ns)
{
    if (!uses_agent(d, agent)) return;
    for (uint32_t rank = 0; rank < d->record.world; rank++)
        if (strcmp(d->record.agents[rank], agent) == 0) d->ranks[rank].state = STATE(ENDED);
    if (d->state == PX_DEPLOY_LOADING || d->state == PX_DEPLOY_READY)
        fail(d, px_fail(PX_UNAVAILABLE, "agent '%s' was lost", agent), now_ns);
}

/* ------------------------------------------------------------------------------ what the router
 * says */

void px_deployment_engine_up(
    px_deployment *d, uint64_t generation, const Phalanx__V1__ModelInfo *model, int64_t now_ns)
{
    if (generation != d->record.generation || !is_live(d)) return;
    snprintf(d->model_architecture, sizeof d->model_architecture, "%s", model->architecture);
    d->model.context = model->context;
    d->model.vocabulary = model->vocabulary;
    d->model.parameters = model->parameters;
    if (d->state == PX_DEPLOY_READY) return;
    if (!d->record.ever_ready) { /* worth remembering, but not worth waiting for */
        d->record.ever_ready = true;
        write_record(d, PX_WRITE_NOTE);
    }
    d->ready_since_ns = now_ns;
    enter(d, PX_DEPLOY_READY, "serving at %s", d->engine_address);
    event(d, "group.ready");
}

void px_deployment_engine_down(px_deployment *d, uint64_t generation, px_status why, int64_t now_ns)
{
    if (generation != d->record.generation || d->state != PX_DEPLOY_READY) return;
    d->due_ns = now_ns + PX_DEPLOY_CONNECT_NS;
    enter(d, PX_DEPLOY_LOADING, "connecting to the engine again: %s", why.text);
}
