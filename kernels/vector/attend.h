/* attend.h - the arithmetic of attention: some query vectors of one KV head by a span of positions,
 * with a running softmax. A body for avx2/attention.c and avx512/attention.c; stands after a vec.h.
 * Internal.
 *
 * Positions are visited in chunks of CHUNK (aligned in absolute position); for each chunk come the
 * scores, their weights (softmax.h), and the weighted V added to the output row.
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
#include "kernels/vector/softmax.h"

enum {
    T = PX_KV_BLOCK_TOKENS,
    CHUNK_BLOCKS = CHUNK / T,
    LINE_BYTES = 64,          /* of the cache */
    NARROW = PX_VEC_SUMS / 4, /* queries in a wide register tile: few queries by much KV … */
    MANY = PX_VEC_SUMS / 2,   /* … or many queries by less KV; as many sums either way */
};

/* CHUNK positions of a sequence, as far as any query of the tile sees them. The pool's blocks lie
 * anywhere, so the hardware cannot foresee the next chunk: whoever loads from a block asks for the
 * same place `ahead` of it, in the block that is read CHUNK_BLOCKS later, of this patch or the
 * next. Asking for a whole chunk at once would fill the core's buffers for misses and wait for
 * them, with nothing computed. */
typedef struct chunk {
    const uint8_t *k[CHUNK_BLOCKS], *v[CHUNK_BLOCKS];
    ptrdiff_t k_ahead[CHUNK_BLOCKS], v_ahead[CHUNK_BLOCKS]; /* 0: none follows, or not worth it */
    uint32_t token_begin, token_end;                        /* within the chunk */
    uint32_t vector_begin, vector_end; /* of tokens, within the chunk; whole blocks */
} chunk;

/* --- the order of a tile's products ------------------------------------------------------------
 */

/* Products of queries by vectors go query by query, with the vectors in registers, or, where the
 * sums leave no room for these, vector by vector with the queries' factors there. */
PX_INLINE bool holds_vectors(const int count, const int vectors)
{
    return count * vectors + vectors + 1 <= PX_VEC_REGISTERS;
}

/* Of the n-th product. */
PX_INLINE int query_of(const int n, const int count, const int vectors)
{
    return holds_vectors(count, vectors) ? n / vectors : n % count;
}

PX_INLINE int vector_of(const int n, const int count, const int vectors)
{
    return holds_vectors(count, vectors) ? n % vectors : n / count;
}

/* --- scores: query vectors by vectors of tokens ----------------------------------------------- */

/* Dim d of L tokens from `lane` on, of one share of K; quants without their scale. */
PX_INLINE px_vec load_k(const px_dtype dtype, const uint8_t *share, uint32_t lane, uint32_t d)
{
    const size_t at = (size_t)d * T + lane;
    switch (dtype) {
    case PX_F32: return px_vec_load((const float *)share + at);
    case PX_F16: return px_vec_load_f16(share + 2 * at);
    case PX_BF16: return px_vec_load_bf16(share + 2 * at);
    default: /* the scales of this block and of those before it lie between */
        return px_vec_load_s8(share + at + (size_t)(d / 32 + 1) * 2 * T);
    }
}

/* The scales of Q8_0's 32 dims around d. */
PX_INLINE px_vec load_k_scale(const uint8_t *share, uint32_t lane, uint32_t d)
{
    return px_vec_load_f16(share + d / 32 * (size_t)(PX_KV_Q8_BLOCK_BYTES * T) + (size_t)2 * lane);
}

/* Asks for `place` if [at, at + bytes) of a run of memory begins a line. Into the second-level
 * cache: its misses do not take the first's few buffers. */
PX_INLINE void ask_for(const uint8_t *place, size_t at, size_t bytes)
{
    if (at % LINE_BYTES < bytes) _mm_prefetch((const char *)place, _MM_HINT_T1);
}

/* Bytes of one dim of a block of K. */
PX_INLINE size_t k_dim_bytes(const px_dtype dtype)
{
    return dtype == PX_F32 ? 4 * T : dtype == PX_Q8_0 ? PX_KV_Q8_BLOCK_BYTES * T / 32 : 2 * T;
}

/* scores[i][L (begin + v)] for `count` queries and `vectors` of tokens, which begin with a block;
 * rows are CHUNK apart. Quants are summed over their block of dims before the scale.
 * All blocks are read at once, but asked for one after the other, as they lie in memory: so many
 * streams at once reach three quarters of the bandwidth of one. */
