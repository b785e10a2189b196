/* glu.c - gated activations: the body in vector/ with AVX2's vectors. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"
#include "kernels/scalar/scalar.h"
#include "kernels/vector/glu.h"

void px_avx2_glu(const px_glu *op, px_part part)
{
    /* No model of note gates with erf: not worth a series. */
    if (op->activation == PX_GELU_ERF)
        px_scalar_glu(op, part);
    else
        glu(op, part);
}
