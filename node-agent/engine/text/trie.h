/* trie.h - strings to numbers, one byte a step: finds all entries that start at a place.
 *
 * Edges stand in one open-addressing table keyed by (node, byte), so memory is proportional to the
 * entries' bytes and a step costs one probe; the root's edges have an array of their own, because
 * most places of a text start no entry at all.
 * Threads: immutable once built.
 */
#ifndef PX_TEXT_TRIE_H
#define PX_TEXT_TRIE_H

#include "base/memory.h"

#define PX_TRIE_NONE UINT32_MAX /* no value here */

typedef struct px_trie_edge {
    uint64_t key; /* node << 8 | byte, plus 1; 0: free */
    uint32_t to;
} px_trie_edge;

typedef struct px_trie {
    uint32_t root[256]; /* node after the first byte; 0: none */
    px_trie_edge *edges;
    uint32_t mask, used;
    uint32_t *values; /* [nodes]; node 0 is the root */
    uint32_t nodes, capacity;
} px_trie;

px_status px_trie_init(px_trie *trie) PX_MUST_USE;
void px_trie_done(px_trie *trie);
/* A text given twice keeps the later value. */
px_status px_trie_add(px_trie *trie, const char *text, size_t length, uint32_t value) PX_MUST_USE;
uint32_t px_trie_step_edge(const px_trie *trie, uint32_t node, unsigned char byte);

/* The node after `byte`, or 0. Start from node 0. */
static inline uint32_t px_trie_step(const px_trie *trie, uint32_t node, unsigned char byte)
{
    return node == 0 ? trie->root[byte] : px_trie_step_edge(trie, node, byte);
}

#endif
