/* matmul_q8.c - tiles of integer products: packed 4- and 8-bit weights by int8 activations.
 *
 * Inside a block of 32 columns everything is integer and exact, so only the order of the blocks,
 * which is ascending for every tile, decides how a row rounds: the same bits for any batch.
 *
 * Quants are put together from their planes in registers. Unsigned ones maddubs multiplies
 * directly, and as many steps of it as fit are added in 16 bits (of four bits eight: 8 * 2 * 15 *
 * 127 = 30480); a bias counts as a min. Signed ones, of S8 and of the table, move their sign to the
 * activation; one step fills 16 bits (2 * 128 * 127 = 32512), so each is widened at once. The sums
 * of quants that zeros of x multiply are made beside the products by the first tile of some
 * weights, times their factors, and left to the others as floats (px_tile).
 */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"
#include "kernels/dtype_blocks.h"

enum { L = PX_AVX2_LANES, GROUPS = 1, ROWS = PX_AVX2_Q8_ROWS };

/* Four columns of a row of x in every lane. */
PX_INLINE __m256i x_step(const uint8_t *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* One of the floats of a px_q8_block. */
PX_INLINE __m256 x_float(const uint8_t *x, size_t at)
{
    return _mm256_broadcast_ss((const float *)(x + at));
}

PX_INLINE __m256 load_f16(const uint8_t *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
}

PX_INLINE __m256 load_s16(const uint8_t *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)from)));
}

/* Small numbers of each lane, as words. */
PX_INLINE __m256i load_u8(const uint8_t *from)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

PX_INLINE __m256i load_s8(const uint8_t *from)
{
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

/* Each word twice, as the 16-bit factors of a madd. */
PX_INLINE __m256i factor_of(__m256i words)
{
    return _mm256_blend_epi16(words, _mm256_slli_epi32(words, 16), 0xaa);
}

/* --- quants ----------------------------------------------------------------------------------- */

/* A step of a plane, its bits at `at` of each byte. */
PX_INLINE __m256i take_bits(const uint8_t *plane, const int bits, const int step, const int at)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(plane + 32 * (step * bits / 8)));
    const int from = step * bits % 8;
    if (from > at) bytes = _mm256_srli_epi16(bytes, from - at);
    if (from < at) bytes = _mm256_slli_epi16(bytes, at - from);
    return _mm256_and_si256(bytes, _mm256_set1_epi8((char)(((1 << bits) - 1) << at)));
}

/* The quants of four columns; of the table what they say. */
PX_INLINE __m256i take_step(const px_packing packing, const uint8_t *quants, const int step)
{
    const px_quant_form form = px_quant_forms[packing];
    if (form.low_bits == 8) return _mm256_loadu_si256((const __m256i *)(quants + 32 * step));
    __m256i low = take_bits(quants, form.low_bits, step, 0);
    if (form.table) {
        __m128i table = _mm_loadu_si128((const __m128i *)px_iq4_values);
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), low);
    }
    if (!form.high_bits) return low;
    const uint8_t *plane = quants + px_plane_bytes(form.low_bits) * L;
    return _mm256_or_si256(low, take_bits(plane, form.high_bits, step, form.low_bits));
}

/* sums[row] += unsigned quants . x over the steps [begin, end), in units of `factor` */
PX_INLINE void dot_unsigned(const px_packing packing, const int rows, const int begin,
    const int end, const uint8_t *quants, const uint8_t *x, size_t x_stride, __m256i factor,
    __m256i *sums, __m256i *of_quants)
{
    const px_quant_form form = px_quant_forms[packing];
    const int largest = (1 << (form.low_bits + form.high_bits)) - 1;
    const int fit = INT16_MAX / (2 * 127 * largest); /* steps that do in 16 bits */
    __m256i sums16[ROWS], sums8 = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int step = begin; step < end; step++) {
        __m256i w = take_step(packing, quants, step);
        if (of_quants) { /* of six bits four steps fit, of five eight */
            sums8 = _mm256_add_epi8(sums8, w);
            PX_KEEP(sums8);
        }
        const bool first = (step - begin) % fit == 0;
        const bool last = step + 1 == end || (step + 1 - begin) % fit == 0;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m256i product = _mm256_maddubs_epi16(w, x_step(x + r * x_stride + 4 * step));
            sums16[r] = first ? product : _mm256_add_epi16(sums16[r], product);
            PX_KEEP(sums16[r]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows && last; r++) {
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(sums16[r], factor));
        }
    }
    if (!of_quants) return;
    sums8 = _mm256_maddubs_epi16(sums8, _mm256_set1_epi8(1));
    *of_quants = _mm256_add_epi32(*of_quants, _mm256_madd_epi16(sums8, factor));
}

