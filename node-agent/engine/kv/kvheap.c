/* kvheap.c - see kvheap.h. */
#include "engine/kv/kvheap.h"

#include <stdlib.h>

#include "base/memory.h"

void px_kvheap_init(px_kvheap *heap, const px_kvtree *tree, uint32_t nodes)
{
    *heap = (px_kvheap){.tree = tree, .ids = px_alloc_array(nodes, sizeof *heap->ids)};
}

void px_kvheap_done(px_kvheap *heap)
{
    free(heap->ids);
}

static bool cheaper(const px_kvheap *heap, uint32_t a, uint32_t b)
{
    const px_kv_node *x = px_kvtree_node(heap->tree, a), *y = px_kvtree_node(heap->tree, b);
    bool x_pinned = x->pins > 0, y_pinned = y->pins > 0;
    return x_pinned != y_pinned ? y_pinned : x->worth < y->worth;
}

static void put(px_kvheap *heap, uint32_t at, uint32_t id)
{
    heap->ids[at] = id;
    px_kvtree_node(heap->tree, id)->heap_at = at;
}

static void sift_up(px_kvheap *heap, uint32_t at, uint32_t id)
{
    for (; at && cheaper(heap, id, heap->ids[(at - 1) / 2]); at = (at - 1) / 2)
        put(heap, at, heap->ids[(at - 1) / 2]);
    put(heap, at, id);
}

static void sift_down(px_kvheap *heap, uint32_t at, uint32_t id)
{
    for (uint32_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && cheaper(heap, heap->ids[child + 1], heap->ids[child]))
            child++;
        if (!cheaper(heap, heap->ids[child], id)) break;
        put(heap, at, heap->ids[child]);
    }
    put(heap, at, id);
}

void px_kvheap_add(px_kvheap *heap, uint32_t id)
{
    sift_up(heap, heap->count++, id);
}

void px_kvheap_drop(px_kvheap *heap, uint32_t id)
{
    uint32_t at = px_kvtree_node(heap->tree, id)->heap_at;
    PX_ASSERT(at < heap->count && heap->ids[at] == id);
    px_kvtree_node(heap->tree, id)->heap_at = PX_KV_NONE;
    uint32_t last = heap->ids[--heap->count];
    if (last == id) return;
    if (at && cheaper(heap, last, heap->ids[(at - 1) / 2]))
        sift_up(heap, at, last);
    else
        sift_down(heap, at, last);
}
