/* attention.h - how attention is shared out and put together again; the arithmetic is attend.h's.
 * A body for avx2/attention.c and avx512/attention.c; stands after a vec.h. Internal.
 *
 *   patch   up to QUERIES query vectors that read the same KV head of the same sequence: the heads
 *           of a group, for several rows when they are of one prompt. It reads K and V once.
 *   span    a patch's positions are cut into spans at fixed places. Each is computed as if it were
 *           all there is, and the results are put together in ascending order.
 *
 * Spans are what workers share out, so that one row with a long context and few KV heads keeps all
 * of them busy. Most patches fall to one worker, who adds span after span to the output. One that
 * is cut between workers leaves its spans' results in scratch, and attention_merge does the same
 * additions after a barrier. Where spans begin depends on a row's own position alone, and the order
 * is fixed, so the bits are the same for any workers, batch and chunking of the prompt.
 */
#ifndef PX_KERNELS_VECTOR_ATTENTION_H
#define PX_KERNELS_VECTOR_ATTENTION_H

#include "kernels/vector/attend.h"

enum {
    SPAN_MIN = 256, /* positions; adding up spans costs 1 / 200 of computing them */
    SPANS_MAX = 16, /* of a row: longer rows have longer spans */
    SPAN_COST = T,  /* of starting one, in positions */
};

/* --- patches ---------------------------------------------------------------------------------- */

/* Rows [row, row + rows) of one sequence by heads [head, head + heads) of one KV head. */
typedef struct patch {
    uint32_t row, rows, head, heads;
    uint32_t begin, end; /* positions that any of the rows sees */
    uint32_t span;       /* length of its spans */
} patch;

/* Of the spans of a row that sees as far as `last`. */
static uint32_t span_length(uint32_t last)
{
    uint32_t length = SPAN_MIN;
    while (last / length >= SPANS_MAX) length *= 2;
    return length;
}

/* How many rows from `row` on make one patch: of one prompt, with spans of the same length. */
static uint32_t rows_together(const px_attention *op, uint32_t row)
{
    uint32_t most = op->group < QUERIES ? QUERIES / op->group : 1, rows = 1;
    uint32_t length = span_length(px_attention_seen(op, row).last);
    while (rows < most && row + rows < op->rows &&
           op->at[row + rows].blocks == op->at[row].blocks &&
           span_length(px_attention_seen(op, row + rows).last) == length) {
        rows++;
    }
    return rows;
}

/* The patch after *p; the first after a zeroed one. False: there is none. */
static bool next_patch(const px_attention *op, patch *p)
{
    p->head += p->heads;
    if (p->rows == 0 || p->head == op->heads) {
        p->row += p->rows, p->head = 0;
        if (p->row == op->rows) return false;
        p->rows = rows_together(op, p->row);
        px_seen all = px_attention_seen(op, p->row);
        p->span = span_length(all.last);
        for (uint32_t row = p->row + 1; row < p->row + p->rows; row++) {
            px_seen seen = px_attention_seen(op, row);
            if (seen.first < all.first) all.first = seen.first;
            if (seen.last > all.last) all.last = seen.last;
        }
        assert(all.last <= op->position_max);
        p->begin = all.first, p->end = all.last + 1;
    }
    p->heads = op->group - (op->head_offset + p->head) % op->group;
    if (p->heads > op->heads - p->head) p->heads = op->heads - p->head;
    if (p->heads > QUERIES / p->rows) p->heads = QUERIES / p->rows;
    return true;
}

static uint32_t first_span(const patch *p)
{
    return p->begin / p->span;
}

static uint32_t end_span(const patch *p)
{
    return (p->end - 1) / p->span + 1;
}

/* What a patch reads, from its first chunk on. */
static kv_run run_of(const px_attention *op, const patch *p)
{
    return (kv_run){.blocks = op->at[p->row].blocks,
        .kv_head = (op->head_offset + p->head) / op->group,
        .begin = p->begin / CHUNK * CHUNK_BLOCKS,
        .end = (p->end + T - 1) / T};
}

static kv_span span_at(const px_attention *op, const patch *p, uint32_t index)
{
    uint32_t begin = index * p->span, end = begin + p->span;
    return (kv_span){.begin = begin > p->begin ? begin : p->begin,
        .end = end < p->end ? end : p->end,
        .run = run_of(op, p)};
}

