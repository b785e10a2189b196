/* Penalties, biases and bans against their formulas, written out here by hand. */
#include "engine/sample/adjust.h"

#include <math.h>
#include <string.h>

#include "test.h"

enum { VOCABULARY = 70, TOKENS_MAX = 100 };

static px_arena arena;

static px_adjust_options options(void)
{
    return (px_adjust_options){.vocabulary = VOCABULARY, .tokens_max = TOKENS_MAX};
}

static px_adjust *make(const px_adjust_options *o)
{
    px_adjust *adjust = NULL;
    px_arena_init(&arena, px_adjust_bytes(o));
    PX_CHECK_OK(px_adjust_create(o, &arena, &adjust));
    return adjust;
}

/* Logits of i / 10 - 3, so that both signs are there. */
static void ramp(float *logits)
{
    for (int i = 0; i < VOCABULARY; i++) logits[i] = (float)i / 10 - 3;
}

PX_TEST(nothing_to_change_is_nothing)
{
    px_adjust_options o = options();
    o.repetition_penalty = 1;
    o.min_tokens = 5; /* but there is nothing that could end it */
    PX_CHECK(make(&o) == NULL);
    px_arena_done(&arena);
}

PX_TEST(penalties_follow_their_formulas)
{
    px_adjust_options o = options();
    o.repetition_penalty = 2;
    o.frequency_penalty = 0.5f;
    o.presence_penalty = 0.25f;
    px_adjust *adjust = make(&o);
    static const uint32_t text[] = {5, 40, 40, 6, 60, 60, 60, 5};
    for (uint32_t i = 0; i < 8; i++) px_adjust_note(adjust, text[i], i >= 4);
    float logits[VOCABULARY];
    ramp(logits);
    px_adjust_apply(adjust, &(px_adjust_text){text, 8, 4}, logits);
    PX_CHECK(logits[6] == -2.4f * 2);                      /* in the prompt, below zero */
    PX_CHECK(logits[40] == 1.0f / 2);                      /* in the prompt, above */
    PX_CHECK(logits[60] == 3.0f / 2 - (0.5f * 3 + 0.25f)); /* three times in the answer */
    PX_CHECK(logits[5] == -2.5f * 2 - (0.5f + 0.25f));     /* in both */
    PX_CHECK(logits[7] == 7.0f / 10 - 3);
    px_arena_done(&arena);
}

PX_TEST(many_different_tokens_are_counted)
{
    px_adjust_options o = options();
    o.frequency_penalty = 1;
    px_adjust *adjust = make(&o);
    uint32_t text[TOKENS_MAX];
    for (uint32_t i = 0; i < TOKENS_MAX; i++) {
        text[i] = i * 31 % VOCABULARY;
        px_adjust_note(adjust, text[i], true);
    }
    float logits[VOCABULARY] = {0};
    px_adjust_apply(adjust, &(px_adjust_text){text, TOKENS_MAX, TOKENS_MAX}, logits);
    float sum = 0;
    for (int i = 0; i < VOCABULARY; i++) sum += logits[i];
    PX_CHECK(sum == -TOKENS_MAX && logits[text[0]] == -2 && logits[text[99]] == -2);
    px_arena_done(&arena);
}

PX_TEST(biases_are_added_and_only_the_allowed_stay)
{
    px_adjust_options o = options();
    static const px_token_bias biases[] = {{3, 1.5f}, {69, -2}};
    static const uint32_t allowed[] = {3, 33, 69};
    o.biases = biases;
    o.bias_count = 2;
    o.allowed = (px_token_list){allowed, 3};
    px_adjust *adjust = make(&o);
    float logits[VOCABULARY], before[VOCABULARY];
    ramp(before);
    memcpy(logits, before, sizeof logits);
    px_adjust_apply(adjust, &(px_adjust_text){NULL, 0, 0}, logits);
    for (uint32_t i = 0; i < VOCABULARY; i++) {
        bool stays = i == 3 || i == 33 || i == 69;
        float bias = i == 3 ? 1.5f : i == 69 ? -2 : 0;
        PX_CHECK(stays ? logits[i] == before[i] + bias : logits[i] == -INFINITY);
    }
    px_arena_done(&arena);
}

