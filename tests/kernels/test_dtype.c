/* test_dtype.c - every number format decodes exactly, and encodes to the nearest value it can. */
#include "test.h"

#include <dirent.h>
#include <stdint.h>

#include "kernels/dtype.h"

/* This file's repository, then `path` below it. */
static void in_repository(const char *path, char *out, size_t out_bytes)
{
    const char *tail = strstr(__FILE__, "tests/kernels/");
    snprintf(out, out_bytes, "%.*s%s", tail ? (int)(tail - __FILE__) : 0, __FILE__, path);
}

static void *read_file(const char *path, size_t *out_bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    rewind(file);
    void *data = malloc((size_t)bytes);
    *out_bytes = fread(data, 1, (size_t)bytes, file);
    fclose(file);
    return data;
}

/* Pairs [ANYTHING_]TYPE.bin and .f32: returns how many were compared bit for bit. */
static int check_golden_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    int compared = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char stem[128], path[1024];
        if (sscanf(entry->d_name, "%127[^.].bin", stem) != 1 || !strstr(entry->d_name, ".bin"))
            continue;
        px_dtype dtype = PX_DTYPE_COUNT;
        for (const char *name = stem; name && dtype == PX_DTYPE_COUNT;) {
            if (!px_dtype_parse(name, &dtype)) name = (name = strchr(name, '_')) ? name + 1 : NULL;
        }
        PX_CHECK(dtype != PX_DTYPE_COUNT);
        if (dtype == PX_DTYPE_COUNT) continue;

        size_t bytes, want_bytes;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        void *data = read_file(path, &bytes);
        snprintf(path, sizeof path, "%s/%s.f32", folder, stem);
        float *want = read_file(path, &want_bytes);
        PX_CHECK(data && want && px_dtype_bytes(dtype, want_bytes / 4) == bytes);
        if (data && want && px_dtype_bytes(dtype, want_bytes / 4) == bytes) {
            float *got = malloc(want_bytes);
            px_dtype_to_f32(dtype, data, got, want_bytes / 4);
            if (memcmp(got, want, want_bytes) != 0) printf("%s differs\n", entry->d_name);
            PX_CHECK(memcmp(got, want, want_bytes) == 0);
            free(got);
            compared++;
        }
        free(data);
        free(want);
    }
    if (dir) closedir(dir);
    return compared;
}

PX_TEST(decodes_the_repository_rows_bit_for_bit)
{
    char folder[512];
    in_repository("tests/golden/data/quant", folder, sizeof folder);
    PX_CHECK(check_golden_folder(folder) == 15);
}

PX_TEST(decodes_the_shared_golden_rows_bit_for_bit)
{
    char folder[512];
    const char *golden = getenv("PX_GOLDEN");
    if (golden) {
        snprintf(folder, sizeof folder, "%s/quant", golden);
    } else {
        in_repository("../shared/golden/quant", folder, sizeof folder);
    }
    int compared = check_golden_folder(folder);
    if (compared == 0) printf("no golden rows at %s: not compared\n", folder);
    PX_CHECK(compared == 0 || compared >= 15);
}

PX_TEST(names_parse_back)
{
    px_dtype dtype;
    for (int i = 0; i < PX_DTYPE_COUNT; i++) {
        PX_CHECK(px_dtype_parse(px_dtype_of((px_dtype)i)->name, &dtype) && dtype == (px_dtype)i);
    }
    PX_CHECK(px_dtype_parse("Q4_K", &dtype) && dtype == PX_Q4_K);
    PX_CHECK(!px_dtype_parse("q4", &dtype) && !px_dtype_parse("", &dtype));
    PX_CHECK(px_dtype_bytes(PX_Q6_K, 512) == 420 && px_dtype_bytes(PX_F16, 3) == 6);
}

static bool is_nan_f16(uint16_t h)
{
    return (h & 0x7c00) == 0x7c00 && (h & 0x3ff);
}

PX_TEST(halves_round_trip_and_round_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = px_f16_to_f32((uint16_t)h);
        if (is_nan_f16((uint16_t)h)) {
            PX_CHECK(isnan(value));
            continue;
        }
        PX_CHECK(px_f32_to_f16(value) == h);
        if ((h & 0x7fff) >= 0x7bff) continue;
        /* Halfway to the neighbour goes to the even one; a hair beyond goes up. */
        float next = px_f16_to_f32((uint16_t)(h + 1)), middle = value + (next - value) / 2;
        PX_CHECK(px_f32_to_f16(middle) == (uint16_t)(h + (h & 1)));
        PX_CHECK(px_f32_to_f16(nextafterf(middle, next)) == h + 1);
        PX_CHECK(px_f32_to_f16(nextafterf(middle, value)) == h);
    }
    PX_CHECK(px_f32_to_f16(65519.0f) == 0x7bff && px_f32_to_f16(65520.0f) == 0x7c00);
    PX_CHECK(px_f32_to_f16(-INFINITY) == 0xfc00 && is_nan_f16(px_f32_to_f16(NAN)));
    PX_CHECK(px_f32_to_f16(1e-9f) == 0 && px_f32_to_f16(-1e-9f) == 0x8000);
}

PX_TEST(bfloats_round_trip_and_round_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float value = px_bf16_to_f32((uint16_t)h);
        if (isnan(value)) {
            PX_CHECK(isnan(px_bf16_to_f32(px_f32_to_bf16(value))));
        } else {
            PX_CHECK(px_f32_to_bf16(value) == h);
        }
    }
    PX_CHECK(px_f32_to_bf16(1.0f + 0x1p-8f) == 0x3f80);            /* tie, to even */
    PX_CHECK(px_f32_to_bf16(1.0f + 0x1p-7f + 0x1p-8f) == 0x3f82);  /* tie, to even */
    PX_CHECK(px_f32_to_bf16(1.0f + 0x1p-8f + 0x1p-20f) == 0x3f81); /* beyond the tie */
    PX_CHECK(px_bf16_to_f32(px_f32_to_bf16(3.4e38f)) == INFINITY);
}

PX_TEST(f8_e4m3_has_every_value_of_the_standard)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t bits = (uint8_t)byte;
        float got, sign = byte & 0x80 ? -1.0f : 1.0f;
        px_dtype_to_f32(PX_F8_E4M3, &bits, &got, 1);
        int exponent = byte >> 3 & 15, fraction = byte & 7;
        if (exponent == 15 && fraction == 7) {
            PX_CHECK(isnan(got));
        } else if (exponent == 0) {
            PX_CHECK(got == sign * ldexpf((float)fraction, -9) && !signbit(got) == (sign > 0));
        } else {
            PX_CHECK(got == sign * ldexpf((float)(8 + fraction), exponent - 10));
        }
    }
}

PX_TEST(q8_0_errs_by_half_a_step_at_most)
{
    unsigned seed = 7;
    for (int round = 0; round < 200; round++) {
        float values[32], back[32], largest = 0;
        unsigned char block[34];
        for (int i = 0; i < 32; i++) {
            values[i] = ldexpf((float)rand_r(&seed) / (float)RAND_MAX - 0.5f, round % 16 - 4);
            largest = fmaxf(largest, fabsf(values[i]));
        }
        px_dtype_from_f32(PX_Q8_0, values, block, 32);
        px_dtype_to_f32(PX_Q8_0, block, back, 32);
        for (int i = 0; i < 32; i++)
            PX_CHECK(fabsf(back[i] - values[i]) <= largest / 127 * 0.55f + 1e-7f);
    }
    PX_CHECK(!px_dtype_can_encode(PX_Q4_0) && !px_dtype_can_encode(PX_I32));
}

PX_TEST_MAIN()
