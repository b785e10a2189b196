/* pack.c - eight rows at a time into the layouts of packed.h, for both vector backends.
 *
 * Eight rows' words of four bytes are turned so that a vector holds the same word of each row. From
 * there on all work is for eight rows at once: nibbles and bits are put together where they lie.
 * packed.c does the same a row at a time and is the specification; the bytes are equal.
 */
#include "kernels/avx2/avx2.h"

#include <string.h>

#include "kernels/dtype_blocks.h"

enum { ROWS = 8 };

typedef struct source { /* a block of eight rows */
    const uint8_t *at;
    size_t stride; /* from row to row */
} source;

typedef struct target {    /* eight lanes of a unit, or of a block of one */
    uint8_t *heads, *at;   /* where quants go, or all that has no heads */
    uint32_t lanes, first; /* of the group; the first of the eight */
} target;

/* --- words of eight rows ---------------------------------------------------------------------- */

PX_INLINE __m128i row16(source from, size_t offset, int row)
{
    return _mm_loadu_si128((const __m128i *)(from.at + offset + (size_t)row * from.stride));
}

/* Words 0-3 of 16 bytes of each row. */
PX_INLINE void take_words4(source from, size_t offset, __m256i *words)
{
    __m256i r[4], t[4];
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++)
        r[i] = _mm256_inserti128_si256(
            _mm256_castsi128_si256(row16(from, offset, i)), row16(from, offset, i + 4), 1);
    t[0] = _mm256_unpacklo_epi32(r[0], r[1]);
    t[1] = _mm256_unpackhi_epi32(r[0], r[1]);
    t[2] = _mm256_unpacklo_epi32(r[2], r[3]);
    t[3] = _mm256_unpackhi_epi32(r[2], r[3]);
    words[0] = _mm256_unpacklo_epi64(t[0], t[2]);
    words[1] = _mm256_unpackhi_epi64(t[0], t[2]);
    words[2] = _mm256_unpacklo_epi64(t[1], t[3]);
    words[3] = _mm256_unpackhi_epi64(t[1], t[3]);
}

PX_INLINE void take_words8(source from, size_t offset, __m256i *words)
{
    take_words4(from, offset, words);
    take_words4(from, offset + 16, words + 4);
}

/* A 16-bit number of each row. */
PX_INLINE __m128i take_halves(source from, size_t offset)
{
    uint16_t halves[ROWS];
    for (int i = 0; i < ROWS; i++)
        memcpy(&halves[i], from.at + offset + (size_t)i * from.stride, sizeof *halves);
    return _mm_loadu_si128((const __m128i *)halves);
}

