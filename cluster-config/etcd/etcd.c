#include "etcd/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { REQUEST_BYTES_MAX = 4 << 20 };
#define KEEP_ALIVE_PATH "/v3/lease/keepalive"
#define TIMEOUT_NS      (5 * PX_SEC)
#define ATTEMPT_NS_MAX  (2 * PX_SEC) /* a frozen member must leave time to ask another */
#define RETRY_NS_MIN    (50 * PX_MS)
#define RETRY_NS_MAX    (500 * PX_MS)

const char *const px_etcd_headers[] = {"Grpc-Metadata-hasleader: true", NULL};

typedef struct px_etcd_call { /* one request over all its attempts */
    px_etcd *etcd;
    struct px_etcd_call *next, **link;
    const char *path; /* static */
    px_buf body;
    int64_t deadline_ns, retry_ns;
    unsigned endpoint; /* that the attempt under way talks to */
    px_http_call *attempt;
    px_loop_timer *retry;
    bool is_keep_alive;
    px_etcd_fn fn;
    void *arg;
} px_etcd_call;

/* ------------------------------------------------------------------------------ endpoints */

static px_status add_endpoint(px_etcd *etcd, const char *text, size_t length)
{
    if (etcd->endpoint_count == PX_ETCD_ENDPOINTS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "more than %d etcd endpoints", PX_ETCD_ENDPOINTS_MAX);
    while (length && text[length - 1] == '/') length--;
    bool has_scheme = (length > 7 && strncmp(text, "http://", 7) == 0) ||
                      (length > 8 && strncmp(text, "https://", 8) == 0);
    if (!has_scheme || length >= PX_ETCD_URL_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "etcd endpoint '%.*s' must look like http://host:2379",
            (int)length, text);
    char *endpoint = etcd->endpoints[etcd->endpoint_count++];
    memcpy(endpoint, text, length);
    endpoint[length] = '\0';
    return px_ok();
}

static px_status add_endpoints(px_etcd *etcd, const char *list)
{
    while (*list) {
        size_t length = strcspn(list, ",");
        if (length) PX_TRY(add_endpoint(etcd, list, length));
        list += length + (list[length] == ',');
    }
    if (!etcd->endpoint_count) return px_fail(PX_INVALID_ARGUMENT, "no etcd endpoint given");
    return px_ok();
}

px_etcd_url px_etcd_url_of(const px_etcd *etcd, const char *path)
{
    px_etcd_url url;
    snprintf(url.text, sizeof url.text, "%s%s", etcd->endpoints[etcd->current], path);
    return url;
}

void px_etcd_fail_over(px_etcd *etcd, unsigned failed)
{
    if (etcd->current == failed) etcd->current = (failed + 1) % etcd->endpoint_count;
}

/* ------------------------------------------------------------------------------ calls */

static void call_free(px_etcd_call *call)
{
    px_http_cancel(call->attempt);
    px_loop_cancel(call->etcd->loop, call->retry);
    *call->link = call->next;
    if (call->next) call->next->link = call->link;
    px_buf_done(&call->body);
    free(call);
}

static void call_end(px_etcd_call *call, px_status status, const px_etcd_result *result)
{
    px_etcd_fn fn = call->fn;
    void *arg = call->arg;
    call_free(call);
    fn(arg, status, result);
}

static void attempt(void *arg);

static void on_answer(void *arg, px_status status, long http_code, px_slice body)
{
    px_etcd_call *call = arg;
    call->attempt = NULL;
    px_etcd_result result = {0};
    if (px_is_ok(status))
        status = px_etcd_decode(http_code, body, &result);
    else
        status = px_prefix(status, "etcd at %s", call->etcd->endpoints[call->endpoint]);
    if (px_is_ok(status) && call->is_keep_alive && result.ttl_s == 0)
        status = px_fail(PX_NOT_FOUND, "etcd: the lease has run out");
    bool try_another = status.code == PX_UNAVAILABLE || status.code == PX_DEADLINE_EXCEEDED;
    if (try_another) {
        px_etcd_fail_over(call->etcd, call->endpoint);
        if (px_now_ns() + call->retry_ns < call->deadline_ns) {
            call->retry = px_loop_after(call->etcd->loop, call->retry_ns, attempt, call);
            call->retry_ns = call->retry_ns * 2 < RETRY_NS_MAX ? call->retry_ns * 2 : RETRY_NS_MAX;
            return;
        }
    }
    call_end(call, status, &result);
    px_etcd_result_done(&result);
}

