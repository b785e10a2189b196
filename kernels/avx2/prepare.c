/* prepare.c - activations to int8 with a scale and a zero for each 32, as packed.h has them. */
#include <assert.h>

#include "kernels/avx2/avx2.h"
#include "kernels/scalar/scalar.h"

px_act_kind px_avx2_act_kind(px_dtype weights)
{
    return px_packing_takes_floats(px_packing_of(weights)) ? PX_ACT_F32 : PX_ACT_Q8;
}

size_t px_avx2_act_row_bytes(px_act_kind kind, uint32_t cols)
{
    assert(kind == PX_ACT_F32 || kind == PX_ACT_Q8);
    return kind == PX_ACT_Q8 ? cols / 32 * sizeof(px_q8_block) : cols * sizeof(float);
}

static int sum_epi16(__m256i v)
{
    __m256i pairs = _mm256_madd_epi16(v, _mm256_set1_epi16(1));
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 1)));
}

static void quantise_block(const float *x, px_q8_block *to)
{
    __m256 v[4];
    for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(x + 8 * i);
    __m256 high = _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3]));
    __m256 low = _mm256_min_ps(_mm256_min_ps(v[0], v[1]), _mm256_min_ps(v[2], v[3]));
    float most = px_max8(high), least = -px_max8(_mm256_xor_ps(low, _mm256_set1_ps(-0.0f)));
    float zero = 0.5f * most + 0.5f * least, span = most - least;
    float scale = span / 254.0f, inverse = span > 0 ? 254.0f / span : 0.0f;

    __m256i q[4];
    for (int i = 0; i < 4; i++) {
        q[i] = _mm256_cvtps_epi32(
            _mm256_mul_ps(_mm256_sub_ps(v[i], _mm256_set1_ps(zero)), _mm256_set1_ps(inverse)));
    }
    /* packs works within 128-bit halves; the permutation puts columns back in order */
    __m256i first = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8);
    __m256i second = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[2], q[3]), 0xd8);
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(first, second), 0xd8);
    _mm256_storeu_si256((__m256i *)to->quant, bytes);

    int half = sum_epi16(first), sum = half + sum_epi16(second);
    to->scale = scale;
    to->zero = zero;
    to->sum = scale * (float)sum + 32 * zero;
    to->half = scale * (float)half + 16 * zero;
    to->offset = -128 * sum;
    to->offset_half = -128 * half;
}

void px_avx2_prepare(const px_prepare *op, px_part part)
{
    const px_act *to = op->to;
    uint8_t *data = to->data;
    uint32_t begin, end;
    if (to->kind == PX_ACT_F32) {
        px_scalar_prepare(op, part);
        return;
    }
    assert(to->kind == PX_ACT_Q8 && to->cols % 32 == 0 && !op->from);
    uint32_t blocks = to->cols / 32;
    px_part_range(part, to->rows * blocks, 1, &begin, &end);
    for (uint32_t i = begin; i < end; i++) {
        uint32_t row = i / blocks, block = i % blocks;
        quantise_block(op->x + row * op->x_stride + block * 32,
            (px_q8_block *)(data + row * to->row_bytes) + block);
    }
}
