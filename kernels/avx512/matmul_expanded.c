/* matmul_expanded.c - weights whose quants and scales were taken apart once, and the tiles that
 * read them; see q8_tile.h.
 *
 * A tile of six rows spends an eighth of its time on taking weights of two planes, or with a scale
 * for 16 columns, apart (Q6_K); a batch of several tiles pays it once. The floats and the quants
 * are those that a tile would have made itself: the same bits.
 */
#include "kernels/avx512/q8_tile.h"

#include <assert.h>

/* --- taking apart ----------------------------------------------------------------------------- */

size_t px_avx512_expanded_bytes(px_packing packing, uint32_t cols)
{
    const px_quant_form form = px_quant_forms[packing];
    if (!form.high_bits && !form.halves) return 0;
    size_t floats = 2u + form.halves + form.mins + (form.halves && form.mins);
    return cols / 32 * (floats * sizeof(float) + 32) * L;
}

PX_INLINE uint8_t *put_floats(uint8_t *to, __m512 floats)
{
    _mm512_store_ps(to, floats);
    return to + 4 * L;
}

PX_INLINE void expand(const px_packing packing, const uint8_t *w, uint32_t cols, uint8_t *to)
{
    const px_quant_form form = px_quant_forms[packing];
    const uint32_t blocks = cols / 32;
    group_at at = {.quants = w};
    for (uint32_t block = 0; block < blocks; block++) {
        block_head head;
        __m512i quants[8], of_quants[2];
        if (block % px_unit_blocks(packing) == 0) begin_unit(packing, block, &at);
        read_head(packing, &at, &head);
#pragma GCC unroll 8
        for (int step = 0; step < 8; step++) {
            const int half = form.halves ? step / 4 : 0;
            quants[step] = take_step(packing, at.quants, step);
            of_quants[half] = add_step(packing, step == 4 * half, of_quants[half], quants[step]);
        }
#pragma GCC unroll 2
        for (int h = 0; h < 1 + form.halves; h++) of_quants[h] = end_sum(packing, of_quants[h]);
        head.zero = zero_of(packing, &head, of_quants);
        to = put_floats(to, head.scale);
        if (form.halves) to = put_floats(to, head.scale_high);
        to = put_floats(to, head.zero);
        if (form.mins) to = put_floats(to, head.min);
        if (form.mins && form.halves) to = put_floats(to, head.min_high);
#pragma GCC unroll 8
        for (int step = 0; step < 8; step++, to += 4 * L) _mm512_store_si512(to, quants[step]);
        at.quants += px_quants_bytes(packing) * L;
    }
}

#define EXPAND(packing)                                                                            \
    case packing: expand(packing, w, cols, to); break
void px_avx512_expand(px_packing packing, const uint8_t *w, uint32_t cols, uint8_t *to)
{
    switch (packing) {
        EXPAND(PX_PACKING_U5);
        EXPAND(PX_PACKING_U5_MIN);
        EXPAND(PX_PACKING_U5_K);
        EXPAND(PX_PACKING_U2_K);
        EXPAND(PX_PACKING_U3_K);
        EXPAND(PX_PACKING_U6_K);
    default: assert(!"a packing that is expanded");
    }
}

/* --- tiles ------------------------------------------------------------------------------------ */

PX_INLINE void sum_columns(const px_packing packing, const int groups, const int rows,
    const px_tile *op, __m512 acc[GROUPS][ROWS])
{
    sum_blocks((tile_kind){packing, .expanded = true, .groups = groups, .rows = rows}, op, acc);
}

#include "kernels/vector/tile.h"

/* Expanded, U5_K is U5_MIN. */
EACH(u5, PX_PACKING_U5)
EACH(u5_min, PX_PACKING_U5_MIN)
EACH(u2_k, PX_PACKING_U2_K)
EACH(u3_k, PX_PACKING_U3_K)
EACH(u6_k, PX_PACKING_U6_K)

px_tile_fn px_avx512_expanded_tile(px_packing packing, uint32_t groups, uint32_t rows)
{
    static const px_tile_fn tiles[PX_PACKING_COUNT][GROUPS][TILE_ROWS_MAX] = {
        [PX_PACKING_U5] = NAMES(u5),
        [PX_PACKING_U5_MIN] = NAMES(u5_min),
        [PX_PACKING_U5_K] = NAMES(u5_min),
        [PX_PACKING_U2_K] = NAMES(u2_k),
        [PX_PACKING_U3_K] = NAMES(u3_k),
        [PX_PACKING_U6_K] = NAMES(u6_k),
    };
    assert(groups <= GROUPS && rows <= ROWS);
    px_tile_fn fn = tiles[packing][groups - 1][rows - 1];
    assert(fn);
    return fn;
}
