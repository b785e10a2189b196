/* table.c - the AVX-512 backend: its own products; the rest, which memory or latency bounds, is
 * AVX2's. */
#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/scalar/scalar.h"

static size_t pack_bytes(px_dtype dtype, uint32_t rows, uint32_t cols)
{
    return px_packed_bytes(dtype, PX_AVX512_LANES, rows, cols);
}

static void pack(const px_pack *op, px_part part)
{
    px_packed_fill(op, PX_AVX512_LANES, px_avx2_pack_group, part);
}

static void matmul(const px_matmul *op, px_part part)
{
    static const px_expansion expansion = {
        px_avx512_expanded_bytes, px_avx512_expand, px_avx512_expanded_tile};
    static const px_tiles tiles = {.lanes = PX_AVX512_LANES,
        .q8 = {PX_AVX512_Q8_ROWS, 2, 2, 1, px_avx512_q8_tile, &expansion},
        .bf16 = {PX_AVX512_BF16_ROWS, 4, 0, 4, px_avx512_bf16_tile},
        .floats = {PX_AVX512_FLOAT_ROWS, 4, 0, 4, px_avx512_float_tile},
        .scaled = {PX_AVX512_SCALED_ROWS, 1, 1, 4, px_avx512_scaled_tile}};
    px_packed_matmul(op, &tiles, part);
}

/* What both tables have. */
#define COMMON                                                                                     \
    .act_row_bytes = px_avx512_act_row_bytes, .pack_bytes = pack_bytes, .pack = pack,              \
    .prepare = px_avx512_prepare, .matmul = matmul, .embed = px_scalar_embed,                      \
    .rmsnorm = px_avx2_rmsnorm, .add = px_avx2_add, .glu = px_avx512_glu, .rope = px_avx2_rope,    \
    .kv_store = px_avx2_kv_store, .attention_scratch_floats = px_avx512_attention_scratch_floats,  \
    .attention = px_avx512_attention, .attention_merge = px_avx512_attention_merge

const px_kernels *px_avx512_table(void)
{
    static const px_kernels table = {.name = "avx512", .act_kind = px_avx2_act_kind, COMMON};
    return &table;
}

const px_kernels *px_avx512_bf16_table(void)
{
    static const px_kernels table = {
        .name = "avx512_bf16", .act_kind = px_avx512_bf16_act_kind, COMMON};
    return &table;
}
