/* kvheap.h - nodes of the KV tree by what losing them would cost: the cheapest on top.
 *
 * Nodes that a parked sequence will come back for are dearer than all others.
 * Owns:    a binary heap of ids; each node knows its place in it (px_kv_node.heap_at), so that any
 *          node can leave. A node is in one heap at most.
 * Threads: engine thread.
 */
#ifndef PX_ENGINE_KVHEAP_H
#define PX_ENGINE_KVHEAP_H

#include "engine/kv/kvtree.h"

typedef struct px_kvheap {
    const px_kvtree *tree;
    uint32_t *ids, count;
} px_kvheap;

void px_kvheap_init(px_kvheap *heap, const px_kvtree *tree, uint32_t nodes);
void px_kvheap_done(px_kvheap *heap);
void px_kvheap_add(px_kvheap *heap, uint32_t id);  /* is in none */
void px_kvheap_drop(px_kvheap *heap, uint32_t id); /* is in this one */

#endif
