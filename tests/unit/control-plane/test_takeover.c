/* What a new leader makes of what it finds: in etcd, and running on the agents. */
#include "fake_cluster.h"

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
        .agent_count = 2,
        .serving = {.scale_factor = 1.5,
            .kv_park_bytes = -1,
            .queue_tokens_max = 7,
            .batch_size = 8,
            .max_latency_ms = 9,
            .queue_max = 10,
            .no_prefix_cache = 1,
            .speculate_max = 3,
            .speculate = "draft",
            .draft_model = "/m/small",
            .kv_park_folder = "/var"}};
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
        "{\"name\":\"x\",\"model_path\":\"/m\",\"agents\":[1]}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"serving\":{\"scale_factor\":0.5}}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"serving\":{\"kv_park_folder\":\"a\"}}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"serving\":{\"speculate\":\"often\"}}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"serving\":{\"speculate\":\"draft\"}}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"serving\":{\"draft_model\":\"a\"}}",
        "{\"name\":\"x\",\"model_path\":\"/m\",\"serving\":{\"batch_size\":-1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        PX_CHECK(!px_is_ok(px_spec_decode((px_slice){bad[i], strlen(bad[i])}, &again)));
}

PX_TEST_MAIN()
