/* quantize_k.c - the K formats: super-blocks of 256 in groups whose scales are small integers.
 *
 * Three steps: each group's best grid as if its scale could be any number; the float16 scale of the
 * super-block, by its largest group, and integers for the groups; then the integers' neighbours are
 * tried, with the error that the values have in the end, and the super-block's scale follows by
 * least squares. The byte layouts are written where dtype_blocks.c reads them.
 */
#include "kernels/dtype_blocks.h"
#include "kernels/quantize_fit.h"

#include <math.h>
#include <string.h>

enum { SUPER = 256, GROUPS_MAX = 16, ROUNDS = 2 };

static float f16_round(float value)
{
    return px_f16_to_f32(px_f32_to_f16(value));
}

static void put_f16(uint8_t *bytes, float value)
{
    uint16_t half = px_f32_to_f16(value);
    memcpy(bytes, &half, sizeof half);
}

static int round_within(float x, int low, int high)
{
    if (!(x > (float)low)) return low;
    return x < (float)high ? (int)lrintf(x) : high;
}

/* A super-block as numbers, before it becomes bytes: group g holds d * scale[g] * level - dmin *
 * min[g]. */
typedef struct super {
    uint32_t groups;
    px_levels levels, scales; /* of a group's values; of the groups' scales (and mins) */
    px_fit fit[GROUPS_MAX];
    px_grid ideal[GROUPS_MAX];
    float d, dmin;
    int scale[GROUPS_MAX], min[GROUPS_MAX];
    int8_t level[SUPER];
} super;

static void super_init(super *s, const float *from)
{
    uint32_t count = SUPER / s->groups;
    for (uint32_t g = 0; g < s->groups; g++) px_fit_init(&s->fit[g], from + g * count, count);
}

static px_grid grid_of(const super *s, int scale, int min)
{
    return (px_grid){s->d * (float)scale, s->dmin * (float)min};
}

/* Chooses the best of the integers around those that are nearest to the group's own grid. */
static void choose_integers(super *s, uint32_t g, bool with_min)
{
    px_fit_sums best = {.error = INFINITY};
    int near = s->scale[g], near_min = s->min[g], side = with_min ? 1 : 0;
    for (int scale = near - 1; scale <= near + 1; scale++) {
        if (scale < s->scales.low || scale > s->scales.high) continue;
        for (int min = near_min - side; min <= near_min + side; min++) {
            if (with_min && (min < s->scales.low || min > s->scales.high)) continue;
            px_fit_sums sums = px_fit_try(&s->fit[g], grid_of(s, scale, min), s->levels);
            if (sums.error >= best.error) continue;
            best = sums;
            s->scale[g] = scale;
            s->min[g] = min;
        }
    }
}

/* d and dmin that are best for the levels the groups have now. */
static void solve_supers(super *s, bool with_min)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0; /* a: scale * level, b: -min */
    for (uint32_t g = 0; g < s->groups; g++) {
        px_fit_sums sums = px_fit_try(&s->fit[g], grid_of(s, s->scale[g], s->min[g]), s->levels);
        double scale = s->scale[g], min = s->min[g];
        aa += scale * scale * (double)sums.wll;
        ab -= scale * min * (double)sums.wl;
        bb += min * min * (double)s->fit[g].sum_w;
        ax += scale * (double)sums.wxl;
        bx -= min * (double)s->fit[g].sum_wx;
    }
    double determinant = aa * bb - ab * ab;
    float d = s->d, dmin = s->dmin;
    if (with_min && determinant > 1e-9 * aa * bb) {
        d = (float)((ax * bb - bx * ab) / determinant);
        dmin = (float)((bx * aa - ax * ab) / determinant);
        if (!(dmin > 0)) return;
    } else if (aa > 0) {
        d = (float)((ax - (double)dmin * ab) / aa);
    }
    s->d = f16_round(d);
    s->dmin = f16_round(dmin);
}

static float error_of(const super *s)
{
    float error = 0;
    for (uint32_t g = 0; g < s->groups; g++)
        error += px_fit_try(&s->fit[g], grid_of(s, s->scale[g], s->min[g]), s->levels).error;
    return error;
}

static void take_levels(super *s)
{
    uint32_t count = SUPER / s->groups;
    for (uint32_t g = 0; g < s->groups; g++)
        px_fit_levels(
            &s->fit[g], grid_of(s, s->scale[g], s->min[g]), s->levels, s->level + g * count);
}

/* Improves integers and super-scales in turn while that helps. */
static void refine(super *s, bool with_min)
{
    for (uint32_t g = 0; g < s->groups; g++) choose_integers(s, g, with_min);
    float error = error_of(s);
    for (int round = 0; round < ROUNDS; round++) {
        super before = *s;
        solve_supers(s, with_min);
        for (uint32_t g = 0; g < s->groups; g++) choose_integers(s, g, with_min);
        float now = error_of(s);
        if (now < error) {
            error = now;
            continue;
        }
        *s = before;
        break;
    }
    take_levels(s);
}

