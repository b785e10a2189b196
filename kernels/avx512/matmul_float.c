/* matmul_float.c - tiles of float32 products: the body in vector/ with AVX-512's vectors. */
#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec.h"

#define ASKS_AHEAD false
#include "kernels/vector/matmul_float.h"

_Static_assert((int)ROWS == PX_AVX512_FLOAT_ROWS, "the driver's rows are the tiles'");

px_tile_fn px_avx512_float_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    return float_tile(packing, groups, rows);
}
