/* The life of deployments, with fake agents, a fake etcd and a fake router, and time as a number.
 */
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

typedef struct fake_write {
    char name[PX_NAME_BYTES];
    uint64_t ticket;
} fake_write;
static fake_write writes[16];
static size_t write_count;
static int64_t revision;

static px_status fake_send(px_agent *agent, const Phalanx__V1__ControlMessage *message)
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
        break;
    case PHALANX__V1__CONTROL_MESSAGE__KIND_STOP:
        snprintf(
            at, room, "%s<stop %llu ", agent->name, (unsigned long long)message->stop->generation);
        break;
    default: snprintf(at, room, "%s<other ", agent->name);
    }
    return px_ok();
}

static uint32_t ranks_on(void *arg, const char *agent)
{
    return px_deployer_ranks_on(deployer, agent);
}

static void fake_write_keys(
    void *arg, px_deployment *d, uint64_t ticket, const px_etcd_op *ops, size_t count)
{
    PX_CHECK(write_count < 16);
    px_name_copy(writes[write_count].name, d->spec.name);
    writes[write_count++].ticket = ticket;
    for (size_t i = 0; i < count; i++)
        snprintf(stored + strlen(stored), sizeof stored - strlen(stored), "%c%s ",
            ops[i].kind == PX_ETCD_PUT ? '+' : '-', ops[i].key + strlen(PX_KEY_ROOT));
}

static void fake_attach(void *arg, const px_deployment *d)
{
    snprintf(routed + strlen(routed), sizeof routed - strlen(routed), "+%s ", d->engine_address);
}

static void fake_detach(void *arg, const px_deployment *d, px_status why)
{
    snprintf(routed + strlen(routed), sizeof routed - strlen(routed), "-%s ", d->spec.name);
    PX_CHECK(why.code == PX_UNAVAILABLE);
}

static void fake_event(void *arg, const px_deployment *d, const char *kind, const char *message)
{
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s ", kind);
}

static void fake_changed(void *arg, const px_deployment *d) {}

static const px_deploy_ports ports = {.agents = &agents,
    .ranks_on = ranks_on,
    .write = fake_write_keys,
    .attach = fake_attach,
    .detach = fake_detach,
    .event = fake_event,
    .changed = fake_changed};

/* ------------------------------------------------------------------------------ steps */

static void begin(void)
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

static void end(void)
{
    px_agents_clear(&agents);
    px_deployer_free(deployer);
    deployer = NULL;
}

static void flush_writes(void)
{
    while (write_count) {
        fake_write w = writes[0];
        memmove(writes, writes + 1, --write_count * sizeof *writes);
        px_status status = etcd_down ? px_fail(PX_UNAVAILABLE, "etcd is away") : px_ok();
        px_deployer_written(deployer, w.name, w.ticket, status, etcd_down ? 0 : ++revision, now_ns);
    }
}

static void advance(int64_t ns)
{
    for (int64_t end_ns = now_ns + ns; now_ns < end_ns;) {
        now_ns += 50 * PX_MS;
        px_deployer_tick(deployer, now_ns);
        flush_writes();
    }
}

static void join_with(const char *name, Phalanx__V1__RankReport *const *ranks, size_t count)
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

static void join(const char *name)
{
    join_with(name, NULL, 0);
}

static void lose(const char *name)
{
    px_deployer_agent_lost(deployer, name, now_ns);
    px_agents_remove(&agents, px_agents_find(&agents, name));
}

static px_spec spec_of(const char *name, uint32_t tp)
{
    px_spec spec = {.tp = tp, .pp = 1, .model_path = "/m"};
    px_name_copy(spec.name, name);
    return spec;
}

static const px_deployment *deploy(const char *name, uint32_t tp)
{
    const px_deployment *d = NULL;
    px_spec spec = spec_of(name, tp);
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, false, now_ns, &d));
    flush_writes();
    return d;
}

