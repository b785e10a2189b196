/* test_matmul.c - products of every weight type, backend and ragged shape against scalar. */
#include "kernels_test.h"

static const px_dtype dtypes[] = {PX_F32, PX_F16, PX_BF16, PX_F8_E4M3, PX_F8_E5M2, PX_Q8_0, PX_Q4_0,
    PX_Q4_1, PX_Q5_0, PX_Q5_1, PX_Q2_K, PX_Q3_K, PX_Q4_K, PX_Q5_K, PX_Q6_K, PX_IQ4_NL, PX_IQ4_XS,
    PX_MXFP4, PX_SCALED_F8, PX_SCALED_F16, PX_SCALED_U4};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

/* A weight matrix as a file would hold it: random bytes where any bytes are legal quants, scales
 * of ordinary size, rows `gap` bytes apart and the first at an odd address. */
typedef struct file_matrix {
    px_dtype dtype;
    uint32_t rows, cols;
    size_t row_bytes;
    unsigned char *memory, *first;
} file_matrix;

static void put_half(unsigned char *at, float value)
{
    uint16_t half = px_f32_to_f16(value);
    memcpy(at, &half, 2);
}

/* A float32 scale, and codes that are numbers of ordinary size. */
static void fill_scaled(px_dtype dtype, unsigned char *block, unsigned *seed)
{
    float scale = 0.1f * (1.5f + random_float(seed));
    memcpy(block, &scale, sizeof scale);
    if (dtype == PX_SCALED_U4) block[4] %= 17;
    for (int i = 0; i < 32 && dtype == PX_SCALED_F8; i++) block[4 + i] &= 0xbf; /* never NaN */
    for (int i = 0; i < 32 && dtype == PX_SCALED_F16; i++) {
        put_half(block + 4 + 2 * i, random_float(seed));
    }
}

/* The float16 fields of a block, by type: what random bytes must not fill. */
static void fill_scales(px_dtype dtype, unsigned char *block, unsigned *seed)
{
    static const struct {
        int at[2];
        float size;
    } fields[PX_DTYPE_COUNT] = {
        [PX_Q8_0] = {{0, -1}, 0.01f},
        [PX_Q4_0] = {{0, -1}, 0.1f},
        [PX_Q4_1] = {{0, 2}, 0.1f},
        [PX_Q5_0] = {{0, -1}, 0.1f},
        [PX_Q5_1] = {{0, 2}, 0.1f},
        [PX_Q2_K] = {{80, 82}, 0.05f},
        [PX_Q3_K] = {{108, -1}, 0.02f},
        [PX_Q4_K] = {{0, 2}, 0.005f},
        [PX_Q5_K] = {{0, 2}, 0.005f},
        [PX_Q6_K] = {{208, -1}, 0.001f},
        [PX_IQ4_NL] = {{0, -1}, 0.01f},
        [PX_IQ4_XS] = {{0, -1}, 0.001f},
    };
    if (dtype == PX_MXFP4) {
        block[0] = (unsigned char)(120 + *seed % 8);
        return;
    }
    if (dtype == PX_SCALED_F8 || dtype == PX_SCALED_F16 || dtype == PX_SCALED_U4) {
        fill_scaled(dtype, block, seed);
        return;
    }
    for (int i = 0; i < 2; i++) {
        float size = fields[dtype].size * (1.5f + random_float(seed));
        if (fields[dtype].at[i] >= 0) put_half(block + fields[dtype].at[i], size);
    }
}

