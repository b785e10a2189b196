/* test_kvpool.c - blocks are distinct memory that moves whole, and the pool's size is plain
 * arithmetic. */
#include "engine/kv/kvpark.h"
#include "engine/kv/kvsize.h"
#include "test.h"

static const px_kv_shape shape = {.layers = 3, .kv_heads = 2, .k_dim = 32, .v_dim = 64};

enum { BLOCKS = 5, SHARES = 3 * 2 * BLOCKS };

typedef struct place {
    uint32_t layer, head, block;
} place;

static place place_of(uint32_t i)
{
    return (place){.layer = i / BLOCKS / 2, .head = i / BLOCKS % 2, .block = i % BLOCKS};
}

PX_TEST(no_two_shares_overlap_and_neighbours_are_neighbours)
{
    px_kvpool *pool;
    PX_REQUIRE(px_is_ok(px_kvpool_create(shape, PX_F16, BLOCKS, &pool)));
    const px_kv_layer *layers = px_kvpool_layers(pool);
    size_t k_bytes = PX_KV_BLOCK_TOKENS * 32 * 2, v_bytes = PX_KV_BLOCK_TOKENS * 64 * 2;
    PX_CHECK(px_kvpool_block_bytes(shape, PX_F16) == 3 * 2 * (k_bytes + v_bytes));
    PX_CHECK(px_kvpool_bytes_each(pool) == 3 * 2 * (k_bytes + v_bytes));
    PX_CHECK(px_kv_share(&layers[2].k, 1, 3) == px_kv_share(&layers[2].v, 1, 2) + v_bytes);
    for (uint32_t i = 0; i < SHARES; i++) {
        place p = place_of(i);
        memset(px_kv_share(&layers[p.layer].k, p.head, p.block), (int)(1 + i), k_bytes);
        memset(px_kv_share(&layers[p.layer].v, p.head, p.block), (int)(101 + i), v_bytes);
    }
    for (uint32_t i = 0; i < SHARES; i++) {
        place p = place_of(i);
        const unsigned char *k = px_kv_share(&layers[p.layer].k, p.head, p.block);
        const unsigned char *v = px_kv_share(&layers[p.layer].v, p.head, p.block);
        PX_CHECK(k[0] == 1 + i && memcmp(k, k + 1, k_bytes - 1) == 0);
        PX_CHECK(v[0] == 101 + i && memcmp(v, v + 1, v_bytes - 1) == 0);
    }
    px_kvpool_free(pool);
}

/* Several slabs, the last one not full: what a block is loaded with is what attention finds. */
PX_TEST(slabs_hold_what_blocks_are_loaded_with)
{
    enum { MANY = 2 * PX_KV_SLAB_BLOCKS + 7 };
    px_kvpool *pool;
    PX_REQUIRE(px_is_ok(px_kvpool_create(shape, PX_F16, MANY, &pool)));
    const px_kv_layer *layers = px_kvpool_layers(pool);
    size_t bytes = px_kvpool_bytes_each(pool), piece = bytes / 6;
    unsigned char *block = malloc(bytes);
    for (uint32_t id = 0; id < MANY; id++) {
        for (size_t i = 0; i < bytes; i++) block[i] = (unsigned char)(id + 40 * (i / piece));
        px_kvpool_load(pool, id, block);
    }
    for (uint32_t i = 0; i < 6 * MANY; i++) {
        const px_kv_layer *layer = &layers[i / MANY / 2];
        uint32_t head = i / MANY % 2, id = i % MANY;
        unsigned char want = (unsigned char)(id + 40 * (i / MANY));
        PX_CHECK(*px_kv_share(&layer->k, head, id) == want);
        PX_CHECK(px_kv_share(&layer->v, head, id)[PX_KV_BLOCK_TOKENS * 64 * 2 - 1] == want);
    }
    free(block);
    px_kvpool_free(pool);
}

PX_TEST(latents_take_one_plane)
{
    px_kv_shape latent = {.layers = 2, .kv_heads = 1, .k_dim = 576, .v_dim = 512, .v_in_k = true};
    px_kvpool *pool;
    PX_CHECK(px_kvpool_block_bytes(latent, PX_F16) == 2 * PX_KV_BLOCK_TOKENS * 576 * 2);
    PX_CHECK_OK(px_kvpool_create(latent, PX_F16, 3, &pool));
    const px_kv_layer *layers = px_kvpool_layers(pool);
    PX_CHECK(!layers[0].v.base && !layers[1].v.base);
    PX_CHECK(px_kv_share(&layers[0].k, 0, 1) == layers[0].k.base + PX_KV_BLOCK_TOKENS * 576 * 2);
    PX_CHECK(layers[1].k.base == px_kv_share(&layers[0].k, 0, 3));
    px_kvpool_free(pool);
}

/* Bytes that tell the block and the place in it. */
static void fill(unsigned char *to, size_t bytes, int name)
{
    for (size_t i = 0; i < bytes; i++) to[i] = (unsigned char)(name * 31 + (int)(i / 64));
}

