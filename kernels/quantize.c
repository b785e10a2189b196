/* quantize.c - the types of 32-element blocks, and which function quantises what.
 *
 * Source of the rules: gguf-py's quants.py. Each step is the float32 step that it does: scales
 * divide before they are rounded to float16, halves go away from zero.
 */
#include "kernels/quantize.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/dtype_blocks.h"
#include "kernels/quantize_fit.h"

enum { BLOCK = 32 };

static void put_f16(uint8_t *bytes, float value)
{
    uint16_t half = px_f32_to_f16(value);
    memcpy(bytes, &half, sizeof half);
}

static float inverse(float scale)
{
    return scale != 0 ? 1 / scale : 0;
}

/* Truncated and kept within 0..most; 0 for NaN. */
static inline int level_of(float x, float most)
{
    x = x > 0 ? x : 0;
    return (int)(x < most ? x : most);
}

static void q8_0_quantize(const float *from, uint8_t *block)
{
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) {
        float magnitude = fabsf(from[i]);
        largest = magnitude > largest ? magnitude : largest;
    }
    float d = largest / 127, up = inverse(d);
    put_f16(block, d);
    for (int i = 0; i < BLOCK; i++) {
        float x = from[i] * up, magnitude = fabsf(x);
        int whole = level_of(magnitude, 127);
        whole += magnitude - (float)whole >= 0.5f;
        block[2 + i] = (uint8_t)(x < 0 ? -whole : whole);
    }
}

/* Levels as numbers of four or five bits: nibbles to `low`, fifth bits to `high` (or NULL). */
static void put_levels(const int levels[BLOCK], uint8_t *low, uint8_t *high)
{
    for (int i = 0; i < 16; i++) low[i] = (uint8_t)((levels[i] & 15) | (levels[i + 16] & 15) << 4);
    if (!high) return;
    uint32_t bits = 0;
    for (int i = 0; i < BLOCK; i++) bits |= (uint32_t)(levels[i] >> 4) << i;
    memcpy(high, &bits, sizeof bits);
}

/* value = d * (level - zero): the value of largest magnitude becomes level 0. */
static void quantize_symmetric(const float *from, int zero, uint8_t *scale, int *levels)
{
    float extreme = from[0];
    for (int i = 1; i < BLOCK; i++)
        if (fabsf(from[i]) > fabsf(extreme)) extreme = from[i];
    float d = extreme / (float)-zero, up = inverse(d), half_up = (float)zero + 0.5f;
    put_f16(scale, d);
    for (int i = 0; i < BLOCK; i++)
        levels[i] = level_of(from[i] * up + half_up, (float)(2 * zero - 1));
}

/* value = d * level + min */
static void quantize_affine(const float *from, int most, uint8_t *scale, int *levels)
{
    float least = from[0], largest = from[0];
    for (int i = 1; i < BLOCK; i++) {
        least = from[i] < least ? from[i] : least;
        largest = from[i] > largest ? from[i] : largest;
    }
    float d = (largest - least) / (float)most, up = inverse(d);
    put_f16(scale, d);
    put_f16(scale + 2, least);
    for (int i = 0; i < BLOCK; i++)
        levels[i] = level_of((from[i] - least) * up + 0.5f, (float)most);
}

static void q4_0_quantize(const float *from, uint8_t *block)
{
    int levels[BLOCK];
    quantize_symmetric(from, 8, block, levels);
    put_levels(levels, block + 2, NULL);
}

static void q4_1_quantize(const float *from, uint8_t *block)
{
    int levels[BLOCK];
    quantize_affine(from, 15, block, levels);
    put_levels(levels, block + 4, NULL);
}

static void q5_0_quantize(const float *from, uint8_t *block)
{
    int levels[BLOCK];
    quantize_symmetric(from, 16, block, levels);
    put_levels(levels, block + 6, block + 2);
}

static void q5_1_quantize(const float *from, uint8_t *block)
{
    int levels[BLOCK];
    quantize_affine(from, 31, block, levels);
    put_levels(levels, block + 8, block + 4);
}

/* --- codes that stand for numbers of a table -------------------------------------------------- */

/* The code whose value times `scale` is nearest to x; the first of equals. */
static int nearest_code(const int8_t values[16], float scale, float x)
{
    int best = 0;
    float best_off = INFINITY;
    for (int code = 0; code < 16; code++) {
        float off = fabsf(scale * (float)values[code] - x);
        if (off >= best_off) continue;
        best = code;
        best_off = off;
    }
    return best;
}