PX_TEST(bad_words_are_not_completed)
{
    px_adjust_options o = options();
    static const uint32_t one[] = {8}, two[] = {4, 9}, three[] = {1, 4, 10};
    static const px_token_list words[] = {{one, 1}, {two, 2}, {three, 3}};
    o.bad_words = words;
    o.bad_word_count = 3;
    px_adjust *adjust = make(&o);
    static const uint32_t text[] = {1, 4};
    float logits[VOCABULARY] = {0};
    px_adjust_apply(adjust, &(px_adjust_text){text, 2, 2}, logits);
    PX_CHECK(logits[8] == -INFINITY && logits[9] == -INFINITY && logits[10] == -INFINITY);
    float later[VOCABULARY] = {0};
    px_adjust_apply(adjust, &(px_adjust_text){text, 2, 1}, later); /* the 1 was the prompt's */
    PX_CHECK(later[8] == -INFINITY && later[9] == -INFINITY && later[10] == 0);
    float first[VOCABULARY] = {0};
    px_adjust_apply(adjust, &(px_adjust_text){text, 2, 0}, first);
    PX_CHECK(first[8] == -INFINITY && first[9] == 0);
    px_arena_done(&arena);
}

PX_TEST(an_answer_does_not_end_before_min_tokens)
{
    px_adjust_options o = options();
    static const uint32_t ends[] = {2, 7};
    o.ends = (px_token_list){ends, 2};
    o.min_tokens = 3;
    px_adjust *adjust = make(&o);
    for (uint32_t answered = 0; answered < 5; answered++) {
        float logits[VOCABULARY] = {0};
        px_adjust_apply(adjust, &(px_adjust_text){NULL, answered, answered}, logits);
        PX_CHECK((logits[2] == -INFINITY) == (answered < 3));
        PX_CHECK((logits[7] == -INFINITY) == (answered < 3) && logits[3] == 0);
    }
    px_arena_done(&arena);
}

/* Guessed tokens count as if they had been noted, and leave no trace. */
PX_TEST(penalties_look_ahead_over_guessed_tokens)
{
    uint32_t text[] = {3, 5, 5, 7, 3, 9, 5, 9};
    px_adjust_options options = {.repetition_penalty = 1.3f,
        .presence_penalty = 0.5f,
        .frequency_penalty = 0.25f,
        .vocabulary = VOCABULARY,
        .tokens_max = 8};
    for (uint32_t guessed = 0; guessed <= 4; guessed++) {
        px_arena arenas[2];
        px_adjust *adjust[2];
        float logits[2][VOCABULARY];
        for (uint32_t k = 0; k < 2; k++) { /* one that noted all, one that looks ahead */
            px_arena_init(&arenas[k], 1 << 20);
            PX_CHECK_OK(px_adjust_create(&options, &arenas[k], &adjust[k]));
            for (uint32_t i = 0; i < 8 - k * guessed; i++)
                px_adjust_note(adjust[k], text[i], i >= 2);
            for (uint32_t i = 0; i < VOCABULARY; i++) logits[k][i] = (float)i - 6;
            px_adjust_text all = {
                .tokens = text, .count = 8, .answer_count = 6, .guessed = k * guessed};
            px_adjust_apply(adjust[k], &all, logits[k]);
            px_arena_done(&arenas[k]);
        }
        PX_CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    }
}

PX_TEST(a_grammars_mask_may_allow_the_end)
{
    static const uint32_t words[] = {1u << 4, 0}; /* for 64 tokens: the last six are banned */
    static const uint32_t ends[] = {2, 66};
    for (int may_end = 0; may_end < 2; may_end++) {
        float logits[VOCABULARY] = {0};
        px_adjust_apply_mask(&(px_adjust_mask){words, 2, {ends, 2}, may_end}, VOCABULARY, logits);
        for (uint32_t i = 0; i < VOCABULARY; i++)
            PX_CHECK((logits[i] == 0) == (i == 4 || (may_end && (i == 2 || i == 66))));
    }
}

PX_TEST(what_is_out_of_range_is_refused)
{
    static const uint32_t high[] = {VOCABULARY};
    static const px_token_list words[] = {{high, 1}};
    static const px_token_bias unknown[] = {{VOCABULARY, 1}}, infinite[] = {{1, INFINITY}};
    px_adjust_options bad[8];
    for (int i = 0; i < 8; i++) bad[i] = options();
    bad[0].repetition_penalty = -1;
    bad[1].presence_penalty = NAN;
    bad[2].frequency_penalty = 1000;
    bad[3].biases = unknown, bad[3].bias_count = 1;
    bad[4].biases = infinite, bad[4].bias_count = 1;
    bad[5].allowed = (px_token_list){high, 1};
    bad[6].bad_words = words, bad[6].bad_word_count = 1;
    bad[7].bias_count = PX_BIASES_MAX + 1;
    for (int i = 0; i < 8; i++) {
        px_adjust *adjust;
        px_arena_init(&arena, 1 << 20);
        px_status status = px_adjust_create(&bad[i], &arena, &adjust);
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && status.text[0]);
        px_arena_done(&arena);
    }
}

PX_TEST_MAIN()
