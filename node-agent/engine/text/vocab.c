/* vocab.c - see vocab.h. */
#include "engine/text/vocab.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 1 << 30, SLOTS_MIN = 64 };

/* Eight bytes a step, multiply and fold (the mixing of wyhash, public domain). */
static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_of(const char *text, size_t length)
{
    uint64_t hash = 0x9e3779b97f4a7c15u ^ length;
    for (; length >= 8; text += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        hash = mix(hash ^ word, 0xa0761d6478bd642fu);
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < length; i++) rest |= (uint64_t)(unsigned char)text[i] << 8 * i;
    return (uint32_t)mix(hash ^ rest, 0xe7037ed1a0b428dbu);
}

static px_status no_memory(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
}

static void insert(px_vocab *vocab, uint32_t hash, uint32_t id)
{
    uint32_t at = hash & vocab->mask;
    while (vocab->slots[at]) at = (at + 1) & vocab->mask;
    vocab->slots[at] = (uint64_t)hash << 32 | (id + 1);
}

static px_status resize_slots(px_vocab *vocab, uint32_t count)
{
    uint64_t *old = vocab->slots;
    uint32_t old_count = old ? vocab->mask + 1 : 0;
    vocab->slots = calloc(count, sizeof *vocab->slots);
    if (!vocab->slots) {
        vocab->slots = old;
        return no_memory();
    }
    vocab->mask = count - 1;
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i]) insert(vocab, (uint32_t)(old[i] >> 32), (uint32_t)old[i] - 1);
    free(old);
    return px_ok();
}

static px_status reserve_ids(px_vocab *vocab, uint32_t size)
{
    if (size <= vocab->capacity) return px_ok();
    uint32_t capacity = vocab->capacity ? vocab->capacity : 1024;
    while (capacity < size) capacity *= 2;
    px_vocab_token *grown = realloc(vocab->tokens, capacity * sizeof *grown);
    if (!grown) return no_memory();
    vocab->tokens = grown;
    if (vocab->names) {
        grown = realloc(vocab->names, capacity * sizeof *grown);
        if (!grown) return no_memory();
        vocab->names = grown;
    }
    vocab->capacity = capacity;
    return px_ok();
}

px_status px_vocab_init(px_vocab *vocab, size_t count, size_t bytes)
{
    *vocab = (px_vocab){0};
    px_buf_init(&vocab->bytes, BYTES_MAX);
    if (bytes > 0 && bytes < BYTES_MAX) {
        vocab->bytes.data = malloc(bytes + 1);
        if (!vocab->bytes.data) return no_memory();
        vocab->bytes.capacity = bytes + 1;
    }
    if (count > PX_VOCAB_MAX) count = PX_VOCAB_MAX;
    uint32_t slots = SLOTS_MIN;
    while (slots < 2 * count) slots *= 2;
    PX_TRY(resize_slots(vocab, slots));
    return reserve_ids(vocab, (uint32_t)count);
}

void px_vocab_done(px_vocab *vocab)
{
    px_buf_done(&vocab->bytes);
    free(vocab->tokens);
    free(vocab->names);
    free(vocab->slots);
    *vocab = (px_vocab){0};
}

/* Room for `id`, and its text behind all others. */
static px_status store(px_vocab *vocab, px_slice token, uint32_t id, px_vocab_token *out)
{
    if (id >= PX_VOCAB_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the vocabulary has the id %u, beyond the bound of %d",
            (unsigned)id, PX_VOCAB_MAX - 1);
    PX_TRY(reserve_ids(vocab, id + 1));
    for (; vocab->size <= id; vocab->size++) {
        vocab->tokens[vocab->size] = (px_vocab_token){.start = UINT32_MAX};
        if (vocab->names) vocab->names[vocab->size] = (px_vocab_token){.start = UINT32_MAX};
    }
    *out = (px_vocab_token){(uint32_t)vocab->bytes.length, (uint32_t)token.length};
    px_buf_append(&vocab->bytes, token.data, token.length);
    return vocab->bytes.overflowed ? no_memory() : px_ok();
}

