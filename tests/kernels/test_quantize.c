/* test_quantize.c - files are written as the reference quantiser writes them, and where there is
 * none, with no more error than llama.cpp's. */
#include "test.h"

#include <math.h>
#include <stdint.h>

#include "kernels/quantize.h"

enum { ROWS = 8, COLS = 256, ELEMENTS = ROWS * COLS };

/* A file of tests/golden/data/quantize: made with gguf-py 0.19 (numpy's generator, seed 7). Rows
 * are gaussian, Laplacian, with an outlier, with constant and tiny blocks, and far from 0. */
static size_t read_golden(const char *name, void *to, size_t max)
{
    char path[1024];
    const char *tail = strstr(__FILE__, "tests/kernels/");
    snprintf(path, sizeof path, "%.*stests/golden/data/quantize/%s",
        tail ? (int)(tail - __FILE__) : 0, __FILE__, name);
    FILE *file = fopen(path, "rb");
    PX_CHECK(file != NULL);
    if (!file) return 0;
    size_t got = fread(to, 1, max, file);
    fclose(file);
    return got;
}

static const float *golden_input(void)
{
    static float input[ELEMENTS];
    PX_CHECK(read_golden("input.f32", input, sizeof input) == sizeof input);
    return input;
}

PX_TEST(prescribed_types_are_the_reference_bit_for_bit)
{
    static const px_dtype types[] = {
        PX_F16, PX_BF16, PX_Q8_0, PX_Q4_0, PX_Q4_1, PX_Q5_0, PX_Q5_1, PX_MXFP4};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        unsigned char want[ELEMENTS * 2 + 1], got[ELEMENTS * 2 + 1];
        size_t bytes = px_dtype_bytes(types[t], ELEMENTS);
        char name[32];
        snprintf(name, sizeof name, "%s.bin", px_dtype_of(types[t])->name);
        PX_REQUIRE(read_golden(name, want, sizeof want) == bytes);
        px_quantize(types[t], golden_input(), got + 1, ELEMENTS); /* unaligned */
        if (memcmp(got + 1, want, bytes) != 0) printf("%s differs\n", name);
        PX_CHECK(memcmp(got + 1, want, bytes) == 0);
    }
}

static float relative_error(px_dtype dtype, const float *row)
{
    unsigned char blocks[COLS * 4];
    float back[COLS], off = 0, all = 0;
    px_quantize(dtype, row, blocks, COLS);
    px_dtype_to_f32(dtype, blocks, back, COLS);
    for (int i = 0; i < COLS; i++) {
        off += (back[i] - row[i]) * (back[i] - row[i]);
        all += row[i] * row[i];
    }
    return sqrtf(off / all);
}

PX_TEST(searched_types_err_less_than_llama_cpp)
{
    static const struct {
        px_dtype dtype;
        float theirs; /* ggml_quantize_chunk of the same rows: mean of the rows' relative errors */
    } cases[] = {{PX_Q2_K, 0.25831f}, {PX_Q3_K, 0.13184f}, {PX_Q4_K, 0.06246f}, {PX_Q5_K, 0.03222f},
        {PX_Q6_K, 0.01648f}, {PX_IQ4_NL, 0.06500f}};
    static const int rows[] = {0, 1, 2, 3, 4, 7}; /* the others are hard cases on purpose */
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        float mean = 0;
        for (size_t r = 0; r < 6; r++)
            mean += relative_error(cases[c].dtype, golden_input() + rows[r] * COLS) / 6;
        if (mean >= cases[c].theirs)
            printf("%s: %g\n", px_dtype_of(cases[c].dtype)->name, (double)mean);
        PX_CHECK(mean < cases[c].theirs && mean > 0.5f * cases[c].theirs);
    }
}

/* What was decoded from a type is near its levels; writing it again loses nothing to speak of. */
PX_TEST(quantising_twice_keeps_the_values)
{
    for (int d = 0; d < PX_DTYPE_COUNT; d++) {
        px_dtype dtype = (px_dtype)d;
        if (!px_can_quantize(dtype)) continue;
        unsigned char blocks[COLS * 4];
        float once[COLS], error = 0;
        px_quantize(dtype, golden_input(), blocks, COLS);
        px_dtype_to_f32(dtype, blocks, once, COLS);
        error = relative_error(dtype, once);
        bool coarse = dtype == PX_Q2_K || dtype == PX_Q3_K;
        PX_CHECK(error < (coarse ? 0.1f : 0.02f));
    }
}

PX_TEST(zeros_stay_zero_and_odd_values_do_no_harm)
{
    static float odd[COLS];
    static const float kinds[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e-42f, 0};
    for (int i = 0; i < COLS; i++) odd[i] = kinds[i % 6];
    for (int d = 0; d < PX_DTYPE_COUNT; d++) {
        px_dtype dtype = (px_dtype)d;
        if (!px_can_quantize(dtype)) continue;
        unsigned char blocks[COLS * 4];
        float zeros[COLS] = {0}, back[COLS];
        px_quantize(dtype, zeros, blocks, COLS);
        px_dtype_to_f32(dtype, blocks, back, COLS);
        for (int i = 0; i < COLS; i++) PX_CHECK(back[i] == 0);
        px_quantize(dtype, odd, blocks, COLS); /* of no use, but within bounds */
    }
    PX_CHECK(
        !px_can_quantize(PX_IQ4_XS) && !px_can_quantize(PX_F8_E4M3) && !px_can_quantize(PX_I32));
}

PX_TEST_MAIN()
