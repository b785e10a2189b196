/* matmul_q8.c - tiles of integer products with VNNI: dpbusd adds four unsigned by signed bytes to a
 * 32-bit sum, so nothing is widened inside a block of 32 columns.
 *
 * Four-bit weights are unsigned. Eight-bit weights become so by adding 128 (flipping the top bit);
 * their sums begin at -128 times the sum of the activations, which takes that out again exactly.
 * As in the AVX2 tiles, blocks go in ascending order whatever the tile: the same bits for any
 * batch.
 */
#include "kernels/avx512/avx512.h"

enum { L = PX_AVX512_LANES };

/* Four columns of a row of x, or another 32 bits of its block, in every lane. */
PX_INLINE __m512i x_int(const uint8_t *x)
{
    int32_t value;
    memcpy(&value, x, 4);
    return _mm512_set1_epi32(value);
}

PX_INLINE __m512 x_float(const uint8_t *x, size_t at)
{
    return _mm512_set1_ps(*(const float *)(x + at));
}

PX_INLINE __m512 load_f16(const uint8_t *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

PX_INLINE __m512 load_s16(const uint8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)from)));
}

PX_INLINE __m512 load_u8(const uint8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

PX_INLINE __m512 load_s8(const uint8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* sums[row] = nibbles . x over 32 columns */
PX_INLINE void dot_u4(
    const int rows, const uint8_t *nibbles, const uint8_t *x, size_t x_stride, __m512i *sums)
{
    const __m512i low_mask = _mm512_set1_epi8(15);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) sums[r] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i pair = _mm512_loadu_si512(nibbles + 64 * j);
        __m512i low = _mm512_and_si512(pair, low_mask);
        __m512i high = _mm512_and_si512(_mm512_srli_epi16(pair, 4), low_mask);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            sums[r] = _mm512_dpbusd_epi32(sums[r], low, x_int(x + r * x_stride + 8 * j));
            PX_KEEP(sums[r]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            sums[r] = _mm512_dpbusd_epi32(sums[r], high, x_int(x + r * x_stride + 8 * j + 4));
            PX_KEEP(sums[r]);
        }
    }
}

/* sums[row] += bytes . x over 4 * steps columns, for sums that began at the offset */
PX_INLINE void dot_s8(const int rows, const int steps, const uint8_t *bytes, const uint8_t *x,
    size_t x_stride, __m512i *sums)
{
    const __m512i top = _mm512_set1_epi8(-128);
#pragma GCC unroll 8
    for (int s = 0; s < steps; s++) {
        __m512i w = _mm512_xor_si512(_mm512_loadu_si512(bytes + 64 * s), top);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            sums[r] = _mm512_dpbusd_epi32(sums[r], w, x_int(x + r * x_stride + 4 * s));
            PX_KEEP(sums[r]);
        }
    }
}

/* What a block of 32 columns of a group says besides its quants. */
typedef struct block_head {
    __m512 scale, scale_high; /* of the products; _high: of columns 16-31 in S8_K */
    __m512 zero;              /* times an activation's zero: scale * sum of the quants */
    __m512 min, min_high;     /* times its sum */
} block_head;

/* d and dmin of the K types live from one super-block to the next. Returns where the quants are. */
PX_INLINE const uint8_t *read_head(const px_packing packing, const uint8_t *w, uint32_t block,
    __m512 *d, __m512 *dmin, block_head *out)
{
    switch (packing) {
    case PX_PACKING_U4_K:
    case PX_PACKING_S8_K:
    case PX_PACKING_S8_K_MIN:
        if (block % 8 == 0) {
            *d = load_f16(w), w += 2 * L;
            if (packing != PX_PACKING_S8_K) {
                *dmin = _mm512_sub_ps(_mm512_setzero_ps(), load_f16(w)), w += 2 * L;
            }
        }
        if (packing == PX_PACKING_U4_K) {
            out->scale = _mm512_mul_ps(*d, load_u8(w)), w += L;
            out->min = _mm512_mul_ps(*dmin, load_u8(w)), w += L;
            out->zero = _mm512_mul_ps(*d, load_s16(w)), w += 2 * L;
            return w;
        }
        out->scale = _mm512_mul_ps(*d, load_s8(w)), w += L;
        out->scale_high = _mm512_mul_ps(*d, load_s8(w)), w += L;
        if (packing == PX_PACKING_S8_K_MIN) {
            out->min = _mm512_mul_ps(*dmin, load_u8(w)), w += L;
            out->min_high = _mm512_mul_ps(*dmin, load_u8(w)), w += L;
        }
        out->zero = _mm512_mul_ps(*d, _mm512_cvtepi32_ps(_mm512_loadu_si512(w))), w += 4 * L;
        return w;
    default: out->scale = load_f16(w), w += 2 * L;
    }
    if (packing == PX_PACKING_U4) out->min = _mm512_mul_ps(out->scale, _mm512_set1_ps(-8));
    if (packing == PX_PACKING_U4_MIN || packing == PX_PACKING_S8_MIN) {
        out->min = load_f16(w), w += 2 * L;
    }
    out->zero = _mm512_mul_ps(out->scale, load_s16(w)), w += 2 * L;
    return w;
}

/* acc += scale * (scale of x) * sum */
PX_INLINE __m512 add_scaled(__m512 acc, __m512i sum, __m512 scale, const uint8_t *x)
{
    __m512 scaled =
        _mm512_mul_ps(_mm512_cvtepi32_ps(sum), x_float(x, offsetof(px_q8_block, scale)));
    return _mm512_fmadd_ps(scaled, scale, acc);
}

typedef struct span { /* blocks [begin, end) */
    uint32_t begin, end;
} span;