static file_matrix make_weights(px_dtype dtype, uint32_t rows, uint32_t cols)
{
    enum { GAP = 3 };
    const px_dtype_traits *traits = px_dtype_of(dtype);
    file_matrix m = {dtype, rows, cols, px_dtype_bytes(dtype, cols) + GAP, NULL, NULL};
    unsigned seed = 11 + (unsigned)dtype;
    m.memory = malloc(m.row_bytes * rows + 1);
    m.first = m.memory + 1;
    for (size_t i = 0; i < m.row_bytes * rows + 1; i++) {
        random_float(&seed);
        m.memory[i] = (unsigned char)(seed >> 16);
    }
    for (uint32_t r = 0; r < rows; r++) {
        unsigned char *block = m.first + r * m.row_bytes;
        for (uint32_t c = 0; c < cols; c += traits->block_elements, block += traits->block_bytes) {
            if (traits->block_elements > 1) {
                fill_scales(dtype, block, &seed);
            } else if (dtype == PX_F8_E4M3 || dtype == PX_F8_E5M2) {
                *block &= 0xbf; /* below 2, never NaN */
            } else {
                float value = random_float(&seed);
                px_dtype_from_f32(dtype, &value, block, 1);
            }
        }
    }
    return m;
}

/* The weights as a backend holds them. */
static px_matrix pack_weights(const px_kernels *kernels, const file_matrix *m, uint32_t parts)
{
    px_matrix out;
    px_pack op = {.dtype = m->dtype,
        .rows = m->rows,
        .cols = m->cols,
        .from = m->first,
        .from_row_bytes = m->row_bytes,
        .to = aligned_bytes(kernels->pack_bytes(m->dtype, m->rows, m->cols)),
        .out = &out};
    IN_PARTS(kernels->pack, &op, parts);
    PX_CHECK(out.rows == m->rows && out.cols == m->cols && out.dtype == m->dtype);
    if (kernels->pack_bytes(m->dtype, m->rows, m->cols) == 0) free(op.to);
    return out;
}

static void free_weights(const px_kernels *kernels, const file_matrix *m, px_matrix w)
{
    if (kernels->pack_bytes(m->dtype, m->rows, m->cols) != 0) free((void *)w.data);
}

typedef struct product {
    const float *x, *bias;
    uint32_t x_rows, parts;
    bool accumulate;
} product;

/* y [x_rows, w.rows + 1]: the column beyond must stay as it was. */
static float *multiply(const px_kernels *kernels, const px_matrix *w, product p)
{
    px_act act = {.kind = kernels->act_kind(w->dtype), .rows = p.x_rows, .cols = w->cols};
    act.row_bytes = kernels->act_row_bytes(act.kind, w->cols);
    act.data = aligned_bytes(act.row_bytes * p.x_rows);
    IN_PARTS(kernels->prepare, (&(px_prepare){.x = p.x, .x_stride = w->cols, .to = &act}), p.parts);

    size_t stride = w->rows + 1;
    float *y = malloc(p.x_rows * stride * sizeof *y);
    for (size_t i = 0; i < p.x_rows * stride; i++) y[i] = (float)(i % 7);
    px_matmul op = {w, &act, p.bias, y, stride, p.accumulate};
    IN_PARTS(kernels->matmul, &op, p.parts);
    for (size_t r = 0; r < p.x_rows; r++) {
        PX_CHECK(y[r * stride + w->rows] == (float)((r * stride + w->rows) % 7));
    }
    free(act.data);
    return y;
}

static double worst_error(
    const float *y, const float *want, const file_matrix *m, const float *x, uint32_t x_rows)
{
    float *row = malloc(m->cols * sizeof *row);
    double worst = 0;
    for (uint32_t o = 0; o < m->rows; o++) {
        px_dtype_to_f32(m->dtype, m->first + o * m->row_bytes, row, m->cols);
        double w_norm = norm(row, m->cols);
        for (uint32_t r = 0; r < x_rows; r++) {
            size_t at = (size_t)r * (m->rows + 1) + o;
            double size = w_norm * norm(x + (size_t)r * m->cols, m->cols) + 1e-9;
            worst = fmax(worst, fabs((double)y[at] - (double)want[at]) / size);
        }
    }
    free(row);
    return worst;
}

/* Integers that 8-bit activations hold exactly: each block of 32 reaches from -127 to 127, moved by
 * a whole number of its own. */
