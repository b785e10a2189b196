/* quantize_fit.h - the best scale (and minimum) for a few values and a few levels. Internal.
 *
 * A fit tries grids around the obvious one; for each, the values' levels are taken and the scale
 * that is best for these levels follows by weighted least squares. Errors are weighed by
 * |x| + rms(x): large weights matter more to a product, small ones must not be given up.
 */
#ifndef PX_KERNELS_QUANTIZE_FIT_H
#define PX_KERNELS_QUANTIZE_FIT_H

#include <stdint.h>

enum { PX_FIT_MAX = 32 }; /* values of a fit: 16 or 32 */

typedef struct px_fit {
    uint32_t count;
    const float *values;       /* [count] */
    float weights[PX_FIT_MAX]; /* of the squared errors */
    float sum_w, sum_wx, sum_wxx;
} px_fit;

typedef struct px_grid { /* value = scale * level - min */
    float scale, min;
} px_grid;

/* Levels low..high; level `zero` of a symmetric grid stands for 0. */
typedef struct px_levels {
    int low, high;
} px_levels;

void px_fit_init(px_fit *fit, const float *values, uint32_t count);
/* min >= 0, levels 0..high. */
px_grid px_fit_affine(const px_fit *fit, int high);
/* min is 0; the value of largest magnitude comes near levels.low (its sign is the scale's). */
px_grid px_fit_symmetric(const px_fit *fit, px_levels levels);

/* What a grid makes of the values. */
typedef struct px_fit_sums {
    float wl, wll, wxl; /* sums of weight * level, weight * level^2, weight * value * level */
    float error;        /* sum of weight * (value - grid's)^2 */
} px_fit_sums;
px_fit_sums px_fit_try(const px_fit *fit, px_grid grid, px_levels levels);
/* The levels themselves. */
void px_fit_levels(const px_fit *fit, px_grid grid, px_levels levels, int8_t *out);

#endif
