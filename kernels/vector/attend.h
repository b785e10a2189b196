/* attend.h - the arithmetic of attention: some query vectors of one KV head by a span of positions,
 * with a running softmax. A body for avx2/attention.c and avx512/attention.c; stands after a vec.h.
 * Internal.
 *
 * Positions are visited in chunks of CHUNK (aligned in absolute position); for each chunk come the
 * scores, their move to the running maximum, and the weighted V added to the output row.
 *
 * A query's result is the same bits beside any others: every score is one chain over dims, every
 * output one chain over positions, chunks begin at fixed positions, and a position that a query
 * does not see has weight 0, which changes nothing.
 */
#ifndef PX_KERNELS_VECTOR_ATTEND_H
#define PX_KERNELS_VECTOR_ATTEND_H

#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/avx2/kv.h"
#include "kernels/vector/exp.h"

enum {
    T = PX_KV_BLOCK_TOKENS,
    L = PX_VEC_LANES,
    CHUNK = 64,
    CHUNK_BLOCKS = CHUNK / T,
    CHUNK_VECTORS = CHUNK / L,
    NARROW = PX_VEC_SUMS / 4, /* queries in a wide register tile: few queries by much KV … */
    MANY = PX_VEC_SUMS / 2,   /* … or many queries by less KV; as many sums either way */
};

typedef struct query {
    const float *q;
    float *out;
    uint32_t first, last; /* the positions it sees */
    float most, sum;      /* running maximum of the scores; sum of e^(score - most) */
} query;

/* CHUNK positions of a sequence, as far as any query of the tile sees them. The pool's blocks lie
 * anywhere, so the hardware cannot foresee the next chunk: whoever loads from a block asks for the
 * same place `ahead` of it, in the block that comes CHUNK positions later. Asking for a whole chunk
 * at once would fill the core's buffers for misses and wait for them, with nothing computed. */
typedef struct chunk {
    const uint8_t *k[CHUNK_BLOCKS], *v[CHUNK_BLOCKS];
    ptrdiff_t k_ahead[CHUNK_BLOCKS], v_ahead[CHUNK_BLOCKS]; /* 0: none follows, or not worth it */
    uint32_t token_begin, token_end;                        /* within the chunk */
    uint32_t vector_begin, vector_end; /* of tokens, within the chunk; whole blocks */
} chunk;

/* --- scores: query vectors by vectors of tokens ----------------------------------------------- */

/* Dim d of the chunk's i-th vector of tokens. `scale` is that of Q8_0's 32 dims. */
PX_INLINE px_vec load_k(const px_dtype dtype, const chunk *c, uint32_t i, uint32_t d, px_vec *scale)
{
    const uint8_t *head = c->k[i * L / T];
    const uint32_t lane = i * L % T;
    const size_t at = (size_t)d * T + lane;
    switch (dtype) {
    case PX_F32: return px_vec_load((const float *)head + at);
    case PX_F16: return px_vec_load_f16(head + 2 * at);
    case PX_BF16: return px_vec_load_bf16(head + 2 * at);
    default: {
        const uint8_t *block = head + d / 32 * (size_t)(PX_KV_Q8_BLOCK_BYTES * T);
        if (d % 32 == 0) *scale = px_vec_load_f16(block + (size_t)2 * lane);
        return px_vec_mul(px_vec_load_s8(block + 2 * T + d % 32 * T + lane), *scale);
    }
    }
}

/* Asks for `place` if [at, at + bytes) of a run of memory begins a line. Into the second-level
 * cache: its misses do not take the first's few buffers. */
PX_INLINE void ask_for(const uint8_t *place, size_t at, size_t bytes)
{
    enum { LINE_BYTES = 64 };
    if (at % LINE_BYTES < bytes) _mm_prefetch((const char *)place, _MM_HINT_T1);
}

/* Bytes of one dim of a block of K. */
PX_INLINE size_t k_dim_bytes(const px_dtype dtype)
{
    return dtype == PX_F32 ? 4 * T : dtype == PX_Q8_0 ? PX_KV_Q8_BLOCK_BYTES * T / 32 : 2 * T;
}

