/* vocab.c - see vocab.h. */
#include "engine/text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/grow.h"

enum { BYTES_MAX = 1 << 30, SLOTS_MIN = 64, HEAD_BYTES = 8, AHEAD = 16 };
enum { ID_BITS = 23, LENGTH_LONG = 511 /* the length stands before the text */ };

static px_status no_memory(void)
{
    return px_fail(PX_RESOURCE_EXHAUSTED, "no memory for the vocabulary");
}

/* --- keys --- */

static uint64_t load64(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t load32(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* The first eight bytes, zeros behind, without a loop: parts of a short text overlap. */
static uint64_t head_of(const char *text, size_t length)
{
    if (length >= 8) return load64(text);
    if (length >= 4) return load32(text) | load32(text + length - 4) << (length - 4) * 8;
    if (length == 0) return 0;
    const unsigned char *bytes = (const unsigned char *)text;
    return bytes[0] | (uint64_t)bytes[length / 2] << length / 2 * 8 |
           (uint64_t)bytes[length - 1] << (length - 1) * 8;
}

/* Eight bytes a step, multiply and fold (the mixing of wyhash, public domain). */
static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static px_vocab_key key_of(const char *text, size_t length)
{
    px_vocab_key key = {.text = text, .head = head_of(text, length), .length = (uint32_t)length};
    uint64_t hash = mix(key.head ^ 0x9e3779b97f4a7c15u, length ^ 0xa0761d6478bd642fu);
    for (size_t at = 8; at + 8 < length; at += 8)
        hash = mix(hash ^ load64(text + at), 0xa0761d6478bd642fu);
    if (length > 8) hash = mix(hash ^ load64(text + length - 8), 0xe7037ed1a0b428dbu);
    key.hash = (uint32_t)(hash ^ hash >> 32);
    return key;
}

/* --- slots --- */

static uint32_t id_of(const px_vocab_slot *slot)
{
    return (slot->id_and_length & ((1u << ID_BITS) - 1)) - 1;
}

static uint32_t pack(uint32_t id, uint32_t length)
{
    return (id + 1) | (length < LENGTH_LONG ? length : LENGTH_LONG) << ID_BITS;
}

static uint32_t length_of(const px_vocab *vocab, const px_vocab_slot *slot)
{
    uint32_t length = slot->id_and_length >> ID_BITS;
    return length < LENGTH_LONG ? length : (uint32_t)load32(vocab->bytes.data + slot->start - 4);
}

static bool holds(const px_vocab *vocab, const px_vocab_slot *slot, const px_vocab_key *key)
{
    if (slot->head != key->head || length_of(vocab, slot) != key->length) return false;
    return key->length <= HEAD_BYTES || memcmp(vocab->bytes.data + slot->start + HEAD_BYTES,
                                            key->text + HEAD_BYTES, key->length - HEAD_BYTES) == 0;
}

/* The slot that holds this text, or the free one where it belongs. */
static px_vocab_slot *find_slot(const px_vocab *vocab, const px_vocab_key *key)
{
    uint32_t at = key->hash & vocab->mask;
    while (vocab->slots[at].id_and_length && !holds(vocab, &vocab->slots[at], key))
        at = (at + 1) & vocab->mask;
    return &vocab->slots[at];
}

static size_t slots_bytes(const px_vocab *vocab)
{
    return ((size_t)vocab->mask + 1) * sizeof *vocab->slots;
}

static px_status resize_slots(px_vocab *vocab, uint32_t count)
{
    void *memory;
    PX_TRY(px_big_alloc(count * sizeof *vocab->slots, "the vocabulary", &memory));
    px_vocab old = *vocab;
    vocab->slots = memory;
    vocab->mask = count - 1;
    if (!old.slots) return px_ok();
    for (uint32_t i = 0; i <= old.mask; i++) {
        const px_vocab_slot *slot = &old.slots[i];
        if (!slot->id_and_length) continue;
        px_vocab_key key = key_of(vocab->bytes.data + slot->start, length_of(vocab, slot));
        *find_slot(vocab, &key) = *slot;
    }
    px_big_free(old.slots, slots_bytes(&old));
    return px_ok();
}

/* --- building --- */

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

px_status px_vocab_init(px_vocab *vocab)
{
    *vocab = (px_vocab){0};
    px_buf_init(&vocab->bytes, BYTES_MAX);
    return resize_slots(vocab, SLOTS_MIN);
}

void px_vocab_done(px_vocab *vocab)
{
    px_buf_done(&vocab->bytes);
    free(vocab->tokens);
    free(vocab->names);
    free(vocab->pending.data);
    px_big_free(vocab->slots, slots_bytes(vocab));
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
    uint32_t length = (uint32_t)token.length;
    if (length >= LENGTH_LONG) px_buf_append(&vocab->bytes, &length, sizeof length);
    *out = (px_vocab_token){(uint32_t)vocab->bytes.length, length};
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

px_status px_vocab_add(px_vocab *vocab, px_slice token, uint32_t id)
{
    px_vocab_token stored;
    PX_TRY(store(vocab, token, id, &stored));
    vocab->tokens[id] = stored;
    px_vocab_pending_list *list = &vocab->pending;
    PX_TRY(PX_GROW(list, list->count + 1));
    uint32_t hash = key_of(token.data, token.length).hash;
    list->data[list->count++] = (px_vocab_pending){stored, id, hash};
    return px_ok();
}

static void index_token(px_vocab *vocab, const px_vocab_pending *p)
{
    const char *text = vocab->bytes.data + p->text.start;
    px_vocab_key key = {.text = text,
        .head = head_of(text, p->text.length),
        .length = p->text.length,
        .hash = p->hash};
    px_vocab_slot *slot = find_slot(vocab, &key);
    vocab->used += slot->id_and_length == 0;
    if (slot->id_and_length && id_of(slot) != p->id) vocab->has_twins = true;
    *slot = (px_vocab_slot){key.head, p->text.start, pack(p->id, key.length)};
}

/* The table is made once the number of tokens is known; each slot is asked for some tokens ahead.
 */
px_status px_vocab_seal(px_vocab *vocab)
{
    px_vocab_pending_list *list = &vocab->pending;
    uint64_t slots = (uint64_t)vocab->mask + 1, wanted = slots;
    while ((vocab->used + list->count) * 3 > wanted * 2) wanted *= 2;
    if (wanted > slots) PX_TRY(resize_slots(vocab, (uint32_t)wanted));
    for (size_t i = 0; i < list->count; i++) {
        if (i + AHEAD < list->count)
            __builtin_prefetch(&vocab->slots[list->data[i + AHEAD].hash & vocab->mask], 1);
        index_token(vocab, &list->data[i]);
    }
    free(list->data);
    *list = (px_vocab_pending_list){0};
    return px_ok();
}

/* --- looking up --- */

px_vocab_key px_vocab_ask(const px_vocab *vocab, px_slice token)
{
    px_vocab_key key = key_of(token.data, token.length);
    __builtin_prefetch(&vocab->slots[key.hash & vocab->mask]);
    return key;
}

uint32_t px_vocab_answer(const px_vocab *vocab, const px_vocab_key *key)
{
    const px_vocab_slot *slot = find_slot(vocab, key);
    return slot->id_and_length ? id_of(slot) : PX_NO_TOKEN;
}

uint32_t px_vocab_find(const px_vocab *vocab, const char *token, size_t length)
{
    px_vocab_key key = key_of(token, length);
    return px_vocab_answer(vocab, &key);
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
