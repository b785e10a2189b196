/* group.h - an engine over several ranks that are threads of the test.
 *
 * Include after test.h.
 */
#ifndef PX_TEST_GROUP_H
#define PX_TEST_GROUP_H

#include <pthread.h>

#include "engine/engine.h"

enum { GROUP_RANKS_MAX = 8 };

typedef struct group_rank {
    const px_engine_options *options;
    px_comm *comm;
    px_engine *engine;
    px_status status;
    pthread_t thread;
} group_rank;

typedef struct group {
    int size;
    px_engine_options options;
    group_rank ranks[GROUP_RANKS_MAX];
    px_engine *engine; /* rank 0's */
} group;

static void *group_open_rank(void *arg)
{
    group_rank *self = arg;
    self->status = px_engine_open(self->options, self->comm, &self->engine);
    return NULL;
}

static void *group_follow(void *arg)
{
    group_rank *self = arg;
    self->status = px_engine_follow(self->engine);
    return NULL;
}

/* options.tp x options.pp ranks. False: one could not be opened, which is checked. */
static bool group_open(group *g, px_engine_options options)
{
    px_comm *comms[GROUP_RANKS_MAX];
    bool opened = true;
    *g = (group){.size = (int)(options.tp * options.pp), .options = options};
    PX_CHECK_OK(px_comm_threads(g->size, comms));
    for (int i = 0; i < g->size; i++) {
        g->ranks[i] = (group_rank){.options = &g->options, .comm = comms[i]};
        pthread_create(&g->ranks[i].thread, NULL, group_open_rank, &g->ranks[i]);
    }
    for (int i = 0; i < g->size; i++) pthread_join(g->ranks[i].thread, NULL);
    for (int i = 0; i < g->size; i++) {
        PX_CHECK_OK(g->ranks[i].status);
        opened = opened && px_is_ok(g->ranks[i].status);
    }
    for (int i = 1; opened && i < g->size; i++)
        pthread_create(&g->ranks[i].thread, NULL, group_follow, &g->ranks[i]);
    g->engine = g->ranks[0].engine;
    return opened;
}

/* The followers' ends are checked. */
static void group_close(group *g)
{
    px_engine_close(g->engine);
    for (int i = 1; i < g->size; i++) pthread_join(g->ranks[i].thread, NULL);
    for (int i = 1; i < g->size; i++) {
        PX_CHECK_OK(g->ranks[i].status);
        px_engine_close(g->ranks[i].engine);
    }
    for (int i = 0; i < g->size; i++) px_comm_free(g->ranks[i].comm);
}

#endif
