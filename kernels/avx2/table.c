/* table.c - the AVX2 backend: what is not its own it takes from scalar. */
#include "kernels/avx2/avx2.h"
#include "kernels/scalar/scalar.h"

size_t px_avx2_pack_bytes(px_dtype dtype, uint32_t rows, uint32_t cols)
{
    return px_packed_bytes(dtype, PX_AVX2_LANES, rows, cols);
}

void px_avx2_pack(const px_pack *op, px_part part)
{
    px_packed_fill(op, PX_AVX2_LANES, px_avx2_pack_group, part);
}

void px_avx2_matmul(const px_matmul *op, px_part part)
{
    static const px_tiles tiles = {.lanes = PX_AVX2_LANES,
        .q8 = {PX_AVX2_Q8_ROWS, 1, 0, 1, px_avx2_q8_tile},
        .floats = {PX_AVX2_FLOAT_ROWS, 2, 1, 4, px_avx2_float_tile},
        .scaled = {PX_AVX2_SCALED_ROWS, 1, 1, 4, px_avx2_scaled_tile}};
    px_packed_matmul(op, &tiles, part);
}

const px_kernels *px_avx2_table(void)
{
    static const px_kernels table = {
        .name = "avx2",
        .act_kind = px_avx2_act_kind,
        .act_row_bytes = px_avx2_act_row_bytes,
        .pack_bytes = px_avx2_pack_bytes,
        .pack = px_avx2_pack,
        .prepare = px_avx2_prepare,
        .matmul = px_avx2_matmul,
        .embed = px_scalar_embed, /* one short row a token */
        .rmsnorm = px_avx2_rmsnorm,
        .add = px_avx2_add,
        .glu = px_avx2_glu,
        .rope = px_avx2_rope,
        .kv_store = px_avx2_kv_store,
        .attention_scratch_floats = px_avx2_attention_scratch_floats,
        .attention = px_avx2_attention,
        .attention_merge = px_avx2_attention_merge,
    };
    return &table;
}
