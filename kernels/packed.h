/* packed.h - the layouts vector backends read weights and activations in. Internal.
 *
 * Weights: rows in groups of `lanes` (8 floats of AVX2, 16 of AVX-512), interleaved so that a SIMD
 * lane is an output row. A group is its columns in order, in units of 1, 32 or 256:
 *
 *   F32, F16, BF16  unit of 1:   { value[lanes] }
 *   U4, U4_MIN      unit of 32:  { f16 scale[lanes]; f16 min[lanes] in _MIN; nibbles }
 *   S8, S8_MIN      unit of 32:  { f16 scale[lanes]; f16 min[lanes] in _MIN; bytes }
 *   S8_F32          unit of 32:  { f32 scale[lanes]; bytes }
 *   U4_K            unit of 256: { f16 d[lanes]; f16 dmin[lanes];
 *                                  8 x { u8 scale[lanes]; u8 min[lanes]; nibbles } }
 *   S8_K            unit of 256: { f16 d[lanes]; 8 x { s8 scale[2][lanes]; bytes } }
 *   S8_K_MIN        unit of 256: { f16 d[lanes]; f16 dmin[lanes];
 *                                  8 x { s8 scale[2][lanes]; u8 min[2][lanes]; bytes } }
 *
 *   bytes:   8 x { s8 quant[lanes][4] }: step s holds columns 4 s .. 4 s + 3 of the 32
 *   nibbles: 4 x { u8 pair[lanes][4] }: low nibbles are step 2 j, high nibbles step 2 j + 1
 *
 *   value = scale * quant + min                      U4_MIN, S8_MIN
 *   value = scale * quant, in U4 scale * (quant - 8)  U4, S8, S8_F32
 *   value = d * scale * quant - dmin * min           K; [2]: for columns 0-15 and 16-31
 *
 * Rows past the last are zero. Every block format becomes one of these exactly.
 *
 * Activations, PX_ACT_Q8: a row of cols (whole 32s) is
 *   { s8 quant[cols]; f32 scale[cols / 32]; f32 sum[cols / 32]; f32 half[cols / 32] }
 * where x ~ scale * quant, |quant| <= 127, sum = scale * (sum of the 32 quants) and half = the
 * same of the first 16: what weights with a min, or stored with an offset, multiply by.
 */
#ifndef PX_KERNELS_PACKED_H
#define PX_KERNELS_PACKED_H

#include "kernels/kernels.h"

typedef enum px_packing {
    PX_PACKING_FILE, /* px_matrix.layout 0 */
    PX_PACKING_F32,
    PX_PACKING_F16,
    PX_PACKING_BF16,
    PX_PACKING_U4,
    PX_PACKING_U4_MIN,
    PX_PACKING_U4_K,
    PX_PACKING_S8,
    PX_PACKING_S8_MIN,
    PX_PACKING_S8_F32,
    PX_PACKING_S8_K,
    PX_PACKING_S8_K_MIN,
    PX_PACKING_COUNT
} px_packing;

px_packing px_packing_of(px_dtype dtype);
/* Bytes of one group of `lanes` rows. */
size_t px_packed_group_bytes(px_packing packing, uint32_t lanes, uint32_t cols);
size_t px_packed_bytes(px_dtype dtype, uint32_t lanes, uint32_t rows, uint32_t cols);
/* This part's groups; part 0 describes the matrix, layout = packing. */
void px_packed_fill(const px_pack *op, uint32_t lanes, px_part part);

/* Where the arrays of a PX_ACT_Q8 row begin, in bytes. */
static inline size_t px_q8_scale_at(uint32_t cols)
{
    return cols;
}
static inline size_t px_q8_sum_at(uint32_t cols)
{
    return cols + (size_t)cols / 32 * 4;
}
static inline size_t px_q8_half_at(uint32_t cols)
{
    return cols + (size_t)cols / 32 * 8;
}
static inline size_t px_q8_row_bytes(uint32_t cols)
{
    return (cols + (size_t)cols / 32 * 12 + 63) / 64 * 64;
}

#endif
