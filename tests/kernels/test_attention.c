/* test_attention.c - paged attention: every cache type, backend and ragged shape against scalar. */
#include "kernels_test.h"

enum { LONGEST = 8320 }; /* tokens */

/* A pool with its blocks in a shuffled order, as it would be after a while of serving. */
typedef struct cache {
    px_kv_layer kv;
    uint32_t blocks[LONGEST / PX_KV_BLOCK_TOKENS];
} cache;

typedef struct shape {
    uint32_t heads, kv_heads, k_dim, v_dim;
    uint32_t rows, context; /* the last `rows` positions of `context` */
    uint32_t window;
    float softcap;
    bool sinks;
    uint32_t head_begin, head_count; /* those of a rank; 0: all */
    bool v_in_k;                     /* the first dims of K are V, in one plane */
    bool v_is_k;                     /* the same values, but stored as ever */
    bool both_ways;                  /* the whole context is the prompt */
} shape;

static px_kv_plane make_plane(size_t share_bytes, uint32_t heads, uint32_t blocks)
{
    size_t bytes = share_bytes * heads * blocks;
    px_kv_plane plane = {aligned_bytes(bytes), share_bytes * blocks, share_bytes};
    memset(plane.base, 0, bytes);
    return plane;
}

static cache make_cache(px_dtype dtype, shape s)
{
    cache c = {.kv = {.dtype = dtype, .kv_heads = s.kv_heads, .k_dim = s.k_dim, .v_dim = s.v_dim}};
    uint32_t count = (s.context + PX_KV_BLOCK_TOKENS - 1) / PX_KV_BLOCK_TOKENS;
    c.kv.k = make_plane(px_dtype_bytes(dtype, PX_KV_BLOCK_TOKENS * s.k_dim), s.kv_heads, count);
    if (!s.v_in_k)
        c.kv.v = make_plane(px_dtype_bytes(dtype, PX_KV_BLOCK_TOKENS * s.v_dim), s.kv_heads, count);
    for (uint32_t i = 0; i < count; i++) c.blocks[i] = (i * 7 + 3) % count;
    if (count % 7 == 0) {
        for (uint32_t i = 0; i < count; i++) c.blocks[i] = count - 1 - i;
    }
    return c;
}

static void free_cache(cache *c)
{
    free(c->kv.k.base);
    free(c->kv.v.base);
}

/* The KV heads that the shape's query heads read. */
typedef struct kv_span {
    uint32_t begin, count;
} kv_span;

static kv_span kv_heads_of(shape s)
{
    uint32_t group = s.heads / s.kv_heads, end = s.head_begin + s.head_count;
    uint32_t begin = s.head_begin / group;
    return (kv_span){begin, (end + group - 1) / group - begin};
}

/* All of `context` stored, then attention for the rows in `parts` parts, `take` rows at a time. */
static float *attend(
    const px_kernels *kernels, px_dtype dtype, shape s, uint32_t take, uint32_t parts)
{
    if (!s.head_count) s.head_count = s.heads;
    uint32_t group = s.heads / s.kv_heads;
    kv_span kv = kv_heads_of(s);
    shape held = s;
    held.kv_heads = kv.count;
    cache c = make_cache(dtype, held);
    size_t k_cols = (size_t)s.kv_heads * s.k_dim, v_cols = (size_t)s.kv_heads * s.v_dim;
    float *k = random_floats(s.context * k_cols, 1), *v = random_floats(s.context * v_cols, 2);
    float *q = random_floats((size_t)s.rows * s.heads * s.k_dim, 3);
    float *sinks = random_floats(s.heads, 4);
    check_varies(k, s.context * k_cols);
    check_varies(q, (size_t)s.rows * s.heads * s.k_dim);
    for (uint32_t i = 0; (s.v_in_k || s.v_is_k) && i < s.context * s.kv_heads; i++)
        memcpy(v + (size_t)i * s.v_dim, k + (size_t)i * s.k_dim, s.v_dim * sizeof *v);
    px_kv_row *at = malloc(s.context * sizeof *at);
    for (uint32_t i = 0; i < s.context; i++)
        at[i] = (px_kv_row){.blocks = c.blocks, .position = i, .prompt = s.context};
    px_kv_store store = {
        &c.kv, at, k + kv.begin * s.k_dim, v + kv.begin * s.v_dim, k_cols, v_cols, s.context};
    IN_PARTS(kernels->kv_store, &store, parts);

    size_t out_cols = (size_t)s.head_count * s.v_dim;
    float *out = malloc(s.rows * out_cols * sizeof *out);
    for (uint32_t row = 0; row < s.rows; row += take) {
        px_attention op = {.kv = &c.kv,
            .at = at + s.context - s.rows + row,
            .q = q + ((size_t)row * s.heads + s.head_begin) * s.k_dim,
            .out = out + row * out_cols,
            .q_stride = (size_t)s.heads * s.k_dim,
            .out_stride = out_cols,
            .rows = s.rows - row < take ? s.rows - row : take,
            .heads = s.head_count,
            .group = group,
            .head_offset = s.head_begin - kv.begin * group,
            .scale = 1.7f / sqrtf((float)s.k_dim),
            .softcap = s.softcap,
            .window = s.window,
            .both_ways = s.both_ways,
            .sinks = s.sinks ? sinks + s.head_begin : NULL,
            .position_max = s.context - 1};
        op.scratch = malloc((kernels->attention_scratch_floats(&op) * parts + 1) * sizeof(float));
        attend_in_parts(kernels, &op, parts);
        free(op.scratch);
    }
    free(at);
    free(k);
    free(v);
    free(q);
    free(sinks);
    free_cache(&c);
    return out;
}

