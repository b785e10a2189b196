/* test_kvpool.c - blocks are distinct memory, all or none, and the pool's size is plain arithmetic.
 */
#include "engine/kv/kvpool.h"
#include "engine/kv/kvsize.h"
#include "test.h"

static const px_kv_shape shape = {.layers = 3, .kv_heads = 2, .k_dim = 32, .v_dim = 64};

PX_TEST(no_two_planes_overlap)
{
    enum { BLOCKS = 5 };
    px_kvpool *pool;
    PX_REQUIRE(px_is_ok(px_kvpool_create(shape, PX_F16, BLOCKS, &pool)));
    const px_kv_layer *layers = px_kvpool_layers(pool);
    size_t k_bytes = 2 * PX_KV_BLOCK_TOKENS * 32 * 2, v_bytes = 2 * PX_KV_BLOCK_TOKENS * 64 * 2;
    PX_CHECK(px_kvpool_block_bytes(shape, PX_F16) == 3 * (k_bytes + v_bytes));
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t b = 0; b < BLOCKS; b++) {
            memset(layers[i].k + b * layers[i].k_block_bytes, (int)(1 + i * BLOCKS + b), k_bytes);
            memset(layers[i].v + b * layers[i].v_block_bytes, (int)(101 + i * BLOCKS + b), v_bytes);
        }
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t b = 0; b < BLOCKS; b++) {
            const unsigned char *k = layers[i].k + b * layers[i].k_block_bytes;
            const unsigned char *v = layers[i].v + b * layers[i].v_block_bytes;
            PX_CHECK(k[0] == 1 + i * BLOCKS + b && k[k_bytes - 1] == k[0]);
            PX_CHECK(v[0] == 101 + i * BLOCKS + b && v[v_bytes - 1] == v[0]);
        }
    px_kvpool_free(pool);
}

PX_TEST(acquire_is_all_or_none_and_takes_freed_blocks_first)
{
    px_kvpool *pool;
    uint32_t ids[8] = {77}, more[2];
    PX_REQUIRE(px_is_ok(px_kvpool_create(shape, PX_F32, 6, &pool)));
    px_status status = px_kvpool_acquire(pool, 7, ids);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED && ids[0] == 77);
    PX_CHECK(px_kvpool_blocks_free(pool) == 6);
    PX_CHECK_OK(px_kvpool_acquire(pool, 6, ids));
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++) PX_CHECK(ids[i] < 6 && ids[i] != ids[j]);
    PX_CHECK(px_kvpool_acquire(pool, 1, more).code == PX_RESOURCE_EXHAUSTED);
    px_kvpool_release(pool, ids + 2, 2);
    PX_CHECK_OK(px_kvpool_acquire(pool, 2, more));
    PX_CHECK(more[0] == ids[2] && more[1] == ids[3]);
    px_kvpool_free(pool);
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
    uint32_t blocks;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks == 64);
    wish.tokens++;
    px_status status = px_kv_size(&one, 1, &wish, &blocks);
    PX_CHECK(status.code == PX_RESOURCE_EXHAUSTED);
    PX_CHECK(strstr(status.text, "alpha") && strstr(status.text, "100.0 MiB") &&
             strstr(status.text, "65.0 MiB") && strstr(status.text, "1040 tokens") &&
             strstr(status.text, "174.0 MiB"));
    wish = (px_kv_wish){.tokens = 1 << 30, .context = 100, .slots = 2};
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks == 2 * 7); /* no use for more than a context for each slot */
}

PX_TEST(a_model_that_does_not_fit_at_all_is_refused)
{
    px_memory_report one = report("alpha", 90 * MiB);
    px_kv_wish wish = {.context = 512, .slots = 1};
    uint32_t blocks;
    PX_CHECK(px_kv_size(&one, 1, &wish, &blocks).code == PX_RESOURCE_EXHAUSTED);
}

PX_TEST(left_alone_the_pool_takes_a_share_and_at_least_a_context)
{
    px_memory_report one = report("alpha", (110 + 4000) * MiB);
    px_kv_wish wish = {.context = 4096, .slots = 64};
    uint32_t blocks;
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks == 1000);
    wish.context = 32768; /* 2048 blocks: more than the share, less than there is */
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks == 2048);
    wish.context = 131072; /* does not fit: a smaller pool, unless the context was asked for */
    PX_CHECK_OK(px_kv_size(&one, 1, &wish, &blocks));
    PX_CHECK(blocks == 4000);
    wish.context_wanted = true;
    PX_CHECK(px_kv_size(&one, 1, &wish, &blocks).code == PX_RESOURCE_EXHAUSTED);
    one = report("alpha", (110 + 127) * MiB); /* 2048 tokens are 128 blocks */
    wish.context_wanted = false;
    PX_CHECK(px_kv_size(&one, 1, &wish, &blocks).code == PX_RESOURCE_EXHAUSTED);
}

PX_TEST(ranks_on_one_host_share_it_and_the_tightest_host_decides)
{
    px_memory_report ranks[3] = {
        report("alpha", 420 * MiB), report("alpha", 420 * MiB), report("beta", 420 * MiB)};
    px_kv_wish wish = {.tokens = 100 * 16, .context = 4096, .slots = 8};
    uint32_t blocks;
    PX_CHECK_OK(px_kv_size(ranks, 3, &wish, &blocks)); /* alpha: 420 - 220 = 2 x 100 */
    PX_CHECK(blocks == 100);
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
