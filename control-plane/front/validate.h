/* validate.h - what clients may send: checked before anything is routed.
 *
 * Each returns OK or INVALID_ARGUMENT with a sentence that names the field. Bounds on lengths that
 * the model decides (context, vocabulary) are the engine's to check.
 * Threads: pure functions.
 */
#ifndef PX_CONTROL_VALIDATE_H
#define PX_CONTROL_VALIDATE_H

#include "base/status.h"
#include "phalanx/v1/inference.pb-c.h"

px_status px_validate_generate(const Phalanx__V1__GenerateRequest *request) PX_MUST_USE;
px_status px_validate_chat(const Phalanx__V1__ChatRequest *request) PX_MUST_USE;
/* What the metadata `phalanx-tenant` says; NULL: nothing. */
px_status px_validate_tenant(const char *tenant) PX_MUST_USE;
px_status px_validate_embed(const Phalanx__V1__EmbedRequest *request) PX_MUST_USE;
px_status px_validate_score(const Phalanx__V1__ScoreRequest *request) PX_MUST_USE;
px_status px_validate_tokenize(const Phalanx__V1__TokenizeRequest *request) PX_MUST_USE;

#endif
