/* keys.h - where everything lives in etcd; the only file that spells a key.
 *
 *   /phalanx/v1/leader            who acts: JSON {"id","address"}, under the leader's lease
 *   /phalanx/v1/nodes/AGENT       an agent that is alive: JSON, under the agent's lease
 *   /phalanx/v1/deployments/NAME  what an operator asked for: JSON, see control/cluster/spec.h
 *   /phalanx/v1/groups/NAME       what was last started for it: JSON, generation and secret
 * included /phalanx/v1/events/SEQUENCE   20 digits: JSON; a bounded tail is kept
 */
#ifndef PX_ETCD_KEYS_H
#define PX_ETCD_KEYS_H

#include <inttypes.h>
#include <stdio.h>

#define PX_KEY_ROOT        "/phalanx/v1/"
#define PX_KEY_LEADER      PX_KEY_ROOT "leader"
#define PX_KEY_NODES       PX_KEY_ROOT "nodes/"
#define PX_KEY_DEPLOYMENTS PX_KEY_ROOT "deployments/"
#define PX_KEY_GROUPS      PX_KEY_ROOT "groups/"
#define PX_KEY_EVENTS      PX_KEY_ROOT "events/"

/* Names are at most PX_NAME_MAX bytes (control/cluster/spec.h), so a key always fits. */
typedef struct px_key {
    char text[160];
} px_key;

static inline px_key px_key_of(const char *folder, const char *name)
{
    px_key key;
    snprintf(key.text, sizeof key.text, "%s%s", folder, name);
    return key;
}

static inline px_key px_key_event(uint64_t sequence)
{
    px_key key;
    snprintf(key.text, sizeof key.text, PX_KEY_EVENTS "%020" PRIu64, sequence);
    return key;
}

#endif
