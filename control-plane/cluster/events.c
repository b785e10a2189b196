#include "control/cluster/events.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "etcd/keys.h"

enum { BATCH_MAX = 64, EVENT_JSON_MAX = 4096 };

typedef struct follower {
    void (*fn)(void *arg);
    void *arg;
} follower;

struct px_events {
    px_leader *leader;
    px_event ring[PX_EVENTS_MAX]; /* event s at s % PX_EVENTS_MAX */
    uint64_t newest, written;     /* sequences; written: etcd has all up to here */
    uint64_t writing_to;          /* last of the batch under way; 0: none */
    follower followers[PX_EVENT_FOLLOWERS_MAX];
    uint32_t follower_count;
};

px_events *px_events_create(px_leader *leader)
{
    px_events *events = px_alloc(sizeof *events);
    events->leader = leader;
    return events;
}

void px_events_free(px_events *events)
{
    if (!events) return;
    if (events->leader) px_leader_forget(events->leader, events);
    free(events);
}

uint64_t px_events_newest(const px_events *events)
{
    return events->newest;
}

const px_event *px_events_get(const px_events *events, uint64_t sequence)
{
    const px_event *event = &events->ring[sequence % PX_EVENTS_MAX];
    return sequence && event->sequence == sequence ? event : NULL;
}

/* ------------------------------------------------------------------------------ etcd */

static void encode(px_buf *out, const px_event *event)
{
    px_buf_printf(out, "{\"wall_ms\":%llu,\"kind\":", (unsigned long long)event->wall_ms);
    px_json_quote(out, event->kind, strlen(event->kind));
    px_buf_puts(out, ",\"subject\":");
    px_json_quote(out, event->subject, strlen(event->subject));
    px_buf_puts(out, ",\"message\":");
    px_json_quote(out, event->message, strlen(event->message));
    px_buf_putc(out, '}');
}

static px_status decode(const px_etcd_kv *kv, px_event *out)
{
    const char *kind = "", *subject = "", *message = "", *where = "event";
    int64_t wall_ms = 0;
    json_t *object;
    PX_TRY(px_json_parse(kv->value.data, kv->value.length, where, &object));
    px_status status = px_json_get_str(object, "kind", where, &kind);
    if (px_is_ok(status)) status = px_json_get_str(object, "subject", where, &subject);
    if (px_is_ok(status)) status = px_json_get_str(object, "message", where, &message);
    if (px_is_ok(status)) status = px_json_get_int(object, "wall_ms", where, &wall_ms);
    *out = (px_event){.sequence = strtoull(kv->key + strlen(PX_KEY_EVENTS), NULL, 10),
        .wall_ms = (uint64_t)wall_ms};
    snprintf(out->kind, sizeof out->kind, "%s", kind);
    snprintf(out->subject, sizeof out->subject, "%s", subject);
    snprintf(out->message, sizeof out->message, "%s", message);
    json_decref(object);
    return status;
}

void px_events_restore(px_events *events, const px_etcd_kv *kvs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        px_event event;
        if (!px_is_ok(decode(&kvs[i], &event)) || event.sequence <= events->newest) continue;
        events->ring[event.sequence % PX_EVENTS_MAX] = event;
        events->newest = events->written = event.sequence;
    }
}

static void write_batch(px_events *events);

static void on_written(void *arg, px_status status, int64_t revision)
{
    px_events *events = arg;
    if (px_is_ok(status)) events->written = events->writing_to;
    events->writing_to = 0;
    /* After a failure the next event tries again: a log must not keep a sick etcd busy. */
    if (px_is_ok(status)) write_batch(events);
}

/* One transaction: the next events in, those that fall out of the bound away. */
static void write_batch(px_events *events)
{
    if (!events->leader || events->writing_to || events->written == events->newest) return;
    uint64_t oldest = events->newest > PX_EVENTS_MAX ? events->newest - PX_EVENTS_MAX + 1 : 1;
    uint64_t from = events->written + 1 > oldest ? events->written + 1 : oldest;
    px_etcd_op ops[BATCH_MAX + 1];
    px_key keys[BATCH_MAX], first = px_key_event(0), end = px_key_event(oldest);
    px_buf values[BATCH_MAX];
    size_t count = 0;
    for (uint64_t s = from; s <= events->newest && count < BATCH_MAX; s++, count++) {
        keys[count] = px_key_event(s);
        px_buf_init(&values[count], EVENT_JSON_MAX);
        encode(&values[count], px_events_get(events, s));
        ops[count] = (px_etcd_op){.kind = PX_ETCD_PUT,
            .key = keys[count].text,
            .value = {px_buf_text(&values[count]), values[count].length}};
        events->writing_to = s;
    }
    ops[count] = (px_etcd_op){.kind = PX_ETCD_DELETE, .key = first.text, .end = end.text};
    px_leader_write(events->leader, ops, count + 1, on_written, events);
    for (size_t i = 0; i < count; i++) px_buf_done(&values[i]);
}

/* ------------------------------------------------------------------------------ adding, following
 */

void px_events_add(px_events *events, const char *kind, const char *subject, const char *message)
{
    px_event *event = &events->ring[++events->newest % PX_EVENTS_MAX];
    *event = (px_event){.sequence = events->newest, .wall_ms = (uint64_t)(px_wall_ns() / PX_MS)};
    snprintf(event->kind, sizeof event->kind, "%s", kind);
    snprintf(event->subject, sizeof event->subject, "%s", subject);
    snprintf(event->message, sizeof event->message, "%s", message);
    write_batch(events);
    for (uint32_t i = events->follower_count; i-- > 0;)
        events->followers[i].fn(events->followers[i].arg);
}

px_status px_events_follow(px_events *events, void (*fn)(void *arg), void *arg)
{
    if (events->follower_count == PX_EVENT_FOLLOWERS_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED,
            "%d others follow the events already, the most there can be", PX_EVENT_FOLLOWERS_MAX);
    events->followers[events->follower_count++] = (follower){fn, arg};
    return px_ok();
}

void px_events_unfollow(px_events *events, const void *arg)
{
    for (uint32_t i = 0; i < events->follower_count; i++) {
        if (events->followers[i].arg != arg) continue;
        events->followers[i] = events->followers[--events->follower_count];
        return;
    }
}
