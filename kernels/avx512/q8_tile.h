/* q8_tile.h - the body of a tile of integer products with VNNI: dpbusd adds four unsigned by signed
 * bytes to a 32-bit sum, so nothing is widened inside a block of 32 columns. Internal.
 *
 * Quants are put together from their planes in registers, unsigned. Where they have a bias, sums
 * begin at -bias times the sum of the activations, which takes it out again exactly; the signed
 * ones of S8 and of the table are given a bias of 128. The sums of quants that zeros of x multiply
 * are made beside the products where blocks have none, in bytes if they fit, by the first tile of
 * some weights; it leaves them to the others (px_tile). Two groups of weights share what is loaded
 * of x: with one, loads would bind before products do. As in the AVX2 tiles, blocks go in ascending
 * order whatever the tile: the same bits for any batch.
 *
 * Weights that several tiles read may be expanded first (matmul_expanded.c), which is the same work
 * done once: of each block the floats of its head and the quants as bytes, for every lane,
 *
 *   { f32 scale; f32 scale_high (form.halves); f32 zero; f32 min (form.mins);
 *     f32 min_high (both); u8 quant[8][lanes][4] }
 */
#ifndef PX_KERNELS_AVX512_Q8_TILE_H
#define PX_KERNELS_AVX512_Q8_TILE_H

#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"
#include "kernels/dtype_blocks.h"

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

/* --- quants ----------------------------------------------------------------------------------- */

PX_INLINE int plane_mask(const int bits, const int at)
{
    return ((1 << bits) - 1) << at;
}

/* A step of a plane with its bits moved to `at` of each byte, and others beside them. */
PX_INLINE __m512i take_bits(const uint8_t *plane, const int bits, const int step, const int at)
{
    __m512i bytes = _mm512_loadu_si512(plane + 64 * (step * bits / 8));
    const int from = step * bits % 8;
    if (from > at) return _mm512_srli_epi16(bytes, (unsigned)(from - at));
    return _mm512_slli_epi16(bytes, (unsigned)(at - from));
}

/* The quants of four columns, unsigned. */
PX_INLINE __m512i take_step(const px_packing packing, const uint8_t *quants, const int step)
{
    const px_quant_form form = px_quant_forms[packing];
    const int low_bits = form.low_bits, high_bits = form.high_bits;
    if (low_bits == 8)
        return _mm512_xor_si512(_mm512_loadu_si512(quants + 64 * step), _mm512_set1_epi8(-128));
    __m512i low = take_bits(quants, low_bits, step, 0);
    low = _mm512_and_si512(low, _mm512_set1_epi8((char)plane_mask(low_bits, 0)));
    if (form.table) {
        __m128i table = _mm_loadu_si128((const __m128i *)px_iq4_values);
        table = _mm_xor_si128(table, _mm_set1_epi8(-128));
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), low);
    }
    if (!high_bits) return low;
    __m512i high = take_bits(quants + px_plane_bytes(form.low_bits) * L, high_bits, step, low_bits);
    __m512i mask = _mm512_set1_epi8((char)plane_mask(high_bits, low_bits));
    return _mm512_ternarylogic_epi32(high, mask, low, 0xea); /* high & mask | low */
}

/* What the unsigned quants of a packing are more than those meant. */
PX_INLINE int bias_of(const px_packing packing)
{
    const px_quant_form form = px_quant_forms[packing];
    return form.low_bits == 8 || form.table ? 128 : form.bias;
}

/* --- sums of quants --------------------------------------------------------------------------- */

/* Does the sum of the steps of a scale fit in bytes? */
PX_INLINE bool sums_bytes(const px_packing packing)
{
    const px_quant_form form = px_quant_forms[packing];
    const int largest = form.table ? 255 : (1 << (form.low_bits + form.high_bits)) - 1;
    return (form.halves ? 4 : 8) * largest <= 255;
}

/* `sum` and the quants of a step, the first of a scale's or a later one. */
PX_INLINE __m512i add_step(const px_packing packing, const bool first, __m512i sum, __m512i quants)
{
    if (sums_bytes(packing)) return first ? quants : _mm512_add_epi8(sum, quants);
    if (first) sum = _mm512_setzero_si512();
    return _mm512_dpbusd_epi32(sum, quants, _mm512_set1_epi8(1));
}

