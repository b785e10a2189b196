/* matmul_q8.c - tiles of integer products with VNNI: dpbusd adds four unsigned by signed bytes to a
 * 32-bit sum, so nothing is widened inside a block of 32 columns.
 *
 * Four-bit weights are unsigned. Eight-bit weights become so by adding 128 (flipping the top bit);
 * their sums begin at -128 times the sum of the activations, which takes that out again exactly.
 * Four-bit weights that mean quant - 8 begin at -8 times it. Two groups of weights share what is
 * loaded of x: with one, loads would bind before products do. As in the AVX2 tiles, blocks go in
 * ascending order whatever the tile: the same bits for any batch.
 */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"

enum { L = PX_AVX512_LANES, GROUPS = 2, ROWS = PX_AVX512_Q8_ROWS };

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

/* sums[group][row] += nibbles . x over 32 columns */
PX_INLINE void dot_u4(const int groups, const int rows, const uint8_t *const *nibbles,
    const uint8_t *x, size_t x_stride, __m512i sums[GROUPS][ROWS])
{
    const __m512i low_mask = _mm512_set1_epi8(15);
#pragma GCC unroll 8
    for (int step = 0; step < 8; step++) {
        __m512i w[GROUPS];
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            __m512i pair = _mm512_loadu_si512(nibbles[g] + 64 * (step / 2));
            if (step % 2) pair = _mm512_srli_epi16(pair, 4);
            w[g] = _mm512_and_si512(pair, low_mask);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m512i four = x_int(x + r * x_stride + 4 * step);
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) {
                sums[g][r] = _mm512_dpbusd_epi32(sums[g][r], w[g], four);
                PX_KEEP(sums[g][r]);
            }
        }
    }
}

/* sums[group][row] += bytes . x over 4 * steps columns, for sums that began at the offset */
PX_INLINE void dot_s8(const int groups, const int rows, const int steps,
    const uint8_t *const *bytes, const uint8_t *x, size_t x_stride, __m512i sums[GROUPS][ROWS])
{
    const __m512i top = _mm512_set1_epi8(-128);
#pragma GCC unroll 8
    for (int step = 0; step < steps; step++) {
        __m512i w[GROUPS];
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            w[g] = _mm512_xor_si512(_mm512_loadu_si512(bytes[g] + 64 * step), top);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m512i four = x_int(x + r * x_stride + 4 * step);
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) {
                sums[g][r] = _mm512_dpbusd_epi32(sums[g][r], w[g], four);
                PX_KEEP(sums[g][r]);
            }
        }
    }
}

/* sums[group][row] = a 32-bit field of the row's block */
PX_INLINE void begin_sums(const int groups, const int rows, const uint8_t *x, size_t x_stride,
    size_t field, __m512i sums[GROUPS][ROWS])
{
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) sums[g][r] = x_int(x + r * x_stride + field);
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
    if (packing == PX_PACKING_U4_MIN || packing == PX_PACKING_S8_MIN) {
        out->min = load_f16(w), w += 2 * L;
    }
    if (packing == PX_PACKING_U4) { /* the sum of (quant - 8) */
        __m512 sum = _mm512_sub_ps(load_s16(w), _mm512_set1_ps(8 * 32));
        out->zero = _mm512_mul_ps(out->scale, sum), w += 2 * L;
    } else {
        out->zero = _mm512_mul_ps(out->scale, load_s16(w)), w += 2 * L;
    }
    return w;
}

