/* attention.c - attention over the paged KV with a running softmax.
 *
 * Work is done in tiles of up to QUERIES query vectors that read the same KV head of the same
 * sequence: the heads of a group, for several rows when they are of one prompt. A tile visits the
 * positions in chunks of CHUNK (aligned in absolute position), and for each chunk makes the scores,
 * moves them to the running maximum, and adds the weighted V to the output row.
 *
 * A row's result is the same bits in any tile: every score is one chain over dims, every output one
 * chain over positions, chunks begin at fixed positions, and a position that a row does not see has
 * weight 0, which changes nothing.
 */
#include "kernels/avx2/avx2.h"
#include "kernels/avx2/kv.h"

#include <assert.h>
#include <math.h>

enum {
    T = PX_KV_BLOCK_TOKENS,
    CHUNK = 64,
    CHUNK_BLOCKS = CHUNK / T,
    QUERIES = 24,
    NARROW = 3, /* query vectors in a wide register tile: few vectors by much KV … */
    MANY = 6,   /* … or many vectors by less KV; 12 accumulators either way */
};

typedef struct query {
    const float *q;
    float *out;
    uint32_t first, last; /* the positions it sees */
    float most, sum;      /* running maximum of the scores; sum of e^(score - most) */
} query;

/* CHUNK positions of a sequence, as far as any query of the tile sees them. */
typedef struct chunk {
    const uint8_t *k[CHUNK_BLOCKS], *v[CHUNK_BLOCKS];
    uint32_t block_begin, block_end; /* within the chunk */
    uint32_t token_begin, token_end; /* within the chunk */
} chunk;

/* --- scores: query vectors by blocks of 16 tokens --------------------------------------------- */

/* Dim d of 16 tokens as floats. `scales` are those of Q8_0's 32 dims. */
PX_INLINE void load_k(
    const px_dtype dtype, const uint8_t *head, uint32_t d, __m256 scales[2], __m256 out[2])
{
    for (int h = 0; h < 2; h++) {
        const uint8_t *at = head + ((size_t)d * T + 8 * h) * (dtype == PX_F32 ? 4 : 2);
        switch (dtype) {
        case PX_F32: out[h] = _mm256_loadu_ps((const float *)at); break;
        case PX_F16: out[h] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at)); break;
        case PX_BF16:
            out[h] = _mm256_castsi256_ps(
                _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)at)), 16));
            break;
        default: {
            const uint8_t *block = head + d / 32 * (size_t)(PX_KV_Q8_BLOCK_BYTES * T);
            if (d % 32 == 0) {
                scales[h] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(block + 16 * h)));
            }
            at = block + 2 * T + d % 32 * T + 8 * h;
            __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at));
            out[h] = _mm256_mul_ps(_mm256_cvtepi32_ps(wide), scales[h]);
        }
        }
    }
}