static float *exact_activations(uint32_t rows, uint32_t cols)
{
    float *x = random_floats((size_t)rows * cols, 5);
    for (size_t i = 0; i < (size_t)rows * cols; i++) {
        x[i] = rintf(x[i] * 127);
        if (i % 32 == (i / 32) % 31) x[i] = 127;
        if (i % 32 == (i / 32) % 31 + 1) x[i] = -127;
        x[i] += (float)(i / 32 % 5) * 40 - 70;
    }
    return x;
}

typedef struct shape {
    uint32_t rows, cols, x_rows;
} shape;

static void check_against_scalar(const px_kernels *kernels, px_dtype dtype, shape s)
{
    file_matrix m = make_weights(dtype, s.rows, s.cols);
    px_matrix w = pack_weights(kernels, &m, 3), spec = pack_weights(px_kernels_scalar(), &m, 1);
    px_act_kind kind = kernels->act_kind(dtype);
    float *exact = exact_activations(s.x_rows, s.cols);
    float *rough = random_floats((size_t)s.x_rows * s.cols, 9);
    float *bias = random_floats(s.rows, 3);
    check_varies(rough, (size_t)s.x_rows * s.cols);
    for (int variant = 0; variant < 4; variant++) {
        product p = {.x = variant & 1 ? rough : exact,
            .bias = variant & 2 ? bias : NULL,
            .x_rows = s.x_rows,
            .parts = 1 + (uint32_t)variant,
            .accumulate = variant >= 2};
        float *y = multiply(kernels, &w, p), *want = multiply(px_kernels_scalar(), &spec, p);
        double error = worst_error(y, want, &m, p.x, s.x_rows);
        double bound = kind == PX_ACT_F32    ? TOLERANCE_PRODUCT_FLOAT
                       : !(variant & 1)      ? TOLERANCE_PRODUCT_EXACT
                       : kind == PX_ACT_BF16 ? TOLERANCE_PRODUCT_BF16
                                             : TOLERANCE_PRODUCT_Q8;
        if (!(error <= bound)) {
            printf("%s %s [%u, %u] x %u rows, variant %d: error %.2e, bound %.2e\n", kernels->name,
                px_dtype_of(dtype)->name, s.rows, s.cols, s.x_rows, variant, error, bound);
        }
        PX_CHECK(error <= bound);
        free(y);
        free(want);
    }
    free(exact);
    free(rough);
    free(bias);
    free_weights(kernels, &m, w);
    free(m.memory);
}

PX_TEST(agrees_with_scalar_for_every_type_and_ragged_shape)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        for (int d = 0; d < DTYPES; d++) {
            uint32_t block = px_dtype_of(dtypes[d])->block_elements;
            uint32_t cols = block == 1 ? 37 : block;
            const shape shapes[] = {{1, cols, 1}, {8, cols, 4}, {16, 2 * cols, 13}, {7, cols, 2},
                {33, 3 * cols, 5}, {67, 2 * cols, 3}, {5, 3 * cols, 43}};
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                check_against_scalar(all[b], dtypes[d], shapes[s]);
            }
        }
    }
}

/* Activations too large for one slice of their rows, weights too wide for one run of columns. */
PX_TEST(agrees_with_scalar_when_matrices_are_larger_than_the_caches)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        check_against_scalar(all[b], PX_Q4_1, (shape){17, 16384, 70});
        check_against_scalar(all[b], PX_F16, (shape){49, 4099, 131});
        check_against_scalar(all[b], PX_F32, (shape){19, 4611, 13});
    }
}