/* acc += scale * (scale of x) * sum */
PX_INLINE __m512 add_scaled(__m512 acc, __m512i sum, __m512 scale, __m512 x_scale)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), x_scale), scale, acc);
}

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, __m512 acc[GROUPS][ROWS])
{
    const bool u4 =
        packing == PX_PACKING_U4 || packing == PX_PACKING_U4_MIN || packing == PX_PACKING_U4_K;
    const bool halves = packing == PX_PACKING_S8_K || packing == PX_PACKING_S8_K_MIN;
    const bool has_min =
        packing == PX_PACKING_U4_MIN || packing == PX_PACKING_U4_K || packing == PX_PACKING_S8_MIN;
    const size_t x_stride = op->x_stride;
    const uint8_t *x = op->x, *w[GROUPS];
    __m512 d[GROUPS], dmin[GROUPS];
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++) {
        w[g] = op->w + g * op->w_stride;
        d[g] = dmin[g] = _mm512_setzero_ps();
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) acc[g][r] = _mm512_setzero_ps();
    }
    for (uint32_t block = 0; block < op->cols / 32; block++, x += sizeof(px_q8_block)) {
        __m512i sums[GROUPS][ROWS];
        block_head head[GROUPS];
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            w[g] = read_head(packing, w[g], block, &d[g], &dmin[g], &head[g]);
        }
        if (packing == PX_PACKING_U4) {
            begin_sums(groups, rows, x, x_stride, offsetof(px_q8_block, offset_u4), sums);
            dot_u4(groups, rows, w, x, x_stride, sums);
        } else if (u4) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
                for (int g = 0; g < groups; g++) sums[g][r] = _mm512_setzero_si512();
            }
            dot_u4(groups, rows, w, x, x_stride, sums);
        } else if (halves) {
            begin_sums(groups, rows, x, x_stride, offsetof(px_q8_block, offset_half), sums);
            dot_s8(groups, rows, 4, w, x, x_stride, sums);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const uint8_t *at = x + r * x_stride;
                __m512 x_scale = x_float(at, offsetof(px_q8_block, scale));
                __m512i second = _mm512_sub_epi32(x_int(at + offsetof(px_q8_block, offset)),
                    x_int(at + offsetof(px_q8_block, offset_half)));
#pragma GCC unroll 2
                for (int g = 0; g < groups; g++) {
                    acc[g][r] = add_scaled(acc[g][r], sums[g][r], head[g].scale, x_scale);
                    sums[g][r] = second;
                }
            }
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) {
                w[g] += 16 * L;
                head[g].scale = head[g].scale_high;
            }
            dot_s8(groups, rows, 4, w, x + 16, x_stride, sums);
        } else {
            begin_sums(groups, rows, x, x_stride, offsetof(px_q8_block, offset), sums);
            dot_s8(groups, rows, 8, w, x, x_stride, sums);
        }
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) w[g] += (u4 || halves ? 16 : 32) * L;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = x + r * x_stride;
            __m512 x_scale = x_float(at, offsetof(px_q8_block, scale));
            __m512 x_zero = x_float(at, offsetof(px_q8_block, zero));
            __m512 x_sum = x_float(at, offsetof(px_q8_block, sum));
            __m512 x_half = x_float(at, offsetof(px_q8_block, half));
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) {
                __m512 a = add_scaled(acc[g][r], sums[g][r], head[g].scale, x_scale);
                a = _mm512_fmadd_ps(head[g].zero, x_zero, a);
                if (packing == PX_PACKING_S8_K_MIN) {
                    a = _mm512_fmadd_ps(head[g].min, x_half, a);
                    a = _mm512_fmadd_ps(head[g].min_high, _mm512_sub_ps(x_sum, x_half), a);
                } else if (has_min) {
                    a = _mm512_fmadd_ps(head[g].min, x_sum, a);
                }
                acc[g][r] = a;
            }
        }
    }
}

#include "kernels/vector/tile.h"

#define EACH(name, packing)                                                                        \
    TILES(name, packing, 1)                                                                        \
    TILES(name, packing, 2)
#define NAMES(name)                                                                                \
    {                                                                                              \
        TILE_NAMES(name, 1), TILE_NAMES(name, 2)                                                   \
    }

EACH(u4, PX_PACKING_U4)
EACH(u4_min, PX_PACKING_U4_MIN)
EACH(u4_k, PX_PACKING_U4_K)
EACH(s8, PX_PACKING_S8)
EACH(s8_min, PX_PACKING_S8_MIN)
EACH(s8_k, PX_PACKING_S8_K)
EACH(s8_k_min, PX_PACKING_S8_K_MIN)

px_tile_fn px_avx512_q8_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][GROUPS][TILE_ROWS_MAX] = {
        [PX_PACKING_U4] = NAMES(u4),
        [PX_PACKING_U4_MIN] = NAMES(u4_min),
        [PX_PACKING_U4_K] = NAMES(u4_k),
        [PX_PACKING_S8] = NAMES(s8),
        [PX_PACKING_S8_MIN] = NAMES(s8_min),
        [PX_PACKING_S8_K] = NAMES(s8_k),
        [PX_PACKING_S8_K_MIN] = NAMES(s8_k_min),
    };
    assert(groups <= GROUPS && rows <= ROWS);
    return tiles[packing][groups - 1][rows - 1];
}
