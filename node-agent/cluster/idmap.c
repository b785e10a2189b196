/* idmap.c - see idmap.h. */
#include "cluster/idmap.h"

#include <stdlib.h>

#include "base/memory.h"

/* Finaliser of SplitMix64 (Steele, Lea, Flood 2014): ids that count up must not cluster. */
static uint32_t home(const px_idmap *map, uint64_t id)
{
    id = (id ^ id >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    id = (id ^ id >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)(id ^ id >> 31) & map->mask;
}

void px_idmap_init(px_idmap *map, uint32_t limit)
{
    uint32_t capacity = 4;
    while (capacity < 2 * limit) capacity *= 2; /* at most half full: short probes */
    *map = (px_idmap){.mask = capacity - 1, .limit = limit};
    map->slots = px_alloc_array(capacity, sizeof *map->slots);
}

void px_idmap_done(px_idmap *map)
{
    free(map->slots);
    *map = (px_idmap){0};
}

/* The slot that holds `id`, or the free one where it would go. */
static uint32_t find(const px_idmap *map, uint64_t id)
{
    uint32_t at = home(map, id);
    while (map->slots[at].value && map->slots[at].id != id) at = (at + 1) & map->mask;
    return at;
}

bool px_idmap_put(px_idmap *map, uint64_t id, void *value)
{
    uint32_t at = find(map, id);
    if (map->slots[at].value || map->count == map->limit) return false;
    map->slots[at] = (px_idmap_slot){.id = id, .value = value};
    map->count++;
    return true;
}

void *px_idmap_get(const px_idmap *map, uint64_t id)
{
    return map->slots[find(map, id)].value;
}

void px_idmap_remove(px_idmap *map, uint64_t id)
{
    uint32_t hole = find(map, id);
    if (!map->slots[hole].value) return;
    map->count--;
    /* Pull back every later entry of the run whose home does not lie behind the hole. */
    for (uint32_t at = (hole + 1) & map->mask; map->slots[at].value; at = (at + 1) & map->mask) {
        uint32_t from = home(map, map->slots[at].id);
        if (((at - from) & map->mask) < ((at - hole) & map->mask)) continue;
        map->slots[hole] = map->slots[at];
        hole = at;
    }
    map->slots[hole].value = NULL;
}