/* Alone, a row takes all columns in one run; in a batch, sums wait between several. */
PX_TEST(a_row_does_not_depend_on_how_columns_are_cut)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    static const px_dtype types[] = {PX_F16, PX_BF16, PX_Q4_1, PX_Q6_K, PX_Q8_0, PX_SCALED_F16};
    enum { ROWS = 65, X_ROWS = 43, COLS = 12288 };
    float *x = random_floats((size_t)X_ROWS * COLS, 31);
    for (size_t d = 0; d < sizeof types / sizeof *types; d++) {
        file_matrix m = make_weights(types[d], ROWS, COLS);
        for (int b = 1; b < count; b++) {
            px_matrix w = pack_weights(all[b], &m, 2);
            float *many = multiply(all[b], &w, (product){.x = x, .x_rows = X_ROWS, .parts = 1});
            for (uint32_t r = 0; r < X_ROWS; r += 21) {
                product p = {.x = x + (size_t)r * COLS, .x_rows = 1, .parts = 2};
                float *alone = multiply(all[b], &w, p);
                const float *row = many + (size_t)r * (ROWS + 1);
                PX_CHECK(memcmp(alone, row, ROWS * sizeof *row) == 0);
                free(alone);
            }
            free(many);
            free_weights(all[b], &m, w);
        }
        free(m.memory);
    }
    free(x);
}

PX_TEST(a_row_does_not_depend_on_its_batch_or_the_parts)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    enum { ROWS = 45, X_ROWS = 43, COLS = 512 };
    float *x = random_floats((size_t)X_ROWS * COLS, 21);
    check_varies(x, (size_t)X_ROWS * COLS);
    for (int b = 0; b < count; b++) {
        for (int d = 0; d < DTYPES; d++) {
            file_matrix m = make_weights(dtypes[d], ROWS, COLS);
            px_matrix w = pack_weights(all[b], &m, 2);
            float *many = multiply(all[b], &w, (product){.x = x, .x_rows = X_ROWS, .parts = 1});
            for (uint32_t take = 1; take <= X_ROWS; take += take < 4 ? 1 : 5) {
                for (uint32_t first = 0; first + take <= X_ROWS; first += take) {
                    product p = {
                        .x = x + (size_t)first * COLS, .x_rows = take, .parts = 1 + first % 9};
                    float *few = multiply(all[b], &w, p);
                    for (uint32_t r = 0; r < take; r++) {
                        PX_CHECK(
                            memcmp(few + (size_t)r * (ROWS + 1),
                                many + (size_t)(first + r) * (ROWS + 1), ROWS * sizeof *many) == 0);
                    }
                    free(few);
                }
            }
            free(many);
            free_weights(all[b], &m, w);
            free(m.memory);
        }
    }
    free(x);
}

/* --- columns in another order --- */

PX_TEST(x_is_prepared_in_the_order_of_the_columns_that_read_it)
{
    enum { ROWS = 5, X_COLS = 70, COLS = 96, STRIDE = 101 };
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    uint32_t from[COLS];
    for (uint32_t c = 0; c < COLS; c++) from[c] = (c * 37 + 11) % X_COLS; /* some of them twice */
    float *x = random_floats((size_t)ROWS * X_COLS, 41),
          *to = random_floats((size_t)ROWS * STRIDE, 42);
    check_varies(x, (size_t)ROWS * X_COLS);
    for (int b = 0; b < count; b++) {
        px_act act = {
            .rows = ROWS, .cols = COLS, .row_bytes = STRIDE * sizeof *to, .data = to}; /* float32 */
        for (size_t i = 0; i < (size_t)ROWS * STRIDE; i++) to[i] = -2;
        px_prepare op = {.x = x, .x_stride = X_COLS, .to = &act, .from = from};
        IN_PARTS(all[b]->prepare, &op, 3);
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t c = 0; c < COLS; c++)
                PX_CHECK(to[r * STRIDE + c] == x[r * X_COLS + from[c]]);
            PX_CHECK(to[r * STRIDE + COLS] == -2);
        }
    }
    free(to);
    free(x);
}

/* --- shared out over ranks --- */

enum { RANKS_ROWS = 53, RANKS_X_ROWS = 13, RANKS_COLS = 1024 };

