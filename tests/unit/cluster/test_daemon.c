/* Remote start denies by default: orted as mpirun asks for it, and nothing else. */
#include <string.h>

#include "cluster/daemon.h"
#include "test.h"

/* As Open MPI 4.1.4 hands it to its rsh agent for our launches. */
static char *good[] = {" orted", "-mca", "orte_leave_session_attached", "\"1\"", "-mca", "ess",
    "\"env\"", "-mca", "ess_base_jobid", "\"1080426496\"", "-mca", "ess_base_vpid", "1", "-mca",
    "ess_base_num_procs", "\"2\"", "-mca", "orte_node_regex", "\"vm,[2:10].77.3.2@0(2)\"", "-mca",
    "orte_hnp_uri", "\"1080426496.0;tcp://10.77.3.1:54165\"", "--mca", "plm_rsh_agent",
    "\"node-agent remote-start\"", "--mca", "plm_rsh_no_tree_spawn", "\"1\"", "--mca",
    "oob_tcp_if_include", "\"10.77.3.0/30\"", "--mca", "btl_tcp_if_include", "\"10.77.3.0/30\"",
    "--mca", "pml", "\"ob1\"", "--mca", "btl", "\"tcp,self\"", "-mca", "plm", "\"rsh\"", "-mca",
    "rmaps_base_oversubscribe", "\"1\"", "-mca", "hwloc_base_binding_policy", "\"none\"", "-mca",
    "pmix", "\"^s1,s2,cray,isolated\""};
enum { GOOD_WORDS = sizeof good / sizeof *good };

static px_arena arena;

static px_status command(char *const *list, size_t count, const char *const **out_argv)
{
    px_daemon_words words = {.list = list, .count = count};
    px_arena_init(&arena, 1 << 20);
    return px_daemon_command(&words, &arena, out_argv);
}

PX_TEST(what_mpirun_asks_for_is_allowed_and_unquoted)
{
    const char *const *argv;
    PX_CHECK_OK(command(good, GOOD_WORDS, &argv));
    PX_CHECK_STR(argv[0], "orted");
    bool uri = false;
    size_t count = 0;
    for (; argv[count]; count++) {
        uri |= strcmp(argv[count], "1080426496.0;tcp://10.77.3.1:54165") == 0;
        PX_CHECK(strcmp(argv[count], "plm_rsh_agent") != 0); /* starts nothing from there */
        PX_CHECK(!strchr(argv[count], '"'));
    }
    PX_CHECK(uri);
    PX_CHECK(count == GOOD_WORDS - 3);
    px_arena_done(&arena);
}

static void check_denied(char *const *list, size_t count, const char *part)
{
    const char *const *argv = NULL;
    px_status status = command(list, count, &argv);
    PX_CHECK(status.code == PX_PERMISSION_DENIED);
    PX_CHECK(strstr(status.text, part) != NULL);
    PX_CHECK(!argv);
    px_arena_done(&arena);
}

/* The good command with one word replaced. */
static void check_denied_with(size_t index, char *word, const char *part)
{
    char *list[GOOD_WORDS];
    memcpy(list, good, sizeof list);
    list[index] = word;
    check_denied(list, GOOD_WORDS, part);
}

PX_TEST(everything_else_is_denied)
{
    check_denied(NULL, 0, "0 words");
    check_denied((char *[]){"sh", "-c", "id", "x"}, 4, "only 'orted'");
    check_denied((char *[]){"/tmp/orted"}, 1, "only 'orted'");
    check_denied((char *[]){"../orted"}, 1, "only 'orted'");
    check_denied((char *[]){"orted", "--prefix", "/tmp/evil", "x"}, 4, "'--prefix' is not allowed");
    check_denied((char *[]){"orted", "-mca", "orte_launch_agent", "sh"}, 4, "orte_launch_agent");
    check_denied((char *[]){"orted", "-mca", "ess"}, 3, "3 words");
    check_denied_with(24, "\"/tmp/evil\"", "plm_rsh_agent may not be");
    check_denied_with(24, "ssh", "plm_rsh_agent may not be");
    check_denied_with(21, "\"1.0;tcp://10.0.0.1:1 --prefix /x\"", "orte_hnp_uri may not be");
    check_denied_with(21, "$(id)", "orte_hnp_uri may not be");
    check_denied_with(9, "", "ess_base_jobid may not be");
    check_denied_with(9, "1;2", "ess_base_jobid may not be");
    check_denied_with(5, "opal_prefix", "'opal_prefix' is not allowed");
}

PX_TEST(sizes_are_bounded)
{
    static char long_word[64 * 1024];
    static char *many[1000];
    memset(long_word, '1', sizeof long_word - 1);
    check_denied_with(9, long_word, "too long");
    for (size_t i = 0; i < 1000; i++) many[i] = "orted";
    check_denied(many, 1000, "1000 words");
}

PX_TEST_MAIN()
