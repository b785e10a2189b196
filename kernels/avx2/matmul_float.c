/* matmul_float.c - tiles of float32 products: the body in vector/ with AVX2's vectors. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec.h"

#define ASKS_AHEAD true
#include "kernels/vector/matmul_float.h"

_Static_assert((int)ROWS == PX_AVX2_FLOAT_ROWS, "the driver's rows are the tiles'");

px_tile_fn px_avx2_float_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    return float_tile(packing, groups, rows);
}
