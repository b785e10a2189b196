#include "engine/grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "engine/grammar/gbnf.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/regex.h"

enum {
    SOURCE_BYTES_MAX = 64 << 20,
    TEXT_BYTES_MAX = 1 << 20,
    MASK_BYTES = 8 << 20, /* of all masks that are remembered */
    MASKS_MIN = 16,
    MASKS_MAX = 1024
};

typedef struct mask_slot {
    uint32_t config; /* PX_CONFIG_DEAD: free */
    bool used;       /* since the clock's hand came by */
} mask_slot;

struct px_grammar {
    const px_vocabulary *vocabulary;
    px_net net;
    px_automaton *automaton;
    uint32_t *masks; /* [mask_count, words] */
    mask_slot *slots;
    uint32_t mask_count, words, hand;
};

const char *px_grammar_kind_name(px_grammar_kind kind)
{
    static const char *const names[PX_GRAMMAR_KIND_COUNT] = {
        "regex", "grammar", "json", "json_object", "choice"};
    return names[kind];
}

/* ------------------------------------------------------------------------------ compile */

static px_status read_source(px_grammar_kind kind, px_slice text, px_expr_source *source)
{
    if (text.length > TEXT_BYTES_MAX)
        return px_fail(PX_RESOURCE_EXHAUSTED, "a grammar may have %d bytes at most, this has %zu",
            TEXT_BYTES_MAX, text.length);
    switch (kind) {
    case PX_GRAMMAR_REGEX: return px_regex_read(text, source);
    case PX_GRAMMAR_GBNF: return px_gbnf_read(text, source);
    case PX_GRAMMAR_JSON_SCHEMA: return px_json_schema_read(text, source);
    case PX_GRAMMAR_JSON_OBJECT: return px_json_object_source(source);
    case PX_GRAMMAR_CHOICE: return px_choice_read(text, source);
    case PX_GRAMMAR_KIND_COUNT: break;
    }
    return px_fail(PX_INVALID_ARGUMENT, "no such kind of grammar");
}

static px_status make_masks(px_grammar *g)
{
    g->words = (g->vocabulary->size + 31) / 32;
    size_t bytes = g->words * sizeof *g->masks, count = bytes ? MASK_BYTES / bytes : MASKS_MIN;
    g->mask_count = count < MASKS_MIN ? MASKS_MIN : count > MASKS_MAX ? MASKS_MAX : (uint32_t)count;
    g->slots = px_alloc_array(g->mask_count, sizeof *g->slots);
    return px_big_alloc(g->mask_count * bytes, "a grammar's masks", (void **)&g->masks);
}

/* Every answer begins with the same mask: it is made here, and what cannot even begin is refused.
 */
static px_status make_first_mask(px_grammar *g)
{
    px_guide guide;
    px_guide_begin(g, &guide);
    bool is_made = px_guide_mask(&guide) != NULL;
    px_guide_end(&guide);
    if (is_made) return px_ok();
    return px_fail(PX_RESOURCE_EXHAUSTED, "the form leads too many ways at once: make it simpler");
}

px_status px_grammar_compile(
    const px_vocabulary *vocabulary, px_grammar_kind kind, px_slice text, px_grammar **out)
{
    px_expr_source source;
    px_expr_source_init(&source, SOURCE_BYTES_MAX);
    px_grammar *g = px_alloc(sizeof *g);
    g->vocabulary = vocabulary;
    px_status status;
    PX_TRY_GOTO(read_source(kind, text, &source), end);
    PX_TRY_GOTO(px_net_make(&source, &g->net), end);
    PX_TRY_GOTO(px_automaton_create(&g->net, &g->automaton), end);
    PX_TRY_GOTO(make_masks(g), end);
    PX_TRY_GOTO(make_first_mask(g), end);
end:
    px_expr_source_done(&source);
    if (px_is_ok(status))
        *out = g;
    else
        px_grammar_free(g);
    return status;
}

void px_grammar_free(px_grammar *grammar)
{
    if (!grammar) return;
    px_automaton_free(grammar->automaton);
    px_net_done(&grammar->net);
    if (grammar->masks)
        px_big_free(
            grammar->masks, (size_t)grammar->mask_count * grammar->words * sizeof(uint32_t));
    free(grammar->slots);
    free(grammar);
}

/* ------------------------------------------------------------------------------ guide */

void px_guide_begin(px_grammar *grammar, px_guide *out)
{
    out->grammar = grammar;
    px_automaton_begin(grammar->automaton, &out->at);
}

void px_guide_fork(const px_guide *guide, px_guide *out)
{
    out->grammar = guide->grammar;
    px_automaton_share(guide->grammar->automaton, &guide->at, &out->at);
}

void px_guide_end(px_guide *guide)
{
    if (guide->grammar) px_automaton_end(&guide->at);
    guide->grammar = NULL;
}

/* Marks every token that `config` leads through. One walk over the sorted vocabulary: `path[d]` is
 * where the first d bytes of the entry lead, kept from the entries before as far as they agree. */