static void fit_affine(super *s, const float *from)
{
    float scale_most = 0, min_most = 0;
    super_init(s, from);
    for (uint32_t g = 0; g < s->groups; g++) {
        s->ideal[g] = px_fit_affine(&s->fit[g], s->levels.high);
        scale_most = fmaxf(scale_most, s->ideal[g].scale);
        min_most = fmaxf(min_most, s->ideal[g].min);
    }
    float most = (float)s->scales.high;
    s->d = f16_round(scale_most / most);
    s->dmin = f16_round(min_most / most);
    for (uint32_t g = 0; g < s->groups; g++) {
        s->scale[g] = s->d > 0 ? round_within(s->ideal[g].scale / s->d, 0, s->scales.high) : 0;
        s->min[g] = s->dmin > 0 ? round_within(s->ideal[g].min / s->dmin, 0, s->scales.high) : 0;
    }
    refine(s, true);
}

/* The group of largest scale gets the integer of largest magnitude, scales.low. */
static void fit_symmetric(super *s, const float *from)
{
    float extreme = 0;
    super_init(s, from);
    for (uint32_t g = 0; g < s->groups; g++) {
        s->ideal[g] = px_fit_symmetric(&s->fit[g], s->levels);
        if (fabsf(s->ideal[g].scale) > fabsf(extreme)) extreme = s->ideal[g].scale;
    }
    s->d = f16_round(extreme / (float)s->scales.low);
    s->dmin = 0;
    for (uint32_t g = 0; g < s->groups; g++) {
        s->min[g] = 0;
        s->scale[g] =
            s->d != 0 ? round_within(s->ideal[g].scale / s->d, s->scales.low, s->scales.high) : 0;
    }
    refine(s, false);
}

/* --- bytes; the layouts are told in dtype_blocks.c -------------------------------------------- */

void px_q2_k_quantize(const float *from, uint8_t *block)
{
    super s = {.groups = 16, .levels = {0, 3}, .scales = {0, 15}};
    fit_affine(&s, from);
    memset(block, 0, 84);
    for (int g = 0; g < 16; g++) block[g] = (uint8_t)(s.scale[g] | s.min[g] << 4);
    for (int i = 0; i < SUPER; i++)
        block[16 + i / 128 * 32 + i % 32] |= (uint8_t)(s.level[i] << (i / 32 % 4 * 2));
    put_f16(block + 80, s.d);
    put_f16(block + 82, s.dmin);
}

void px_q3_k_quantize(const float *from, uint8_t *block)
{
    super s = {.groups = 16, .levels = {-4, 3}, .scales = {-32, 31}};
    fit_symmetric(&s, from);
    memset(block, 0, 110);
    for (int i = 0; i < SUPER; i++) {
        int level = s.level[i] + 4;
        block[i % 32] |= (uint8_t)((level >> 2) << (i / 32));
        block[32 + i / 128 * 32 + i % 32] |= (uint8_t)((level & 3) << (i / 32 % 4 * 2));
    }
    for (int g = 0; g < 16; g++) {
        int scale = s.scale[g] + 32;
        block[96 + g % 8] |= (uint8_t)((scale & 15) << (g / 8 * 4));
        block[104 + g % 4] |= (uint8_t)((scale >> 4) << (g / 4 * 2));
    }
    put_f16(block + 108, s.d);
}

/* { d; dmin; eight scales and mins of six bits } */
static void put_k_scales(uint8_t *block, const super *s)
{
    put_f16(block, s->d);
    put_f16(block + 2, s->dmin);
    uint8_t *packed = block + 4;
    for (int i = 0; i < 4; i++) {
        packed[i] = (uint8_t)(s->scale[i] | (s->scale[i + 4] >> 4) << 6);
        packed[i + 4] = (uint8_t)(s->min[i] | (s->min[i + 4] >> 4) << 6);
        packed[i + 8] = (uint8_t)((s->scale[i + 4] & 15) | (s->min[i + 4] & 15) << 4);
    }
}

void px_q4_k_quantize(const float *from, uint8_t *block)
{
    super s = {.groups = 8, .levels = {0, 15}, .scales = {0, 63}};
    fit_affine(&s, from);
    memset(block, 0, 144);
    put_k_scales(block, &s);
    for (int i = 0; i < SUPER; i++)
        block[16 + i / 64 * 32 + i % 32] |= (uint8_t)(s.level[i] << (i / 32 % 2 * 4));
}

void px_q5_k_quantize(const float *from, uint8_t *block)
{
    super s = {.groups = 8, .levels = {0, 31}, .scales = {0, 63}};
    fit_affine(&s, from);
    memset(block, 0, 176);
    put_k_scales(block, &s);
    for (int i = 0; i < SUPER; i++) {
        block[16 + i % 32] |= (uint8_t)((s.level[i] >> 4) << (i / 32));
        block[48 + i / 64 * 32 + i % 32] |= (uint8_t)((s.level[i] & 15) << (i / 32 % 2 * 4));
    }
}

void px_q6_k_quantize(const float *from, uint8_t *block)
{
    super s = {.groups = 16, .levels = {-32, 31}, .scales = {-128, 127}};
    fit_symmetric(&s, from);
    memset(block, 0, 210);
    for (int i = 0; i < SUPER; i++) {
        int level = s.level[i] + 32, half = i / 128, within = i % 128;
        block[half * 64 + within % 64] |= (uint8_t)((level & 15) << (within / 64 * 4));
        block[128 + half * 32 + within % 32] |= (uint8_t)((level >> 4) << (within / 32 * 2));
    }
    for (int g = 0; g < 16; g++) block[192 + g] = (uint8_t)(int8_t)s.scale[g];
    put_f16(block + 208, s.d);
}
