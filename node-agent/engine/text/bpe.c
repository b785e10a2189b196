/* bpe.c - see bpe.h: rules for pairs, and the loop that applies them.
 *
 * A word becomes symbols (bytes or characters with their token ids), then neighbours join:
 *
 *   short words   arrays are scanned for the best rank again and again: n is small, all in L1
 *   long words    linked symbols and a heap of (rank, position): O(n log n) for hostile input
 *
 * SentencePiece vocabularies have no pre-tokenizer: the whole prompt is one word. Where no rule
 * joins across "x▁" for the byte x, the word can be cut before "▁" without changing the result,
 * which makes short, cacheable words of it (px_bpe_seal).
 */
#include "engine/text/bpe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/byte_level.h"
#include "engine/text/grow.h"
#include "engine/text/unicode.h"

enum {
    SHORT_SYMBOLS = 40,
    CACHE_ENTRIES = 1 << 14,
    CACHE_WORD_BYTES = 24,
    CACHE_IDS = 8,
};
#define RANK_NONE UINT32_MAX

struct px_bpe {
    const px_vocab *vocab;
    px_bpe_options options;
    char *prefix, *suffix;
    px_merges merges;
    uint32_t *ranks;        /* SentencePiece: [vocab->size] rank of a token; NULL: merges */
    uint32_t byte_ids[256]; /* byte_level: of the byte's character; else of <0x..> */
    bool has_all_bytes;
    bool cuts_words; /* words may be cut before "▁" unless merges.joins_mark[the byte before it] */
};

/* --- rules --- */

static px_status no_memory(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the tokenizer's merges");
}

static void find_byte_tokens(px_bpe *bpe)
{
    bpe->has_all_bytes = true;
    for (int b = 0; b < 256; b++) {
        char text[8];
        size_t length;
        if (bpe->options.byte_level)
            length = px_rune_encode(px_byte_level_rune((unsigned char)b), text);
        else
            length = (size_t)snprintf(text, sizeof text, "<0x%02X>", b);
        bpe->byte_ids[b] = px_vocab_find(bpe->vocab, text, length);
        if (bpe->byte_ids[b] == PX_NO_TOKEN) bpe->has_all_bytes = false;
    }
}

px_bpe *px_bpe_create(const px_vocab *vocab, const px_bpe_options *options, px_merges *merges)
{
    px_bpe *bpe = px_alloc(sizeof *bpe);
    bpe->vocab = vocab;
    bpe->options = *options;
    if (options->subword_prefix && *options->subword_prefix)
        bpe->prefix = px_strdup(options->subword_prefix);
    if (options->word_suffix && *options->word_suffix)
        bpe->suffix = px_strdup(options->word_suffix);
    find_byte_tokens(bpe);
    bpe->merges = *merges;
    *merges = (px_merges){0};
    return bpe;
}

void px_bpe_free(px_bpe *bpe)
{
    if (!bpe) return;
    free(bpe->prefix);
    free(bpe->suffix);
    px_merges_done(&bpe->merges);
    free(bpe->ranks);
    free(bpe);
}

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int best_first(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

px_status px_bpe_use_scores(px_bpe *bpe, const float *scores)
{
    uint32_t size = bpe->vocab->size;
    scored *order = malloc((size + 1) * sizeof *order);
    bpe->ranks = malloc((size + 1) * sizeof *bpe->ranks);
    if (!order || !bpe->ranks) {
        free(order);
        return no_memory();
    }
    bool sorted = true; /* most vocabularies are */
    for (uint32_t i = 0; i < size; i++) {
        float score = scores[i];
        order[i] = (scored){.score = score == score ? score : -INFINITY, .id = i};
        if (i > 0 && best_first(&order[i - 1], &order[i]) > 0) sorted = false;
    }
    if (!sorted) qsort(order, size, sizeof *order, best_first);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (i > 0 && order[i].score != order[i - 1].score) rank++;
        bpe->ranks[order[i].id] = rank;
    }
    free(order);
    return px_ok();
}

static const char mark[] = "\xe2\x96\x81"; /* ▁ */

static bool starts_with_mark(px_slice text)
{
    return text.length >= 3 && memcmp(text.data, mark, 3) == 0;
}

