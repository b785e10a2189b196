/* daemon.h - what another machine may ask this one to run: mpirun's daemon, and nothing else.
 *
 * Denies by default. The program is `orted` as this machine finds it, never a path from outside;
 * every option must be one that our own launches (launch.h) lead mpirun to pass, with a value of
 * the form that option has. No shell takes part.
 * Source of the options: Open MPI 4.1, orte/mca/plm/rsh and plm_base_launch_support.c.
 */
#ifndef PX_CLUSTER_DAEMON_H
#define PX_CLUSTER_DAEMON_H

#include "base/memory.h"

/* What mpirun would have given to ssh behind the host's name; its words carry quotes and blanks
 * that a remote shell would take off. */
typedef struct px_daemon_words {
    char *const *list;
    size_t count;
} px_daemon_words;

/* *out_argv: NULL-terminated, of the arena. PERMISSION_DENIED with a sentence naming what is not
 * allowed. */
px_status px_daemon_command(
    const px_daemon_words *asked, px_arena *arena, const char *const **out_argv) PX_MUST_USE;

#endif
