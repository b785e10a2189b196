/* http.h - HTTP POST with libcurl's multi-socket interface on a px_loop.
 *
 * Owns:     its connections; a call until its on_done or px_http_cancel.
 * Threads:  the loop's thread. Every callback runs from the loop, never from inside libcurl, so
 *           callbacks may start and cancel calls freely, their own included.
 * Limits:   response_bytes_max per call; proxies from the environment are ignored: who is called is
 * named.
 */
#ifndef PX_HTTP_HTTP_H
#define PX_HTTP_HTTP_H

#include "base/loop.h"
#include "base/memory.h"

typedef struct px_http px_http;
typedef struct px_http_call px_http_call;

/* `headers`: more of them for every call, "Name: value", ending with NULL; copied; NULL: none. */
px_status px_http_create(px_loop *loop, const char *const *headers, px_http **out) PX_MUST_USE;
void px_http_free(px_http *http); /* running calls are dropped uncalled; NULL is fine */

typedef struct px_http_post {
    const char *url;           /* http:// or https:// */
    px_slice body;             /* copied; empty: a GET */
    int64_t timeout_ns;        /* of the whole exchange; 0: none, for streams */
    size_t response_bytes_max; /* of the body, or of what one on_data sees; 0: 16 MiB */
    /* Streams: bytes as they come. NULL: the body is collected for on_done. */
    void (*on_data)(void *arg, px_slice bytes);
    /* Once, last. `status` is about the transport: OK whatever the HTTP code says. UNAVAILABLE:
     * not connected or cut; DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED: over response_bytes_max. */
    void (*on_done)(void *arg, px_status status, long http_code, px_slice body);
    void *arg;
} px_http_post;

/* Never fails at once: what goes wrong arrives in on_done. */
px_http_call *px_http_start(px_http *http, const px_http_post *post);
/* No callback follows. NULL is fine. */
void px_http_cancel(px_http_call *call);

#endif