/* A token with "▁" inside tells which byte may stand before one: any two neighbours may join. */
static void find_joins_by_score(px_bpe *bpe)
{
    for (uint32_t id = 0; id < bpe->vocab->size; id++) {
        px_slice token = px_vocab_text(bpe->vocab, id);
        for (size_t i = 1; i + 3 <= token.length; i++)
            if (memcmp(token.data + i, mark, 3) == 0)
                bpe->merges.joins_mark[(unsigned char)token.data[i - 1]] = true;
    }
}

void px_bpe_seal(px_bpe *bpe)
{
    /* Cutting must not part what else joins: unknown characters that fuse, those on both sides of
     * one that vanishes, prefixes, suffixes. */
    const px_bpe_options *o = &bpe->options;
    bool has_bytes = o->byte_fallback && bpe->has_all_bytes;
    bool fuses = o->fuse_unknown && o->unknown_id != PX_NO_TOKEN && !has_bytes;
    bool vanishes = o->drop_unknown && !o->join_unknown && !has_bytes;
    if (bpe->prefix || bpe->suffix || o->byte_level || o->ignore_merges || fuses || vanishes)
        return;
    if (px_vocab_find(bpe->vocab, mark, 3) == PX_NO_TOKEN) return;
    bpe->cuts_words = true;
    if (bpe->ranks) find_joins_by_score(bpe);
}

/* --- work space --- */

typedef struct symbol {
    uint32_t id;         /* PX_NO_TOKEN: a character without a token */
    uint32_t start;      /* in the word; a symbol ends where the next begins */
    uint32_t next, prev; /* long words only */
} symbol;

typedef struct symbol_list {
    symbol *data;
    size_t count, capacity;
} symbol_list;

typedef struct heap_list { /* rank << 32 | position, the least on top */
    uint64_t *data;
    size_t count, capacity;
} heap_list;

typedef struct cached_word {             /* length 0: free */
    uint64_t text[CACHE_WORD_BYTES / 8]; /* padded with zeros */
    uint16_t length, count;
    uint32_t ids[CACHE_IDS];
} cached_word;

struct px_bpe_work {
    symbol_list symbols;
    heap_list heap;
    px_buf text; /* a character with its prefix and suffix */
    cached_word *cache;
};

px_status px_bpe_work_create(px_bpe_work **out)
{
    px_bpe_work *work = px_alloc(sizeof *work);
    px_buf_init(&work->text, 1 << 20);
    work->cache = calloc(CACHE_ENTRIES, sizeof *work->cache);
    if (!work->cache) {
        px_bpe_work_free(work);
        return no_memory();
    }
    *out = work;
    return px_ok();
}

void px_bpe_work_free(px_bpe_work *work)
{
    if (!work) return;
    free(work->symbols.data);
    free(work->heap.data);
    px_buf_done(&work->text);
    free(work->cache);
    free(work);
}

static px_status push_id(px_ids *ids, uint32_t id)
{
    if (ids->count == ids->capacity) PX_TRY(PX_GROW(ids, ids->count + 1));
    ids->data[ids->count++] = id;
    return px_ok();
}

static px_status push_symbol(px_bpe_work *work, uint32_t id, size_t start)
{
    symbol_list *list = &work->symbols;
    if (list->count == list->capacity) PX_TRY(PX_GROW(list, list->count + 1));
    list->data[list->count++] = (symbol){.id = id, .start = (uint32_t)start};
    return px_ok();
}

/* --- a word to symbols --- */

/* The character at `at` as the vocabulary writes it: with the prefix of what is not the first of a
 * word, the suffix of the last. Borrowed from the word or the work space. */
static px_slice character(
    const px_bpe *bpe, px_bpe_work *work, px_slice word, size_t at, size_t bytes)
{
    bool with_prefix = bpe->prefix && at > 0;
    bool with_suffix = bpe->suffix && at + bytes == word.length;
    if (!with_prefix && !with_suffix) return (px_slice){word.data + at, bytes};
    px_buf_reset(&work->text);
    if (with_prefix) px_buf_puts(&work->text, bpe->prefix);
    px_buf_append(&work->text, word.data + at, bytes);
    if (with_suffix) px_buf_puts(&work->text, bpe->suffix);
    return (px_slice){px_buf_text(&work->text), work->text.length};
}

static bool has_bytes(const px_bpe *bpe, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bpe->byte_ids[(unsigned char)text[i]] == PX_NO_TOKEN) return false;
    return true;
}