/* Of the quants meant, in each lane. */
PX_INLINE __m512i end_sum(const px_packing packing, __m512i sum)
{
    const int columns = px_quant_forms[packing].halves ? 16 : 32;
    const __m512i less = _mm512_set1_epi32(-columns * bias_of(packing));
    if (sums_bytes(packing)) return _mm512_dpbusd_epi32(less, sum, _mm512_set1_epi8(1));
    return _mm512_add_epi32(sum, less);
}

/* To later tiles and from the first, in 16 bits. */
PX_INLINE void leave_sum(uint8_t *to, __m512i sum)
{
    _mm256_store_si256((__m256i *)to, _mm512_cvtepi32_epi16(sum));
}

PX_INLINE __m512i take_sum(const uint8_t *from)
{
    return _mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)from));
}

/* Weights of a group as they are read: d and dmin are of 256 columns. */
typedef struct group_at {
    const uint8_t *heads, *quants;
    __m512 d, dmin;
} group_at;

/* What is known of a tile when it is compiled. */
typedef struct tile_kind {
    px_packing packing;
    bool expanded; /* its weights are */
    bool again;    /* an earlier tile has read its weights, and left the sums of their quants */
    int groups, rows;
} tile_kind;

PX_INLINE bool makes_sums(const tile_kind kind)
{
    return !kind.expanded && !kind.again && !px_quant_forms[kind.packing].sums;
}

PX_INLINE bool asks_ahead(const tile_kind kind)
{
    return px_asks_ahead(kind.rows) && !kind.expanded && !kind.again;
}

/* Lines of S8 pass twice as fast: more than may be on their way to the first-level cache. */
PX_INLINE void ask_ahead(const px_packing packing, const uint8_t *w)
{
    if (px_quant_forms[packing].low_bits == 8)
        _mm_prefetch((const char *)w + 2 * PX_AHEAD_BYTES, _MM_HINT_T1);
    else
        px_ask_ahead(w);
}

/* Asks for the lines whose like a step is the first to read. */
PX_INLINE void ask_for_step(const px_packing packing, const uint8_t *quants, const int step)
{
    const px_quant_form form = px_quant_forms[packing];
    const int low = step * form.low_bits, high = step * form.high_bits;
    if (low % 8 == 0) ask_ahead(packing, quants + 8 * low);
    if (form.high_bits && high % 8 == 0)
        ask_ahead(packing, quants + px_plane_bytes(form.low_bits) * L + 8 * high);
}

