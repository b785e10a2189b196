/* The launch's command line: what the control plane asks becomes the right mpirun, or a sentence.
 */
#include <string.h>

#include "cluster/launch.h"
#include "test.h"

enum { PLACES = 4 };

static const px_launch_here here = {.agent = "a",
    .machine = "m1",
    .program = "/opt/phalanx/node-agent",
    .socket_path = "/run/a/agent.sock",
    .scratch = "/run/a/mpi",
    .path = "/usr/bin:/bin",
    .is_root = true};

typedef struct fixture {
    px_msg_launch launch;
    px_msg_place places[PLACES], *pointers[PLACES];
    px_arena arena;
    px_launch_command command;
    char line[8192]; /* argv joined by blanks */
} fixture;

static void place(
    fixture *f, size_t rank, const char *agent, const char *machine, const char *address)
{
    static char sockets[PLACES][64];
    px_msg_place *p = &f->places[rank];
    phalanx__v1__rank_place__init(p);
    snprintf(sockets[rank], sizeof sockets[rank], "/run/%s/agent.sock", agent);
    p->agent = (char *)agent;
    p->machine = (char *)machine;
    p->address = (char *)address;
    p->socket_path = sockets[rank];
    p->program =
        (char *)(strcmp(machine, "m1") == 0 ? "/opt/phalanx/node-agent" : "/usr/bin/node-agent");
    f->pointers[rank] = p;
    if (rank >= f->launch.n_ranks) f->launch.n_ranks = rank + 1;
}

static void begin(fixture *f, uint32_t tp, uint32_t pp)
{
    memset(f, 0, sizeof *f);
    phalanx__v1__launch__init(&f->launch);
    f->launch.group = (char *)"smol";
    f->launch.generation = 3;
    f->launch.model_path = (char *)"/models/smol";
    f->launch.secret = (char *)"hush";
    f->launch.tp = tp;
    f->launch.pp = pp;
    f->launch.ranks = f->pointers;
    px_arena_init(&f->arena, 4 << 20);
}

static px_status build(fixture *f)
{
    PX_TRY(px_launch_build(&f->launch, &here, &f->arena, &f->command));
    size_t at = 0;
    for (const char **word = f->command.argv; *word; word++)
        at += (size_t)snprintf(f->line + at, sizeof f->line - at, "%s%s", at ? " " : "", *word);
    return px_ok();
}

static bool has_env(const fixture *f, const char *entry)
{
    for (const char **at = f->command.env; *at; at++)
        if (strcmp(*at, entry) == 0) return true;
    return false;
}

PX_TEST(one_rank_needs_no_mpirun)
{
    fixture f;
    begin(&f, 0, 0);
    f.launch.kv_type = (char *)"q8_0";
    f.launch.context = 2048;
    place(&f, 0, "a", "m1", "127.0.0.1");
    PX_CHECK_OK(build(&f));
    PX_CHECK(!f.command.uses_mpirun);
    PX_CHECK_STR(f.line,
        "/opt/phalanx/node-agent rank --agent-socket /run/a/agent.sock --group smol "
        "--model /models/smol --listen 127.0.0.1 --generation 3 --context 2048 "
        "--kv-type q8_0");
    px_arena_done(&f.arena);
}

PX_TEST(how_it_serves_is_passed_on)
{
    fixture f;
    begin(&f, 0, 0);
    Phalanx__V1__Serving serving = PHALANX__V1__SERVING__INIT;
    f.launch.serving = &serving;
    place(&f, 0, "a", "m1", "127.0.0.1");
    PX_CHECK_OK(build(&f));
    PX_CHECK(strstr(f.line, "--generation 3") && !strstr(f.line, "--batch-size"));
    serving.batch_size = 256;
    serving.max_latency_ms = 80;
    serving.scale_factor = 1.5;
    serving.queue_max = 9;
    serving.queue_tokens_max = 90000;
    serving.kv_park_bytes = -1;
    serving.kv_park_folder = (char *)"/var/kv";
    serving.no_prefix_cache = true;
    serving.speculate = (char *)"draft";
    serving.draft_model = (char *)"/models/small";
    serving.speculate_max = 5;
    PX_CHECK_OK(build(&f));
    PX_CHECK(strstr(f.line,
        " --batch-size 256 --max-latency-ms 80 --scale-factor 1.5 --queue-max 9 "
        "--queue-tokens-max 90000 --kv-park-bytes -1 --kv-park-folder /var/kv --no-prefix-cache "
        "--speculate draft --draft-model /models/small --speculate-max 5"));
    px_arena_done(&f.arena);
}

