/* trie.c - see trie.h. */
#include "engine/text/trie.h"

#include <stdlib.h>
#include <string.h>

enum { EDGES_MIN = 256 };

static px_status no_memory(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the tokenizer's table of prefixes");
}

static uint32_t slot_of(uint64_t key, uint32_t mask)
{
    return (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & mask;
}

static void insert(px_trie *trie, px_trie_edge edge)
{
    uint32_t at = slot_of(edge.key, trie->mask);
    while (trie->edges[at].key) at = (at + 1) & trie->mask;
    trie->edges[at] = edge;
}

static px_status resize_edges(px_trie *trie, uint32_t count)
{
    px_trie_edge *old = trie->edges;
    uint32_t old_count = old ? trie->mask + 1 : 0;
    px_trie_edge *edges = calloc(count, sizeof *edges);
    if (!edges) return no_memory();
    trie->edges = edges;
    trie->mask = count - 1;
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].key) insert(trie, old[i]);
    free(old);
    return px_ok();
}

static px_status add_node(px_trie *trie, uint32_t *out)
{
    if (trie->nodes == trie->capacity) {
        uint32_t capacity = trie->capacity ? trie->capacity * 2 : 1024;
        uint32_t *grown = realloc(trie->values, capacity * sizeof *grown);
        if (!grown) return no_memory();
        trie->values = grown;
        trie->capacity = capacity;
    }
    trie->values[trie->nodes] = PX_TRIE_NONE;
    *out = trie->nodes++;
    return px_ok();
}

px_status px_trie_init(px_trie *trie)
{
    memset(trie, 0, sizeof *trie);
    PX_TRY(resize_edges(trie, EDGES_MIN));
    uint32_t root;
    return add_node(trie, &root);
}

void px_trie_done(px_trie *trie)
{
    free(trie->edges);
    free(trie->values);
    memset(trie, 0, sizeof *trie);
}

uint32_t px_trie_step_edge(const px_trie *trie, uint32_t node, unsigned char byte)
{
    uint64_t key = ((uint64_t)node << 8 | byte) + 1;
    for (uint32_t at = slot_of(key, trie->mask); trie->edges[at].key; at = (at + 1) & trie->mask)
        if (trie->edges[at].key == key) return trie->edges[at].to;
    return 0;
}

static px_status add_edge(px_trie *trie, uint32_t node, unsigned char byte, uint32_t *out)
{
    PX_TRY(add_node(trie, out));
    if (node == 0) {
        trie->root[byte] = *out;
        return px_ok();
    }
    if (++trie->used > trie->mask / 2) PX_TRY(resize_edges(trie, (trie->mask + 1) * 2));
    insert(trie, (px_trie_edge){.key = ((uint64_t)node << 8 | byte) + 1, .to = *out});
    return px_ok();
}

px_status px_trie_add(px_trie *trie, const char *text, size_t length, uint32_t value)
{
    uint32_t node = 0;
    for (size_t i = 0; i < length; i++) {
        uint32_t next = px_trie_step(trie, node, (unsigned char)text[i]);
        if (!next) PX_TRY(add_edge(trie, node, (unsigned char)text[i], &next));
        node = next;
    }
    trie->values[node] = value;
    return px_ok();
}
