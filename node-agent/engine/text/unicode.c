/* unicode.c - see unicode.h. */
#include "engine/text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/text/grow.h"
#include "engine/text/unicode_tables.h"

size_t px_rune_encode(uint32_t rune, char out[4])
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)rune, (utf8proc_uint8_t *)out);
}

void px_rune_append(px_buf *buf, uint32_t rune)
{
    char bytes[4];
    px_buf_append(buf, bytes, px_rune_encode(rune, bytes));
}

size_t px_rune_count(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

void px_utf8_repair(const char *text, size_t length, px_buf *out)
{
    while (length > 0) {
        size_t good = px_utf8_valid_prefix(text, length);
        px_buf_append(out, text, good);
        text += good;
        length -= good;
        if (length == 0) break;
        uint32_t rune;
        size_t bad = px_utf8_next(text, length, &rune);
        px_buf_puts(out, "\xef\xbf\xbd");
        text += bad;
        length -= bad;
    }
}

size_t px_utf8_open_tail(const char *text, size_t length)
{
    /* A character has at most three continuation bytes, so its first byte is among the last
     * three if it is still open. */
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char first = (unsigned char)text[length - back];
        if (first < 0x80) return 0;
        if (first < 0xc0) continue;
        uint32_t rune;
        /* Open: it is no character yet, and all bytes are part of the same unfinished one. */
        size_t used = px_utf8_next(text + length - back, back, &rune);
        bool wants_more =
            first >= 0xc2 && first < 0xf5 && back < px_rune_bytes(text[length - back]);
        return rune == PX_UTF8_INVALID && used == back && wants_more ? back : 0;
    }
    return 0;
}

/* --- tables of ours --- */

static const px_rune_range *find_range(const px_rune_range *ranges, size_t count, uint32_t rune)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ranges[mid].last < rune)
            low = mid + 1;
        else
            high = mid;
    }
    return low < count && ranges[low].first <= rune ? &ranges[low] : NULL;
}

/* Spares nearly all text the search: the table has nothing here. */
static bool is_surely_older(uint32_t rune)
{
    return rune < 0x897 || (rune >= 0x3200 && rune < 0xa7cb) || (rune >= 0xa7dd && rune < 0x10000);
}

uint32_t px_rune_like(uint32_t rune)
{
    if (is_surely_older(rune)) return rune;
    const px_rune_range *range = find_range(px_runes_alike, px_runes_alike_count, rune);
    return range ? range->value : rune;
}

/* Where the first newer character begins, or the text's length. */
static size_t older_prefix(px_slice text)
{
    for (size_t at = 0; at < text.length;) {
        uint64_t eight;
        while (text.length - at >= sizeof eight) {
            memcpy(&eight, text.data + at, sizeof eight);
            if (eight & 0x8080808080808080u) break;
            at += sizeof eight;
        }
        if (at == text.length) break;
        uint32_t rune;
        size_t bytes = px_rune_decode(text.data + at, &rune);
        if (px_rune_like(rune) != rune) return at;
        at += bytes;
    }
    return text.length;
}

bool px_utf8_like(px_slice text, px_buf *out)
{
    size_t at = older_prefix(text);
    if (at == text.length) return false;
    px_buf_reset(out);
    px_buf_append(out, text.data, at);
    while (at < text.length) {
        uint32_t rune;
        at += px_rune_decode(text.data + at, &rune);
        px_rune_append(out, px_rune_like(rune));
    }
    return true;
}

uint32_t px_rune_age(uint32_t rune)
{
    const px_rune_range *range = find_range(px_runes_dated, px_runes_dated_count, rune);
    return range ? range->value : 8;
}

uint32_t px_rune_script(uint32_t rune)
{
    const px_rune_range *range = find_range(px_runes_scripts, px_runes_scripts_count, rune);
    return range ? range->value : 0;
}

/* --- classes --- */

