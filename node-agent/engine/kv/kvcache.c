/* kvcache.c - see kvcache.h.
 *
 * A node's KV is in a block or in a slot. Whoever holds a node's block holds all blocks on its way
 * to the root, so:
 *   - a node in the pool has all its ancestors in the pool, and in use if it is in use;
 *   - what hangs from a node without children in the pool is parked, or nothing.
 * Nodes that may leave the pool (in use by nobody, no child in the pool) are in `in_pool`; parked
 * ones without children, which may be lost, are in `parked`.
 */
#include "engine/kv/kvcache.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/kv/kvheap.h"

enum { BLOCK = PX_KV_BLOCK_TOKENS };
/* At this depth attention costs about as much as the rest of a layer does. */
static const double attention_equals_at = 4096;

struct px_kvcache {
    px_kvtree *tree;
    px_kvheap in_pool, parked;
    uint32_t *refs;                     /* [blocks] sequences that hold it */
    uint32_t *node_of;                  /* [blocks] PX_KV_NONE: it is private or free */
    uint32_t *free_blocks, *free_slots; /* stacks */
    uint32_t free_block_count, free_slot_count, slots;
    uint32_t idle; /* blocks in the tree that nobody holds */
    double clock;  /* the worth of what was last given up */
    px_kvcache_stats total;
};

