/* messages.h - the generated messages under the names that this folder reads them by. */
#ifndef PX_CLUSTER_MESSAGES_H
#define PX_CLUSTER_MESSAGES_H

#include "phalanx/v1/cluster.pb-c.h"
#include "phalanx/v1/engine.pb-c.h"
#include "phalanx/v1/local.pb-c.h"

typedef Phalanx__V1__AgentMessage px_msg_agent;     /* agent -> control plane */
typedef Phalanx__V1__ControlMessage px_msg_control; /* control plane -> agent */
typedef Phalanx__V1__LocalMessage px_msg_local;     /* on the agent's unix socket */

typedef Phalanx__V1__Launch px_msg_launch;
typedef Phalanx__V1__RankPlace px_msg_place;
typedef Phalanx__V1__RankReport px_msg_report;
typedef Phalanx__V1__RankBeat px_msg_beat;
typedef Phalanx__V1__RemoteStartRequest px_msg_remote_ask;
typedef Phalanx__V1__RemoteStart px_msg_remote_start;

typedef enum px_rank_state {
    PX_RANK_EXPECTED = PHALANX__V1__RANK_STATE__RANK_STATE_UNSPECIFIED, /* has not reported yet */
    PX_RANK_STARTED = PHALANX__V1__RANK_STATE__RANK_STATE_STARTED,
    PX_RANK_LOADING = PHALANX__V1__RANK_STATE__RANK_STATE_LOADING,
    PX_RANK_READY = PHALANX__V1__RANK_STATE__RANK_STATE_READY,
    PX_RANK_ENDED = PHALANX__V1__RANK_STATE__RANK_STATE_ENDED,
    PX_RANK_STUCK = PHALANX__V1__RANK_STATE__RANK_STATE_STUCK,
} px_rank_state;

#define PX_LOCAL(member)   PHALANX__V1__LOCAL_MESSAGE__KIND_##member
#define PX_AGENT(member)   PHALANX__V1__AGENT_MESSAGE__KIND_##member
#define PX_CONTROL(member) PHALANX__V1__CONTROL_MESSAGE__KIND_##member

#endif
