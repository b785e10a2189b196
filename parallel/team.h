/* team.h - the workers inside one forward: a fixed set of threads that run the same function.
 *
 * The caller is worker 0; the others wake within microseconds, spin briefly, and sleep when idle.
 * Right (if slower) on machines with fewer cores than workers: spinning gives way to yielding and
 * then to a futex.
 * Threads: one thread at a time calls run. The barrier is for the workers inside a run.
 */
#ifndef PX_PARALLEL_TEAM_H
#define PX_PARALLEL_TEAM_H

#include <stdint.h>

#include "base/status.h"

typedef struct px_team px_team;
typedef void (*px_team_fn)(void *arg, uint32_t worker, uint32_t count);

/* `count` >= 1 workers, the caller included. With `pin` each is bound to one of the CPUs this
 * process may use, in order. */
px_status px_team_create(uint32_t count, bool pin, px_team **out) PX_MUST_USE;
void px_team_free(px_team *team); /* NULL is fine */
uint32_t px_team_count(const px_team *team);
/* Runs fn on every worker and returns when all are done. */
void px_team_run(px_team *team, px_team_fn fn, void *arg);
/* All workers of the run meet here. */
void px_team_barrier(px_team *team);

#endif
