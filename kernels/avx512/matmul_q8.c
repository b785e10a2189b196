/* matmul_q8.c - tiles of integer products of weights as they are packed; see q8_tile.h. */
#include "kernels/avx512/q8_tile.h"

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, __m512 acc[GROUPS][ROWS])
{
    if (op->again)
        sum_blocks((tile_kind){packing, .again = true, .groups = groups, .rows = rows}, op, acc);
    else
        sum_blocks((tile_kind){packing, .groups = groups, .rows = rows}, op, acc);
}

#include "kernels/vector/tile.h"

EACH(u4, PX_PACKING_U4)
EACH(u4_min, PX_PACKING_U4_MIN)
EACH(u4_k, PX_PACKING_U4_K)
EACH(u5, PX_PACKING_U5)
EACH(u5_min, PX_PACKING_U5_MIN)
EACH(u5_k, PX_PACKING_U5_K)
EACH(u2_k, PX_PACKING_U2_K)
EACH(u3_k, PX_PACKING_U3_K)
EACH(u6_k, PX_PACKING_U6_K)
EACH(s8, PX_PACKING_S8)
EACH(t4, PX_PACKING_T4)
EACH(t4_k, PX_PACKING_T4_K)

px_tile_fn px_avx512_q8_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][GROUPS][TILE_ROWS_MAX] = {
        [PX_PACKING_U4] = NAMES(u4),
        [PX_PACKING_U4_MIN] = NAMES(u4_min),
        [PX_PACKING_U4_K] = NAMES(u4_k),
        [PX_PACKING_U5] = NAMES(u5),
        [PX_PACKING_U5_MIN] = NAMES(u5_min),
        [PX_PACKING_U5_K] = NAMES(u5_k),
        [PX_PACKING_U2_K] = NAMES(u2_k),
        [PX_PACKING_U3_K] = NAMES(u3_k),
        [PX_PACKING_U6_K] = NAMES(u6_k),
        [PX_PACKING_S8] = NAMES(s8),
        [PX_PACKING_T4] = NAMES(t4),
        [PX_PACKING_T4_K] = NAMES(t4_k),
    };
    assert(groups <= GROUPS && rows <= ROWS);
    return tiles[packing][groups - 1][rows - 1];
}
