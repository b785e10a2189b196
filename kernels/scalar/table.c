/* table.c - the scalar backend: the specification every other backend is tested against. */
#include "kernels/scalar/scalar.h"

const px_kernels *px_kernels_scalar(void)
{
    static const px_kernels table = {
        .name = "scalar",
        .act_kind = px_scalar_act_kind,
        .act_row_bytes = px_scalar_act_row_bytes,
        .pack_bytes = px_scalar_pack_bytes,
        .pack = px_scalar_pack,
        .prepare = px_scalar_prepare,
        .matmul = px_scalar_matmul,
        .embed = px_scalar_embed,
        .rmsnorm = px_scalar_rmsnorm,
        .add = px_scalar_add,
        .glu = px_scalar_glu,
        .rope = px_scalar_rope,
        .kv_store = px_scalar_kv_store,
        .attention_scratch_floats = px_scalar_attention_scratch_floats,
        .attention = px_scalar_attention,
        .attention_merge = px_scalar_attention_merge,
    };
    return &table;
}