/* scores[i][L (begin + v)] for `count` queries and `vectors` of tokens; rows are CHUNK apart. */
PX_INLINE void score_tile(const px_dtype dtype, const int count, const int vectors,
    const query *queries, const chunk *c, uint32_t begin, uint32_t dims, float *scores)
{
    px_vec sums[MANY][4], scales[4];
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] = px_vec_all(0);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) scales[v] = px_vec_all(0);
    for (uint32_t d = 0; d < dims; d++) {
        px_vec k[4];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            uint32_t block = (begin + (uint32_t)v) * L / T;
            size_t at = d * k_dim_bytes(dtype);
            ask_for(c->k[block] + c->k_ahead[block] + at, at, k_dim_bytes(dtype));
            k[v] = load_k(dtype, c, begin + (uint32_t)v, d, &scales[v]);
        }
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            px_vec q = px_vec_all(queries[i].q[d]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sums[i][v] = px_vec_fma(k[v], q, sums[i][v]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            px_vec_store(scores + i * CHUNK + (begin + (uint32_t)v) * L, sums[i][v]);
        }
    }
}

/* --- values as rows --------------------------------------------------------------------------- */

/* Bytes of one token's row of V. */
PX_INLINE size_t v_row_bytes(const px_dtype dtype, uint32_t dims)
{
    switch (dtype) {
    case PX_F32: return (size_t)dims * 4;
    case PX_Q8_0: return (size_t)dims * PX_KV_Q8_BLOCK_BYTES / 32;
    default: return (size_t)dims * 2;
    }
}

/* A vector of one token's dims, from `d`. */
PX_INLINE px_vec load_v(const px_dtype dtype, const uint8_t *row, uint32_t d)
{
    switch (dtype) {
    case PX_F32: return px_vec_load((const float *)row + d);
    case PX_F16: return px_vec_load_f16(row + (size_t)2 * d);
    case PX_BF16: return px_vec_load_bf16(row + (size_t)2 * d);
    default: {
        const uint8_t *block = row + d / 32 * (size_t)PX_KV_Q8_BLOCK_BYTES;
        uint16_t half;
        memcpy(&half, block, 2);
        return px_vec_mul(px_vec_load_s8(block + 2 + d % 32), px_vec_all(_cvtsh_ss(half)));
    }
    }
}

/* --- scores where K lies in rows: query vectors by tokens ------------------------------------- */

/* scores[i][t] for `count` queries and the `tokens` rows at `row`: one chain for each lane of the
 * dims, added up in one order. */
PX_INLINE void row_score_tile(const px_dtype dtype, const int count, const int tokens,
    const query *queries, const chunk *c, uint32_t token, uint32_t dims, float *scores)
{
    const size_t row_bytes = v_row_bytes(dtype, dims);
    const uint8_t *row = c->k[token / T] + token % T * row_bytes;
    const ptrdiff_t ahead = c->k_ahead[token / T];
    const uint32_t whole = dims / L * L;
    px_vec sums[MANY][4];
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int t = 0; t < tokens; t++) sums[i][t] = px_vec_all(0);
    }
    for (uint32_t d = 0; d < whole; d += L) {
        px_vec k[4];
#pragma GCC unroll 4
        for (int t = 0; t < tokens; t++) {
            size_t at = v_row_bytes(dtype, d);
            ask_for(row + ahead + (size_t)t * row_bytes + at, at, v_row_bytes(dtype, L));
            k[t] = load_v(dtype, row + (size_t)t * row_bytes, d);
        }
#pragma GCC unroll 12
        for (int i = 0; i < count; i++) {
            px_vec q = px_vec_load(queries[i].q + d);
#pragma GCC unroll 4
            for (int t = 0; t < tokens; t++) sums[i][t] = px_vec_fma(k[t], q, sums[i][t]);
        }
    }
    for (int t = 0; t < tokens; t++) {
        float rest[L];
        px_dtype_to_f32(
            dtype, row + (size_t)t * row_bytes + px_dtype_bytes(dtype, whole), rest, dims - whole);
        for (int i = 0; i < count; i++) {
            float score = px_vec_sum(sums[i][t]);
            for (uint32_t d = whole; d < dims; d++)
                score = fmaf(rest[d - whole], queries[i].q[d], score);
            scores[i * CHUNK + t] = score;
        }
    }
}

/* --- weighted sums of V: query vectors by dims ------------------------------------------------ */

