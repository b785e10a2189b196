/* pace.h - how many rows a step may have: a cost model learnt from the steps themselves, and three
 * settings.
 *
 *   batch_size    a step's token budget while there is little to do
 *   scale_factor  how far load may stretch the budget and the time
 *   latency       what a step may take; what a request may wait before load counts as high
 *
 * The budget follows the backlog from batch_size up to batch_size x scale_factor, and is cut to the
 * rows that are predicted to end within the latency (stretched while the oldest request has waited
 * longer than that).
 *
 * Model:   the mean time of steps of about the same number of rows; between two such sizes a line,
 *          above the largest in proportion (too high, until a larger step was seen), below the
 *          smallest its own time (too high as well). It never falls with more rows.
 * Threads: engine thread. No memory of its own.
 */
#ifndef PX_ENGINE_PACE_H
#define PX_ENGINE_PACE_H

#include <stdint.h>

enum { PX_PACE_SIZES = 64 }; /* four for each power of two */

typedef struct px_pace_options {
    uint32_t batch_size, rows_max; /* rows_max: at least batch_size, what a step can hold */
    double scale_factor;           /* at least 1 */
    int64_t latency_ns;            /* 0: no bound */
} px_pace_options;

typedef struct px_pace_size {
    double rows, ns; /* means; 0: not seen yet */
} px_pace_size;

typedef struct px_pace {
    px_pace_options options;
    px_pace_size sizes[PX_PACE_SIZES];
} px_pace;

void px_pace_init(px_pace *pace, const px_pace_options *options);
/* A step of `rows` rows took `ns`. */
void px_pace_observe(px_pace *pace, uint32_t rows, int64_t ns);
/* 0: nothing is known yet. */
int64_t px_pace_predict(const px_pace *pace, uint32_t rows);
/* What a step costs before any row, by the line through the sizes seen; 0: not known. */
int64_t px_pace_fixed_ns(const px_pace *pace);
/* The most rows, up to rows_max, that are predicted to take at most `ns`; at least 1. */
uint32_t px_pace_rows_within(const px_pace *pace, int64_t ns);
/* The latency, stretched for a request that has waited for `waited_ns`; INT64_MAX: no bound. At
 * least twice what a single row takes: a model that is slower than the bound still batches. */
int64_t px_pace_bound_ns(const px_pace *pace, int64_t waited_ns);

typedef struct px_pace_load {
    uint64_t rows_wanted; /* by all that run or wait */
    int64_t waited_ns;    /* by the one that has waited longest */
} px_pace_load;
uint32_t px_pace_budget(const px_pace *pace, px_pace_load load);

#endif
