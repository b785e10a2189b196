/* kernels_test.h - what the kernel tests share: backends, tolerances, random inputs, parts. */
#ifndef PX_KERNELS_TEST_H
#define PX_KERNELS_TEST_H

#include "test.h"

#include <stdint.h>

#include "kernels/kernels.h"

/* --- tolerances against scalar, all of them --------------------------------------------------- */

/* Products: |difference| / (|w| |x|), both vector norms. Float chains and block sums round at
 * 2^-24 a step; activations of 8 bits are off by half a step of 1/127 of a block's largest. */
#define TOLERANCE_PRODUCT_FLOAT 2e-6
#define TOLERANCE_PRODUCT_EXACT 2e-6 /* rounded activations of values they can hold */
#define TOLERANCE_PRODUCT_BF16  2e-3 /* bfloat16 activations: half a step is 2^-9 of the value */
#define TOLERANCE_PRODUCT_Q8    6e-3
/* Elementwise: relative to max(1, |value|), the values being of size one. */
#define TOLERANCE_NORM 1e-6
#define TOLERANCE_ADD  2e-7
#define TOLERANCE_GLU  4e-6
#define TOLERANCE_ROPE 5e-7
/* Attention: absolute, for values within [-1, 1]. */
#define TOLERANCE_ATTENTION 3e-6

enum { BACKENDS = 4 };

/* The backends this CPU runs, scalar first. */
static inline int backends(const px_kernels *out[BACKENDS])
{
    int count = 0;
    out[count++] = px_kernels_scalar();
    if (px_kernels_avx2()) out[count++] = px_kernels_avx2();
    if (px_kernels_avx512()) out[count++] = px_kernels_avx512();
    if (px_kernels_avx512_bf16()) out[count++] = px_kernels_avx512_bf16();
    return count;
}

/* Uniform in [-1, 1). */
static inline float random_float(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) * 0x1p-23f - 1.0f;
}

static inline float *random_floats(size_t count, unsigned seed)
{
    float *values = malloc((count + 1) * sizeof *values);
    for (size_t i = 0; i < count; i++) values[i] = random_float(&seed);
    return values;
}

/* Inputs that are all alike prove nothing. */
static inline void check_varies(const float *values, size_t count)
{
    size_t same = 0;
    for (size_t i = 1; i < count; i++) same += values[i] == values[i - 1];
    PX_CHECK(count < 4 || same < count / 2);
}

static inline void *aligned_bytes(size_t bytes)
{
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}

/* fn(op, part) for each of `parts` in turn, last first: order must not matter. */
#define IN_PARTS(fn, op, parts)                                                                    \
    for (uint32_t part_ = (parts); part_-- > 0;) (fn)((op), (px_part){part_, (parts), NULL})

/* Attention in parts, and what they leave to be merged. */
static inline void attend_in_parts(
    const px_kernels *kernels, const px_attention *op, uint32_t parts)
{
    bool cut = kernels->attention(op, (px_part){parts - 1, parts, NULL});
    for (uint32_t p = parts - 1; p-- > 0;) {
        PX_CHECK(kernels->attention(op, (px_part){p, parts, NULL}) == cut);
    }
    if (cut) IN_PARTS(kernels->attention_merge, op, parts);
}

static inline double norm(const float *values, size_t count)
{
    double squares = 0;
    for (size_t i = 0; i < count; i++) squares += (double)values[i] * (double)values[i];
    return sqrt(squares);
}

#endif