/* scores[i][16 b + token] for `count` queries and `blocks` blocks; rows are CHUNK apart. */
PX_INLINE void score_tile(const px_dtype dtype, const int count, const int blocks,
    const query *queries, const uint8_t *const *heads, uint32_t dims, float *scores)
{
    __m256 acc[MANY][2][2], scales[2][2] = {0};
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) acc[i][b][0] = acc[i][b][1] = _mm256_setzero_ps();
    }
    for (uint32_t d = 0; d < dims; d++) {
        __m256 k[2][2];
#pragma GCC unroll 2
        for (int b = 0; b < blocks; b++) load_k(dtype, heads[b], d, scales[b], k[b]);
#pragma GCC unroll 8
        for (int i = 0; i < count; i++) {
            __m256 q = _mm256_broadcast_ss(queries[i].q + d);
#pragma GCC unroll 2
            for (int b = 0; b < blocks; b++) {
                acc[i][b][0] = _mm256_fmadd_ps(k[b][0], q, acc[i][b][0]);
                acc[i][b][1] = _mm256_fmadd_ps(k[b][1], q, acc[i][b][1]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) {
            _mm256_storeu_ps(scores + i * CHUNK + b * T, acc[i][b][0]);
            _mm256_storeu_ps(scores + i * CHUNK + b * T + 8, acc[i][b][1]);
        }
    }
}

/* --- weighted sums of V: query vectors by dims ------------------------------------------------ */

/* Bytes of one token's V row. */
PX_INLINE size_t v_row_bytes(const px_dtype dtype, uint32_t dims)
{
    switch (dtype) {
    case PX_F32: return (size_t)dims * 4;
    case PX_Q8_0: return (size_t)dims / 32 * PX_KV_Q8_BLOCK_BYTES;
    default: return (size_t)dims * 2;
    }
}

/* Eight dims of one token as floats, from `d`. */
PX_INLINE __m256 load_v(const px_dtype dtype, const uint8_t *row, uint32_t d)
{
    switch (dtype) {
    case PX_F32: return _mm256_loadu_ps((const float *)row + d);
    case PX_F16: return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)row + d / 8));
    case PX_BF16:
        return _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)row + d / 8)), 16));
    default: {
        const uint8_t *block = row + d / 32 * PX_KV_Q8_BLOCK_BYTES;
        uint16_t half;
        memcpy(&half, block, 2);
        __m128i quants = _mm_loadl_epi64((const __m128i *)(block + 2 + d % 32));
        return _mm256_mul_ps(
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quants)), _mm256_set1_ps(_cvtsh_ss(half)));
    }
    }
}

/* out[d .. d + 8 vectors) += weights . V over the chunk's tokens, ascending */
PX_INLINE void value_tile(const px_dtype dtype, const int count, const int vectors,
    const query *queries, const chunk *c, uint32_t dims, uint32_t d, const float *weights)
{
    const size_t row_bytes = v_row_bytes(dtype, dims);
    __m256 acc[MANY][4];
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) acc[i][v] = _mm256_loadu_ps(queries[i].out + d + 8 * v);
    }
    for (uint32_t t = c->token_begin; t < c->token_end;) {
        const uint8_t *row = c->v[t / T] + t % T * row_bytes;
        uint32_t block_end = t / T * T + T;
        if (block_end > c->token_end) block_end = c->token_end;
        for (; t < block_end; t++, row += row_bytes) {
            __m256 value[4];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) value[v] = load_v(dtype, row, d + 8 * (uint32_t)v);
#pragma GCC unroll 8
            for (int i = 0; i < count; i++) {
                __m256 weight = _mm256_broadcast_ss(weights + i * CHUNK + t);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) {
                    acc[i][v] = _mm256_fmadd_ps(value[v], weight, acc[i][v]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) _mm256_storeu_ps(queries[i].out + d + 8 * v, acc[i][v]);
    }
}

/* The dims past the last whole vector, the same chain in plain code. */
static void value_tail(px_dtype dtype, int count, const query *queries, const chunk *c,
    uint32_t dims, const float *weights)
{
    for (uint32_t t = c->token_begin; t < c->token_end; t++) {
        for (uint32_t d = dims / 8 * 8; d < dims; d++) {
            float value;
            px_dtype_to_f32(
                dtype, c->v[t / T] + px_dtype_bytes(dtype, (size_t)(t % T) * dims + d), &value, 1);
            for (int i = 0; i < count; i++) {
                queries[i].out[d] = fmaf(value, weights[i * CHUNK + t], queries[i].out[d]);
            }
        }
    }
}

/* --- one type of cache: all register tiles ---------------------------------------------------- */

#define EACH_COUNT(count, call)                                                                    \
    switch (count) {                                                                               \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    case 3: call(3); break;                                                                        \
    case 4: call(4); break;                                                                        \
    case 5: call(5); break;                                                                        \
    default: call(6); break;                                                                       \
    }

