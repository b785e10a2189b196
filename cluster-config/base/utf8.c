/* utf8.c - see utf8.h. */
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

/* The table of well-formed sequences: Unicode standard, table 3-7. The second byte's range
 * depends on the lead; later bytes are always 80..BF. */
static bool lead_info(
    unsigned char lead, int *out_more, unsigned char *out_low, unsigned char *out_high)
{
    *out_low = 0x80;
    *out_high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
        *out_more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        *out_more = 2;
        if (lead == 0xE0) *out_low = 0xA0;
        if (lead == 0xED) *out_high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        *out_more = 3;
        if (lead == 0xF0) *out_low = 0x90;
        if (lead == 0xF4) *out_high = 0x8F;
    } else {
        return false;
    }
    return true;
}

size_t px_utf8_next(const char *text, size_t length, uint32_t *out_rune)
{
    const unsigned char *bytes = (const unsigned char *)text;
    if (bytes[0] < 0x80) {
        *out_rune = bytes[0];
        return 1;
    }
    *out_rune = PX_UTF8_INVALID;
    int more;
    unsigned char low, high;
    if (!lead_info(bytes[0], &more, &low, &high)) return 1;
    uint32_t rune = bytes[0] & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((size_t)i >= length || bytes[i] < low || bytes[i] > high) return (size_t)i;
        rune = rune << 6 | (bytes[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *out_rune = rune;
    return (size_t)more + 1;
}

size_t px_utf8_valid_prefix(const char *text, size_t length)
{
    size_t at = 0;
    while (at < length) {
        uint64_t eight; /* ASCII, eight bytes a step */
        while (length - at >= sizeof eight) {
            memcpy(&eight, text + at, sizeof eight);
            if (eight & 0x8080808080808080u) break;
            at += sizeof eight;
        }
        if (at == length) break;
        uint32_t rune;
        size_t step = px_utf8_next(text + at, length - at, &rune);
        if (rune == PX_UTF8_INVALID) break;
        at += step;
    }
    return at;
}

typedef struct rune_range {
    uint32_t first, last;
} rune_range;

static bool in_ranges(uint32_t rune, const rune_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rune >= ranges[i].first && rune <= ranges[i].last) return true;
    return false;
}

static size_t rune_columns(uint32_t rune)
{
    static const rune_range combining[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD},
        {0x064B, 0x065F}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x20D0, 0x20FF},
        {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0x1F3FB, 0x1F3FF}, {0xE0100, 0xE01EF}};
    static const rune_range wide[] = {{0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0xA4CF},
        {0xAC00, 0xD7A3}, {0xF900, 0xFAFF}, {0xFE30, 0xFE6F}, {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6},
        {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
    if (rune < 0x300) return 1;
    if (in_ranges(rune, combining, sizeof combining / sizeof combining[0])) return 0;
    return in_ranges(rune, wide, sizeof wide / sizeof wide[0]) ? 2 : 1;
}

size_t px_utf8_columns(const char *text, size_t length)
{
    size_t columns = 0;
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        at += px_utf8_next(text + at, length - at, &rune);
        columns += rune == PX_UTF8_INVALID ? 1 : rune_columns(rune);
    }
    return columns;
}
