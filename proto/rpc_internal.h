/* rpc_internal.h - what the files of this folder share; nobody else includes it.
 *
 * Threads: the polling thread.
 */
#ifndef PX_PROTO_RPC_INTERNAL_H
#define PX_PROTO_RPC_INTERNAL_H

#include <grpc/grpc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "proto/rpc.h"

/* What the completion queue hands back: whom to tell that an operation ended. Embedded in the
 * object that started it, which must live until then. */
typedef struct px_rpc_tag {
    void (*fn)(void *owner, bool ok);
    void *owner;
} px_rpc_tag;

/* What to do once the running callback has returned: sends are started then, so that what a
 * callback sends and its final status share one batch. Embedded like a tag. */
typedef struct px_rpc_flush {
    struct px_rpc_flush *next;
    void (*fn)(void *owner);
    void *owner;
    bool queued;
} px_rpc_flush;

struct px_rpc {
    px_loop *loop; /* borrowed */
    grpc_completion_queue *queue;
    grpc_resource_quota *quota; /* bounds what peers can make gRPC hold, over all connections */
    px_arena scratch;           /* the message that the running callback borrows */
    px_rpc_server *servers;     /* owned, linked by next */
    px_rpc_stream *streams;     /* open ones, linked */
    px_rpc_flush *flushes;      /* waiting, newest first */
    _Atomic bool stopped;
    bool closing; /* in px_rpc_free(): only calls may still hear from us */

    /* Waking: an empty batch on a call of a lame channel posts its tag to the queue at once. */
    grpc_channel *lame_channel;
    grpc_call *lame_call;
    px_rpc_tag wake_tag, loop_tag, stop_tag;
    _Atomic bool wake_pending;
    void (*on_wake)(void *arg);
    void *wake_arg;

    /* The thread that waits for the loop's descriptor while we wait for the queue. */
    pthread_t watcher;
    bool watcher_started;
    int watcher_quit_fd;
    sem_t dispatched; /* posted when the loop has run: the watcher may look again */
};

/* Starts a batch; our batches are always well formed, so a refusal is a bug. */
void px_rpc_start_batch(grpc_call *call, const grpc_op *ops, size_t count, px_rpc_tag *tag);

/* True: newly queued, and flush->fn will be called once; false: it was queued already. */
bool px_rpc_flush_later(px_rpc *rpc, px_rpc_flush *flush);

/* A server's part of px_rpc_free(), in three steps: end everything, still busy?, free. */
px_rpc_server *px_rpc_server_next(const px_rpc_server *server);
void px_rpc_server_abort(px_rpc_server *server);
bool px_rpc_server_is_busy(const px_rpc_server *server);
void px_rpc_server_free(px_rpc_server *server);
/* The clients' part: their on_done follows. */
void px_rpc_cancel_streams(px_rpc *rpc);

/* Limits that servers and channels share: no compression (a small message could unpack to
 * hundreds of megabytes whatever the size limit says), no bandwidth probe (64 KiB of buffering a
 * stream instead of 4 MiB), the quota. Appends to `args`; returns the new count. */
enum { PX_RPC_COMMON_ARGS = 6 };
size_t px_rpc_common_args(px_rpc *rpc, size_t max_message_bytes, grpc_arg *args, size_t count);
grpc_arg px_rpc_int_arg(const char *key, int64_t value);

#endif
