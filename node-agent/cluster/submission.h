/* submission.h - what came over the wire as EngineSubmit, in the engine's terms.
 *
 * Fills in the defaults that the wire leaves out (temperature 1, top-p 1) and refuses, with a
 * sentence, what has no meaning in the engine's terms; the engine judges the rest.
 */
#ifndef PX_CLUSTER_SUBMISSION_H
#define PX_CLUSTER_SUBMISSION_H

#include "cluster/inputs.h"
#include "engine/engine.h"

typedef struct px_submission {
    px_request request; /* borrows from the message and from the JSON below */
    json_t *messages, *tools, *template_kwargs; /* owned; NULL where absent */
    px_token_bias *biases;                      /* owned, as all below */
    px_slice *bad_words;
    char *choice;
    px_inputs inputs;
} px_submission;

typedef struct px_submission_context {
    int64_t now_ns;      /* the deadline counts from here */
    uint64_t fresh_seed; /* for a request that names none */
} px_submission_context;

/* INVALID_ARGUMENT with a sentence for the client; then there is nothing to free. */
px_status px_submission_make(const Phalanx__V1__EngineSubmit *submit,
    const px_submission_context *context, px_submission *out) PX_MUST_USE;
void px_submission_done(px_submission *submission);

#endif