/* The token of a character is unknown: its bytes, with prefix and suffix, if they have tokens. */
static px_status push_bytes(
    const px_bpe *bpe, px_bpe_work *work, px_slice text, size_t start, bool *out_done)
{
    *out_done = bpe->options.byte_fallback && has_bytes(bpe, text.data, text.length);
    if (!*out_done) return px_ok();
    for (size_t i = 0; i < text.length; i++)
        PX_TRY(push_symbol(work, bpe->byte_ids[(unsigned char)text.data[i]], start));
    return px_ok();
}

/* As in the reference, an unknown character waits until it is known whether the next one fuses
 * with it; the bytes of others overtake it. */
static px_status split_characters(const px_bpe *bpe, px_bpe_work *work, px_slice word)
{
    const px_bpe_options *o = &bpe->options;
    size_t waiting = SIZE_MAX; /* where the unknown character that waits stands */
    for (size_t at = 0, bytes; at < word.length; at += bytes) {
        bytes = px_rune_bytes(word.data[at]);
        px_slice text = character(bpe, work, word, at, bytes);
        uint32_t id = px_vocab_find(bpe->vocab, text.data, text.length);
        if (id == PX_NO_TOKEN && !o->join_unknown) {
            bool done;
            PX_TRY(push_bytes(bpe, work, text, at, &done));
            if (done || o->drop_unknown) continue;
            if (o->unknown_id == PX_NO_TOKEN) return px_vocab_unknown(text);
            if (waiting != SIZE_MAX && o->fuse_unknown) continue;
        }
        if (waiting != SIZE_MAX) PX_TRY(push_symbol(work, o->unknown_id, waiting));
        waiting = SIZE_MAX;
        if (id != PX_NO_TOKEN || o->join_unknown)
            PX_TRY(push_symbol(work, id, at));
        else
            waiting = at;
    }
    return waiting == SIZE_MAX ? px_ok() : push_symbol(work, o->unknown_id, waiting);
}

static px_status split_bytes(const px_bpe *bpe, px_bpe_work *work, px_slice word)
{
    PX_TRY(PX_GROW(&work->symbols, word.length));
    for (size_t at = 0; at < word.length; at++) {
        uint32_t id = bpe->byte_ids[(unsigned char)word.data[at]];
        if (id != PX_NO_TOKEN) PX_TRY(push_symbol(work, id, at));
    }
    return px_ok();
}

/* --- joining --- */

typedef struct rule {
    uint32_t rank, id; /* rank RANK_NONE: the two do not join */
} rule;

/* `end` is where the right symbol ends. */
static rule rule_of(
    const px_bpe *bpe, px_slice word, const symbol *left, const symbol *right, size_t end)
{
    if (!bpe->ranks) {
        const px_merge *m = px_merges_find(&bpe->merges, left->id, right->id);
        return m ? (rule){m->rank, m->id} : (rule){RANK_NONE, 0};
    }
    uint32_t id = px_vocab_find(bpe->vocab, word.data + left->start, end - left->start);
    return id == PX_NO_TOKEN ? (rule){RANK_NONE, 0} : (rule){bpe->ranks[id], id};
}

/* Joins all it can in symbols[0..count), ascending; returns the new count. */
static size_t join_short(const px_bpe *bpe, px_slice word, symbol *symbols, size_t count)
{
    rule rules[SHORT_SYMBOLS];
    symbols[count].start = (uint32_t)word.length; /* the end of the last one */
    for (size_t i = 0; i + 1 < count; i++)
        rules[i] = rule_of(bpe, word, &symbols[i], &symbols[i + 1], symbols[i + 2].start);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (rules[i].rank < rules[best].rank) best = i;
        if (rules[best].rank == RANK_NONE) break;
        symbols[best].id = rules[best].id;
        memmove(&symbols[best + 1], &symbols[best + 2], (count - best - 1) * sizeof *symbols);
        memmove(&rules[best], &rules[best + 1], (count - best - 2) * sizeof *rules);
        count--;
        if (best > 0)
            rules[best - 1] =
                rule_of(bpe, word, &symbols[best - 1], &symbols[best], symbols[best + 1].start);
        if (best + 1 < count)
            rules[best] =
                rule_of(bpe, word, &symbols[best], &symbols[best + 1], symbols[best + 2].start);
    }
    return count;
}

static void sift_down(heap_list *heap, size_t at)
{
    uint64_t item = heap->data[at];
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap->data[child + 1] < heap->data[child]) child++;
        if (item <= heap->data[child]) break;
        heap->data[at] = heap->data[child];
    }
    heap->data[at] = item;
}