static Phalanx__V1__RankReport report_of(
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

static void say(const px_deployment *d, const Phalanx__V1__RankReport *report)
{
    Phalanx__V1__AgentMessage message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__AGENT_MESSAGE__KIND_RANK;
    message.rank = (Phalanx__V1__RankReport *)report;
    px_deployer_agent_message(deployer, d->record.agents[report->rank], &message, now_ns);
}

static void say_state(const px_deployment *d, uint32_t rank, Phalanx__V1__RankState state)
{
    Phalanx__V1__RankReport report = report_of(d, rank, state);
    say(d, &report);
}

static void end_with(const px_deployment *d, uint32_t rank, px_code code, const char *why)
{
    Phalanx__V1__RankReport report = report_of(d, rank, STATE(ENDED));
    report.code = code;
    report.message = (char *)why;
    say(d, &report);
}

static void engine_up(const px_deployment *d)
{
    Phalanx__V1__ModelInfo info = PHALANX__V1__MODEL_INFO__INIT;
    info.architecture = "llama";
    info.context = 2048;
    px_deployer_engine_up(deployer, d->spec.name, d->record.generation, &info, now_ns);
}

static void make_ready(const px_deployment *d)
{
    for (uint32_t rank = 0; rank < px_spec_world(&d->spec); rank++)
        say_state(d, rank, STATE(READY));
    engine_up(d);
}

static void end_all(const px_deployment *d)
{
    for (uint32_t rank = 0; rank < px_spec_world(&d->spec); rank++)
        end_with(d, rank, PX_UNAVAILABLE, "stopped");
}

/* ------------------------------------------------------------------------------ cases */

PX_TEST(a_deployment_becomes_ready)
{
    begin();
    join("a");
    join("b");
    const px_deployment *d = deploy("m", 2);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    PX_CHECK_STR(stored, "+deployments/m +groups/m ");
    PX_CHECK_STR(sent, "a<expect 1 b<expect 1 a<launch 2 of /m ");
    Phalanx__V1__RankReport half = report_of(d, 0, STATE(LOADING));
    half.progress = 0.5;
    say(d, &half);
    PX_CHECK(px_deployment_progress(d) == 0.25);
    say_state(d, 0, STATE(READY));
    PX_CHECK_STR(routed, "");
    say_state(d, 1, STATE(READY));
    PX_CHECK_STR(routed, "+127.0.0.1:4000 ");
    PX_CHECK(d->state == PX_DEPLOY_LOADING); /* until the router has a connection */
    engine_up(d);
    PX_CHECK(d->state == PX_DEPLOY_READY && d->model.context == 2048);
    flush_writes();
    PX_CHECK_STR(stored, "+deployments/m +groups/m +groups/m "); /* that it has been ready */
    PX_CHECK_STR(told, "deploy.requested group.started group.ready ");
    end();
}

PX_TEST(nobody_hears_of_a_generation_before_etcd_has_it)
{
    begin();
    join("a");
    etcd_down = true;
    const px_deployment *d = deploy("m", 1);
    advance(5 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_PENDING && strstr(d->message, "etcd is away"));
    PX_CHECK_STR(sent, "");
    etcd_down = false;
    advance(2 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING && strstr(sent, "launch"));
    end();
}

PX_TEST(generations_never_come_back)
{
    begin();
    join("a");
    uint64_t first = deploy("m", 1)->record.generation;
    PX_CHECK_OK(px_deployer_undeploy(deployer, "m", now_ns));
    advance(PX_DEPLOY_END_NS + PX_SEC);
    PX_CHECK(!px_deployer_find(deployer, "m"));
    PX_CHECK(deploy("m", 1)->record.generation > first);
    end();
}

PX_TEST(waits_for_agents_and_says_so)
{
    begin();
    const px_deployment *d = deploy("m", 2);
    PX_CHECK(d->state == PX_DEPLOY_PENDING && strstr(d->message, "no agent has joined"));
    join("a");
    join("b"); /* shortly after: both are used */
    advance(2 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    PX_CHECK_STR(d->record.agents[1], "b");
    end();
}

PX_TEST(named_agents_are_waited_for_once)
{
    begin();
    px_spec spec = spec_of("m", 2);
    px_name_copy(spec.agents[0], "a");
    px_name_copy(spec.agents[1], "b");
    spec.agent_count = 2;
    const px_deployment *d;
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, false, now_ns, &d));
    join("a");
    join("c");
    advance(3 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_PENDING && strstr(d->message, "waiting for agent 'b'"));
    join("b");
    advance(2 * PX_SEC);
    make_ready(d);
    PX_CHECK(d->state == PX_DEPLOY_READY);
    lose("b");
    say_state(d, 0, STATE(ENDED));
    advance(2 * PX_SEC); /* b is gone: both ranks on a, none on c */
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    PX_CHECK_STR(d->record.agents[0], "a");
    PX_CHECK_STR(d->record.agents[1], "a");
    end();
}

