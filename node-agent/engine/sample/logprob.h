/* logprob.h - log probabilities of a row of logits, as the model gave them: before temperature,
 * penalties, biases and masks.
 *
 * Sums run in id order in double precision, so a row's figures depend on the row alone.
 */
#ifndef PX_SAMPLE_LOGPROB_H
#define PX_SAMPLE_LOGPROB_H

#include <stdint.h>

enum { PX_TOP_LOGPROBS_MAX = 20 };

typedef struct px_logprob {
    uint32_t token;
    float logprob; /* natural logarithm */
} px_logprob;

typedef struct px_logprobs {
    px_logprob picked;
    uint32_t rank; /* of the picked one: 1 is the likeliest */
    uint32_t top_count;
    px_logprob top[PX_TOP_LOGPROBS_MAX]; /* the likeliest first; equals by id */
} px_logprobs;

typedef struct px_logprob_row {
    const float *logits; /* [vocabulary] */
    uint32_t vocabulary;
    uint32_t token; /* the picked one */
    uint32_t top;   /* at most PX_TOP_LOGPROBS_MAX */
} px_logprob_row;

void px_logprobs_of(const px_logprob_row *row, px_logprobs *out);

#endif