/* x prepared in two parts, as ranks do that each made some columns of it. */
static px_act prepare_in_parts(const px_kernels *kernels, px_act_kind kind, const float *x)
{
    px_act act = {.kind = kind, .rows = RANKS_X_ROWS, .cols = RANKS_COLS};
    act.row_bytes = kernels->act_row_bytes(kind, RANKS_COLS);
    act.data = aligned_bytes(act.row_bytes * RANKS_X_ROWS);
    const uint32_t ends[] = {0, PX_ACT_BLOCK * 5, RANKS_COLS};
    for (int i = 0; i < 2; i++) {
        px_act part = act;
        part.cols = ends[i + 1] - ends[i];
        part.data = (unsigned char *)act.data + kernels->act_row_bytes(kind, ends[i]);
        kernels->prepare(&(px_prepare){.x = x + ends[i], .x_stride = RANKS_COLS, .to = &part},
            (px_part){.index = 0, .count = 1});
    }
    return act;
}

/* The rows of W from `begin` to `end`, packed by themselves, by x: into their columns of y. */
static void multiply_rows(const px_kernels *kernels, const file_matrix *m, const px_act *x,
    uint32_t begin, uint32_t end, float *y)
{
    file_matrix share = *m;
    share.first += begin * m->row_bytes;
    share.rows = end - begin;
    px_matrix w = pack_weights(kernels, &share, 2);
    px_matmul op = {.w = &w, .x = x, .y = y + begin, .y_stride = m->rows};
    IN_PARTS(kernels->matmul, &op, 3);
    free_weights(kernels, &share, w);
}

PX_TEST(ranks_that_share_out_the_rows_of_a_matrix_make_the_same_bits)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    float *x = random_floats((size_t)RANKS_X_ROWS * RANKS_COLS, 77);
    check_varies(x, (size_t)RANKS_X_ROWS * RANKS_COLS);
    for (int b = 0; b < count; b++) {
        for (int d = 0; d < DTYPES; d++) {
            file_matrix m = make_weights(dtypes[d], RANKS_ROWS, RANKS_COLS);
            px_matrix w = pack_weights(all[b], &m, 1);
            float *whole =
                multiply(all[b], &w, (product){.x = x, .x_rows = RANKS_X_ROWS, .parts = 1});
            px_act act = prepare_in_parts(all[b], all[b]->act_kind(dtypes[d]), x);
            for (uint32_t cut = 1; cut < RANKS_ROWS; cut += 1 + cut / 8) {
                float y[RANKS_X_ROWS * RANKS_ROWS];
                multiply_rows(all[b], &m, &act, 0, cut, y);
                multiply_rows(all[b], &m, &act, cut, RANKS_ROWS, y);
                for (size_t r = 0; r < RANKS_X_ROWS; r++) {
                    PX_CHECK(memcmp(y + r * RANKS_ROWS, whole + r * (RANKS_ROWS + 1),
                                 RANKS_ROWS * sizeof *y) == 0);
                }
            }
            free(act.data);
            free(whole);
            free_weights(all[b], &m, w);
            free(m.memory);
        }
    }
    free(x);
}

PX_TEST(rows_of_zeros_and_huge_values_stay_what_they_are)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 0; b < count; b++) {
        for (int d = 0; d < DTYPES; d++) {
            file_matrix m = make_weights(dtypes[d], 9, 256);
            px_matrix w = pack_weights(all[b], &m, 1);
            float x[2 * 256] = {0};
            for (int i = 256; i < 512; i++) x[i] = 1e30f;
            float *y = multiply(all[b], &w, (product){.x = x, .x_rows = 2, .parts = 2});
            for (int o = 0; o < 9; o++) PX_CHECK(y[o] == 0 && isfinite(y[10 + o]));
            free(y);
            free_weights(all[b], &m, w);
            free(m.memory);
        }
    }
}

PX_TEST_MAIN()