PX_TEST(a_dead_rank_restarts_the_group)
{
    begin();
    join("a");
    join("b");
    const px_deployment *d = deploy("m", 2);
    make_ready(d);
    uint64_t generation = d->record.generation;
    sent[0] = '\0';
    end_with(d, 1, PX_UNAVAILABLE, "killed by signal 9");
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    PX_CHECK_STR(d->message, "rank 1 on b ended: killed by signal 9");
    PX_CHECK(strstr(sent, "a<stop") && strstr(sent, "b<stop"));
    PX_CHECK_STR(routed, "+127.0.0.1:4000 -m ");
    advance(PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING); /* rank 0 has not ended yet */
    say_state(d, 0, STATE(ENDED));
    advance(100 * PX_MS);
    PX_CHECK(d->state == PX_DEPLOY_LOADING && d->record.generation == generation + 1);
    PX_CHECK(d->record.restarts == 1);
    make_ready(d);
    PX_CHECK(d->state == PX_DEPLOY_READY);
    end();
}

PX_TEST(a_rank_that_never_says_it_ended_does_not_block_the_restart)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    say_state(d, 0, STATE(STUCK));
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING && strstr(d->message, "is stuck"));
    advance(PX_DEPLOY_END_NS - PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    advance(2 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    end();
}

PX_TEST(words_about_the_past_change_nothing)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    Phalanx__V1__RankReport old = report_of(d, 0, STATE(ENDED));
    old.generation--;
    say(d, &old);
    Phalanx__V1__LaunchEnded ended = PHALANX__V1__LAUNCH_ENDED__INIT;
    ended.group = "m";
    ended.generation = d->record.generation - 1;
    Phalanx__V1__AgentMessage message = PHALANX__V1__AGENT_MESSAGE__INIT;
    message.kind_case = PHALANX__V1__AGENT_MESSAGE__KIND_LAUNCH_ENDED;
    message.launch_ended = &ended;
    px_deployer_agent_message(deployer, "a", &message, now_ns);
    px_deployer_engine_down(
        deployer, "m", d->record.generation - 1, px_fail(PX_UNAVAILABLE, "x"), now_ns);
    Phalanx__V1__RankReport beyond = report_of(d, 0, STATE(ENDED));
    beyond.rank = 4000000000u;
    message.kind_case = PHALANX__V1__AGENT_MESSAGE__KIND_RANK;
    message.rank = &beyond;
    px_deployer_agent_message(deployer, "a", &message, now_ns);
    PX_CHECK(d->state == PX_DEPLOY_READY);
    ended.generation++;
    message.kind_case = PHALANX__V1__AGENT_MESSAGE__KIND_LAUNCH_ENDED;
    message.launch_ended = &ended;
    px_deployer_agent_message(deployer, "a", &message, now_ns);
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    end();
}

