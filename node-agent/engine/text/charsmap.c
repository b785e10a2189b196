/* charsmap.c - see charsmap.h. */
#include "engine/text/charsmap.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/text/unicode.h"

enum { MAP_BYTES_MAX = 64 << 20 };
/* Graphemes of this many bytes or more are not looked up whole (as the reference does). */
enum { GRAPHEME_BYTES_MAX = 5 };

struct px_charsmap {
    uint32_t *units;
    size_t unit_count;
    char *texts; /* NUL-terminated, one after the other */
    size_t texts_bytes;
};

px_status px_charsmap_create(px_slice bytes, px_charsmap **out)
{
    uint32_t trie_bytes = 0;
    if (bytes.length >= 4) memcpy(&trie_bytes, bytes.data, 4);
    if (bytes.length < 4 || trie_bytes > bytes.length - 4 || trie_bytes % 4 ||
        bytes.length > MAP_BYTES_MAX)
        return px_fail(PX_INVALID_ARGUMENT, "the precompiled normalisation map is broken");
    px_charsmap *map = px_alloc(sizeof *map);
    map->unit_count = trie_bytes / 4;
    map->units = px_alloc_array(map->unit_count + 1, 4);
    memcpy(map->units, bytes.data + 4, trie_bytes);
    map->texts_bytes = bytes.length - 4 - trie_bytes;
    map->texts = px_alloc(map->texts_bytes + 1);
    memcpy(map->texts, bytes.data + 4 + trie_bytes, map->texts_bytes);
    *out = map;
    return px_ok();
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

px_status px_charsmap_from_base64(px_slice text, px_charsmap **out)
{
    px_buf bytes;
    px_buf_init(&bytes, MAP_BYTES_MAX);
    uint32_t bits = 0;
    int count = 0;
    size_t i = 0;
    for (; i < text.length && text.data[i] != '='; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) break;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) px_buf_putc(&bytes, (char)(bits >> (count -= 8)));
    }
    px_status status =
        i < text.length && text.data[i] != '='
            ? px_fail(PX_INVALID_ARGUMENT, "the precompiled normalisation map is not base64")
            : px_charsmap_create((px_slice){px_buf_text(&bytes), bytes.length}, out);
    px_buf_done(&bytes);
    return status;
}

void px_charsmap_free(px_charsmap *map)
{
    if (!map) return;
    free(map->units);
    free(map->texts);
    free(map);
}

/* Darts-clone units: bit 31 and bits 0-7 are the label of an edge, bit 8 says that a leaf follows,
 * bits 10-30 (shifted by 8 more if bit 9 is set) are the offset to the children. */
static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The replacement of the shortest rule that starts `text`, or NULL. */
static const char *find(const px_charsmap *map, px_slice text)
{
    if (map->unit_count == 0) return NULL;
    size_t node = unit_offset(map->units[0]);
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte == 0) return NULL;
        node ^= byte;
        if (node >= map->unit_count) return NULL;
        uint32_t unit = map->units[node];
        if ((unit & (1u << 31 | 0xffu)) != byte) return NULL;
        node ^= unit_offset(unit);
        if (node >= map->unit_count) return NULL;
        if (unit >> 8 & 1) {
            uint32_t at = map->units[node] & 0x7fffffffu;
            return at < map->texts_bytes ? map->texts + at : NULL;
        }
    }
    return NULL;
}

static void apply_characters(const px_charsmap *map, px_slice grapheme, px_buf *out)
{
    for (size_t at = 0; at < grapheme.length;) {
        px_slice one = {grapheme.data + at, px_rune_bytes(grapheme.data[at])};
        const char *to = find(map, one);
        if (to)
            px_buf_puts(out, to);
        else
            px_buf_append(out, one.data, one.length);
        at += one.length;
    }
}

static void apply_grapheme(const px_charsmap *map, px_slice grapheme, px_buf *out)
{
    const char *to = grapheme.length <= GRAPHEME_BYTES_MAX ? find(map, grapheme) : NULL;
    if (to)
        px_buf_puts(out, to);
    else
        apply_characters(map, grapheme, out);
}

bool px_charsmap_apply(const px_charsmap *map, px_slice text, px_buf *out)
{
    size_t start = 0, before = out->length;
    uint32_t last = 0;
    utf8proc_int32_t state = 0;
    bool keeps_start = true;
    for (size_t at = 0; at <= text.length;) {
        uint32_t rune = 0;
        size_t bytes = at < text.length ? px_rune_decode(text.data + at, &rune) : 1;
        bool ends =
            at == text.length || (at > 0 && utf8proc_grapheme_break_stateful((utf8proc_int32_t)last,
                                                (utf8proc_int32_t)rune, &state));
        if (ends) {
            apply_grapheme(map, (px_slice){text.data + start, at - start}, out);
            if (start == 0 && at > 0) keeps_start = out->length > before;
            start = at;
        }
        last = rune;
        at += bytes;
    }
    return keeps_start;
}