px_status px_vocab_name(px_vocab *vocab, px_slice token, uint32_t id)
{
    if (!vocab->names) {
        vocab->names = malloc(vocab->capacity * sizeof *vocab->names);
        if (!vocab->names) return no_memory();
        memset(vocab->names, 0xff, vocab->size * sizeof *vocab->names);
    }
    px_vocab_token name;
    PX_TRY(store(vocab, token, id, &name));
    vocab->names[id] = name;
    return px_ok();
}

/* The slot that holds this text, or the free one where it belongs. */
static uint64_t *find_slot(const px_vocab *vocab, const char *token, size_t length, uint32_t hash)
{
    uint32_t at = hash & vocab->mask;
    for (; vocab->slots[at]; at = (at + 1) & vocab->mask) {
        if ((uint32_t)(vocab->slots[at] >> 32) != hash) continue;
        px_vocab_token t = vocab->tokens[(uint32_t)vocab->slots[at] - 1];
        if (t.length == length && memcmp(vocab->bytes.data + t.start, token, length) == 0) break;
    }
    return &vocab->slots[at];
}

px_status px_vocab_add(px_vocab *vocab, px_slice token, uint32_t id)
{
    px_vocab_token stored;
    PX_TRY(store(vocab, token, id, &stored));
    vocab->tokens[id] = stored;
    if ((uint64_t)(vocab->used + 1) * 2 > vocab->mask)
        PX_TRY(resize_slots(vocab, (vocab->mask + 1) * 2));
    uint32_t hash = hash_of(token.data, token.length);
    uint64_t *slot = find_slot(vocab, token.data, token.length, hash);
    vocab->used += *slot == 0;
    *slot = (uint64_t)hash << 32 | (id + 1);
    return px_ok();
}

uint32_t px_vocab_find(const px_vocab *vocab, const char *token, size_t length)
{
    uint64_t slot = *find_slot(vocab, token, length, hash_of(token, length));
    return slot ? (uint32_t)slot - 1 : PX_NO_TOKEN;
}

/* Each round touches one kind of memory - slots, tokens, texts - after asking for all of it. */
void px_vocab_find_many(const px_vocab *vocab, px_vocab_query *queries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        px_vocab_query *q = &queries[i];
        q->hash = hash_of(q->text, q->length);
        __builtin_prefetch(&vocab->slots[q->hash & vocab->mask]);
    }
    for (size_t i = 0; i < count; i++) { /* the first slot with this hash: mostly the right one */
        px_vocab_query *q = &queries[i];
        q->slot = q->hash & vocab->mask;
        while (vocab->slots[q->slot] && (uint32_t)(vocab->slots[q->slot] >> 32) != q->hash)
            q->slot = (q->slot + 1) & vocab->mask;
        if (vocab->slots[q->slot])
            __builtin_prefetch(&vocab->tokens[(uint32_t)vocab->slots[q->slot] - 1]);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t slot = vocab->slots[queries[i].slot];
        if (slot) __builtin_prefetch(vocab->bytes.data + vocab->tokens[(uint32_t)slot - 1].start);
    }
    for (size_t i = 0; i < count; i++) {
        px_vocab_query *q = &queries[i];
        uint64_t slot = vocab->slots[q->slot];
        if (slot) slot = *find_slot(vocab, q->text, q->length, q->hash);
        q->id = slot ? (uint32_t)slot - 1 : PX_NO_TOKEN;
    }
}

px_status px_vocab_unknown(px_slice text)
{
    return px_fail(PX_INVALID_ARGUMENT,
        "the vocabulary has no token for '%.*s' and none for unknown text",
        text.length > 40 ? 40 : (int)text.length, text.data);
}

px_slice px_vocab_text(const px_vocab *vocab, uint32_t id)
{
    if (id >= vocab->size) return (px_slice){0};
    px_vocab_token token = vocab->tokens[id];
    if (vocab->names && vocab->names[id].start != UINT32_MAX) token = vocab->names[id];
    if (token.start == UINT32_MAX) return (px_slice){0};
    return (px_slice){.data = vocab->bytes.data + token.start, .length = token.length};
}