static void fill_mask(px_grammar *g, uint32_t config, uint32_t *mask)
{
    const px_vocabulary *v = g->vocabulary;
    uint32_t path[PX_TOKEN_BYTES_MAX + 1], known = 0;
    path[0] = config;
    memset(mask, 0, g->words * sizeof *mask);
    for (uint32_t i = 0; i < v->count; i++) {
        const px_vocabulary_entry *entry = &v->entries[i];
        /* `known`: path[0..known] stands; path[known] is dead only if the walk ended there. */
        if (entry->shared < known) known = entry->shared;
        if (path[known] == PX_CONFIG_DEAD) continue;
        const uint8_t *bytes = v->bytes + entry->first;
        while (known < entry->length && path[known] != PX_CONFIG_DEAD) {
            path[known + 1] = px_automaton_step(g->automaton, path[known], bytes[known]);
            known++;
        }
        if (path[known] != PX_CONFIG_DEAD) mask[entry->id / 32] |= UINT32_C(1) << entry->id % 32;
    }
}

static uint32_t *mask_at(px_grammar *g, uint32_t slot)
{
    return g->masks + (size_t)slot * g->words;
}

/* The slot that was not used for longest, or nearly so (the clock algorithm). */
static uint32_t free_slot(px_grammar *g)
{
    while (g->slots[g->hand].used) {
        g->slots[g->hand].used = false;
        g->hand = (g->hand + 1) % g->mask_count;
    }
    uint32_t slot = g->hand;
    g->hand = (g->hand + 1) % g->mask_count;
    return slot;
}

/* Whether room was made: configurations have other ids now, and the masks are forgotten. */
static bool tidy(px_grammar *g)
{
    bool moved = px_automaton_tidy(g->automaton);
    if (moved) memset(g->slots, 0, g->mask_count * sizeof *g->slots);
    return moved;
}

/* NULL: it leads to more than there is room for. */
static const uint32_t *make_mask(px_grammar *g, uint32_t config)
{
    uint32_t slot = free_slot(g);
    g->slots[slot] = (mask_slot){.config = config, .used = true};
    fill_mask(g, config, mask_at(g, slot));
    if (!px_automaton_overflowed(g->automaton)) return mask_at(g, slot);
    g->slots[slot].config = PX_CONFIG_DEAD;
    return NULL;
}

uint32_t px_guide_mask_words(const px_guide *guide, uint32_t vocabulary)
{
    uint32_t words = (vocabulary + 31) / 32;
    return words < guide->grammar->words ? words : guide->grammar->words;
}

const uint32_t *px_guide_mask(px_guide *guide)
{
    px_grammar *g = guide->grammar;
    tidy(g);
    if (guide->at.config == PX_CONFIG_DEAD) return NULL;
    for (uint32_t i = 0; i < g->mask_count; i++)
        if (g->slots[i].config == guide->at.config) {
            g->slots[i].used = true;
            return mask_at(g, i);
        }
    const uint32_t *mask = make_mask(g, guide->at.config);
    /* Others may have taken the room: it is had back once. */
    return mask || !tidy(g) ? mask : make_mask(g, guide->at.config);
}

bool px_guide_accept(px_guide *guide, uint32_t token)
{
    px_grammar *g = guide->grammar;
    if (token >= g->vocabulary->size) return false;
    px_slice bytes = px_vocabulary_bytes(g->vocabulary, token);
    tidy(g);
    uint32_t config = bytes.length ? guide->at.config : PX_CONFIG_DEAD;
    for (size_t i = 0; i < bytes.length && config != PX_CONFIG_DEAD; i++)
        config = px_automaton_step(g->automaton, config, (uint8_t)bytes.data[i]);
    if (config == PX_CONFIG_DEAD) return false;
    guide->at.config = config;
    return true;
}

bool px_guide_may_end(const px_guide *guide)
{
    return px_automaton_accepts(guide->grammar->automaton, guide->at.config);
}

/* How many bytes may come next, and one of them. */
static unsigned count_next(const px_automaton *automaton, uint32_t config, uint8_t *out_byte)
{
    px_byte_set next = px_automaton_next(automaton, config);
    unsigned count = 0;
    *out_byte = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (next.bits[i]) *out_byte = (uint8_t)(i * 64 + (unsigned)__builtin_ctzll(next.bits[i]));
        count += (unsigned)__builtin_popcountll(next.bits[i]);
    }
    return count;
}

bool px_guide_must_end(const px_guide *guide)
{
    uint8_t byte;
    return count_next(guide->grammar->automaton, guide->at.config, &byte) == 0;
}

size_t px_guide_forced(px_guide *guide, char *out, size_t room, bool *out_ends)
{
    px_automaton *automaton = guide->grammar->automaton;
    tidy(guide->grammar);
    uint32_t config = guide->at.config;
    size_t length = 0;
    uint8_t byte;
    while (length < room && !px_automaton_accepts(automaton, config) &&
           count_next(automaton, config, &byte) == 1) {
        uint32_t next = px_automaton_step(automaton, config, byte);
        if (next == PX_CONFIG_DEAD) break; /* nested too deep to go on */
        out[length++] = (char)byte;
        config = next;
    }
    *out_ends = count_next(automaton, config, &byte) == 0;
    return length;
}
