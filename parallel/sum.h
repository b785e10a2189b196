/* sum.h - adding up what several ranks contribute, always in rank order.
 *
 * Floating-point sums depend on the order of adding. Every making of comm adds with these
 * functions, so that all ranks hold the same bits whatever carries their addends.
 */
#ifndef PX_PARALLEL_SUM_H
#define PX_PARALLEL_SUM_H

#include <stddef.h>

typedef struct px_span { /* [begin, end) of an array */
    size_t begin, end;
} px_span;

/* The part of `count` floats that one of `members` adds up, in whole cache lines; may be empty. */
px_span px_span_part(size_t count, int member, int members);

/* sum = addends[0] + addends[1] + ... (at least two), each [count]; `sum` may be one of them. */
void px_sum_in_order(const float *const *addends, int members, float *sum, size_t count);

#endif