/* sums[row] += signed quants . x over 32 columns */
PX_INLINE void dot_signed(const px_packing packing, const int rows, const uint8_t *quants,
    const uint8_t *x, size_t x_stride, __m256i *sums, __m256i *of_quants)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum16 = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int step = 0; step < 8; step++) {
        __m256i w = take_step(packing, quants, step);
        __m256i magnitude = _mm256_abs_epi8(w);
        if (of_quants) {
            sum16 = _mm256_add_epi16(sum16, _mm256_maddubs_epi16(_mm256_set1_epi8(1), w));
            PX_KEEP(sum16);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            __m256i signed_x = _mm256_sign_epi8(x_step(x + r * x_stride + 4 * step), w);
            __m256i product = _mm256_maddubs_epi16(magnitude, signed_x);
            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(product, ones));
            PX_KEEP(sums[r]);
        }
    }
    if (of_quants) *of_quants = _mm256_madd_epi16(sum16, ones);
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* What a block of 32 columns of a group says besides its quants. */
typedef struct block_head {
    __m256 scale;         /* of products and sum together */
    __m256i factor[2];    /* of the products, as integers; [1]: of columns 16-31 in halves */
    __m256 sum;           /* of the quants, each times its factor: times an activation's zero */
    __m256 min, min_high; /* times its sum */
} block_head;

/* Weights of a group as they are read: d and dmin are of 256 columns. */
typedef struct group_at {
    const uint8_t *heads, *quants;
    __m256 d, dmin;
} group_at;

/* From `quants` on: a unit, and if `block` is the first of 256 columns its d. */
PX_INLINE void begin_unit(const px_packing packing, uint32_t block, group_at *at)
{
    const px_quant_form form = px_quant_forms[packing];
    if (form.super && block % 8 == 0) {
        at->d = load_f16(at->quants);
        if (form.mins) at->dmin = _mm256_sub_ps(_mm256_setzero_ps(), load_f16(at->quants + 2 * L));
        at->quants += PX_SUPER_BYTES * L;
    }
    at->heads = at->quants;
    at->quants += PX_HEADS_BYTES * L;
}

/* Factors and mins of 16 columns each. */
PX_INLINE void read_halves(
    const px_packing packing, const uint8_t *head, const group_at *at, block_head *out)
{
    __m256i scales[2], mins[2];
    __m256 dmin = at->dmin;
    for (int h = 0; h < 2; h++, head += L) {
        scales[h] = mins[h] = packing == PX_PACKING_U2_K ? load_u8(head) : load_s8(head);
        if (packing == PX_PACKING_U2_K) {
            scales[h] = _mm256_and_si256(scales[h], _mm256_set1_epi32(15));
            mins[h] = _mm256_srli_epi32(mins[h], 4);
        }
        out->factor[h] = factor_of(scales[h]);
    }
    if (packing != PX_PACKING_U2_K)
        dmin = _mm256_mul_ps(at->d, _mm256_set1_ps(-(float)px_quant_forms[packing].bias));
    out->scale = at->d;
    out->min = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(mins[0]));
    out->min_high = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(mins[1]));
}

PX_INLINE void read_head(const px_packing packing, group_at *at, block_head *out)
{
    const px_quant_form form = px_quant_forms[packing];
    const uint8_t *head = at->heads;
    at->heads += px_block_head_bytes(packing) * L;
    out->factor[0] = _mm256_set1_epi16(1);
    if (form.halves) {
        read_halves(packing, head, at, out);
    } else if (form.super && form.mins) {
        out->scale = at->d;
        out->factor[0] = factor_of(load_u8(head));
        out->min = _mm256_mul_ps(at->dmin, _mm256_cvtepi32_ps(load_u8(head + L)));
    } else if (form.super) {
        out->scale = _mm256_mul_ps(at->d, _mm256_cvtepi32_ps(load_s8(head)));
    } else {
        out->scale = load_f16(head);
        if (form.mins) out->min = load_f16(head + 2 * L);
        if (form.sums) out->sum = load_s16(head + 2 * L);
        if (form.bias) out->min = _mm256_mul_ps(out->scale, _mm256_set1_ps(-(float)form.bias));
    }
}

