/* dtype_blocks.c - exact decoding of the block formats.
 *
 * Source: ggml's block formats as gguf-py documents them; MXFP4 is the OCP microscaling format in
 * GGUF's nibble order. The float32 steps stand in the order the reference does them, so results
 * agree bit for bit (the golden files in tests/golden check that).
 */
#include "kernels/dtype_blocks.h"

#include <math.h>
#include <string.h>

#include "kernels/dtype.h"

const int8_t px_iq4_values[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t px_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static float f16_at(const uint8_t *bytes)
{
    return px_f16_to_f32((uint16_t)(bytes[0] | bytes[1] << 8));
}

static uint32_t u32_at(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* --- 32-element blocks ------------------------------------------------------------------------ */

void px_q8_0_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block);
    for (int i = 0; i < 32; i++) to[i] = (float)(int8_t)block[2 + i] * d;
}

void px_q4_0_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block);
    for (int i = 0; i < 16; i++) {
        to[i] = (float)((block[2 + i] & 15) - 8) * d;
        to[i + 16] = (float)((block[2 + i] >> 4) - 8) * d;
    }
}

void px_q4_1_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block), m = f16_at(block + 2);
    for (int i = 0; i < 16; i++) {
        to[i] = (float)(block[4 + i] & 15) * d + m;
        to[i + 16] = (float)(block[4 + i] >> 4) * d + m;
    }
}

/* Element i of 32 five-bit numbers: nibbles at `low`, bit i of `high` on top. */
static int five_bits(const uint8_t *low, uint32_t high, int i)
{
    int nibble = i < 16 ? low[i] & 15 : low[i - 16] >> 4;
    return nibble | (int)(high >> i & 1) << 4;
}

void px_q5_0_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block);
    uint32_t high = u32_at(block + 2);
    for (int i = 0; i < 32; i++) to[i] = (float)(five_bits(block + 6, high, i) - 16) * d;
}

void px_q5_1_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block), m = f16_at(block + 2);
    uint32_t high = u32_at(block + 4);
    for (int i = 0; i < 32; i++) to[i] = (float)five_bits(block + 8, high, i) * d + m;
}

void px_iq4_nl_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block);
    for (int i = 0; i < 16; i++) {
        to[i] = d * (float)px_iq4_values[block[2 + i] & 15];
        to[i + 16] = d * (float)px_iq4_values[block[2 + i] >> 4];
    }
}

void px_mxfp4_decode(const uint8_t *block, float *to)
{
    float d = ldexpf(1.0f, block[0] - 128); /* bias 127, and px_mxfp4_values are doubled */
    for (int i = 0; i < 16; i++) {
        to[i] = (float)px_mxfp4_values[block[1 + i] & 15] * d;
        to[i + 16] = (float)px_mxfp4_values[block[1 + i] >> 4] * d;
    }
}

/* --- 256-element super-blocks -------------------------------------------------------------------
 */

/* { scales[16]: low nibble scale, high nibble min; quants[64]; d; dmin }. Each 128 elements take 32
 * bytes, two bits of each byte at a time. */
void px_q2_k_decode(const uint8_t *block, float *to)
{
    const uint8_t *scales = block, *quants = block + 16;
    float d = f16_at(block + 80), dmin = f16_at(block + 82);
    for (int i = 0; i < 256; i++) {
        float scale = d * (float)(scales[i / 16] & 15), min = dmin * (float)(scales[i / 16] >> 4);
        int quant = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        to[i] = scale * (float)quant - min;
    }
}

/* { high bits[32]; quants[64] as in Q2_K; scales[12]; d }. Sixteen 6-bit scales: low nibbles in the
 * first 8 bytes, high pairs of bits in the last 4. */
void px_q3_k_decode(const uint8_t *block, float *to)
{
    const uint8_t *high = block, *quants = block + 32, *packed = block + 96;
    float d = f16_at(block + 108);
    for (int i = 0; i < 256; i++) {
        int group = i / 16;
        int nibble = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
        int scale = (nibble | (packed[8 + group % 4] >> (group / 4 * 2) & 3) << 4) - 32;
        int quant = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        int offset = high[i % 32] >> (i / 32) & 1 ? 0 : 4;
        to[i] = d * (float)scale * (float)(quant - offset);
    }
}

void px_k_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8])
{
    for (int i = 0; i < 4; i++) {
        scales[i] = packed[i] & 63;
        mins[i] = packed[i + 4] & 63;
        scales[i + 4] = (uint8_t)((packed[i + 8] & 15) | (packed[i] >> 6) << 4);
        mins[i + 4] = (uint8_t)((packed[i + 8] >> 4) | (packed[i + 4] >> 6) << 4);
    }
}

/* { d; dmin; scales[12]; quants[128] }. 32 bytes hold 64 elements: low nibbles, then high. */
void px_q4_k_decode(const uint8_t *block, float *to)
{
    uint8_t scales[8], mins[8];
    px_k_scales(block + 4, scales, mins);
    float d = f16_at(block), dmin = f16_at(block + 2);
    for (int i = 0; i < 256; i++) {
        float scale = d * (float)scales[i / 32], min = dmin * (float)mins[i / 32];
        int quant = block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        to[i] = scale * (float)quant - min;
    }
}

/* As Q4_K with high bits[32] before the quants: bit j of byte i belongs to element 32 j + i. */
void px_q5_k_decode(const uint8_t *block, float *to)
{
    uint8_t scales[8], mins[8];
    px_k_scales(block + 4, scales, mins);
    float d = f16_at(block), dmin = f16_at(block + 2);
    for (int i = 0; i < 256; i++) {
        float scale = d * (float)scales[i / 32], min = dmin * (float)mins[i / 32];
        int quant = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        quant |= (block[16 + i % 32] >> (i / 32) & 1) << 4;
        to[i] = scale * (float)quant - min;
    }
}

/* { low nibbles[128]; high pairs[64]; scales[16]; d }. Per 128 elements: 64 bytes of nibbles (low
 * ones are elements 0-63, high ones 64-127) and 32 bytes with two bits for each quarter. */
void px_q6_k_decode(const uint8_t *block, float *to)
{
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    float d = f16_at(block + 208);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, within = i % 128;
        int nibble = low[half * 64 + within % 64] >> (within / 64 * 4) & 15;
        int pair = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
        float scale = d * (float)(int8_t)scales[i / 16];
        to[i] = scale * (float)((nibble | pair << 4) - 32);
    }
}

/* { d; scales_high; scales_low[4]; nibbles[128] }: eight 32-element blocks of IQ4_NL with 6-bit
 * scales, low nibbles and high pairs apart. */
void px_iq4_xs_decode(const uint8_t *block, float *to)
{
    float d = f16_at(block);
    uint32_t high = block[2] | (uint32_t)block[3] << 8;
    for (int b = 0; b < 8; b++) {
        int nibble = block[4 + b / 2] >> (b % 2 * 4) & 15;
        float scale = d * (float)((nibble | (int)(high >> 2 * b & 3) << 4) - 32);
        const uint8_t *quants = block + 8 + 16 * b;
        for (int i = 0; i < 16; i++) {
            to[32 * b + i] = scale * (float)px_iq4_values[quants[i] & 15];
            to[32 * b + i + 16] = scale * (float)px_iq4_values[quants[i] >> 4];
        }
    }
}