/* One exponent for the block: the power of two that brings its largest value between 4 and 8 (the
 * table's largest is 6). */
static void mxfp4_quantize(const float *from, uint8_t *block)
{
    int codes[BLOCK], exponent;
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) largest = fmaxf(largest, fabsf(from[i]));
    frexpf(largest, &exponent); /* 2^(exponent - 1) <= largest < 2^exponent */
    int byte = largest > 0 ? exponent - 1 - 2 + 127 : 0;
    if (byte < 0) byte = 0;
    block[0] = (uint8_t)byte;
    float scale = ldexpf(1, byte - 128); /* the table holds doubled values */
    for (int i = 0; i < BLOCK; i++) codes[i] = nearest_code(px_mxfp4_values, scale, from[i]);
    put_levels(codes, block + 1, NULL);
}

/* Codes for the grid of `scale`, and the scale that is best for them. */
static float fit_codes(const px_fit *fit, float scale, int codes[BLOCK], float *out_gain)
{
    float wll = 0, wxl = 0;
    for (int i = 0; i < BLOCK; i++) {
        codes[i] = nearest_code(px_iq4_values, scale, fit->values[i]);
        float value = (float)px_iq4_values[codes[i]], w = fit->weights[i];
        wll += w * value * value;
        wxl += w * value * fit->values[i];
    }
    *out_gain = wll > 0 ? wxl * wxl / wll : 0;
    return wll > 0 ? wxl / wll : 0;
}

static void iq4_nl_quantize(const float *from, uint8_t *block)
{
    enum { SIDE_TRIALS = 7, LARGEST = 127 };
    px_fit fit;
    int codes[BLOCK];
    float extreme = 0, best = 0, best_gain = -1;
    px_fit_init(&fit, from, BLOCK);
    for (int i = 0; i < BLOCK; i++)
        if (fabsf(from[i]) > fabsf(extreme)) extreme = from[i];
    for (int t = -SIDE_TRIALS; t <= SIDE_TRIALS; t++) {
        float gain, scale = fit_codes(&fit, extreme / (float)(-LARGEST + 2 * t), codes, &gain);
        if (gain <= best_gain) continue;
        best_gain = gain;
        best = scale;
    }
    uint16_t half = px_f32_to_f16(best);
    memcpy(block, &half, sizeof half);
    for (int i = 0; i < BLOCK; i++)
        codes[i] = nearest_code(px_iq4_values, px_f16_to_f32(half), from[i]);
    put_levels(codes, block + 2, NULL);
}

/* --- which type --------------------------------------------------------------------------------
 */

static px_block_encode quantizer_of(px_dtype dtype)
{
    switch (dtype) {
    case PX_Q8_0: return q8_0_quantize;
    case PX_Q4_0: return q4_0_quantize;
    case PX_Q4_1: return q4_1_quantize;
    case PX_Q5_0: return q5_0_quantize;
    case PX_Q5_1: return q5_1_quantize;
    case PX_IQ4_NL: return iq4_nl_quantize;
    case PX_MXFP4: return mxfp4_quantize;
    case PX_Q2_K: return px_q2_k_quantize;
    case PX_Q3_K: return px_q3_k_quantize;
    case PX_Q4_K: return px_q4_k_quantize;
    case PX_Q5_K: return px_q5_k_quantize;
    case PX_Q6_K: return px_q6_k_quantize;
    default: return NULL;
    }
}

static bool is_plain(px_dtype dtype)
{
    return dtype == PX_F32 || dtype == PX_F16 || dtype == PX_BF16;
}

bool px_can_quantize(px_dtype dtype)
{
    return is_plain(dtype) || quantizer_of(dtype);
}

void px_quantize(px_dtype dtype, const float *from, void *to, size_t elements)
{
    if (is_plain(dtype)) {
        px_dtype_from_f32(dtype, from, to, elements);
        return;
    }
    px_block_encode quantize = quantizer_of(dtype);
    const px_dtype_traits *traits = px_dtype_of(dtype);
    assert(quantize && elements % traits->block_elements == 0);
    uint8_t *block = to;
    for (size_t i = 0; i < elements; i += traits->block_elements, block += traits->block_bytes)
        quantize(from + i, block);
}
