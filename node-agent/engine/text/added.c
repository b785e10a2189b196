/* added.c - see added.h. */
#include "engine/text/added.h"

#include <stdlib.h>

#include "engine/text/grow.h"
#include "engine/text/unicode.h"

px_status px_added_init(px_added *added)
{
    *added = (px_added){0};
    PX_TRY(px_trie_init(&added->raw));
    return px_trie_init(&added->normalized);
}

void px_added_done(px_added *added)
{
    free(added->tokens);
    px_trie_done(&added->raw);
    px_trie_done(&added->normalized);
    added->tokens = NULL;
}

static px_status grow_tokens(px_added *added)
{
    struct {
        px_added_token *data;
        size_t capacity;
    } list = {added->tokens, added->capacity};
    PX_TRY(PX_GROW(&list, added->count + 1));
    added->tokens = list.data;
    added->capacity = list.capacity;
    return px_ok();
}

px_status px_added_add(px_added *added, px_slice pattern, const px_added_token *token)
{
    if (pattern.length == 0) return px_ok();
    PX_TRY(grow_tokens(added));
    uint32_t index = (uint32_t)added->count++;
    added->tokens[index] = *token;
    px_trie *trie = token->normalized ? &added->normalized : &added->raw;
    return px_trie_add(trie, pattern.data, pattern.length, index);
}

/* The longest entry at text[at..), as an index, or PX_TRIE_NONE. */
static uint32_t longest(const px_trie *trie, px_slice text, size_t at, size_t *end)
{
    uint32_t best = PX_TRIE_NONE, node = 0;
    while (at < text.length) {
        node = px_trie_step(trie, node, (unsigned char)text.data[at++]);
        if (!node) break;
        if (trie->values[node] != PX_TRIE_NONE) {
            best = trie->values[node];
            *end = at;
        }
    }
    return best;
}

/* Where the character before text[at] begins; at > 0. */
static size_t previous(px_slice text, size_t at)
{
    do {
        at--;
    } while (at > 0 && ((unsigned char)text.data[at] & 0xc0) == 0x80);
    return at;
}

static bool stands_alone(px_slice text, size_t start, size_t end)
{
    uint32_t rune;
    if (start > 0) {
        px_rune_decode(text.data + previous(text, start), &rune);
        if (px_rune_is_word(rune)) return false;
    }
    if (end < text.length) {
        px_rune_decode(text.data + end, &rune);
        if (px_rune_is_word(rune)) return false;
    }
    return true;
}

static void strip(px_slice text, size_t taken, px_added_match *match)
{
    uint32_t rune;
    if (match->token->strip_left && match->start < taken) match->start = taken;
    while (match->token->strip_left && match->start > taken) {
        size_t before = previous(text, match->start);
        px_rune_decode(text.data + before, &rune);
        if (!px_rune_is_space(rune)) break;
        match->start = before;
    }
    while (match->token->strip_right && match->end < text.length) {
        size_t bytes = px_rune_decode(text.data + match->end, &rune);
        if (!px_rune_is_space(rune)) break;
        match->end += bytes;
    }
}

bool px_added_next(const px_added *added, const px_trie *trie, px_slice text, bool find_special,
    px_added_scan *scan, px_added_match *out)
{
    for (size_t at = scan->search; at < text.length;) {
        if (!trie->root[(unsigned char)text.data[at]]) {
            at++;
            continue;
        }
        size_t end = at;
        uint32_t index = longest(trie, text, at, &end);
        if (index == PX_TRIE_NONE) {
            at++;
            continue;
        }
        const px_added_token *token = &added->tokens[index];
        bool taken = (find_special || !token->special) &&
                     (!token->single_word || stands_alone(text, at, end));
        if (taken) {
            *out = (px_added_match){.start = at, .end = end, .token = token};
            strip(text, scan->taken, out);
            *scan = (px_added_scan){.search = end, .taken = out->end};
            /* All of it may be white space that the last match took. */
            if (out->start < out->end) return true;
        }
        at = end; /* a match that does not count still hides what it covers */
    }
    return false;
}
