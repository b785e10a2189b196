/* test_kvcache.c - blocks found again by their tokens: hits as counted by hand, eviction by cost,
 * parking, and a random history in which every block always holds what its holder believes.
 */
#include "engine/kv/kvcache.h"
#include "engine/random.h"
#include "test.h"

enum { BLOCK = PX_KV_BLOCK_TOKENS, BLOCKS_MAX = 64, SEQ_BLOCKS = 12, MOVES = 4 * BLOCKS_MAX };

/* The cache, and a memory in which the KV of a token is a hash of all tokens up to it. */
typedef struct bed {
    px_kvcache *cache;
    uint64_t pool[BLOCKS_MAX][BLOCK], park[BLOCKS_MAX][BLOCK];
    px_kv_move move_list[MOVES];
    px_kv_moves moves;
} bed;

static bed *start(uint32_t blocks, uint32_t slots)
{
    bed *b = calloc(1, sizeof *b);
    b->cache = px_kvcache_create(&(px_kvcache_options){.blocks = blocks, .slots = slots});
    b->moves = (px_kv_moves){.at = b->move_list, .capacity = MOVES};
    return b;
}

static void end(bed *b)
{
    px_kvcache_free(b->cache);
    free(b);
}

static void carry_out(bed *b)
{
    for (uint32_t i = 0; i < b->moves.count; i++) {
        px_kv_move m = b->moves.at[i];
        uint64_t *from = m.kind == PX_KV_RESTORE ? b->park[m.from] : b->pool[m.from];
        uint64_t *to = m.kind == PX_KV_PARK ? b->park[m.to] : b->pool[m.to];
        memcpy(to, from, sizeof b->pool[0]);
    }
    b->moves.count = 0;
}

typedef struct user { /* a sequence */
    px_kv_hold hold;
    uint32_t blocks[SEQ_BLOCKS], tokens[SEQ_BLOCKS * BLOCK], count, computed;
    px_kv_text text;
    bool runs;
} user;

static void make(user *u, uint64_t salt, uint32_t count)
{
    *u = (user){.count = count, .hold = {.tip = PX_KV_NONE, .pinned = PX_KV_NONE}};
    u->hold.blocks = u->blocks;
    u->text = (px_kv_text){.salt = {{salt, 1}}, .tokens = u->tokens};
    for (uint32_t i = 0; i < count; i++) u->tokens[i] = 1000 + i;
}

static uint64_t kv_of(const user *u, uint32_t position)
{
    uint64_t state = u->text.salt.word[0];
    for (uint32_t i = 0; i <= position; i++)
        state = (state ^ u->tokens[i]) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    return state;
}

/* False: there is no room. */
static bool enter(bed *b, user *u)
{
    px_kv_match match = px_kvcache_match(b->cache, &u->hold, &u->text, u->count - 1, u->count);
    if (!px_kvcache_fits(b->cache, &match, &b->moves, 0)) return false;
    px_kvcache_take(b->cache, &u->hold, &match, &b->moves);
    u->computed = match.tokens;
    px_kvcache_grow(b->cache, &u->hold, px_kv_blocks_for(u->count) - u->hold.count, &b->moves);
    return u->runs = true;
}

static void compute(bed *b, user *u, uint32_t until)
{
    carry_out(b);
    for (; u->computed < until; u->computed++)
        b->pool[u->blocks[u->computed / BLOCK]][u->computed % BLOCK] = kv_of(u, u->computed);
    px_kvcache_note(b->cache, &u->hold, &u->text, u->computed);
}

static void leave(bed *b, user *u, px_kv_release how)
{
    px_kvcache_release(b->cache, &u->hold, &u->text, u->computed, how);
    u->runs = false;
}

static bool is_sound(const bed *b, const user *u)
{
    for (uint32_t i = 0; i < u->computed; i++)
        if (b->pool[u->blocks[i / BLOCK]][i % BLOCK] != kv_of(u, i)) return false;
    return true;
}

static uint32_t hit(bed *b, uint64_t salt, uint32_t count)
{
    user u;
    make(&u, salt, count);
    return px_kvcache_match(b->cache, &u.hold, &u.text, count - 1, count).tokens;
}

