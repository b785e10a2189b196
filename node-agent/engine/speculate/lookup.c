/* lookup.c - see lookup.h. */
#include "engine/speculate/lookup.h"

enum { HEADS_MAX = 1 << 14, TRIES = 8 };

struct px_lookup {
    uint32_t tokens_max, heads_mask;
    uint32_t known;  /* tokens of the text that were taken in */
    uint32_t *heads; /* [heads_mask + 1]: 1 + the newest end of a gram with this hash; 0: none */
    uint32_t *older; /* [tokens_max]: the same of the one before */
    px_lookup_place place;
};

static uint32_t head_count(uint32_t tokens_max)
{
    uint32_t count = 16;
    while (count < tokens_max && count < HEADS_MAX) count *= 2;
    return count;
}

size_t px_lookup_bytes(uint32_t tokens_max)
{
    return sizeof(px_lookup) + 64 +
           ((size_t)head_count(tokens_max) + tokens_max) * sizeof(uint32_t);
}

px_lookup *px_lookup_create(uint32_t tokens_max, px_arena *arena)
{
    px_lookup *lookup = px_arena_alloc(arena, sizeof *lookup);
    uint32_t heads = head_count(tokens_max);
    if (!lookup) return NULL;
    *lookup = (px_lookup){.tokens_max = tokens_max,
        .heads_mask = heads - 1,
        .heads = px_arena_alloc(arena, heads * sizeof *lookup->heads),
        .older = px_arena_alloc(arena, tokens_max * sizeof *lookup->older)};
    return lookup->heads && lookup->older ? lookup : NULL;
}

static uint32_t hash_of(const px_lookup *lookup, const uint32_t *gram)
{
    uint64_t hash = 0;
    for (int i = 0; i < PX_LOOKUP_GRAM; i++) hash = (hash ^ gram[i]) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(hash >> 40) & lookup->heads_mask;
}

/* How many tokens before `a` and before `b` are the same; a < b. */
static uint32_t agreement(const uint32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t length = 0;
    while (length < a && length < PX_LOOKUP_LENGTH_MAX &&
           tokens[a - 1 - length] == tokens[b - 1 - length])
        length++;
    return length;
}

static px_lookup_place search(const px_lookup *lookup, const uint32_t *tokens, uint32_t head)
{
    px_lookup_place best = {0};
    uint32_t end = lookup->heads[head]; /* 1 + its last token: the one that followed */
    for (uint32_t tries = 0; end && tries < TRIES; tries++, end = lookup->older[end - 1]) {
        uint32_t length = agreement(tokens, end, lookup->known);
        if (length >= PX_LOOKUP_GRAM && length > best.length)
            best = (px_lookup_place){.at = end, .length = length};
    }
    return best;
}

/* One more token is known: the place goes on with it, or another is looked for. */
static void take(px_lookup *lookup, const uint32_t *tokens)
{
    px_lookup_place *place = &lookup->place;
    uint32_t newest = lookup->known++;
    if (place->length && tokens[place->at] == tokens[newest]) {
        place->at++;
        if (place->length < PX_LOOKUP_LENGTH_MAX) place->length++;
    } else {
        place->length = 0;
    }
    if (lookup->known < PX_LOOKUP_GRAM) return;
    uint32_t head = hash_of(lookup, tokens + lookup->known - PX_LOOKUP_GRAM);
    if (!place->length) *place = search(lookup, tokens, head);
    lookup->older[newest] = lookup->heads[head];
    lookup->heads[head] = lookup->known;
}

px_lookup_place px_lookup_advance(px_lookup *lookup, const uint32_t *tokens, uint32_t count)
{
    PX_ASSERT(lookup->known <= count && count <= lookup->tokens_max);
    while (lookup->known < count) take(lookup, tokens);
    return lookup->place;
}
