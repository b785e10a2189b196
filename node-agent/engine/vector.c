/* vector.c - see vector.h. */
#include "engine/vector.h"

#include <math.h>
#include <string.h>

static uint32_t width_of(const px_vector_options *o)
{
    return o->pooling ? o->pooling->width : o->wanted->labels.count;
}

size_t px_vector_bytes(const px_vector_options *o)
{
    size_t hidden = o->pooling ? o->pooling->hidden : 0;
    return hidden * (sizeof(double) + sizeof(float)) + 2 * width_of(o) * sizeof(float) + 1024;
}

static void *room(px_arena *arena, size_t bytes)
{
    void *at = px_arena_alloc(arena, bytes + 1);
    PX_ASSERT(at);
    memset(at, 0, bytes);
    return at;
}

static void choose_pooling(px_vector *vector, const px_vector_options *o)
{
    static const px_pooling_kind kinds[PX_POOL_COUNT] = {[PX_POOL_LAST] = PX_POOLING_LAST,
        [PX_POOL_FIRST] = PX_POOLING_FIRST,
        [PX_POOL_MEAN] = PX_POOLING_MEAN};
    const px_wanted_vectors *wanted = o->wanted;
    bool is_stated = wanted->pool != PX_POOL_MODEL;
    vector->kind = is_stated ? kinds[wanted->pool] : o->pooling->kind;
    vector->normalised =
        wanted->norm == PX_NORM_MODEL ? o->pooling->normalised : wanted->norm == PX_NORM_ONE;
}

px_vector *px_vector_create(const px_vector_options *o, px_arena *arena)
{
    const px_wanted_vectors *wanted = o->wanted;
    px_vector *vector = room(arena, sizeof *vector);
    vector->full = vector->count = width_of(o);
    vector->values = room(arena, vector->full * sizeof *vector->values);
    if (!o->pooling) {
        uint32_t *labels = room(arena, wanted->labels.count * sizeof *labels);
        memcpy(labels, wanted->labels.ids, wanted->labels.count * sizeof *labels);
        vector->labels = (px_token_list){labels, wanted->labels.count};
        return vector;
    }
    choose_pooling(vector, o);
    vector->hidden = o->pooling->hidden;
    if (wanted->dimensions) vector->count = wanted->dimensions;
    vector->pooled = room(arena, vector->hidden * sizeof *vector->pooled);
    if (vector->kind == PX_POOLING_MEAN)
        vector->sums = room(arena, vector->hidden * sizeof *vector->sums);
    return vector;
}

bool px_vector_wants_all(const px_vector *vector)
{
    return !vector->labels.count && vector->kind != PX_POOLING_LAST;
}

void px_vector_take(px_vector *vector, const px_vector_rows *rows)
{
    uint32_t end = rows->position + rows->rows;
    const float *last = rows->hidden + (size_t)(rows->rows - 1) * vector->hidden;
    if (vector->kind == PX_POOLING_FIRST && rows->position == 0)
        memcpy(vector->pooled, rows->hidden, vector->hidden * sizeof *vector->pooled);
    if (vector->kind == PX_POOLING_LAST && end == rows->length)
        memcpy(vector->pooled, last, vector->hidden * sizeof *vector->pooled);
    if (vector->kind != PX_POOLING_MEAN) return;
    for (uint32_t row = 0; row < rows->rows; row++) {
        const float *state = rows->hidden + (size_t)row * vector->hidden;
        for (uint32_t i = 0; i < vector->hidden; i++) vector->sums[i] += (double)state[i];
    }
}

static void normalise(float *values, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    double length = fmax(sqrt(sum), 1e-12); /* zero stays zero */
    for (uint32_t i = 0; i < count; i++) values[i] = (float)((double)values[i] / length);
}

void px_vector_finish(px_vector *vector, px_pooling *pooling, uint32_t length)
{
    for (uint32_t i = 0; vector->sums && i < vector->hidden; i++)
        vector->pooled[i] = (float)(vector->sums[i] / length);
    px_pooling_finish(pooling, vector->pooled, vector->normalised, vector->values);
    bool is_normed = px_pooling_describe(pooling).normalised && vector->count == vector->full;
    if (vector->normalised && !is_normed) normalise(vector->values, vector->count);
}

void px_vector_weigh(px_vector *vector, const float *logits, uint32_t vocabulary)
{
    double best = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < vocabulary; i++) best = fmax(best, (double)logits[i]);
    for (uint32_t i = 0; i < vocabulary; i++) sum += exp((double)logits[i] - best);
    for (uint32_t i = 0; i < vector->labels.count; i++)
        vector->values[i] = (float)((double)logits[vector->labels.ids[i]] - best - log(sum));
}