/* `again`: an earlier tile left the sums of the quants, if blocks do not have them. */
PX_INLINE void sum_blocks(const px_packing packing, const bool again, const int rows,
    const px_tile *op, __m256 out[GROUPS][ROWS])
{
    const px_quant_form form = px_quant_forms[packing];
    const bool is_signed = form.low_bits == 8 || form.table;
    const uint32_t blocks = op->cols / 32;
    const size_t block_bytes = (px_block_head_bytes(packing) + px_quants_bytes(packing)) * L;
    const size_t x_stride = op->x_stride;
    const uint8_t *x = op->x;
    float *left = (float *)op->sums;
    __m256 *acc = out[0];
    group_at group = {.quants = op->w};
    for (uint32_t block = 0; block < blocks; block++, x += sizeof(px_q8_block)) {
        block_head head;
        __m256i sums[ROWS], sum = _mm256_setzero_si256(),
                            *of_quants = again || form.sums ? NULL : &sum;
        if (block % px_unit_blocks(packing) == 0) begin_unit(packing, block, &group);
        read_head(packing, &group, &head);
        const uint8_t *w = group.quants;
        if (px_asks_ahead(rows) && !again) {
#pragma GCC unroll 8
            for (size_t i = 0; i < block_bytes; i += 64) px_ask_ahead(w + i);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) sums[r] = _mm256_setzero_si256();
        if (is_signed) {
            dot_signed(packing, rows, w, x, x_stride, sums, of_quants);
        } else if (form.halves) {
            dot_unsigned(packing, rows, 0, 4, w, x, x_stride, head.factor[0], sums, of_quants);
            dot_unsigned(packing, rows, 4, 8, w, x, x_stride, head.factor[1], sums, of_quants);
        } else {
            dot_unsigned(packing, rows, 0, 8, w, x, x_stride, head.factor[0], sums, of_quants);
        }
        group.quants += px_quants_bytes(packing) * L;
        if (!form.sums) head.sum = again ? _mm256_load_ps(left) : _mm256_cvtepi32_ps(sum);
        if (of_quants && left) _mm256_store_ps(left, head.sum);
        if (left) left += L;

#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const uint8_t *at = x + r * x_stride;
            __m256 product = _mm256_mul_ps(
                _mm256_cvtepi32_ps(sums[r]), x_float(at, offsetof(px_q8_block, scale)));
            product = _mm256_fmadd_ps(head.sum, x_float(at, offsetof(px_q8_block, zero)), product);
            acc[r] = _mm256_fmadd_ps(product, head.scale, acc[r]);
            __m256 x_sum = x_float(at, offsetof(px_q8_block, sum));
            if (form.halves) {
                __m256 half = x_float(at, offsetof(px_q8_block, half));
                acc[r] = _mm256_fmadd_ps(head.min, half, acc[r]);
                acc[r] = _mm256_fmadd_ps(head.min_high, _mm256_sub_ps(x_sum, half), acc[r]);
            } else if (form.mins || form.bias) {
                acc[r] = _mm256_fmadd_ps(head.min, x_sum, acc[r]);
            }
        }
    }
}

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, __m256 out[GROUPS][ROWS])
{
    (void)groups;
    if (op->again)
        sum_blocks(packing, true, rows, op, out);
    else
        sum_blocks(packing, false, rows, op, out);
}

#include "kernels/vector/tile.h"

TILES(u4, PX_PACKING_U4, 1)
TILES(u4_min, PX_PACKING_U4_MIN, 1)
TILES(u4_k, PX_PACKING_U4_K, 1)
TILES(u5, PX_PACKING_U5, 1)
TILES(u5_min, PX_PACKING_U5_MIN, 1)
TILES(u5_k, PX_PACKING_U5_K, 1)
TILES(u2_k, PX_PACKING_U2_K, 1)
TILES(u3_k, PX_PACKING_U3_K, 1)
TILES(u6_k, PX_PACKING_U6_K, 1)
TILES(s8, PX_PACKING_S8, 1)
TILES(t4, PX_PACKING_T4, 1)
TILES(t4_k, PX_PACKING_T4_K, 1)

px_tile_fn px_avx2_q8_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][TILE_ROWS_MAX] = {
        [PX_PACKING_U4] = TILE_NAMES(u4, 1),
        [PX_PACKING_U4_MIN] = TILE_NAMES(u4_min, 1),
        [PX_PACKING_U4_K] = TILE_NAMES(u4_k, 1),
        [PX_PACKING_U5] = TILE_NAMES(u5, 1),
        [PX_PACKING_U5_MIN] = TILE_NAMES(u5_min, 1),
        [PX_PACKING_U5_K] = TILE_NAMES(u5_k, 1),
        [PX_PACKING_U2_K] = TILE_NAMES(u2_k, 1),
        [PX_PACKING_U3_K] = TILE_NAMES(u3_k, 1),
        [PX_PACKING_U6_K] = TILE_NAMES(u6_k, 1),
        [PX_PACKING_S8] = TILE_NAMES(s8, 1),
        [PX_PACKING_T4] = TILE_NAMES(t4, 1),
        [PX_PACKING_T4_K] = TILE_NAMES(t4_k, 1),
    };
    assert(groups == 1 && rows <= ROWS);
    return tiles[packing][rows - 1];
}
