/* fake_cluster.h - what a deployer works with, made up: agents, an etcd and a router that write
 * down what they are told, and time as a number.
 *
 * Each test runs between begin() and end(); both are for one thread and one deployer at a time.
 */
#ifndef PX_TEST_FAKE_CLUSTER_H
#define PX_TEST_FAKE_CLUSTER_H

#include "control/cluster/deployer.h"

#include <stdio.h>
#include <string.h>

#include "etcd/keys.h"
#include "test.h"

#define STATE(name) PHALANX__V1__RANK_STATE__RANK_STATE_##name

static char sent[4096];   /* what agents were told: "a<expect 7 [0]" and the like */
static char told[4096];   /* events by kind */
static char stored[8192]; /* keys written and deleted */
static char routed[1024];
static px_agents agents;
static px_deployer *deployer;
static int64_t now_ns;
static bool etcd_down, agent_full;
static char launched_adapters[256]; /* of the last launch: "sql=/a/sql " */

typedef struct fake_write {
    char name[PX_NAME_BYTES];
    uint64_t ticket;
} fake_write;
static fake_write writes[16];
static size_t write_count;
static int64_t revision;

static inline void note_adapters(const Phalanx__V1__Launch *launch)
{
    size_t used = 0;
    launched_adapters[0] = '\0';
    for (size_t i = 0; i < launch->n_adapters; i++)
        used += (size_t)snprintf(launched_adapters + used, sizeof launched_adapters - used,
            "%s=%s ", launch->adapters[i]->name, launch->adapters[i]->path);
}

static inline px_status fake_send(px_agent *agent, const Phalanx__V1__ControlMessage *message)
{
    size_t used = strlen(sent);
    if (agent_full) return px_fail(PX_RESOURCE_EXHAUSTED, "full");
    char *at = sent + used;
    size_t room = sizeof sent - used;
    switch (message->kind_case) {
    case PHALANX__V1__CONTROL_MESSAGE__KIND_EXPECT:
        snprintf(at, room, "%s<expect %zu ", agent->name, message->expect->n_ranks);
        break;
    case PHALANX__V1__CONTROL_MESSAGE__KIND_LAUNCH:
        snprintf(at, room, "%s<launch %zu of %s ", agent->name, message->launch->n_ranks,
            message->launch->model_path);
        note_adapters(message->launch);
        break;
    case PHALANX__V1__CONTROL_MESSAGE__KIND_STOP:
        snprintf(
            at, room, "%s<stop %llu ", agent->name, (unsigned long long)message->stop->generation);
        break;
    default: snprintf(at, room, "%s<other ", agent->name);
    }
    return px_ok();
}

static inline uint32_t ranks_on(void *arg, const char *agent)
{
    return px_deployer_ranks_on(deployer, agent);
}

static inline void fake_write_keys(
    void *arg, px_deployment *d, uint64_t ticket, const px_etcd_op *ops, size_t count)
{
    PX_CHECK(write_count < 16);
    px_name_copy(writes[write_count].name, d->spec.name);
    writes[write_count++].ticket = ticket;
    for (size_t i = 0; i < count; i++)
        snprintf(stored + strlen(stored), sizeof stored - strlen(stored), "%c%s ",
            ops[i].kind == PX_ETCD_PUT ? '+' : '-', ops[i].key + strlen(PX_KEY_ROOT));
}

static inline void fake_attach(void *arg, const px_deployment *d)
{
    snprintf(routed + strlen(routed), sizeof routed - strlen(routed), "+%s ", d->engine_address);
}

static inline void fake_detach(void *arg, const px_deployment *d, px_status why)
{
    snprintf(routed + strlen(routed), sizeof routed - strlen(routed), "-%s ", d->spec.name);
    PX_CHECK(why.code == PX_UNAVAILABLE);
}

static inline void fake_event(
    void *arg, const px_deployment *d, const char *kind, const char *message)
{
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s ", kind);
}

static inline void fake_changed(void *arg, const px_deployment *d) {}

static const px_deploy_ports ports = {.agents = &agents,
    .ranks_on = ranks_on,
    .write = fake_write_keys,
    .attach = fake_attach,
    .detach = fake_detach,
    .event = fake_event,
    .changed = fake_changed};

/* ------------------------------------------------------------------------------ steps */

