/* serving.h - how an engine is to serve, as asked for at deploy (proto: Serving), and how that is
 * written in etcd. 0 or empty is the engine's own choice everywhere.
 */
#ifndef PX_CONTROL_SERVING_H
#define PX_CONTROL_SERVING_H

#include <jansson.h>

#include "base/status.h"
#include "phalanx/v1/serving.pb-c.h"

enum { PX_SERVING_PATH_BYTES = 256, PX_SERVING_WORD_BYTES = 12, PX_SERVING_PROPOSALS_MAX = 31 };

typedef struct px_serving { /* without padding: specs are compared as bytes */
    double scale_factor;
    int64_t kv_park_bytes; /* -1: none */
    uint64_t queue_tokens_max;
    uint32_t batch_size, max_latency_ms, queue_max;
    uint32_t no_prefix_cache; /* 0 or 1 */
    uint32_t speculate_max;
    char speculate[PX_SERVING_WORD_BYTES]; /* off, lookup, draft */
    char kv_park_folder[PX_SERVING_PATH_BYTES], draft_model[PX_SERVING_PATH_BYTES];
} px_serving;
_Static_assert(
    sizeof(px_serving) == 3 * 8 + 5 * 4 + PX_SERVING_WORD_BYTES + 2 * PX_SERVING_PATH_BYTES,
    "px_serving has padding");

/* INVALID_ARGUMENT naming the value and its range. */
px_status px_serving_check(const px_serving *serving) PX_MUST_USE;
/* `message` may be NULL: nothing was asked for. */
px_status px_serving_take(const Phalanx__V1__Serving *message, px_serving *out) PX_MUST_USE;
/* Borrows the texts. */
void px_serving_fill(const px_serving *serving, Phalanx__V1__Serving *out);
json_t *px_serving_encode(const px_serving *serving);
/* NULL, or keys that are missing: the engine's choice. */
px_status px_serving_decode(const json_t *object, px_serving *out) PX_MUST_USE;

#endif