/* The queries of a patch; their results go to `out`, or to the op's output where it is NULL. */
static int take_queries(const px_attention *op, const patch *p, float *out, query *queries)
{
    const px_kv_layer *kv = op->kv;
    int count = 0;
    for (uint32_t r = p->row; r < p->row + p->rows; r++) {
        px_seen seen = px_attention_seen(op, r);
        for (uint32_t h = p->head; h < p->head + p->heads; h++, count++) {
            queries[count] = (query){.q = op->q + r * op->q_stride + (size_t)h * kv->k_dim,
                .out = out ? out + (size_t)count * kv->v_dim
                           : op->out + r * op->out_stride + (size_t)h * kv->v_dim,
                .first = seen.first,
                .last = seen.last};
        }
    }
    return count;
}

/* --- putting spans together ------------------------------------------------------------------- */

static float exp2_of(float x) /* x <= 0 */
{
    float lanes[L];
    px_vec_store(lanes, px_vec_exp2_below_0(px_vec_all(x)));
    return lanes[0];
}

static float exp_of(float x)
{
    float lanes[L];
    px_vec_store(lanes, px_vec_exp(px_vec_all(x)));
    return lanes[0];
}

/* `to` becomes what it would be had it seen the positions of `from` as well. */
static void add_span(query *to, const query *from, uint32_t dims)
{
    if (from->sum == 0) return;
    if (to->sum == 0) {
        to->most = from->most, to->sum = from->sum;
        memcpy(to->out, from->out, dims * sizeof *to->out);
        return;
    }
    float most = to->most > from->most ? to->most : from->most;
    float fade_to = exp2_of(to->most - most), fade_from = exp2_of(from->most - most);
    to->most = most;
    to->sum = fmaf(from->sum, fade_from, to->sum * fade_to);
    uint32_t d = 0;
    for (; d + L <= dims; d += L) {
        px_vec faded = px_vec_mul(px_vec_load(to->out + d), px_vec_all(fade_to));
        px_vec_store(
            to->out + d, px_vec_fma(px_vec_load(from->out + d), px_vec_all(fade_from), faded));
    }
    for (; d < dims; d++) to->out[d] = fmaf(from->out[d], fade_from, to->out[d] * fade_to);
}

static void scale_row(float *row, uint32_t count, float factor)
{
    uint32_t i = 0;
    for (; i + L <= count; i += L) {
        px_vec_store(row + i, px_vec_mul(px_vec_load(row + i), px_vec_all(factor)));
    }
    for (; i < count; i++) row[i] *= factor;
}

/* A sink is a score that has no value. Where it is far above all scores nothing is left. */
static void finish(const px_attention *op, const patch *p, query *queries, int count)
{
    for (int i = 0; i < count; i++) {
        query *q = &queries[i];
        float sum = q->sum;
        if (op->sinks) sum += exp_of(op->sinks[p->head + (uint32_t)i % p->heads] - q->most * ln_2);
        scale_row(q->out, op->kv->v_dim, 1.0f / sum);
    }
}

/* --- scratch ---------------------------------------------------------------------------------- */

/* Of each part: scores, a span's output, and the results of the patch that it begins and another
 * part ends. */
typedef struct desk {
    float *scores; /* [QUERIES, CHUNK] */
    float *out;    /* [QUERIES, v_dim] */
    float *kept;   /* [spans, QUERIES, v_dim] */
    float *state;  /* [spans, QUERIES, 2]: most and sum */
} desk;

static uint32_t spans_most(const px_attention *op)
{
    return op->position_max / SPAN_MIN < SPANS_MAX ? op->position_max / SPAN_MIN + 1 : SPANS_MAX;
}

static size_t attention_scratch_floats(const px_attention *op)
{
    return (size_t)QUERIES * (CHUNK + op->kv->v_dim + spans_most(op) * (op->kv->v_dim + 2));
}

static desk desk_of(const px_attention *op, uint32_t part)
{
    float *at = op->scratch + part * attention_scratch_floats(op);
    desk d = {.scores = at, .out = at + QUERIES * CHUNK};
    d.kept = d.out + (size_t)QUERIES * op->kv->v_dim;
    d.state = d.kept + (size_t)spans_most(op) * QUERIES * op->kv->v_dim;
    return d;
}

/* A span's results to or from the desk of the part that begins its patch. */
static float *kept_out(const px_attention *op, const desk *d, uint32_t span)
{
    return d->kept + (size_t)span * QUERIES * op->kv->v_dim;
}

static float *kept_state(const desk *d, uint32_t span)
{
    return d->state + (size_t)span * QUERIES * 2;
}

/* --- sharing the work ------------------------------------------------------------------------- */

/* Spans in the order of patches, each with a cost; a part does those whose middle is in its share.
 */
