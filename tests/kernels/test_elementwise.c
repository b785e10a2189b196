/* test_elementwise.c - norms, activations, rope, residuals, embeddings: every backend and ragged
 * shape against scalar, and scalar against the definitions. */
#include "kernels_test.h"

static const uint32_t widths[] = {1, 3, 8, 15, 64, 100, 576, 1537};
enum { WIDTHS = sizeof widths / sizeof *widths, ROWS = 5, GAP = 3 };

/* |got - want| <= tolerance * max(1, |want|) everywhere, NaN never. */
static void check_close(const char *what, const px_kernels *kernels, const float *got,
    const float *want, size_t count, double tolerance)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        double error = fabs((double)got[i] - (double)want[i]) / fmax(1, fabs((double)want[i]));
        if (!(error <= worst)) worst = error;
    }
    if (!(worst <= tolerance)) {
        printf("%s %s: error %.2e, tolerance %.0e\n", kernels->name, what, worst, tolerance);
    }
    PX_CHECK(worst <= tolerance);
}

PX_TEST(rmsnorm_agrees_with_scalar)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        for (int w = 0; w < WIDTHS; w++) {
            for (uint32_t groups = 1; groups <= 3; groups += 2) {
                size_t stride = (size_t)widths[w] * groups + GAP, size = ROWS * stride;
                float *x = random_floats(size, 1), *weight = random_floats(widths[w], 2);
                float *want = random_floats(size, 3), *got = random_floats(size, 3);
                px_rmsnorm op = {x, groups == 1 ? weight : NULL, want, stride, stride, ROWS, groups,
                    widths[w], 1e-5f, groups == 1 ? 1.0f : 0.0f};
                IN_PARTS(px_kernels_scalar()->rmsnorm, &op, 1);
                op.y = got;
                IN_PARTS(all[b]->rmsnorm, &op, 3);
                check_close("rmsnorm", all[b], got, want, size, TOLERANCE_NORM);
                op.x = op.y = x; /* in place */
                IN_PARTS(all[b]->rmsnorm, &op, 2);
                for (uint32_t r = 0; r < ROWS; r++) {
                    PX_CHECK(memcmp(x + r * stride, got + r * stride,
                                 (size_t)widths[w] * groups * sizeof *x) == 0);
                }
                free(x);
                free(weight);
                free(want);
                free(got);
            }
        }
    }
}

PX_TEST(scalar_rmsnorm_is_the_definition)
{
    float x[4] = {1, -2, 3, -4}, weight[4] = {0.5f, 1, 2, -1}, y[4];
    px_rmsnorm op = {x, weight, y, 4, 4, 1, 1, 4, 0.5f, 1};
    px_kernels_scalar()->rmsnorm(&op, (px_part){0, 1, NULL});
    for (int i = 0; i < 4; i++) {
        double want = (double)x[i] / sqrt(30.0 / 4 + 0.5) * (1 + (double)weight[i]);
        PX_CHECK(fabs((double)y[i] - want) < 1e-6);
    }
}

PX_TEST(add_agrees_with_scalar)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        for (int w = 0; w < WIDTHS; w++) {
            size_t stride = widths[w] + GAP, size = ROWS * stride;
            float *x = random_floats(size, 1);
            float *want = random_floats(size, 3), *got = random_floats(size, 3);
            check_varies(x, size);
            px_add op = {x, want, ROWS, widths[w], stride, stride, 0.7f};
            IN_PARTS(px_kernels_scalar()->add, &op, 1);
            op.y = got;
            IN_PARTS(all[b]->add, &op, 2);
            check_close("add", all[b], got, want, size, TOLERANCE_ADD);
            free(x);
            free(want);
            free(got);
        }
    }
}

PX_TEST(glu_agrees_with_scalar_over_the_whole_range)
{
    static const float sizes[] = {1, 12, 120, 3e4f};
    static const px_activation kinds[] = {
        PX_SILU, PX_GELU_TANH, PX_GELU_ERF, PX_RELU, PX_SWIGLU_OAI};
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        for (int w = 0; w < WIDTHS; w++) {
            for (int k = 0; k < 20; k++) {
                size_t stride = widths[w] + GAP, size = ROWS * stride;
                float *gate = random_floats(size, 1), *up = random_floats(size, 2);
                float *want = random_floats(size, 3), *got = random_floats(size, 3);
                for (size_t i = 0; i < size; i++) gate[i] *= sizes[k / 5];
                px_glu op = {
                    gate, up, want, ROWS, widths[w], stride, stride, stride, kinds[k % 5], 7, 1.9f};
                IN_PARTS(px_kernels_scalar()->glu, &op, 1);
                op.y = got;
                IN_PARTS(all[b]->glu, &op, 4);
                check_close("glu", all[b], got, want, size, TOLERANCE_GLU);
                free(gate);
                free(up);
                free(want);
                free(got);
            }
        }
    }
}

