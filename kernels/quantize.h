/* quantize.h - float32 rounded to the formats that model files are written in.
 *
 * Types of 32-element blocks and MXFP4 follow the rule of gguf-py's reference quantiser bit for
 * bit, so that files are the same whoever wrote them. The K formats and IQ4_NL, whose rounding no
 * reference prescribes, are searched for the least weighted error (quantize_fit.h).
 *
 * Pure functions; values must be finite.
 */
#ifndef PX_KERNELS_QUANTIZE_H
#define PX_KERNELS_QUANTIZE_H

#include "kernels/dtype.h"

bool px_can_quantize(px_dtype dtype);
/* `elements` is a whole number of blocks; `to` may be unaligned. */
void px_quantize(px_dtype dtype, const float *from, void *to, size_t elements);

#endif
