/* kvtree.h - which tokens lie behind which KV: a tree of blocks, found by what they hold.
 *
 *   salt A:  [16 tokens] -+- [16 tokens] --- [7 tokens]
 *                         +- [16 tokens]
 *   salt B:  [16 tokens]  ...
 *
 * A node is a block's worth of tokens behind its parent's; KV depends on all tokens before it, so
 * the path from the root is its name. Lookups compare the tokens themselves: the hash only finds
 * the place, so no collision can ever hand out KV of other tokens or another salt.
 * A node with fewer than PX_KV_BLOCK_TOKENS tokens never has children.
 * Owns:    all nodes, allocated in create. Says nothing about memory: kvcache.h does.
 * Threads: engine thread.
 */
#ifndef PX_ENGINE_KVTREE_H
#define PX_ENGINE_KVTREE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

#define PX_KV_NONE UINT32_MAX

/* What keeps tenants' prefixes apart: only equal salts share. */
typedef struct px_kv_salt {
    uint64_t word[2];
} px_kv_salt;

typedef struct px_kv_link { /* of a list through the nodes of one hash bucket */
    uint32_t next, previous;
} px_kv_link;

typedef struct px_kv_node {
    uint32_t tokens[PX_KV_BLOCK_TOKENS], count;
    px_kv_salt salt;
    uint32_t parent, first_child, children; /* PX_KV_NONE: none */
    uint32_t depth;                         /* blocks before it */
    uint32_t generation;                    /* of the place in the array: ids are used again */

    /* kvcache.c's: one of block and slot, the other PX_KV_NONE */
    uint32_t block, slot;
    uint32_t children_in_pool; /* of its children, how many have a block */
    uint32_t pins;             /* sequences that will come back for it */
    uint32_t heap_at;          /* index in a heap; PX_KV_NONE: in none */
    double worth;

    px_kv_link by_tokens, by_first, among_siblings;
} px_kv_node;

typedef struct px_kvtree px_kvtree;

/* `key` makes the buckets' order unpredictable to whoever chooses the tokens. */
px_kvtree *px_kvtree_create(uint32_t nodes, uint64_t key);
void px_kvtree_free(px_kvtree *tree); /* NULL is fine */
px_kv_node *px_kvtree_node(const px_kvtree *tree, uint32_t id);

typedef struct px_kv_key {
    uint32_t parent; /* PX_KV_NONE: at the root */
    px_kv_salt salt;
    const uint32_t *tokens;
    uint32_t count; /* 1 .. PX_KV_BLOCK_TOKENS */
} px_kv_key;

/* The node that holds exactly these tokens; PX_KV_NONE: there is none. */
uint32_t px_kvtree_find(const px_kvtree *tree, const px_kv_key *key);
/* The child whose tokens begin most like the key's, and how many they share. Looks at the newest
 * few that share the first token. */
uint32_t px_kvtree_find_beginning(
    const px_kvtree *tree, const px_kv_key *key, uint32_t *out_common);
/* A new node, or PX_KV_NONE when all are in use. The tokens are copied. */
uint32_t px_kvtree_insert(px_kvtree *tree, const px_kv_key *key);
void px_kvtree_remove(px_kvtree *tree, uint32_t id); /* has no children */

#endif
