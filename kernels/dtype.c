/* dtype.c - names and sizes of the formats, the plain types, rows of any type. */
#include "kernels/dtype.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kernels/dtype_blocks.h"

static const px_dtype_traits traits[PX_DTYPE_COUNT] = {
    [PX_F32] = {"f32", 1, 4},
    [PX_F16] = {"f16", 1, 2},
    [PX_BF16] = {"bf16", 1, 2},
    [PX_F8_E4M3] = {"f8_e4m3", 1, 1},
    [PX_F8_E5M2] = {"f8_e5m2", 1, 1},
    [PX_Q8_0] = {"q8_0", 32, 34},
    [PX_Q4_0] = {"q4_0", 32, 18},
    [PX_Q4_1] = {"q4_1", 32, 20},
    [PX_Q5_0] = {"q5_0", 32, 22},
    [PX_Q5_1] = {"q5_1", 32, 24},
    [PX_Q2_K] = {"q2_k", 256, 84},
    [PX_Q3_K] = {"q3_k", 256, 110},
    [PX_Q4_K] = {"q4_k", 256, 144},
    [PX_Q5_K] = {"q5_k", 256, 176},
    [PX_Q6_K] = {"q6_k", 256, 210},
    [PX_IQ4_NL] = {"iq4_nl", 32, 18},
    [PX_IQ4_XS] = {"iq4_xs", 256, 136},
    [PX_MXFP4] = {"mxfp4", 32, 17},
    [PX_SCALED_F8] = {"scaled_f8", 32, 36},
    [PX_SCALED_F16] = {"scaled_f16", 32, 68},
    [PX_SCALED_U4] = {"scaled_u4", 32, 21},
    [PX_I32] = {"i32", 1, 4},
    [PX_I64] = {"i64", 1, 8},
    [PX_U8] = {"u8", 1, 1},
    [PX_F8_E8M0] = {"f8_e8m0", 1, 1},
    [PX_I8] = {"i8", 1, 1},
    [PX_I16] = {"i16", 1, 2},
    [PX_F64] = {"f64", 1, 8},
};

const px_dtype_traits *px_dtype_of(px_dtype dtype)
{
    assert((unsigned)dtype < PX_DTYPE_COUNT);
    return &traits[dtype];
}

bool px_dtype_parse(const char *name, px_dtype *out)
{
    for (int i = 0; i < PX_DTYPE_COUNT; i++) {
        if (strcasecmp(name, traits[i].name) == 0) {
            *out = (px_dtype)i;
            return true;
        }
    }
    return false;
}

size_t px_dtype_bytes(px_dtype dtype, size_t elements)
{
    const px_dtype_traits *t = px_dtype_of(dtype);
    assert(elements % t->block_elements == 0);
    return elements / t->block_elements * t->block_bytes;
}

/* --- 16- and 8-bit floats --------------------------------------------------------------------- */

static float f32_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float px_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    uint32_t fraction = half & 0x3ff;
    if (exponent == 31) {
        /* A signalling NaN becomes quiet, as the hardware conversion makes it. */
        return f32_of_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    }
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact in float32 */
        return f32_of_bits(sign | bits_of_f32((float)fraction * 0x1p-24f));
    }
    return f32_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t px_f32_to_f16(float value)
{
    uint32_t bits = bits_of_f32(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to 2^16 or more */
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds to units of 2^-24 */
        float rounded = f32_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_f32(rounded) - 0x3f000000));
    }
    uint32_t to_even = (magnitude >> 13 & 1) + 0xfff;
    return (uint16_t)(sign | (magnitude - 0x38000000 + to_even) >> 13);
}

float px_bf16_to_f32(uint16_t half)
{
    return f32_of_bits((uint32_t)half << 16);
}

