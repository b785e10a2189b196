/* attention.c - storing and attending to the paged KV, one (row, head) at a time. */
#include "kernels/scalar/scalar.h"

#include <assert.h>
#include <math.h>

/* K or V of one KV head: rows of `row_bytes`. */
typedef struct kv_rows {
    const px_kv_plane *plane;
    uint32_t head;
    size_t row_bytes;
} kv_rows;

static kv_rows k_rows(const px_kv_layer *kv, uint32_t head)
{
    return (kv_rows){&kv->k, head, px_dtype_bytes(kv->dtype, kv->k_dim)};
}

static kv_rows v_rows(const px_kv_layer *kv, uint32_t head)
{
    if (!kv->v.base) return k_rows(kv, head);
    return (kv_rows){&kv->v, head, px_dtype_bytes(kv->dtype, kv->v_dim)};
}

static unsigned char *row_at(kv_rows rows, const uint32_t *blocks, uint32_t position)
{
    return px_kv_share(rows.plane, rows.head, blocks[position / PX_KV_BLOCK_TOKENS]) +
           position % PX_KV_BLOCK_TOKENS * rows.row_bytes;
}

void px_scalar_kv_store(const px_kv_store *op, px_part part)
{
    const px_kv_layer *kv = op->kv;
    uint32_t begin, end;
    px_part_range(part, op->rows * kv->kv_heads, 1, &begin, &end);
    for (uint32_t u = begin; u < end; u++) {
        size_t row = u / kv->kv_heads;
        uint32_t head = u % kv->kv_heads;
        const px_kv_row *at = &op->at[row];
        px_dtype_from_f32(kv->dtype, op->k + row * op->k_stride + (size_t)head * kv->k_dim,
            row_at(k_rows(kv, head), at->blocks, at->position), kv->k_dim);
        if (!kv->v.base) continue;
        px_dtype_from_f32(kv->dtype, op->v + row * op->v_stride + (size_t)head * kv->v_dim,
            row_at(v_rows(kv, head), at->blocks, at->position), kv->v_dim);
    }
}

/* Scores of all positions, then one dequantised K or V row. */
size_t px_scalar_attention_scratch_floats(const px_attention *op)
{
    uint32_t dim = op->kv->k_dim > op->kv->v_dim ? op->kv->k_dim : op->kv->v_dim;
    return (size_t)op->position_max + 1 + dim;
}

static void attend(const px_attention *op, uint32_t row, uint32_t head, float *scratch)
{
    const px_kv_layer *kv = op->kv;
    const px_kv_row *at = &op->at[row];
    uint32_t kv_head = (op->head_offset + head) / op->group;
    px_seen seen = px_attention_seen(op, row);
    const float *q = op->q + row * op->q_stride + (size_t)head * kv->k_dim;
    float *out = op->out + row * op->out_stride + (size_t)head * kv->v_dim;
    float *scores = scratch, *kv_row = scratch + op->position_max + 1;
    kv_rows k = k_rows(kv, kv_head), v = v_rows(kv, kv_head);

    double largest = op->sinks ? (double)op->sinks[head] : -INFINITY;
    for (uint32_t p = seen.first; p <= seen.last; p++) {
        double score = 0;
        px_dtype_to_f32(kv->dtype, row_at(k, at->blocks, p), kv_row, kv->k_dim);
        for (uint32_t d = 0; d < kv->k_dim; d++) score += (double)q[d] * (double)kv_row[d];
        score *= (double)op->scale;
        if (op->softcap != 0) score = (double)op->softcap * tanh(score / (double)op->softcap);
        scores[p] = (float)score;
        largest = fmax(largest, (double)scores[p]);
    }
    double total = op->sinks ? exp((double)op->sinks[head] - largest) : 0;
    for (uint32_t p = seen.first; p <= seen.last; p++) {
        double weight = exp((double)scores[p] - largest);
        scores[p] = (float)weight;
        total += weight;
    }
    for (uint32_t d = 0; d < kv->v_dim; d++) out[d] = 0;
    for (uint32_t p = seen.first; p <= seen.last; p++) {
        float weight = (float)((double)scores[p] / total);
        px_dtype_to_f32(kv->dtype, row_at(v, at->blocks, p), kv_row, kv->v_dim);
        for (uint32_t d = 0; d < kv->v_dim; d++) out[d] += weight * kv_row[d];
    }
}

bool px_scalar_attention(const px_attention *op, px_part part)
{
    assert(op->group && op->head_offset + op->heads <= op->kv->kv_heads * op->group);
    float *scratch = op->scratch + part.index * px_scalar_attention_scratch_floats(op);
    for (uint32_t row = 0; row < op->rows; row++) {
        assert(px_attention_seen(op, row).last <= op->position_max);
        for (uint32_t head = 0; head < op->heads; head++) {
            /* Dealt in turn: later rows of a prompt have more positions to visit. */
            if ((row * op->heads + head) % part.count == part.index) {
                attend(op, row, head, scratch);
            }
        }
    }
    return false;
}

void px_scalar_attention_merge(const px_attention *op, px_part part)
{
    assert(!"attention that leaves something to merge");
}