/* acc[row] = w . x over a span; w moves on. */
PX_INLINE void sum_span(const px_packing packing, const int rows, const px_tile *op, span blocks,
    const uint8_t **weights, __m512 *acc)
{
    const bool u4 =
        packing == PX_PACKING_U4 || packing == PX_PACKING_U4_MIN || packing == PX_PACKING_U4_K;
    const bool halves = packing == PX_PACKING_S8_K || packing == PX_PACKING_S8_K_MIN;
    const bool has_min = u4 || packing == PX_PACKING_S8_MIN;
    const size_t x_stride = op->x_stride;
    const uint8_t *w = *weights, *x = op->x + blocks.begin * sizeof(px_q8_block);
    __m512 d = _mm512_setzero_ps(), dmin = d;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) acc[r] = _mm512_setzero_ps();

    for (uint32_t block = blocks.begin; block < blocks.end; block++, x += sizeof(px_q8_block)) {
        __m512i sums[PX_AVX512_Q8_ROWS];
        block_head head = {0};
        w = read_head(packing, w, block, &d, &dmin, &head);
        if (u4) {
            dot_u4(rows, w, x, x_stride, sums), w += 16 * L;
        } else if (halves) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                sums[r] = x_int(x + r * x_stride + offsetof(px_q8_block, offset_half));
            }
            dot_s8(rows, 4, w, x, x_stride, sums), w += 16 * L;
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const uint8_t *at = x + r * x_stride;
                acc[r] = add_scaled(acc[r], sums[r], head.scale, at);
                sums[r] = _mm512_sub_epi32(x_int(at + offsetof(px_q8_block, offset)),
                    x_int(at + offsetof(px_q8_block, offset_half)));
            }
            dot_s8(rows, 4, w, x + 16, x_stride, sums), w += 16 * L;
            head.scale = head.scale_high;
        } else {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                sums[r] = x_int(x + r * x_stride + offsetof(px_q8_block, offset));
            }
            dot_s8(rows, 8, w, x, x_stride, sums), w += 32 * L;
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = x + r * x_stride;
            __m512 sum = x_float(at, offsetof(px_q8_block, sum));
            acc[r] = add_scaled(acc[r], sums[r], head.scale, at);
            acc[r] = _mm512_fmadd_ps(head.zero, x_float(at, offsetof(px_q8_block, zero)), acc[r]);
            if (packing == PX_PACKING_S8_K_MIN) {
                __m512 half = x_float(at, offsetof(px_q8_block, half));
                acc[r] = _mm512_fmadd_ps(head.min, half, acc[r]);
                acc[r] = _mm512_fmadd_ps(head.min_high, _mm512_sub_ps(sum, half), acc[r]);
            } else if (has_min) {
                acc[r] = _mm512_fmadd_ps(head.min, sum, acc[r]);
            }
        }
    }
    *weights = w;
}

PX_INLINE void tile(const px_packing packing, const int rows, const px_tile *op)
{
    const bool plain = px_tile_is_plain(op);
    const uint32_t blocks = op->cols / 32, most = op->span / 32;
    const uint8_t *w = op->w;
    __m512 acc[PX_AVX512_Q8_ROWS];
    px_avx512_wide wide[PX_AVX512_Q8_ROWS];
    for (int r = 0; r < rows && !plain; r++) wide[r] = px_avx512_wide_zero();
    uint32_t begin = 0;
    do {
        uint32_t end = blocks - begin < most ? blocks : begin + most;
        sum_span(packing, rows, op, (span){begin, end}, &w, acc);
        for (int r = 0; r < rows && !plain; r++) wide[r] = px_avx512_wide_add(wide[r], acc[r]);
        begin = end;
    } while (begin < blocks);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        if (plain) {
            px_avx512_put(op, 0, r, acc[r]);
        } else {
            px_avx512_put_wide(op, 0, r, wide[r]);
        }
    }
}

#define TILE(name, packing, rows)                                                                  \
    static void name##_##rows(const px_tile *op)                                                   \
    {                                                                                              \
        tile(packing, rows, op);                                                                   \
    }
#define TILES(name, packing)                                                                       \
    TILE(name, packing, 1)                                                                         \
    TILE(name, packing, 2)                                                                         \
    TILE(name, packing, 3)                                                                         \
    TILE(name, packing, 4)                                                                         \
    TILE(name, packing, 5)                                                                         \
    TILE(name, packing, 6)                                                                         \
    TILE(name, packing, 7)                                                                         \
    TILE(name, packing, 8)
#define ROWS(name)                                                                                 \
    {                                                                                              \
        name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8             \
    }

TILES(u4, PX_PACKING_U4)
TILES(u4_min, PX_PACKING_U4_MIN)
TILES(u4_k, PX_PACKING_U4_K)
TILES(s8, PX_PACKING_S8)
TILES(s8_min, PX_PACKING_S8_MIN)
TILES(s8_k, PX_PACKING_S8_K)
TILES(s8_k_min, PX_PACKING_S8_K_MIN)

px_tile_fn px_avx512_q8_tile(px_packing packing, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][PX_AVX512_Q8_ROWS] = {
        [PX_PACKING_U4] = ROWS(u4),
        [PX_PACKING_U4_MIN] = ROWS(u4_min),
        [PX_PACKING_U4_K] = ROWS(u4_k),
        [PX_PACKING_S8] = ROWS(s8),
        [PX_PACKING_S8_MIN] = ROWS(s8_min),
        [PX_PACKING_S8_K] = ROWS(s8_k),
        [PX_PACKING_S8_K_MIN] = ROWS(s8_k_min),
    };
    return tiles[packing][rows - 1];
}