/* out[d .. d + L vectors) += weights . V over the chunk's tokens, ascending */
PX_INLINE void value_tile(const px_dtype dtype, const int count, const int vectors,
    const query *queries, const chunk *c, uint32_t stride, uint32_t d, const float *weights)
{
    const size_t row_bytes = v_row_bytes(dtype, stride);
    px_vec sums[MANY][4];
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] = px_vec_load(queries[i].out + d + L * v);
    }
    for (uint32_t t = c->token_begin; t < c->token_end;) {
        const uint8_t *row = c->v[t / T] + t % T * row_bytes;
        const ptrdiff_t ahead = c->v_ahead[t / T];
        uint32_t block_end = t / T * T + T;
        if (block_end > c->token_end) block_end = c->token_end;
        for (; t < block_end; t++, row += row_bytes) {
            px_vec value[4];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                size_t at = v_row_bytes(dtype, L * (uint32_t)v);
                ask_for(row + ahead + v_row_bytes(dtype, d) + at, at, v_row_bytes(dtype, L));
                value[v] = load_v(dtype, row, d + L * (uint32_t)v);
            }
#pragma GCC unroll 12
            for (int i = 0; i < count; i++) {
                px_vec weight = px_vec_all(weights[i * CHUNK + t]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) {
                    sums[i][v] = px_vec_fma(value[v], weight, sums[i][v]);
                }
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) px_vec_store(queries[i].out + d + L * v, sums[i][v]);
    }
}

/* The dims past the last whole vector, the same chain in plain code. */
static void value_tail(px_dtype dtype, int count, const query *queries, const chunk *c,
    const px_kv_layer *kv, const float *weights)
{
    const uint32_t dims = kv->v_dim, stride = px_kv_v_stride(kv);
    for (uint32_t t = c->token_begin; t < c->token_end; t++) {
        for (uint32_t d = dims / L * L; d < dims; d++) {
            float value;
            px_dtype_to_f32(dtype,
                c->v[t / T] + px_dtype_bytes(dtype, (size_t)(t % T) * stride + d), &value, 1);
            for (int i = 0; i < count; i++) {
                queries[i].out[d] = fmaf(value, weights[i * CHUNK + t], queries[i].out[d]);
            }
        }
    }
}

/* --- one type of cache: all register tiles ---------------------------------------------------- */

#define EACH_COUNT(most, count, call)                                                              \
    switch (count) {                                                                               \
        ONE_COUNT(1, most, call)                                                                   \
        ONE_COUNT(2, most, call)                                                                   \
        ONE_COUNT(3, most, call)                                                                   \
        ONE_COUNT(4, most, call)                                                                   \
        ONE_COUNT(5, most, call)                                                                   \
        ONE_COUNT(6, most, call)                                                                   \
        ONE_COUNT(7, most, call)                                                                   \
        ONE_COUNT(8, most, call)                                                                   \
        ONE_COUNT(9, most, call)                                                                   \
        ONE_COUNT(10, most, call)                                                                  \
        ONE_COUNT(11, most, call)                                                                  \
        ONE_COUNT(12, most, call)                                                                  \
    }
#define ONE_COUNT(n, most, call)                                                                   \
    case n:                                                                                        \
        if ((n) <= (most)) call(n);                                                                \
        break;

PX_INLINE void make_scores(const px_dtype dtype, const px_kv_layer *kv, const chunk *c,
    const query *queries, int count, float *scores)
{
#define SCORES(n, vectors)                                                                         \
    score_tile(dtype, n, vectors, queries + i, c, at, kv->k_dim, scores + i * CHUNK)
#define FOUR(n) SCORES(n, 4)
#define TWO(n)  SCORES(n, 2)
#define ONE(n)  SCORES(n, 1)
    for (int i = 0; i < count; i += MANY) {
        int some = count - i < MANY ? count - i : MANY;
        uint32_t at = c->vector_begin, end = c->vector_end;
        for (; some <= NARROW && at + 4 <= end; at += 4) EACH_COUNT(NARROW, some, FOUR)
        for (; at + 2 <= end; at += 2) EACH_COUNT(MANY, some, TWO)
        for (; L == T && at < end; at++) EACH_COUNT(MANY, some, ONE)
    }
#undef SCORES
#undef FOUR
#undef TWO
#undef ONE
}

PX_INLINE void make_row_scores(const px_dtype dtype, const px_kv_layer *kv, const chunk *c,
    const query *queries, int count, float *scores)
{
    const uint32_t dims = kv->k_dim;
#define SCORES(n, tokens)                                                                          \
    row_score_tile(dtype, n, tokens, queries + i, c, t, dims, scores + i * CHUNK + t)
#define FOUR(n) SCORES(n, 4)
#define TWO(n)  SCORES(n, 2)
    for (int i = 0; i < count; i += MANY) {
        int some = count - i < MANY ? count - i : MANY;
        uint32_t t = c->vector_begin * L, end = c->vector_end * L; /* whole blocks */
        for (; some <= NARROW && t < end; t += 4) EACH_COUNT(NARROW, some, FOUR)
        for (; t < end; t += 2) EACH_COUNT(MANY, some, TWO)
    }
#undef SCORES
#undef FOUR
#undef TWO
}

