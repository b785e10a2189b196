/* inputs.h - what Embed and Score ask for, as the engine's inputs. */
#ifndef PX_CLUSTER_INPUTS_H
#define PX_CLUSTER_INPUTS_H

#include "cluster/messages.h"
#include "engine/engine.h"

typedef struct px_inputs {
    px_input *list; /* owned, as the texts that were made of a template */
    char *texts;
} px_inputs;

enum { PX_INPUT_TEXT_BYTES_MAX = 16 << 20 /* of all texts of a request, made of its template */ };

/* INVALID_ARGUMENT with a sentence; px_inputs_done() also then. `out` borrows from the message. */
px_status px_inputs_embed(const Phalanx__V1__EmbedRequest *request, px_inputs *inputs,
    px_wanted_vectors *out) PX_MUST_USE;
px_status px_inputs_score(const Phalanx__V1__ScoreRequest *request, px_inputs *inputs,
    px_wanted_vectors *out) PX_MUST_USE;
void px_inputs_done(px_inputs *inputs);

#endif
