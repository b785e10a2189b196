/* child.c - fork and exec with a report of what failed, a pidfd for the exit; see child.h. */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

enum {
    LINE_BYTES_MAX = 4096,        /* longer lines are handed on in pieces */
    LAST_WORDS_MAX = 1024 * 1024, /* read after the exit, however much descendants still write */
    REPORT_FD = 3                 /* of the child, until exec closes it */
};

extern char **environ;

struct px_child {
    px_loop *loop;
    pid_t pid;
    int pid_fd;    /* readable once it has ended */
    int output_fd; /* -1: not read by us */
    px_loop_timer *kill_timer;
    px_child_line_fn on_line;
    px_child_exit_fn on_exit;
    void *arg;
    size_t line_length;
    char line[LINE_BYTES_MAX];
};

/* All that the child needs, made before fork(): after it only async-signal-safe calls are left,
 * because other threads may have held locks. */
typedef struct launch {
    char *path;
    char *const *argv;
    char **env;
    int output_fd; /* becomes 1 and 2; -1: ours */
    int report_fd; /* errno is written here when exec fails */
    pid_t parent;
} launch;

/* --- in the child --- */

__attribute__((noreturn)) static void report_and_exit(int fd)
{
    int error = errno;
    ssize_t written = write(fd, &error, sizeof error);
    (void)written;
    _exit(127);
}

__attribute__((noreturn)) static void become(const launch *l)
{
    int report_fd = l->report_fd;
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != l->parent) _exit(127); /* the parent died before the line above */
    if (l->output_fd >= 0 &&
        (dup2(l->output_fd, STDOUT_FILENO) < 0 || dup2(l->output_fd, STDERR_FILENO) < 0))
        report_and_exit(report_fd);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0) report_and_exit(report_fd);
    if (report_fd != REPORT_FD && dup2(report_fd, REPORT_FD) < 0) report_and_exit(report_fd);
    fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
    close_range(REPORT_FD + 1, ~0u, 0);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &none, NULL); /* the loop blocks SIGTERM; the child must not */
    execve(l->path, l->argv, l->env);
    report_and_exit(REPORT_FD);
}

/* --- before the fork --- */

static char *find_program(const char *name)
{
    if (strchr(name, '/')) return px_strdup(name);
    const char *folders = getenv("PATH");
    if (!folders) folders = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        int length = (int)strcspn(folders, ":");
        char path[4096];
        int used = snprintf(path, sizeof path, "%.*s/%s", length, folders, name);
        if (length > 0 && used < (int)sizeof path && access(path, X_OK) == 0)
            return px_strdup(path);
        if (folders[length] == '\0') return NULL;
        folders += length + 1;
    }
}

static bool same_variable(const char *a, const char *b)
{
    size_t length = strcspn(a, "=");
    return strncmp(a, b, length) == 0 && b[length] == '=';
}

/* Ours without what `additions` set, then the additions. The strings are borrowed. */
static char **make_environment(const char *const *additions)
{
    size_t ours = 0, added = 0;
    while (environ[ours]) ours++;
    while (additions && additions[added]) added++;
    char **env = px_alloc_array(ours + added + 1, sizeof *env);
    size_t count = 0;
    for (size_t i = 0; i < ours; i++) {
        bool replaced = false;
        for (size_t j = 0; j < added && !replaced; j++)
            replaced = same_variable(additions[j], environ[i]);
        if (!replaced) env[count++] = environ[i];
    }
    for (size_t j = 0; j < added; j++) env[count++] = (char *)additions[j];
    return env;
}

/* *out_child_end becomes the child's stdout and stderr; *out_our_end is what we read, or -1. */
static px_status open_output(const px_child_options *options, int *out_child_end, int *out_our_end)
{
    *out_child_end = *out_our_end = -1;
    if (options->log_path) {
        *out_child_end = open(options->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (*out_child_end < 0) return px_fail_errno(errno, "cannot open '%s'", options->log_path);
    } else if (options->on_line) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) return px_fail_errno(errno, "cannot make a pipe");
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        *out_our_end = ends[0];
        *out_child_end = ends[1];
    }
    return px_ok();
}

static void close_fd(int fd)
{
    if (fd >= 0) close(fd);
}

/* Forks and waits until exec has succeeded or reported its errno. */
static px_status fork_and_exec(launch *l, pid_t *out_pid)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) return px_fail_errno(errno, "cannot make a pipe");
    l->report_fd = report[1];
    l->parent = getpid();
    pid_t pid = fork();
    if (pid == 0) become(l);
    int fork_error = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return px_fail_errno(fork_error, "cannot start '%s'", l->argv[0]);
    }
    int error = 0;
    ssize_t got;
    do got = read(report[0], &error, sizeof error);
    while (got < 0 && errno == EINTR);
    close(report[0]);
    if (got == (ssize_t)sizeof error) {
        waitpid(pid, NULL, 0);
        return px_fail_errno(error, "cannot start '%s'", l->argv[0]);
    }
    *out_pid = pid;
    return px_ok();
}

