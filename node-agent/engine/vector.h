/* vector.h - what is made of a text instead of an answer: an embedding or a head's scores, pooled
 * from hidden states, or how likely each of some labels is behind it.
 *
 *   rows of hidden states, in order of position, in any pieces -> px_vector_take -> finish ->
 * values the last row's logits                                      -> px_vector_weigh          ->
 * values
 *
 * A mean is summed in double precision in the order of positions, so that it has the same bits
 * however the text is cut into steps.
 * Owns:    everything in the sequence's arena; take, weigh and finish allocate nothing.
 * Threads: made by the caller's thread, then the engine thread's (weigh: one of its workers).
 */
#ifndef PX_ENGINE_VECTOR_H
#define PX_ENGINE_VECTOR_H

#include "engine/engine.h"
#include "engine/model/pooling.h"

typedef struct px_vector {
    px_pooling_kind kind; /* of hidden states; with labels: unused */
    px_token_list labels; /* none: it is pooled */
    bool normalised;      /* its length is 1 */
    uint32_t hidden;      /* floats of a hidden state */
    uint32_t full, count; /* values made; of these, told */
    double *sums;         /* [hidden] of the mean; else NULL */
    float *pooled;        /* [hidden] */
    float *values;        /* [full], of which `count` are told once finished */
} px_vector;

typedef struct px_vector_options {
    const px_wanted_vectors *wanted;
    const px_pooling_info *pooling; /* NULL with labels */
} px_vector_options;
/* The arena has room for px_vector_bytes(). */
px_vector *px_vector_create(const px_vector_options *options, px_arena *arena);
size_t px_vector_bytes(const px_vector_options *options);

/* Of the hidden states of a text's rows: the last of all, or all from the first on. */
bool px_vector_wants_all(const px_vector *vector);
/* The next rows: `rows` hidden states from `position` on of a text of `length` tokens. */
typedef struct px_vector_rows {
    const float *hidden; /* [rows, hidden] */
    uint32_t position, rows, length;
} px_vector_rows;
void px_vector_take(px_vector *vector, const px_vector_rows *rows);
/* All was taken. */
void px_vector_finish(px_vector *vector, px_pooling *pooling, uint32_t length);
/* Each label's log probability: logits [vocabulary]. */
void px_vector_weigh(px_vector *vector, const float *logits, uint32_t vocabulary);

#endif
