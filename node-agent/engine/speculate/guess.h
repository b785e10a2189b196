/* guess.h - what one sequence is expected to say next, and how often such guesses were right.
 *
 *   judge    the last guess beside what was said since: whether it was tried or not, it teaches
 *   look     a new guess, from where the text stood before as it stands now
 *
 * Owns:    the index of its text, in the sequence's arena.
 * Threads: made on the caller's, then the engine thread.
 */
#ifndef PX_SPECULATE_GUESS_H
#define PX_SPECULATE_GUESS_H

#include "engine/speculate/lookup.h"
#include "engine/speculate/price.h"
#include "engine/speculate/trust.h"

typedef struct px_guess {
    px_lookup *lookup;
    px_trust own;
    uint32_t at, count; /* the tokens guessed for the places from `at` on */
    uint32_t tokens[PX_PROPOSALS_MAX];
    uint8_t kinds[PX_PROPOSALS_MAX]; /* of trust */
} px_guess;

size_t px_guess_bytes(uint32_t tokens_max); /* of the arena */
/* For a text that begins with these tokens. NULL: the arena's limit is reached. */
px_guess *px_guess_create(
    const uint32_t *tokens, uint32_t count, uint32_t tokens_max, px_arena *arena);

typedef struct px_guess_text { /* of a sequence; borrowed */
    const uint32_t *tokens;
    uint32_t count;
} px_guess_text;

/* Teaches the sequence's record and everybody's. Nothing is guessed any more. */
void px_guess_judge(px_guess *guess, px_trust *all, px_guess_text text);
/* Guesses up to `most` tokens, as far as there is a chance for them, and says what each one's is.
 */
void px_guess_look(
    px_guess *guess, const px_trust *all, px_guess_text text, uint32_t most, px_bid *out_bid);

#endif
