/* kvsize.c - see kvsize.h. */
#include "engine/kv/kvsize.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/term.h"
#include "engine/kv/kvpool.h"

enum { CONTEXT_MIN = 2048, POOL_SHARE = 4 };

typedef struct host_sum {
    const char *name;
    uint64_t fixed_bytes, block_bytes, available_bytes;
    uint64_t weight_bytes;
} host_sum;

static host_sum sum_host(const px_memory_report *reports, int ranks, int of)
{
    host_sum host = {.name = reports[of].host, .available_bytes = UINT64_MAX};
    for (int i = 0; i < ranks; i++) {
        if (strcmp(reports[i].host, host.name) != 0) continue;
        host.weight_bytes += reports[i].weight_bytes;
        host.fixed_bytes += reports[i].weight_bytes + reports[i].work_bytes;
        host.block_bytes += reports[i].block_bytes;
        if (reports[i].available_bytes < host.available_bytes)
            host.available_bytes = reports[i].available_bytes;
    }
    return host;
}

static uint64_t blocks_that_fit(const host_sum *host)
{
    if (host->available_bytes <= host->fixed_bytes) return 0;
    uint64_t left = host->available_bytes - host->fixed_bytes;
    return host->block_bytes ? left / host->block_bytes : UINT32_MAX;
}

static px_status refuse(const host_sum *host, uint64_t blocks, uint64_t parked)
{
    char weights[32], work[32], kv[32], token[32], park[48] = "", sum[32], available[32];
    uint64_t kv_bytes = blocks * host->block_bytes, park_bytes = parked * host->block_bytes;
    if (parked) {
        char text[32];
        snprintf(park, sizeof park, " + parked KV %s", px_format_bytes(park_bytes, text));
    }
    return px_fail(PX_RESOURCE_EXHAUSTED,
        "memory on %s: weights %s + KV %s (%llu tokens of %s)%s + work %s = %s, but %s are "
        "available: ask for a smaller context or use more hosts",
        host->name, px_format_bytes(host->weight_bytes, weights), px_format_bytes(kv_bytes, kv),
        (unsigned long long)blocks * PX_KV_BLOCK_TOKENS,
        px_format_bytes(host->block_bytes / PX_KV_BLOCK_TOKENS, token), park,
        px_format_bytes(host->fixed_bytes - host->weight_bytes, work),
        px_format_bytes(host->fixed_bytes + kv_bytes + park_bytes, sum),
        px_format_bytes(host->available_bytes, available));
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

static uint64_t at_least(uint64_t value, uint64_t limit)
{
    return value > limit ? value : limit;
}

/* Places asked for in bytes: counted for the rank whose blocks are largest, so that all ranks have
 * the same number. */
static uint64_t places_asked_for(const px_memory_report *reports, int ranks, const px_kv_wish *wish)
{
    uint64_t largest = 1;
    for (int i = 0; i < ranks; i++) largest = at_least(reports[i].block_bytes, largest);
    return wish->park_bytes < 0 ? 0 : (uint64_t)wish->park_bytes / largest;
}

px_status px_kv_size(
    const px_memory_report *reports, int ranks, const px_kv_wish *wish, px_kv_blocks *out)
{
    host_sum tightest = sum_host(reports, ranks, 0);
    for (int i = 1; i < ranks; i++) {
        host_sum host = sum_host(reports, ranks, i);
        if (blocks_that_fit(&host) < blocks_that_fit(&tightest)) tightest = host;
    }
    uint64_t fit = blocks_that_fit(&tightest);
    uint64_t parked = places_asked_for(reports, ranks, wish);
    uint64_t parked_in_memory = wish->park_in_file ? 0 : parked;
    uint64_t one_context = px_kv_blocks_for(wish->context), blocks, least;
    if (wish->tokens) {
        uint64_t wanted = (wish->tokens + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS;
        blocks = least = at_most(wanted, one_context * wish->slots);
    } else {
        least = wish->context_wanted ? one_context
                                     : at_most(one_context, px_kv_blocks_for(CONTEXT_MIN));
        blocks = at_least(fit / POOL_SHARE, one_context);
        blocks = at_most(at_most(blocks, fit), one_context * wish->slots);
        if (fit > parked_in_memory) blocks = at_most(blocks, fit - parked_in_memory);
    }
    if (blocks < least || fit < least + parked_in_memory)
        return refuse(&tightest, least, parked_in_memory);
    if (!wish->park_bytes)
        parked =
            wish->park_in_file ? blocks : at_most(at_most(blocks, fit / POOL_SHARE), fit - blocks);
    const uint64_t most = UINT32_MAX / PX_KV_BLOCK_TOKENS / 4; /* counts of both fit 32 bits */
    *out = (px_kv_blocks){
        .pool = (uint32_t)at_most(blocks, most), .parked = (uint32_t)at_most(parked, most)};
    return px_ok();
}

/* The number behind `key` in a small text file, or in the whole file for NULL; UINT64_MAX: none. */
static uint64_t read_number(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    char line[256];
    uint64_t value = UINT64_MAX;
    while (fgets(line, sizeof line, file)) {
        const char *at = line;
        if (key) {
            if (strncmp(line, key, strlen(key)) != 0) continue;
            at += strlen(key);
        }
        char *end;
        uint64_t number = strtoull(at, &end, 10);
        if (end != at) value = number;
        break;
    }
    fclose(file);
    return value;
}

/* What the control group at `folder` leaves; file cache that it would give up counts as free. */
static uint64_t left_in_group(const char *folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/memory.max", folder);
    uint64_t limit = read_number(path, NULL); /* "max" and the root's missing file: none */
    if (limit == UINT64_MAX) return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.current", folder);
    uint64_t used = read_number(path, NULL);
    if (used == UINT64_MAX) return limit;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    uint64_t cache = read_number(path, "inactive_file ");
    used -= cache == UINT64_MAX ? 0 : at_most(cache, used);
    return limit - at_most(used, limit);
}

static const char cgroup_root[] = "/sys/fs/cgroup";

/* Our group's folder under version 2's one hierarchy; false: there is none. */
static bool find_group(char out_folder[PATH_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return false;
    char line[PATH_MAX - sizeof cgroup_root];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) found = strncmp(line, "0::/", 4) == 0;
    fclose(file);
    if (!found) return false;
    line[strcspn(line, "\n")] = '\0';
    snprintf(out_folder, PATH_MAX, "%s%s", cgroup_root, line + 3);
    return true;
}

uint64_t px_memory_available(void)
{
    uint64_t kib = read_number("/proc/meminfo", "MemAvailable:");
    uint64_t available = kib == UINT64_MAX ? UINT64_MAX : kib * 1024;
    char folder[PATH_MAX];
    if (!find_group(folder)) return available;
    for (;;) { /* every group above ours limits us too */
        available = at_most(available, left_in_group(folder));
        char *slash = strrchr(folder, '/');
        if ((size_t)(slash - folder) < sizeof cgroup_root - 1) return available;
        *slash = '\0';
    }
}
