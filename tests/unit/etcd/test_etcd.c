/* The client against a real etcd that the test starts on loopback; skipped where etcd is missing.
 */
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "etcd/etcd.h"
#include "etcd/private.h"
#include "etcd/watch.h"
#include "test.h"

static px_loop *loop;
static px_etcd_private *server;
static px_etcd *etcd;
static char folder[] = "phalanx-etcd-test-XXXXXX";
static char server_url[128];

static bool run_until(const bool *done, int64_t limit_ns)
{
    int64_t end_ns = px_now_ns() + limit_ns;
    while (!*done && px_now_ns() < end_ns) px_loop_dispatch(loop, 20 * PX_MS);
    return *done;
}

/* ------------------------------------------------------------------------------ calls that wait */

typedef struct answer {
    bool done;
    px_status status;
    bool succeeded;
    int64_t revision, lease;
    size_t count;
    char value[64];
} answer;

static void keep(void *arg, px_status status, const px_etcd_result *result)
{
    answer *a = arg;
    a->done = true;
    a->status = status;
    a->succeeded = result->succeeded;
    a->revision = result->revision;
    a->lease = result->lease;
    a->count = result->count;
    if (result->count) snprintf(a->value, sizeof a->value, "%s", result->kvs[0].value.data);
}

static answer wait_for(answer *a)
{
    if (!run_until(&a->done, 15 * PX_SEC)) a->status = px_fail(PX_INTERNAL, "no answer in 15 s");
    return *a;
}

static answer put(const char *key, const char *value, int64_t lease)
{
    answer a = {0};
    px_etcd_op op = {
        .kind = PX_ETCD_PUT, .key = key, .value = {value, strlen(value)}, .lease = lease};
    px_etcd_txn(etcd, NULL, 0, &op, 1, keep, &a);
    return wait_for(&a);
}

static answer put_if_absent(const char *key, const char *value)
{
    answer a = {0};
    px_etcd_op op = {.kind = PX_ETCD_PUT, .key = key, .value = {value, strlen(value)}};
    px_etcd_txn(etcd, &(px_etcd_compare){.key = key}, 1, &op, 1, keep, &a);
    return wait_for(&a);
}

static answer delete_prefix(const char *prefix)
{
    answer a = {0};
    px_etcd_op op = {.kind = PX_ETCD_DELETE, .key = prefix, .prefix = true};
    px_etcd_txn(etcd, NULL, 0, &op, 1, keep, &a);
    return wait_for(&a);
}

static answer range(const char *key, bool prefix)
{
    answer a = {0};
    px_etcd_range(
        etcd, &(px_etcd_op){.kind = PX_ETCD_RANGE, .key = key, .prefix = prefix}, keep, &a);
    return wait_for(&a);
}

static answer lease(void (*call)(px_etcd *, int64_t, px_etcd_fn, void *), int64_t value)
{
    answer a = {0};
    call(etcd, value, keep, &a);
    return wait_for(&a);
}

/* ------------------------------------------------------------------------------ the server */