PX_TEST(backoff_grows_and_is_forgotten)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    int64_t last_ns = 0;
    for (int i = 0; i < 12; i++) {
        end_all(d);
        PX_REQUIRE(d->state == PX_DEPLOY_RESTARTING);
        int64_t delay_ns = d->due_ns - now_ns;
        PX_CHECK(delay_ns >= last_ns && delay_ns <= PX_DEPLOY_BACKOFF_NS_MAX);
        last_ns = delay_ns;
        advance(delay_ns + 100 * PX_MS);
        PX_REQUIRE(d->state == PX_DEPLOY_LOADING);
        make_ready(d);
    }
    PX_CHECK(last_ns == PX_DEPLOY_BACKOFF_NS_MAX);
    advance(PX_DEPLOY_STEADY_NS + PX_SEC);
    end_all(d);
    PX_CHECK(d->due_ns - now_ns == PX_DEPLOY_BACKOFF_NS_MIN);
    end();
}

PX_TEST(a_cause_that_stays_is_final_until_asked_again)
{
    begin();
    join("a");
    join("b");
    const px_deployment *d = deploy("m", 2);
    /* The peer that notices speaks first, the culprit second. */
    end_with(d, 0, PX_UNAVAILABLE, "rank 1 is gone");
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    end_with(d, 1, PX_NOT_FOUND, "/m does not exist");
    PX_CHECK(d->state == PX_DEPLOY_FAILED);
    PX_CHECK_STR(d->message, "rank 1 on b ended: /m does not exist");
    advance(120 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_FAILED);
    deploy("m", 2);
    advance(PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    make_ready(d);
    /* Once it has worked, nothing is final. */
    end_with(d, 0, PX_NOT_FOUND, "/m does not exist");
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    end();
}

PX_TEST(a_lost_agent_moves_the_group)
{
    begin();
    join("a");
    join("b");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    PX_CHECK_STR(d->record.agents[0], "a");
    lose("a");
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    PX_CHECK_STR(d->message, "agent 'a' was lost");
    advance(PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    PX_CHECK_STR(d->record.agents[0], "b");
    end();
}

PX_TEST(an_agent_that_comes_back_keeps_its_ranks_or_loses_the_group)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    Phalanx__V1__RankReport running = report_of(d, 0, STATE(READY)), *list[] = {&running};
    join_with("a", list, 1);
    PX_CHECK(d->state == PX_DEPLOY_READY);
    join("a"); /* without its rank */
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    end();
}

PX_TEST(ranks_nobody_wants_are_stopped)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    Phalanx__V1__RankReport old = report_of(d, 0, STATE(READY)), other = old, now = old;
    old.generation -= 1;
    other.group = "gone";
    other.generation = 5;
    Phalanx__V1__RankReport *list[] = {&old, &other, &now};
    sent[0] = '\0';
    join_with("a", list, 3);
    char want[64];
    snprintf(want, sizeof want, "a<stop %llu a<stop 5 ", (unsigned long long)old.generation);
    PX_CHECK_STR(sent, want);
    PX_CHECK(d->state == PX_DEPLOY_READY);
    end();
}

PX_TEST(silence_while_loading_is_a_failure)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    Phalanx__V1__RankReport report = report_of(d, 0, STATE(LOADING));
    for (int i = 0; i < 10; i++) { /* slow is fine */
        report.progress = 0.1 * i;
        say(d, &report);
        advance(PX_DEPLOY_SILENCE_NS / 2);
        PX_CHECK(d->state == PX_DEPLOY_LOADING);
    }
    advance(PX_DEPLOY_SILENCE_NS / 2 + PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    end();
}

PX_TEST(an_engine_that_cannot_be_reached_is_a_failure)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    px_deployer_engine_down(
        deployer, "m", d->record.generation, px_fail(PX_UNAVAILABLE, "cut"), now_ns);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    engine_up(d);
    PX_CHECK(d->state == PX_DEPLOY_READY); /* it was the network */
    px_deployer_engine_down(
        deployer, "m", d->record.generation, px_fail(PX_UNAVAILABLE, "cut"), now_ns);
    advance(PX_DEPLOY_CONNECT_NS + PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    end();
}