static utf8proc_category_t category(uint32_t rune)
{
    return utf8proc_category((utf8proc_int32_t)px_rune_like(rune));
}

bool px_rune_is_space(uint32_t rune)
{
    if (rune < 0x80) return rune == ' ' || (rune >= '\t' && rune <= '\r');
    return rune == 0x85 || rune == 0xa0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) ||
           rune == 0x2028 || rune == 0x2029 || rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

bool px_rune_is_blank(uint32_t rune)
{
    return px_rune_is_space(rune) || (rune >= 0x1c && rune <= 0x1f);
}

bool px_rune_is_numeric(uint32_t rune)
{
    if (rune < 0x80) return rune >= '0' && rune <= '9';
    utf8proc_category_t c = category(rune);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool px_rune_is_punctuation(uint32_t rune)
{
    if (rune < 0x80)
        return rune > ' ' && rune < 0x7f && !(rune >= '0' && rune <= '9') &&
               !((rune | 0x20) >= 'a' && (rune | 0x20) <= 'z');
    utf8proc_category_t c = category(rune);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool px_rune_is_mark(uint32_t rune)
{
    utf8proc_category_t c = category(rune);
    return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool px_rune_is_nonspacing(uint32_t rune)
{
    return category(rune) == UTF8PROC_CATEGORY_MN;
}

bool px_rune_is_control(uint32_t rune)
{
    utf8proc_category_t c = category(rune);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

bool px_rune_is_unassigned(uint32_t rune)
{
    utf8proc_category_t c = category(rune);
    return c == UTF8PROC_CATEGORY_CN || c == UTF8PROC_CATEGORY_CS;
}

bool px_rune_is_printable(uint32_t rune)
{
    if (rune < 0x80) return rune >= 0x20 && rune < 0x7f;
    return !px_rune_is_space(rune) && !px_rune_is_control(rune) && !px_rune_is_unassigned(rune);
}

bool px_rune_is_letter(uint32_t rune)
{
    utf8proc_category_t c = category(rune);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool px_rune_is_cased(uint32_t rune)
{
    utf8proc_category_t c = category(rune);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LT;
}

bool px_rune_is_word(uint32_t rune)
{
    utf8proc_category_t c = category(rune);
    return px_rune_is_letter(rune) || px_rune_is_mark(rune) || c == UTF8PROC_CATEGORY_ND ||
           c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC || rune == 0x200c ||
           rune == 0x200d || (rune >= 0x24b6 && rune <= 0x24e9) ||
           (rune >= 0x1f130 && rune <= 0x1f149) || (rune >= 0x1f150 && rune <= 0x1f169) ||
           (rune >= 0x1f170 && rune <= 0x1f189);
}

/* --- normal forms --- */

typedef struct rune_list {
    utf8proc_int32_t *data;
    size_t count, capacity;
} rune_list;

/* Characters that every normal form leaves alone wherever they stand: no decomposition, no
 * combining class, never the second half of a composition. */
static bool is_inert(uint32_t rune, px_norm_form form)
{
    if (rune < 0x80) return true;
    if (rune >= 0x4e00 && rune <= 0x9fff) return true; /* unified ideographs */
    if (form != PX_NFC) return false;
    return (rune >= 0xa0 && rune < 0x300) || (rune >= 0x400 && rune < 0x483) ||
           (rune >= 0x3041 && rune < 0x3097) || (rune >= 0x30a1 && rune < 0x30fb);
}

static size_t inert_prefix(const char *text, size_t length, px_norm_form form)
{
    size_t at = 0, safe = 0;
    while (at < length) {
        uint32_t rune;
        size_t bytes = px_rune_decode(text + at, &rune);
        if (!is_inert(rune, form)) return safe;
        safe = at; /* the last inert character may compose with what follows */
        at += bytes;
    }
    return length;
}

/* What the reference's tables (Unicode 9) do not have yet is a starter that never changes. */
static bool is_unknown(utf8proc_int32_t rune)
{
    return rune >= 0x300 && px_rune_age((uint32_t)rune) > 9;
}

static int class_of(utf8proc_int32_t rune)
{
    return is_unknown(rune) ? 0 : utf8proc_get_property(rune)->combining_class;
}

/* Canonical ordering (Unicode 3.11, D109): stable sort of each run of marks by class. Bottom-up
 * merge sort, because a hostile run of marks may be as long as the text. */
static void order_marks(utf8proc_int32_t *run, size_t count, utf8proc_int32_t *spare)
{
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low < count; low += 2 * width) {
            size_t mid = low + width < count ? low + width : count;
            size_t high = low + 2 * width < count ? low + 2 * width : count;
            for (size_t i = low, j = mid, k = low; k < high; k++) {
                bool left = i < mid && (j >= high || class_of(run[i]) <= class_of(run[j]));
                spare[k] = left ? run[i++] : run[j++];
            }
        }
        memcpy(run, spare, count * sizeof *run);
    }
}

static px_status decompose(const char *text, size_t length, bool compat, rune_list *runes)
{
    utf8proc_option_t options = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        at += px_rune_decode(text + at, &rune);
        PX_TRY(PX_GROW(runes, runes->count + 32));
        if (is_unknown((utf8proc_int32_t)rune)) {
            runes->data[runes->count++] = (utf8proc_int32_t)rune;
            continue;
        }
        int boundclass = 0;
        utf8proc_ssize_t n = utf8proc_decompose_char(
            (utf8proc_int32_t)rune, runes->data + runes->count, 32, options, &boundclass);
        PX_ASSERT(n >= 0 && n <= 32); /* the longest decomposition has 18 characters */
        runes->count += (size_t)n;
    }
    return px_ok();
}

static px_status order_all(rune_list *runes)
{
    rune_list spare = {0};
    for (size_t at = 0; at < runes->count;) {
        size_t end = at;
        while (end < runes->count && class_of(runes->data[end])) end++;
        if (end - at > 1) {
            px_status status = PX_GROW(&spare, end - at);
            if (!px_is_ok(status)) return status;
            order_marks(runes->data + at, end - at, spare.data);
        }
        at = end + 1;
    }
    free(spare.data);
    return px_ok();
}

/* In place, between the characters that the reference's tables do not have. */
static void compose(rune_list *runes)
{
    size_t kept = 0;
    for (size_t at = 0, end; at < runes->count; at = end) {
        utf8proc_ssize_t count = 1;
        end = at + 1;
        if (!is_unknown(runes->data[at])) {
            while (end < runes->count && !is_unknown(runes->data[end])) end++;
            count = utf8proc_normalize_utf32(
                runes->data + at, (utf8proc_ssize_t)(end - at), UTF8PROC_STABLE | UTF8PROC_COMPOSE);
            PX_ASSERT(count >= 0);
        }
        memmove(runes->data + kept, runes->data + at, (size_t)count * sizeof *runes->data);
        kept += (size_t)count;
    }
    runes->count = kept;
}

px_status px_unicode_normalize(const char *text, size_t length, px_norm_form form, px_buf *out)
{
    size_t inert = inert_prefix(text, length, form);
    px_buf_append(out, text, inert);
    if (inert == length) return px_ok();
    rune_list runes = {0};
    px_status status =
        decompose(text + inert, length - inert, form == PX_NFKC || form == PX_NFKD, &runes);
    if (px_is_ok(status)) status = order_all(&runes);
    if (px_is_ok(status)) {
        if (form == PX_NFC || form == PX_NFKC) compose(&runes);
        for (size_t i = 0; i < runes.count; i++) px_rune_append(out, (uint32_t)runes.data[i]);
    }
    free(runes.data);
    return status;
}

static uint32_t lower_of(uint32_t rune)
{
    if (!is_surely_older(rune)) {
        const px_rune_range *range = find_range(px_runes_lower, px_runes_lower_count, rune);
        if (range) return range->value + (rune - range->first);
    }
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)rune);
}

