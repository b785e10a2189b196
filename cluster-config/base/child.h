/* child.h - child processes, watched through pidfds on a loop.
 *
 * A child gets its own process group, the descriptors 0-2 only (0 is /dev/null), no blocked
 * signals, and dies with us (PR_SET_PDEATHSIG). What it leaves behind in its group is killed when
 * it ends.
 * Callbacks may stop or signal the child, not kill_now it.
 * Threads: the loop's thread, which must live as long as the children: they die with the thread
 *          that started them.
 */
#ifndef PX_BASE_CHILD_H
#define PX_BASE_CHILD_H

#include <sys/types.h>

#include "base/loop.h"

typedef struct px_child px_child;
typedef void (*px_child_exit_fn)(void *arg, int exit_code, int signal_number); /* one is 0 */
typedef void (*px_child_line_fn)(void *arg, const char *line); /* stdout and stderr, no newline */

typedef struct px_child_options {
    const char *const *argv;  /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *env;   /* "KEY=value" additions, NULL-terminated, or NULL */
    const char *log_path;     /* stdout and stderr appended there; NULL: see on_line */
    px_child_line_fn on_line; /* used when log_path is NULL; NULL too: inherits ours */
    px_child_exit_fn on_exit; /* called once, then the handle is gone */
    void *arg;
} px_child_options;

px_status px_child_start(
    px_loop *loop, const px_child_options *options, px_child **out_child) PX_MUST_USE;
pid_t px_child_pid(const px_child *child);
/* To its process group: SIGTERM now, SIGKILL after grace_ns; on_exit still comes. */
void px_child_stop(px_child *child, int64_t grace_ns);
/* Kill at once, reap, no on_exit: for shutting down. NULL is fine. */
void px_child_kill_now(px_child *child);

#endif
