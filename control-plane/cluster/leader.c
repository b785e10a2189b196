/* The election is driven by a watch on the key:
 *
 *   vacant ──▶ grant a lease ──▶ create the key if absent ──▶ elected, keep the lease alive
 *      ▲                               │ taken                      │ lease lost, key gone
 *      └───────── key deleted ◀────────┴────────────────────────────┘
 */
#include "control/cluster/leader.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "etcd/keys.h"
#include "etcd/watch.h"

enum { TTL_S = 5, VALUE_BYTES_MAX = 1024 };
#define RETRY_NS (500 * PX_MS)

typedef struct pending_write {
    px_leader *leader;
    struct pending_write *next, **link;
    void (*fn)(void *arg, px_status status, int64_t revision);
    void *arg;
} pending_write;

struct px_leader {
    px_loop *loop;
    px_etcd *etcd;
    px_etcd_watch *watch;
    char address[256], holder[256]; /* holder: empty when the key is vacant or not known */
    int64_t ttl_s, lease, revision; /* revision: our key's creation; 0: not elected */
    int64_t asked_ns, valid_until_ns;
    bool vacant, campaigning, sole, alive_asked;
    px_loop_timer *retry, *beat;
    pending_write *writes;
    void (*on_elected)(void *arg);
    void (*on_deposed)(void *arg, px_status why);
    void (*on_following)(void *arg, const char *address);
    void *arg;
};

static void campaign(void *arg);

bool px_leader_is_elected(const px_leader *leader)
{
    return leader->revision != 0;
}
const char *px_leader_address(const px_leader *leader)
{
    return leader->holder;
}

static void ignore_answer(void *arg, px_status status, const px_etcd_result *result) {}

static void campaign_later(px_leader *leader)
{
    leader->campaigning = false;
    if (!leader->retry) leader->retry = px_loop_after(leader->loop, RETRY_NS, campaign, leader);
}

static void drop_lease(px_leader *leader)
{
    if (leader->lease) px_etcd_lease_revoke(leader->etcd, leader->lease, ignore_answer, NULL);
    leader->lease = 0;
}

/* A key with our address is our own, told before its claim was answered, or a dead predecessor's;
 * so is any in an etcd of ours alone. */
static void tell_following(px_leader *leader)
{
    bool is_other = leader->holder[0] && strcmp(leader->holder, leader->address) != 0;
    if (is_other && !leader->sole && !leader->revision)
        leader->on_following(leader->arg, leader->holder);
}

static void depose(px_leader *leader, px_status why)
{
    leader->revision = 0;
    px_loop_cancel(leader->loop, leader->beat);
    leader->beat = NULL;
    drop_lease(leader);
    leader->on_deposed(leader->arg, why);
    tell_following(leader);
    campaign_later(leader);
}

/* ------------------------------------------------------------------------------ holding on */

static void on_kept_alive(void *arg, px_status status, const px_etcd_result *result)
{
    px_leader *leader = arg;
    leader->alive_asked = false;
    if (!leader->revision) return;
    if (px_is_ok(status))
        leader->valid_until_ns = leader->asked_ns + leader->ttl_s * PX_SEC;
    else if (status.code == PX_NOT_FOUND)
        depose(leader, status);
}

static void beat(void *arg)
{
    px_leader *leader = arg;
    int64_t now_ns = px_now_ns();
    if (now_ns >= leader->valid_until_ns) {
        depose(leader,
            px_fail(PX_UNAVAILABLE, "etcd has not answered for %lld s", (long long)leader->ttl_s));
        return;
    }
    if (leader->alive_asked) return;
    leader->alive_asked = true;
    leader->asked_ns = now_ns;
    px_etcd_lease_keep_alive(leader->etcd, leader->lease, on_kept_alive, leader);
}

/* ------------------------------------------------------------------------------ campaigning */

static void on_claimed(void *arg, px_status status, const px_etcd_result *result)
{
    px_leader *leader = arg;
    leader->campaigning = false;
    if (!px_is_ok(status) || !result->succeeded) { /* taken, or not known: the watch will tell */
        drop_lease(leader);
        campaign_later(leader);
        return;
    }
    leader->revision = result->revision;
    leader->vacant = false;
    snprintf(leader->holder, sizeof leader->holder, "%s", leader->address);
    leader->beat = px_loop_every(leader->loop, leader->ttl_s * PX_SEC / 5, beat, leader);
    leader->on_elected(leader->arg);
}

static void on_granted(void *arg, px_status status, const px_etcd_result *result)
{
    px_leader *leader = arg;
    if (!px_is_ok(status)) {
        campaign_later(leader);
        return;
    }
    leader->lease = result->lease;
    leader->valid_until_ns = leader->asked_ns + leader->ttl_s * PX_SEC;
    px_buf value;
    px_buf_init(&value, VALUE_BYTES_MAX);
    px_buf_puts(&value, "{\"address\":");
    px_json_quote(&value, leader->address, strlen(leader->address));
    px_buf_puts(&value, "}");
    px_etcd_op op = {.kind = PX_ETCD_PUT,
        .key = PX_KEY_LEADER,
        .lease = leader->lease,
        .value = {px_buf_text(&value), value.length}};
    px_etcd_txn(
        leader->etcd, &(px_etcd_compare){.key = PX_KEY_LEADER}, 1, &op, 1, on_claimed, leader);
    px_buf_done(&value);
}

