/* softmax.h - the running softmax of attention: a chunk's raw scores become weights.
 * A body for avx2/attention.c and avx512/attention.c; stands after a vec.h. Internal.
 *
 * Each query has the largest score so far; weights are 2^(score - largest), with scores in powers
 * of two. Where a chunk raises the largest, what was added up before must fade by 2^(old - new):
 * the sum of weights fades here, the output when the chunk's values are added to it.
 * Source: M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax" (2018).
 *
 * The queries of a patch go through each step one after the other, not each through all of them: a
 * step's latencies are then hidden behind the other queries.
 */
#ifndef PX_KERNELS_VECTOR_SOFTMAX_H
#define PX_KERNELS_VECTOR_SOFTMAX_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/vector/exp.h"

enum {
    L = PX_VEC_LANES,
    CHUNK = 64, /* positions, aligned */
    CHUNK_VECTORS = CHUNK / L,
    QUERIES = 24, /* at most, in a patch */
    STATES = (QUERIES + L - 1) / L * L,
};

static const float log2_e = 1.44269504f, ln_2 = 0.693147181f;
static const float no_score = -1e30f; /* below all scores, and still a number */

typedef struct query {
    const float *q;
    float *out;
    uint32_t first, last; /* the positions it sees */
    float most, sum;      /* largest score, in powers of two; sum of 2^(score - most) */
} query;

typedef struct softmax {
    float most[STATES]; /* largest score so far */
    float next[STATES]; /* the same with the chunk at hand */
    float fade[STATES]; /* 2^(most - next) */
    px_vec sums[QUERIES];
} softmax;

static void softmax_begin(softmax *s, int count)
{
    for (int i = 0; i < count; i += L) {
        px_vec_store(s->most + i, px_vec_all(no_score));
        px_vec_store(s->next + i, px_vec_all(no_score));
    }
    for (int i = 0; i < count; i++) s->sums[i] = px_vec_all(0);
}

/* What a query sees of a chunk: tokens [begin, end). */
typedef struct window {
    int begin, end;
} window;

static window window_of(const query *q, uint32_t position)
{
    if (q->first >= position + CHUNK || q->last < position) return (window){0, 0};
    /* Positions within the chunk: small, and `last` may lie beyond it. */
    return (window){.begin = q->first > position ? (int)(q->first - position) : 0,
        .end = q->last - position < CHUNK ? (int)(q->last - position) + 1 : CHUNK};
}

static bool is_whole(window w)
{
    return w.begin == 0 && w.end == CHUNK;
}

/* softcap * tanh(s / softcap), with tanh(u) = 1 - 2 / (e^2u + 1) */
PX_INLINE px_vec cap(px_vec s, float softcap)
{
    px_vec one = px_vec_all(1), e = px_vec_exp(px_vec_mul(s, px_vec_all(2 / softcap)));
    px_vec rest = px_vec_div(px_vec_all(2), px_vec_add(e, one));
    return px_vec_mul(px_vec_sub(one, rest), px_vec_all(softcap));
}

PX_INLINE px_vec scaled(const px_attention *op, px_vec score)
{
    if (op->softcap == 0) return px_vec_mul(score, px_vec_all(op->scale * log2_e));
    score = cap(px_vec_mul(score, px_vec_all(op->scale)), op->softcap);
    return px_vec_mul(score, px_vec_all(log2_e));
}

/* The scores scaled and, where the query does not see them, -infinite. Returns the largest of them
 * and `most`. Vectors without a token that is seen are left alone. */
static float scale_scores(const px_attention *op, window w, float most, float *scores)
{
    px_vec top = px_vec_all(most);
    if (is_whole(w)) {
#pragma GCC unroll 8
        for (int i = 0; i < CHUNK_VECTORS; i++) {
            px_vec score = scaled(op, px_vec_load(scores + L * i));
            px_vec_store(scores + L * i, score);
            top = px_vec_max(top, score);
        }
        return px_vec_largest(top);
    }
    for (int at = w.begin / L * L; at < w.end; at += L) {
        px_vec score = px_vec_between(
            w.begin - at, w.end - at, scaled(op, px_vec_load(scores + at)), px_vec_all(-INFINITY));
        px_vec_store(scores + at, score);
        top = px_vec_max(top, score);
    }
    return px_vec_largest(top);
}

/* Scores become weights, 0 where the query sees nothing. Returns `sums` with them added. */
static px_vec weigh(window w, float most, px_vec sums, float *scores)
{
    const px_vec shift = px_vec_all(most);
    if (is_whole(w)) {
#pragma GCC unroll 8
        for (int i = 0; i < CHUNK_VECTORS; i++) {
            px_vec weight = px_vec_exp2_below_0(px_vec_sub(px_vec_load(scores + L * i), shift));
            px_vec_store(scores + L * i, weight);
            sums = px_vec_add(sums, weight);
        }
        return sums;
    }
    for (int at = 0; at < CHUNK; at += L) {
        px_vec weight = px_vec_all(0);
        if (at + L > w.begin && at < w.end)
            weight = px_vec_exp2_below_0(px_vec_sub(px_vec_load(scores + at), shift));
        px_vec_store(scores + at, weight);
        sums = px_vec_add(sums, weight);
    }
    return sums;
}

/* The raw scores [count, CHUNK] of the chunk at `position` become weights; s->fade is what the
 * outputs so far are to be multiplied with, 1 where nothing changed. */
static void soften(const px_attention *op, const query *queries, int count, uint32_t position,
    float *scores, softmax *s)
{
    for (int i = 0; i < count; i++) {
        s->next[i] =
            scale_scores(op, window_of(&queries[i], position), s->most[i], scores + i * CHUNK);
    }
    for (int i = 0; i < count; i += L) {
        px_vec next = px_vec_load(s->next + i);
        px_vec fade = px_vec_exp2_below_0(px_vec_sub(px_vec_load(s->most + i), next));
        px_vec_store(s->fade + i, fade);
        px_vec_store(s->most + i, next);
    }
    for (int i = 0; i < count; i++) {
        px_vec sums = px_vec_mul(s->sums[i], px_vec_all(s->fade[i]));
        s->sums[i] = weigh(window_of(&queries[i], position), s->most[i], sums, scores + i * CHUNK);
    }
}

#endif
