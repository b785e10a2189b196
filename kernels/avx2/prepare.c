/* prepare.c - activations to int8 with a scale for each 32, as packed.h lays them out. */
#include "kernels/avx2/avx2.h"

#include <assert.h>

px_act_kind px_avx2_act_kind(px_dtype weights)
{
    switch (px_packing_of(weights)) {
    case PX_PACKING_F32:
    case PX_PACKING_F16:
    case PX_PACKING_BF16: return PX_ACT_F32;
    default: return PX_ACT_Q8;
    }
}

size_t px_avx2_act_row_bytes(px_act_kind kind, uint32_t cols)
{
    assert(kind == PX_ACT_F32 || kind == PX_ACT_Q8);
    return kind == PX_ACT_Q8 ? px_q8_row_bytes(cols) : cols * sizeof(float);
}

static int sum_epi16(__m256i v)
{
    __m256i pairs = _mm256_madd_epi16(v, _mm256_set1_epi16(1));
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 1)));
}

static void quantise_block(const float *x, uint8_t *row, uint32_t cols, uint32_t block)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v[4], largest = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, v[i]));
    }
    float most = px_max8(largest), scale = most / 127.0f;
    __m256 inverse = _mm256_set1_ps(most > 0 ? 127.0f / most : 0.0f);
    __m256i q[4];
    for (int i = 0; i < 4; i++) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    /* packs works within 128-bit halves; the permutation puts columns back in order */
    __m256i first = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8);
    __m256i second = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[2], q[3]), 0xd8);
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(first, second), 0xd8);
    _mm256_storeu_si256((__m256i *)(row + 32 * (size_t)block), bytes);

    int half = sum_epi16(first), sum = half + sum_epi16(second);
    ((float *)(row + px_q8_scale_at(cols)))[block] = scale;
    ((float *)(row + px_q8_sum_at(cols)))[block] = scale * (float)sum;
    ((float *)(row + px_q8_half_at(cols)))[block] = scale * (float)half;
}

void px_avx2_prepare(const px_prepare *op, px_part part)
{
    const px_act *to = op->to;
    uint8_t *data = to->data;
    uint32_t begin, end;
    if (to->kind == PX_ACT_F32) {
        if (to->data == op->x) return;
        px_part_range(part, to->rows, 1, &begin, &end);
        for (size_t i = begin; i < end; i++) {
            memcpy(data + i * to->row_bytes, op->x + i * op->x_stride, to->cols * sizeof(float));
        }
        return;
    }
    assert(to->kind == PX_ACT_Q8 && to->cols % 32 == 0);
    uint32_t blocks = to->cols / 32;
    px_part_range(part, to->rows * blocks, 1, &begin, &end);
    for (uint32_t i = begin; i < end; i++) {
        uint32_t row = i / blocks, block = i % blocks;
        quantise_block(
            op->x + row * op->x_stride + block * 32, data + row * to->row_bytes, to->cols, block);
    }
}