PX_INLINE __m256i and8(__m256i v, int mask) /* of each byte */
{
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* `bits` of each byte from bit `shift` on, at the byte's bottom. */
PX_INLINE __m256i bits_at(__m256i v, int shift, int bits)
{
    return and8(_mm256_srli_epi32(v, shift), (1 << bits) - 1);
}

/* --- parts of a unit -------------------------------------------------------------------------- */

/* `offset`s are bytes for each lane. */

/* Part `index` of those that are a word for each lane. */
PX_INLINE void put_words(target to, size_t offset, int index, __m256i words)
{
    uint8_t *at = to.at + offset * to.lanes + ((size_t)index * to.lanes + to.first) * 4;
    _mm256_storeu_si256((__m256i *)at, words);
}

PX_INLINE void put_halves(target to, size_t offset, __m128i halves)
{
    _mm_storeu_si128((__m128i *)(to.heads + offset * to.lanes + (size_t)to.first * 2), halves);
}

/* The low halves of eight words. */
PX_INLINE __m128i halves_of(__m256i words)
{
    words = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* The low bytes of eight words. */
PX_INLINE void put_bytes(target to, size_t offset, __m256i words)
{
    words = _mm256_and_si256(words, _mm256_set1_epi32(0xff));
    __m128i halves = halves_of(words);
    _mm_storel_epi64(
        (__m128i *)(to.heads + offset * to.lanes + to.first), _mm_packus_epi16(halves, halves));
}

/* Each byte of `v` shifted, up or down, and cut to `bits` from bit `at` on. */
PX_INLINE __m256i move_bits(__m256i v, int from, int at, int bits)
{
    if (from > at) v = _mm256_srli_epi32(v, from - at);
    if (from < at) v = _mm256_slli_epi32(v, at - from);
    return and8(v, ((1 << bits) - 1) << at);
}

/* Bits [from, from + bits) of each quant, as a plane. */
PX_INLINE void put_plane(
    target to, size_t offset, const __m256i quants[8], const int from, const int bits)
{
    const int in_byte = 8 / bits; /* steps */
#pragma GCC unroll 8
    for (int i = 0; i < bits; i++) {
        __m256i bytes = move_bits(quants[i * in_byte], from, 0, bits);
#pragma GCC unroll 8
        for (int k = 1; k < in_byte; k++)
            bytes =
                _mm256_or_si256(bytes, move_bits(quants[i * in_byte + k], from, k * bits, bits));
        put_words(to, offset, i, bytes);
    }
}

PX_INLINE void put_quants(
    target to, size_t offset, const px_packing packing, const __m256i quants[8])
{
    const px_quant_form form = px_quant_forms[packing];
    put_plane(to, offset, quants, 0, form.low_bits);
    offset += px_plane_bytes(form.low_bits);
    if (form.high_bits) put_plane(to, offset, quants, form.low_bits, form.high_bits);
}

/* --- blocks of 32 columns --------------------------------------------------------------------- */

/* 16 bytes whose low nibbles are columns 0-15 and high nibbles 16-31: eight steps. */
PX_INLINE void take_split_nibbles(source from, size_t offset, __m256i steps[8])
{
    __m256i words[4];
    take_words4(from, offset, words);
#pragma GCC unroll 8
    for (int s = 0; s < 8; s++) steps[s] = bits_at(words[s % 4], s / 4 * 4, 4);
}

PX_INLINE void put_q4(source from, target to, const px_packing packing)
{
    const bool has_min = px_quant_forms[packing].mins;
    const size_t head = has_min ? 4 : 2;
    __m256i steps[8];
    take_split_nibbles(from, head, steps);
    put_halves(to, 0, take_halves(from, 0));
    if (has_min) put_halves(to, 2, take_halves(from, 2));
    put_quants(to, 0, packing, steps);
}

/* Bits 4 s .. 4 s + 3 of each row's word, one for each byte, as 16. */
PX_INLINE __m256i fifth_bits(__m256i bits, int s)
{
    __m256i four = _mm256_and_si256(_mm256_srli_epi32(bits, 4 * s), _mm256_set1_epi32(15));
    __m256i spread = _mm256_mullo_epi32(four, _mm256_set1_epi32(0x00204081));
    return _mm256_slli_epi32(and8(spread, 1), 4);
}

PX_INLINE void put_q5(source from, target to, const px_packing packing)
{
    const bool has_min = px_quant_forms[packing].mins;
    const size_t head = has_min ? 4 : 2;
    __m256i steps[8], words[4];
    take_words4(from, 0, words); /* the scale, the min, the bits, and something of the nibbles */
    __m256i bits =
        has_min ? words[1]
                : _mm256_or_si256(_mm256_srli_epi32(words[0], 16), _mm256_slli_epi32(words[1], 16));
    take_split_nibbles(from, head + 4, steps);
#pragma GCC unroll 8
    for (int s = 0; s < 8; s++) steps[s] = _mm256_or_si256(steps[s], fifth_bits(bits, s));
    put_halves(to, 0, halves_of(words[0]));
    if (has_min) put_halves(to, 2, halves_of(_mm256_srli_epi32(words[0], 16)));
    put_quants(to, 0, packing, steps);
}

/* Of each row's 32 quants. */
PX_INLINE __m256i sum_signed(const __m256i quants[8])
{
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(ones, quants[i]));
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

PX_INLINE void put_q8_0(source from, target to)
{
    __m256i quants[8];
    take_words8(from, 2, quants);
    put_halves(to, 0, take_halves(from, 0));
    put_halves(to, 2, halves_of(sum_signed(quants)));
#pragma GCC unroll 8
    for (int s = 0; s < 8; s++) put_words(to, 0, s, quants[s]);
}

PX_INLINE void put_iq4_nl(source from, target to)
{
    __m256i codes[8];
    take_split_nibbles(from, 2, codes);
    put_halves(to, 0, take_halves(from, 0));
    put_quants(to, 0, PX_PACKING_T4, codes);
}

/* Low nibbles of four bytes in the low half of each word. */
PX_INLINE __m256i gather_nibbles(__m256i words)
{
    words = and8(words, 15);
    words = _mm256_or_si256(words, _mm256_srli_epi32(words, 4));
    words = _mm256_and_si256(words, _mm256_set1_epi32(0x00ff00ff));
    words = _mm256_or_si256(words, _mm256_srli_epi32(words, 8));
    return _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
}

PX_INLINE void put_mxfp4(source from, target to)
{
    __m256i words[4];
    for (int i = 0; i < ROWS; i++) to.at[to.first + (size_t)i] = from.at[(size_t)i * from.stride];
    take_words4(from, 1, words);
#pragma GCC unroll 8
    for (int j = 0; j < 4; j++) {
        __m256i low = _mm256_srli_epi32(words[j % 2 * 2], j / 2 * 4);
        __m256i high = _mm256_srli_epi32(words[j % 2 * 2 + 1], j / 2 * 4);
        put_words(to, 1, j,
            _mm256_or_si256(gather_nibbles(low), _mm256_slli_epi32(gather_nibbles(high), 16)));
    }
}

/* --- 256 columns of a K type ------------------------------------------------------------------ */

/* Byte `index` of groups of four, at the bottom of each word. */
PX_INLINE __m256i byte_of(const __m256i *words, int index)
{
    return _mm256_srli_epi32(words[index / 4], index % 4 * 8);
}

/* Eight scales and mins of six bits each, four to a word, from d, dmin and twelve bytes. */
PX_INLINE void take_k_scales(
    source from, __m256i *out_ds, __m256i out_scales[2], __m256i out_mins[2])
{
    __m256i words[4];
    take_words4(from, 0, words);
    *out_ds = words[0];
    out_scales[0] = and8(words[1], 63);
    out_mins[0] = and8(words[2], 63);
    out_scales[1] = _mm256_or_si256(and8(words[3], 15), and8(_mm256_srli_epi32(words[1], 2), 0x30));
    out_mins[1] =
        _mm256_or_si256(bits_at(words[3], 4, 4), and8(_mm256_srli_epi32(words[2], 2), 0x30));
}

PX_INLINE void put_ds(target to, __m256i ds)
{
    put_halves(to, 0, halves_of(ds));
    put_halves(to, 2, halves_of(_mm256_srli_epi32(ds, 16)));
}

/* Block `b` with two bytes for a head. */
PX_INLINE void put_block(target to, int b, const px_packing packing, __m256i first, __m256i second,
    const __m256i quants[8])
{
    size_t head = px_head_at(packing, (uint32_t)b);
    put_bytes(to, head, first);
    put_bytes(to, head + 1, second);
    put_quants(to, px_quants_at(packing, (uint32_t)b), packing, quants);
}

/* 32 bytes hold a block in their low and the next in their high nibbles. */
PX_INLINE void put_q4_k(source from, target to)
{
    __m256i ds, scales[2], mins[2], words[8], quants[8];
    take_k_scales(from, &ds, scales, mins);
    put_ds(to, ds);
#pragma GCC unroll 8
    for (int pair = 0; pair < 4; pair++) {
        take_words8(from, 16 + (size_t)pair * 32, words);
#pragma GCC unroll 8
        for (int b = 2 * pair; b < 2 * pair + 2; b++) {
#pragma GCC unroll 8
            for (int s = 0; s < 8; s++) quants[s] = bits_at(words[s], b % 2 * 4, 4);
            put_block(to, b, PX_PACKING_U4_K, byte_of(scales, b), byte_of(mins, b), quants);
        }
    }
}

PX_INLINE void put_q5_k(source from, target to)
{
    __m256i ds, scales[2], mins[2], high[8], words[8], quants[8];
    take_k_scales(from, &ds, scales, mins);
    put_ds(to, ds);
    take_words8(from, 16, high);
#pragma GCC unroll 8
    for (int pair = 0; pair < 4; pair++) {
        take_words8(from, 48 + (size_t)pair * 32, words);
#pragma GCC unroll 8
        for (int b = 2 * pair; b < 2 * pair + 2; b++) {
#pragma GCC unroll 8
            for (int s = 0; s < 8; s++)
                quants[s] = _mm256_or_si256(
                    bits_at(words[s], b % 2 * 4, 4), _mm256_slli_epi32(bits_at(high[s], b, 1), 4));
            put_block(to, b, PX_PACKING_U5_K, byte_of(scales, b), byte_of(mins, b), quants);
        }
    }
}

/* Of 128 columns, quarter q has its low nibbles in words q % 2, and bits 2 q of the high ones. */
PX_INLINE void put_q6_k(source from, target to)
{
    __m256i scales[4], low[8], high[8], quants[8];
    take_words4(from, 192, scales);
    put_halves(to, 0, take_halves(from, 208));
    put_halves(to, 2, _mm_setzero_si128());
#pragma GCC unroll 8
    for (int half = 0; half < 2; half++) {
        take_words8(from, 128 + (size_t)half * 32, high);
#pragma GCC unroll 8
        for (int odd = 0; odd < 2; odd++) {
            take_words8(from, (size_t)half * 64 + (size_t)odd * 32, low);
#pragma GCC unroll 8
            for (int quarter = odd; quarter < 4; quarter += 2) {
                int b = half * 4 + quarter;
#pragma GCC unroll 8
                for (int s = 0; s < 8; s++)
                    quants[s] = _mm256_or_si256(bits_at(low[s], quarter / 2 * 4, 4),
                        _mm256_slli_epi32(bits_at(high[s], quarter * 2, 2), 4));
                put_block(to, b, PX_PACKING_U6_K, byte_of(scales, 2 * b),
                    byte_of(scales, 2 * b + 1), quants);
            }
        }
    }
}

/* Sixteen six-bit scales less 32: nibbles in the first two words, pairs of bits in the third. */
PX_INLINE void take_q3_scales(source from, __m256i out[4])
{
    __m256i words[4];
    take_words4(from, 92, words); /* the twelve bytes are words 1-3 */
#pragma GCC unroll 8
    for (int k = 0; k < 4; k++) {
        __m256i nibble = bits_at(words[1 + k % 2], k / 2 * 4, 4);
        __m256i pair = _mm256_slli_epi32(bits_at(words[3], k * 2, 2), 4);
        out[k] = _mm256_sub_epi8(_mm256_or_si256(nibble, pair), _mm256_set1_epi8(32));
    }
}

PX_INLINE void put_q3_k(source from, target to)
{
    __m256i scales[4], high[8], words[8], quants[8];
    take_q3_scales(from, scales);
    take_words8(from, 0, high);
    put_halves(to, 0, take_halves(from, 108));
    put_halves(to, 2, _mm_setzero_si128());
#pragma GCC unroll 8
    for (int half = 0; half < 2; half++) {
        take_words8(from, 32 + (size_t)half * 32, words);
#pragma GCC unroll 8
        for (int b = 4 * half; b < 4 * half + 4; b++) {
#pragma GCC unroll 8
            for (int s = 0; s < 8; s++)
                quants[s] = _mm256_or_si256(
                    bits_at(words[s], b % 4 * 2, 2), _mm256_slli_epi32(bits_at(high[s], b, 1), 2));
            put_block(
                to, b, PX_PACKING_U3_K, byte_of(scales, 2 * b), byte_of(scales, 2 * b + 1), quants);
        }
    }
}

PX_INLINE void put_q2_k(source from, target to)
{
    __m256i both[4], words[8], quants[8]; /* scales in low nibbles, mins in high ones */
    take_words4(from, 0, both);
    put_halves(to, 0, take_halves(from, 80));
    put_halves(to, 2, take_halves(from, 82));
#pragma GCC unroll 8
    for (int half = 0; half < 2; half++) {
        take_words8(from, 16 + (size_t)half * 32, words);
#pragma GCC unroll 8
        for (int b = 4 * half; b < 4 * half + 4; b++) {
#pragma GCC unroll 8
            for (int s = 0; s < 8; s++) quants[s] = bits_at(words[s], b % 4 * 2, 2);
            put_block(
                to, b, PX_PACKING_U2_K, byte_of(both, 2 * b), byte_of(both, 2 * b + 1), quants);
        }
    }
}

PX_INLINE void put_iq4_xs(source from, target to)
{
    __m256i words[4], codes[8];
    take_words4(from, 0, words); /* d and high bits of the scales; their low nibbles */
    put_halves(to, 0, halves_of(words[0]));
    put_halves(to, 2, _mm_setzero_si128());
#pragma GCC unroll 8
    for (int b = 0; b < 8; b++) {
        __m256i low = _mm256_and_si256(_mm256_srli_epi32(words[1], 4 * b), _mm256_set1_epi32(15));
        __m256i high =
            _mm256_and_si256(_mm256_srli_epi32(words[0], 16 + 2 * b), _mm256_set1_epi32(3));
        __m256i scale = _mm256_sub_epi32(
            _mm256_or_si256(low, _mm256_slli_epi32(high, 4)), _mm256_set1_epi32(32));
        take_split_nibbles(from, 8 + (size_t)b * 16, codes);
        put_bytes(to, px_head_at(PX_PACKING_T4_K, (uint32_t)b), scale);
        put_quants(to, px_quants_at(PX_PACKING_T4_K, (uint32_t)b), PX_PACKING_T4_K, codes);
    }
}

/* --- floats ----------------------------------------------------------------------------------- */

/* A cache line of each row at once: rows are often powers of two apart, where no more than eight
 * lines at the same place stay in the first-level cache. */
enum { LINE_BYTES = 64, LINE_WORDS4 = LINE_BYTES / 16 };

/* A column of F32 or two of BF16 to a word. */
PX_INLINE void put_whole_words(source from, target to)
{
#pragma GCC unroll 4
    for (int i = 0; i < LINE_WORDS4; i++) {
        __m256i words[4];
        take_words4(from, 16 * (size_t)i, words);
#pragma GCC unroll 4
        for (int w = 0; w < 4; w++) put_words(to, 0, 4 * i + w, words[w]);
    }
}

/* Two columns of F16 to a word. */
PX_INLINE void put_f16(source from, target to)
{
#pragma GCC unroll 4
    for (int i = 0; i < LINE_WORDS4; i++) {
        __m256i words[4];
        take_words4(from, 16 * (size_t)i, words);
#pragma GCC unroll 4
        for (int w = 0; w < 4; w++) {
            size_t at = 4 * (size_t)(4 * i + w);
            put_halves(to, at, halves_of(words[w]));
            put_halves(to, at + 2, halves_of(_mm256_srli_epi32(words[w], 16)));
        }
    }
}

/* --- groups ----------------------------------------------------------------------------------- */

typedef struct step { /* what is packed at once: columns, their bytes in a row and in a lane */
    uint32_t cols, row_bytes, lane_bytes;
} step;

PX_INLINE void put_group(const px_pack *op, const uint8_t *from, uint8_t *to, uint32_t lanes,
    step by, void (*put)(source, target))
{
    /* Meanwhile the next group comes from memory, in order. */
    const uint8_t *next = from + lanes * op->from_row_bytes;
    for (uint32_t c = 0; c < op->cols; c += by.cols) {
        for (uint32_t first = 0; first < lanes; first += ROWS)
            put((source){from + first * op->from_row_bytes, op->from_row_bytes},
                (target){to, to, lanes, first});
        for (uint32_t i = 0; i < lanes * by.row_bytes; i += 64)
            _mm_prefetch((const char *)next + i, _MM_HINT_T1);
        next += (size_t)lanes * by.row_bytes;
        from += by.row_bytes;
        to += (size_t)by.lane_bytes * lanes;
    }
}

/* Of integers. */
PX_INLINE void put_units(const px_pack *op, const uint8_t *from, uint8_t *to, uint32_t lanes,
    void (*put)(source, target))
{
    const px_packing packing = px_packing_of(op->dtype);
    const px_dtype_traits *traits = px_dtype_of(op->dtype);
    const bool super = px_quant_forms[packing].super;
    const uint32_t bytes = traits->block_bytes, most = super ? 8 : px_unit_blocks(packing);
    const size_t quants = px_quants_bytes(packing) * lanes;
    const size_t head = px_block_head_bytes(packing) * lanes;
    const size_t unit_bytes = px_packed_group_bytes(packing, lanes, 32 * most);
    const uint8_t *next = from + lanes * op->from_row_bytes;
    for (uint32_t left = op->cols / 32, blocks; left; left -= blocks) {
        blocks = left < most ? left : most; /* less is the last */
        target at = {.heads = to, .at = to + (super ? 0 : PX_HEADS_BYTES * lanes), lanes, 0};
        if (blocks < most) memset(to + blocks * head, 0, (most - blocks) * head);
        to += unit_bytes;
        for (uint32_t b = 0; b < blocks; b += traits->block_elements / 32) {
            for (at.first = 0; at.first < lanes; at.first += ROWS)
                put((source){from + at.first * op->from_row_bytes, op->from_row_bytes}, at);
            for (uint32_t i = 0; i < lanes * bytes; i += 64)
                _mm_prefetch((const char *)next + i, _MM_HINT_T1);
            next += (size_t)lanes * bytes;
            from += bytes;
            at.heads += head;
            at.at += quants;
        }
    }
}

static inline void put_q4_0(source from, target to)
{
    put_q4(from, to, PX_PACKING_U4);
}
static inline void put_q4_1(source from, target to)
{
    put_q4(from, to, PX_PACKING_U4_MIN);
}
static inline void put_q5_0(source from, target to)
{
    put_q5(from, to, PX_PACKING_U5);
}
static inline void put_q5_1(source from, target to)
{
    put_q5(from, to, PX_PACKING_U5_MIN);
}

bool px_avx2_pack_group(const px_pack *op, const uint8_t *from, uint8_t *to, uint32_t lanes)
{
    const px_dtype_traits *traits = px_dtype_of(op->dtype);
    bool blocks = traits->block_elements > 1;
    uint32_t cols = blocks ? traits->block_elements : LINE_BYTES / traits->block_bytes;
    uint32_t row_bytes = blocks ? traits->block_bytes : cols * traits->block_bytes;
    if (op->cols % cols) return false;
    size_t unit_bytes = px_packed_group_bytes(px_packing_of(op->dtype), 1, cols);
    step by = {cols, row_bytes, (uint32_t)unit_bytes};
    switch (op->dtype) {
    case PX_F32:
    case PX_BF16: put_group(op, from, to, lanes, by, put_whole_words); return true;
    case PX_F16: put_group(op, from, to, lanes, by, put_f16); return true;
    case PX_Q8_0: put_units(op, from, to, lanes, put_q8_0); return true;
    case PX_Q4_0: put_units(op, from, to, lanes, put_q4_0); return true;
    case PX_Q4_1: put_units(op, from, to, lanes, put_q4_1); return true;
    case PX_Q5_0: put_units(op, from, to, lanes, put_q5_0); return true;
    case PX_Q5_1: put_units(op, from, to, lanes, put_q5_1); return true;
    case PX_Q2_K: put_units(op, from, to, lanes, put_q2_k); return true;
    case PX_Q3_K: put_units(op, from, to, lanes, put_q3_k); return true;
    case PX_Q4_K: put_units(op, from, to, lanes, put_q4_k); return true;
    case PX_Q5_K: put_units(op, from, to, lanes, put_q5_k); return true;
    case PX_Q6_K: put_units(op, from, to, lanes, put_q6_k); return true;
    case PX_IQ4_NL: put_units(op, from, to, lanes, put_iq4_nl); return true;
    case PX_IQ4_XS: put_units(op, from, to, lanes, put_iq4_xs); return true;
    case PX_MXFP4: put_group(op, from, to, lanes, by, put_mxfp4); return true;
    default: return false;
    }
}