PX_INLINE void make_scores(const px_dtype dtype, const px_kv_layer *kv, const chunk *c,
    const query *queries, int count, float *scores)
{
    for (int i = 0; i < count; i += MANY) {
        int some = count - i < MANY ? count - i : MANY;
        uint32_t b = c->block_begin;
#define WIDE(n)                                                                                    \
    score_tile(dtype, n, 2, queries + i, c->k + b, kv->k_dim, scores + i * CHUNK + b * T)
#define ONE(n) score_tile(dtype, n, 1, queries + i, c->k + b, kv->k_dim, scores + i * CHUNK + b * T)
        for (; some <= NARROW && b + 2 <= c->block_end; b += 2) {
            switch (some) {
            case 1: WIDE(1); break;
            case 2: WIDE(2); break;
            default: WIDE(3); break;
            }
        }
        for (; b < c->block_end; b++) EACH_COUNT(some, ONE)
#undef WIDE
#undef ONE
    }
}

PX_INLINE void add_values(const px_dtype dtype, const px_kv_layer *kv, const chunk *c,
    const query *queries, int count, const float *weights)
{
    uint32_t dims = kv->v_dim;
    for (int i = 0; i < count; i += MANY) {
        int some = count - i < MANY ? count - i : MANY;
        uint32_t d = 0;
#define VALUES(n, vectors)                                                                         \
    value_tile(dtype, n, vectors, queries + i, c, dims, d, weights + i * CHUNK)
#define TWO(n) VALUES(n, 2)
#define ONE(n) VALUES(n, 1)
        for (; some <= NARROW && d + 32 <= dims; d += 32) {
            switch (some) {
            case 1: VALUES(1, 4); break;
            case 2: VALUES(2, 4); break;
            default: VALUES(3, 4); break;
            }
        }
        for (; d + 16 <= dims; d += 16) EACH_COUNT(some, TWO)
        for (; d + 8 <= dims; d += 8) EACH_COUNT(some, ONE)
#undef VALUES
#undef TWO
#undef ONE
        if (d < dims) {
            value_tail(dtype, some, queries + i, c, dims, weights + i * CHUNK);
        }
    }
}

#define CACHE(name, dtype)                                                                         \
    static void name##_scores(                                                                     \
        const px_kv_layer *kv, const chunk *c, const query *queries, int count, float *scores)     \
    {                                                                                              \
        make_scores(dtype, kv, c, queries, count, scores);                                         \
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
PX_INLINE __m256 cap(__m256 s, float softcap)
{
    __m256 one = _mm256_set1_ps(1), e = px_exp8(_mm256_mul_ps(s, _mm256_set1_ps(2 / softcap)));
    __m256 rest = _mm256_div_ps(_mm256_set1_ps(2), _mm256_add_ps(e, one));
    return _mm256_mul_ps(_mm256_sub_ps(one, rest), _mm256_set1_ps(softcap));
}

static void scale_row(float *row, uint32_t count, float factor)
{
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8) {
        _mm256_storeu_ps(row + i, _mm256_mul_ps(_mm256_loadu_ps(row + i), _mm256_set1_ps(factor)));
    }
    for (; i < count; i++) row[i] *= factor;
}

/* The scores of positions that the query does not see become -infinite. */
PX_INLINE void mask(const query *q, uint32_t position, __m256 s[CHUNK / 8])
{
    /* Positions within the chunk: small, and `last` may lie beyond it. */
    int first = q->first > position ? (int)(q->first - position) : 0;
    int last = q->last - position < CHUNK ? (int)(q->last - position) : CHUNK;
    __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (int i = 0; i < CHUNK / 8; i++, at = _mm256_add_epi32(at, _mm256_set1_epi32(8))) {
        __m256i hidden = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(first), at),
            _mm256_cmpgt_epi32(at, _mm256_set1_epi32(last)));
        s[i] = _mm256_blendv_ps(s[i], _mm256_set1_ps(-INFINITY), _mm256_castsi256_ps(hidden));
    }
}

