/* dtype_blocks.c - exact decoding of the block formats.
 *
 * Source: ggml's block formats as gguf-py documents them; MXFP4 is the OCP microscaling format in
 * GGUF's nibble order. The float32 steps stand in the order the reference does them, so results
 * agree bit for bit (the golden files in tests/golden check that).
 */
#include "kernels/dtype_blocks.h"

#include <math.h>
#include <string.h>

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

static void set_scale(px_block *out, float scale, float min)
{
    for (int g = 0; g < 2; g++) out->scale[g] = scale, out->min[g] = min;
}

/* 32 numbers of four bits from their bytes, less `zero`. */
static void take_nibbles(const uint8_t *nibbles, int zero, int8_t *quants)
{
    for (int i = 0; i < 16; i++) {
        quants[i] = (int8_t)((nibbles[i] & 15) - zero);
        quants[i + 16] = (int8_t)((nibbles[i] >> 4) - zero);
    }
}

/* The same with a fifth bit each, bit i of `high`. */
static void take_five_bits(const uint8_t *nibbles, uint32_t high, int zero, int8_t *quants)
{
    take_nibbles(nibbles, zero, quants);
    for (int i = 0; i < 32; i++) quants[i] = (int8_t)(quants[i] + (int)(high >> i & 1) * 16);
}

static void look_up(const int8_t values[16], const uint8_t *nibbles, int8_t *quants)
{
    for (int i = 0; i < 16; i++) {
        quants[i] = values[nibbles[i] & 15];
        quants[i + 16] = values[nibbles[i] >> 4];
    }
}

static void q8_0_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, f16_at(block), 0);
    memcpy(out->quants, block + 2, 32);
}

static void q4_0_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, f16_at(block), 0);
    take_nibbles(block + 2, 8, out->quants);
}

static void q4_1_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, f16_at(block), -f16_at(block + 2));
    take_nibbles(block + 4, 0, out->quants);
}

static void q5_0_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, f16_at(block), 0);
    take_five_bits(block + 6, u32_at(block + 2), 16, out->quants);
}

static void q5_1_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, f16_at(block), -f16_at(block + 2));
    take_five_bits(block + 8, u32_at(block + 4), 0, out->quants);
}

static void iq4_nl_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, f16_at(block), 0);
    look_up(px_iq4_values, block + 2, out->quants);
}

static void mxfp4_unpack(const uint8_t *block, px_block *out)
{
    set_scale(out, ldexpf(1.0f, block[0] - 128), 0); /* bias 127, and px_mxfp4_values are doubled */
    look_up(px_mxfp4_values, block + 1, out->quants);
}

/* --- 256-element super-blocks ----------------------------------------------------------------- */

/* { scales[16]: low nibble scale, high nibble min; quants[64]; d; dmin }. Each 128 elements take 32
 * bytes, two bits of each byte at a time. */
static void q2_k_unpack(const uint8_t *block, px_block *out)
{
    const uint8_t *scales = block, *quants = block + 16;
    float d = f16_at(block + 80), dmin = f16_at(block + 82);
    for (int g = 0; g < 16; g++) {
        out->scale[g] = d * (float)(scales[g] & 15);
        out->min[g] = dmin * (float)(scales[g] >> 4);
    }
    for (int i = 0; i < 256; i++) {
        out->quants[i] = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    }
}

/* Low nibbles in the first 8 bytes, high pairs of bits in the last 4. */
void px_q3_k_scales(const uint8_t packed[12], int8_t scales[16])
{
    for (int g = 0; g < 16; g++) {
        int nibble = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
        int pair = packed[8 + g % 4] >> (g / 4 * 2) & 3;
        scales[g] = (int8_t)((nibble | pair << 4) - 32);
    }
}