PX_TEST(hits_are_those_counted_by_hand)
{
    bed *b = start(32, 0);
    user a, c;
    make(&a, 7, 70);
    PX_REQUIRE(enter(b, &a));
    PX_CHECK(a.computed == 0 && a.hold.count == 5);
    compute(b, &a, 40);
    PX_CHECK(hit(b, 7, 70) == 32); /* two full blocks so far */
    PX_CHECK(hit(b, 8, 70) == 0);  /* another tenant's */
    compute(b, &a, 70);
    PX_CHECK(hit(b, 7, 70) == 64); /* the tail is still being written */
    PX_CHECK(hit(b, 7, 64) == 63); /* the last token's logits are wanted: 3 blocks and 15 tokens */
    PX_CHECK(hit(b, 7, 17) == 16 && hit(b, 7, 16) == 15 && hit(b, 7, 1) == 0);
    leave(b, &a, PX_KV_KEEP);
    PX_CHECK(hit(b, 7, 100) == 70 && hit(b, 7, 70) == 69);
    PX_CHECK(px_kvcache_available(b->cache) == 32);

    make(&c, 7, 70); /* differs in the middle of the third block */
    c.tokens[37] = 5;
    PX_REQUIRE(enter(b, &c));
    PX_CHECK(c.computed == 37 && b->moves.count == 1 && b->moves.at[0].kind == PX_KV_COPY);
    PX_CHECK(c.blocks[0] == a.blocks[0] && c.blocks[1] == a.blocks[1]);
    PX_CHECK(c.blocks[2] != a.blocks[2]); /* its own copy to write in */
    compute(b, &c, 70);
    PX_CHECK(is_sound(b, &c) && hit(b, 7, 70) == 69);
    leave(b, &c, PX_KV_KEEP);
    PX_CHECK(px_kvcache_available(b->cache) == 32);
    end(b);
}

PX_TEST(two_who_computed_the_same_keep_one_copy)
{
    bed *b = start(16, 0);
    user a, c;
    make(&a, 1, 40);
    make(&c, 1, 40);
    PX_REQUIRE(enter(b, &a) && enter(b, &c)); /* neither sees the other's */
    compute(b, &a, 40);
    compute(b, &c, 40);
    PX_CHECK(px_kvcache_available(b->cache) == 10);
    leave(b, &c, PX_KV_KEEP);
    PX_CHECK(px_kvcache_stats_of(b->cache).idle == 1); /* its tail; the rest is the other's */
    leave(b, &a, PX_KV_KEEP);
    PX_CHECK(px_kvcache_stats_of(b->cache).idle == 3 && hit(b, 1, 60) == 40);
    end(b);
}

PX_TEST(what_costs_least_goes_first_and_leaves_before_roots)
{
    bed *b = start(8, 0);
    user old, young, big;
    make(&old, 1, 48);
    make(&young, 2, 48);
    PX_REQUIRE(enter(b, &old));
    compute(b, &old, 48);
    leave(b, &old, PX_KV_KEEP);
    PX_REQUIRE(enter(b, &young));
    compute(b, &young, 48);
    leave(b, &young, PX_KV_KEEP);
    make(&big, 3, 4 * BLOCK); /* two are free: two of the old one's must go, the deep ones */
    PX_REQUIRE(enter(b, &big));
    PX_CHECK(hit(b, 1, 49) + hit(b, 2, 49) == 64 && hit(b, 1, 49) >= 16 && hit(b, 2, 49) >= 16);
    compute(b, &big, 64);
    leave(b, &big, PX_KV_FORGET); /* nobody can ask for it: free at once */
    PX_CHECK(hit(b, 3, 65) == 0 && px_kvcache_available(b->cache) == 8);
    end(b);
}