/* A chunk's raw scores become weights e^(score - most); the output so far moves to the new most. */
static void soften(const px_attention *op, query *q, uint32_t position, float *scores)
{
    if (q->first >= position + CHUNK || q->last < position) { /* sees none of it */
        memset(scores, 0, CHUNK * sizeof *scores);
        return;
    }
    __m256 s[CHUNK / 8], most = _mm256_set1_ps(q->most);
    for (int i = 0; i < CHUNK / 8; i++) {
        s[i] = _mm256_mul_ps(_mm256_loadu_ps(scores + 8 * i), _mm256_set1_ps(op->scale));
        if (op->softcap != 0) s[i] = cap(s[i], op->softcap);
    }
    if (q->first > position || q->last < position + CHUNK - 1) mask(q, position, s);
    for (int i = 0; i < CHUNK / 8; i++) most = _mm256_max_ps(most, s[i]);

    float new_most = px_max8(most);
    __m256 sums = _mm256_setzero_ps(), shift = _mm256_set1_ps(new_most);
    for (int i = 0; i < CHUNK / 8; i++) {
        __m256 weight = px_exp8_below_0(_mm256_sub_ps(s[i], shift));
        _mm256_storeu_ps(scores + 8 * i, weight);
        sums = _mm256_add_ps(sums, weight);
    }
    if (new_most != q->most) {
        float fade = _mm256_cvtss_f32(px_exp8_below_0(_mm256_set1_ps(q->most - new_most)));
        q->sum *= fade;
        scale_row(q->out, op->kv->v_dim, fade);
    }
    q->sum += px_sum8(sums);
    q->most = new_most;
}

/* The pool's blocks lie anywhere, so the hardware cannot foresee the next chunk: ask for it while
 * this one is computed. Many queries compute long enough, and find it in the cache, without. */
static void prefetch(
    const px_attention *op, const uint32_t *blocks, uint32_t kv_head, uint32_t position)
{
    const px_kv_layer *kv = op->kv;
    size_t k_bytes = px_dtype_bytes(kv->dtype, (size_t)T * kv->k_dim);
    size_t v_bytes = px_dtype_bytes(kv->dtype, (size_t)T * kv->v_dim);
    const uint8_t *k = px_kv_k_head(kv, blocks[position / T], kv_head);
    const uint8_t *v = px_kv_v_head(kv, blocks[position / T], kv_head);
    for (size_t i = 0; i < k_bytes; i += 64) _mm_prefetch((const char *)k + i, _MM_HINT_T1);
    for (size_t i = 0; i < v_bytes; i += 64) _mm_prefetch((const char *)v + i, _MM_HINT_T1);
}

/* Queries of one KV head and one sequence, from the first position any sees to the last. */
static void attend(
    const px_attention *op, const uint32_t *blocks, uint32_t kv_head, query *queries, int count)
{
    float scores[QUERIES * CHUNK];
    uint32_t first = queries[0].first, last = queries[0].last;
    for (int i = 1; i < count; i++) {
        if (queries[i].first < first) first = queries[i].first;
        if (queries[i].last > last) last = queries[i].last;
    }
    for (uint32_t position = first / CHUNK * CHUNK; position <= last; position += CHUNK) {
        chunk c;
        c.token_begin = first > position ? first - position : 0;
        c.token_end = last - position < CHUNK ? last - position + 1 : CHUNK;
        c.block_begin = c.token_begin / T;
        c.block_end = (c.token_end + T - 1) / T;
        for (uint32_t b = c.block_begin; b < c.block_end; b++) {
            c.k[b] = px_kv_k_head(op->kv, blocks[position / T + b], kv_head);
            c.v[b] = px_kv_v_head(op->kv, blocks[position / T + b], kv_head);
            uint32_t next = position + CHUNK + b * T;
            if (count <= MANY && next <= last) prefetch(op, blocks, kv_head, next);
        }
        for (int i = 0; i < count && c.block_end - c.block_begin < CHUNK_BLOCKS; i++) {
            memset(scores + i * CHUNK, 0, CHUNK * sizeof *scores); /* masked, but must be numbers */
        }
        scores_of(op->kv, &c, queries, count, scores);
        for (int i = 0; i < count; i++) soften(op, &queries[i], position, scores + i * CHUNK);
        values_of(op->kv, &c, queries, count, scores);
    }
    for (int i = 0; i < count; i++) {
        scale_row(queries[i].out, op->kv->v_dim, 1.0f / queries[i].sum);
    }
}