PX_TEST(only_the_leading_rank_is_told_of_adapters)
{
    fixture f;
    begin(&f, 2, 1);
    Phalanx__V1__Adapter one = PHALANX__V1__ADAPTER__INIT, two = one, *both[] = {&one, &two};
    one.name = (char *)"sql", one.path = (char *)"/a/sql=v1";
    two.name = (char *)"fr", two.path = (char *)"/a/fr";
    f.launch.adapters = both;
    f.launch.n_adapters = 2;
    place(&f, 0, "a", "m1", "127.0.0.1");
    place(&f, 1, "b", "m1", "127.0.0.1");
    PX_CHECK_OK(build(&f));
    const char *told = strstr(f.line, " --adapter sql=/a/sql=v1 --adapter fr=/a/fr : ");
    PX_CHECK(told && !strstr(told + 2, "--adapter sql"));
    two.path = (char *)"fr";
    PX_CHECK(strstr(build(&f).text, "absolute path"));
    px_arena_done(&f.arena);
}

PX_TEST(agents_of_one_machine_share_a_local_launch)
{
    fixture f;
    begin(&f, 2, 1);
    place(&f, 0, "a", "m1", "127.0.0.1");
    place(&f, 1, "b", "m1", "127.0.0.1");
    PX_CHECK_OK(build(&f));
    PX_CHECK(f.command.uses_mpirun && !f.command.uses_remote_start);
    PX_CHECK(strncmp(f.line, "mpirun --allow-run-as-root --oversubscribe ", 43) == 0);
    PX_CHECK(!strstr(f.line, "--host") && !strstr(f.line, "plm_rsh_agent"));
    /* Each rank reports to its own agent. */
    PX_CHECK(
        strstr(f.line, "-np 1 /opt/phalanx/node-agent rank --agent-socket /run/a/agent.sock "));
    PX_CHECK(
        strstr(f.line, ": -np 1 /opt/phalanx/node-agent rank --agent-socket /run/b/agent.sock "));
    PX_CHECK(has_env(&f, "TMPDIR=/run/a/mpi"));
    px_arena_done(&f.arena);
}

PX_TEST(neighbouring_ranks_of_one_agent_are_one_context)
{
    fixture f;
    begin(&f, 2, 2);
    for (size_t r = 0; r < 4; r++) place(&f, r, "a", "m1", "127.0.0.1");
    PX_CHECK_OK(build(&f));
    PX_CHECK(strstr(f.line, "-np 4 ") && !strstr(f.line, " : "));
    PX_CHECK(strstr(f.line, "--tp 2 --pp 2"));
    px_arena_done(&f.arena);
}

