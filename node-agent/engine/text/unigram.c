/* unigram.c - see unigram.h. */
#include "engine/text/unigram.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/grow.h"
#include "engine/text/trie.h"
#include "engine/text/unicode.h"

static const double UNKNOWN_PENALTY = 10.0;

struct px_unigram {
    const px_vocab *vocab;
    px_trie trie; /* of all tokens */
    double *scores;
    double unknown_score;
    uint32_t unknown_id;
    bool byte_fallback;
    uint32_t byte_ids[256];
};

/* The best path to a place of the text: its last token and where that began. */
typedef struct path {
    double score;
    uint32_t start, id;
    bool reached;
} path;

typedef struct path_list {
    path *data;
    size_t count, capacity;
} path_list;

struct px_unigram_work {
    path_list paths; /* [length + 1] */
};

px_status px_unigram_create(const px_vocab *vocab, const double *scores, uint32_t unknown_id,
    bool byte_fallback, px_unigram **out)
{
    px_unigram *unigram = px_alloc(sizeof *unigram);
    unigram->vocab = vocab;
    unigram->unknown_id = unknown_id;
    unigram->byte_fallback = byte_fallback;
    unigram->scores = px_alloc_array(vocab->size + 1, sizeof *unigram->scores);
    px_status status = px_trie_init(&unigram->trie);
    double least = INFINITY;
    for (uint32_t id = 0; px_is_ok(status) && id < vocab->size; id++) {
        px_slice token = px_vocab_text(vocab, id);
        if (!token.data) continue;
        unigram->scores[id] = scores[id];
        if (scores[id] < least) least = scores[id];
        if (token.length == 0) continue;
        status = px_trie_add(&unigram->trie, token.data, token.length, id);
    }
    if (!px_is_ok(status)) {
        px_unigram_free(unigram);
        return status;
    }
    unigram->unknown_score = least - UNKNOWN_PENALTY;
    for (int b = 0; b < 256; b++) {
        char text[8];
        int length = snprintf(text, sizeof text, "<0x%02X>", b);
        unigram->byte_ids[b] = px_vocab_find(vocab, text, (size_t)length);
    }
    *out = unigram;
    return px_ok();
}

void px_unigram_free(px_unigram *unigram)
{
    if (!unigram) return;
    px_trie_done(&unigram->trie);
    free(unigram->scores);
    free(unigram);
}

px_unigram_work *px_unigram_work_create(void)
{
    return px_alloc(sizeof(px_unigram_work));
}

void px_unigram_work_free(px_unigram_work *work)
{
    if (!work) return;
    free(work->paths.data);
    free(work);
}

static void reach(path *to, double score, size_t start, uint32_t id)
{
    if (to->reached && score <= to->score) return;
    *to = (path){.score = score, .start = (uint32_t)start, .id = id, .reached = true};
}

static px_status walk_paths(const px_unigram *unigram, px_slice text, path *paths)
{
    for (size_t at = 0; at < text.length;) {
        size_t one = px_rune_bytes(text.data[at]);
        double here = paths[at].score;
        bool covers_one = false;
        uint32_t node = 0;
        for (size_t end = at; end < text.length;) {
            node = px_trie_step(&unigram->trie, node, (unsigned char)text.data[end++]);
            if (!node) break;
            uint32_t id = unigram->trie.values[node];
            if (id == PX_TRIE_NONE) continue;
            reach(&paths[end], here + unigram->scores[id], at, id);
            if (end - at == one) covers_one = true;
        }
        if (!covers_one) {
            path *next = &paths[at + one];
            reach(next, here + unigram->unknown_score, at, unigram->unknown_id);
            if (next->id == PX_NO_TOKEN) return px_vocab_unknown((px_slice){text.data + at, one});
        }
        at += one;
    }
    return px_ok();
}

static px_status push(px_ids *ids, uint32_t id)
{
    PX_TRY(PX_GROW(ids, ids->count + 1));
    ids->data[ids->count++] = id;
    return px_ok();
}

/* A run of unknown text: by chance a token as a whole, else its bytes, else the unknown token. */
static px_status push_unknown(const px_unigram *unigram, px_slice text, px_ids *ids)
{
    uint32_t whole = px_vocab_find(unigram->vocab, text.data, text.length);
    if (whole != PX_NO_TOKEN) return push(ids, whole);
    bool has_bytes = unigram->byte_fallback;
    for (size_t i = 0; has_bytes && i < text.length; i++)
        has_bytes = unigram->byte_ids[(unsigned char)text.data[i]] != PX_NO_TOKEN;
    if (!has_bytes) return push(ids, unigram->unknown_id);
    for (size_t i = 0; i < text.length; i++)
        PX_TRY(push(ids, unigram->byte_ids[(unsigned char)text.data[i]]));
    return px_ok();
}

/* The path comes out from its end; following `start` back and turning it round in place makes
 * each path[start].id the token that begins there, ending at path[start].start. */
static void turn_round(path *paths, size_t length)
{
    size_t end = length;
    path step = paths[end];
    while (end > 0) {
        size_t start = step.start;
        path before = paths[start];
        paths[start] = (path){.start = (uint32_t)end, .id = step.id};
        end = start;
        step = before;
    }
}

px_status px_unigram_encode(
    const px_unigram *unigram, px_unigram_work *work, px_slice text, px_ids *ids)
{
    PX_TRY(PX_GROW(&work->paths, text.length + 1));
    path *paths = work->paths.data;
    memset(paths, 0, (text.length + 1) * sizeof *paths);
    PX_TRY(walk_paths(unigram, text, paths));
    turn_round(paths, text.length);
    for (size_t at = 0; at < text.length;) {
        size_t end = paths[at].start;
        if (paths[at].id != unigram->unknown_id) {
            PX_TRY(push(ids, paths[at].id));
        } else { /* the unknown token written out in the text is unknown text too */
            while (end < text.length && paths[end].id == unigram->unknown_id)
                end = paths[end].start;
            PX_TRY(push_unknown(unigram, (px_slice){text.data + at, end - at}, ids));
        }
        at = end;
    }
    return px_ok();
}
