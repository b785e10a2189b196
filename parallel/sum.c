/* sum.c - parts of an array, and sums in order. */
#include "parallel/sum.h"

px_span px_span_part(size_t count, int member, int members)
{
    enum { LINE_FLOATS = 16 };
    size_t lines = (count + LINE_FLOATS - 1) / LINE_FLOATS;
    size_t begin = lines * (size_t)member / (size_t)members * LINE_FLOATS;
    size_t end = lines * (size_t)(member + 1) / (size_t)members * LINE_FLOATS;
    return (px_span){begin < count ? begin : count, end < count ? end : count};
}

/* sum = a + b; `sum` may be `a` or `b`. */
static void add(float *sum, const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++) sum[i] = a[i] + b[i];
}

/* A block at a time, so that the partial sums of three and more stay in L1. They need a place of
 * their own: `sum` may be an addend that is still to come. */
void px_sum_in_order(const float *const *addends, int members, float *sum, size_t count)
{
    enum { BLOCK = 512 };
    float partial[BLOCK];
    for (size_t at = 0; at < count; at += BLOCK) {
        size_t block = count - at < BLOCK ? count - at : BLOCK;
        const float *before = addends[0] + at;
        for (int m = 1; m < members; m++) {
            float *to = m == members - 1 ? sum + at : partial;
            add(to, before, addends[m] + at, block);
            before = to;
        }
    }
}
