/* guess.h - what one sequence is expected to say next, and how often such guesses were right.
 *
 *   judge    the last guess beside what was said since: whether it was tried or not, it teaches
 *   look     a new guess, from where the text stood before as it stands now
 *   expect   or: what a draft model's guess would be worth, before it is made (draft.h)
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
    px_lookup *lookup; /* NULL: a draft model guesses */
    px_trust own;
    uint32_t drafted;   /* tokens whose KV the draft model has in the sequence's blocks */
    uint32_t at, count; /* the tokens guessed for the places from `at` on */
    uint32_t tokens[PX_PROPOSALS_MAX];
    uint8_t kinds[PX_PROPOSALS_MAX]; /* of trust */
} px_guess;

typedef enum px_guesser { PX_GUESS_NONE, PX_GUESS_LOOKUP, PX_GUESS_DRAFT } px_guesser;

typedef struct px_guess_text { /* of a sequence; borrowed */
    const uint32_t *tokens;
    uint32_t count;
} px_guess_text;

size_t px_guess_bytes(px_guesser guesser, uint32_t tokens_max); /* of the arena */
/* For what begins with this text. NULL: by PX_GUESS_NONE, or the arena's limit is reached. */
px_guess *px_guess_create(
    px_guesser guesser, px_guess_text text, uint32_t tokens_max, px_arena *arena);
/* What everybody's record is before any outcome. */
px_trust px_guess_trust(px_guesser guesser);

/* Teaches the sequence's record and everybody's. Nothing is guessed any more. */
void px_guess_judge(px_guess *guess, px_trust *all, px_guess_text text);
/* Guesses up to `most` tokens, as far as there is a chance for them, and says what each one's is.
 */
void px_guess_look(
    px_guess *guess, const px_trust *all, px_guess_text text, uint32_t most, px_bid *out_bid);
void px_guess_expect(px_guess *guess, const px_trust *all, uint32_t most, px_bid *out_bid);
/* A draft model has not guessed, though it might have: what it is known for is forgotten slowly. */
void px_guess_rest(px_guess *guess, px_trust *all);

#endif