PX_TEST(blocks_move_whole_and_in_order)
{
    enum { MOVED = 3, SLOTS = 2 };
    for (int in_file = 0; in_file < 2; in_file++) {
        px_kvpool *pool;
        px_kvpark *park;
        PX_REQUIRE(px_is_ok(px_kvpool_create(shape, PX_F32, MOVED, &pool)));
        size_t bytes = px_kvpool_bytes_each(pool);
        px_kvpark_options options = {
            .block_bytes = bytes, .slots = SLOTS, .folder = in_file ? "/tmp" : NULL};
        PX_REQUIRE(px_is_ok(px_kvpark_create(&options, &park)));
        unsigned char *block = malloc(bytes), *want = malloc(bytes);
        for (uint32_t i = 0; i < MOVED; i++) {
            fill(block, bytes, "abc"[i]);
            px_kvpool_load(pool, i, block);
        }
        px_kv_move list[] = {{PX_KV_PARK, 0, 1}, {PX_KV_COPY, 2, 0}, {PX_KV_PARK, 1, 0},
            {PX_KV_RESTORE, 1, 1}, {PX_KV_RESTORE, 0, 2}}; /* c a b */
        px_kv_moves moves = {.at = list, .count = 5, .capacity = 5};
        PX_CHECK_OK(px_kv_move_all(&moves, pool, park));
        for (uint32_t i = 0; i < MOVED; i++) {
            fill(want, bytes, "cab"[i]);
            px_kvpool_save(pool, i, block);
            PX_CHECK(memcmp(block, want, bytes) == 0);
        }
        free(block);
        free(want);
        px_kvpark_free(park);
        px_kvpool_free(pool);
    }
    px_kvpark *park;
    px_kvpark_options nowhere = {.block_bytes = 64, .slots = 1, .folder = "/nonexistent"};
    PX_CHECK(px_kvpark_create(&nowhere, &park).code == PX_NOT_FOUND);
}

/* --- sizing ------------------------------------------------------------------------------- */

static const uint64_t MiB = 1 << 20;

static px_memory_report report(const char *host, uint64_t available_bytes)
{
    px_memory_report r = {.weight_bytes = 100 * MiB,
        .work_bytes = 10 * MiB,
        .block_bytes = MiB,
        .available_bytes = available_bytes};
    snprintf(r.host, sizeof r.host, "%s", host);
    return r;
}

PX_TEST(an_explicit_pool_is_exact_or_refused_with_the_arithmetic)
{
    px_memory_report one = report("alpha", 174 * MiB); /* 64 blocks are left */
    px_kv_wish wish = {.tokens = 64 * 16, .context = 512, .slots = 8};
    px_kv_blocks blocks;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 64);
    wish.tokens++;
    px_status status = px_kv_size(&one, 1, &wish, &blocks);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(strstr(status.text, "alpha") && strstr(status.text, "100.0 MiB") &&
             strstr(status.text, "65.0 MiB") && strstr(status.text, "1040 tokens") &&
             strstr(status.text, "174.0 MiB"));
    wish = (px_kv_wish){.tokens = 1 << 30, .context = 100, .slots = 2};
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 2 * 7); /* no use for more than a context for each slot */
}

PX_TEST(a_model_that_does_not_fit_at_all_is_refused)
{
    px_memory_report one = report("alpha", 90 * MiB);
    px_kv_wish wish = {.context = 512, .slots = 1};
    px_kv_blocks blocks;
    PX_CHECK(px_kv_size(&one, 1, &wish, &blocks).code == PX_RESOURCE_EXHAUSTED);
}

PX_TEST(left_alone_the_pool_takes_a_share_and_at_least_a_context)
{
    px_memory_report one = report("alpha", (110 + 4000) * MiB);
    px_kv_wish wish = {.context = 4096, .slots = 64};
    px_kv_blocks blocks;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 1000);
    wish.context = 32768; /* 2048 blocks: more than the share, less than there is */
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 2048);
    wish.context = 131072; /* does not fit: a smaller pool, unless the context was asked for */
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 4000);
    wish.context_wanted = true;
    PX_CHECK(px_kv_size(&one, 1, &wish, &blocks).code == PX_RESOURCE_EXHAUSTED);
    one = report("alpha", (110 + 127) * MiB); /* 2048 tokens are 128 blocks */
    wish.context_wanted = false;
    PX_CHECK(px_kv_size(&one, 1, &wish, &blocks).code == PX_RESOURCE_EXHAUSTED);
}

PX_TEST(parking_places_are_part_of_the_arithmetic)
{
    px_memory_report one = report("alpha", (110 + 400) * MiB);
    px_kv_wish wish = {.tokens = 100 * 16, .context = 4096, .slots = 8};
    px_kv_blocks blocks;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 100 && blocks.parked == 100); /* as many as the pool, and a quarter */
    wish.tokens = 350 * 16;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 350 && blocks.parked == 50); /* what is left: nobody asked for them */
    wish.park_bytes = (int64_t)(51 * MiB);
    px_status status = px_kv_size(&one, 1, &wish, &blocks);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && strstr(status.text, "parked KV 51.0 MiB"));
    wish.park_in_file = true;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 350 && blocks.parked == 51);
    wish.park_bytes = -1;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.parked == 0);
    wish = (px_kv_wish){
        .context = 8192, .slots = 8, .park_bytes = (int64_t)(200 * MiB)}; /* pool left alone */
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks.pool == 200 && blocks.parked == 200);
}

PX_TEST(ranks_on_one_host_share_it_and_the_tightest_host_decides)
{
    px_memory_report ranks[3] = {
        report("alpha", 420 * MiB), report("alpha", 420 * MiB), report("beta", 420 * MiB)};
    px_kv_wish wish = {.tokens = 100 * 16, .context = 4096, .slots = 8};
    px_kv_blocks blocks;
    PX_CHECK_OK(px_kv_size(ranks, 3, &wish, &blocks)); /* alpha: 420 - 220 = 2 x 100 */
    PX_CHECK(blocks.pool == 100);
    wish.tokens++;
    px_status status = px_kv_size(ranks, 3, &wish, &blocks);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && strstr(status.text, "alpha"));
    ranks[2].available_bytes = 120 * MiB;
    wish.tokens = 11 * 16;
    status = px_kv_size(ranks, 3, &wish, &blocks);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && strstr(status.text, "beta"));
    PX_CHECK(px_memory_available() > MiB);
}

PX_TEST_MAIN()
