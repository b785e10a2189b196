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

/* Work in pieces, shared out as workers come free: each takes the pieces of its own share in order,
 * so that it reads the memory that it filled, then what the others have not begun. Whoever has the
 * slower core, or lost it for a while, keeps nobody waiting for more than a piece.
 *
 *   px_deal deal = px_team_deal(team, worker, pieces);
 *   for (uint32_t piece; px_deal_next(&deal, &piece);) ...
 *
 * All workers of the run deal out the same work in the same order. No barrier stands between one
 * deal and the next; what is done is done for all only after one. */
typedef struct px_deal {
    px_team *team;
    uint32_t turn, pieces; /* turn: of all deals of the team, the same on every worker */
    uint32_t worker, from; /* from: whose share it takes of, `worker` first */
} px_deal;

px_deal px_team_deal(px_team *team, uint32_t index, uint32_t pieces); /* worker `index` */
/* False: there is none left that nobody has begun. */
bool px_deal_next(px_deal *deal, uint32_t *out_piece);

#endif
