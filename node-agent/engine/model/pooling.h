/* pooling.h - from the hidden states of a text to one vector: an embedding, or a score a label.
 *
 *   hidden states [tokens, hidden] ── pooled by kind ──▶ [hidden] ── steps ──▶ [width]
 *
 * A model says how: sentence-transformers' modules.json and the folders that it names, the head of
 * a ...ForSequenceClassification, a GGUF's pooling_type with its dense_* or cls.* tensors. What
 * says nothing is pooled as is usual: the last token where attention is causal, the mean where it
 * is not, then normed to length 1.
 * Source:  the file layout of the sentence-transformers library, llama.cpp's names in GGUF.
 * Owns:    the steps' weights as float32; rank 0 alone needs them.
 * Threads: immutable but for px_pooling_finish, which is for one thread at a time.
 */
#ifndef PX_MODEL_POOLING_H
#define PX_MODEL_POOLING_H

#include "engine/model/model_file.h"

typedef enum px_pooling_kind {
    PX_POOLING_LAST,  /* the last token's */
    PX_POOLING_FIRST, /* the first token's, "CLS" */
    PX_POOLING_MEAN,  /* the mean over all tokens */
    PX_POOLING_KIND_COUNT
} px_pooling_kind;

typedef struct px_pooling px_pooling;

typedef struct px_pooling_info {
    px_pooling_kind kind;
    bool is_stated;  /* by the model; else what is usual */
    bool is_scores;  /* the vector holds a raw score for each label, not an embedding */
    bool normalised; /* its length is 1 */
    uint32_t hidden, width;
} px_pooling_info;

/* UNIMPLEMENTED names what a model asks for and we lack. The file is borrowed for the call. */
px_status px_pooling_open(const px_model_file *file, px_pooling **out) PX_MUST_USE;
void px_pooling_free(px_pooling *pooling); /* NULL is fine */
px_pooling_info px_pooling_describe(const px_pooling *pooling);
uint64_t px_pooling_bytes(const px_pooling *pooling); /* of weights and room between steps */

/* A dense layer, for whoever writes it elsewhere. Borrowed. */
typedef struct px_pooling_dense {
    const float *weight, *bias; /* [out, in], [out] or NULL */
    uint32_t in, out;
    bool is_plain; /* nothing bends its results */
} px_pooling_dense;
bool px_pooling_dense_at(const px_pooling *pooling, uint32_t index, px_pooling_dense *out);

/* pooled [hidden] -> out [width]: dense layers, and normalising, if the model does that and
 * `normalises`. Allocates nothing. */
void px_pooling_finish(px_pooling *pooling, const float *pooled, bool normalises, float *out);

#endif