PX_INLINE void add_values(const px_dtype dtype, const px_kv_layer *kv, const chunk *c,
    const query *queries, int count, const float *weights)
{
    const uint32_t dims = kv->v_dim, stride = px_kv_v_stride(kv);
#define VALUES(n, vectors)                                                                         \
    value_tile(dtype, n, vectors, queries + i, c, stride, d, weights + i * CHUNK)
#define FOUR(n) VALUES(n, 4)
#define TWO(n)  VALUES(n, 2)
#define ONE(n)  VALUES(n, 1)
    for (int i = 0; i < count; i += MANY) {
        int some = count - i < MANY ? count - i : MANY;
        uint32_t d = 0;
        for (; some <= NARROW && d + 4 * L <= dims; d += 4 * L) EACH_COUNT(NARROW, some, FOUR)
        for (; d + 2 * L <= dims; d += 2 * L) EACH_COUNT(MANY, some, TWO)
        for (; d + L <= dims; d += L) EACH_COUNT(MANY, some, ONE)
        if (d < dims) value_tail(dtype, some, queries + i, c, kv, weights + i * CHUNK);
    }
#undef VALUES
#undef FOUR
#undef TWO
#undef ONE
}
#undef EACH_COUNT
#undef ONE_COUNT

#define CACHE(name, dtype)                                                                         \
    static void name##_scores(                                                                     \
        const px_kv_layer *kv, const chunk *c, const query *queries, int count, float *scores)     \
    {                                                                                              \
        if (kv->v.base)                                                                            \
            make_scores(dtype, kv, c, queries, count, scores);                                     \
        else                                                                                       \
            make_row_scores(dtype, kv, c, queries, count, scores);                                 \
    }                                                                                              \
    static void name##_values(const px_kv_layer *kv, const chunk *c, const query *queries,         \
        int count, const float *weights)                                                           \
    {                                                                                              \
        add_values(dtype, kv, c, queries, count, weights);                                         \
    }

CACHE(f32, PX_F32)
CACHE(f16, PX_F16)
CACHE(bf16, PX_BF16)
CACHE(q8, PX_Q8_0)
#undef CACHE

static void scores_of(
    const px_kv_layer *kv, const chunk *c, const query *queries, int count, float *scores)
{
    switch (kv->dtype) {
    case PX_F32: f32_scores(kv, c, queries, count, scores); break;
    case PX_F16: f16_scores(kv, c, queries, count, scores); break;
    case PX_BF16: bf16_scores(kv, c, queries, count, scores); break;
    case PX_Q8_0: q8_scores(kv, c, queries, count, scores); break;
    default: assert(!"a type of the KV cache");
    }
}

static void values_of(
    const px_kv_layer *kv, const chunk *c, const query *queries, int count, const float *weights)
{
    switch (kv->dtype) {
    case PX_F32: f32_values(kv, c, queries, count, weights); break;
    case PX_F16: f16_values(kv, c, queries, count, weights); break;
    case PX_BF16: bf16_values(kv, c, queries, count, weights); break;
    default: q8_values(kv, c, queries, count, weights);
    }
}

/* --- the running softmax ---------------------------------------------------------------------- */

/* softcap * tanh(s / softcap), with tanh(u) = 1 - 2 / (e^2u + 1) */
PX_INLINE px_vec cap(px_vec s, float softcap)
{
    px_vec one = px_vec_all(1), e = px_vec_exp(px_vec_mul(s, px_vec_all(2 / softcap)));
    px_vec rest = px_vec_div(px_vec_all(2), px_vec_add(e, one));
    return px_vec_mul(px_vec_sub(one, rest), px_vec_all(softcap));
}

static void scale_row(float *row, uint32_t count, float factor)
{
    uint32_t i = 0;
    for (; i + L <= count; i += L) {
        px_vec_store(row + i, px_vec_mul(px_vec_load(row + i), px_vec_all(factor)));
    }
    for (; i < count; i++) row[i] *= factor;
}

static float exp_of(float x)
{
    float lanes[L];
    px_vec_store(lanes, px_vec_exp(px_vec_all(x)));
    return lanes[0];
}

/* The scores of positions that the query does not see become -infinite. */
PX_INLINE void mask(const query *q, uint32_t position, px_vec s[CHUNK_VECTORS])
{
    /* Positions within the chunk: small, and `last` may lie beyond it. */
    int first = q->first > position ? (int)(q->first - position) : 0;
    int end = q->last - position < CHUNK ? (int)(q->last - position) + 1 : CHUNK;
#pragma GCC unroll 8
    for (int i = 0; i < CHUNK_VECTORS; i++) {
        s[i] = px_vec_between(first - L * i, end - L * i, s[i], px_vec_all(-INFINITY));
    }
}

