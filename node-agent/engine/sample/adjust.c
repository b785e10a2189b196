#include "engine/sample/adjust.h"

#include <math.h>
#include <string.h>

typedef struct seen { /* a token that occurs in the text */
    uint32_t token, in_answer;
} seen;

struct px_adjust {
    float repetition, presence, frequency;
    px_token_bias *biases;
    uint32_t bias_count;
    uint32_t *allowed; /* bits; NULL: all */
    px_token_list *bad_words;
    uint32_t bad_word_count;
    px_token_list ends;
    uint32_t min_tokens, vocabulary;
    /* Each token once, in the order of their coming, and a table to find them. NULL: no penalties.
     */
    seen *seen;
    uint32_t seen_count, seen_room;
    uint32_t *table; /* [mask + 1]: index + 1; 0: free */
    uint32_t mask;
};

static bool has_penalties(const px_adjust_options *o)
{
    bool repeats = o->repetition_penalty != 0 && o->repetition_penalty != 1;
    return repeats || o->presence_penalty != 0 || o->frequency_penalty != 0;
}

static uint32_t seen_room(const px_adjust_options *o)
{
    return o->tokens_max < o->vocabulary ? o->tokens_max : o->vocabulary;
}

static uint32_t table_size(const px_adjust_options *o)
{
    uint32_t size = 16;
    while (size < 2 * (uint64_t)seen_room(o)) size *= 2;
    return size;
}

static size_t words_of(const px_adjust_options *o)
{
    return (o->vocabulary + 31) / 32;
}

size_t px_adjust_bytes(const px_adjust_options *o)
{
    size_t bytes = sizeof(px_adjust) + o->bias_count * sizeof *o->biases +
                   o->ends.count * sizeof *o->ends.ids + words_of(o) * sizeof(uint32_t) + 4096;
    for (uint32_t i = 0; i < o->bad_word_count; i++)
        bytes += sizeof *o->bad_words + o->bad_words[i].count * sizeof(uint32_t) + 32;
    if (has_penalties(o)) bytes += seen_room(o) * sizeof(seen) + table_size(o) * sizeof(uint32_t);
    return bytes;
}

/* -------------------------------------------------------------------------------- checks */

static px_status check_penalty(const char *name, float value)
{
    if (!(fabsf(value) <= PX_PENALTY_MAX))
        return px_fail(PX_INVALID_ARGUMENT, "%s must be from %d to %d, not %g", name,
            -PX_PENALTY_MAX, PX_PENALTY_MAX, (double)value);
    return px_ok();
}

static px_status check_ids(const px_adjust_options *o, const char *name, px_token_list list)
{
    for (uint32_t i = 0; i < list.count; i++)
        if (list.ids[i] >= o->vocabulary)
            return px_fail(PX_INVALID_ARGUMENT,
                "%s: token %u is not below %u, the vocabulary's size", name, list.ids[i],
                o->vocabulary);
    return px_ok();
}

static px_status check(const px_adjust_options *o)
{
    if (!(o->repetition_penalty >= 0 && o->repetition_penalty <= PX_PENALTY_MAX))
        return px_fail(PX_INVALID_ARGUMENT,
            "repetition_penalty must be above 0 and at most %d, not %g", PX_PENALTY_MAX,
            (double)o->repetition_penalty);
    PX_TRY(check_penalty("presence_penalty", o->presence_penalty));
    PX_TRY(check_penalty("frequency_penalty", o->frequency_penalty));
    if (o->bias_count > PX_BIASES_MAX || o->bad_word_count > PX_BAD_WORDS_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "at most %d biases and %d bad words may be given",
            PX_BIASES_MAX, PX_BAD_WORDS_MAX);
    for (uint32_t i = 0; i < o->bias_count; i++) {
        PX_TRY(check_ids(o, "logit_bias", (px_token_list){&o->biases[i].token, 1}));
        PX_TRY(check_penalty("logit_bias", o->biases[i].bias));
    }
    for (uint32_t i = 0; i < o->bad_word_count; i++)
        PX_TRY(check_ids(o, "bad_words", o->bad_words[i]));
    PX_TRY(check_ids(o, "stop_token_ids", o->ends));
    return check_ids(o, "allowed_token_ids", o->allowed);
}

/* -------------------------------------------------------------------------------- making */

static void *keep(px_arena *arena, const void *from, size_t bytes)
{
    void *to = px_arena_alloc(arena, bytes + 1);
    PX_ASSERT(to); /* px_adjust_bytes() counted it */
    if (bytes) memcpy(to, from, bytes);
    return to;
}

static px_token_list keep_list(px_arena *arena, px_token_list list)
{
    return (px_token_list){keep(arena, list.ids, list.count * sizeof *list.ids), list.count};
}

static void set_bit(uint32_t *words, uint32_t token)
{
    words[token / 32] |= UINT32_C(1) << token % 32;
}

