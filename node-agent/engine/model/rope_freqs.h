/* rope_freqs.h - rotary position embedding: the frequency of each pair, under every scaling rule.
 *
 * Sources: RoFormer (arXiv 2104.09864), YaRN (2309.00071; dynamic NTK is in it), LongRoPE
 *          (2402.13753), Llama 3.1's published rule; names and defaults as in Hugging Face configs.
 * Pure functions.
 */
#ifndef PX_MODEL_ROPE_FREQS_H
#define PX_MODEL_ROPE_FREQS_H

#include "base/status.h"

#include <stdint.h>

enum { PX_ROPE_PAIRS_MAX = 256 };

typedef enum px_rope_kind {
    PX_ROPE_PLAIN,
    PX_ROPE_LINEAR,
    PX_ROPE_LLAMA3,
    PX_ROPE_YARN,
    PX_ROPE_LONG,
    PX_ROPE_DYNAMIC,
    PX_ROPE_KIND_COUNT
} px_rope_kind;

typedef struct px_rope_scaling {
    px_rope_kind kind;
    double factor;
    double original_context;                  /* positions before the extension */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double mscale, mscale_all_dim;            /* yarn; 0: not given */
    double attention_factor;                  /* yarn, long; 0: by the rule */
    bool no_truncate;                         /* yarn: correction range not rounded to whole dims */
    double context; /* long: positions after the extension; dynamic: before it */
    float short_factors[PX_ROPE_PAIRS_MAX], long_factors[PX_ROPE_PAIRS_MAX]; /* long */
    uint32_t
        divisor_count; /* 0, or dims / 2: the frequencies of a plain rule are divided by these */
    float divisors[PX_ROPE_PAIRS_MAX];
} px_rope_scaling;

/* Angle of pair i at position p: p * freq[i]. */
typedef struct px_rope_freqs {
    uint32_t dims; /* rotated elements of a head; dims / 2 pairs; 0: no rotation */
    float freq[PX_ROPE_PAIRS_MAX];
    float long_freq[PX_ROPE_PAIRS_MAX]; /* instead, in sequences longer than long_from */
    uint32_t long_from;                 /* 0: there are none */
    bool dynamic; /* there the base grows with the length instead (NTK); long_freq is not used */
    double theta, factor; /* of a dynamic rule */
    uint32_t stated_dims; /* what it divides exponents by: dims, or one less */
    float scale;          /* cos and sin are multiplied by it */
} px_rope_freqs;

/* The frequency of `pair` in a sequence of `length` positions. */
float px_rope_freq(const px_rope_freqs *rope, uint32_t pair, uint32_t length);

/* "linear", "llama3", "yarn", "longrope", ... as configs spell them; UNIMPLEMENTED by name. */
px_status px_rope_kind_parse(const char *name, px_rope_kind *out) PX_MUST_USE;
/* `dims` is at most 2 * PX_ROPE_PAIRS_MAX (INVALID_ARGUMENT otherwise); an odd number rotates one
 * more, with exponents divided by the odd number, as Hugging Face's code does. */
px_status px_rope_freqs_make(
    const px_rope_scaling *scaling, double theta, uint32_t dims, px_rope_freqs *out) PX_MUST_USE;
/* YaRN's magnitude correction: 0.1 * m * ln(factor) + 1. */
double px_rope_mscale(double factor, double m);

#endif