typedef struct shares {
    uint64_t total, past; /* cost of all spans; of those before the patch at hand */
    uint32_t parts;
} shares;

static uint64_t cost_until(const patch *p, uint32_t span) /* of the spans before `span` */
{
    uint32_t end = span * p->span < p->end ? span * p->span : p->end;
    uint32_t positions = end > p->begin ? end - p->begin : 0;
    uint32_t spans = span - first_span(p);
    return (uint64_t)(p->rows * p->heads) * (positions + (uint64_t)SPAN_COST * spans);
}

static uint64_t cost_of(const patch *p)
{
    return cost_until(p, end_span(p));
}

static uint32_t owner(const shares *s, const patch *p, uint32_t span)
{
    uint64_t middle = s->past + (cost_until(p, span) + cost_until(p, span + 1)) / 2;
    return (uint32_t)(middle * s->parts / s->total);
}

static shares share_out(const px_attention *op, px_part part)
{
    shares s = {.parts = part.count};
    for (patch p = {0}; next_patch(op, &p);) s.total += cost_of(&p);
    return s;
}

/* All spans of a patch, added up in place; `next` is what is read then. */
static void attend_whole(const px_attention *op, const patch *p, kv_run next, const desk *d)
{
    query queries[QUERIES], more[QUERIES];
    int count = take_queries(op, p, NULL, queries);
    kv_span span = span_at(op, p, first_span(p));
    span.next = next;
    attend_span(op, &span, queries, count, d->scores);
    for (uint32_t i = first_span(p) + 1; i < end_span(p); i++) {
        take_queries(op, p, d->out, more);
        span = span_at(op, p, i);
        span.next = next;
        attend_span(op, &span, more, count, d->scores);
        for (int j = 0; j < count; j++) add_span(&queries[j], &more[j], op->kv->v_dim);
    }
    finish(op, p, queries, count);
}

/* One span of a patch that is cut between parts. */
static void attend_piece(
    const px_attention *op, const patch *p, uint32_t index, const desk *mine, const desk *first)
{
    query queries[QUERIES];
    int count = take_queries(op, p, kept_out(op, first, index - first_span(p)), queries);
    kv_span span = span_at(op, p, index);
    attend_span(op, &span, queries, count, mine->scores);
    float *state = kept_state(first, index - first_span(p));
    for (int i = 0; i < count; i++) {
        state[2 * i] = queries[i].most;
        state[2 * i + 1] = queries[i].sum;
    }
}

static void merge(const px_attention *op, const patch *p, const desk *d)
{
    query queries[QUERIES], more[QUERIES];
    int count = take_queries(op, p, NULL, queries);
    for (uint32_t i = 0; i < end_span(p) - first_span(p); i++) {
        const float *state = kept_state(d, i);
        take_queries(op, p, kept_out(op, d, i), more);
        for (int j = 0; j < count; j++) {
            more[j].most = state[2 * j], more[j].sum = state[2 * j + 1];
            add_span(&queries[j], &more[j], op->kv->v_dim);
        }
    }
    finish(op, p, queries, count);
}

static bool attention(const px_attention *op, px_part part)
{
    assert(op->group && op->head_offset + op->heads <= op->kv->kv_heads * op->group);
    shares s = share_out(op, part);
    desk mine = desk_of(op, part.index);
    bool cut = false;
    patch p, next = {0};
    for (bool more = next_patch(op, &next); more; s.past += cost_of(&p)) {
        p = next;
        more = next_patch(op, &next);
        uint32_t from = owner(&s, &p, first_span(&p)), to = owner(&s, &p, end_span(&p) - 1);
        cut |= from != to;
        if (part.index < from || part.index > to) continue;
        if (from == to) {
            attend_whole(op, &p, more ? run_of(op, &next) : (kv_run){0}, &mine);
            continue;
        }
        desk first = desk_of(op, from);
        for (uint32_t i = first_span(&p); i < end_span(&p); i++) {
            if (owner(&s, &p, i) == part.index) attend_piece(op, &p, i, &mine, &first);
        }
    }
    return cut;
}

static void attention_merge(const px_attention *op, px_part part)
{
    shares s = share_out(op, part);
    desk mine = desk_of(op, part.index);
    for (patch p = {0}; next_patch(op, &p); s.past += cost_of(&p)) {
        uint32_t from = owner(&s, &p, first_span(&p)), to = owner(&s, &p, end_span(&p) - 1);
        if (from != to && from == part.index) merge(op, &p, &mine);
    }
}

#endif
