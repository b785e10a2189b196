/* test_pack.c - packing with vectors gives the bytes that packing a row at a time gives, and
 * packing in pieces those of the whole. */
#include "kernels_test.h"

#include "kernels/packed.h"

bool px_avx2_pack_group(const px_pack *op, const uint8_t *from, uint8_t *to, uint32_t lanes);

enum { ROWS = 150, COLS = 512 };

/* Bytes of every value, but no infinite or undefined scales, which the two may spell differently.
 */
static unsigned char *make_rows(px_dtype dtype, size_t row_bytes)
{
    unsigned char *bytes = malloc(ROWS * row_bytes);
    uint32_t seed = 1 + (uint32_t)dtype;
    for (size_t i = 0; i < ROWS * row_bytes; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(seed >> 24);
        if (bytes[i] % 128 >= 0x7c) bytes[i] &= 0xbf; /* a float16's upper byte below infinity */
    }
    return bytes;
}

static void check(
    px_dtype dtype, uint32_t lanes, uint32_t rows, uint32_t cols, px_pack_group_fn fast)
{
    size_t row_bytes = px_dtype_bytes(dtype, cols),
           bytes = px_packed_bytes(dtype, lanes, rows, cols);
    unsigned char *from = make_rows(dtype, row_bytes);
    unsigned char *want = malloc(bytes), *got = malloc(bytes);
    px_matrix matrix;
    px_pack op = {.dtype = dtype,
        .rows = rows,
        .cols = cols,
        .from = from,
        .from_row_bytes = row_bytes,
        .out = &matrix};
    memset(want, 0xaa, bytes);
    memset(got, 0x55, bytes);
    op.to = want;
    px_packed_fill(&op, lanes, NULL, (px_part){.count = 1});
    op.to = got;
    for (uint32_t i = 0; i < 3; i++)
        px_packed_fill(&op, lanes, fast, (px_part){.index = i, .count = 3});
    size_t at = 0;
    while (at < bytes && want[at] == got[at]) at++;
    if (at < bytes)
        printf(
            "%s, %u lanes: byte %zu of %zu differs\n", px_dtype_of(dtype)->name, lanes, at, bytes);
    PX_CHECK(at == bytes);
    free(from);
    free(want);
    free(got);
}

PX_TEST(vectors_pack_the_bytes_of_the_specification)
{
    if (!px_kernels_avx2()) {
        printf("no AVX2: not compared\n");
        return;
    }
    for (int d = 0; d < PX_I32; d++) {
        for (uint32_t lanes = 8; lanes <= 16; lanes += 8) {
            check((px_dtype)d, lanes, 32, COLS, px_avx2_pack_group);
            check((px_dtype)d, lanes, 37, 256, px_avx2_pack_group);
        }
    }
    check(PX_F16, 8, 16, 37, px_avx2_pack_group); /* columns of no whole vector */
    check(PX_BF16, 16, 16, 45, px_avx2_pack_group);
}

PX_TEST(pieces_are_the_bytes_of_the_whole)
{
    const px_kernels *all[BACKENDS];
    int count = backends(all);
    for (int b = 1; b < count; b++) {
        for (int d = 0; d < PX_I32; d++) {
            px_dtype dtype = (px_dtype)d;
            size_t row_bytes = px_dtype_bytes(dtype, COLS);
            size_t bytes = all[b]->pack_bytes(dtype, ROWS, COLS);
            unsigned char *from = make_rows(dtype, row_bytes);
            unsigned char *whole = aligned_bytes(bytes), *pieces = aligned_bytes(bytes);
            px_matrix matrix, piece;
            px_pack op = {dtype, ROWS, COLS, from, row_bytes, whole, &matrix};
            all[b]->pack(&op, (px_part){.count = 1});
            for (uint32_t first = 0; first < ROWS; first += PX_PACK_ROWS) {
                op.rows = ROWS - first < PX_PACK_ROWS ? ROWS - first : PX_PACK_ROWS;
                op.from = from + first * row_bytes;
                op.to = pieces + all[b]->pack_bytes(dtype, first, COLS);
                op.out = &piece;
                all[b]->pack(&op, (px_part){.count = 1});
                PX_CHECK(piece.layout == matrix.layout && piece.cols == COLS);
            }
            PX_CHECK(memcmp(whole, pieces, bytes) == 0);
            free(from);
            free(whole);
            free(pieces);
        }
    }
}

PX_TEST_MAIN()