static px_status heap_push(heap_list *heap, uint64_t item)
{
    if (heap->count == heap->capacity) PX_TRY(PX_GROW(heap, heap->count + 1));
    size_t at = heap->count++;
    for (; at > 0 && heap->data[(at - 1) / 2] > item; at = (at - 1) / 2)
        heap->data[at] = heap->data[(at - 1) / 2];
    heap->data[at] = item;
    return px_ok();
}

static uint64_t heap_pop(heap_list *heap)
{
    uint64_t top = heap->data[0];
    heap->data[0] = heap->data[--heap->count];
    if (heap->count) sift_down(heap, 0);
    return top;
}

/* Index `count` stands for the end: symbols[count].start is the word's length. */
static rule rule_at(
    const px_bpe *bpe, px_slice word, const symbol *symbols, uint32_t at, uint32_t count)
{
    uint32_t right = symbols[at].next;
    if (right == count) return (rule){RANK_NONE, 0};
    return rule_of(bpe, word, &symbols[at], &symbols[right], symbols[symbols[right].next].start);
}

static px_status join_long(const px_bpe *bpe, px_bpe_work *work, px_slice word)
{
    symbol *symbols = work->symbols.data;
    uint32_t count = (uint32_t)work->symbols.count;
    heap_list *heap = &work->heap;
    heap->count = 0;
    PX_TRY(PX_GROW(heap, count));
    symbols[count].start = (uint32_t)word.length;
    for (uint32_t i = 0; i < count; i++) {
        symbols[i].next = i + 1;
        symbols[i].prev = i - 1;
    }
    symbols[count].prev = count - 1;
    for (uint32_t i = 0; i < count; i++) {
        rule r = rule_at(bpe, word, symbols, i, count);
        if (r.rank != RANK_NONE) heap->data[heap->count++] = (uint64_t)r.rank << 32 | i;
    }
    for (size_t i = heap->count / 2; i-- > 0;) sift_down(heap, i);
    while (heap->count) {
        uint64_t top = heap_pop(heap);
        uint32_t at = (uint32_t)top;
        if (symbols[at].next == at) continue; /* joined to its left meanwhile */
        rule r = rule_at(bpe, word, symbols, at, count);
        if (r.rank != (uint32_t)(top >> 32)) continue; /* its neighbour changed meanwhile */
        uint32_t gone = symbols[at].next;
        symbols[at].id = r.id;
        symbols[at].next = symbols[gone].next;
        symbols[symbols[gone].next].prev = at;
        symbols[gone].next = gone;
        r = rule_at(bpe, word, symbols, at, count);
        if (r.rank != RANK_NONE) PX_TRY(heap_push(heap, (uint64_t)r.rank << 32 | at));
        if (at == 0) continue;
        uint32_t before = symbols[at].prev;
        r = rule_at(bpe, word, symbols, before, count);
        if (r.rank != RANK_NONE) PX_TRY(heap_push(heap, (uint64_t)r.rank << 32 | before));
    }
    size_t kept = 0;
    for (uint32_t i = 0, next; i < count; i = next) {
        next = symbols[i].next;
        symbols[kept++] = symbols[i];
    }
    symbols[kept].start = (uint32_t)word.length;
    work->symbols.count = kept;
    return px_ok();
}

/* --- symbols to ids --- */

static px_status push_unjoined(const px_bpe *bpe, const char *text, size_t length, px_ids *ids)
{
    if (bpe->options.byte_fallback && has_bytes(bpe, text, length)) {
        for (size_t i = 0; i < length; i++)
            PX_TRY(push_id(ids, bpe->byte_ids[(unsigned char)text[i]]));
        return px_ok();
    }
    if (bpe->options.unknown_id != PX_NO_TOKEN) return push_id(ids, bpe->options.unknown_id);
    return bpe->options.drop_unknown ? px_ok() : px_vocab_unknown((px_slice){text, length});
}

