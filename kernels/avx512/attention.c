/* attention.c - attention over the paged KV: the bodies in vector/ with AVX-512's vectors. */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"
#include "kernels/vector/attention.h"

size_t px_avx512_attention_scratch_floats(const px_attention *op)
{
    return attention_scratch_floats(op);
}

bool px_avx512_attention(const px_attention *op, px_part part)
{
    return attention(op, part);
}

void px_avx512_attention_merge(const px_attention *op, px_part part)
{
    attention_merge(op, part);
}
