/* pace.c - see pace.h. */
#include "engine/schedule/pace.h"

#include <stddef.h>

#include "base/status.h"

enum { SIZES_PER_DOUBLING = 4, LEAST_STEPS = 2 };
static const double learning_rate = 0.2, outlier = 4, slack = 1.5;

void px_pace_init(px_pace *pace, const px_pace_options *options)
{
    PX_ASSERT(options->scale_factor >= 1 && options->rows_max >= options->batch_size);
    *pace = (px_pace){.options = *options};
}

/* Four sizes for each power of two: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, ... */
static uint32_t size_of(uint32_t rows)
{
    if (rows < SIZES_PER_DOUBLING) return rows;
    uint32_t exponent = 31 - (uint32_t)__builtin_clz(rows);
    uint32_t quarter = rows >> (exponent - 2) & 3;
    uint32_t size = (exponent - 1) * SIZES_PER_DOUBLING + quarter;
    return size < PX_PACE_SIZES ? size : PX_PACE_SIZES - 1;
}

/* More rows take longer, but not more than in proportion. What contradicts that was learnt while
 * something else held a step up, and might keep such steps from ever being tried again. */
static void correct_others(px_pace *pace, double rows, double ns)
{
    for (uint32_t i = 0; i < PX_PACE_SIZES; i++) {
        px_pace_size *size = &pace->sizes[i];
        double most = ns * slack * (size->rows > rows ? size->rows / rows : 1);
        if (size->ns > most) size->ns = most;
    }
}

void px_pace_observe(px_pace *pace, uint32_t rows, int64_t ns)
{
    if (!rows || ns <= 0) return;
    correct_others(pace, rows, (double)ns);
    px_pace_size *size = &pace->sizes[size_of(rows)];
    if (size->ns == 0) {
        *size = (px_pace_size){.rows = rows, .ns = (double)ns};
        return;
    }
    /* One step that was held up by something else must not shrink the next hundred. */
    double seen = (double)ns < outlier * size->ns ? (double)ns : outlier * size->ns;
    size->rows += learning_rate * (rows - size->rows);
    size->ns += learning_rate * (seen - size->ns);
}

int64_t px_pace_predict(const px_pace *pace, uint32_t rows)
{
    const px_pace_size *below = NULL;
    double floor = 0; /* no prediction falls with more rows */
    for (uint32_t i = 0; i < PX_PACE_SIZES; i++) {
        const px_pace_size *size = &pace->sizes[i];
        if (size->ns == 0) continue;
        if (size->rows > rows) {
            if (!below) return (int64_t)size->ns;
            double high = size->ns > floor ? size->ns : floor;
            double share = (rows - below->rows) / (size->rows - below->rows);
            return (int64_t)(floor + share * (high - floor));
        }
        below = size;
        if (size->ns > floor) floor = size->ns;
    }
    return below ? (int64_t)(floor * rows / below->rows) : 0;
}

int64_t px_pace_fixed_ns(const px_pace *pace)
{
    const px_pace_size *small = NULL, *large = NULL;
    for (uint32_t i = 0; i < PX_PACE_SIZES; i++) {
        const px_pace_size *size = &pace->sizes[i];
        if (size->ns == 0) continue;
        if (!small)
            small = size;
        else if (size->rows >= 2 * small->rows)
            large = size;
    }
    if (!large) return 0;
    double row_ns = (large->ns - small->ns) / (large->rows - small->rows);
    double fixed_ns = small->ns - row_ns * small->rows;
    return fixed_ns > 0 ? (int64_t)fixed_ns : 0;
}

uint32_t px_pace_rows_within(const px_pace *pace, int64_t ns)
{
    uint32_t low = 1, high = pace->options.rows_max;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (px_pace_predict(pace, middle) <= ns)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

int64_t px_pace_bound_ns(const px_pace *pace, int64_t waited_ns)
{
    int64_t latency_ns = pace->options.latency_ns,
            least_ns = LEAST_STEPS * px_pace_predict(pace, 1);
    if (!latency_ns) return INT64_MAX;
    double stretch = (double)waited_ns / (double)latency_ns;
    if (stretch > pace->options.scale_factor) stretch = pace->options.scale_factor;
    int64_t bound_ns = stretch > 1 ? (int64_t)(stretch * (double)latency_ns) : latency_ns;
    return bound_ns > least_ns ? bound_ns : least_ns;
}

uint32_t px_pace_budget(const px_pace *pace, px_pace_load load)
{
    const px_pace_options *options = &pace->options;
    double most = options->batch_size * options->scale_factor;
    if (most > options->rows_max) most = options->rows_max;
    uint32_t budget = options->batch_size;
    if (load.rows_wanted > budget)
        budget = load.rows_wanted < most ? (uint32_t)load.rows_wanted : (uint32_t)most;
    int64_t bound_ns = px_pace_bound_ns(pace, load.waited_ns);
    uint32_t in_time = bound_ns == INT64_MAX ? budget : px_pace_rows_within(pace, bound_ns);
    return budget < in_time ? budget : in_time;
}