PX_TEST(an_agent_that_cannot_be_told_is_a_passing_failure)
{
    begin();
    join("a");
    agent_full = true;
    const px_deployment *d = deploy("m", 1);
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING); /* not FAILED */
    agent_full = false;
    advance(PX_DEPLOY_END_NS + PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    end();
}

PX_TEST(asking_again_and_asking_otherwise)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1), *again;
    px_spec spec = spec_of("m", 1);
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, false, now_ns, &again));
    PX_CHECK(again == d);
    spec.tp = 2;
    PX_CHECK(px_deployer_deploy(deployer, &spec, false, now_ns, &again).code == PX_ALREADY_EXISTS);
    px_name_copy(spec.name, "no spaces");
    PX_CHECK(
        px_deployer_deploy(deployer, &spec, false, now_ns, &again).code == PX_INVALID_ARGUMENT);
    spec = spec_of("x", 65);
    PX_CHECK(
        px_deployer_deploy(deployer, &spec, false, now_ns, &again).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_deployer_undeploy(deployer, "x", now_ns).code == PX_NOT_FOUND);
    end();
}

PX_TEST(too_little_memory_is_refused_or_waited_for)
{
    begin();
    join("a");
    px_agent *a = px_agents_find(&agents, "a");
    px_agent_model model = {.name = "big", .path = "/m", .bytes = 100ull << 30};
    px_agent_model *none = a->models;
    a->models = &model;
    a->model_count = 1;
    px_spec spec = spec_of("m", 1);
    const px_deployment *d;
    px_status status = px_deployer_deploy(deployer, &spec, false, now_ns, &d);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && strstr(status.text, "100.1 GiB"));
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, true, now_ns, &d));
    flush_writes();
    PX_CHECK(d->state == PX_DEPLOY_PENDING && strstr(d->message, "too little memory"));
    a->memory_free_bytes = 200ull << 30;
    advance(2 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    a->models = none;
    a->model_count = 0;
    end();
}

PX_TEST(undeploying_stops_deletes_and_forgets)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    stored[0] = '\0';
    PX_CHECK_OK(px_deployer_undeploy(deployer, "m", now_ns));
    PX_CHECK(d->state == PX_DEPLOY_STOPPING && strstr(sent, "a<stop"));
    px_spec spec = spec_of("m", 1);
    const px_deployment *again;
    PX_CHECK(
        px_deployer_deploy(deployer, &spec, false, now_ns, &again).code == PX_FAILED_PRECONDITION);
    etcd_down = true;
    end_all(d);
    advance(2 * PX_SEC);
    PX_CHECK(px_deployer_find(deployer, "m")); /* etcd still has it */
    etcd_down = false;
    advance(2 * PX_SEC);
    PX_CHECK(!px_deployer_find(deployer, "m"));
    PX_CHECK(strstr(stored, "-deployments/m -groups/m "));
    end();
}

/* ------------------------------------------------------------------------------ a new leader */

static px_buf spec_json, record_json;

/* What etcd holds after `d` was started; then a new leader that knows nothing else. */
static const px_deployment *change_leader(const px_deployment *d)
{
    px_buf_init(&spec_json, 65536);
    px_buf_init(&record_json, 65536);
    px_spec_encode(&spec_json, &d->spec);
    px_group_record_encode(&record_json, &d->record);
    char spec_key[128], record_key[128];
    snprintf(spec_key, sizeof spec_key, PX_KEY_DEPLOYMENTS "%s", d->spec.name);
    snprintf(record_key, sizeof record_key, PX_KEY_GROUPS "%s", d->spec.name);
    px_etcd_kv kvs[] = {
        {.key = spec_key, .value = {spec_json.data, spec_json.length}, .create_revision = 7},
        {.key = PX_KEY_DEPLOYMENTS "junk", .value = {"{", 1}},
        {.key = record_key, .value = {record_json.data, record_json.length}}};
    px_agents_clear(&agents);
    px_deployer_free(deployer);
    deployer = px_deployer_create(&ports);
    sent[0] = routed[0] = '\0';
    uint32_t skipped;
    px_deployer_restore(deployer, kvs, 3, now_ns, &skipped);
    PX_CHECK(skipped == 1);
    px_buf_done(&spec_json);
    px_buf_done(&record_json);
    return px_deployer_find(deployer, "m");
}

