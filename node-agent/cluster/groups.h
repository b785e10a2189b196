/* groups.h - the ranks that belong to this agent: expected, started, loading, ready, ended, stuck.
 *
 *   Expect/Launch -> expected -> (first beat) started -> loading -> ready -> ended
 *                                     \------------ silent or stuck -------/
 *
 * A group lives and dies whole: when one of its ranks or its launch ends, or one is stuck, all that
 * this agent has of the group is ended (SIGTERM, then SIGKILL), by pidfd, never by name. The
 * control plane hears of it at once, ends the rest on other agents, and starts a new generation.
 * Threads: the loop's thread.
 */
#ifndef PX_CLUSTER_GROUPS_H
#define PX_CLUSTER_GROUPS_H

#include "cluster/launcher.h"
#include "cluster/wire.h"

enum { PX_GROUPS_MAX = 256 };

typedef struct px_groups px_groups;
typedef struct px_rank px_rank; /* valid until px_rank_gone() */

typedef struct px_groups_options { /* borrowed for the groups' life */
    px_launch_here here;
    const char *log_dir;
    int64_t silent_ns; /* a rank that has not beaten for so long is stuck */
    int64_t step_ns;   /* a step that lasts longer is stuck */
    int64_t load_ns;   /* so long without a beat at first, or without progress while loading */
    int64_t grace_ns;  /* between SIGTERM and SIGKILL */
    /* Borrowed messages, to be passed on. */
    void (*on_report)(void *arg, px_msg_report *report);
    void (*on_launch_ended)(void *arg, Phalanx__V1__LaunchEnded *ended);
    void *arg;
} px_groups_options;

px_groups *px_groups_create(px_loop *loop, const px_groups_options *options);

/* What the control plane says. Failures are reported as the group's end, with their sentence. */
void px_groups_launch(px_groups *groups, const px_msg_launch *launch);
void px_groups_expect(px_groups *groups, const Phalanx__V1__Expect *expect);
void px_groups_stop(px_groups *groups, const char *group, uint64_t generation);
void px_groups_stop_all(px_groups *groups, px_status why);
unsigned px_groups_count(const px_groups *groups); /* 0: nothing is left to wait for */

/* A process that says it is a rank of ours. A refusal's sentence is for the rank. */
px_status px_groups_admit(px_groups *groups, px_wire *wire, const px_msg_beat *beat,
    px_rank **out_rank, const char **out_secret) PX_MUST_USE;
void px_rank_beat(px_rank *rank, const px_msg_beat *beat);
void px_rank_gone(px_rank *rank, px_status why); /* its wire closed */

/* Remote starts are allowed for these alone. */
bool px_groups_expects(const px_groups *groups, const char *group, uint64_t generation);
bool px_groups_launches(const px_groups *groups, const char *group, uint64_t generation);
/* Why the launch is about to fail, where that is known better than from mpirun's words. */
void px_groups_blame(
    px_groups *groups, const char *group, uint64_t generation, const char *message);

/* Every rank's report, as of now: for registering. The strings are borrowed until the next call of
 * anything here. */
void px_groups_each(
    const px_groups *groups, void (*fn)(void *arg, px_msg_report *report), void *arg);

#endif