/* --- lines of output --- */

static void hand_on_line(px_child *child)
{
    if (child->line_length > 0 && child->line[child->line_length - 1] == '\r') child->line_length--;
    child->line[child->line_length] = '\0';
    child->line_length = 0;
    child->on_line(child->arg, child->line);
}

static void take_output(px_child *child, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            hand_on_line(child);
            continue;
        }
        child->line[child->line_length++] = bytes[i];
        if (child->line_length == LINE_BYTES_MAX - 1) hand_on_line(child);
    }
}

/* One read; false when nothing more is there now, or ever. */
static bool read_some(px_child *child, size_t *out_length)
{
    char bytes[8192];
    ssize_t got = read(child->output_fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) {
        if (got == 0) px_loop_unwatch(child->loop, child->output_fd);
        return false;
    }
    take_output(child, bytes, (size_t)got);
    *out_length = (size_t)got;
    return true;
}

static void on_output(void *arg, int fd, unsigned ready)
{
    size_t length;
    (void)read_some(arg, &length);
}

static void read_last_words(px_child *child)
{
    if (child->output_fd < 0) return;
    for (size_t total = 0, length = 0; total < LAST_WORDS_MAX; total += length, length = 0)
        if (!read_some(child, &length)) break;
    if (child->line_length > 0) hand_on_line(child);
}

/* --- the end --- */

static void free_child(px_child *child)
{
    px_loop_cancel(child->loop, child->kill_timer);
    if (child->output_fd >= 0) px_loop_unwatch(child->loop, child->output_fd);
    if (child->pid_fd >= 0) px_loop_unwatch(child->loop, child->pid_fd);
    close_fd(child->output_fd);
    close_fd(child->pid_fd);
    free(child);
}

/* What it started ends with it. It is still a zombie, so the group's number cannot be another's. */
static siginfo_t end_group_and_reap(px_child *child)
{
    siginfo_t info = {0};
    kill(-child->pid, SIGKILL);
    waitid(P_PID, (id_t)child->pid, &info, WEXITED);
    return info;
}

static void on_ended(void *arg, int fd, unsigned ready)
{
    px_child *child = arg;
    siginfo_t info = end_group_and_reap(child);
    bool exited = info.si_code == CLD_EXITED;
    px_child_exit_fn on_exit = child->on_exit;
    void *on_exit_arg = child->arg;
    read_last_words(child);
    free_child(child);
    if (on_exit) on_exit(on_exit_arg, exited ? info.si_status : 0, exited ? 0 : info.si_status);
}

/* --- public --- */

static px_status start(px_child *child, const px_child_options *options, launch *l)
{
    l->path = find_program(options->argv[0]);
    if (!l->path)
        return px_fail(
            PX_NOT_FOUND, "cannot start '%s': no such program in PATH", options->argv[0]);
    PX_TRY(open_output(options, &l->output_fd, &child->output_fd));
    PX_TRY(fork_and_exec(l, &child->pid));
    child->pid_fd = pidfd_open(child->pid, 0);
    if (child->pid_fd < 0) return px_fail_errno(errno, "cannot watch '%s'", options->argv[0]);
    PX_TRY(px_loop_watch(child->loop, child->pid_fd, PX_LOOP_READ, on_ended, child));
    if (child->output_fd < 0) return px_ok();
    return px_loop_watch(child->loop, child->output_fd, PX_LOOP_READ, on_output, child);
}

px_status px_child_start(px_loop *loop, const px_child_options *options, px_child **out_child)
{
    px_child *child = px_alloc(sizeof *child);
    child->loop = loop;
    child->pid_fd = child->output_fd = -1;
    child->on_line = options->on_line;
    child->on_exit = options->on_exit;
    child->arg = options->arg;
    launch l = {.argv = (char *const *)options->argv,
        .env = make_environment(options->env),
        .output_fd = -1};
    px_status status = start(child, options, &l);
    close_fd(l.output_fd);
    free(l.path);
    free(l.env);
    if (status.code != PX_OK) {
        px_child_kill_now(child);
        return status;
    }
    *out_child = child;
    return status;
}

pid_t px_child_pid(const px_child *child)
{
    return child->pid;
}

static void signal_group(px_child *child, int signal_number)
{
    kill(-child->pid, signal_number);
}

static void on_grace_over(void *arg)
{
    px_child *child = arg;
    child->kill_timer = NULL;
    signal_group(child, SIGKILL);
}

void px_child_stop(px_child *child, int64_t grace_ns)
{
    if (child->kill_timer) return; /* already asked to end */
    signal_group(child, SIGTERM);
    child->kill_timer = px_loop_after(child->loop, grace_ns, on_grace_over, child);
}

void px_child_kill_now(px_child *child)
{
    if (!child) return;
    if (child->pid > 0) (void)end_group_and_reap(child);
    free_child(child);
}