PX_TEST(scalar_glu_is_the_definition)
{
    float gate[5] = {-9, -0.5f, 0, 2, 30}, up[5] = {1, 2, 3, -40, 0.25f}, y[5];
    px_glu op = {gate, up, y, 1, 5, 5, 5, 5, PX_SILU, 0};
    px_kernels_scalar()->glu(&op, (px_part){0, 1, NULL});
    for (int i = 0; i < 5; i++) {
        double g = (double)gate[i];
        PX_CHECK(fabs((double)y[i] - g / (1 + exp(-g)) * (double)up[i]) < 1e-5);
    }
    op.activation = PX_SWIGLU_OAI, op.limit = 7, op.alpha = 1.702f;
    px_kernels_scalar()->glu(&op, (px_part){0, 1, NULL});
    PX_CHECK(fabsf(y[3] - 2 / (1 + expf(-1.702f * 2)) * (-7 + 1)) < 1e-5f);
    PX_CHECK(fabsf(y[4] - 7 / (1 + expf(-1.702f * 7)) * 1.25f) < 1e-5f);
    op.activation = PX_RELU;
    px_kernels_scalar()->glu(&op, (px_part){0, 1, NULL});
    PX_CHECK(y[0] == 0 && y[1] == 0 && y[3] == -80 && y[4] == 7.5f);
    op.activation = PX_GELU_ERF;
    px_kernels_scalar()->glu(&op, (px_part){0, 1, NULL});
    PX_CHECK(fabsf(y[1] - 2 * -0.5f * 0.5f * (1 + erff(-0.5f / sqrtf(2)))) < 1e-6f);
}

PX_TEST(rope_agrees_with_scalar)
{
    static const struct {
        uint32_t head_dim, dims, offset;
        bool interleaved;
    } shapes[] = {{64, 64, 0, false}, {64, 64, 0, true}, {96, 24, 0, false}, {80, 20, 5, false},
        {8, 8, 0, false}, {24, 24, 0, true}, {64, 6, 58, true}, {128, 70, 0, false}};
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            enum { HEADS = 3 };
            size_t stride = HEADS * shapes[s].head_dim + GAP, size = ROWS * stride;
            uint32_t half = shapes[s].dims / 2;
            float *cosine = random_floats(ROWS * half, 1), *sine = random_floats(ROWS * half, 2);
            float *want = random_floats(size, 3), *got = random_floats(size, 3);
            px_rope op = {want, stride, cosine, sine, ROWS, HEADS, shapes[s].head_dim,
                shapes[s].dims, shapes[s].offset, shapes[s].interleaved};
            IN_PARTS(px_kernels_scalar()->rope, &op, 1);
            op.x = got;
            IN_PARTS(all[b]->rope, &op, 4);
            check_close("rope", all[b], got, want, size, TOLERANCE_ROPE);
            free(cosine);
            free(sine);
            free(want);
            free(got);
        }
    }
}

PX_TEST(scalar_rope_turns_pairs)
{
    float cosine[2] = {0, 0.6f}, sine[2] = {1, 0.8f};
    float halves[5] = {9, 1, 2, 3, 4}, pairs[5] = {9, 1, 2, 3, 4};
    px_rope op = {halves, 5, cosine, sine, 1, 1, 5, 4, 1, false};
    px_kernels_scalar()->rope(&op, (px_part){0, 1, NULL});
    op.x = pairs, op.interleaved = true;
    px_kernels_scalar()->rope(&op, (px_part){0, 1, NULL});
    const float want_halves[5] = {9, -3, 2 * 0.6f - 4 * 0.8f, 1, 4 * 0.6f + 2 * 0.8f};
    const float want_pairs[5] = {9, -2, 1, 3 * 0.6f - 4 * 0.8f, 4 * 0.6f + 3 * 0.8f};
    for (int i = 0; i < 5; i++) {
        PX_CHECK(fabsf(halves[i] - want_halves[i]) < 1e-6f);
        PX_CHECK(fabsf(pairs[i] - want_pairs[i]) < 1e-6f);
    }
}

PX_TEST(embed_takes_scaled_rows_of_the_table)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    enum { TABLE = 9, COLS = 64 };
    static const uint32_t ids[4] = {8, 0, 3, 3};
    float *table = random_floats(TABLE * COLS, 1), want[COLS];
    for (int b = 0; b < count; b++) {
        static const px_dtype types[] = {PX_F32, PX_F16, PX_Q8_0};
        for (int t = 0; t < 3; t++) {
            size_t row_bytes = px_dtype_bytes(types[t], COLS);
            unsigned char *file = malloc(row_bytes * TABLE);
            float y[4 * COLS];
            for (size_t r = 0; r < TABLE; r++) {
                px_dtype_from_f32(types[t], table + r * COLS, file + r * row_bytes, COLS);
            }
            px_matrix w = {types[t], TABLE, COLS, 0, row_bytes, file};
            px_embed op = {&w, ids, 4, 3.0f, y};
            IN_PARTS(all[b]->embed, &op, 3);
            for (size_t i = 0; i < 4; i++) {
                px_dtype_to_f32(types[t], file + ids[i] * row_bytes, want, COLS);
                for (size_t c = 0; c < COLS; c++) PX_CHECK(y[i * COLS + c] == 3 * want[c]);
            }
            free(file);
        }
    }
    free(table);
}

PX_TEST(tables_are_complete_and_found_by_name)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 0; b < count; b++) {
        PX_CHECK(px_kernels_find(all[b]->name) == all[b]);
        const px_kernels *k = all[b];
        PX_CHECK(k->act_kind && k->act_row_bytes && k->pack_bytes && k->pack && k->prepare &&
                 k->matmul && k->embed && k->rmsnorm && k->add && k->glu && k->rope &&
                 k->kv_store && k->attention_scratch_floats && k->attention && k->attention_merge);
    }
    /* The best there is, but not the one that gives up accuracy. */
    const px_kernels *best = all[px_kernels_avx512_bf16() ? count - 2 : count - 1];
    PX_CHECK(px_kernels_find(NULL) == best && px_kernels_find("auto") == best);
    PX_CHECK(!px_kernels_find("sse9"));
}

PX_TEST_MAIN()
