/* dtype_blocks.h - one block of each block-quantised format, to and from float32. Internal.
 *
 * A block is 32 elements (256 in the K formats and IQ4_XS) and its bytes are as in the file, little
 * endian, at any alignment. In the 32-element formats byte i of the nibbles holds element i (low)
 * and element i + 16 (high).
 */
#ifndef PX_KERNELS_DTYPE_BLOCKS_H
#define PX_KERNELS_DTYPE_BLOCKS_H

#include <stdint.h>

#include "kernels/dtype.h"

/* A block taken apart: element i is scale[i / 16] * quants[i] - min[i / 16], two float32 steps. */
typedef struct px_block {
    int8_t quants[256];
    float scale[16], min[16];
} px_block;

typedef void (*px_block_unpack)(const uint8_t *block, px_block *out);
typedef void (*px_block_encode)(const float *from, uint8_t *block);

/* NULL for types without blocks. */
px_block_unpack px_block_unpack_of(px_dtype dtype);

/* What a code stands for in IQ4_NL and IQ4_XS; twice what it stands for in MXFP4 (E2M1). */
extern const int8_t px_iq4_values[16], px_mxfp4_values[16];

/* 256 values to a super-block; see quantize.h. */
void px_q2_k_quantize(const float *from, uint8_t *block);
void px_q3_k_quantize(const float *from, uint8_t *block);
void px_q4_k_quantize(const float *from, uint8_t *block);
void px_q5_k_quantize(const float *from, uint8_t *block);
void px_q6_k_quantize(const float *from, uint8_t *block);

/* The 6-bit scales and mins of a Q4_K or Q5_K super-block, eight of each. */
void px_k_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8]);

/* The sixteen 6-bit scales of a Q3_K super-block, -32..31. */
void px_q3_k_scales(const uint8_t packed[12], int8_t scales[16]);
/* The eight 6-bit scales of an IQ4_XS super-block, -32..31. */
void px_iq4_xs_scales(const uint8_t *block, int8_t scales[8]);

#endif
