/* glu.h - gated activations; stands after a vec.h. Internal.
 *
 * A long chain for every value: what counts is how many values a vector has, since the CPU looks
 * only so many instructions ahead. */
#ifndef PX_KERNELS_VECTOR_GLU_H
#define PX_KERNELS_VECTOR_GLU_H

#include "kernels/vector/exp.h"
#include "kernels/vector/piece.h"

/* g / (1 + e^-z): SiLU with z = g; GELU's tanh form is the same with z = 2 u, since
 * (1 + tanh u) / 2 = 1 / (1 + e^-2u). */
PX_INLINE px_vec gated(px_vec g, px_vec z)
{
    px_vec e = px_vec_exp(px_vec_sub(px_vec_all(0), z));
    return px_vec_div(g, px_vec_add(px_vec_all(1), e));
}

PX_INLINE px_vec activate(const px_activation activation, px_vec g, float alpha)
{
    if (activation == PX_RELU) return px_vec_max(g, px_vec_all(0));
    if (activation == PX_SILU) return gated(g, g);
    if (activation == PX_SWIGLU_OAI) return gated(g, px_vec_mul(g, px_vec_all(alpha)));
    const px_vec linear = px_vec_all(2 * 0.797884561f); /* 2 sqrt(2 / pi) */
    const px_vec cubic = px_vec_all(2 * 0.797884561f * 0.044715f);
    px_vec square = px_vec_mul(g, g);
    return gated(g, px_vec_mul(g, px_vec_fma(cubic, square, linear)));
}

PX_INLINE void glu_piece(const px_activation activation, const px_glu *op, piece p)
{
    const float *gate = op->gate + p.row * op->gate_stride;
    const float *up = op->up + p.row * op->up_stride;
    float *y = op->y + p.row * op->y_stride;
    const px_vec limit = px_vec_all(op->limit), minus = px_vec_all(-op->limit);
    for (uint32_t c = p.begin; c < p.end; c += PX_VEC_LANES) {
        uint32_t left = p.end - c;
        px_vec g = px_vec_load_some(gate + c, left), u = px_vec_load_some(up + c, left);
        if (activation == PX_SWIGLU_OAI) {
            g = px_vec_min(g, limit);
            u = px_vec_max(px_vec_min(u, limit), minus);
            u = px_vec_add(u, px_vec_all(1));
        }
        px_vec_store_some(y + c, left, px_vec_mul(activate(activation, g, op->alpha), u));
    }
}

/* Any activation but GELU_ERF. */
PX_INLINE void glu(const px_glu *op, px_part part)
{
    uint32_t begin, end;
    px_part_range(part, op->rows * pieces_of_row(op->cols), 1, &begin, &end);
    for (uint32_t i = begin; i < end; i++) {
        piece p = piece_at(i, op->cols);
        switch (op->activation) {
        case PX_RELU: glu_piece(PX_RELU, op, p); break;
        case PX_SILU: glu_piece(PX_SILU, op, p); break;
        case PX_SWIGLU_OAI: glu_piece(PX_SWIGLU_OAI, op, p); break;
        default: glu_piece(PX_GELU_TANH, op, p);
        }
    }
}

#endif
