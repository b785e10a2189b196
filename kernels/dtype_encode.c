/* dtype_encode.c - rounding float32 to the block formats.
 *
 * Scales are rounded to float16 first and the quants chosen for the rounded scale, which costs
 * nothing and errs less. Quants round to nearest even, as vector instructions do.
 */
#include "kernels/dtype_blocks.h"

#include <math.h>
#include <string.h>

static float put_f16(uint8_t *bytes, float value)
{
    uint16_t half = px_f32_to_f16(value);
    bytes[0] = (uint8_t)half;
    bytes[1] = (uint8_t)(half >> 8);
    return px_f16_to_f32(half);
}

static int round_between(float value, int low, int high)
{
    if (!(value > (float)low)) return low; /* NaN too */
    if (value > (float)high) return high;
    return (int)nearbyintf(value);
}

static void q8_0_encode(const float *from, uint8_t *block)
{
    float largest = 0;
    for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(from[i]));
    float d = put_f16(block, largest / 127.0f);
    for (int i = 0; i < 32; i++) {
        block[2 + i] = (uint8_t)(d == 0 ? 0 : round_between(from[i] / d, -127, 127));
    }
}

/* Elements as `bits`-wide numbers: nibbles to `low`, fifth bits to `high` (NULL if there is none).
 */
static void put_quants(const int quants[32], uint8_t *low, uint8_t *high)
{
    for (int i = 0; i < 16; i++) {
        low[i] = (uint8_t)((quants[i] & 15) | (quants[i + 16] & 15) << 4);
    }
    if (!high) return;
    memset(high, 0, 4);
    for (int i = 0; i < 32; i++) high[i / 8] |= (uint8_t)((quants[i] >> 4) << i % 8);
}

/* value = d * (quant - zero): the element of largest magnitude becomes quant 0, so both its sign
 * and the extra negative step are used. */
static void encode_symmetric(const float *from, int zero, uint8_t *block, int *quants)
{
    float extreme = 0;
    for (int i = 0; i < 32; i++) {
        if (fabsf(from[i]) > fabsf(extreme)) extreme = from[i];
    }
    float d = put_f16(block, extreme / (float)-zero);
    for (int i = 0; i < 32; i++) {
        quants[i] = d == 0 ? zero : round_between(from[i] / d + (float)zero, 0, 2 * zero - 1);
    }
}

/* value = d * quant + min */
static void encode_affine(const float *from, int most, uint8_t *block, int *quants)
{
    float low = from[0], high = from[0];
    for (int i = 1; i < 32; i++) {
        low = fminf(low, from[i]);
        high = fmaxf(high, from[i]);
    }
    float d = put_f16(block, (high - low) / (float)most), min = put_f16(block + 2, low);
    for (int i = 0; i < 32; i++) {
        quants[i] = d == 0 ? 0 : round_between((from[i] - min) / d, 0, most);
    }
}

static void q4_0_encode(const float *from, uint8_t *block)
{
    int quants[32];
    encode_symmetric(from, 8, block, quants);
    put_quants(quants, block + 2, NULL);
}

static void q4_1_encode(const float *from, uint8_t *block)
{
    int quants[32];
    encode_affine(from, 15, block, quants);
    put_quants(quants, block + 4, NULL);
}

static void q5_0_encode(const float *from, uint8_t *block)
{
    int quants[32];
    encode_symmetric(from, 16, block, quants);
    put_quants(quants, block + 6, block + 2);
}

static void q5_1_encode(const float *from, uint8_t *block)
{
    int quants[32];
    encode_affine(from, 31, block, quants);
    put_quants(quants, block + 8, block + 4);
}

px_block_encode px_block_encode_of(px_dtype dtype)
{
    switch (dtype) {
    case PX_Q8_0: return q8_0_encode;
    case PX_Q4_0: return q4_0_encode;
    case PX_Q4_1: return q4_1_encode;
    case PX_Q5_0: return q5_0_encode;
    case PX_Q5_1: return q5_1_encode;
    default: return NULL;
    }
}
