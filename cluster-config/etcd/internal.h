/* internal.h - what the client's files share: which member to talk to, and the HTTP below. */
#ifndef PX_ETCD_INTERNAL_H
#define PX_ETCD_INTERNAL_H

#include "etcd/etcd.h"
#include "http/http.h"

enum { PX_ETCD_ENDPOINTS_MAX = 16, PX_ETCD_URL_MAX = 256 };

struct px_etcd {
    px_loop *loop;
    px_http *http;
    char endpoints[PX_ETCD_ENDPOINTS_MAX][PX_ETCD_URL_MAX];
    unsigned endpoint_count, current; /* index of the member in use */
    int64_t timeout_ns;
    struct px_etcd_call *calls;
};

/* What every call carries: a member without a leader then ends streams with an error instead of
 * keeping them silent. Ends with NULL. */
extern const char *const px_etcd_headers[];

/* The current member's URL for `path`. */
typedef struct px_etcd_url {
    char text[PX_ETCD_URL_MAX + 64];
} px_etcd_url;
px_etcd_url px_etcd_url_of(const px_etcd *etcd, const char *path);

/* Leave the member at index `failed`, unless someone else already did. */
void px_etcd_fail_over(px_etcd *etcd, unsigned failed);

#endif
