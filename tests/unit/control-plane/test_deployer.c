/* The life of deployments, over the fakes of fake_cluster.h. */
#include "fake_cluster.h"

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

static uint32_t note(const char *name, const char *path)
{
    px_adapter_change change = {.unloads = !path};
    uint32_t when = 0;
    px_name_copy(change.adapter.name, name);
    if (path) snprintf(change.adapter.path, sizeof change.adapter.path, "%s", path);
    PX_CHECK_OK(px_deployer_note_adapter(deployer, "m", &change, now_ns, &when));
    return when;
}

PX_TEST(adapters_are_written_down_and_started_with)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1);
    PX_CHECK_STR(launched_adapters, "");
    make_ready(d);
    flush_writes();
    stored[0] = '\0';
    etcd_down = true;
    note("sql", "/a/sql");
    uint32_t when = note("fr", "/a/fr");
    advance(5 * PX_SEC); /* it is tried again, and never given up */
    PX_CHECK(d->adapter_changes_saved != when);
    etcd_down = false;
    advance(2 * PX_SEC);
    PX_CHECK(d->adapter_changes_saved == when);
    PX_CHECK(strstr(stored, "+deployments/m ") && !strstr(stored, "+groups/m "));
    PX_CHECK(d->state == PX_DEPLOY_READY);

    px_buf json;
    px_spec back;
    px_buf_init(&json, 1 << 16);
    px_spec_encode(&json, &d->spec);
    PX_CHECK_OK(px_spec_decode((px_slice){px_buf_text(&json), json.length}, &back));
    PX_CHECK(back.adapters.count == 2);
    PX_CHECK_STR(px_adapters_find(&back.adapters, "fr")->path, "/a/fr");
    px_buf_done(&json);

    note("sql", NULL);
    advance(PX_SEC);
    end_with(d, 0, PX_UNAVAILABLE, "killed");
    advance(5 * PX_SEC);
    PX_CHECK(d->state == PX_DEPLOY_LOADING);
    PX_CHECK_STR(launched_adapters, "fr=/a/fr ");
    end();
}

PX_TEST(deploying_again_may_name_adapters_that_are_there)
{
    begin();
    join("a");
    const px_deployment *d = deploy("m", 1), *again;
    px_spec spec = spec_of("m", 1);
    px_adapter_spec adapter;
    PX_CHECK_OK(px_adapter_take("sql", "/a/sql", &adapter));
    PX_CHECK(px_adapter_take("sql", "a/sql", &adapter).code == PX_INVALID_ARGUMENT);
    PX_CHECK(px_adapter_take("s q l", "/a/sql", &adapter).code == PX_INVALID_ARGUMENT);
    PX_CHECK_OK(px_adapters_add(&spec.adapters, &adapter));
    px_status status = px_deployer_deploy(deployer, &spec, false, now_ns, &again);
    PX_CHECK(status.code == PX_ALREADY_EXISTS && strstr(status.text, "adapter load"));
    make_ready(d);
    note("sql", "/a/sql");
    PX_CHECK_OK(px_deployer_deploy(deployer, &spec, false, now_ns, &again));
    for (int i = 1; i < PX_ADAPTERS_MAX; i++) {
        snprintf(adapter.name, sizeof adapter.name, "n%d", i);
        PX_CHECK_OK(px_adapters_add(&spec.adapters, &adapter));
    }
    px_name_copy(adapter.name, "more");
    PX_CHECK(px_adapters_add(&spec.adapters, &adapter).code == PX_RESOURCE_EXHAUSTED);
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

PX_TEST_MAIN()