/* sums[group][row] += quants . x over the steps [begin, end), which are a scale's */
PX_INLINE void dot(const tile_kind kind, const int begin, const int end, const group_at *from,
    const uint8_t *x, size_t x_stride, __m512i sums[GROUPS][ROWS], __m512i of_quants[GROUPS])
{
    const int groups = kind.groups, rows = kind.rows;
#pragma GCC unroll 8
    for (int step = begin; step < end; step++) {
        __m512i w[GROUPS];
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            w[g] = kind.expanded ? _mm512_load_si512(from[g].quants + 64 * step)
                                 : take_step(kind.packing, from[g].quants, step);
            if (asks_ahead(kind)) ask_for_step(kind.packing, from[g].quants, step);
            if (!makes_sums(kind)) continue;
            of_quants[g] = add_step(kind.packing, step == begin, of_quants[g], w[g]);
            PX_KEEP(of_quants[g]);
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

/* -bias times a sum of activations, of which `sums` is -128 times. */
PX_INLINE __m512i of_bias(const px_packing packing, __m512i sums)
{
    const int bias = bias_of(packing);
    if (bias == 128) return sums;
    if (!bias) return _mm512_setzero_si512();
    return _mm512_srai_epi32(sums, (unsigned)__builtin_ctz(128 / bias));
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* What a block of 32 columns of a group says besides its quants. */
typedef struct block_head {
    __m512 scale, scale_high; /* of the products; _high: of columns 16-31 if they have their own */
    __m512 zero;              /* times an activation's zero: scale * sum of the quants less bias */
    __m512 min, min_high;     /* times its sum */
} block_head;

/* Scales and mins of 16 columns each. */
PX_INLINE void read_halves(
    const px_packing packing, const uint8_t *w, __m512 d, __m512 dmin, block_head *out)
{
    if (packing == PX_PACKING_U2_K) {
        const __m128i low = _mm_set1_epi8(15);
        __m128i both[2];
        uint8_t numbers[4][L];
        for (int h = 0; h < 2; h++, w += L) {
            both[h] = _mm_loadu_si128((const __m128i *)w);
            _mm_storeu_si128((__m128i *)numbers[h], _mm_and_si128(both[h], low));
            _mm_storeu_si128(
                (__m128i *)numbers[2 + h], _mm_and_si128(_mm_srli_epi16(both[h], 4), low));
        }
        out->scale = _mm512_mul_ps(d, load_u8(numbers[0]));
        out->scale_high = _mm512_mul_ps(d, load_u8(numbers[1]));
        out->min = _mm512_mul_ps(dmin, load_u8(numbers[2]));
        out->min_high = _mm512_mul_ps(dmin, load_u8(numbers[3]));
        return;
    }
    out->scale = _mm512_mul_ps(d, load_s8(w));
    out->scale_high = _mm512_mul_ps(d, load_s8(w + L));
}

/* From `quants` on: a unit, and if `block` is the first of 256 columns its d. */
PX_INLINE void begin_unit(const px_packing packing, uint32_t block, group_at *at)
{
    const px_quant_form form = px_quant_forms[packing];
    if (form.super && block % 8 == 0) {
        at->d = load_f16(at->quants);
        if (form.mins) at->dmin = _mm512_sub_ps(_mm512_setzero_ps(), load_f16(at->quants + 2 * L));
        at->quants += PX_SUPER_BYTES * L;
    }
    at->heads = at->quants;
    at->quants += PX_HEADS_BYTES * L;
}

PX_INLINE void read_head(const px_packing packing, group_at *at, block_head *out)
{
    const px_quant_form form = px_quant_forms[packing];
    const uint8_t *head = at->heads;
    at->heads += px_block_head_bytes(packing) * L;
    if (form.halves) {
        read_halves(packing, head, at->d, at->dmin, out);
    } else if (form.super) {
        out->scale = _mm512_mul_ps(at->d, form.table ? load_s8(head) : load_u8(head));
        if (form.mins) out->min = _mm512_mul_ps(at->dmin, load_u8(head + L));
    } else {
        out->scale = load_f16(head);
        if (form.mins) out->min = load_f16(head + 2 * L);
        if (form.sums) out->zero = _mm512_mul_ps(out->scale, load_s16(head + 2 * L));
    }
}

/* From the sums of its quants; [1]: of columns 16-31 if they have a scale of their own. */
PX_INLINE __m512 zero_of(const px_packing packing, const block_head *head, const __m512i sums[2])
{
    __m512 zero = _mm512_mul_ps(head->scale, _mm512_cvtepi32_ps(sums[0]));
    if (!px_quant_forms[packing].halves) return zero;
    return _mm512_fmadd_ps(head->scale_high, _mm512_cvtepi32_ps(sums[1]), zero);
}

/* The head of an expanded block is its floats, in their order. */
PX_INLINE void read_expanded_head(const px_packing packing, group_at *at, block_head *out)
{
    const px_quant_form form = px_quant_forms[packing];
    const uint8_t *w = at->quants;
    out->scale = _mm512_load_ps(w), w += 64;
    if (form.halves) out->scale_high = _mm512_load_ps(w), w += 64;
    out->zero = _mm512_load_ps(w), w += 64;
    if (form.mins) out->min = _mm512_load_ps(w), w += 64;
    if (form.mins && form.halves) out->min_high = _mm512_load_ps(w), w += 64;
    at->quants = w;
}

/* Products of columns 0-15 with their own scale, in units of the scale of x, and sums that begin
 * anew for columns 16-31. */
PX_INLINE void end_first_half(const tile_kind kind, const uint8_t *x, size_t x_stride,
    const block_head head[GROUPS], __m512i sums[GROUPS][ROWS], __m512 halves[GROUPS][ROWS])
{
    const int groups = kind.groups, rows = kind.rows;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        const uint8_t *at = x + r * x_stride;
        __m512i rest = _mm512_sub_epi32(x_int(at + offsetof(px_q8_block, offset)),
            x_int(at + offsetof(px_q8_block, offset_half)));
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            halves[g][r] = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[g][r]), head[g].scale);
            sums[g][r] = of_bias(kind.packing, rest);
        }
    }
}