static void attempt(void *arg)
{
    px_etcd_call *call = arg;
    call->retry = NULL;
    call->endpoint = call->etcd->current;
    int64_t left_ns = call->deadline_ns - px_now_ns();
    px_etcd_url url = px_etcd_url_of(call->etcd, call->path);
    call->attempt = px_http_start(
        call->etcd->http, &(px_http_post){.url = url.text,
                              .body = {call->body.data, call->body.length},
                              .timeout_ns = left_ns < PX_MS            ? PX_MS
                                            : left_ns < ATTEMPT_NS_MAX ? left_ns
                                                                       : ATTEMPT_NS_MAX,
                              .on_done = on_answer,
                              .arg = call});
}

/* Takes `body`. */
static void call_start(px_etcd *etcd, const char *path, px_buf body, px_etcd_fn fn, void *arg)
{
    PX_ASSERT(!body.overflowed); /* our records are bounded far below */
    px_etcd_call *call = px_alloc(sizeof *call);
    *call = (px_etcd_call){.etcd = etcd,
        .path = path,
        .body = body,
        .fn = fn,
        .arg = arg,
        .deadline_ns = px_now_ns() + etcd->timeout_ns,
        .retry_ns = RETRY_NS_MIN,
        .is_keep_alive = strcmp(path, KEEP_ALIVE_PATH) == 0,
        .next = etcd->calls,
        .link = &etcd->calls};
    if (call->next) call->next->link = &call->next;
    etcd->calls = call;
    attempt(call);
}

px_status px_etcd_create(px_loop *loop, const px_etcd_options *options, px_etcd **out)
{
    px_etcd *etcd = px_alloc(sizeof *etcd);
    etcd->loop = loop;
    etcd->timeout_ns = options->timeout_ns ? options->timeout_ns : TIMEOUT_NS;
    px_status status = add_endpoints(etcd, options->endpoints);
    if (px_is_ok(status)) status = px_http_create(loop, px_etcd_headers, &etcd->http);
    if (!px_is_ok(status)) {
        free(etcd);
        return status;
    }
    *out = etcd;
    return px_ok();
}

void px_etcd_free(px_etcd *etcd)
{
    if (!etcd) return;
    while (etcd->calls) call_free(etcd->calls);
    px_http_free(etcd->http);
    free(etcd);
}

bool px_etcd_is_idle(const px_etcd *etcd)
{
    return etcd->calls == NULL;
}

void px_etcd_forget(px_etcd *etcd, const void *arg)
{
    for (px_etcd_call *call = etcd->calls, *next; call; call = next) {
        next = call->next;
        if (call->arg == arg) call_free(call);
    }
}

/* ------------------------------------------------------------------------------ requests */

void px_etcd_range(px_etcd *etcd, const px_etcd_op *op, px_etcd_fn fn, void *arg)
{
    px_buf body;
    px_buf_init(&body, REQUEST_BYTES_MAX);
    px_etcd_encode_range(&body, op);
    call_start(etcd, "/v3/kv/range", body, fn, arg);
}

void px_etcd_txn(px_etcd *etcd, const px_etcd_compare *compares, size_t compare_count,
    const px_etcd_op *ops, size_t op_count, px_etcd_fn fn, void *arg)
{
    px_buf body;
    px_buf_init(&body, REQUEST_BYTES_MAX);
    px_etcd_encode_txn(&body, compares, compare_count, ops, op_count);
    call_start(etcd, "/v3/kv/txn", body, fn, arg);
}

static void lease_call(
    px_etcd *etcd, const char *path, const char *field, int64_t value, px_etcd_fn fn, void *arg)
{
    px_buf body;
    px_buf_init(&body, REQUEST_BYTES_MAX);
    px_buf_printf(&body, "{\"%s\":\"%lld\"}", field, (long long)value);
    call_start(etcd, path, body, fn, arg);
}

void px_etcd_lease_grant(px_etcd *etcd, int64_t ttl_s, px_etcd_fn fn, void *arg)
{
    lease_call(etcd, "/v3/lease/grant", "TTL", ttl_s, fn, arg);
}

void px_etcd_lease_keep_alive(px_etcd *etcd, int64_t lease, px_etcd_fn fn, void *arg)
{
    lease_call(etcd, KEEP_ALIVE_PATH, "ID", lease, fn, arg);
}

void px_etcd_lease_revoke(px_etcd *etcd, int64_t lease, px_etcd_fn fn, void *arg)
{
    lease_call(etcd, "/v3/lease/revoke", "ID", lease, fn, arg);
}
