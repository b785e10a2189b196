/* Two phases, entered again whenever one fails:
 *
 *   read    range over the prefix -> on_state, revision = the answer's
 *   follow  one streaming POST from revision + 1 -> on_change, revision = each message's
 *
 * A broken or silent stream goes back to follow, on the next member; a cancelled one (compaction)
 * to read. The revision advances only with messages that carry changes: etcd's progress messages
 * may run ahead of changes still to come (etcd issue 15220).
 */
#include "etcd/watch.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "etcd/internal.h"

enum { LINE_BYTES_MAX = 32 << 20 };
#define IDLE_NS      (30 * PX_SEC)
#define RETRY_NS_MIN (50 * PX_MS)
#define RETRY_NS_MAX (2 * PX_SEC)

struct px_etcd_watch {
    px_etcd *etcd;
    char prefix[128];
    int64_t idle_ns, retry_ns;
    void (*on_state)(void *arg, const px_etcd_kv *kvs, size_t count);
    void (*on_change)(void *arg, const px_etcd_change *change);
    void *arg;

    int64_t revision; /* everything up to here was handed out; 0: nothing */
    unsigned endpoint;
    px_http_call *stream;
    px_loop_timer *idle, *retry;
    px_buf line;   /* the part of the stream behind its last newline */
    unsigned busy; /* callbacks under way: a watch stopped from within one is freed after it */
    bool stopped;
};

static void read_state(void *arg);
static void follow(void *arg);

static void release(px_etcd_watch *watch)
{
    if (--watch->busy == 0 && watch->stopped) {
        px_buf_done(&watch->line);
        free(watch);
    }
}

static void close_stream(px_etcd_watch *watch)
{
    px_http_cancel(watch->stream);
    watch->stream = NULL;
    px_loop_cancel(watch->etcd->loop, watch->idle);
    watch->idle = NULL;
    px_buf_reset(&watch->line);
}

static void again_later(px_etcd_watch *watch, px_loop_fn phase)
{
    px_loop_cancel(watch->etcd->loop, watch->retry);
    watch->retry = px_loop_after(watch->etcd->loop, watch->retry_ns, phase, watch);
    watch->retry_ns = watch->retry_ns * 2 < RETRY_NS_MAX ? watch->retry_ns * 2 : RETRY_NS_MAX;
}

static void on_idle(void *arg)
{
    px_etcd_watch *watch = arg;
    watch->idle = NULL;
    close_stream(watch);
    px_etcd_fail_over(watch->etcd, watch->endpoint);
    follow(watch);
}

static void restart_idle_timer(px_etcd_watch *watch)
{
    px_loop_cancel(watch->etcd->loop, watch->idle);
    watch->idle = px_loop_after(watch->etcd->loop, watch->idle_ns, on_idle, watch);
}

/* False: the stream is of no more use and a new phase is under way (or the watch was stopped). */
static bool take_line(px_etcd_watch *watch, px_slice line)
{
    px_etcd_watch_message message;
    px_status status = px_etcd_decode_watch(line, &message);
    if (!px_is_ok(status)) {
        close_stream(watch);
        px_etcd_fail_over(watch->etcd, watch->endpoint);
        again_later(watch, follow);
        return false;
    }
    for (size_t i = 0; i < message.count && !watch->stopped; i++)
        watch->on_change(watch->arg, &message.changes[i]);
    if (message.count) watch->revision = message.revision;
    bool cancelled = message.cancelled;
    px_etcd_watch_message_done(&message);
    if (watch->stopped) return false;
    if (cancelled) {
        close_stream(watch);
        again_later(watch, read_state);
        return false;
    }
    watch->retry_ns = RETRY_NS_MIN;
    return true;
}

static void on_bytes(void *arg, px_slice bytes)
{
    px_etcd_watch *watch = arg;
    restart_idle_timer(watch);
    watch->busy++;
    const char *newline;
    while ((newline = memchr(bytes.data, '\n', bytes.length))) {
        size_t length = (size_t)(newline - bytes.data);
        px_buf_append(&watch->line, bytes.data, length);
        px_buf line = watch->line;
        px_buf_init(&watch->line, LINE_BYTES_MAX);
        bool goes_on = !line.length || take_line(watch, (px_slice){line.data, line.length});
        px_buf_done(&line);
        if (!goes_on) break;
        bytes = (px_slice){newline + 1, bytes.length - length - 1};
    }
    if (!newline) px_buf_append(&watch->line, bytes.data, bytes.length);
    release(watch);
}

static void on_stream_end(void *arg, px_status status, long http_code, px_slice body)
{
    px_etcd_watch *watch = arg;
    watch->stream = NULL;
    close_stream(watch);
    px_etcd_fail_over(watch->etcd, watch->endpoint);
    again_later(watch, follow);
}

static void follow(void *arg)
{
    px_etcd_watch *watch = arg;
    watch->retry = NULL;
    watch->endpoint = watch->etcd->current;
    px_buf body;
    px_buf_init(&body, 4096);
    px_etcd_encode_watch(&body, watch->prefix, watch->revision + 1);
    px_etcd_url url = px_etcd_url_of(watch->etcd, "/v3/watch");
    watch->stream = px_http_start(watch->etcd->http, &(px_http_post){.url = url.text,
                                                         .body = {body.data, body.length},
                                                         .response_bytes_max = LINE_BYTES_MAX,
                                                         .on_data = on_bytes,
                                                         .on_done = on_stream_end,
                                                         .arg = watch});
    px_buf_done(&body);
    restart_idle_timer(watch);
}

static void on_state_read(void *arg, px_status status, const px_etcd_result *result)
{
    px_etcd_watch *watch = arg;
    if (!px_is_ok(status)) {
        again_later(watch, read_state);
        return;
    }
    watch->busy++;
    watch->revision = result->revision;
    watch->on_state(watch->arg, result->kvs, result->count);
    if (!watch->stopped) follow(watch);
    release(watch);
}

static void read_state(void *arg)
{
    px_etcd_watch *watch = arg;
    watch->retry = NULL;
    px_etcd_range(watch->etcd,
        &(px_etcd_op){.kind = PX_ETCD_RANGE, .key = watch->prefix, .prefix = true}, on_state_read,
        watch);
}

void px_etcd_watch_start(
    px_etcd *etcd, const px_etcd_watch_options *options, px_etcd_watch **out_watch)
{
    px_etcd_watch *watch = px_alloc(sizeof *watch);
    watch->etcd = etcd;
    size_t length = strlen(options->prefix);
    PX_ASSERT(length < sizeof watch->prefix);
    memcpy(watch->prefix, options->prefix, length + 1);
    watch->idle_ns = options->idle_ns ? options->idle_ns : IDLE_NS;
    watch->retry_ns = RETRY_NS_MIN;
    watch->on_state = options->on_state;
    watch->on_change = options->on_change;
    watch->arg = options->arg;
    px_buf_init(&watch->line, LINE_BYTES_MAX);
    *out_watch = watch;
    read_state(watch);
}

void px_etcd_watch_stop(px_etcd_watch *watch)
{
    if (!watch) return;
    close_stream(watch);
    px_etcd_forget(watch->etcd, watch);
    px_loop_cancel(watch->etcd->loop, watch->retry);
    watch->retry = NULL;
    watch->stopped = true;
    watch->busy++;
    release(watch);
}
