/* elementwise.c - embedding, norms, residuals, gated activations and rotary positions. */
#include "kernels/scalar/scalar.h"

#include <assert.h>
#include <math.h>

void px_scalar_embed(const px_embed *op, px_part part)
{
    const px_matrix *table = op->table;
    assert(table->layout == 0);
    uint32_t begin, end;
    px_part_range(part, op->rows, 1, &begin, &end);
    for (uint32_t i = begin; i < end; i++) {
        float *y = op->y + (size_t)i * table->cols;
        assert(op->ids[i] < table->rows);
        px_dtype_to_f32(table->dtype,
            (const unsigned char *)table->data + op->ids[i] * table->row_bytes, y, table->cols);
        for (uint32_t c = 0; c < table->cols; c++) y[c] *= op->scale;
    }
}

void px_scalar_rmsnorm(const px_rmsnorm *op, px_part part)
{
    uint32_t begin, end;
    px_part_range(part, op->rows * op->groups, 1, &begin, &end);
    for (uint32_t u = begin; u < end; u++) {
        size_t row = u / op->groups, group = u % op->groups;
        const float *x = op->x + row * op->x_stride + group * op->cols;
        float *y = op->y + row * op->y_stride + group * op->cols;
        double squares = 0;
        for (uint32_t c = 0; c < op->cols; c++) squares += (double)x[c] * (double)x[c];
        float factor = (float)(1.0 / sqrt(squares / op->cols + (double)op->eps));
        for (uint32_t c = 0; c < op->cols; c++) {
            y[c] = x[c] * factor * (op->weight ? op->weight_offset + op->weight[c] : 1.0f);
        }
    }
}

void px_scalar_add(const px_add *op, px_part part)
{
    uint32_t begin, end;
    px_part_range(part, op->rows, 1, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        const float *x = op->x + i * op->x_stride;
        float *y = op->y + i * op->y_stride;
        for (uint32_t c = 0; c < op->cols; c++) y[c] += op->scale * x[c];
    }
}

static double activate(const px_glu *op, double g)
{
    const double sqrt_2_over_pi = 0.79788456080286535588, sqrt_half = 0.70710678118654752440;
    switch (op->activation) {
    case PX_SILU: return g / (1 + exp(-g));
    case PX_GELU_TANH: return 0.5 * g * (1 + tanh(sqrt_2_over_pi * (g + 0.044715 * g * g * g)));
    case PX_GELU_ERF: return 0.5 * g * (1 + erf(g * sqrt_half));
    case PX_RELU: return fmax(g, 0);
    case PX_SWIGLU_OAI: return g / (1 + exp(-(double)op->alpha * g));
    }
    assert(!"an activation of px_activation");
    return 0;
}

void px_scalar_glu(const px_glu *op, px_part part)
{
    uint32_t begin, end;
    px_part_range(part, op->rows, 1, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        const float *gate = op->gate + i * op->gate_stride, *up = op->up + i * op->up_stride;
        float *y = op->y + i * op->y_stride;
        for (uint32_t c = 0; c < op->cols; c++) {
            double g = (double)gate[c], u = (double)up[c], limit = (double)op->limit;
            if (op->activation == PX_SWIGLU_OAI) { /* openai/gpt-oss: clamp both, then up + 1 */
                g = fmin(g, limit);
                u = fmin(fmax(u, -limit), limit) + 1;
            }
            y[c] = (float)(activate(op, g) * u);
        }
    }
}

void px_scalar_rope(const px_rope *op, px_part part)
{
    uint32_t begin, end, half = op->dims / 2;
    px_part_range(part, op->rows * op->heads, 1, &begin, &end);
    for (uint32_t u = begin; u < end; u++) {
        size_t row = u / op->heads, head = u % op->heads;
        float *x = op->x + row * op->x_stride + head * op->head_dim + op->offset;
        const float *cosine = op->cos + row * half, *sine = op->sin + row * half;
        for (uint32_t i = 0; i < half; i++) {
            float *a = op->interleaved ? x + 2 * i : x + i;
            float *b = op->interleaved ? x + 2 * i + 1 : x + i + half;
            float a0 = *a, b0 = *b;
            *a = a0 * cosine[i] - b0 * sine[i];
            *b = b0 * cosine[i] + a0 * sine[i];
        }
    }
}
