/* deployment.h - the life of one deployment: a state machine without clock, network or disk.
 *
 *   PENDING ──placed──▶ LOADING ──all ranks ready, engine connected──▶ READY
 *      ▲                   │  ▲                                          │
 *      │ no room      lost │  └─────────── backoff over ───┐        lost │
 *      └───────────────────┴──────▶ RESTARTING ────────────┘◀────────────┘
 *   FAILED: a cause that a restart does not mend (a missing model, a wrong option).
 *   STOPPING: undeployed; gone once its ranks have ended and its keys are deleted.
 *
 * Each start is a new generation: a number that never comes back. It starts at etcd's revision when
 * the spec was created and is in etcd before any agent hears of it. Whatever agents say about
 * another generation is of the past. A rank that ends or sticks, a launch that ends, an agent that
 * is lost, an engine that cannot be reached: each ends the whole group, which is then placed and
 * started anew after a delay that grows with failures in a row.
 *
 * A new leader finds the record of the last start and waits a while for agents that still run it.
 *
 * Time comes in as `now_ns`; effects go out through px_deploy_ports.
 */
#ifndef PX_CONTROL_DEPLOYMENT_H
#define PX_CONTROL_DEPLOYMENT_H

#include "base/clock.h"
#include "control/cluster/agents.h"
#include "control/cluster/spec.h"
#include "etcd/codec.h"
#include "phalanx/v1/inference.pb-c.h"

typedef enum px_deploy_state {
    PX_DEPLOY_PENDING,
    PX_DEPLOY_LOADING,
    PX_DEPLOY_READY,
    PX_DEPLOY_RESTARTING,
    PX_DEPLOY_FAILED,
    PX_DEPLOY_STOPPING,
    PX_DEPLOY_STATE_COUNT
} px_deploy_state;
const char *px_deploy_state_name(px_deploy_state state); /* "PENDING" */

#define PX_DEPLOY_BACKOFF_NS_MIN (250 * PX_MS)
#define PX_DEPLOY_BACKOFF_NS_MAX (30 * PX_SEC)
#define PX_DEPLOY_STEADY_NS      (60 * PX_SEC) /* READY this long: earlier failures are forgotten */
#define PX_DEPLOY_SILENCE_NS     (150 * PX_SEC) /* LOADING without any progress this long: failed */
#define PX_DEPLOY_CONNECT_NS     (10 * PX_SEC)  /* from ready ranks to a connected engine */
#define PX_DEPLOY_END_NS         (5 * PX_SEC)   /* wait for stopped ranks to end before a restart */
#define PX_DEPLOY_ADOPT_NS       (15 * PX_SEC) /* a new leader waits for running groups to report */
#define PX_DEPLOY_RETRY_NS       (1 * PX_SEC)  /* placement and writes to etcd are tried again */

typedef struct px_deployment px_deployment;

/* What a deployment does to the world. `arg` is passed back. */
typedef struct px_deploy_ports {
    const px_agents *agents;
    /* Ranks of all deployments on that agent. */
    uint32_t (*ranks_on)(void *arg, const char *agent);
    /* Write to etcd; px_deployment_written(deployment, ticket, ...) follows, never from within. */
    void (*write)(
        void *arg, px_deployment *deployment, uint64_t ticket, const px_etcd_op *ops, size_t count);
    /* Route requests to this engine; px_deployment_engine_up/_down follow, never from within. */
    void (*attach)(void *arg, const px_deployment *deployment);
    /* Route no more; requests in flight end with `why`. */
    void (*detach)(void *arg, const px_deployment *deployment, px_status why);
    void (*event)(
        void *arg, const px_deployment *deployment, const char *kind, const char *message);
    void (*changed)(void *arg, const px_deployment *deployment); /* for whoever shows progress */
    void *arg;
} px_deploy_ports;

typedef struct px_deploy_rank {
    Phalanx__V1__RankState state; /* UNSPECIFIED: nothing heard in this generation */
    double progress;
    uint64_t resident_bytes, steps;
    uint32_t pid;
} px_deploy_rank;