static inline void begin(void)
{
    sent[0] = told[0] = stored[0] = routed[0] = '\0';
    px_agents_clear(&agents);
    px_deployer_free(deployer);
    deployer = px_deployer_create(&ports);
    now_ns = 1000 * PX_SEC;
    write_count = 0;
    revision = 100;
    etcd_down = agent_full = false;
}

static inline void end(void)
{
    px_agents_clear(&agents);
    px_deployer_free(deployer);
    deployer = NULL;
}

static inline void flush_writes(void)
{
    while (write_count) {
        fake_write w = writes[0];
        memmove(writes, writes + 1, --write_count * sizeof *writes);
        px_status status = etcd_down ? px_fail(PX_UNAVAILABLE, "etcd is away") : px_ok();
        px_deployer_written(deployer, w.name, w.ticket, status, etcd_down ? 0 : ++revision, now_ns);
    }
}

static inline void advance(int64_t ns)
{
    for (int64_t end_ns = now_ns + ns; now_ns < end_ns;) {
        now_ns += 50 * PX_MS;
        px_deployer_tick(deployer, now_ns);
        flush_writes();
    }
}

static inline void join_with(const char *name, Phalanx__V1__RankReport *const *ranks, size_t count)
{
    Phalanx__V1__Register hello = PHALANX__V1__REGISTER__INIT;
    hello.agent = (char *)name;
    hello.machine = (char *)name;
    hello.cores = 2;
    hello.memory_free_bytes = 8ull << 30;
    px_agent *agent;
    PX_CHECK_OK(px_agents_put(&agents, &hello, now_ns, &agent));
    agent->send = fake_send;
    agent->connected = true;
    px_deployer_agent_joined(deployer, name, ranks, count, now_ns);
}

static inline void join(const char *name)
{
    join_with(name, NULL, 0);
}

static inline void lose(const char *name)
{
    px_deployer_agent_lost(deployer, name, now_ns);
    px_agents_remove(&agents, px_agents_find(&agents, name));
}

static inline px_spec spec_of(const char *name, uint32_t tp)
{
    px_spec spec = {.tp = tp, .pp = 1, .model_path = "/m"};
    px_name_copy(spec.name, name);
    return spec;
}

static inline const px_deployment *deploy(const char *name, uint32_t tp)
{
    const px_deployment *d = NULL;
    px_spec spec = spec_of(name, tp);
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, false, now_ns, &d));
    flush_writes();
    return d;
}

static inline Phalanx__V1__RankReport report_of(
    const px_deployment *d, uint32_t rank, Phalanx__V1__RankState state)
{
    Phalanx__V1__RankReport report = PHALANX__V1__RANK_REPORT__INIT;
    report.group = (char *)d->spec.name;
    report.generation = d->record.generation;
    report.rank = rank;
    report.state = state;
    if (rank == 0 && state == STATE(READY)) report.engine_address = "127.0.0.1:4000";
    return report;
}

static inline void say(const px_deployment *d, const Phalanx__V1__RankReport *report)
{
    Phalanx__V1__AgentMessage message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__AGENT_MESSAGE__KIND_RANK;
    message.rank = (Phalanx__V1__RankReport *)report;
    px_deployer_agent_message(deployer, d->record.agents[report->rank], &message, now_ns);
}

static inline void say_state(const px_deployment *d, uint32_t rank, Phalanx__V1__RankState state)
{
    Phalanx__V1__RankReport report = report_of(d, rank, state);
    say(d, &report);
}

static inline void end_with(const px_deployment *d, uint32_t rank, px_code code, const char *why)
{
    Phalanx__V1__RankReport report = report_of(d, rank, STATE(ENDED));
    report.code = code;
    report.message = (char *)why;
    say(d, &report);
}

static inline void engine_up(const px_deployment *d)
{
    Phalanx__V1__ModelInfo info = PHALANX__V1__MODEL_INFO__INIT;
    info.architecture = "llama";
    info.context = 2048;
    px_deployer_engine_up(deployer, d->spec.name, d->record.generation, &info, now_ns);
}

static inline void make_ready(const px_deployment *d)
{
    for (uint32_t rank = 0; rank < px_spec_world(&d->spec); rank++)
        say_state(d, rank, STATE(READY));
    engine_up(d);
}

static inline void end_all(const px_deployment *d)
{
    for (uint32_t rank = 0; rank < px_spec_world(&d->spec); rank++)
        end_with(d, rank, PX_UNAVAILABLE, "stopped");
}

#endif