/* { high bits[32]; quants[64] as in Q2_K; scales[12]; d } */
static void q3_k_unpack(const uint8_t *block, px_block *out)
{
    const uint8_t *high = block, *quants = block + 32;
    float d = f16_at(block + 108);
    int8_t scales[16];
    px_q3_k_scales(block + 96, scales);
    for (int g = 0; g < 16; g++) out->scale[g] = d * (float)scales[g], out->min[g] = 0;
    for (int i = 0; i < 256; i++) {
        int quant = quants[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        int bit = high[i % 32] >> (i / 32) & 1;
        out->quants[i] = (int8_t)(quant + 4 * bit - 4);
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

/* { d; dmin; scales[12]; … } */
static void take_k_scales(const uint8_t *block, px_block *out)
{
    uint8_t scales[8], mins[8];
    px_k_scales(block + 4, scales, mins);
    float d = f16_at(block), dmin = f16_at(block + 2);
    for (int g = 0; g < 16; g++) {
        out->scale[g] = d * (float)scales[g / 2];
        out->min[g] = dmin * (float)mins[g / 2];
    }
}

/* { d; dmin; scales[12]; quants[128] }. 32 bytes hold 64 elements: low nibbles, then high. */
static void q4_k_unpack(const uint8_t *block, px_block *out)
{
    take_k_scales(block, out);
    for (int i = 0; i < 256; i++) {
        out->quants[i] = block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    }
}

/* As Q4_K with high bits[32] before the quants: bit j of byte i belongs to element 32 j + i. */
static void q5_k_unpack(const uint8_t *block, px_block *out)
{
    take_k_scales(block, out);
    for (int i = 0; i < 256; i++) {
        int nibble = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        int bit = block[16 + i % 32] >> (i / 32) & 1;
        out->quants[i] = (int8_t)(nibble | bit << 4);
    }
}

/* { low nibbles[128]; high pairs[64]; scales[16]; d }. Per 128 elements: 64 bytes of nibbles (low
 * ones are elements 0-63, high ones 64-127) and 32 bytes with two bits for each quarter. */
static void q6_k_unpack(const uint8_t *block, px_block *out)
{
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    float d = f16_at(block + 208);
    for (int g = 0; g < 16; g++) out->scale[g] = d * (float)(int8_t)scales[g], out->min[g] = 0;
    for (int i = 0; i < 256; i++) {
        int half = i / 128, within = i % 128;
        int nibble = low[half * 64 + within % 64] >> (within / 64 * 4) & 15;
        int pair = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
        out->quants[i] = (int8_t)((nibble | pair << 4) - 32);
    }
}

/* Low nibbles at byte 4, high pairs of bits at byte 2. */
void px_iq4_xs_scales(const uint8_t *block, int8_t scales[8])
{
    uint32_t high = block[2] | (uint32_t)block[3] << 8;
    for (int b = 0; b < 8; b++) {
        int nibble = block[4 + b / 2] >> (b % 2 * 4) & 15;
        scales[b] = (int8_t)((nibble | (int)(high >> 2 * b & 3) << 4) - 32);
    }
}

/* { d; scales_high; scales_low[4]; nibbles[128] }: eight 32-element blocks of IQ4_NL. */
static void iq4_xs_unpack(const uint8_t *block, px_block *out)
{
    float d = f16_at(block);
    int8_t scales[8];
    px_iq4_xs_scales(block, scales);
    for (int g = 0; g < 16; g++) out->scale[g] = d * (float)scales[g / 2], out->min[g] = 0;
    for (int b = 0; b < 8; b++) look_up(px_iq4_values, block + 8 + 16 * b, out->quants + 32 * b);
}

px_block_unpack px_block_unpack_of(px_dtype dtype)
{
    switch (dtype) {
    case PX_Q8_0: return q8_0_unpack;
    case PX_Q4_0: return q4_0_unpack;
    case PX_Q4_1: return q4_1_unpack;
    case PX_Q5_0: return q5_0_unpack;
    case PX_Q5_1: return q5_1_unpack;
    case PX_Q2_K: return q2_k_unpack;
    case PX_Q3_K: return q3_k_unpack;
    case PX_Q4_K: return q4_k_unpack;
    case PX_Q5_K: return q5_k_unpack;
    case PX_Q6_K: return q6_k_unpack;
    case PX_IQ4_NL: return iq4_nl_unpack;
    case PX_IQ4_XS: return iq4_xs_unpack;
    case PX_MXFP4: return mxfp4_unpack;
    default: return NULL;
    }
}
