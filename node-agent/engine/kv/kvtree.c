/* kvtree.c - see kvtree.h. */
#include "engine/kv/kvtree.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { LOOKED_AT_MAX = 64 /* nodes with the same parent and first token, in find_beginning */ };

struct px_kvtree {
    px_kv_node *nodes;
    uint32_t *unused; /* a stack of ids */
    uint32_t unused_count;
    uint32_t *by_tokens, *by_first; /* [mask + 1] first node of each bucket */
    uint32_t mask;
    uint64_t key;
};

px_kvtree *px_kvtree_create(uint32_t nodes, uint64_t key)
{
    px_kvtree *tree = px_alloc(sizeof *tree);
    uint32_t buckets = 1;
    while (buckets < nodes) buckets *= 2;
    *tree = (px_kvtree){
        .nodes = px_alloc_array(nodes, sizeof *tree->nodes),
        .unused = px_alloc_array(nodes, sizeof *tree->unused),
        .by_tokens = px_alloc_array(buckets, sizeof *tree->by_tokens),
        .by_first = px_alloc_array(buckets, sizeof *tree->by_first),
        .mask = buckets - 1,
        .key = key,
    };
    for (uint32_t i = 0; i < buckets; i++) tree->by_tokens[i] = tree->by_first[i] = PX_KV_NONE;
    while (tree->unused_count < nodes) {
        tree->unused[tree->unused_count] = nodes - 1 - tree->unused_count;
        tree->unused_count++;
    }
    return tree;
}

void px_kvtree_free(px_kvtree *tree)
{
    if (!tree) return;
    free(tree->nodes);
    free(tree->unused);
    free(tree->by_tokens);
    free(tree->by_first);
    free(tree);
}

px_kv_node *px_kvtree_node(const px_kvtree *tree, uint32_t id)
{
    return &tree->nodes[id];
}

static uint64_t mix(uint64_t state, uint64_t value)
{
    uint64_t x = (state ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return x ^ x >> 29;
}

static uint32_t *bucket(const px_kvtree *tree, uint32_t *heads, const px_kv_key *key, uint32_t used)
{
    uint64_t state = mix(mix(tree->key, key->salt.word[0]), key->salt.word[1]);
    state = mix(state, (uint64_t)key->parent << 32 | used);
    for (uint32_t i = 0; i < used; i++) state = mix(state, key->tokens[i]);
    return &heads[state & tree->mask];
}

static bool is_child(const px_kv_node *node, const px_kv_key *key)
{
    return node->parent == key->parent && node->salt.word[0] == key->salt.word[0] &&
           node->salt.word[1] == key->salt.word[1];
}

uint32_t px_kvtree_find(const px_kvtree *tree, const px_kv_key *key)
{
    uint32_t id = *bucket(tree, tree->by_tokens, key, key->count);
    for (; id != PX_KV_NONE; id = tree->nodes[id].by_tokens.next) {
        const px_kv_node *node = &tree->nodes[id];
        if (is_child(node, key) && node->count == key->count &&
            memcmp(node->tokens, key->tokens, key->count * sizeof *key->tokens) == 0)
            break;
    }
    return id;
}

uint32_t px_kvtree_find_beginning(const px_kvtree *tree, const px_kv_key *key, uint32_t *out_common)
{
    uint32_t best = PX_KV_NONE, looked_at = 0;
    *out_common = 0;
    uint32_t id = *bucket(tree, tree->by_first, key, 1);
    for (; id != PX_KV_NONE && looked_at < LOOKED_AT_MAX; id = tree->nodes[id].by_first.next) {
        const px_kv_node *node = &tree->nodes[id];
        uint32_t most = node->count < key->count ? node->count : key->count, common = 0;
        if (!is_child(node, key)) continue;
        looked_at++;
        while (common < most && node->tokens[common] == key->tokens[common]) common++;
        if (common > *out_common) {
            *out_common = common;
            best = id;
        }
    }
    return best;
}

/* --- lists through the nodes --- */

/* All three links lie inside px_kv_node: `at` is where. */
static px_kv_link *link_of(const px_kvtree *tree, uint32_t id, size_t at)
{
    return (px_kv_link *)((char *)&tree->nodes[id] + at);
}

static void link_first(const px_kvtree *tree, uint32_t *head, uint32_t id, size_t at)
{
    *link_of(tree, id, at) = (px_kv_link){.next = *head, .previous = PX_KV_NONE};
    if (*head != PX_KV_NONE) link_of(tree, *head, at)->previous = id;
    *head = id;
}

static void unlink_node(const px_kvtree *tree, uint32_t *head, uint32_t id, size_t at)
{
    px_kv_link link = *link_of(tree, id, at);
    if (link.next != PX_KV_NONE) link_of(tree, link.next, at)->previous = link.previous;
    if (link.previous != PX_KV_NONE)
        link_of(tree, link.previous, at)->next = link.next;
    else
        *head = link.next;
}

static const size_t by_tokens = offsetof(px_kv_node, by_tokens),
                    by_first = offsetof(px_kv_node, by_first),
                    among_siblings = offsetof(px_kv_node, among_siblings);

uint32_t px_kvtree_insert(px_kvtree *tree, const px_kv_key *key)
{
    if (!tree->unused_count) return PX_KV_NONE;
    uint32_t id = tree->unused[--tree->unused_count];
    px_kv_node *node = &tree->nodes[id];
    *node = (px_kv_node){.count = key->count,
        .salt = key->salt,
        .parent = key->parent,
        .first_child = PX_KV_NONE,
        .generation = node->generation + 1,
        .block = PX_KV_NONE,
        .slot = PX_KV_NONE,
        .heap_at = PX_KV_NONE};
    memcpy(node->tokens, key->tokens, key->count * sizeof *key->tokens);
    link_first(tree, bucket(tree, tree->by_tokens, key, key->count), id, by_tokens);
    link_first(tree, bucket(tree, tree->by_first, key, 1), id, by_first);
    if (key->parent != PX_KV_NONE) {
        px_kv_node *parent = &tree->nodes[key->parent];
        node->depth = parent->depth + 1;
        parent->children++;
        link_first(tree, &parent->first_child, id, among_siblings);
    }
    return id;
}

void px_kvtree_remove(px_kvtree *tree, uint32_t id)
{
    px_kv_node *node = &tree->nodes[id];
    PX_ASSERT(!node->children && node->count);
    px_kv_key key = {
        .parent = node->parent, .salt = node->salt, .tokens = node->tokens, .count = node->count};
    unlink_node(tree, bucket(tree, tree->by_tokens, &key, key.count), id, by_tokens);
    unlink_node(tree, bucket(tree, tree->by_first, &key, 1), id, by_first);
    if (node->parent != PX_KV_NONE) {
        px_kv_node *parent = &tree->nodes[node->parent];
        parent->children--;
        unlink_node(tree, &parent->first_child, id, among_siblings);
    }
    node->generation++; /* whoever remembers it sees that it went */
    node->count = 0;
    tree->unused[tree->unused_count++] = id;
}
