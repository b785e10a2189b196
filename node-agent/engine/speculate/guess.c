/* guess.c - see guess.h. */
#include "engine/speculate/guess.h"

#include <string.h>

static const float own_memory = 24, all_memory = 512; /* outcomes */
static const float own_rest = 256, all_rest = 4096;   /* steps without a guess */
/* Right before any outcome: a draft's; by the length of what agrees before it (trust.c) */
static const float draft_share = 0.7f;
static const float lookup_shares[PX_TRUST_KINDS] = {
    0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.75f, 0.8f};
static const double chance_least = 0.05; /* of a whole guess: beyond it no row pays */

size_t px_guess_bytes(px_guesser guesser, uint32_t tokens_max)
{
    if (guesser == PX_GUESS_NONE) return 0;
    size_t index = guesser == PX_GUESS_LOOKUP ? px_lookup_bytes(tokens_max) : 0;
    return sizeof(px_guess) + 64 + index;
}

px_guess *px_guess_create(
    px_guesser guesser, px_guess_text text, uint32_t tokens_max, px_arena *arena)
{
    if (guesser == PX_GUESS_NONE) return NULL;
    px_guess *guess = px_arena_alloc(arena, sizeof *guess);
    if (!guess || guesser == PX_GUESS_DRAFT) return guess;
    guess->lookup = px_lookup_create(tokens_max, arena);
    if (!guess->lookup) return NULL;
    px_lookup_advance(guess->lookup, text.tokens, text.count);
    return guess;
}

px_trust px_guess_trust(px_guesser guesser)
{
    px_trust trust = {{0}};
    for (int kind = 0; kind < PX_TRUST_KINDS; kind++)
        trust.unknown[kind] = guesser == PX_GUESS_DRAFT ? draft_share : lookup_shares[kind];
    return trust;
}

void px_guess_judge(px_guess *guess, px_trust *all, px_guess_text text)
{
    uint32_t i = 0;
    for (; i < guess->count && guess->at + i < text.count; i++) {
        bool was_right = guess->tokens[i] == text.tokens[guess->at + i];
        px_trust_note(&guess->own, guess->kinds[i], was_right, own_memory);
        px_trust_note(all, guess->kinds[i], was_right, all_memory);
        if (!was_right) break;
    }
    /* The draft model went on from its guesses: its KV is good as far as they were right. */
    if (guess->count && guess->drafted > guess->at + i) guess->drafted = guess->at + i;
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

void px_guess_expect(px_guess *guess, const px_trust *all, uint32_t most, px_bid *out_bid)
{
    *out_bid = (px_bid){0};
    for (uint32_t i = 0; i < most && i < PX_PROPOSALS_MAX; i++) {
        guess->kinds[i] = (uint8_t)px_trust_kind_of_depth(i);
        out_bid->right[i] = (float)px_trust_of(&guess->own, all, guess->kinds[i]);
        out_bid->count = i + 1;
    }
}

void px_guess_rest(px_guess *guess, px_trust *all)
{
    px_trust_fade(&guess->own, own_rest);
    px_trust_fade(all, all_rest);
}