PX_TEST(a_new_leader_adopts_what_still_runs)
{
    begin();
    join("a");
    join("b");
    const px_deployment *d = deploy("m", 2);
    make_ready(d);
    uint64_t generation = d->record.generation;
    d = change_leader(d);
    PX_REQUIRE(d);
    PX_CHECK(d->state == PX_DEPLOY_LOADING && d->record.generation == generation);
    Phalanx__V1__RankReport reports[] = {
        report_of(d, 0, STATE(READY)), report_of(d, 1, STATE(READY))};
    Phalanx__V1__RankReport *first[] = {&reports[0]}, *second[] = {&reports[1]};
    join_with("a", first, 1);
    advance(PX_SEC);
    join_with("b", second, 1);
    PX_CHECK_STR(routed, "+127.0.0.1:4000 ");
    engine_up(d);
    PX_CHECK(d->state == PX_DEPLOY_READY && d->record.restarts == 0);
    PX_CHECK_STR(sent, "");
    end();
}

PX_TEST(a_new_leader_starts_anew_what_does_not_run)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    uint64_t generation = d->record.generation;
    d = change_leader(d);
    PX_REQUIRE(d);
    join("a"); /* runs nothing */
    PX_CHECK(d->state == PX_DEPLOY_RESTARTING);
    advance(PX_DEPLOY_END_NS + PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING && d->record.generation == generation + 1);
    end();
}

PX_TEST(a_new_leader_knows_whether_it_ever_worked)
{
    for (int worked = 0; worked < 2; worked++) {
        begin();
        join("a");
        const px_deployment *d = deploy("m", 1);
        if (worked) make_ready(d);
        d = change_leader(d);
        PX_REQUIRE(d);
        Phalanx__V1__RankReport report = report_of(d, 0, STATE(LOADING)), *list[] = {&report};
        join_with("a", list, 1);
        end_with(d, 0, PX_NOT_FOUND, "/m does not exist");
        PX_CHECK(d->state == (worked ? PX_DEPLOY_RESTARTING : PX_DEPLOY_FAILED));
        end();
    }
}

PX_TEST(a_new_leader_waits_for_agents_only_so_long)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    make_ready(d);
    d = change_leader(d);
    PX_REQUIRE(d);
    join("b");
    advance(PX_DEPLOY_ADOPT_NS - PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    advance(PX_DEPLOY_END_NS + 3 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING && strstr(sent, "b<launch"));
    end();
}

PX_TEST(records_survive_the_round_trip)
{
    px_spec spec = {.tp = 2,
        .pp = 3,
        .threads = 4,
        .context = 5,
        .seqs_max = 6,
        .kv_tokens = 1e12,
        .name = "n",
        .model_path = "/p \"q\"",
        .kv_type = "f16",
        .kernels = "avx2",
        .agents = {"a", "b"},
        .agent_count = 2};
    px_spec again;
    px_buf json;
    px_buf_init(&json, 65536);
    px_spec_encode(&json, &spec);
    PX_CHECK_OK(px_spec_decode((px_slice){json.data, json.length}, &again));
    PX_CHECK(px_spec_equal(&spec, &again));
    px_buf_done(&json);
    static const char *const bad[] = {"", "[]", "{\"name\":\"x\"}",
        "{\"name\":\"a b\",\"model_path\":\"/m\"}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"tp\":-1}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"tp\":65}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"tp\":64,\"pp\":64}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"agents\":[1]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        PX_CHECK(!px_is_ok(px_spec_decode((px_slice){bad[i], strlen(bad[i])}, &again)));
}

PX_TEST_MAIN()