PX_TEST(other_machines_are_reached_through_the_agent)
{
    fixture f;
    begin(&f, 3, 1);
    place(&f, 0, "a", "m1", "10.7.0.1");
    place(&f, 1, "a2", "m1", "10.7.0.9"); /* the same machine under another address */
    place(&f, 2, "b", "m2", "10.7.0.2");
    PX_CHECK_OK(build(&f));
    PX_CHECK(f.command.uses_remote_start);
    PX_CHECK(strstr(
        f.line, "--host 10.7.0.1:1 -np 1 /opt/phalanx/node-agent rank --agent-socket /run/a/"));
    PX_CHECK(strstr(
        f.line, "--host 10.7.0.1:1 -np 1 /opt/phalanx/node-agent rank --agent-socket /run/a2/"));
    PX_CHECK(
        strstr(f.line, "--host 10.7.0.2:1 -np 1 /usr/bin/node-agent rank --agent-socket /run/b/"));
    PX_CHECK(strstr(
        f.line, "--mca oob_tcp_if_include 10.7.0.0/28 --mca btl_tcp_if_include 10.7.0.0/28"));
    PX_CHECK(strstr(f.line, "--mca plm_rsh_agent node-agent remote-start "));
    PX_CHECK(has_env(&f, "PATH=/opt/phalanx:/usr/bin:/bin"));
    PX_CHECK(has_env(&f, "PHALANX_SOCKET=/run/a/agent.sock"));
    PX_CHECK(has_env(&f, "PHALANX_GROUP=smol") && has_env(&f, "PHALANX_GENERATION=3"));
    px_arena_done(&f.arena);
}

PX_TEST(the_secret_is_nowhere_to_be_seen)
{
    fixture f;
    begin(&f, 2, 1);
    place(&f, 0, "a", "m1", "10.7.0.1");
    place(&f, 1, "b", "m2", "10.7.0.2");
    PX_CHECK_OK(build(&f));
    PX_CHECK(!strstr(f.line, "hush"));
    for (const char **at = f.command.env; *at; at++) PX_CHECK(!strstr(*at, "hush"));
    px_arena_done(&f.arena);
}

static void check_refused(fixture *f, const char *part)
{
    px_status status = build(f);
    PX_CHECK(status.code == PX_INVALID_ARGUMENT);
    PX_CHECK(strstr(status.text, part) != NULL);
    px_arena_done(&f->arena);
}

PX_TEST(senseless_launches_are_refused_with_a_sentence)
{
    fixture f;
    begin(&f, 2, 1);
    place(&f, 0, "a", "m1", "127.0.0.1");
    check_refused(&f, "needs 2 places, 1 were given");

    begin(&f, 1, 1);
    place(&f, 0, "b", "m2", "10.7.0.2");
    check_refused(&f, "belongs to agent 'b'");

    begin(&f, 1, 1);
    place(&f, 0, "a", "m1", "127.0.0.1");
    f.launch.group = (char *)"--help";
    check_refused(&f, "group's name");

    begin(&f, 1, 1);
    place(&f, 0, "a", "m1", "10.7.0.1,evil");
    check_refused(&f, "is no address");

    begin(&f, 1, 1);
    place(&f, 0, "a", "m1", "127.0.0.1");
    f.places[0].program = (char *)"node-agent";
    check_refused(&f, "absolute");

    begin(&f, 1, 1);
    place(&f, 0, "a", "m1", "127.0.0.1");
    f.launch.secret = (char *)"";
    check_refused(&f, "no secret");

    begin(&f, 4000000000u, 4000000000u);
    place(&f, 0, "a", "m1", "127.0.0.1");
    check_refused(&f, "more than can be started");
}

PX_TEST(network_is_the_smallest_that_holds_all)
{
    char out[32];
    PX_CHECK(px_launch_network((const char *[]){"10.77.3.1", "10.77.3.2"}, 2, out));
    PX_CHECK_STR(out, "10.77.3.0/30");
    PX_CHECK(px_launch_network((const char *[]){"10.77.3.1"}, 1, out));
    PX_CHECK_STR(out, "10.77.3.1/32");
    PX_CHECK(px_launch_network((const char *[]){"10.0.0.1", "10.255.0.1", "10.128.3.3"}, 3, out));
    PX_CHECK_STR(out, "10.0.0.0/8");
    PX_CHECK(!px_launch_network((const char *[]){"10.0.0.1", "192.168.0.1"}, 2, out));
    PX_CHECK(!px_launch_network((const char *[]){"fe80::1", "fe80::2"}, 2, out));
}

PX_TEST_MAIN()
