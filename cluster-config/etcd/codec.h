/* codec.h - etcd 3.4's JSON gateway: request bodies, answers, and the messages of a watch.
 *
 * Format: https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/ and etcd's rpc.proto. Keys and
 * values travel as base64, 64-bit integers as strings; zero values are left out; unknown fields are
 * ignored. Threads: pure functions.
 */
#ifndef PX_ETCD_CODEC_H
#define PX_ETCD_CODEC_H

#include "base/memory.h"

typedef struct px_etcd_kv {
    const char *key; /* NUL-terminated; keys that hold a NUL are not ours and are left out */
    px_slice value;  /* NUL-terminated too */
    int64_t create_revision, mod_revision, lease;
} px_etcd_kv;

/* What a condition of a transaction looks at; absent keys have create revision 0. */
typedef struct px_etcd_compare {
    const char *key;
    int64_t create_revision; /* must equal */
} px_etcd_compare;

typedef enum px_etcd_op_kind { PX_ETCD_PUT, PX_ETCD_DELETE, PX_ETCD_RANGE } px_etcd_op_kind;
typedef struct px_etcd_op {
    px_etcd_op_kind kind;
    const char *key;
    const char *end; /* DELETE and RANGE: keys below this; NULL: the one key */
    bool prefix;     /* DELETE and RANGE: all keys that start with `key` */
    px_slice value;  /* PUT */
    int64_t lease;   /* PUT; 0: none */
} px_etcd_op;

/* An answer to any unary request; fields that it does not have are zero. */
typedef struct px_etcd_result {
    int64_t revision; /* of the store */
    bool succeeded;   /* txn: the compares held */
    px_etcd_kv *kvs;  /* of a range, or of all ranges in the branch taken, in order */
    size_t count;
    int64_t lease, ttl_s; /* a keep-alive without ttl_s: the lease is gone */
    px_arena arena;
} px_etcd_result;

void px_etcd_encode_range(px_buf *out, const px_etcd_op *op);
void px_etcd_encode_txn(px_buf *out, const px_etcd_compare *compares, size_t compare_count,
    const px_etcd_op *ops, size_t op_count);
void px_etcd_encode_watch(px_buf *out, const char *prefix, int64_t start_revision);

/* `result` is always filled (px_etcd_result_done releases it), empty on failure. An answer that is
 * an error becomes a status with etcd's code; INTERNAL: not what etcd says. */
px_status px_etcd_decode(long http_code, px_slice body, px_etcd_result *result) PX_MUST_USE;
void px_etcd_result_done(px_etcd_result *result);

typedef struct px_etcd_change {
    bool deleted;
    px_etcd_kv kv; /* deleted: key and mod_revision only */
} px_etcd_change;

/* One message of a watch stream. */
typedef struct px_etcd_watch_message {
    int64_t revision;
    bool cancelled; /* by the server: nothing more will come, though the stream stays open */
    int64_t compact_revision; /* not 0: cancelled because history before this is gone */
    px_etcd_change *changes;
    size_t count;
    px_arena arena;
} px_etcd_watch_message;

/* `line`: one line of the stream. As for px_etcd_decode. */
px_status px_etcd_decode_watch(px_slice line, px_etcd_watch_message *message) PX_MUST_USE;
void px_etcd_watch_message_done(px_etcd_watch_message *message);

#endif
