/* glu.c - gated activations: the body in vector/ with AVX-512's vectors. */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"
#include "kernels/scalar/scalar.h"
#include "kernels/vector/glu.h"

void px_avx512_glu(const px_glu *op, px_part part)
{
    if (op->activation == PX_GELU_ERF)
        px_scalar_glu(op, part);
    else
        glu(op, part);
}
