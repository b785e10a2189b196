/* launcher.c - see launcher.h. */
#include "cluster/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"

enum { ARENA_BYTES = 4 << 20, LOG_BYTES_MAX = 1 << 20, LINE_BYTES_MAX = 200 };

struct px_launcher {
    px_child *child;
    px_launcher_exit_fn on_exit;
    void *arg;
    bool uses_mpirun;
    int log_fd;
    size_t log_bytes;               /* written by this launch */
    char last_line[LINE_BYTES_MAX]; /* that says something */
    char blame[LINE_BYTES_MAX];
};

/* ---------------------------------------------------------------------------------- log */

/* Group names may hold slashes; a log is one file in one folder. */
static void log_path(const char *dir, const char *group, char out[PATH_MAX])
{
    int prefix = snprintf(out, PATH_MAX, "%s/", dir);
    if (prefix >= PATH_MAX) prefix = PATH_MAX - 1;
    snprintf(out + prefix, (size_t)(PATH_MAX - prefix), "%s.log", group);
    for (char *c = out + prefix; *c; c++)
        if (*c == '/') *c = '_';
}

static int open_log(const char *dir, const px_msg_launch *launch)
{
    char path[PATH_MAX], older[PATH_MAX + 2];
    struct stat info;
    log_path(dir, launch->group, path);
    if (stat(path, &info) == 0 && info.st_size > LOG_BYTES_MAX) {
        snprintf(older, sizeof older, "%s.1", path);
        rename(path, older);
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) dprintf(fd, "--- generation %llu\n", (unsigned long long)launch->generation);
    return fd; /* without a log the group still runs */
}

/* mpirun frames its messages with dashes and explains at length; a line of ours names its program.
 */
static bool says_something(const char *line)
{
    size_t length = strlen(line);
    return length > 0 && strspn(line, "-= \t*") < length;
}

static void on_line(void *arg, const char *line)
{
    px_launcher *l = arg;
    size_t length = strlen(line);
    if (l->log_fd >= 0 && l->log_bytes + length < LOG_BYTES_MAX) {
        l->log_bytes += length + 1;
        dprintf(l->log_fd, "%s\n", line);
    }
    if (says_something(line)) snprintf(l->last_line, sizeof l->last_line, "%s", line);
    if (strncmp(line, "node-agent", strlen("node-agent")) == 0) px_launcher_blame(l, line);
}

/* ---------------------------------------------------------------------------------- end */

void px_launcher_blame(px_launcher *l, const char *message)
{
    if (!l->blame[0]) snprintf(l->blame, sizeof l->blame, "%s", message);
}

static void on_exit_child(void *arg, int exit_code, int signal_number)
{
    px_launcher *l = arg;
    char message[2 * LINE_BYTES_MAX];
    const char *program = l->uses_mpirun ? "mpirun" : "the rank";
    const char *detail = l->blame[0] ? l->blame : l->last_line;
    int length = signal_number ? snprintf(message, sizeof message, "%s was ended by signal %d (%s)",
                                     program, signal_number, strsignal(signal_number))
                               : snprintf(message, sizeof message, "%s ended with code %d", program,
                                     exit_code);
    if (detail[0]) snprintf(message + length, sizeof message - (size_t)length, ": %s", detail);
    l->on_exit(l->arg, signal_number ? 128 + signal_number : exit_code, message);
    if (l->log_fd >= 0) close(l->log_fd);
    free(l);
}

void px_launcher_stop(px_launcher *l, int64_t grace_ns)
{
    px_child_stop(l->child, grace_ns);
}

/* -------------------------------------------------------------------------------- start */

static px_status start_child(px_launcher *l, px_loop *loop, const px_launch_command *command)
{
    px_child_options child = {.argv = command->argv,
        .env = command->env,
        .on_line = on_line,
        .on_exit = on_exit_child,
        .arg = l};
    px_status status = px_child_start(loop, &child, &l->child);
    if (status.code == PX_NOT_FOUND && command->uses_mpirun)
        return px_fail(PX_FAILED_PRECONDITION,
            "mpirun is missing on this machine; install it with: apt-get install openmpi-bin");
    return status;
}

px_status px_launcher_start(px_loop *loop, const px_launcher_options *options, px_launcher **out)
{
    px_arena arena;
    px_launch_command command;
    px_launcher *l = NULL;
    px_arena_init(&arena, ARENA_BYTES);
    px_status status = px_launch_build(options->launch, options->here, &arena, &command);
    if (px_is_ok(status)) {
        l = px_alloc(sizeof *l);
        *l = (px_launcher){.on_exit = options->on_exit,
            .arg = options->arg,
            .uses_mpirun = command.uses_mpirun,
            .log_fd = open_log(options->log_dir, options->launch)};
        status = start_child(l, loop, &command);
    }
    px_arena_done(&arena);
    if (px_is_ok(status)) {
        *out = l;
    } else if (l) {
        if (l->log_fd >= 0) close(l->log_fd);
        free(l);
    }
    return status;
}
