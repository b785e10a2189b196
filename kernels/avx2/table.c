/* table.c - the AVX2 backend: what is not its own it takes from scalar. */
#include "kernels/avx2/avx2.h"
#include "kernels/scalar/scalar.h"

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
    };
    return &table;
}