uint16_t px_f32_to_bf16(float value)
{
    uint32_t bits = bits_of_f32(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* OCP 8-bit float, E4M3: bias 7, no infinities, one NaN for each sign. */
static float f8_e4m3_to_f32(uint8_t byte)
{
    uint32_t sign = (uint32_t)(byte & 0x80) << 24, exponent = byte >> 3 & 15, fraction = byte & 7;
    if ((byte & 0x7f) == 0x7f) return f32_of_bits(sign | 0x7fc00000);
    if (exponent == 0) return f32_of_bits(sign | bits_of_f32((float)fraction * 0x1p-9f));
    return f32_of_bits(sign | (exponent + 120) << 23 | fraction << 20);
}

/* --- rows ------------------------------------------------------------------------------------- */

static uint16_t u16_at(const void *from, size_t index) /* files give no alignment */
{
    uint16_t value;
    memcpy(&value, (const uint8_t *)from + index * sizeof value, sizeof value);
    return value;
}

static void put_u16(void *to, size_t index, uint16_t value)
{
    memcpy((uint8_t *)to + index * sizeof value, &value, sizeof value);
}

/* OCP 8-bit float, E5M2: the upper half of a float16. */
static float f8_e5m2_to_f32(uint8_t byte)
{
    return px_f16_to_f32((uint16_t)(byte << 8));
}

/* A power of two with bias 127; 255 is NaN. */
static float f8_e8m0_to_f32(uint8_t byte)
{
    if (byte == 255) return f32_of_bits(0x7fc00000);
    return f32_of_bits(byte ? (uint32_t)byte << 23 : 0x00400000);
}

static void scaled_to_f32(px_dtype dtype, const uint8_t *block, float *to, size_t elements)
{
    for (size_t i = 0; i < elements; i += 32, block += px_dtype_of(dtype)->block_bytes) {
        float scale;
        memcpy(&scale, block, sizeof scale);
        const uint8_t *codes = block + sizeof scale;
        for (size_t k = 0; k < 32; k++) {
            float code;
            if (dtype == PX_SCALED_F8)
                code = f8_e4m3_to_f32(codes[k]);
            else if (dtype == PX_SCALED_F16)
                code = px_f16_to_f32(u16_at(codes, k));
            else /* after the zero */
                code = (float)((codes[1 + k / 2] >> (k % 2 * 4) & 15) - codes[0]);
            to[i + k] = scale * code;
        }
    }
}

static void blocks_to_f32(px_dtype dtype, const uint8_t *from, float *to, size_t elements)
{
    px_block_unpack unpack = px_block_unpack_of(dtype);
    const px_dtype_traits *t = px_dtype_of(dtype);
    assert(unpack); /* an index type has no arithmetic */
    for (size_t i = 0; i < elements; i += t->block_elements, from += t->block_bytes) {
        px_block block;
        unpack(from, &block);
        for (uint32_t g = 0; g < t->block_elements / 16; g++) {
            const int8_t *quants = block.quants + 16 * g;
            float *out = to + i + 16 * g;
            for (int k = 0; k < 16; k++) {
                out[k] = block.scale[g] * (float)quants[k] - block.min[g];
            }
        }
    }
}

void px_dtype_to_f32(px_dtype dtype, const void *from, float *to, size_t elements)
{
    const px_dtype_traits *t = px_dtype_of(dtype);
    const uint8_t *bytes = from;
    assert(elements % t->block_elements == 0);
    switch (dtype) {
    case PX_F32: memcpy(to, from, elements * sizeof *to); break;
    case PX_F16:
        for (size_t i = 0; i < elements; i++) to[i] = px_f16_to_f32(u16_at(from, i));
        break;
    case PX_BF16:
        for (size_t i = 0; i < elements; i++) to[i] = px_bf16_to_f32(u16_at(from, i));
        break;
    case PX_F8_E4M3:
        for (size_t i = 0; i < elements; i++) to[i] = f8_e4m3_to_f32(bytes[i]);
        break;
    case PX_F8_E5M2:
        for (size_t i = 0; i < elements; i++) to[i] = f8_e5m2_to_f32(bytes[i]);
        break;
    case PX_F8_E8M0:
        for (size_t i = 0; i < elements; i++) to[i] = f8_e8m0_to_f32(bytes[i]);
        break;
    case PX_SCALED_F8:
    case PX_SCALED_F16:
    case PX_SCALED_U4: scaled_to_f32(dtype, from, to, elements); break;
    default: blocks_to_f32(dtype, from, to, elements);
    }
}

bool px_dtype_can_encode(px_dtype dtype)
{
    return dtype == PX_F32 || dtype == PX_F16 || dtype == PX_BF16 || dtype == PX_Q8_0;
}

/* The scale is rounded to float16 first and the quants chosen for the rounded scale, which costs
 * nothing and errs less. Quants round to nearest even, as vector instructions do. */
static void q8_0_encode(const float *from, uint8_t *block)
{
    float largest = 0;
    for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(from[i]));
    uint16_t half = px_f32_to_f16(largest / 127.0f);
    float d = px_f16_to_f32(half);
    put_u16(block, 0, half);
    for (int i = 0; i < 32; i++) {
        float quant = d == 0 ? 0 : from[i] / d;
        quant = quant > -127 ? quant : -127; /* NaN too */
        block[2 + i] = (uint8_t)(int)nearbyintf(quant < 127 ? quant : 127);
    }
}

void px_dtype_from_f32(px_dtype dtype, const float *from, void *to, size_t elements)
{
    const px_dtype_traits *t = px_dtype_of(dtype);
    uint8_t *bytes = to;
    assert(px_dtype_can_encode(dtype) && elements % t->block_elements == 0);
    switch (dtype) {
    case PX_F32: memcpy(to, from, elements * sizeof *from); break;
    case PX_F16:
        for (size_t i = 0; i < elements; i++) put_u16(to, i, px_f32_to_f16(from[i]));
        break;
    case PX_BF16:
        for (size_t i = 0; i < elements; i++) put_u16(to, i, px_f32_to_bf16(from[i]));
        break;
    default:
        for (size_t i = 0; i < elements; i += t->block_elements, bytes += t->block_bytes) {
            q8_0_encode(from + i, bytes);
        }
    }
}
