/* avx512.h - the AVX-512 ops (F, BW, VL, DQ, VNNI): products; the rest is AVX2's. Internal. */
#ifndef PX_KERNELS_AVX512_H
#define PX_KERNELS_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernels/packed.h"

enum {
    PX_AVX512_LANES = 16,
    PX_AVX512_Q8_ROWS = 8,    /* most rows of x in an integer tile */
    PX_AVX512_FLOAT_ROWS = 8, /* and in a float tile */
};

const px_kernels *px_avx512_table(void);

px_tile_fn px_avx512_q8_tile(px_packing packing, uint32_t rows);
px_tile_fn px_avx512_float_tile(px_packing packing, uint32_t groups, uint32_t rows);

/* A tile's results for one group and one row of x. */
PX_INLINE void px_avx512_put(const px_tile *op, int group, int row, __m512 value)
{
    uint32_t first = (uint32_t)group * PX_AVX512_LANES, left = op->w_rows - first;
    float *y = op->y + (size_t)row * op->y_stride + first;
    __mmask16 mask = left >= PX_AVX512_LANES ? 0xffff : (__mmask16)((1u << left) - 1);
    if (op->bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, op->bias + first));
    if (op->accumulate) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, y));
    _mm512_mask_storeu_ps(y, mask, value);
}

#endif
