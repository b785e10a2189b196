/* idmap.h - a bounded hash map from 64-bit ids to pointers.
 *
 * Open addressing with linear probing and backward-shift deletion (Knuth, TAOCP 6.4, algorithm R),
 * so that a long life of inserts and removals leaves no tombstones.
 * Owns: its slots, never what they point to.
 */
#ifndef PX_CLUSTER_IDMAP_H
#define PX_CLUSTER_IDMAP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct px_idmap_slot {
    uint64_t id;
    void *value; /* NULL: free */
} px_idmap_slot;

typedef struct px_idmap {
    px_idmap_slot *slots;
    uint32_t mask, count, limit;
} px_idmap;

void px_idmap_init(px_idmap *map, uint32_t limit); /* room for `limit` ids, allocated now */
void px_idmap_done(px_idmap *map);
/* False: the id is present already, or the map is full. `value` is not NULL. */
bool px_idmap_put(px_idmap *map, uint64_t id, void *value);
void *px_idmap_get(const px_idmap *map, uint64_t id); /* NULL: absent */
void px_idmap_remove(px_idmap *map, uint64_t id);     /* absent is fine */

#endif
