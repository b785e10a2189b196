/* How it fits together: libcurl tells us which descriptors (on_socket) and which timeout (on_timer)
 * to watch; the loop tells us what happened; both lead to act(), which feeds libcurl and then hands
 * out what it left behind: bytes gathered by on_write, and finished transfers. */
#include "http/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { CONNECT_TIMEOUT_MS = 1500, RESPONSE_BYTES_MAX = 16 << 20 };

struct px_http {
    px_loop *loop;
    CURLM *multi;
    px_loop_timer *timer;
    px_http_call *calls;
    struct curl_slist *headers;
};

struct px_http_call {
    px_http *http;
    px_http_call *next, **link; /* of http->calls */
    CURL *easy;
    char *body;
    px_buf received;
    void (*on_data)(void *arg, px_slice bytes);
    void (*on_done)(void *arg, px_status status, long http_code, px_slice body);
    void *arg;
    bool finished;
    CURLcode result;
    char error[CURL_ERROR_SIZE];
};

static void call_free(px_http_call *call)
{
    curl_multi_remove_handle(call->http->multi, call->easy);
    curl_easy_cleanup(call->easy);
    *call->link = call->next;
    if (call->next) call->next->link = call->link;
    px_buf_done(&call->received);
    free(call->body);
    free(call);
}

static px_status transport_status(const px_http_call *call)
{
    const char *why = call->error[0] ? call->error : curl_easy_strerror(call->result);
    if (call->result == CURLE_OK) return px_ok();
    if (call->received.overflowed)
        return px_fail(
            PX_RESOURCE_EXHAUSTED, "the answer is larger than %zu bytes", call->received.max);
    if (call->result == CURLE_OPERATION_TIMEDOUT) return px_fail(PX_DEADLINE_EXCEEDED, "%s", why);
    return px_fail(PX_UNAVAILABLE, "%s", why);
}

static void finish(px_http_call *call)
{
    long http_code = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &http_code);
    px_status status = transport_status(call);
    /* The call ends before on_done runs, so that on_done may free whatever owns the call. */
    px_buf body = call->received;
    px_buf_init(&call->received, 0);
    void (*on_done)(void *, px_status, long, px_slice) = call->on_done;
    void *arg = call->arg;
    call_free(call);
    on_done(arg, status, http_code, (px_slice){px_buf_text(&body), body.length});
    px_buf_done(&body);
}

static px_http_call *next_to_serve(px_http *http)
{
    for (px_http_call *call = http->calls; call; call = call->next)
        if (call->finished || (call->on_data && call->received.length)) return call;
    return NULL;
}

/* Callbacks may start and cancel any call, so the list is searched anew after each. */
static void hand_out(px_http *http)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        px_http_call *call;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call->finished = true;
        call->result = message->data.result;
    }
    px_http_call *call;
    while ((call = next_to_serve(http))) {
        if (call->on_data && call->received.length) {
            px_buf bytes = call->received;
            px_buf_init(&call->received, bytes.max);
            call->received.overflowed = bytes.overflowed;
            call->on_data(call->arg, (px_slice){bytes.data, bytes.length});
            px_buf_done(&bytes);
        } else {
            finish(call);
        }
    }
}

static void act(px_http *http, curl_socket_t fd, int events)
{
    int running;
    curl_multi_socket_action(http->multi, fd, events, &running);
    hand_out(http);
}

static void on_ready(void *arg, int fd, unsigned ready)
{
    int events = (ready & PX_LOOP_READ ? CURL_CSELECT_IN : 0) |
                 (ready & PX_LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    act(arg, fd, events);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *fd_arg)
{
    px_http *http = arg;
    if (what == CURL_POLL_REMOVE) {
        px_loop_unwatch(http->loop, fd);
        return 0;
    }
    unsigned events =
        (what & CURL_POLL_IN ? PX_LOOP_READ : 0) | (what & CURL_POLL_OUT ? PX_LOOP_WRITE : 0);
    /* A descriptor that cannot be watched never turns ready: the call's own timeout ends it. */
    px_ignore(px_loop_watch(http->loop, fd, events, on_ready, http));
    return 0;
}

static void on_due(void *arg)
{
    px_http *http = arg;
    http->timer = NULL;
    act(http, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    px_http *http = arg;
    px_loop_cancel(http->loop, http->timer);
    http->timer =
        timeout_ms < 0 ? NULL : px_loop_after(http->loop, timeout_ms * PX_MS, on_due, http);
    return 0;
}

static size_t on_write(char *bytes, size_t size, size_t count, void *arg)
{
    px_http_call *call = arg;
    px_buf_append(&call->received, bytes, size * count);
    return call->received.overflowed ? 0 : size * count;
}

px_status px_http_create(px_loop *loop, const char *const *headers, px_http **out)
{
    px_http *http = px_alloc(sizeof *http);
    http->loop = loop;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(http->multi = curl_multi_init())) {
        free(http);
        return px_fail(PX_INTERNAL, "libcurl does not start");
    }
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    http->headers = curl_slist_append(NULL, "Content-Type: application/json");
    http->headers = curl_slist_append(http->headers, "Expect:");
    for (; headers && *headers; headers++)
        http->headers = curl_slist_append(http->headers, *headers);
    *out = http;
    return px_ok();
}

void px_http_free(px_http *http)
{
    if (!http) return;
    while (http->calls) call_free(http->calls);
    curl_multi_cleanup(http->multi);
    px_loop_cancel(http->loop, http->timer);
    curl_slist_free_all(http->headers);
    free(http);
}

px_http_call *px_http_start(px_http *http, const px_http_post *post)
{
    px_http_call *call = px_alloc(sizeof *call);
    call->http = http;
    call->on_data = post->on_data;
    call->on_done = post->on_done;
    call->arg = post->arg;
    px_buf_init(
        &call->received, post->response_bytes_max ? post->response_bytes_max : RESPONSE_BYTES_MAX);
    call->next = http->calls;
    call->link = &http->calls;
    if (call->next) call->next->link = &call->next;
    http->calls = call;

    CURL *easy = call->easy = curl_easy_init();
    PX_ASSERT(easy);
    curl_easy_setopt(easy, CURLOPT_URL, post->url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    if (post->timeout_ns)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(post->timeout_ns / PX_MS) + 1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    if (post->body.length) {
        call->body = px_alloc(post->body.length);
        memcpy(call->body, post->body.data, post->body.length);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)post->body.length);
    }
    PX_ASSERT(curl_multi_add_handle(http->multi, easy) == CURLM_OK);
    return call;
}

void px_http_cancel(px_http_call *call)
{
    if (call) call_free(call);
}
