/* prepare.c - activations as AVX-512 reads them: AVX2's forms, and bfloat16 where the CPU
 * multiplies it. */
#include <assert.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"

px_act_kind px_avx512_bf16_act_kind(px_dtype weights)
{
    return weights == PX_BF16 ? PX_ACT_BF16 : px_avx2_act_kind(weights);
}

/* Whole pairs of columns. */
size_t px_avx512_act_row_bytes(px_act_kind kind, uint32_t cols)
{
    if (kind == PX_ACT_BF16) return ((size_t)cols + 1) / 2 * 2 * sizeof(uint16_t);
    return px_avx2_act_row_bytes(kind, cols);
}

void px_avx512_prepare(const px_prepare *op, px_part part)
{
    const px_act *to = op->to;
    if (to->kind != PX_ACT_BF16) {
        px_avx2_prepare(op, part);
        return;
    }
    assert(!op->from);
    uint32_t begin, end;
    px_part_range(part, to->rows, 1, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        uint16_t *row = (uint16_t *)((uint8_t *)to->data + i * to->row_bytes);
        px_avx512_to_bf16(op->x + i * op->x_stride, to->cols, row);
        if (to->cols % 2) row[to->cols] = 0;
    }
}
