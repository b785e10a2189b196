/* test_lookup.c - the place where a text stood before, beside its definition. */
#include "test.h"

#include "engine/random.h"
#include "engine/speculate/lookup.h"

enum { TOKENS = 400 };

static px_lookup *make(px_arena *arena, uint32_t tokens_max)
{
    px_arena_init(arena, px_lookup_bytes(tokens_max));
    px_lookup *lookup = px_lookup_create(tokens_max, arena);
    PX_CHECK(lookup);
    return lookup;
}

static uint32_t agreement(const uint32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t length = 0;
    while (length < a && tokens[a - 1 - length] == tokens[b - 1 - length]) length++;
    return length < PX_LOOKUP_LENGTH_MAX ? length : PX_LOOKUP_LENGTH_MAX;
}

PX_TEST(a_text_that_repeats_itself_is_followed)
{
    static const uint32_t tokens[] = {7, 1, 2, 3, 4, 5, 9, 1, 2, 3, 4, 8, 1, 2};
    px_arena arena;
    px_lookup *lookup = make(&arena, 14);
    PX_CHECK(px_lookup_advance(lookup, tokens, 8).length == 0); /* one token is no gram */
    px_lookup_place place = px_lookup_advance(lookup, tokens, 9);
    PX_CHECK(place.at == 3 && place.length == 2);
    place = px_lookup_advance(lookup, tokens, 11);
    PX_CHECK(place.at == 5 && place.length == 4);
    PX_CHECK(px_lookup_advance(lookup, tokens, 12).length == 0); /* 8, not 5 */
    place = px_lookup_advance(lookup, tokens, 14);
    PX_CHECK(place.at == 9 && place.length == 2); /* of two equals the newer */
    px_arena_done(&arena);
}

PX_TEST(the_longest_agreement_is_taken)
{
    /* When 6 comes back, 5 6 stands twice: the older place agrees in three tokens. */
    static const uint32_t tokens[] = {4, 5, 6, 7, 1, 5, 6, 8, 4, 5, 6};
    px_arena arena;
    px_lookup *lookup = make(&arena, 11);
    px_lookup_advance(lookup, tokens, 9);
    px_lookup_place place = px_lookup_advance(lookup, tokens, 11);
    PX_CHECK(place.at == 3 && place.length == 3);
    px_arena_done(&arena);
}

/* However the text comes in, a place is true: what it says agrees does, and its token stands before
 * the end. In texts of few different tokens there is one most of the time. */
PX_TEST(every_place_is_true_in_random_texts)
{
    for (uint64_t seed = 0; seed < 200; seed++) {
        static uint32_t tokens[TOKENS];
        uint32_t alphabet = 2 + (uint32_t)(px_random_unit(seed, 1) * 30), found = 0, looked = 0;
        for (uint32_t i = 0; i < TOKENS; i++)
            tokens[i] = (uint32_t)(px_random_unit(seed, 2 + i) * alphabet);
        px_arena arena;
        px_lookup *lookup = make(&arena, TOKENS);
        for (uint32_t count = 1; count <= TOKENS; looked++) {
            px_lookup_place place = px_lookup_advance(lookup, tokens, count);
            PX_CHECK(place.at < count);
            if (place.length) PX_CHECK(agreement(tokens, place.at, count) == place.length);
            if (place.length) PX_CHECK(place.length >= PX_LOOKUP_GRAM);
            found += place.length > 0;
            count += 1 + (uint32_t)(px_random_unit(seed, 1000 + count) * 3);
        }
        if (alphabet < 6) PX_CHECK(found > looked * 3 / 4);
        px_arena_done(&arena);
    }
}

PX_TEST_MAIN()
