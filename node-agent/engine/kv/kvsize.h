/* kvsize.h - how many KV blocks a group of ranks can have, in the pool and parked: exact arithmetic
 * before anything loads.
 *
 * Every rank reports what it needs and what its host has; every rank computes the same answer from
 * all reports.
 * Threads: pure functions; px_memory_available() reads /proc and the control group.
 */
#ifndef PX_ENGINE_KVSIZE_H
#define PX_ENGINE_KVSIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct px_memory_report { /* of one rank */
    char host[64];
    uint64_t weight_bytes, work_bytes; /* it will hold; work: logits, scratch, tokenizer */
    uint64_t block_bytes;              /* of one KV block, in its layers and heads */
    uint64_t available_bytes;          /* on its host, before loading */
} px_memory_report;

typedef struct px_kv_wish {
    uint64_t tokens;     /* pool size asked for; 0: choose */
    uint32_t context;    /* longest sequence */
    bool context_wanted; /* asked for: then the pool must hold it */
    uint32_t slots;      /* sequences at once */
    int64_t park_bytes;  /* of each rank, for parked blocks; 0: choose; -1: none */
    bool park_in_file;   /* then they take no memory */
} px_kv_wish;

typedef struct px_kv_blocks {
    uint32_t pool, parked;
} px_kv_blocks;

/* What was asked for, but at most a context for each slot; or RESOURCE_EXHAUSTED with the
 * arithmetic. Asked for nothing: a quarter of what the tightest host has left, and one context if
 * that is more and fits; a pool smaller than one context (but of 2048 tokens) is made if nobody
 * insisted on the context. Parking places: as many as the pool has blocks, but at most a quarter
 * and what the pool leaves. */
px_status px_kv_size(const px_memory_report *reports, int ranks, const px_kv_wish *wish,
    px_kv_blocks *out) PX_MUST_USE;

/* What this process may still take: MemAvailable, or less where a control group says so. */
uint64_t px_memory_available(void);

#endif
