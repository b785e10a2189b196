/* guess.c - see guess.h. */
#include "engine/speculate/guess.h"

#include <string.h>

static const float own_memory = 24, all_memory = 512; /* outcomes */
static const double chance_least = 0.05;              /* of a whole guess: beyond it no row pays */

size_t px_guess_bytes(uint32_t tokens_max)
{
    return sizeof(px_guess) + 64 + px_lookup_bytes(tokens_max);
}

px_guess *px_guess_create(
    const uint32_t *tokens, uint32_t count, uint32_t tokens_max, px_arena *arena)
{
    px_guess *guess = px_arena_alloc(arena, sizeof *guess);
    if (!guess) return NULL;
    *guess = (px_guess){.lookup = px_lookup_create(tokens_max, arena)};
    if (!guess->lookup) return NULL;
    px_lookup_advance(guess->lookup, tokens, count);
    return guess;
}

void px_guess_judge(px_guess *guess, px_trust *all, px_guess_text text)
{
    bool was_right = true;
    for (uint32_t i = 0; i < guess->count && guess->at + i < text.count && was_right; i++) {
        was_right = guess->tokens[i] == text.tokens[guess->at + i];
        px_trust_note(&guess->own, guess->kinds[i], was_right, own_memory);
        px_trust_note(all, guess->kinds[i], was_right, all_memory);
    }
    guess->count = 0;
}

void px_guess_look(
    px_guess *guess, const px_trust *all, px_guess_text text, uint32_t most, px_bid *out_bid)
{
    px_lookup_place place = px_lookup_advance(guess->lookup, text.tokens, text.count);
    double chance = 1;
    *out_bid = (px_bid){0};
    guess->at = text.count;
    while (place.length && guess->count < most && guess->count < PX_PROPOSALS_MAX) {
        uint32_t i = guess->count, from = place.at + i;
        uint32_t kind = px_trust_kind_of_length(place.length + i);
        double right = px_trust_of(&guess->own, all, kind);
        chance *= right;
        if (i && chance < chance_least) break; /* the first one teaches in any case */
        /* What repeats itself with a short period is guessed from the guess itself. */
        guess->tokens[i] = from < text.count ? text.tokens[from] : guess->tokens[from - text.count];
        guess->kinds[i] = (uint8_t)kind;
        out_bid->right[i] = (float)right;
        guess->count = out_bid->count = i + 1;
    }
}