static uint64_t unpredictable(void)
{
    uint64_t key;
    if (getrandom(&key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key)
        key = (uint64_t)px_now_ns();
    return key;
}

px_kvcache *px_kvcache_create(const px_kvcache_options *options)
{
    uint32_t nodes = options->blocks + options->slots;
    px_kvcache *cache = px_alloc(sizeof *cache);
    *cache = (px_kvcache){
        .tree = px_kvtree_create(nodes, unpredictable()),
        .refs = px_alloc_array(options->blocks, sizeof *cache->refs),
        .node_of = px_alloc_array(options->blocks, sizeof *cache->node_of),
        .free_blocks = px_alloc_array(options->blocks, sizeof *cache->free_blocks),
        .free_slots = px_alloc_array(options->slots, sizeof *cache->free_slots),
        .slots = options->slots,
    };
    px_kvheap_init(&cache->in_pool, cache->tree, nodes);
    px_kvheap_init(&cache->parked, cache->tree, nodes);
    for (uint32_t i = 0; i < options->blocks; i++) cache->node_of[i] = PX_KV_NONE;
    for (uint32_t i = options->blocks; i-- > 0;) /* block 0 is taken first */
        cache->free_blocks[cache->free_block_count++] = i;
    for (uint32_t i = options->slots; i-- > 0;) cache->free_slots[cache->free_slot_count++] = i;
    return cache;
}

void px_kvcache_free(px_kvcache *cache)
{
    if (!cache) return;
    px_kvtree_free(cache->tree);
    px_kvheap_done(&cache->in_pool);
    px_kvheap_done(&cache->parked);
    free(cache->refs);
    free(cache->node_of);
    free(cache->free_blocks);
    free(cache->free_slots);
    free(cache);
}

static px_kv_node *node_at(const px_kvcache *cache, uint32_t id)
{
    return px_kvtree_node(cache->tree, id);
}

/* --- where a node stands ------------------------------------------------------------------ */

/* Puts it into the heap it belongs in now, if any. */
static void offer(px_kvcache *cache, uint32_t id)
{
    if (id == PX_KV_NONE) return;
    px_kv_node *node = node_at(cache, id);
    if (node->heap_at != PX_KV_NONE) return;
    if (node->block != PX_KV_NONE && !cache->refs[node->block] && !node->children_in_pool)
        px_kvheap_add(&cache->in_pool, id);
    else if (node->slot != PX_KV_NONE && !node->children)
        px_kvheap_add(&cache->parked, id);
}

static void retract(px_kvcache *cache, uint32_t id)
{
    const px_kv_node *node = node_at(cache, id);
    if (node->heap_at == PX_KV_NONE) return;
    px_kvheap_drop(node->block != PX_KV_NONE ? &cache->in_pool : &cache->parked, id);
}

static void set_worth(px_kvcache *cache, uint32_t id)
{
    px_kv_node *node = node_at(cache, id);
    double depth = (double)node->depth * BLOCK;
    retract(cache, id);
    node->worth = cache->clock + node->count / (double)BLOCK * (1 + depth / attention_equals_at);
    offer(cache, id);
}

static void add_pins(px_kvcache *cache, uint32_t id, uint32_t pins)
{
    retract(cache, id);
    node_at(cache, id)->pins += pins; /* minus one is unsigned too */
    offer(cache, id);
}

static void put_in_block(px_kvcache *cache, uint32_t id, uint32_t block)
{
    px_kv_node *node = node_at(cache, id);
    node->block = block;
    cache->node_of[block] = id;
    if (node->parent == PX_KV_NONE) return;
    retract(cache, node->parent);
    node_at(cache, node->parent)->children_in_pool++;
}

static void leave_block(px_kvcache *cache, uint32_t id)
{
    px_kv_node *node = node_at(cache, id);
    cache->node_of[node->block] = PX_KV_NONE;
    node->block = PX_KV_NONE;
    if (node->parent == PX_KV_NONE) return;
    node_at(cache, node->parent)->children_in_pool--;
    offer(cache, node->parent);
}

static void leave_slot(px_kvcache *cache, uint32_t id)
{
    px_kv_node *node = node_at(cache, id);
    retract(cache, id);
    cache->free_slots[cache->free_slot_count++] = node->slot;
    node->slot = PX_KV_NONE;
}

/* Has no children and neither block nor slot any more. */
static void remove_node(px_kvcache *cache, uint32_t id)
{
    uint32_t parent = node_at(cache, id)->parent;
    px_kvtree_remove(cache->tree, id);
    offer(cache, parent);
}

/* --- blocks ------------------------------------------------------------------------------- */

static void hold_block(px_kvcache *cache, uint32_t block)
{
    uint32_t node = cache->node_of[block];
    if (!cache->refs[block] && node != PX_KV_NONE) {
        retract(cache, node);
        cache->idle--;
    }
    cache->refs[block]++;
}

static void let_go(px_kvcache *cache, uint32_t block)
{
    PX_ASSERT(cache->refs[block]);
    if (--cache->refs[block]) return;
    uint32_t node = cache->node_of[block];
    if (node == PX_KV_NONE) {
        cache->free_blocks[cache->free_block_count++] = block;
        return;
    }
    cache->idle++;
    set_worth(cache, node);
}

static void add_move(px_kv_moves *moves, px_kv_move move)
{
    PX_ASSERT(moves->count < moves->capacity);
    moves->at[moves->count++] = move;
}

static void lose_parked(px_kvcache *cache, uint32_t id)
{
    leave_slot(cache, id);
    remove_node(cache, id);
    cache->total.evicted++;
}

/* A slot for the node that must leave the pool; PX_KV_NONE: losing it costs least. */
static uint32_t find_slot(px_kvcache *cache, uint32_t id)
{
    const px_kv_node *node = node_at(cache, id);
    if (!cache->free_slot_count) {
        if (!cache->parked.count) return PX_KV_NONE;
        const px_kv_node *cheapest = node_at(cache, cache->parked.ids[0]);
        bool dearer = !node->pins && !node->children && cheapest->worth >= node->worth;
        if (cheapest->pins || dearer) return PX_KV_NONE;
        lose_parked(cache, cache->parked.ids[0]);
    }
    return cache->free_slots[--cache->free_slot_count];
}

/* Everything below it is parked. */
static void lose_descendants(px_kvcache *cache, uint32_t id)
{
    for (uint32_t at; (at = node_at(cache, id)->first_child) != PX_KV_NONE;) {
        for (uint32_t child; (child = node_at(cache, at)->first_child) != PX_KV_NONE;) at = child;
        lose_parked(cache, at);
    }
}

/* The cheapest idle block becomes a free one. */
static void evict(px_kvcache *cache, px_kv_moves *moves)
{
    PX_ASSERT(cache->in_pool.count);
    uint32_t id = cache->in_pool.ids[0];
    px_kv_node *node = node_at(cache, id);
    uint32_t block = node->block;
    if (node->worth > cache->clock) cache->clock = node->worth;
    bool may_move = moves->count < moves->capacity;
    uint32_t slot = may_move ? find_slot(cache, id) : PX_KV_NONE;
    retract(cache, id);
    leave_block(cache, id);
    if (slot == PX_KV_NONE) {
        lose_descendants(cache, id);
        remove_node(cache, id);
        cache->total.evicted++;
    } else {
        node->slot = slot;
        offer(cache, id);
        add_move(moves, (px_kv_move){PX_KV_PARK, block, slot});
        cache->total.parked++;
    }
    cache->idle--;
    cache->free_blocks[cache->free_block_count++] = block;
}

static uint32_t take_block(px_kvcache *cache, px_kv_moves *moves)
{
    if (!cache->free_block_count) evict(cache, moves);
    uint32_t block = cache->free_blocks[--cache->free_block_count];
    cache->refs[block] = 1;
    return block;
}

/* --- what is there ------------------------------------------------------------------------ */

static px_kv_key key_of(const px_kv_text *text, uint32_t parent, uint32_t block, uint32_t count)
{
    return (px_kv_key){.parent = parent,
        .salt = text->salt,
        .tokens = text->tokens + (size_t)block * BLOCK,
        .count = count};
}

static bool is_idle(const px_kvcache *cache, const px_kv_node *node)
{
    return node->block != PX_KV_NONE && !cache->refs[node->block];
}

/* Nobody else wants the part, and all of it is of use: its block itself can be taken. */
static bool can_adopt(
    const px_kvcache *cache, const px_kv_hold *hold, uint32_t part, uint32_t tokens)
{
    const px_kv_node *node = node_at(cache, part);
    bool mine = hold->pinned == part && hold->pinned_generation == node->generation;
    bool in_use = node->block != PX_KV_NONE && cache->refs[node->block];
    return node->count == tokens && node->count < BLOCK && node->pins == mine && !in_use;
}

/* Blocks in use by others cost nothing. */
static uint32_t cost_of(const px_kvcache *cache, const px_kv_match *match, uint32_t count)
{
    uint32_t in_use = 0;
    for (uint32_t id = match->tip; id != PX_KV_NONE; id = node_at(cache, id)->parent) {
        const px_kv_node *node = node_at(cache, id);
        in_use += node->block != PX_KV_NONE && cache->refs[node->block];
    }
    return px_kv_blocks_for(count) - in_use;
}

px_kv_match px_kvcache_match(const px_kvcache *cache, const px_kv_hold *hold,
    const px_kv_text *text, uint32_t limit, uint32_t count)
{
    px_kv_match match = {.tip = PX_KV_NONE, .part = PX_KV_NONE};
    for (; (match.blocks + 1) * BLOCK <= limit; match.blocks++) {
        px_kv_key key = key_of(text, match.tip, match.blocks, BLOCK);
        uint32_t id = px_kvtree_find(cache->tree, &key);
        if (id == PX_KV_NONE) break;
        match.tip = id;
    }
    uint32_t left = limit - match.blocks * BLOCK;
    match.needs = cost_of(cache, &match, count);
    if (left) {
        px_kv_key key = key_of(text, match.tip, match.blocks, left < BLOCK ? left : BLOCK);
        match.part = px_kvtree_find_beginning(cache->tree, &key, &match.part_tokens);
        match.part_stays = match.part != PX_KV_NONE && is_idle(cache, node_at(cache, match.part)) &&
                           !can_adopt(cache, hold, match.part, match.part_tokens);
        match.needs += match.part_stays;
    }
    match.tokens = match.blocks * BLOCK + match.part_tokens;
    return match;
}

static bool have(const px_kvcache *cache, const px_kv_moves *moves, uint64_t blocks)
{
    /* Each block taken may evict one and be filled by a move. */
    return blocks <= px_kvcache_available(cache) && moves->count + 2 * blocks <= moves->capacity;
}

bool px_kvcache_fits(
    const px_kvcache *cache, px_kv_match *match, const px_kv_moves *moves, uint32_t spare)
{
    if (have(cache, moves, (uint64_t)match->needs + spare)) return true;
    if (!match->part_stays || !have(cache, moves, (uint64_t)match->needs - 1 + spare)) return false;
    match->part_stays = false;
    match->needs--;
    match->part = PX_KV_NONE;
    match->tokens -= match->part_tokens;
    match->part_tokens = 0;
    return true;
}

/* --- taking ------------------------------------------------------------------------------- */

void px_kvcache_unpin(px_kvcache *cache, px_kv_hold *hold)
{
    bool there = hold->pinned != PX_KV_NONE &&
                 node_at(cache, hold->pinned)->generation == hold->pinned_generation;
    if (there) add_pins(cache, hold->pinned, (uint32_t)-1);
    hold->pinned = PX_KV_NONE;
}

/* From a parked node into a block of its own. */
static void bring_back(px_kvcache *cache, uint32_t id, px_kv_moves *moves)
{
    uint32_t slot = node_at(cache, id)->slot, block = take_block(cache, moves);
    add_move(moves, (px_kv_move){PX_KV_RESTORE, slot, block});
    leave_slot(cache, id);
    put_in_block(cache, id, block);
    cache->total.restored++;
}

static void take_whole(
    px_kvcache *cache, px_kv_hold *hold, const px_kv_match *match, px_kv_moves *moves)
{
    uint32_t at = match->blocks;
    for (uint32_t id = match->tip; id != PX_KV_NONE; id = node_at(cache, id)->parent) {
        const px_kv_node *node = node_at(cache, id);
        hold->blocks[--at] = id;
        if (node->block != PX_KV_NONE) hold_block(cache, node->block);
    }
    PX_ASSERT(at == 0);
    for (; at < match->blocks; at++) {
        uint32_t id = hold->blocks[at];
        if (node_at(cache, id)->block == PX_KV_NONE) bring_back(cache, id, moves);
        hold->blocks[at] = node_at(cache, id)->block;
    }
}

static uint32_t adopt(px_kvcache *cache, uint32_t id, px_kv_moves *moves)
{
    px_kv_node *node = node_at(cache, id);
    if (node->block == PX_KV_NONE)
        bring_back(cache, id, moves);
    else
        hold_block(cache, node->block);
    uint32_t block = node->block;
    leave_block(cache, id);
    remove_node(cache, id);
    return block;
}

static uint32_t copy(px_kvcache *cache, uint32_t id, px_kv_moves *moves)
{
    const px_kv_node *node = node_at(cache, id);
    bool in_pool = node->block != PX_KV_NONE;
    if (in_pool) hold_block(cache, node->block); /* or making room could take it away */
    uint32_t block = take_block(cache, moves);
    add_move(moves, in_pool ? (px_kv_move){PX_KV_COPY, node->block, block}
                            : (px_kv_move){PX_KV_RESTORE, node->slot, block});
    if (in_pool)
        let_go(cache, node->block);
    else
        set_worth(cache, id);
    cache->total.copied++;
    return block;
}

void px_kvcache_take(
    px_kvcache *cache, px_kv_hold *hold, const px_kv_match *match, px_kv_moves *moves)
{
    PX_ASSERT(hold->count == 0);
    bool adopts =
        match->part != PX_KV_NONE && can_adopt(cache, hold, match->part, match->part_tokens);
    /* Pinned, the parked ones among them are not lost to make room for the first. */
    if (match->tip != PX_KV_NONE) add_pins(cache, match->tip, 1);
    if (match->part != PX_KV_NONE) add_pins(cache, match->part, 1);
    take_whole(cache, hold, match, moves);
    hold->count = hold->in_tree = match->blocks;
    hold->tip = match->tip;
    hold->diverged = false;
    if (match->part != PX_KV_NONE) {
        if (!adopts) {
            hold->blocks[hold->count++] = copy(cache, match->part, moves);
            add_pins(cache, match->part, (uint32_t)-1);
        } else {
            hold->blocks[hold->count++] = adopt(cache, match->part, moves);
        }
    }
    if (match->tip != PX_KV_NONE) add_pins(cache, match->tip, (uint32_t)-1);
    px_kvcache_unpin(cache, hold);
}

void px_kvcache_grow(px_kvcache *cache, px_kv_hold *hold, uint32_t count, px_kv_moves *moves)
{
    while (count--) hold->blocks[hold->count++] = take_block(cache, moves);
}

/* --- giving back -------------------------------------------------------------------------- */

static uint32_t insert(px_kvcache *cache, const px_kv_key *key, uint32_t block)
{
    uint32_t id = px_kvtree_insert(cache->tree, key);
    PX_ASSERT(id != PX_KV_NONE); /* as many nodes as blocks and slots, each node has one of them */
    put_in_block(cache, id, block);
    return id;
}

void px_kvcache_note(px_kvcache *cache, px_kv_hold *hold, const px_kv_text *text, uint32_t computed)
{
    while (!hold->diverged && (hold->in_tree + 1) * BLOCK <= computed) {
        px_kv_key key = key_of(text, hold->tip, hold->in_tree, BLOCK);
        hold->diverged = px_kvtree_find(cache->tree, &key) != PX_KV_NONE;
        if (!hold->diverged) hold->tip = insert(cache, &key, hold->blocks[hold->in_tree++]);
    }
}

/* The sequence's private block holds the tokens of `id`: one of the two is enough. */
static void merge(px_kvcache *cache, uint32_t id, uint32_t *block)
{
    px_kv_node *node = node_at(cache, id);
    if (node->block == PX_KV_NONE) {
        leave_slot(cache, id);
        put_in_block(cache, id, *block);
        return;
    }
    hold_block(cache, node->block);
    let_go(cache, *block);
    *block = node->block;
}

/* All computed blocks come to stand in the tree, the last one maybe in part. Returns the deepest
 * node. */
static uint32_t settle(
    px_kvcache *cache, px_kv_hold *hold, const px_kv_text *text, uint32_t computed)
{
    for (; (hold->in_tree + 1) * BLOCK <= computed; hold->in_tree++) {
        px_kv_key key = key_of(text, hold->tip, hold->in_tree, BLOCK);
        uint32_t id = px_kvtree_find(cache->tree, &key);
        if (id == PX_KV_NONE)
            id = insert(cache, &key, hold->blocks[hold->in_tree]);
        else
            merge(cache, id, &hold->blocks[hold->in_tree]);
        hold->tip = id;
    }
    uint32_t left = computed - hold->in_tree * BLOCK, common;
    if (!left) return hold->tip;
    px_kv_key key = key_of(text, hold->tip, hold->in_tree, left);
    uint32_t id = px_kvtree_find_beginning(cache->tree, &key, &common);
    if (common < left) id = insert(cache, &key, hold->blocks[hold->in_tree]);
    return id;
}

/* From the tip up: what nobody else can ever ask for. */
static void forget(px_kvcache *cache, uint32_t id)
{
    while (id != PX_KV_NONE) {
        const px_kv_node *node = node_at(cache, id);
        if (node->children || node->pins || !is_idle(cache, node)) return;
        uint32_t block = node->block, parent = node->parent;
        retract(cache, id);
        leave_block(cache, id);
        remove_node(cache, id);
        cache->idle--;
        cache->free_blocks[cache->free_block_count++] = block;
        id = parent;
    }
}

void px_kvcache_release(px_kvcache *cache, px_kv_hold *hold, const px_kv_text *text,
    uint32_t computed, px_kv_release how)
{
    uint32_t deepest = hold->tip;
    if (how != PX_KV_FORGET) deepest = settle(cache, hold, text, computed);
    if (how == PX_KV_PIN && deepest != PX_KV_NONE) {
        add_pins(cache, deepest, 1);
        hold->pinned = deepest;
        hold->pinned_generation = node_at(cache, deepest)->generation;
    }
    for (uint32_t i = hold->count; i-- > 0;) let_go(cache, hold->blocks[i]);
    if (how == PX_KV_FORGET) forget(cache, deepest);
    hold->count = hold->in_tree = 0;
    hold->tip = PX_KV_NONE;
    hold->diverged = false;
}

void px_kvcache_pin_too(px_kvcache *cache, const px_kv_hold *from, px_kv_hold *to)
{
    if (from->pinned == PX_KV_NONE) return;
    add_pins(cache, from->pinned, 1);
    to->pinned = from->pinned;
    to->pinned_generation = from->pinned_generation;
}

uint32_t px_kvcache_available(const px_kvcache *cache)
{
    return cache->free_block_count + cache->idle;
}

px_kvcache_stats px_kvcache_stats_of(const px_kvcache *cache)
{
    px_kvcache_stats stats = cache->total;
    stats.idle = cache->idle;
    stats.parked_now = cache->slots - cache->free_slot_count;
    return stats;
}