px_status px_adjust_create(const px_adjust_options *o, px_arena *arena, px_adjust **out)
{
    *out = NULL;
    PX_TRY(check(o));
    bool has_ends = o->min_tokens && o->ends.count;
    if (!has_penalties(o) && !o->bias_count && !o->allowed.count && !o->bad_word_count && !has_ends)
        return px_ok();
    px_adjust *a = px_arena_alloc(arena, sizeof *a);
    PX_ASSERT(a);
    *a = (px_adjust){.repetition = o->repetition_penalty != 0 ? o->repetition_penalty : 1,
        .presence = o->presence_penalty,
        .frequency = o->frequency_penalty,
        .biases = keep(arena, o->biases, o->bias_count * sizeof *o->biases),
        .bias_count = o->bias_count,
        .bad_word_count = o->bad_word_count,
        .ends = keep_list(arena, o->ends),
        .min_tokens = o->min_tokens,
        .vocabulary = o->vocabulary};
    if (o->allowed.count) {
        a->allowed = px_arena_alloc(arena, words_of(o) * sizeof *a->allowed);
        PX_ASSERT(a->allowed);
        for (uint32_t i = 0; i < o->allowed.count; i++) set_bit(a->allowed, o->allowed.ids[i]);
    }
    a->bad_words = keep(arena, o->bad_words, o->bad_word_count * sizeof *o->bad_words);
    for (uint32_t i = 0; i < o->bad_word_count; i++)
        a->bad_words[i] = keep_list(arena, o->bad_words[i]);
    if (has_penalties(o)) {
        a->seen_room = seen_room(o);
        a->seen = px_arena_alloc(arena, a->seen_room * sizeof *a->seen);
        a->mask = table_size(o) - 1;
        a->table = px_arena_alloc(arena, (a->mask + 1) * sizeof *a->table);
        PX_ASSERT(a->seen && a->table);
    }
    *out = a;
    return px_ok();
}

/* ---------------------------------------------------------------------------------- use */

bool px_adjust_bans(const px_adjust *adjust)
{
    return adjust->allowed || adjust->bad_word_count;
}

/* Its place in the table, or the free one that it would take. */
static uint32_t find(const px_adjust *adjust, uint32_t token)
{
    uint32_t at = token * UINT32_C(0x9e3779b1) & adjust->mask;
    while (adjust->table[at] && adjust->seen[adjust->table[at] - 1].token != token)
        at = (at + 1) & adjust->mask;
    return at;
}

void px_adjust_note(px_adjust *adjust, uint32_t token, bool is_answer)
{
    if (!adjust->seen || token >= adjust->vocabulary) return;
    uint32_t at = find(adjust, token);
    if (!adjust->table[at]) {
        PX_ASSERT(adjust->seen_count < adjust->seen_room);
        adjust->seen[adjust->seen_count] = (seen){.token = token};
        adjust->table[at] = ++adjust->seen_count;
    }
    adjust->seen[adjust->table[at] - 1].in_answer += is_answer;
}

static float penalised(const px_adjust *a, float l, uint32_t in_answer)
{
    if (a->repetition != 1) l = l > 0 ? l / a->repetition : l * a->repetition;
    if (in_answer) l -= a->frequency * (float)in_answer + a->presence;
    return l;
}

static void penalise(const px_adjust *a, const px_adjust_text *text, float *logits)
{
    float raw[PX_ADJUST_GUESSED_MAX];
    PX_ASSERT(text->guessed <= PX_ADJUST_GUESSED_MAX);
    if (!a->seen) return;
    const uint32_t *guessed = text->tokens + text->count - text->guessed;
    for (uint32_t i = 0; i < text->guessed; i++) raw[i] = logits[guessed[i]];
    for (uint32_t i = 0; i < a->seen_count; i++) {
        const seen *s = &a->seen[i];
        logits[s->token] = penalised(a, logits[s->token], s->in_answer);
    }
    for (uint32_t i = 0; i < text->guessed; i++) { /* once more, as if they had been noted */
        uint32_t entry = a->table[find(a, guessed[i])], times = 0;
        for (uint32_t j = 0; j < text->guessed; j++) times += guessed[j] == guessed[i];
        if (entry) times += a->seen[entry - 1].in_answer;
        logits[guessed[i]] = penalised(a, raw[i], times);
    }
}

static void ban_bad_words(const px_adjust *a, const px_adjust_text *text, float *logits)
{
    for (uint32_t i = 0; i < a->bad_word_count; i++) {
        px_token_list word = a->bad_words[i];
        if (!word.count || word.count - 1 > text->answer_count) continue;
        uint32_t before = word.count - 1;
        const uint32_t *tail = text->tokens + text->count - before;
        if (memcmp(tail, word.ids, before * sizeof *tail) == 0)
            logits[word.ids[before]] = -INFINITY;
    }
}

static void keep_only(
    const uint32_t *words, uint32_t word_count, uint32_t vocabulary, float *logits)
{
    for (uint32_t w = 0; w < (vocabulary + 31) / 32; w++) {
        uint32_t bits = w < word_count ? words[w] : 0, first = w * 32;
        uint32_t count = vocabulary - first < 32 ? vocabulary - first : 32;
        if (bits == UINT32_MAX) continue;
        for (uint32_t i = 0; i < count; i++)
            if (!(bits >> i & 1)) logits[first + i] = -INFINITY;
    }
}

void px_adjust_apply(const px_adjust *a, const px_adjust_text *text, float *logits)
{
    penalise(a, text, logits);
    for (uint32_t i = 0; i < a->bias_count; i++) logits[a->biases[i].token] += a->biases[i].bias;
    ban_bad_words(a, text, logits);
    if (text->answer_count < a->min_tokens)
        for (uint32_t i = 0; i < a->ends.count; i++) logits[a->ends.ids[i]] = -INFINITY;
    if (a->allowed) keep_only(a->allowed, (a->vocabulary + 31) / 32, a->vocabulary, logits);
}

void px_adjust_apply_mask(const px_adjust_mask *mask, uint32_t vocabulary, float *logits)
{
    enum { KEPT_MAX = 64 };
    float kept[KEPT_MAX];
    uint32_t count = mask->may_end ? mask->ends.count : 0;
    if (count > KEPT_MAX) count = KEPT_MAX;
    for (uint32_t i = 0; i < count; i++)
        if (mask->ends.ids[i] < vocabulary) kept[i] = logits[mask->ends.ids[i]];
    keep_only(mask->words, mask->word_count, vocabulary, logits);
    for (uint32_t i = 0; i < count; i++)
        if (mask->ends.ids[i] < vocabulary) logits[mask->ends.ids[i]] = kept[i];
}