/* acc[group][row] += w . x */
PX_INLINE void sum_blocks(const tile_kind kind, const px_tile *op, __m512 acc[GROUPS][ROWS])
{
    const px_packing packing = kind.packing;
    const px_quant_form form = px_quant_forms[packing];
    const int groups = kind.groups, rows = kind.rows;
    const size_t quants_bytes = (kind.expanded ? 32 : px_quants_bytes(packing)) * L;
    const size_t x_stride = op->x_stride;
    const size_t begin =
        form.halves ? offsetof(px_q8_block, offset_half) : offsetof(px_q8_block, offset);
    const uint32_t blocks = op->cols / 32;
    const uint8_t *x = op->x;
    uint8_t *left = op->sums;
    group_at w[GROUPS];
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++) w[g] = (group_at){.quants = op->w + g * op->w_stride};
    for (uint32_t block = 0; block < blocks; block++, x += sizeof(px_q8_block)) {
        __m512i sums[GROUPS][ROWS];
        __m512 halves[GROUPS][ROWS];
        __m512i of_quants[2][GROUPS]; /* of halves */
        block_head head[GROUPS];
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            if (kind.expanded) {
                read_expanded_head(packing, &w[g], &head[g]);
            } else {
                if (block % px_unit_blocks(packing) == 0) {
                    if (asks_ahead(kind)) ask_ahead(packing, w[g].quants);
                    if (asks_ahead(kind) && form.super && block % 8 == 0)
                        ask_ahead(packing, w[g].quants + 64);
                    begin_unit(packing, block, &w[g]);
                }
                read_head(packing, &w[g], &head[g]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m512i first = of_bias(packing, x_int(x + r * x_stride + begin));
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) sums[g][r] = first;
        }
        if (form.halves) {
            dot(kind, 0, 4, w, x, x_stride, sums, of_quants[0]);
            end_first_half(kind, x, x_stride, head, sums, halves);
            dot(kind, 4, 8, w, x, x_stride, sums, of_quants[1]);
        } else {
            dot(kind, 0, 8, w, x, x_stride, sums, of_quants[0]);
        }
#pragma GCC unroll 2
        for (int g = 0; g < groups; g++) {
            w[g].quants += quants_bytes;
            if (kind.expanded || form.sums) continue;
            __m512i of_scales[2];
#pragma GCC unroll 2
            for (int h = 0; h < 1 + form.halves; h++) {
                of_scales[h] = kind.again ? take_sum(left) : end_sum(packing, of_quants[h][g]);
                if (!kind.again && left) leave_sum(left, of_scales[h]);
                if (kind.again || left) left += 2 * L;
            }
            head[g].zero = zero_of(packing, &head[g], of_scales);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = x + r * x_stride;
            __m512 x_scale = x_float(at, offsetof(px_q8_block, scale));
            __m512 x_zero = x_float(at, offsetof(px_q8_block, zero));
            __m512 x_sum = x_float(at, offsetof(px_q8_block, sum));
            __m512 x_half = x_float(at, offsetof(px_q8_block, half));
#pragma GCC unroll 2
            for (int g = 0; g < groups; g++) {
                __m512 sum = _mm512_cvtepi32_ps(sums[g][r]), a;
                if (form.halves) {
                    sum = _mm512_fmadd_ps(sum, head[g].scale_high, halves[g][r]);
                    a = _mm512_fmadd_ps(sum, x_scale, acc[g][r]);
                } else {
                    a = _mm512_fmadd_ps(_mm512_mul_ps(sum, x_scale), head[g].scale, acc[g][r]);
                }
                a = _mm512_fmadd_ps(head[g].zero, x_zero, a);
                if (form.mins && form.halves) {
                    a = _mm512_fmadd_ps(head[g].min, x_half, a);
                    a = _mm512_fmadd_ps(head[g].min_high, _mm512_sub_ps(x_sum, x_half), a);
                } else if (form.mins) {
                    a = _mm512_fmadd_ps(head[g].min, x_sum, a);
                }
                acc[g][r] = a;
            }
        }
    }
}

/* The tiles of a packing for one and two groups, and their names; by vector/tile.h. */
#define EACH(name, packing)                                                                        \
    TILES(name, packing, 1)                                                                        \
    TILES(name, packing, 2)
#define NAMES(name)                                                                                \
    {                                                                                              \
        TILE_NAMES(name, 1), TILE_NAMES(name, 2)                                                   \
    }

#endif
