/* prepare.c - activations as AVX-512 reads them: AVX2's int8 blocks, four at a time, and bfloat16
 * where the CPU multiplies it. */
#include <assert.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"

px_act_kind px_avx512_bf16_act_kind(px_dtype weights)
{
    return weights == PX_BF16 ? PX_ACT_BF16 : px_avx2_act_kind(weights);
}

/* Whole pairs of columns. */
size_t px_avx512_act_row_bytes(px_act_kind kind, uint32_t cols)
{
    if (kind == PX_ACT_BF16) return ((size_t)cols + 1) / 2 * 2 * sizeof(uint16_t);
    return px_avx2_act_row_bytes(kind, cols);
}

/* Four blocks side by side: from its values to its sums a block is one long chain, and a CPU waits
 * for each that it does alone. */
enum { ABREAST = 4 };

typedef struct four { /* blocks, anywhere */
    const float *x[ABREAST];
    px_q8_block *to[ABREAST];
} four;

PX_INLINE __m128 quarter_of(__m512 v, const bool largest)
{
    __m256 a = _mm512_castps512_ps256(v), b = _mm512_extractf32x8_ps(v, 1);
    a = largest ? _mm256_max_ps(a, b) : _mm256_min_ps(a, b);
    __m128 c = _mm256_castps256_ps128(a), d = _mm256_extractf128_ps(a, 1);
    return largest ? _mm_max_ps(c, d) : _mm_min_ps(c, d);
}

/* The largest, or least, value of each v[i] in lane i. */
PX_INLINE __m128 ends_of(const __m128 *v, const bool largest)
{
    __m128 half[2];
    for (int i = 0; i < 2; i++) { /* lanes: block 2 i, 2 i + 1, 2 i, 2 i + 1 */
        __m128 a = _mm_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        __m128 b = _mm_unpackhi_ps(v[2 * i], v[2 * i + 1]);
        half[i] = largest ? _mm_max_ps(a, b) : _mm_min_ps(a, b);
    }
    __m128 a = _mm_movelh_ps(half[0], half[1]), b = _mm_movehl_ps(half[1], half[0]);
    return largest ? _mm_max_ps(a, b) : _mm_min_ps(a, b);
}

PX_INLINE __m128i quantise(__m512 v, __m512 zero, __m512 inverse)
{
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_sub_ps(v, zero), inverse)));
}

static void quantise_four(const four *f)
{
    __m512 v[ABREAST][2];
    __m128 high[ABREAST], low[ABREAST];
    for (int i = 0; i < ABREAST; i++) {
        v[i][0] = _mm512_loadu_ps(f->x[i]), v[i][1] = _mm512_loadu_ps(f->x[i] + 16);
        high[i] = quarter_of(_mm512_max_ps(v[i][0], v[i][1]), true);
        low[i] = quarter_of(_mm512_min_ps(v[i][0], v[i][1]), false);
    }
    const __m128 middle = _mm_set1_ps(0.5f), steps = _mm_set1_ps(254);
    __m128 most = ends_of(high, true), least = ends_of(low, false);
    __m128 zero = _mm_add_ps(_mm_mul_ps(middle, most), _mm_mul_ps(middle, least));
    __m128 span = _mm_sub_ps(most, least), scale = _mm_div_ps(span, steps);
    __mmask8 is_wide = _mm_cmp_ps_mask(span, _mm_setzero_ps(), _CMP_GT_OQ);
    __m128 inverse = _mm_maskz_div_ps(is_wide, steps, span);

    __m256i sums[ABREAST]; /* four of the first 16 quants, four of the others */
    for (int i = 0; i < ABREAST; i++) {
        const __m512i at = _mm512_set1_epi32(i);
        __m512 z = _mm512_permutexvar_ps(at, _mm512_castps128_ps512(zero));
        __m512 inv = _mm512_permutexvar_ps(at, _mm512_castps128_ps512(inverse));
        __m256i quants = _mm256_set_m128i(quantise(v[i][1], z, inv), quantise(v[i][0], z, inv));
        _mm256_storeu_si256((__m256i *)f->to[i]->quant, quants);
        sums[i] = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), quants);
    }
    __m256i both =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    __m128i half = _mm256_castsi256_si128(both);
    __m128i sum = _mm_add_epi32(half, _mm256_extracti128_si256(both, 1));

    __m128 rest[ABREAST] = {scale, zero,
        _mm_add_ps(_mm_mul_ps(scale, _mm_cvtepi32_ps(sum)), _mm_mul_ps(_mm_set1_ps(32), zero)),
        _mm_add_ps(_mm_mul_ps(scale, _mm_cvtepi32_ps(half)), _mm_mul_ps(_mm_set1_ps(16), zero))};
    _MM_TRANSPOSE4_PS(rest[0], rest[1], rest[2], rest[3]);
    const __m128i bias = _mm_set1_epi32(-128);
    __m128i offset = _mm_mullo_epi32(bias, sum), offset_half = _mm_mullo_epi32(bias, half);
    __m128i first = _mm_unpacklo_epi32(offset, offset_half);
    __m128i last = _mm_unpackhi_epi32(offset, offset_half);
    const __m128i offsets[ABREAST] = {
        first, _mm_unpackhi_epi64(first, first), last, _mm_unpackhi_epi64(last, last)};
    for (int i = 0; i < ABREAST; i++) {
        _mm_storeu_ps(&f->to[i]->scale, rest[i]); /* to half */
        _mm_storel_epi64((__m128i *)&f->to[i]->offset, offsets[i]);
    }
}

static void prepare_q8(const px_prepare *op, px_part part)
{
    const px_act *to = op->to;
    assert(to->cols % 32 == 0 && !op->from);
    uint32_t begin, end, blocks = to->cols / 32;
    px_part_range(part, to->rows * blocks, 1, &begin, &end);
    size_t row = begin / blocks, block = begin % blocks;
    for (uint32_t i = begin; i < end; i += ABREAST) {
        four f;
        for (uint32_t k = 0; k < ABREAST; k++) {
            f.x[k] = op->x + row * op->x_stride + block * 32;
            f.to[k] = (px_q8_block *)((uint8_t *)to->data + row * to->row_bytes) + block;
            if (i + k + 1 >= end) continue; /* where too few are left, the last one again */
            if (++block == blocks) block = 0, row++;
        }
        quantise_four(&f);
    }
}

static void prepare_bf16(const px_prepare *op, px_part part)
{
    const px_act *to = op->to;
    assert(!op->from);
    uint32_t begin, end;
    px_part_range(part, to->rows, 1, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        uint16_t *row = (uint16_t *)((uint8_t *)to->data + i * to->row_bytes);
        px_avx512_to_bf16(op->x + i * op->x_stride, to->cols, row);
        if (to->cols % 2) row[to->cols] = 0;
    }
}

void px_avx512_prepare(const px_prepare *op, px_part part)
{
    switch (op->to->kind) {
    case PX_ACT_Q8: prepare_q8(op, part); break;
    case PX_ACT_BF16: prepare_bf16(op, part); break;
    default: px_avx2_prepare(op, part);
    }
}
