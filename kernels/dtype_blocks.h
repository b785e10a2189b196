/* dtype_blocks.h - one block of each block-quantised format, to and from float32. Internal.
 *
 * A block is 32 elements (256 in the K formats and IQ4_XS) and its bytes are as in the file, little
 * endian, at any alignment. In the 32-element formats byte i of the nibbles holds element i (low)
 * and element i + 16 (high).
 */
#ifndef PX_KERNELS_DTYPE_BLOCKS_H
#define PX_KERNELS_DTYPE_BLOCKS_H

#include <stdint.h>

typedef void (*px_block_decode)(const uint8_t *block, float *to);
typedef void (*px_block_encode)(const float *from, uint8_t *block);

void px_q8_0_decode(const uint8_t *block, float *to);
void px_q4_0_decode(const uint8_t *block, float *to);
void px_q4_1_decode(const uint8_t *block, float *to);
void px_q5_0_decode(const uint8_t *block, float *to);
void px_q5_1_decode(const uint8_t *block, float *to);
void px_q2_k_decode(const uint8_t *block, float *to);
void px_q3_k_decode(const uint8_t *block, float *to);
void px_q4_k_decode(const uint8_t *block, float *to);
void px_q5_k_decode(const uint8_t *block, float *to);
void px_q6_k_decode(const uint8_t *block, float *to);
void px_iq4_nl_decode(const uint8_t *block, float *to);
void px_iq4_xs_decode(const uint8_t *block, float *to);
void px_mxfp4_decode(const uint8_t *block, float *to);

void px_q8_0_encode(const float *from, uint8_t *block);
void px_q4_0_encode(const float *from, uint8_t *block);
void px_q4_1_encode(const float *from, uint8_t *block);
void px_q5_0_encode(const float *from, uint8_t *block);
void px_q5_1_encode(const float *from, uint8_t *block);

/* The 6-bit scales and mins of a Q4_K or Q5_K super-block, eight of each. */
void px_k_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8]);

extern const int8_t px_iq4_values[16];   /* IQ4_NL and IQ4_XS: what a nibble stands for */
extern const int8_t px_mxfp4_values[16]; /* MXFP4: twice the E2M1 value of a nibble */

#endif
