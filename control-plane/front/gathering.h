/* gathering.h - the vectors of one Embed or Score call, until all are there and make its answer.
 *
 * Owns:     copies of the vectors; bounded by the inputs, which validate.h bounds.
 * Threads:  the polling thread.
 */
#ifndef PX_CONTROL_GATHERING_H
#define PX_CONTROL_GATHERING_H

#include "phalanx/v1/engine.pb-c.h"

typedef enum px_gathering_kind {
    PX_GATHER_EMBEDDINGS, /* each input's */
    PX_GATHER_COSINES,    /* the first is the query's */
    PX_GATHER_SCORES,     /* of a head: the first value counts */
    PX_GATHER_LABELS      /* log probabilities: the first label against all */
} px_gathering_kind;

typedef struct px_gathering px_gathering;

px_gathering *px_gathering_create(px_gathering_kind kind, size_t inputs);
void px_gathering_free(px_gathering *gathering); /* NULL is fine */
/* An index beyond the inputs is left out. */
void px_gathering_add(px_gathering *gathering, const Phalanx__V1__EngineVector *vector);

/* EmbedResponse or ScoreResponse; the gathering keeps it. `done` says what it cost. */
const ProtobufCMessage *px_gathering_answer(px_gathering *gathering, const Phalanx__V1__Done *done);

#endif