void px_unicode_lower(const char *text, size_t length, px_buf *out)
{
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        at += px_rune_decode(text + at, &rune);
        if (rune == 0x130)
            px_buf_puts(out, "i\xcc\x87"); /* the only lower case of two characters */
        else
            px_rune_append(out, lower_of(rune));
    }
}

/* Case_Ignorable: what may stand inside a word without being a letter of it. */
static bool is_case_ignorable(uint32_t rune)
{
    static const uint32_t marks[] = {'\'', '.', ':', '^', '`', 0xa8, 0xad, 0xaf, 0xb4, 0xb7, 0xb8,
        0x2018, 0x2019, 0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (rune == marks[i]) return true;
    utf8proc_category_t c = category(rune);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK;
}

/* Final_Sigma of the Unicode standard, table 3-17: a cased letter before it and none behind. */
static bool ends_word(px_slice text, size_t at, size_t end)
{
    uint32_t rune = 0;
    do {
        if (at == 0) return false;
        do at--;
        while (((unsigned char)text.data[at] & 0xc0) == 0x80);
        px_rune_decode(text.data + at, &rune);
    } while (is_case_ignorable(rune));
    if (!px_rune_is_cased(rune)) return false;
    while (end < text.length) {
        end += px_rune_decode(text.data + end, &rune);
        if (!is_case_ignorable(rune)) return !px_rune_is_cased(rune);
    }
    return true;
}

void px_unicode_lower_at(px_slice text, size_t at, px_buf *out)
{
    enum { CAPITAL_SIGMA = 0x3a3, FINAL_SIGMA = 0x3c2 };
    uint32_t rune;
    size_t bytes = px_rune_decode(text.data + at, &rune);
    if (rune == CAPITAL_SIGMA && ends_word(text, at, at + bytes))
        px_rune_append(out, FINAL_SIGMA);
    else
        px_unicode_lower(text.data + at, bytes, out);
}

static const px_rune_case *special_case(uint32_t rune)
{
    if (rune < 0xdf) return NULL;
    for (size_t i = 0; i < px_runes_cased_count && px_runes_cased[i].rune <= rune; i++)
        if (px_runes_cased[i].rune == rune) return &px_runes_cased[i];
    return NULL;
}

static void append_runes(const uint32_t runes[3], px_buf *out)
{
    for (int i = 0; i < 3 && runes[i]; i++) px_rune_append(out, runes[i]);
}

void px_unicode_upper(const char *text, size_t length, px_buf *out)
{
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        at += px_rune_decode(text + at, &rune);
        const px_rune_case *special = special_case(rune);
        if (special)
            append_runes(special->upper, out);
        else
            px_rune_append(out, (uint32_t)utf8proc_toupper((utf8proc_int32_t)rune));
    }
}

void px_unicode_title(const char *text, size_t length, px_buf *out)
{
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        at += px_rune_decode(text + at, &rune);
        const px_rune_case *special = special_case(rune);
        if (special)
            append_runes(special->title, out);
        else
            px_rune_append(out, (uint32_t)utf8proc_totitle((utf8proc_int32_t)rune));
    }
}

void px_unicode_fold(const char *text, size_t length, px_buf *out)
{
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        utf8proc_int32_t folded[8];
        int boundclass = 0;
        at += px_rune_decode(text + at, &rune);
        utf8proc_ssize_t count = utf8proc_decompose_char(
            (utf8proc_int32_t)rune, folded, 8, UTF8PROC_CASEFOLD, &boundclass);
        PX_ASSERT(count >= 0 && count <= 8); /* the longest has 3 characters */
        for (utf8proc_ssize_t i = 0; i < count; i++) px_rune_append(out, (uint32_t)folded[i]);
    }
}