/* --- sharing the work ------------------------------------------------------------------------- */

/* Rows [row, row + rows) of one sequence by heads [head, head + heads) of one KV head. */
typedef struct patch {
    uint32_t row, rows, head, heads;
} patch;

static void attend_patch(const px_attention *op, patch p)
{
    const px_kv_layer *kv = op->kv;
    query queries[QUERIES];
    int count = 0;
    for (uint32_t r = p.row; r < p.row + p.rows; r++) {
        for (uint32_t h = p.head; h < p.head + p.heads; h++) {
            uint32_t position = op->at[r].position;
            query *q = &queries[count++];
            q->q = op->q + r * op->q_stride + (size_t)h * kv->k_dim;
            q->out = op->out + r * op->out_stride + (size_t)h * kv->v_dim;
            q->first = op->window && position >= op->window ? position - op->window + 1 : 0;
            q->last = position;
            /* A sink is a score that has no value: seen before all others. */
            q->most = op->sinks ? op->sinks[h] : -1e30f;
            q->sum = op->sinks ? 1.0f : 0.0f;
            memset(q->out, 0, kv->v_dim * sizeof *q->out);
        }
    }
    attend(op, op->at[p.row].blocks, (op->head_offset + p.head) / op->group, queries, count);
}

/* Heads [head, end) of some rows, cut into patches by KV head and by size. */
static void attend_heads(
    const px_attention *op, uint32_t row, uint32_t rows, uint32_t head, uint32_t end)
{
    while (head < end) {
        uint32_t heads = op->group - (op->head_offset + head) % op->group;
        if (heads > end - head) heads = end - head;
        if (heads > QUERIES / rows) heads = QUERIES / rows;
        attend_patch(op, (patch){row, rows, head, heads});
        head += heads;
    }
}

/* About the time one head of a row takes: the positions it sees, and some for itself. */
static uint64_t row_cost(const px_attention *op, uint32_t row)
{
    uint32_t seen = op->at[row].position + 1;
    return (op->window && seen > op->window ? op->window : seen) + (uint64_t)T;
}

/* The first (row, head) pair, counted row by row, with `share` / `shares` of the cost before it. */
static uint32_t cut_at(const px_attention *op, uint32_t share, uint32_t shares)
{
    uint64_t total = 0, past = 0;
    for (uint32_t r = 0; r < op->rows; r++) total += row_cost(op, r) * op->heads;
    uint64_t target = total * share / shares;
    for (uint32_t r = 0; r < op->rows; r++) {
        uint64_t cost = row_cost(op, r), row = cost * op->heads;
        if (past + row > target) return r * op->heads + (uint32_t)((target - past) / cost);
        past += row;
    }
    return op->rows * op->heads;
}

size_t px_avx2_attention_scratch_floats(const px_attention *op)
{
    return 0;
}

void px_avx2_attention(const px_attention *op, px_part part)
{
    uint32_t heads = op->heads, together = heads < op->group ? heads : op->group;
    uint32_t rows_most = together < QUERIES ? QUERIES / together : 1;
    assert(op->group && op->head_offset + heads <= op->kv->kv_heads * op->group);
    uint32_t pair = cut_at(op, part.index, part.count);
    uint32_t end = cut_at(op, part.index + 1, part.count);
    while (pair < end) {
        uint32_t row = pair / heads, head = pair % heads;
        if (head != 0 || end - pair < heads) { /* part of a row, at an end of this share */
            uint32_t head_end = end - pair < heads - head ? head + (end - pair) : heads;
            attend_heads(op, row, 1, head, head_end);
            pair += head_end - head;
            continue;
        }
        uint32_t rows = 1;
        while (rows < rows_most && (row + rows + 1) * heads <= end &&
               op->at[row + rows].blocks == op->at[row].blocks) {
            rows++;
        }
        attend_heads(op, row, rows, 0, heads);
        pair += rows * heads;
    }
}
