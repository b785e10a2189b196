/* retry.h - how a refusal says when to come back: in the trailers of a call.
 *
 *   grpc-retry-pushback-ms    "1500": gRPC clients with a retry policy wait so long (gRFC A6)
 *   grpc-status-details-bin   google.rpc.Status with a google.rpc.RetryInfo (AIP-193)
 *
 * Threads: the polling thread.
 */
#ifndef PX_PROTO_RETRY_H
#define PX_PROTO_RETRY_H

#include "proto/rpc_internal.h"

enum { PX_RPC_RETRY_TRAILERS = 2 };

typedef struct px_rpc_retry {
    grpc_metadata trailers[PX_RPC_RETRY_TRAILERS];
    size_t count;
} px_rpc_retry;

/* Nothing for a status without retry_ms. */
void px_rpc_retry_init(px_rpc_retry *retry, const px_status *status);
void px_rpc_retry_done(px_rpc_retry *retry); /* zeroed is fine */
/* What a server's trailers say; 0: nothing. */
uint32_t px_rpc_retry_read(const grpc_metadata_array *trailers);

#endif