static const shape shapes[] = {
    {.heads = 1, .kv_heads = 1, .k_dim = 32, .v_dim = 32, .rows = 1, .context = 1},
    {.heads = 9, .kv_heads = 3, .k_dim = 64, .v_dim = 64, .rows = 37, .context = 150},
    {.heads = 9, .kv_heads = 3, .k_dim = 64, .v_dim = 64, .rows = 1, .context = 515},
    {.heads = 4, .kv_heads = 2, .k_dim = 96, .v_dim = 32, .rows = 5, .context = 66, .sinks = true},
    {.heads = 8, .kv_heads = 8, .k_dim = 32, .v_dim = 64, .rows = 20, .context = 20, .window = 7},
    {.heads = 6, .kv_heads = 1, .k_dim = 32, .v_dim = 32, .rows = 70, .context = 300, .window = 65},
    {.heads = 2, .kv_heads = 1, .k_dim = 128, .v_dim = 128, .rows = 3, .context = 64, .softcap = 2},
    {.heads = 40, .kv_heads = 1, .k_dim = 32, .v_dim = 32, .rows = 2, .context = 18, .sinks = true},
    {.heads = 3, .kv_heads = 1, .k_dim = 32, .v_dim = 32, .rows = 6, .context = 1027},
    {.heads = 2, .kv_heads = 1, .k_dim = 32, .v_dim = 32, .rows = 4, .context = 8194},
    {.heads = 2, .kv_heads = 2, .k_dim = 32, .v_dim = 32, .rows = 8, .context = 1028, .window = 9},
    {.heads = 3,
        .kv_heads = 1,
        .k_dim = 32,
        .v_dim = 32,
        .rows = 300,
        .context = 300,
        .window = 65,
        .both_ways = true},
    {.heads = 4,
        .kv_heads = 2,
        .k_dim = 64,
        .v_dim = 64,
        .rows = 9,
        .context = 530,
        .softcap = 5,
        .both_ways = true},
    {.heads = 4,
        .kv_heads = 2,
        .k_dim = 32,
        .v_dim = 32,
        .rows = 2,
        .context = 900,
        .window = 16,
        .softcap = 30,
        .sinks = true},
    {.heads = 16,
        .kv_heads = 1,
        .k_dim = 96,
        .v_dim = 64,
        .rows = 1,
        .context = 700,
        .v_in_k = true},
    {.heads = 5, .kv_heads = 1, .k_dim = 96, .v_dim = 96, .rows = 9, .context = 77, .v_in_k = true},
};
/* Dims that are not whole blocks of 32: not for Q8_0. */
static const shape odd_shapes[] = {
    {.heads = 9, .kv_heads = 3, .k_dim = 8, .v_dim = 8, .rows = 30, .context = 30},
    {.heads = 4, .kv_heads = 2, .k_dim = 24, .v_dim = 24, .rows = 9, .context = 40, .window = 12},
    {.heads = 3, .kv_heads = 3, .k_dim = 7, .v_dim = 13, .rows = 11, .context = 70},
    {.heads = 10, .kv_heads = 2, .k_dim = 80, .v_dim = 72, .rows = 4, .context = 130},
    {.heads = 7,
        .kv_heads = 1,
        .k_dim = 27,
        .v_dim = 20,
        .rows = 33,
        .context = 90,
        .v_in_k = true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, ODD = sizeof odd_shapes / sizeof *odd_shapes };
static const px_dtype types[] = {PX_F32, PX_F16, PX_BF16, PX_Q8_0};

static void check_shape(const px_kernels *kernels, px_dtype dtype, shape s)
{
    float *want = attend(px_kernels_scalar(), dtype, s, s.rows, 1);
    float *got = attend(kernels, dtype, s, s.rows, 3);
    size_t count = (size_t)s.rows * s.heads * s.v_dim;
    double worst = 0;
    for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    if (!(worst <= TOLERANCE_ATTENTION)) {
        printf("%s %s: heads %u/%u, dims %u/%u, rows %u of %u, window %u: error %.2e\n",
            kernels->name, px_dtype_of(dtype)->name, s.heads, s.kv_heads, s.k_dim, s.v_dim, s.rows,
            s.context, s.window, worst);
    }
    PX_CHECK(worst <= TOLERANCE_ATTENTION);
    check_varies(want, count);
    free(want);
    free(got);
}

PX_TEST(values_within_keys_are_values)
{
    shape s = {.heads = 6, .kv_heads = 1, .k_dim = 96, .v_dim = 64, .rows = 5, .context = 70};
    for (int t = 0; t < 4; t++) {
        s.v_is_k = true, s.v_in_k = false;
        float *want = attend(px_kernels_scalar(), types[t], s, s.rows, 1);
        s.v_is_k = false, s.v_in_k = true;
        float *got = attend(px_kernels_scalar(), types[t], s, s.rows, 1);
        PX_CHECK(memcmp(want, got, sizeof *want * s.rows * s.heads * s.v_dim) == 0);
        free(want);
        free(got);
    }
}

PX_TEST(agrees_with_scalar_for_every_cache_type_and_ragged_shape)
{
    const px_kernels *all[BACKENDS];
    int backend_count = backends(all);
    for (int b = 1; b < backend_count; b++) {
        for (int t = 0; t < 4; t++) {
            for (int s = 0; s < SHAPES; s++) check_shape(all[b], types[t], shapes[s]);
            for (int s = 0; s < ODD && types[t] != PX_Q8_0; s++) {
                check_shape(all[b], types[t], odd_shapes[s]);
            }
        }
    }
}

/* One row and one KV head: only its positions can be shared out. */
PX_TEST(a_long_context_is_shared_out_between_parts)
{
    enum { HEADS = 2, DIM = 32, TOKENS = 2000, PARTS = 3 };
    const px_kernels *all[BACKENDS];
    int backend_count = backends(all);
    for (int b = 1; b < backend_count; b++) {
        const px_kernels *kernels = all[b];
        cache c = make_cache(
            PX_F16, (shape){.kv_heads = 1, .k_dim = DIM, .v_dim = DIM, .context = TOKENS});
        float *k = random_floats(TOKENS * DIM, 1), *q = random_floats(HEADS * DIM, 3);
        px_kv_row at[TOKENS];
        for (uint32_t i = 0; i < TOKENS; i++)
            at[i] = (px_kv_row){.blocks = c.blocks, .position = i};
        kernels->kv_store(&(px_kv_store){&c.kv, at, k, k, DIM, DIM, TOKENS}, (px_part){0, 1, NULL});
        float alone[HEADS * DIM], shared[HEADS * DIM];
        px_attention op = {.kv = &c.kv,
            .at = at + TOKENS - 1,
            .q = q,
            .out = alone,
            .rows = 1,
            .heads = HEADS,
            .group = HEADS,
            .scale = 0.2f,
            .position_max = TOKENS - 1};
        op.scratch = malloc(kernels->attention_scratch_floats(&op) * PARTS * sizeof(float));
        PX_CHECK(!kernels->attention(&op, (px_part){0, 1, NULL}));
        op.out = shared;
        for (uint32_t p = 0; p < PARTS; p++) {
            memset(shared, 0, sizeof shared);
            PX_CHECK(kernels->attention(&op, (px_part){p, PARTS, NULL}));
            PX_CHECK(shared[0] == 0); /* nobody sees enough to be done */
        }
        IN_PARTS(kernels->attention_merge, &op, PARTS);
        PX_CHECK(memcmp(shared, alone, sizeof alone) == 0);
        free(op.scratch);
        free(k);
        free(q);
        free_cache(&c);
    }
}

/* The spelled-out definition, for scalar itself: one head, float32 cache. */
PX_TEST(scalar_is_softmax_over_what_a_row_sees)
{
    enum { CONTEXT = 20, DIM = 8 };
    shape s = {.heads = 1,
        .kv_heads = 1,
        .k_dim = DIM,
        .v_dim = DIM,
        .rows = 1,
        .context = CONTEXT,
        .window = 6,
        .softcap = 3,
        .sinks = true};
    float *got = attend(px_kernels_scalar(), PX_F32, s, 1, 1);
    float *k = random_floats(CONTEXT * DIM, 1), *v = random_floats(CONTEXT * DIM, 2);
    float *q = random_floats(DIM, 3), *sink = random_floats(1, 4);
    double total = exp((double)sink[0]), want[DIM] = {0};
    for (int p = CONTEXT - 6; p < CONTEXT; p++) {
        double score = 0;
        for (int d = 0; d < DIM; d++) score += (double)q[d] * (double)k[p * DIM + d];
        double weight = exp(3 * tanh(score * (double)(1.7f / sqrtf(DIM)) / 3));
        total += weight;
        for (int d = 0; d < DIM; d++) want[d] += weight * (double)v[p * DIM + d];
    }
    for (int d = 0; d < DIM; d++) PX_CHECK(fabs((double)got[d] - want[d] / total) < 1e-6);
    free(got);
    free(k);
    free(v);
    free(q);
    free(sink);
}

/* The same where a row sees both ways: the third of six rows, less than `window` away. */
PX_TEST(scalar_sees_what_comes_after_where_asked)
{
    enum { CONTEXT = 6, DIM = 8, ROW = 2 };
    for (uint32_t window = 0; window < 4; window++) {
        shape s = {.heads = 1,
            .kv_heads = 1,
            .k_dim = DIM,
            .v_dim = DIM,
            .rows = CONTEXT,
            .context = CONTEXT,
            .window = window,
            .both_ways = true};
        float *got = attend(px_kernels_scalar(), PX_F32, s, CONTEXT, 1);
        float *k = random_floats(CONTEXT * DIM, 1), *v = random_floats(CONTEXT * DIM, 2);
        float *q = random_floats(CONTEXT * DIM, 3);
        double total = 0, want[DIM] = {0};
        for (int p = 0; p < CONTEXT; p++) {
            if (window && abs(p - ROW) >= (int)window) continue;
            double score = 0;
            for (int d = 0; d < DIM; d++)
                score += (double)q[ROW * DIM + d] * (double)k[p * DIM + d];
            double weight = exp(score * (double)(1.7f / sqrtf(DIM)));
            total += weight;
            for (int d = 0; d < DIM; d++) want[d] += weight * (double)v[p * DIM + d];
        }
        for (int d = 0; d < DIM; d++)
            PX_CHECK(fabs((double)got[ROW * DIM + d] - want[d] / total) < 1e-6);
        free(got);
        free(k);
        free(v);
        free(q);
    }
}

PX_TEST(a_row_does_not_depend_on_its_batch_or_the_parts)
{
    const px_kernels *all[BACKENDS];
    int backend_count = backends(all);
    for (int b = 0; b < backend_count; b++) {
        for (int t = 0; t < 4; t++) {
            for (int i = 0; i < SHAPES + (types[t] == PX_Q8_0 ? 0 : ODD); i++) {
                shape s = i < SHAPES ? shapes[i] : odd_shapes[i - SHAPES];
                size_t bytes = (size_t)s.rows * s.heads * s.v_dim * sizeof(float);
                float *together = attend(all[b], types[t], s, s.rows, 1);
                for (uint32_t take = 1; take <= s.rows; take = take * 3 + 1) {
                    float *apart = attend(all[b], types[t], s, take, 1 + take % 5);
                    PX_CHECK(memcmp(apart, together, bytes) == 0);
                    free(apart);
                }
                free(together);
            }
        }
    }
}

/* A rank's heads, cut anywhere in a KV group, over the KV heads that they read. */
PX_TEST(heads_cut_inside_a_group_have_the_bits_of_the_whole)
{
    const px_kernels *all[BACKENDS];
    int backend_count = backends(all);
    for (int i = 0; i < backend_count * SHAPES; i++) {
        shape s = shapes[i / backend_count];
        const px_kernels *kernels = all[i % backend_count];
        float *together = attend(kernels, PX_F16, s, s.rows, 1);
        uint32_t heads = s.heads, cuts[] = {0, (heads + 1) / 2, heads - heads / 4, heads};
        for (int c = 0; c < 3; c++) {
            s.head_begin = cuts[c], s.head_count = cuts[c + 1] - cuts[c];
            if (!s.head_count) continue;
            float *apart = attend(kernels, PX_F16, s, s.rows, 2);
            size_t width = (size_t)s.head_count * s.v_dim;
            for (size_t row = 0; row < s.rows; row++)
                PX_CHECK(
                    memcmp(apart + row * width, together + (row * heads + s.head_begin) * s.v_dim,
                        width * sizeof(float)) == 0);
            free(apart);
        }
        free(together);
    }
}

/* Rows of several sequences in one batch, a prompt among them, against each alone. */
PX_TEST(sequences_in_one_batch_do_not_disturb_each_other)
{
    const px_kernels *all[BACKENDS];
    int backend_count = backends(all);
    enum { HEADS = 6, KV_HEADS = 2, DIM = 32, SEQUENCES = 3, TOKENS = 48, ROWS = TOKENS + 2 };
    static const uint32_t blocks[SEQUENCES][3] = {{4, 0, 7}, {1, 8, 2}, {6, 3, 5}};
    for (int b = 0; b < backend_count; b++) {
        const px_kernels *kernels = all[b];
        size_t share_bytes = px_dtype_bytes(PX_F16, PX_KV_BLOCK_TOKENS * DIM);
        px_kv_layer kv = {make_plane(share_bytes, KV_HEADS, 9),
            make_plane(share_bytes, KV_HEADS, 9), PX_F16, KV_HEADS, DIM, DIM};
        size_t cols = KV_HEADS * DIM;
        float *k = random_floats(SEQUENCES * TOKENS * cols, 1);
        float *v = random_floats(SEQUENCES * TOKENS * cols, 2);
        px_kv_row at[SEQUENCES * TOKENS];
        for (uint32_t i = 0; i < SEQUENCES * TOKENS; i++) {
            at[i] = (px_kv_row){.blocks = blocks[i / TOKENS], .position = i % TOKENS};
        }
        kernels->kv_store(
            &(px_kv_store){&kv, at, k, v, cols, cols, SEQUENCES * TOKENS}, (px_part){0, 1, NULL});

        px_kv_row batch[ROWS];
        batch[0] = at[20];
        for (int i = 0; i < TOKENS; i++) batch[1 + i] = at[TOKENS + i];
        batch[ROWS - 1] = at[2 * TOKENS + 47];
        float *q = random_floats((size_t)ROWS * HEADS * DIM, 3);
        float *together = malloc(ROWS * HEADS * DIM * sizeof *together);
        float alone[HEADS * DIM];
        px_attention op = {.kv = &kv,
            .at = batch,
            .q = q,
            .out = together,
            .q_stride = HEADS * DIM,
            .out_stride = HEADS * DIM,
            .rows = ROWS,
            .heads = HEADS,
            .group = HEADS / KV_HEADS,
            .scale = 0.2f,
            .position_max = TOKENS - 1};
        op.scratch = malloc((kernels->attention_scratch_floats(&op) * 2 + 1) * sizeof(float));
        attend_in_parts(kernels, &op, 2);
        for (size_t r = 0; r < ROWS; r++) {
            px_attention one = op;
            one.at = batch + r, one.q = q + r * HEADS * DIM, one.out = alone, one.rows = 1;
            kernels->attention(&one, (px_part){0, 1, NULL});
            PX_CHECK(memcmp(alone, together + r * HEADS * DIM, sizeof alone) == 0);
        }
        free(op.scratch);
        free(q);
        free(together);
        free(k);
        free(v);
        free(kv.k.base);
        free(kv.v.base);
    }
}

PX_TEST_MAIN()
