#include "control/cluster/presence.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "etcd/keys.h"

enum { TTL_S = 6, VALUE_BYTES_MAX = 16 << 10 };
#define BEAT_NS (2 * PX_SEC)

typedef struct entry {
    px_presence *presence;
    struct entry *next;
    char name[PX_NAME_BYTES];
    px_buf value;
    int64_t lease; /* 0: none yet */
    bool busy;     /* a call is under way */
    bool written;  /* `value` stands in etcd under `lease` */
} entry;

struct px_presence {
    px_loop *loop;
    px_etcd *etcd;
    px_leader *leader;
    px_loop_timer *beat;
    entry *entries;
};

static void advance(entry *e);

static void on_written(void *arg, px_status status, int64_t revision)
{
    entry *e = arg;
    e->busy = false;
    e->written = px_is_ok(status);
}

static void on_granted(void *arg, px_status status, const px_etcd_result *result)
{
    entry *e = arg;
    e->busy = false;
    if (!px_is_ok(status)) return; /* the next beat tries again */
    e->lease = result->lease;
    advance(e);
}

static void on_kept_alive(void *arg, px_status status, const px_etcd_result *result)
{
    entry *e = arg;
    e->busy = false;
    if (status.code != PX_NOT_FOUND) return;
    e->lease = 0;
    e->written = false;
    advance(e);
}

/* The next step towards a key under a living lease. */
static void advance(entry *e)
{
    px_presence *presence = e->presence;
    if (e->busy) return;
    e->busy = true;
    if (!e->lease) {
        px_etcd_lease_grant(presence->etcd, TTL_S, on_granted, e);
    } else if (!e->written) {
        px_key key = px_key_of(PX_KEY_NODES, e->name);
        px_etcd_op op = {.kind = PX_ETCD_PUT,
            .key = key.text,
            .lease = e->lease,
            .value = {px_buf_text(&e->value), e->value.length}};
        px_leader_write(presence->leader, &op, 1, on_written, e);
    } else {
        px_etcd_lease_keep_alive(presence->etcd, e->lease, on_kept_alive, e);
    }
}

static void beat(void *arg)
{
    px_presence *presence = arg;
    for (entry *e = presence->entries; e; e = e->next) advance(e);
}

static void encode(px_buf *out, const px_agent *agent)
{
    px_buf_puts(out, "{\"machine\":");
    px_json_quote(out, agent->machine, strlen(agent->machine));
    px_buf_puts(out, ",\"address\":");
    px_json_quote(out, agent->address, strlen(agent->address));
    px_buf_printf(out, ",\"cores\":%u,\"gpus\":%u,\"memory_bytes\":%llu}", agent->cores,
        agent->gpus, (unsigned long long)agent->memory_bytes);
}

px_presence *px_presence_create(px_loop *loop, px_etcd *etcd, px_leader *leader)
{
    px_presence *presence = px_alloc(sizeof *presence);
    *presence = (px_presence){.loop = loop, .etcd = etcd, .leader = leader};
    presence->beat = px_loop_every(loop, BEAT_NS, beat, presence);
    return presence;
}

static void entry_free(entry *e)
{
    px_etcd_forget(e->presence->etcd, e);
    px_leader_forget(e->presence->leader, e);
    px_buf_done(&e->value);
    free(e);
}

void px_presence_free(px_presence *presence)
{
    if (!presence) return;
    px_loop_cancel(presence->loop, presence->beat);
    for (entry *e = presence->entries, *next; e; e = next) {
        next = e->next;
        entry_free(e);
    }
    free(presence);
}

static entry **find(px_presence *presence, const char *name)
{
    entry **at = &presence->entries;
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    return at;
}

void px_presence_put(px_presence *presence, const px_agent *agent)
{
    entry **at = find(presence, agent->name);
    if (!*at) {
        *at = px_alloc(sizeof **at);
        (*at)->presence = presence;
        px_name_copy((*at)->name, agent->name);
        px_buf_init(&(*at)->value, VALUE_BYTES_MAX);
    }
    px_buf_reset(&(*at)->value);
    encode(&(*at)->value, agent);
    (*at)->written = false;
    advance(*at);
}

static void ignore_answer(void *arg, px_status status, const px_etcd_result *result) {}

void px_presence_remove(px_presence *presence, const char *agent)
{
    entry **at = find(presence, agent), *e = *at;
    if (!e) return;
    *at = e->next;
    if (e->lease) px_etcd_lease_revoke(presence->etcd, e->lease, ignore_answer, NULL);
    entry_free(e);
}
