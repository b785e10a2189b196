/* adjust.h - what a request wants changed about the logits before a token is picked.
 *
 * In this order: penalties (repetition over prompt and answer; presence and frequency over the
 * answer), biases, then what may not come: bad words, ends before min_tokens, all but the allowed.
 * A banned token's logit is -infinity. Formulas as in vLLM and transformers:
 *   repetition r:  l > 0 ? l / r : l * r    for every token that occurs
 *   frequency f, presence p:  l - f * (times in the answer) - p * (is in the answer)
 * Owns:    what it was made of lies in the sequence's arena; apply and note allocate nothing.
 * Threads: one at a time.
 */
#ifndef PX_SAMPLE_ADJUST_H
#define PX_SAMPLE_ADJUST_H

#include <stdbool.h>

#include "base/memory.h"

typedef struct px_token_bias {
    uint32_t token;
    float bias;
} px_token_bias;

typedef struct px_token_list { /* borrowed */
    const uint32_t *ids;
    uint32_t count;
} px_token_list;

enum { PX_BIASES_MAX = 1024, PX_BAD_WORDS_MAX = 1024, PX_PENALTY_MAX = 100 };

typedef struct px_adjust_options {
    float repetition_penalty; /* 0 or 1: off */
    float presence_penalty, frequency_penalty;
    const px_token_bias *biases;
    uint32_t bias_count;
    px_token_list allowed;          /* none: all */
    const px_token_list *bad_words; /* token sequences whose last may not follow the others */
    uint32_t bad_word_count;
    px_token_list ends; /* what may not come while the answer is shorter than min_tokens */
    uint32_t min_tokens;
    uint32_t vocabulary, tokens_max; /* of prompt and answer together */
} px_adjust_options;

typedef struct px_adjust px_adjust;

/* *out is NULL if there is nothing to change. INVALID_ARGUMENT names the value and its range: ids
 * are below the vocabulary, biases and penalties finite and within +-PX_PENALTY_MAX. */
px_status px_adjust_create(
    const px_adjust_options *options, px_arena *arena, px_adjust **out) PX_MUST_USE;
/* How many bytes of the arena that may take at most. */
size_t px_adjust_bytes(const px_adjust_options *options);

/* Some tokens may not come at all (an allowed list, bad words), so that not even a form may choose
 * how a text is cut into tokens. */
bool px_adjust_bans(const px_adjust *adjust);

/* The text has one more token. */
void px_adjust_note(px_adjust *adjust, uint32_t token, bool is_answer);

enum { PX_ADJUST_GUESSED_MAX = 32 };

typedef struct px_adjust_text { /* all of it so far */
    const uint32_t *tokens;
    uint32_t count, answer_count;
    uint32_t guessed; /* of its last tokens: not noted, as nobody knows if they will stay */
} px_adjust_text;
/* logits [vocabulary]; all of the text but what is guessed was noted. */
void px_adjust_apply(const px_adjust *adjust, const px_adjust_text *text, float *logits);

/* What a grammar allows: bits of mask [(vocabulary + 31) / 32], and `ends` if `may_end`. A mask for
 * fewer tokens bans the rest. */
typedef struct px_adjust_mask {
    const uint32_t *words;
    uint32_t word_count;
    px_token_list ends;
    bool may_end;
} px_adjust_mask;
void px_adjust_apply_mask(const px_adjust_mask *mask, uint32_t vocabulary, float *logits);

#endif