static void campaign(void *arg)
{
    px_leader *leader = arg;
    leader->retry = NULL;
    if (!leader->vacant || leader->campaigning || leader->revision) return;
    leader->campaigning = true;
    leader->asked_ns = px_now_ns();
    px_etcd_lease_grant(leader->etcd, leader->ttl_s, on_granted, leader);
}

/* ------------------------------------------------------------------------------ watching */

static void learn_holder(px_leader *leader, const px_etcd_kv *kv)
{
    json_t *object = NULL;
    const char *address = "";
    if (px_is_ok(px_json_parse(kv->value.data, kv->value.length, "leader", &object)))
        px_ignore(px_json_get_str(object, "address", "leader", &address));
    snprintf(leader->holder, sizeof leader->holder, "%s", address);
    json_decref(object);
    tell_following(leader);
}

static void became_vacant(px_leader *leader)
{
    leader->vacant = true;
    leader->holder[0] = '\0';
    campaign(leader);
}

static void on_state(void *arg, const px_etcd_kv *kvs, size_t count)
{
    px_leader *leader = arg;
    if (count == 0) {
        if (leader->revision) depose(leader, px_fail(PX_ABORTED, "the leader key is gone"));
        became_vacant(leader);
        return;
    }
    leader->vacant = false;
    learn_holder(leader, &kvs[0]);
    if (leader->sole && !leader->revision && !leader->campaigning) {
        px_etcd_op op = {.kind = PX_ETCD_DELETE, .key = PX_KEY_LEADER};
        px_etcd_txn(leader->etcd, NULL, 0, &op, 1, ignore_answer, NULL);
    }
}

static void on_change(void *arg, const px_etcd_change *change)
{
    px_leader *leader = arg;
    if (change->deleted) {
        /* The deletion of an older key may be told after our own claim was answered. */
        if (leader->revision && change->kv.mod_revision > leader->revision)
            depose(leader, px_fail(PX_ABORTED, "the leader key was deleted"));
        if (!leader->revision) became_vacant(leader);
    } else {
        leader->vacant = false;
        learn_holder(leader, &change->kv);
    }
}

/* ------------------------------------------------------------------------------ writing */

static void write_free(pending_write *write)
{
    *write->link = write->next;
    if (write->next) write->next->link = write->link;
    free(write);
}

static void on_written(void *arg, px_status status, const px_etcd_result *result)
{
    pending_write *write = arg;
    if (px_is_ok(status) && !result->succeeded)
        status = px_fail(PX_ABORTED, "another control plane leads now");
    void (*fn)(void *, px_status, int64_t) = write->fn;
    void *fn_arg = write->arg;
    write_free(write);
    fn(fn_arg, status, result->revision);
}

void px_leader_write(px_leader *leader, const px_etcd_op *ops, size_t count,
    void (*fn)(void *arg, px_status status, int64_t revision), void *arg)
{
    pending_write *write = px_alloc(sizeof *write);
    *write = (pending_write){
        .leader = leader, .next = leader->writes, .link = &leader->writes, .fn = fn, .arg = arg};
    if (write->next) write->next->link = &write->next;
    leader->writes = write;
    /* Not elected: no key was created at revision -1, so the condition fails. */
    px_etcd_compare fence = {PX_KEY_LEADER, leader->revision ? leader->revision : -1};
    px_etcd_txn(leader->etcd, &fence, 1, ops, count, on_written, write);
}

void px_leader_forget(px_leader *leader, const void *arg)
{
    for (pending_write *write = leader->writes, *next; write; write = next) {
        next = write->next;
        if (write->arg != arg) continue;
        px_etcd_forget(leader->etcd, write);
        write_free(write);
    }
}

/* ------------------------------------------------------------------------------ life */

px_leader *px_leader_create(px_loop *loop, px_etcd *etcd, const px_leader_options *options)
{
    px_leader *leader = px_alloc(sizeof *leader);
    *leader = (px_leader){.loop = loop,
        .etcd = etcd,
        .sole = options->sole,
        .ttl_s = options->ttl_s ? options->ttl_s : TTL_S,
        .on_elected = options->on_elected,
        .on_deposed = options->on_deposed,
        .on_following = options->on_following,
        .arg = options->arg};
    snprintf(leader->address, sizeof leader->address, "%s", options->address);
    px_etcd_watch_options watch = {
        .prefix = PX_KEY_LEADER, .on_state = on_state, .on_change = on_change, .arg = leader};
    px_etcd_watch_start(etcd, &watch, &leader->watch);
    return leader;
}

void px_leader_free(px_leader *leader)
{
    if (!leader) return;
    px_etcd_watch_stop(leader->watch);
    px_loop_cancel(leader->loop, leader->retry);
    px_loop_cancel(leader->loop, leader->beat);
    while (leader->writes) {
        px_etcd_forget(leader->etcd, leader->writes);
        write_free(leader->writes);
    }
    px_etcd_forget(leader->etcd, leader);
    drop_lease(leader);
    free(leader);
}