static bool remove_folder(void)
{
    char *const argv[] = {"rm", "-r", folder, NULL};
    pid_t pid;
    int status;
    return posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

static void on_ready(void *arg, px_status status, const char *url)
{
    answer *a = arg;
    a->done = true;
    a->status = status;
    snprintf(server_url, sizeof server_url, "%s", url);
}

static void on_lost(void *arg, px_status status)
{
    printf("etcd lost: %s\n", status.text);
}

static px_status start_server(void)
{
    static answer ready;
    ready = (answer){0};
    px_etcd_private_options options = {
        .data_dir = folder, .on_ready = on_ready, .on_lost = on_lost, .arg = &ready};
    PX_TRY(px_etcd_private_start(loop, &options, &server));
    if (!run_until(&ready.done, 40 * PX_SEC)) return px_fail(PX_INTERNAL, "never ready");
    return ready.status;
}

static void stop_server(void)
{
    px_etcd_private_stop(server);
    server = NULL;
}

static px_status new_client(const char *endpoints)
{
    px_etcd_free(etcd);
    etcd = NULL;
    return px_etcd_create(
        loop, &(px_etcd_options){.endpoints = endpoints, .timeout_ns = 10 * PX_SEC}, &etcd);
}

PX_TEST(starts_and_becomes_healthy)
{
    PX_CHECK_OK(px_loop_create(&loop));
    PX_REQUIRE(mkdtemp(folder));
    px_status status = start_server();
    if (status.code == PX_FAILED_PRECONDITION) { /* no etcd here: say so and test nothing */
        printf("skipped: %s\n", status.text);
        remove_folder();
        exit(77);
    }
    PX_CHECK_OK(status);
    PX_CHECK_OK(new_client(server_url));
}

PX_TEST(a_second_one_in_the_same_folder_is_refused)
{
    px_etcd_private *second = NULL;
    px_etcd_private_options options = {.data_dir = folder, .on_ready = on_ready};
    px_status status = px_etcd_private_start(loop, &options, &second);
    PX_CHECK(status.code == PX_FAILED_PRECONDITION && strstr(status.text, "in use by another"));
}

PX_TEST(puts_ranges_and_compares)
{
    PX_REQUIRE(etcd);
    PX_CHECK(range("t/", true).count == 0);
    PX_CHECK_OK(put("t/a", "1", 0).status);
    answer first = put_if_absent("t/b", "x");
    PX_CHECK_OK(first.status);
    PX_CHECK(first.succeeded);
    PX_CHECK(!put_if_absent("t/b", "y").succeeded);
    answer one = range("t/b", false);
    PX_CHECK(one.count == 1);
    PX_CHECK_STR(one.value, "x");
    PX_CHECK(range("t/", true).count == 2);
    PX_CHECK_OK(delete_prefix("t/").status);
    PX_CHECK(range("t/", true).count == 0);
}

PX_TEST(leases_live_and_die)
{
    PX_REQUIRE(etcd);
    answer granted = lease(px_etcd_lease_grant, 5);
    PX_CHECK_OK(granted.status);
    PX_REQUIRE(granted.lease != 0);
    PX_CHECK_OK(put("l/a", "1", granted.lease).status);
    PX_CHECK_OK(lease(px_etcd_lease_keep_alive, granted.lease).status);
    PX_CHECK_OK(lease(px_etcd_lease_revoke, granted.lease).status);
    PX_CHECK(range("l/a", false).count == 0);
    PX_CHECK(lease(px_etcd_lease_keep_alive, granted.lease).status.code == PX_NOT_FOUND);
    PX_CHECK(put("l/b", "1", granted.lease).status.code == PX_NOT_FOUND);
}

/* ------------------------------------------------------------------------------ watch */

typedef struct seen {
    char log[512]; /* "=2 +a +b -a": states with their size, changes by key */
    bool reached;
    const char *want;
    px_etcd_watch *watch;
    bool stop_inside;
} seen;

static void note(seen *s, const char *text)
{
    snprintf(s->log + strlen(s->log), sizeof s->log - strlen(s->log), "%s ", text);
    s->reached = s->want && strstr(s->log, s->want) != NULL;
}

static void on_state(void *arg, const px_etcd_kv *kvs, size_t count)
{
    char text[32];
    snprintf(text, sizeof text, "=%zu", count);
    note(arg, text);
}

static void on_change(void *arg, const px_etcd_change *change)
{
    char text[64];
    seen *s = arg;
    snprintf(text, sizeof text, "%c%s", change->deleted ? '-' : '+', change->kv.key + 2);
    note(s, text);
    if (s->stop_inside) px_etcd_watch_stop(s->watch);
}

static bool expect(seen *s, const char *want)
{
    s->want = want;
    s->reached = strstr(s->log, want) != NULL;
    bool ok = run_until(&s->reached, 20 * PX_SEC);
    if (!ok) printf("watch saw: %s\n", s->log);
    return ok;
}

static void watch_start(seen *s, int64_t idle_ns)
{
    px_etcd_watch_start(etcd,
        &(px_etcd_watch_options){.prefix = "w/",
            .idle_ns = idle_ns,
            .on_state = on_state,
            .on_change = on_change,
            .arg = s},
        &s->watch);
}

PX_TEST(watch_gives_state_then_changes_in_order)
{
    PX_REQUIRE(etcd);
    PX_CHECK_OK(put("w/a", "1", 0).status);
    seen s = {0};
    watch_start(&s, 0);
    PX_REQUIRE(expect(&s, "=1 "));
    PX_CHECK_OK(put("w/b", "2", 0).status);
    PX_CHECK_OK(put("v/no", "2", 0).status);
    PX_CHECK_OK(delete_prefix("w/").status);
    PX_CHECK(expect(&s, "=1 +b -a -b "));
    px_etcd_watch_stop(s.watch);
}

PX_TEST(watch_can_be_stopped_within_its_callback)
{
    PX_REQUIRE(etcd);
    seen s = {.stop_inside = true};
    watch_start(&s, 0);
    PX_REQUIRE(expect(&s, "=0 "));
    answer a = {0};
    px_etcd_op ops[] = {{.kind = PX_ETCD_PUT, .key = "w/1", .value = {"", 0}},
        {.kind = PX_ETCD_PUT, .key = "w/2", .value = {"", 0}}};
    px_etcd_txn(etcd, NULL, 0, ops, 2, keep, &a);
    PX_CHECK_OK(wait_for(&a).status);
    PX_CHECK(expect(&s, "+1"));
    PX_CHECK(!strstr(s.log, "+2")); /* in the same message, behind the stop */
    PX_CHECK_OK(delete_prefix("w/").status);
}

PX_TEST(watch_survives_a_dead_endpoint_and_a_frozen_server)
{
    PX_REQUIRE(etcd);
    char endpoints[256];
    snprintf(endpoints, sizeof endpoints, "http://127.0.0.1:1,%s", server_url);
    PX_CHECK_OK(new_client(endpoints));
    seen s = {0};
    watch_start(&s, 2 * PX_SEC); /* the server's progress interval is one second */
    PX_REQUIRE(expect(&s, "=0 "));
    PX_CHECK_OK(put("w/a", "1", 0).status);
    PX_CHECK(expect(&s, "+a "));
    /* The connection stays and nothing comes: only the idle limit can notice. */
    pid_t pid = px_etcd_private_pid(server);
    PX_CHECK(kill(pid, SIGSTOP) == 0);
    bool never = false;
    run_until(&never, 3 * PX_SEC);
    PX_CHECK(kill(pid, SIGCONT) == 0);
    PX_CHECK_OK(put("w/b", "1", 0).status);
    PX_CHECK(expect(&s, "=0 +a +b ")); /* nothing lost, nothing twice */
    PX_CHECK_OK(delete_prefix("w/").status);
    px_etcd_watch_stop(s.watch);
}

PX_TEST(data_outlives_a_crash_of_etcd)
{
    PX_REQUIRE(etcd);
    PX_CHECK_OK(put("d/kept", "yes", 0).status);
    stop_server(); /* SIGKILL */
    PX_CHECK_OK(start_server());
    PX_CHECK_OK(new_client(server_url));
    answer kept = range("d/kept", false);
    PX_CHECK_OK(kept.status);
    PX_CHECK_STR(kept.value, "yes");
}

PX_TEST(nobody_there_fails_in_time_with_the_endpoint)
{
    PX_REQUIRE(loop);
    px_etcd_free(etcd);
    etcd = NULL;
    PX_CHECK_OK(px_etcd_create(loop,
        &(px_etcd_options){.endpoints = "http://127.0.0.1:1", .timeout_ns = 300 * PX_MS}, &etcd));
    int64_t start_ns = px_now_ns();
    px_status status = range("a", false).status;
    PX_CHECK(status.code == PX_UNAVAILABLE && strstr(status.text, "http://127.0.0.1:1"));
    PX_CHECK(px_now_ns() - start_ns < 5 * PX_SEC);
}

PX_TEST(endpoints_are_checked)
{
    px_etcd *bad = NULL;
    static const char *const lists[] = {"", ",", "localhost:2379", "ftp://x", "http://"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        PX_CHECK(px_etcd_create(loop, &(px_etcd_options){.endpoints = lists[i]}, &bad).code ==
                 PX_INVALID_ARGUMENT);
}

PX_TEST(the_end)
{
    px_etcd_free(etcd);
    stop_server();
    px_loop_free(loop);
    PX_CHECK(remove_folder());
}

PX_TEST_MAIN()