PX_INLINE void score_tile(const px_dtype dtype, const int count, const int vectors,
    const query *queries, const chunk *c, uint32_t begin, uint32_t dims, float *scores)
{
    const uint32_t blocks = (uint32_t)(vectors * L + T - 1) / T;
    const size_t ask_bytes = blocks * k_dim_bytes(dtype);
    const uint8_t *share[4], *ask = NULL;
    const float *q[MANY];
    px_vec sums[MANY][4], totals[MANY][4];
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
        q[i] = queries[i].q;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[i][v] = totals[i][v] = px_vec_all(0);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) share[v] = c->k[(begin + (uint32_t)v) * L / T];
    for (uint32_t d = 0, ask_end = 0, block = begin * L / T; d < dims; d++, ask += ask_bytes) {
        if (d == ask_end) {
            ask = c->k[block] + c->k_ahead[block];
            ask_end += (dims + blocks - 1) / blocks;
            block++;
        }
        for (size_t at = 0; at == 0 || at + LINE_BYTES <= ask_bytes; at += LINE_BYTES)
            _mm_prefetch((const char *)ask + at, _MM_HINT_T1);
        px_vec k[4], q_d[MANY];
#pragma GCC unroll 24
        for (int n = 0; n < count * vectors; n++) {
            const int i = query_of(n, count, vectors), v = vector_of(n, count, vectors);
            if (i == 0) k[v] = load_k(dtype, share[v], (uint32_t)v * L % T, d);
            if (v == 0) q_d[i] = px_vec_all(q[i][d]);
            sums[i][v] = px_vec_fma(k[v], q_d[i], sums[i][v]);
        }
        if (dtype != PX_Q8_0 || d % 32 != 31) continue;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            px_vec scale = load_k_scale(share[v], (uint32_t)v * L % T, d);
#pragma GCC unroll 12
            for (int i = 0; i < count; i++) {
                totals[i][v] = px_vec_fma(sums[i][v], scale, totals[i][v]);
                sums[i][v] = px_vec_all(0);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            px_vec_store(scores + i * CHUNK + (begin + (uint32_t)v) * L,
                dtype == PX_Q8_0 ? totals[i][v] : sums[i][v]);
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

/* out[d .. d + L vectors) = fade out + weights . V over the chunk's tokens, ascending */
PX_INLINE void value_tile(const px_dtype dtype, const int count, const int vectors,
    const query *queries, const chunk *c, uint32_t stride, uint32_t d, const float *weights,
    const float *fade)
{
    const size_t row_bytes = v_row_bytes(dtype, stride);
    px_vec sums[MANY][4];
#pragma GCC unroll 12
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sums[i][v] = px_vec_mul(px_vec_load(queries[i].out + d + L * v), px_vec_all(fade[i]));
    }
    for (uint32_t t = c->token_begin; t < c->token_end;) {
        const uint8_t *row = c->v[t / T] + t % T * row_bytes;
        const ptrdiff_t ahead = c->v_ahead[t / T];
        const float *weight = weights + t;
        uint32_t block_end = t / T * T + T;
        if (block_end > c->token_end) block_end = c->token_end;
        for (; t < block_end; t++, row += row_bytes, weight++) {
            px_vec value[4], w[MANY];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                size_t at = v_row_bytes(dtype, L * (uint32_t)v);
                ask_for(row + ahead + v_row_bytes(dtype, d) + at, at, v_row_bytes(dtype, L));
            }
#pragma GCC unroll 24
            for (int n = 0; n < count * vectors; n++) {
                const int i = query_of(n, count, vectors), v = vector_of(n, count, vectors);
                if (i == 0) value[v] = load_v(dtype, row, d + L * (uint32_t)v);
                if (v == 0) w[i] = px_vec_all(weight[i * CHUNK]);
                sums[i][v] = px_vec_fma(value[v], w[i], sums[i][v]);
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
    const px_kv_layer *kv, const float *weights, const float *fade)
{
    const uint32_t dims = kv->v_dim, stride = px_kv_v_stride(kv);
    for (uint32_t d = dims / L * L; d < dims; d++) {
        for (int i = 0; i < count; i++) queries[i].out[d] *= fade[i];
        for (uint32_t t = c->token_begin; t < c->token_end; t++) {
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
        for (; (int)L == (int)T && at < end; at++) EACH_COUNT(MANY, some, ONE)
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
    const query *queries, int count, const float *weights, const float *fade)
{
    const uint32_t dims = kv->v_dim, stride = px_kv_v_stride(kv);
#define VALUES(n, vectors)                                                                         \
    value_tile(dtype, n, vectors, queries + i, c, stride, d, weights + i * CHUNK, fade + i)
#define FOUR(n) VALUES(n, 4)
#define TWO(n)  VALUES(n, 2)
#define ONE(n)  VALUES(n, 1)
    for (int i = 0; i < count; i += MANY) {
        int some = count - i < MANY ? count - i : MANY;
        uint32_t d = 0;
        for (; some <= NARROW && d + 4 * L <= dims; d += 4 * L) EACH_COUNT(NARROW, some, FOUR)
        for (; d + 2 * L <= dims; d += 2 * L) EACH_COUNT(MANY, some, TWO)
        for (; d + L <= dims; d += L) EACH_COUNT(MANY, some, ONE)
        if (d < dims) value_tail(dtype, some, queries + i, c, kv, weights + i * CHUNK, fade + i);
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
        int count, const float *weights, const float *fade)                                        \
    {                                                                                              \
        add_values(dtype, kv, c, queries, count, weights, fade);                                   \
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

static void values_of(const px_kv_layer *kv, const chunk *c, const query *queries, int count,
    const float *weights, const float *fade)
{
    switch (kv->dtype) {
    case PX_F32: f32_values(kv, c, queries, count, weights, fade); break;
    case PX_F16: f16_values(kv, c, queries, count, weights, fade); break;
    case PX_BF16: bf16_values(kv, c, queries, count, weights, fade); break;
    default: q8_values(kv, c, queries, count, weights, fade);
    }
}

/* --- a span ----------------------------------------------------------------------------------- */

/* One KV head's shares of a sequence's blocks: those of blocks[begin, end). */
typedef struct kv_run {
    const uint32_t *blocks;
    uint32_t kv_head, begin, end;
} kv_run;

/* Where a tile reads: positions [begin, end) of `run`. */
typedef struct kv_span {
    uint32_t begin, end;
    kv_run run;
    kv_run next; /* what is read after `run`; empty where nobody knows */
} kv_span;

/* The blocks of the chunk at `position`, whose tokens are set. */
static void find_blocks(
    const px_attention *op, const kv_span *span, uint32_t position, bool ask, chunk *c)
{
    const px_kv_plane *k = &op->kv->k, *v = px_kv_v_plane(op->kv);
    const kv_run *run = &span->run;
    uint32_t begin = c->token_begin / T, end = (c->token_end + T - 1) / T;
    c->vector_begin = begin * (T / L);
    c->vector_end = end * (T / L);
    for (uint32_t b = begin; b < end; b++) {
        uint32_t block = run->blocks[position / T + b], then = position / T + b + CHUNK_BLOCKS;
        const kv_run *then_in = run;
        if (then >= run->end) {
            then = then - run->end + span->next.begin;
            then_in = &span->next;
        }
        c->k[b] = px_kv_share(k, run->kv_head, block);
        c->v[b] = px_kv_share(v, run->kv_head, block);
        c->k_ahead[b] = c->v_ahead[b] = 0;
        if (!ask || then >= then_in->end) continue;
        block = then_in->blocks[then];
        c->k_ahead[b] = px_kv_share(k, then_in->kv_head, block) - c->k[b];
        c->v_ahead[b] = px_kv_share(v, then_in->kv_head, block) - c->v[b];
    }
}

/* Each query's out, most and sum for what it sees of the span, as if there were nothing else; sum
 * is 0 if it sees nothing. `scores` has count * CHUNK floats. */
static void attend_span(
    const px_attention *op, const kv_span *span, query *queries, int count, float *scores)
{
    softmax s;
    softmax_begin(&s, count);
    for (int i = 0; i < count; i++)
        memset(queries[i].out, 0, op->kv->v_dim * sizeof *queries[i].out);
    for (uint32_t position = span->begin / CHUNK * CHUNK; position < span->end; position += CHUNK) {
        chunk c;
        c.token_begin = span->begin > position ? span->begin - position : 0;
        c.token_end = span->end - position < CHUNK ? span->end - position : CHUNK;
        /* Many queries compute long enough, and find the next chunk in the cache, without. */
        find_blocks(op, span, position, count <= MANY, &c);
        scores_of(op->kv, &c, queries, count, scores);
        soften(op, queries, count, position, scores, &s);
        values_of(op->kv, &c, queries, count, scores, s.fade);
    }
    for (int i = 0; i < count; i++) {
        queries[i].most = s.most[i];
        queries[i].sum = px_vec_sum(s.sums[i]);
    }
}

#endif
