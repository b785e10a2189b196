/* quantize_fit.c - see quantize_fit.h. Sums run as four side by side, which any vector unit does at
 * once and whose order is the same everywhere. */
#include "kernels/quantize_fit.h"

#include <math.h>
#include <string.h>

enum { LANES = 4, SIDE_TRIALS = 10 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
static const float TRIAL_STEP = 0.1f; /* in levels of the outermost value */

static inline lanes lanes_at(const float *from)
{
    lanes out;
    memcpy(&out, from, sizeof out);
    return out;
}

static inline float sum_of(lanes parts)
{
    return (parts[0] + parts[2]) + (parts[1] + parts[3]);
}

void px_fit_init(px_fit *fit, const float *values, uint32_t count)
{
    lanes squares = {0}, w = {0}, wx = {0}, wxx = {0};
    for (uint32_t i = 0; i < count; i += LANES)
        squares += lanes_at(values + i) * lanes_at(values + i);
    float rms = sqrtf(sum_of(squares) / (float)count);
    for (uint32_t i = 0; i < count; i++) fit->weights[i] = rms + fabsf(values[i]);
    for (uint32_t i = 0; i < count; i += LANES) {
        lanes x = lanes_at(values + i), weight = lanes_at(fit->weights + i);
        w += weight;
        wx += weight * x;
        wxx += weight * x * x;
    }
    fit->count = count;
    fit->values = values;
    fit->sum_w = sum_of(w);
    fit->sum_wx = sum_of(wx);
    fit->sum_wxx = sum_of(wxx);
}

/* Nearest of low..high, as a float; anything for NaN. Adding 1.5 * 2^23 rounds to even. */
static inline float level_of(float x, float low, float high)
{
    const float round = 12582912.0f;
    x = x > low ? x : low;
    x = x < high ? x : high;
    return (x + round) - round;
}

static float inverse(float scale)
{
    return scale != 0 ? 1 / scale : 0;
}

px_fit_sums px_fit_try(const px_fit *fit, px_grid grid, px_levels levels)
{
    float level_at[PX_FIT_MAX], up = inverse(grid.scale);
    float low = (float)levels.low, high = (float)levels.high;
    for (uint32_t i = 0; i < fit->count; i++)
        level_at[i] = level_of((fit->values[i] + grid.min) * up, low, high);
    lanes wl = {0}, wll = {0}, wxl = {0}, error = {0};
    for (uint32_t i = 0; i < fit->count; i += LANES) {
        lanes x = lanes_at(fit->values + i), w = lanes_at(fit->weights + i);
        lanes level = lanes_at(level_at + i), off = x - (grid.scale * level - grid.min);
        lanes weighed = w * level;
        wl += weighed;
        wll += weighed * level;
        wxl += weighed * x;
        error += w * off * off;
    }
    return (px_fit_sums){sum_of(wl), sum_of(wll), sum_of(wxl), sum_of(error)};
}

void px_fit_levels(const px_fit *fit, px_grid grid, px_levels levels, int8_t *out)
{
    float up = inverse(grid.scale), low = (float)levels.low, high = (float)levels.high;
    for (uint32_t i = 0; i < fit->count; i++)
        out[i] = (int8_t)level_of((fit->values[i] + grid.min) * up, low, high);
}

/* The grid that is best for the levels behind `sums`, with min >= 0, and its error there. */
static px_grid solve_affine(const px_fit *fit, const px_fit_sums *sums, float *out_error)
{
    px_grid grid = {0, 0};
    float determinant = fit->sum_w * sums->wll - sums->wl * sums->wl;
    if (determinant > 0) {
        grid.scale = (fit->sum_w * sums->wxl - fit->sum_wx * sums->wl) / determinant;
        grid.min = -(sums->wll * fit->sum_wx - sums->wl * sums->wxl) / determinant;
    }
    if (!(grid.min > 0)) {
        grid.min = 0;
        grid.scale = sums->wll > 0 ? sums->wxl / sums->wll : 0;
    }
    *out_error = fit->sum_wxx - 2 * grid.scale * sums->wxl + 2 * grid.min * fit->sum_wx +
                 grid.scale * grid.scale * sums->wll - 2 * grid.scale * grid.min * sums->wl +
                 grid.min * grid.min * fit->sum_w;
    return grid;
}

px_grid px_fit_affine(const px_fit *fit, int high)
{
    float least = 0, most = fit->values[0]; /* 0 must not lie below the grid: min >= 0 */
    for (uint32_t i = 0; i < fit->count; i++) {
        float x = fit->values[i];
        least = x < least ? x : least;
        most = x > most ? x : most;
    }
    if (!(most > least)) return (px_grid){0, -least};
    px_grid best = {0, 0};
    float best_error = INFINITY;
    for (int t = -SIDE_TRIALS; t <= SIDE_TRIALS; t++) {
        px_grid grid = {(most - least) / ((float)high + TRIAL_STEP * (float)t), -least};
        px_fit_sums sums = px_fit_try(fit, grid, (px_levels){0, high});
        float error;
        grid = solve_affine(fit, &sums, &error);
        if (error >= best_error) continue;
        best = grid;
        best_error = error;
    }
    return best;
}

px_grid px_fit_symmetric(const px_fit *fit, px_levels levels)
{
    float extreme = 0, best_gain = -1;
    for (uint32_t i = 0; i < fit->count; i++)
        if (fabsf(fit->values[i]) > fabsf(extreme)) extreme = fit->values[i];
    px_grid best = {0, 0};
    if (extreme == 0) return best;
    for (int t = -SIDE_TRIALS; t <= SIDE_TRIALS; t++) {
        px_grid grid = {extreme / ((float)levels.low + TRIAL_STEP * (float)t), 0};
        px_fit_sums sums = px_fit_try(fit, grid, levels);
        float gain = sums.wll > 0 ? sums.wxl * sums.wxl / sums.wll : 0;
        if (gain <= best_gain) continue;
        best_gain = gain;
        best.scale = sums.wxl / (sums.wll > 0 ? sums.wll : 1);
    }
    return best;
}
