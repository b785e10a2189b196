/* scalar.h - the ops of the scalar table, for the table and for backends that inherit one. */
#ifndef PX_KERNELS_SCALAR_H
#define PX_KERNELS_SCALAR_H

#include "kernels/kernels.h"

px_act_kind px_scalar_act_kind(px_dtype weights);
size_t px_scalar_act_row_bytes(px_act_kind kind, uint32_t cols);
size_t px_scalar_pack_bytes(px_dtype dtype, uint32_t rows, uint32_t cols);
void px_scalar_pack(const px_pack *op, px_part part);
void px_scalar_prepare(const px_prepare *op, px_part part);
void px_scalar_matmul(const px_matmul *op, px_part part);

void px_scalar_embed(const px_embed *op, px_part part);
void px_scalar_rmsnorm(const px_rmsnorm *op, px_part part);
void px_scalar_add(const px_add *op, px_part part);
void px_scalar_glu(const px_glu *op, px_part part);
void px_scalar_rope(const px_rope *op, px_part part);

void px_scalar_kv_store(const px_kv_store *op, px_part part);
size_t px_scalar_attention_scratch_floats(const px_attention *op);
bool px_scalar_attention(const px_attention *op, px_part part);
void px_scalar_attention_merge(const px_attention *op, px_part part);

#endif