struct px_deployment { /* read freely; changed by the functions below alone */
    const px_deploy_ports *ports;
    px_spec spec;
    px_group_record record; /* of the last start */
    px_deploy_state state;
    char message[256]; /* a sentence about the state; may be empty */
    px_deploy_rank ranks[PX_WORLD_MAX];
    char engine_address[256]; /* rank 0's; empty: not known yet */
    char model_architecture[64];
    Phalanx__V1__ModelInfo model; /* its texts are spec.name and model_architecture */

    bool launched;     /* agents have been told of this generation */
    bool launch_ended; /* the launcher said that its mpirun is gone */
    bool attached;     /* the router has been told of the engine */
    bool deleted;      /* STOPPING: etcd has forgotten it */
    bool removed;      /* STOPPING: over; the owner frees it */
    unsigned failures; /* in a row */
    int64_t due_ns;    /* PENDING, RESTARTING: start; LOADING: give up; STOPPING: delete again */
    int64_t end_by_ns; /* stopped ranks that have not reported by then are taken for ended */
    int64_t ready_since_ns;
    bool spec_saved; /* etcd has the spec */
    /* How often its adapters changed: so far, when they were last written, and what etcd has. */
    uint32_t adapter_changes, adapter_changes_written, adapter_changes_saved;
    int64_t save_due_ns; /* a write of them that failed is tried again */
    uint64_t ticket;     /* of the last write */
    /* What the write under way is for; one at a time, so that they cannot overtake each other. */
    enum {
        PX_WRITE_NONE,
        PX_WRITE_SPEC,     /* then start */
        PX_WRITE_START,    /* a new generation: then launch */
        PX_WRITE_NOTE,     /* of the record; then nothing */
        PX_WRITE_ADAPTERS, /* of the spec again; then whoever waits for that hears of it */
        PX_WRITE_DELETE,   /* then it may be removed */
    } writing;
};

/* A new one: PENDING, its spec on the way to etcd. `spec` was checked. */
px_deployment *px_deployment_create(
    const px_deploy_ports *ports, const px_spec *spec, int64_t now_ns);
/* One found in etcd by a new leader. A record of generation 0: never started; `spec_revision` is
 * where the spec was created. */
px_deployment *px_deployment_restore(const px_deploy_ports *ports, const px_spec *spec,
    const px_group_record *record, int64_t spec_revision, int64_t now_ns);
void px_deployment_free(px_deployment *deployment);

void px_deployment_tick(px_deployment *deployment, int64_t now_ns);
/* `revision`: etcd's, of the write. */
void px_deployment_written(
    px_deployment *deployment, uint64_t ticket, px_status status, int64_t revision, int64_t now_ns);
/* FAILED: try again now. Else nothing. */
void px_deployment_retry(px_deployment *deployment, int64_t now_ns);
void px_deployment_stop(px_deployment *deployment, int64_t now_ns);
/* Its engine has these adapters now: the next start will, too. `changed` comes when etcd has them,
 * that is when adapter_changes_saved is what adapter_changes is after the call. */
void px_deployment_set_adapters(
    px_deployment *deployment, const px_adapters *adapters, int64_t now_ns);

/* `reports`: what still runs there, of this and of other groups. */
void px_deployment_agent_joined(px_deployment *deployment, const char *agent,
    Phalanx__V1__RankReport *const *reports, size_t count, int64_t now_ns);
void px_deployment_agent_lost(px_deployment *deployment, const char *agent, int64_t now_ns);
void px_deployment_rank_report(px_deployment *deployment, const char *agent,
    const Phalanx__V1__RankReport *report, int64_t now_ns);
void px_deployment_launch_ended(px_deployment *deployment, const char *agent,
    const Phalanx__V1__LaunchEnded *ended, int64_t now_ns);
void px_deployment_engine_up(px_deployment *deployment, uint64_t generation,
    const Phalanx__V1__ModelInfo *model, int64_t now_ns);
void px_deployment_engine_down(
    px_deployment *deployment, uint64_t generation, px_status why, int64_t now_ns);

/* Which agent would run which rank now; see px_place(). */
px_status px_deploy_place(const px_deploy_ports *ports, const px_spec *spec,
    char (*out_agents)[PX_NAME_BYTES]) PX_MUST_USE;

/* 0..1: how far loading is, over all ranks. */
double px_deployment_progress(const px_deployment *deployment);

#endif
