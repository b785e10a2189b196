#include "control/cluster/placement.h"

#include <stdlib.h>
#include <string.h>

#include "base/term.h"

enum { AGENTS_MAX = 4096 };

typedef struct candidate {
    uint32_t index;  /* into the agents */
    uint32_t placed; /* ranks this placement gave it */
    uint32_t slots;  /* ranks its memory still takes */
    const px_placement_agent *agent;
} candidate;

static bool is_named(const px_placement_request *request, const char *agent)
{
    for (uint32_t i = 0; i < request->only_count; i++)
        if (strcmp(request->only[i], agent) == 0) return true;
    return request->only_count == 0;
}

/* When the store of some agent lists the model, the others do not have it. */
static uint32_t find_candidates(const px_placement_request *request,
    const px_placement_agent *agents, uint32_t agent_count, candidate *out)
{
    bool listed = false;
    for (uint32_t i = 0; i < agent_count; i++)
        listed |= agents[i].has_model && is_named(request, agents[i].name);
    uint32_t count = 0;
    for (uint32_t i = 0; i < agent_count; i++) {
        if (!is_named(request, agents[i].name) || (listed && !agents[i].has_model)) continue;
        out[count++] = (candidate){.index = i, .agent = &agents[i]};
    }
    return count;
}

/* Fewer ranks there (per core), then faster, then by name so that the answer is always the same. */
static bool is_better(const candidate *a, const candidate *b)
{
    if (a->placed != b->placed) return a->placed < b->placed;
    uint64_t busy_a = (uint64_t)a->agent->ranks * (b->agent->cores ? b->agent->cores : 1);
    uint64_t busy_b = (uint64_t)b->agent->ranks * (a->agent->cores ? a->agent->cores : 1);
    if (busy_a != busy_b) return busy_a < busy_b;
    if (a->agent->cores != b->agent->cores) return a->agent->cores > b->agent->cores;
    /* One machine is one memory, and two measurements of it never agree: only a clear difference
     * between machines counts. */
    uint64_t band_a = a->agent->bandwidth_bytes_s, band_b = b->agent->bandwidth_bytes_s;
    bool clear = band_a > band_b + band_b / 4 || band_b > band_a + band_a / 4;
    if (clear && strcmp(a->agent->machine, b->agent->machine) != 0) return band_a > band_b;
    return strcmp(a->agent->name, b->agent->name) < 0;
}

static candidate *best_of(candidate *candidates, uint32_t count)
{
    candidate *best = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (candidates[i].slots && (!best || is_better(&candidates[i], best)))
            best = &candidates[i];
    return best;
}

static px_status too_small(const px_placement_request *request, uint64_t rank_bytes,
    const candidate *candidates, uint32_t count)
{
    const candidate *largest = &candidates[0];
    uint64_t slots = 0;
    for (uint32_t i = 0; i < count; i++) {
        slots += candidates[i].slots + candidates[i].placed;
        if (candidates[i].agent->memory_free_bytes > largest->agent->memory_free_bytes)
            largest = &candidates[i];
    }
    char model[32], rank[32], most[32];
    return px_fail(PX_RESOURCE_EXHAUSTED,
        "too little memory: the model has %s, so each of %u ranks needs %s; %u agents have room "
        "for "
        "%llu of them (most free: %s on %s)",
        px_format_bytes(request->model_bytes, model), request->world,
        px_format_bytes(rank_bytes, rank), count, (unsigned long long)slots,
        px_format_bytes(largest->agent->memory_free_bytes, most), largest->agent->name);
}

/* Ranks in the order of (machine, agent) as each first appeared: neighbours stay together. */
static void number_ranks(const candidate *candidates, uint32_t count, uint32_t *out_agents)
{
    uint32_t rank = 0;
    bool done[AGENTS_MAX] = {false};
    for (uint32_t first = 0; first < count; first++) {
        if (done[first]) continue;
        for (uint32_t i = first; i < count; i++) {
            if (done[i] || strcmp(candidates[i].agent->machine, candidates[first].agent->machine))
                continue;
            done[i] = true;
            for (uint32_t k = 0; k < candidates[i].placed; k++)
                out_agents[rank++] = candidates[i].index;
        }
    }
}

static px_status no_candidates(const px_placement_request *request)
{
    if (!request->only_count)
        return px_fail(PX_UNAVAILABLE,
            "no agent has joined: start one with 'node-agent join --server HOST:PORT'");
    return px_fail(PX_UNAVAILABLE, "none of the agents named (%s%s) has joined", request->only[0],
        request->only_count > 1 ? ", ..." : "");
}

px_status px_place(const px_placement_request *request, const px_placement_agent *agents,
    uint32_t agent_count, uint32_t *out_agents)
{
    PX_ASSERT(request->world >= 1 && request->world <= PX_WORLD_MAX && agent_count <= AGENTS_MAX);
    candidate *candidates = px_alloc_array(agent_count + 1, sizeof *candidates);
    uint32_t count = find_candidates(request, agents, agent_count, candidates);
    if (count == 0) {
        free(candidates);
        return no_candidates(request);
    }
    uint64_t rank_bytes =
        (request->model_bytes + request->world - 1) / request->world + PX_PLACEMENT_RANK_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t fit = candidates[i].agent->memory_free_bytes / rank_bytes;
        candidates[i].slots =
            !request->model_bytes || fit > request->world ? request->world : (uint32_t)fit;
    }
    px_status status = px_ok();
    for (uint32_t rank = 0; rank < request->world && px_is_ok(status); rank++) {
        candidate *best = best_of(candidates, count);
        if (best)
            best->placed++, best->slots--;
        else
            status = too_small(request, rank_bytes, candidates, count);
    }
    if (px_is_ok(status)) number_ranks(candidates, count, out_agents);
    free(candidates);
    return status;
}
