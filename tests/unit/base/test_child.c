/* test_child.c - exit codes, output, environment, stopping, and nothing left behind. */
#include <signal.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fs.h"
#include "test.h"

typedef struct outcome {
    px_loop *loop;
    px_buf output; /* each line with a newline */
    int exits, exit_code, signal_number;
} outcome;

static void on_line(void *arg, const char *line)
{
    outcome *o = arg;
    px_buf_puts(&o->output, line);
    px_buf_putc(&o->output, '\n');
}

static void on_exit_seen(void *arg, int exit_code, int signal_number)
{
    outcome *o = arg;
    o->exits++;
    o->exit_code = exit_code;
    o->signal_number = signal_number;
    px_loop_stop(o->loop);
}

static outcome new_outcome(void)
{
    outcome o = {0};
    PX_CHECK_OK(px_loop_create(&o.loop));
    px_buf_init(&o.output, 1 << 20);
    return o;
}

static void done_outcome(outcome *o)
{
    px_buf_done(&o->output);
    px_loop_free(o->loop);
}

static px_status start_shell(outcome *o, const char *script, px_child **out)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    const char *env[] = {"PX_TEST_WORD=blue", NULL};
    return px_child_start(o->loop,
        &(px_child_options){
            .argv = argv, .env = env, .on_line = on_line, .on_exit = on_exit_seen, .arg = o},
        out);
}

PX_TEST(output_environment_and_exit_code_arrive)
{
    outcome o = new_outcome();
    px_child *child;
    PX_REQUIRE(
        start_shell(&o, "echo out $PX_TEST_WORD; echo err >&2; printf half; exit 7", &child).code ==
        PX_OK);
    PX_CHECK(px_child_pid(child) > 0);
    px_loop_run(o.loop);
    PX_CHECK_STR(px_buf_text(&o.output), "out blue\nerr\nhalf\n");
    PX_CHECK(o.exits == 1 && o.exit_code == 7 && o.signal_number == 0);
    done_outcome(&o);
}

PX_TEST(long_output_is_whole)
{
    outcome o = new_outcome();
    px_child *child;
    PX_REQUIRE(start_shell(&o, "seq 1 20000", &child).code == PX_OK);
    px_loop_run(o.loop);
    PX_CHECK(o.output.length == 108894);
    PX_CHECK(strstr(px_buf_text(&o.output), "\n20000\n") != NULL);
    done_outcome(&o);
}

PX_TEST(a_missing_program_is_a_sentence)
{
    outcome o = new_outcome();
    px_child *child;
    const char *unknown[] = {"phalanx-no-such-program", NULL};
    px_status s = px_child_start(o.loop, &(px_child_options){.argv = unknown}, &child);
    PX_CHECK(s.code == PX_NOT_FOUND && strstr(s.text, "phalanx-no-such-program"));
    const char *folder[] = {"/etc", NULL};
    s = px_child_start(o.loop, &(px_child_options){.argv = folder}, &child);
    PX_CHECK(s.code == PX_PERMISSION_DENIED && strstr(s.text, "/etc"));
    done_outcome(&o);
}

PX_TEST(stop_ends_one_that_ignores_terminate)
{
    outcome o = new_outcome();
    px_child *child;
    PX_REQUIRE(start_shell(&o, "trap '' TERM; while :; do sleep 0.05; done", &child).code == PX_OK);
    px_loop_dispatch(o.loop, 50 * PX_MS);
    px_child_stop(child, 50 * PX_MS);
    px_loop_run(o.loop);
    PX_CHECK(o.signal_number == SIGKILL && o.exit_code == 0);
    done_outcome(&o);
}

PX_TEST(stop_lets_one_end_by_itself)
{
    outcome o = new_outcome();
    px_child *child;
    PX_REQUIRE(
        start_shell(&o, "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done", &child).code ==
        PX_OK);
    while (o.output.length == 0) px_loop_dispatch(o.loop, PX_SEC);
    px_child_stop(child, 30 * PX_SEC);
    px_loop_run(o.loop);
    PX_CHECK(o.exit_code == 3 && o.signal_number == 0);
    done_outcome(&o);
}

PX_TEST(its_own_children_end_with_it)
{
    outcome o = new_outcome();
    px_child *child;
    PX_REQUIRE(start_shell(&o, "sleep 60 & echo $!", &child).code == PX_OK);
    px_loop_run(o.loop);
    pid_t orphan = (pid_t)strtol(px_buf_text(&o.output), NULL, 10);
    PX_REQUIRE(orphan > 1);
    char stat_path[64];
    snprintf(stat_path, sizeof stat_path, "/proc/%d/stat", orphan);
    bool alive = true;
    for (int i = 0; i < 500 && alive; i++) { /* a zombie until init reaps it */
        px_buf stat;
        px_buf_init(&stat, 4096);
        alive = px_fs_read(stat_path, &stat).code == PX_OK && !strstr(px_buf_text(&stat), ") Z");
        px_buf_done(&stat);
        px_sleep_ns(PX_MS);
    }
    PX_CHECK(!alive);
    done_outcome(&o);
}

PX_TEST(the_log_file_grows_and_no_descriptor_leaks_into_the_child)
{
    outcome o = new_outcome();
    char path[] = "/tmp/px_child_XXXXXX";
    close(mkstemp(path));
    int leak = dup(2);
    const char *argv[] = {"sh", "-c", "ls /proc/self/fd | wc -l", NULL};
    for (int i = 0; i < 2; i++) {
        px_child *child;
        PX_CHECK_OK(px_child_start(o.loop,
            &(px_child_options){.argv = argv, .log_path = path, .on_exit = on_exit_seen, .arg = &o},
            &child));
        px_loop_run(o.loop);
    }
    PX_CHECK_OK(px_fs_read(path, &o.output));
    PX_CHECK_STR(px_buf_text(&o.output), "4\n4\n"); /* 0-2 and the one that ls opened */
    close(leak);
    unlink(path);
    done_outcome(&o);
}

PX_TEST(kill_now_ends_without_a_callback)
{
    outcome o = new_outcome();
    px_child *child;
    PX_REQUIRE(start_shell(&o, "sleep 60", &child).code == PX_OK);
    pid_t pid = px_child_pid(child);
    px_child_kill_now(child);
    px_child_kill_now(NULL);
    PX_CHECK(kill(pid, 0) != 0); /* reaped */
    px_loop_dispatch(o.loop, 0);
    PX_CHECK(o.exits == 0);
    done_outcome(&o);
}

PX_TEST_MAIN()