static px_status encode_word(const px_bpe *bpe, px_bpe_work *work, px_slice word, px_ids *ids)
{
    symbol_list *list = &work->symbols;
    list->count = 0;
    if (bpe->options.byte_level)
        PX_TRY(split_bytes(bpe, work, word));
    else
        PX_TRY(split_characters(bpe, work, word));
    PX_TRY(PX_GROW(list, list->count + 1)); /* one more for the end */
    if (list->count <= SHORT_SYMBOLS)
        list->count = join_short(bpe, word, list->data, list->count);
    else
        PX_TRY(join_long(bpe, work, word));
    for (size_t i = 0; i < list->count; i++) {
        const symbol *s = &list->data[i];
        if (s->id != PX_NO_TOKEN)
            PX_TRY(push_id(ids, s->id));
        else
            PX_TRY(push_unjoined(bpe, word.data + s->start, s[1].start - s->start, ids));
    }
    return px_ok();
}

static uint32_t find_whole(const px_bpe *bpe, px_bpe_work *work, px_slice word)
{
    if (!bpe->options.byte_level) return px_vocab_find(bpe->vocab, word.data, word.length);
    px_buf_reset(&work->text);
    px_byte_level_write(word.data, word.length, &work->text);
    if (work->text.overflowed) return PX_NO_TOKEN;
    return px_vocab_find(bpe->vocab, px_buf_text(&work->text), work->text.length);
}

static px_status encode_uncached(const px_bpe *bpe, px_bpe_work *work, px_slice word, px_ids *ids)
{
    if (bpe->options.ignore_merges) {
        uint32_t id = find_whole(bpe, work, word);
        if (id != PX_NO_TOKEN) return push_id(ids, id);
    }
    return encode_word(bpe, work, word, ids);
}

/* The word's bytes in whole machine words, zeros behind; the slack after it is masked off. */
static void load_word(px_slice word, uint64_t out[CACHE_WORD_BYTES / 8])
{
    memcpy(out, word.data, CACHE_WORD_BYTES);
    size_t whole = word.length / 8;
    if (whole < CACHE_WORD_BYTES / 8) {
        out[whole] &= (UINT64_C(1) << word.length % 8 * 8) - 1;
        for (size_t i = whole + 1; i < CACHE_WORD_BYTES / 8; i++) out[i] = 0;
    }
}

static cached_word *cache_slot(px_bpe_work *work, const uint64_t text[CACHE_WORD_BYTES / 8])
{
    uint64_t hash = text[0] * 0x9e3779b97f4a7c15u;
    hash = (hash ^ text[1] ^ hash >> 29) * 0xa0761d6478bd642fu;
    hash = (hash ^ text[2] ^ hash >> 31) * 0xe7037ed1a0b428dbu;
    return &work->cache[hash >> 40 & (CACHE_ENTRIES - 1)];
}

static px_status encode_cached(const px_bpe *bpe, px_bpe_work *work, px_slice word, px_ids *ids)
{
    if (word.length > CACHE_WORD_BYTES) return encode_uncached(bpe, work, word, ids);
    uint64_t text[CACHE_WORD_BYTES / 8];
    load_word(word, text);
    cached_word *slot = cache_slot(work, text);
    if (slot->length == word.length && memcmp(slot->text, text, sizeof text) == 0) {
        if (ids->capacity - ids->count < CACHE_IDS) PX_TRY(PX_GROW(ids, ids->count + CACHE_IDS));
        memcpy(ids->data + ids->count, slot->ids, sizeof slot->ids);
        ids->count += slot->count;
        return px_ok();
    }
    size_t before = ids->count;
    PX_TRY(encode_uncached(bpe, work, word, ids));
    size_t count = ids->count - before;
    if (count > CACHE_IDS) return px_ok();
    memcpy(slot->text, text, sizeof text);
    if (count) memcpy(slot->ids, ids->data + before, count * sizeof *slot->ids);
    slot->length = (uint16_t)word.length;
    slot->count = (uint16_t)count;
    return px_ok();
}

px_status px_bpe_encode(const px_bpe *bpe, px_bpe_work *work, px_slice word, px_ids *ids)
{
    if (!bpe->cuts_words) return encode_cached(bpe, work, word, ids);
    size_t start = 0;
    for (size_t at = 1; at + 3 <= word.length; at++) {
        const char *found = memchr(word.data + at, mark[0], word.length - at);
        if (!found) break;
        at = (size_t)(found - word.data);
        if (!starts_with_mark((px_slice){found, word.length - at}) ||
            bpe->merges.joins_mark[(unsigned char)found[-1]])
            continue;
        PX_TRY(encode_cached(bpe, work, (px_slice){word.data + start, at - start}, ids));
        start = at;
    }
    return encode_cached(bpe, work, (px_slice){word.data + start, word.length - start}, ids);
}