PX_TEST(a_pinned_sequence_comes_back_whole_from_where_it_was_parked)
{
    bed *b = start(6, 8);
    user a, c;
    make(&a, 1, 90); /* all six blocks */
    PX_REQUIRE(enter(b, &a));
    compute(b, &a, 85);
    leave(b, &a, PX_KV_PIN);
    make(&c, 2, 96);
    PX_REQUIRE(enter(b, &c));
    compute(b, &c, 96);
    PX_CHECK(is_sound(b, &c) && px_kvcache_stats_of(b->cache).parked_now == 6);
    PX_CHECK(!enter(b, &a)); /* no room */
    leave(b, &c, PX_KV_FORGET);
    PX_REQUIRE(enter(b, &a));
    PX_CHECK(a.computed == 85);
    compute(b, &a, 90);
    PX_CHECK(is_sound(b, &a) && px_kvcache_stats_of(b->cache).parked_now == 0);
    leave(b, &a, PX_KV_FORGET);
    PX_CHECK(px_kvcache_available(b->cache) == 6);
    end(b);
}

/* --- a random history --------------------------------------------------------------------- */

enum { USERS = 6 };

static uint32_t draw_at;
static uint32_t below(uint64_t seed, uint32_t limit)
{
    return (uint32_t)(px_random_unit(seed, draw_at++) * limit);
}

/* A few beginnings shared by many, and an end of one's own. */
static void make_random(user *u, uint64_t seed)
{
    make(u, 1 + below(seed, 2), 1 + below(seed, SEQ_BLOCKS * BLOCK - 1));
    uint32_t shared = below(seed, u->count + 1), family = below(seed, 3);
    for (uint32_t i = 0; i < u->count; i++)
        u->tokens[i] = i < shared ? 10 * family + i % 7 : 100 + below(seed, 2);
}

static void act(bed *b, user *u, uint64_t seed, bool parks)
{
    bool is_parked = u->hold.pinned != PX_KV_NONE;
    if (!u->runs) {
        if (!is_parked) make_random(u, seed);
        if (is_parked && below(seed, 4) == 0) px_kvcache_unpin(b->cache, &u->hold);
        enter(b, u);
        return;
    }
    uint32_t choice = below(seed, 6);
    if (choice < 3) {
        compute(b, u, u->computed + below(seed, u->count - u->computed + 1));
    } else if (choice == 3 && px_kvcache_available(b->cache) && u->computed == u->count &&
               u->count + 1 < SEQ_BLOCKS * BLOCK) { /* generates */
        if (px_kv_blocks_for(u->count + 1) > u->hold.count)
            px_kvcache_grow(b->cache, &u->hold, 1, &b->moves);
        u->tokens[u->count++] = 100 + below(seed, 2);
        compute(b, u, u->count);
    } else {
        leave(b, u, choice == 4 && parks && u->computed ? PX_KV_PIN : PX_KV_KEEP);
    }
}

PX_TEST(in_a_random_history_every_block_holds_what_its_holder_believes)
{
    uint64_t restored = 0, copied = 0, evicted = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        uint32_t blocks = 12 + (uint32_t)(seed % 24), slots = seed % 3 ? (uint32_t)(seed % 20) : 0;
        bed *b = start(blocks, slots);
        user users[USERS];
        draw_at = 0;
        for (int i = 0; i < USERS; i++) make(&users[i], 1, 1);
        for (int turn = 0; turn < 400; turn++) {
            act(b, &users[below(seed, USERS)], seed, seed % 2);
            if (below(seed, 3) == 0) carry_out(b);
            if (b->moves.count) continue; /* not true before they are carried out */
            for (int i = 0; i < USERS; i++) PX_CHECK(!users[i].runs || is_sound(b, &users[i]));
        }
        carry_out(b);
        for (int i = 0; i < USERS; i++) {
            PX_CHECK(!users[i].runs || is_sound(b, &users[i]));
            if (users[i].runs) leave(b, &users[i], PX_KV_KEEP);
            px_kvcache_unpin(b->cache, &users[i].hold);
        }
        px_kvcache_stats stats = px_kvcache_stats_of(b->cache);
        PX_CHECK(px_kvcache_available(b->cache) == blocks);
        restored += stats.restored;
        copied += stats.copied;
        evicted += stats.evicted;
        end(b);
    }
    PX_CHECK(restored > 1000 && copied > 1000 && evicted > 1000); /* all of it was tried */
}

PX_TEST_MAIN()
