#include "engine/grammar/vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES_MAX = 1 << 30 };

static int compare(const uint8_t *bytes, const px_vocabulary_entry *x, const px_vocabulary_entry *y)
{
    size_t common = x->length < y->length ? x->length : y->length;
    int order = memcmp(bytes + x->first, bytes + y->first, common);
    if (order) return order;
    return x->length != y->length ? (x->length > y->length) - (x->length < y->length)
                                  : (x->id > y->id) - (x->id < y->id);
}

static int by_bytes(const void *a, const void *b, void *bytes)
{
    return compare(bytes, a, b);
}

static uint16_t shared_of(const px_vocabulary *v, uint32_t index)
{
    const px_vocabulary_entry *x = &v->entries[index - 1], *y = &v->entries[index];
    uint16_t shared = 0;
    while (shared < x->length && shared < y->length &&
           v->bytes[x->first + shared] == v->bytes[y->first + shared])
        shared++;
    return shared;
}

static void put_in_order(px_vocabulary *v)
{
    qsort_r(v->entries, v->count, sizeof *v->entries, by_bytes, v->bytes);
    memset(v->place, 0xff, v->size * sizeof *v->place);
    for (uint32_t i = 0; i < v->count; i++) {
        v->place[v->entries[i].id] = i;
        v->entries[i].shared = i ? shared_of(v, i) : 0;
    }
}

px_status px_vocabulary_make(uint32_t size, void (*bytes_of)(void *arg, uint32_t id, px_buf *out),
    void *arg, px_vocabulary *out)
{
    px_buf bytes;
    px_buf_init(&bytes, BYTES_MAX);
    *out = (px_vocabulary){.size = size,
        .entries = px_alloc_array(size + 1, sizeof *out->entries),
        .place = px_alloc_array(size + 1, sizeof *out->place)};
    for (uint32_t id = 0; id < size; id++) {
        size_t first = bytes.length;
        bytes_of(arg, id, &bytes);
        size_t length = bytes.length - first;
        if (length && length <= PX_TOKEN_BYTES_MAX)
            out->entries[out->count++] =
                (px_vocabulary_entry){id, (uint32_t)first, (uint16_t)length, 0};
    }
    if (bytes.overflowed) {
        px_buf_done(&bytes);
        px_vocabulary_done(out);
        return px_fail(PX_RESOURCE_EXHAUSTED, "the vocabulary has more than %d bytes", BYTES_MAX);
    }
    out->byte_count = bytes.length;
    out->bytes = px_alloc(bytes.length + 1);
    memcpy(out->bytes, px_buf_text(&bytes), bytes.length);
    px_buf_done(&bytes);
    put_in_order(out);
    return px_ok();
}

void px_vocabulary_done(px_vocabulary *vocabulary)
{
    free(vocabulary->entries);
    free(vocabulary->bytes);
    free(vocabulary->place);
    *vocabulary = (px_vocabulary){0};
}

px_slice px_vocabulary_bytes(const px_vocabulary *vocabulary, uint32_t id)
{
    uint32_t place = vocabulary->place[id];
    if (place == UINT32_MAX) return (px_slice){0};
    const px_vocabulary_entry *entry = &vocabulary->entries[place];
    return (px_slice){(const char *)vocabulary->bytes + entry->first, entry->length};
}

/* The first entry of [low, high) whose byte `at` is not below `byte`; all share the bytes before,
 * and those that end there come first. */
static uint32_t first_from(
    const px_vocabulary *v, uint32_t low, uint32_t high, uint32_t at, int byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const px_vocabulary_entry *entry = &v->entries[middle];
        if (entry->length <= at || v->bytes[entry->first + at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t px_vocabulary_longest(const px_vocabulary *vocabulary, px_slice text)
{
    uint32_t low = 0, high = vocabulary->count, longest = UINT32_MAX;
    for (uint32_t at = 0; at < text.length; at++) {
        int byte = (unsigned char)text.data[at];
        low = first_from(vocabulary, low, high, at, byte);
        high = first_from(vocabulary, low, high, at, byte + 1);
        if (low == high) break;
        if (vocabulary->entries[low].length == at + 1) longest = vocabulary->entries[low].id;
    }
    return longest;
}
