/* avx512.h - the AVX-512 ops (F, BW, VL, DQ, VNNI): products; the rest is AVX2's. Internal. */
#ifndef PX_KERNELS_AVX512_H
#define PX_KERNELS_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernels/packed.h"

enum {
    PX_AVX512_LANES = 16,
    PX_AVX512_Q8_ROWS = 4,    /* most rows of x in an integer tile */
    PX_AVX512_FLOAT_ROWS = 8, /* and in a float tile */
};

const px_kernels *px_avx512_table(void);

size_t px_avx512_attention_scratch_floats(const px_attention *op);
bool px_avx512_attention(const px_attention *op, px_part part);
void px_avx512_attention_merge(const px_attention *op, px_part part);

px_tile_fn px_avx512_q8_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx512_float_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx512_scaled_tile(px_packing packing, uint32_t groups, uint32_t rows);

/* A sum of spans in every lane. */
typedef struct px_avx512_wide {
    __m512d low, high; /* lanes 0-7, 8-15 */
} px_avx512_wide;

PX_INLINE px_avx512_wide px_avx512_wide_zero(void)
{
    return (px_avx512_wide){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

PX_INLINE px_avx512_wide px_avx512_wide_add(px_avx512_wide sum, __m512 span)
{
    sum.low = _mm512_add_pd(sum.low, _mm512_cvtps_pd(_mm512_castps512_ps256(span)));
    sum.high = _mm512_add_pd(sum.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(span, 1)));
    return sum;
}

PX_INLINE __m512 px_avx512_wide_round(px_avx512_wide sum)
{
    __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps(sum.low));
    return _mm512_insertf32x8(low, _mm512_cvtpd_ps(sum.high), 1);
}

PX_INLINE __mmask16 px_avx512_lanes(const px_tile *op, int group)
{
    uint32_t left = op->w_rows - (uint32_t)group * PX_AVX512_LANES;
    return left >= PX_AVX512_LANES ? 0xffff : (__mmask16)((1u << left) - 1);
}

/* What px_tile_is_plain's opposite leaves for one group and one row of x. */
PX_INLINE void px_avx512_put_wide(const px_tile *op, int group, int row, px_avx512_wide sum)
{
    uint32_t first = (uint32_t)group * PX_AVX512_LANES;
    __mmask16 mask = px_avx512_lanes(op, group);
    if (op->bias) sum = px_avx512_wide_add(sum, _mm512_maskz_loadu_ps(mask, op->bias + first));
    if (!op->wide) {
        float *y = op->y + (size_t)row * op->y_stride + first;
        __m512 value = px_avx512_wide_round(sum);
        if (op->accumulate) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, y));
        _mm512_mask_storeu_ps(y, mask, value);
        return;
    }
    size_t to = op->wide_rows ? op->wide_rows[row] : (size_t)row;
    double *wide = op->wide + to * op->y_stride + first;
    __mmask8 low = (__mmask8)mask, high = (__mmask8)(mask >> 8);
    if (op->accumulate) {
        sum.low = _mm512_add_pd(sum.low, _mm512_maskz_loadu_pd(low, wide));
        sum.high = _mm512_add_pd(sum.high, _mm512_maskz_loadu_pd(high, wide + 8));
    }
    _mm512_mask_storeu_pd(wide, low, sum.low);
    _mm512_mask_storeu_pd(wide + 8, high, sum.high);
}

/* A plain tile's results for one group and one row of x. */
PX_INLINE void px_avx512_put(const px_tile *op, int group, int row, __m512 value)
{
    uint32_t first = (uint32_t)group * PX_AVX512_LANES;
    float *y = op->y + (size_t)row * op->y_stride + first;
    __mmask16 mask = px_avx512_lanes(op, group);
    if (op->bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, op->bias + first));
    if (op->accumulate) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, y));
    _mm512_mask_storeu_ps(y, mask, value);
}

#endif
