/* launcher.h - the running launch of a group: mpirun or the only rank, its log, its last words.
 *
 * Output goes to LOGS/GROUP.log (kept below 2 MiB with one older file beside it); the line that
 * says most about the end is kept for the operator.
 * Threads: the loop's thread.
 */
#ifndef PX_CLUSTER_LAUNCHER_H
#define PX_CLUSTER_LAUNCHER_H

#include "base/loop.h"
#include "cluster/launch.h"

typedef struct px_launcher px_launcher;

/* Once, last; the launcher is freed after it. `message`: one sentence, borrowed. */
typedef void (*px_launcher_exit_fn)(void *arg, int exit_code, const char *message);

typedef struct px_launcher_options {
    const px_msg_launch *launch; /* borrowed for the call */
    const px_launch_here *here;  /* borrowed for the call */
    const char *log_dir;
    px_launcher_exit_fn on_exit;
    void *arg;
} px_launcher_options;

px_status px_launcher_start(
    px_loop *loop, const px_launcher_options *options, px_launcher **out) PX_MUST_USE;
/* The cause of the end to come, if it is known better than from the output. The first one counts.
 */
void px_launcher_blame(px_launcher *launcher, const char *message);
/* SIGTERM, after `grace_ns` SIGKILL; on_exit still comes. */
void px_launcher_stop(px_launcher *launcher, int64_t grace_ns);

#endif
