#include "control/front/gathering.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct gathered { /* of one input */
    float *values;
    size_t count;
    uint32_t prompt_tokens;
} gathered;

struct px_gathering {
    px_gathering_kind kind;
    size_t count;
    gathered *vectors; /* [count] */

    union { /* the answer, made at the end */
        Phalanx__V1__EmbedResponse embed;
        Phalanx__V1__ScoreResponse score;
    } response;
    Phalanx__V1__Embedding *embeddings, **embedding_list; /* [count] or NULL */
    Phalanx__V1__DocumentScore *scores, **score_list;
};

px_gathering *px_gathering_create(px_gathering_kind kind, size_t inputs)
{
    px_gathering *g = px_alloc(sizeof *g);
    *g = (px_gathering){
        .kind = kind, .count = inputs, .vectors = px_alloc_array(inputs, sizeof *g->vectors)};
    return g;
}

void px_gathering_free(px_gathering *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->count; i++) free(g->vectors[i].values);
    free(g->vectors);
    free(g->embeddings);
    free(g->embedding_list);
    free(g->scores);
    free(g->score_list);
    free(g);
}

void px_gathering_add(px_gathering *g, const Phalanx__V1__EngineVector *vector)
{
    if (vector->index >= g->count || g->vectors[vector->index].values) return;
    gathered *to = &g->vectors[vector->index];
    to->values = px_alloc_array(vector->n_values + 1, sizeof *to->values);
    to->count = vector->n_values;
    to->prompt_tokens = vector->prompt_tokens;
    if (to->count) memcpy(to->values, vector->values, to->count * sizeof *to->values);
}

static double cosine(const gathered *a, const gathered *b)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        dot += (double)a->values[i] * (double)b->values[i];
        aa += (double)a->values[i] * (double)a->values[i];
        bb += (double)b->values[i] * (double)b->values[i];
    }
    return aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 0;
}

/* Of the first label, if it is one of them; of a single one, its probability. */
static double chance(const gathered *labels)
{
    double sum = 0;
    if (!labels->count) return 0;
    if (labels->count == 1) return exp((double)labels->values[0]);
    for (size_t i = 0; i < labels->count; i++)
        sum += exp((double)labels->values[i] - (double)labels->values[0]);
    return 1 / sum;
}

static const ProtobufCMessage *embeddings(px_gathering *g, const Phalanx__V1__Done *done)
{
    Phalanx__V1__EmbedResponse *response = &g->response.embed;
    phalanx__v1__embed_response__init(response);
    g->embeddings = px_alloc_array(g->count, sizeof *g->embeddings);
    g->embedding_list = px_alloc_array(g->count, sizeof(Phalanx__V1__Embedding *));
    for (size_t i = 0; i < g->count; i++) {
        Phalanx__V1__Embedding *to = g->embedding_list[i] = &g->embeddings[i];
        phalanx__v1__embedding__init(to);
        to->index = (uint32_t)i;
        to->values = g->vectors[i].values;
        to->n_values = g->vectors[i].count;
        to->prompt_tokens = g->vectors[i].prompt_tokens;
    }
    response->embeddings = g->embedding_list;
    response->n_embeddings = g->count;
    response->prompt_tokens = done->prompt_tokens;
    response->cached_tokens = done->cached_tokens;
    return &response->base;
}

static double score_of(const px_gathering *g, const gathered *vector)
{
    if (g->kind == PX_GATHER_COSINES) return cosine(&g->vectors[0], vector);
    if (g->kind == PX_GATHER_LABELS) return chance(vector);
    return vector->count ? (double)vector->values[0] : 0;
}

static const ProtobufCMessage *scores(px_gathering *g, const Phalanx__V1__Done *done)
{
    Phalanx__V1__ScoreResponse *response = &g->response.score;
    size_t first = g->kind == PX_GATHER_COSINES, count = g->count - first;
    phalanx__v1__score_response__init(response);
    g->scores = px_alloc_array(g->count, sizeof *g->scores);
    g->score_list = px_alloc_array(g->count, sizeof(Phalanx__V1__DocumentScore *));
    for (size_t i = 0; i < count; i++) {
        const gathered *from = &g->vectors[first + i];
        Phalanx__V1__DocumentScore *to = g->score_list[i] = &g->scores[i];
        phalanx__v1__document_score__init(to);
        to->index = (uint32_t)i;
        to->score = score_of(g, from);
        if (g->kind == PX_GATHER_COSINES) continue;
        to->values = from->values;
        to->n_values = from->count;
    }
    response->scores = g->score_list;
    response->n_scores = count;
    response->prompt_tokens = done->prompt_tokens;
    response->cached_tokens = done->cached_tokens;
    return &response->base;
}

const ProtobufCMessage *px_gathering_answer(px_gathering *g, const Phalanx__V1__Done *done)
{
    return g->kind == PX_GATHER_EMBEDDINGS ? embeddings(g, done) : scores(g, done);
}
