/* avx512.h - the AVX-512 ops (F, BW, VL, DQ, VNNI): products,
 * attention, gating, preparing; the rest is AVX2's. Internal. */
#ifndef PX_KERNELS_AVX512_H
#define PX_KERNELS_AVX512_H

#include <immintrin.h>
#include <string.h>

#include "kernels/packed.h"

enum {
    PX_AVX512_LANES = 16,
    PX_AVX512_Q8_ROWS = 6,    /* most rows of x in an integer tile */
    PX_AVX512_FLOAT_ROWS = 6, /* and in a float tile */
    PX_AVX512_SCALED_ROWS = 8,
    PX_AVX512_BF16_ROWS = 6,
};

const px_kernels *px_avx512_table(void);
const px_kernels *px_avx512_bf16_table(void);

px_act_kind px_avx512_bf16_act_kind(px_dtype weights);
size_t px_avx512_act_row_bytes(px_act_kind kind, uint32_t cols);
void px_avx512_prepare(const px_prepare *op, px_part part);
/* Rounds to nearest even; only where the CPU has AVX512_BF16, as the tiles. */
void px_avx512_to_bf16(const float *x, uint32_t count, uint16_t *to);
void px_avx512_glu(const px_glu *op, px_part part);
size_t px_avx512_attention_scratch_floats(const px_attention *op);
bool px_avx512_attention(const px_attention *op, px_part part);
void px_avx512_attention_merge(const px_attention *op, px_part part);

px_tile_fn px_avx512_q8_tile(px_packing packing, uint32_t groups, uint32_t rows);
/* Bytes of one group of weights taken apart (0: they are not); taking them apart, `to` 64-byte
 * aligned; the tiles of such weights. */
size_t px_avx512_expanded_bytes(px_packing packing, uint32_t cols);
void px_avx512_expand(px_packing packing, const uint8_t *w, uint32_t cols, uint8_t *to);
px_tile_fn px_avx512_expanded_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx512_float_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx512_bf16_tile(px_packing packing, uint32_t groups, uint32_t rows);
px_tile_fn px_avx512_scaled_tile(px_packing packing, uint32_t groups, uint32_t rows);

#endif