/* A chunk's raw scores become weights e^(score - most); the output so far moves to the new most. */
static void soften(const px_attention *op, query *q, uint32_t position, float *scores)
{
    if (q->first >= position + CHUNK || q->last < position) { /* sees none of it */
        memset(scores, 0, CHUNK * sizeof *scores);
        return;
    }
    px_vec s[CHUNK_VECTORS], most = px_vec_all(q->most);
#pragma GCC unroll 8
    for (int i = 0; i < CHUNK_VECTORS; i++) {
        s[i] = px_vec_mul(px_vec_load(scores + L * i), px_vec_all(op->scale));
        if (op->softcap != 0) s[i] = cap(s[i], op->softcap);
    }
    if (q->first > position || q->last < position + CHUNK - 1) mask(q, position, s);
#pragma GCC unroll 8
    for (int i = 0; i < CHUNK_VECTORS; i++) most = px_vec_max(most, s[i]);

    float new_most = px_vec_largest(most);
    px_vec sums = px_vec_all(0), shift = px_vec_all(new_most);
#pragma GCC unroll 8
    for (int i = 0; i < CHUNK_VECTORS; i++) {
        px_vec weight = px_vec_exp_below_0(px_vec_sub(s[i], shift));
        px_vec_store(scores + L * i, weight);
        sums = px_vec_add(sums, weight);
    }
    if (new_most != q->most) {
        float fade = exp_of(q->most - new_most);
        q->sum *= fade;
        scale_row(q->out, op->kv->v_dim, fade);
    }
    q->sum += px_vec_sum(sums);
    q->most = new_most;
}

/* Where a tile reads: positions [begin, end) of a sequence's share of one KV head. */
typedef struct kv_span {
    const uint32_t *blocks;
    uint32_t kv_head, begin, end;
    uint32_t blocks_end; /* the first position that `blocks` is not said to have */
} kv_span;

/* The blocks of the chunk at `position`, whose tokens are set. */
static void find_blocks(
    const px_attention *op, const kv_span *span, uint32_t position, bool ask, chunk *c)
{
    const px_kv_plane *v_plane = px_kv_v_plane(op->kv);
    uint32_t begin = c->token_begin / T, end = (c->token_end + T - 1) / T;
    c->vector_begin = begin * (T / L);
    c->vector_end = end * (T / L);
    for (uint32_t b = begin; b < end; b++) {
        uint32_t next = position + CHUNK + b * T;
        bool follows = ask && next < span->blocks_end;
        uint32_t block = span->blocks[position / T + b];
        uint32_t then = follows ? span->blocks[next / T] : block;
        c->k[b] = px_kv_share(&op->kv->k, span->kv_head, block);
        c->v[b] = px_kv_share(v_plane, span->kv_head, block);
        c->k_ahead[b] = px_kv_share(&op->kv->k, span->kv_head, then) - c->k[b];
        c->v_ahead[b] = px_kv_share(v_plane, span->kv_head, then) - c->v[b];
    }
}

/* Each query's out, most and sum for what it sees of the span, as if there were nothing else; sum
 * is 0 if it sees nothing. `scores` has count * CHUNK floats. */
static void attend_span(
    const px_attention *op, const kv_span *span, query *queries, int count, float *scores)
{
    for (int i = 0; i < count; i++) {
        queries[i].most = -1e30f;
        queries[i].sum = 0;
        memset(queries[i].out, 0, op->kv->v_dim * sizeof *queries[i].out);
    }
    for (uint32_t position = span->begin / CHUNK * CHUNK; position < span->end; position += CHUNK) {
        chunk c;
        c.token_begin = span->begin > position ? span->begin - position : 0;
        c.token_end = span->end - position < CHUNK ? span->end - position : CHUNK;
        /* Many queries compute long enough, and find the next chunk in the cache, without. */
        find_blocks(op, span, position, count <= MANY, &c);
        for (int i = 0; i < count && c.vector_end - c.vector_begin < CHUNK_VECTORS; i++) {
            memset(scores + i * CHUNK, 0, CHUNK * sizeof *scores); /* masked, but must be numbers */
        }
        scores_of(op->kv, &c, queries, count, scores);
        for (int i = 0; i < count; i++) soften(op, &queries[i], position, scores + i * CHUNK);
        values_of(op->kv, &c, queries, count, scores);
    }
}

#endif
