/* jinja_text_methods.c - the methods of str, but for those that split and join.
 *
 * Source: Python 3's str, without what needs bytes.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

#define METHOD(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)

/* --- shared with filters --- */

static bool in_set(px_slice chars, const char *character, size_t bytes)
{
    for (size_t at = 0; at < chars.length; at += px_rune_bytes(chars.data[at]))
        if (px_rune_bytes(chars.data[at]) == bytes &&
            memcmp(chars.data + at, character, bytes) == 0)
            return true;
    return false;
}

static bool strippable(const char *character, size_t bytes, px_slice chars)
{
    uint32_t rune;
    px_rune_decode(character, &rune);
    return chars.data ? in_set(chars, character, bytes) : px_rune_is_blank(rune);
}

px_slice px_jtext_strip(px_slice text, px_slice chars, bool left, bool right)
{
    while (left && text.length) {
        size_t bytes = px_rune_bytes(text.data[0]);
        if (!strippable(text.data, bytes, chars)) break;
        text.data += bytes;
        text.length -= bytes;
    }
    while (right && text.length) {
        size_t last = text.length - 1;
        while (last > 0 && ((unsigned char)text.data[last] & 0xc0) == 0x80) last--;
        if (!strippable(text.data + last, text.length - last, chars)) break;
        text.length = last;
    }
    return text;
}

void px_jtext_replace(px_slice text, px_slice from, px_slice to, int64_t max, px_buf *out)
{
    size_t at = 0;
    while (max != 0 && at <= text.length) {
        const char *found = from.length
                                ? memmem(text.data + at, text.length - at, from.data, from.length)
                                : text.data + at;
        if (!found) break;
        size_t place = (size_t)(found - text.data);
        px_buf_append(out, text.data + at, place - at);
        px_buf_append(out, to.data, to.length);
        at = place + from.length;
        if (!from.length) { /* an empty text stands before every character and at the end */
            size_t bytes = at < text.length ? px_rune_bytes(text.data[at]) : 1;
            if (at < text.length) px_buf_append(out, text.data + at, bytes);
            at += bytes;
        }
        if (max > 0) max--;
    }
    if (at < text.length) px_buf_append(out, text.data + at, text.length - at);
}

/* --- case and shape --- */

static bool mapped(
    px_jinja *j, px_slice text, void (*map)(const char *, size_t, px_buf *), px_jv *out)
{
    px_buf buf;
    px_jbuf_init(j, &buf);
    map(text.data, text.length, &buf);
    return px_jtake(j, &buf, out);
}

static void lower_all(const char *text, size_t length, px_buf *out)
{
    for (size_t at = 0; at < length; at += px_rune_bytes(text[at]))
        px_unicode_lower_at((px_slice){text, length}, at, out);
}

METHOD(text_upper)
{
    return mapped(j, c->self.text, px_unicode_upper, out);
}
METHOD(text_lower)
{
    return mapped(j, c->self.text, lower_all, out);
}

METHOD(text_casefold)
{
    return mapped(j, c->self.text, px_unicode_fold, out);
}

/* First letters of words up, the rest down; a word is a run of letters that have case. */
static void title(const char *text, size_t length, px_buf *out)
{
    bool inside = false;
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        size_t bytes = px_rune_decode(text + at, &rune);
        if (inside)
            px_unicode_lower_at((px_slice){text, length}, at, out);
        else
            px_unicode_title(text + at, bytes, out);
        inside = px_rune_is_cased(rune);
        at += bytes;
    }
}

static void capitalize(const char *text, size_t length, px_buf *out)
{
    size_t at = length ? px_rune_bytes(text[0]) : 0;
    px_unicode_title(text, at, out);
    for (; at < length; at += px_rune_bytes(text[at]))
        px_unicode_lower_at((px_slice){text, length}, at, out);
}

static void swapcase(const char *text, size_t length, px_buf *out)
{
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        size_t bytes = px_rune_decode(text + at, &rune);
        if (utf8proc_tolower((utf8proc_int32_t)rune) != (utf8proc_int32_t)rune)
            px_unicode_lower_at((px_slice){text, length}, at, out);
        else
            px_unicode_upper(text + at, bytes, out);
        at += bytes;
    }
}

METHOD(text_title)
{
    return mapped(j, c->self.text, title, out);
}
METHOD(text_capitalize)
{
    return mapped(j, c->self.text, capitalize, out);
}
METHOD(text_swapcase)
{
    return mapped(j, c->self.text, swapcase, out);
}

typedef enum pad_side { PAD_LEFT, PAD_RIGHT, PAD_BOTH } pad_side;

static bool pad(px_jinja *j, const px_jcall *c, pad_side side, const char *fill_default, px_jv *out)
{
    int64_t width;
    px_slice fill;
    if (!px_jarg_need_int(j, c->a[0], &width) || !px_jarg_text(j, c->a[1], fill_default, &fill))
        return false;
    if (px_rune_count(fill.data, fill.length) != 1)
        return px_jinja_fail(j, "The fill character must be exactly one character long");
    int64_t missing = width - px_jlength(c->self);
    if (missing < 0) missing = 0;
    if (!px_jinja_spend(j, (uint64_t)missing)) return false;
    /* Python's center() puts the odd blank left only if the width is odd. */
    int64_t left = side == PAD_LEFT    ? missing
                   : side == PAD_RIGHT ? 0
                                       : missing / 2 + (missing & width & 1);
    px_buf buf;
    px_jbuf_init(j, &buf);
    for (int64_t i = 0; i < left; i++) px_buf_append(&buf, fill.data, fill.length);
    px_buf_append(&buf, c->self.text.data, c->self.text.length);
    for (int64_t i = left; i < missing; i++) px_buf_append(&buf, fill.data, fill.length);
    return px_jtake(j, &buf, out);
}

METHOD(text_center)
{
    return pad(j, c, PAD_BOTH, " ", out);
}
METHOD(text_ljust)
{
    return pad(j, c, PAD_RIGHT, " ", out);
}
METHOD(text_rjust)
{
    return pad(j, c, PAD_LEFT, " ", out);
}

METHOD(text_zfill)
{
    int64_t width;
    if (!px_jarg_need_int(j, c->a[0], &width)) return false;
    px_slice text = c->self.text;
    bool sign = text.length && (text.data[0] == '-' || text.data[0] == '+');
    int64_t missing = width - px_jlength(c->self);
    if (missing > 0 && !px_jinja_spend(j, (uint64_t)missing)) return false;
    px_buf buf;
    px_jbuf_init(j, &buf);
    if (sign) px_buf_putc(&buf, text.data[0]);
    for (int64_t i = 0; i < missing; i++) px_buf_putc(&buf, '0');
    px_buf_append(&buf, text.data + sign, text.length - sign);
    return px_jtake(j, &buf, out);
}

METHOD(text_expandtabs)
{
    int64_t size, column = 0;
    if (!px_jarg_int(j, c->a[0], 8, &size)) return false;
    px_buf buf;
    px_jbuf_init(j, &buf);
    for (size_t i = 0; i < c->self.text.length; i++) {
        char ch = c->self.text.data[i];
        if (ch == '\t' && size > 0) {
            int64_t blanks = size - column % size;
            if (!px_jinja_spend(j, (uint64_t)blanks)) break;
            for (int64_t b = 0; b < blanks; b++) px_buf_putc(&buf, ' ');
            column += blanks;
        } else if (ch != '\t') {
            px_buf_putc(&buf, ch);
            column = ch == '\n' || ch == '\r' ? 0 : column + (((unsigned char)ch & 0xc0) != 0x80);
        }
    }
    return px_jtake(j, &buf, out);
}

/* --- stripping --- */

static bool strip(px_jinja *j, const px_jcall *c, bool left, bool right, px_jv *out)
{
    px_slice chars = {0};
    if (px_jgiven(c->a[0]) && c->a[0].kind != PX_J_NONE) {
        if (c->a[0].kind != PX_J_STR) return px_jinja_fail(j, "strip arg must be None or str");
        chars = c->a[0].text;
    }
    *out = px_jstr(px_jtext_strip(c->self.text, chars, left, right));
    return true;
}

METHOD(text_strip)
{
    return strip(j, c, true, true, out);
}
METHOD(text_lstrip)
{
    return strip(j, c, true, false, out);
}
METHOD(text_rstrip)
{
    return strip(j, c, false, true, out);
}

static bool ends_here(px_slice text, px_slice part, bool at_start)
{
    return part.length <= text.length &&
           memcmp(at_start ? text.data : text.data + text.length - part.length, part.data,
               part.length) == 0;
}

bool px_jarg_need_text(px_jinja *j, px_jv value, px_slice *out)
{
    *out = (px_slice){"", 0};
    if (value.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, value);
    if (value.kind != PX_J_STR)
        return px_jinja_fail(j, "must be str, not %s", px_jtype_name(value));
    *out = value.text;
    return true;
}

METHOD(text_removeprefix)
{
    px_slice part;
    *out = c->self;
    if (!px_jarg_need_text(j, c->a[0], &part)) return false;
    if (ends_here(out->text, part, true)) {
        out->text.data += part.length;
        out->text.length -= part.length;
    }
    return true;
}

METHOD(text_removesuffix)
{
    px_slice part;
    *out = c->self;
    if (!px_jarg_need_text(j, c->a[0], &part)) return false;
    if (ends_here(out->text, part, false)) out->text.length -= part.length;
    return true;
}

/* --- searching --- */

/* text[start:end] of the optional arguments from `first` on; *out_offset in characters. */
static bool window(px_jinja *j, const px_jcall *c, int first, px_slice *out, int64_t *out_offset)
{
    px_jslice slice = {.start = c->a[first], .stop = c->a[first + 1], .step = px_jnone()};
    if (!px_jgiven(slice.start)) slice.start = px_jnone();
    if (!px_jgiven(slice.stop)) slice.stop = px_jnone();
    px_jv part;
    if (!px_jinja_slice(j, c->self, &slice, &part)) return false;
    *out = part.text;
    *out_offset =
        (int64_t)px_rune_count(c->self.text.data, (size_t)(part.text.data - c->self.text.data));
    return true;
}

/* startswith and endswith take one text or a tuple of them. */
static bool any_end(px_jinja *j, const px_jcall *c, bool at_start, px_jv *out)
{
    px_slice text, part;
    int64_t offset;
    if (!window(j, c, 1, &text, &offset)) return false;
    bool found = false;
    if (c->a[0].kind == PX_J_TUPLE) {
        for (size_t i = 0; i < c->a[0].list->count; i++) {
            if (!px_jarg_need_text(j, c->a[0].list->items[i], &part)) return false;
            found |= ends_here(text, part, at_start);
        }
    } else {
        if (!px_jarg_need_text(j, c->a[0], &part)) return false;
        found = ends_here(text, part, at_start);
    }
    *out = px_jbool(found);
    return true;
}

METHOD(text_startswith)
{
    return any_end(j, c, true, out);
}
METHOD(text_endswith)
{
    return any_end(j, c, false, out);
}

const char *px_jtext_find_last(px_slice text, px_slice part)
{
    if (part.length > text.length) return NULL;
    for (size_t at = text.length - part.length + 1; at-- > 0;)
        if (memcmp(text.data + at, part.data, part.length) == 0) return text.data + at;
    return NULL;
}

static bool find(px_jinja *j, const px_jcall *c, bool last, bool must, px_jv *out)
{
    px_slice text, part;
    int64_t offset;
    if (!px_jarg_need_text(j, c->a[0], &part) || !window(j, c, 1, &text, &offset)) return false;
    const char *found = last ? px_jtext_find_last(text, part)
                             : memmem(text.data, text.length, part.data, part.length);
    if (!found && must) return px_jinja_fail(j, "substring not found");
    *out = px_jint(
        found ? offset + (int64_t)px_rune_count(text.data, (size_t)(found - text.data)) : -1);
    return px_jinja_spend(j, text.length / 16);
}

METHOD(text_find)
{
    return find(j, c, false, false, out);
}
METHOD(text_rfind)
{
    return find(j, c, true, false, out);
}
METHOD(text_index)
{
    return find(j, c, false, true, out);
}
METHOD(text_rindex)
{
    return find(j, c, true, true, out);
}

METHOD(text_count)
{
    px_slice text, part;
    int64_t offset, count = 0;
    if (!px_jarg_need_text(j, c->a[0], &part) || !window(j, c, 1, &text, &offset)) return false;
    if (part.length == 0) {
        *out = px_jint((int64_t)px_rune_count(text.data, text.length) + 1);
        return true;
    }
    for (const char *found; (found = memmem(text.data, text.length, part.data, part.length));
         count++) {
        text.length -= (size_t)(found - text.data) + part.length;
        text.data = found + part.length;
    }
    *out = px_jint(count);
    return px_jinja_spend(j, c->self.text.length / 16);
}

METHOD(text_replace)
{
    px_slice from, to;
    int64_t max;
    if (!px_jarg_need_text(j, c->a[0], &from) || !px_jarg_need_text(j, c->a[1], &to) ||
        !px_jarg_int(j, c->a[2], -1, &max))
        return false;
    px_buf buf;
    px_jbuf_init(j, &buf);
    px_jtext_replace(c->self.text, from, to, max, &buf);
    return px_jtake(j, &buf, out);
}

/* --- formatting --- */

METHOD(text_format)
{
    return px_jinja_format(j, c->self.text, c->args, out);
}

METHOD(text_encode)
{
    return px_jinja_fail(j, "bytes have no use in a template; encode() is refused");
}

/* --- what a text is made of --- */

typedef bool (*rune_test)(uint32_t rune);

static bool every(const px_jcall *c, rune_test test, px_jv *out)
{
    bool all = c->self.text.length > 0;
    for (size_t at = 0; all && at < c->self.text.length;) {
        uint32_t rune;
        at += px_rune_decode(c->self.text.data + at, &rune);
        all = test(rune);
    }
    *out = px_jbool(all);
    return true;
}

static bool is_decimal(uint32_t rune)
{
    return utf8proc_category((utf8proc_int32_t)rune) == UTF8PROC_CATEGORY_ND;
}

static bool is_digit(uint32_t rune)
{
    return is_decimal(rune) || rune == 0xb2 || rune == 0xb3 || rune == 0xb9 ||
           (rune >= 0x2070 && rune <= 0x2079) || (rune >= 0x2080 && rune <= 0x2089);
}

static bool is_alnum(uint32_t rune)
{
    return px_rune_is_letter(rune) || px_rune_is_numeric(rune);
}
static bool is_ascii(uint32_t rune)
{
    return rune < 128;
}

METHOD(text_isdigit)
{
    return every(c, is_digit, out);
}
METHOD(text_isdecimal)
{
    return every(c, is_decimal, out);
}
METHOD(text_isnumeric)
{
    return every(c, px_rune_is_numeric, out);
}
METHOD(text_isalpha)
{
    return every(c, px_rune_is_letter, out);
}
METHOD(text_isalnum)
{
    return every(c, is_alnum, out);
}
METHOD(text_isspace)
{
    return every(c, px_rune_is_blank, out);
}

METHOD(text_isprintable)
{
    every(c, px_rune_is_printable, out);
    *out = px_jbool(c->self.text.length == 0 || out->truth);
    return true;
}

METHOD(text_isascii)
{
    every(c, is_ascii, out);
    *out = px_jbool(c->self.text.length == 0 || out->truth);
    return true;
}

static bool case_test(px_jinja *j, const px_jcall *c, const char *name, px_jv *out)
{
    static const px_jargs none = {0};
    return px_jinja_call_function(
        j, px_jinja_test((px_slice){name, strlen(name)}), c->self, &none, out);
}

METHOD(text_islower)
{
    return case_test(j, c, "lower", out);
}
METHOD(text_isupper)
{
    return case_test(j, c, "upper", out);
}

METHOD(text_istitle)
{
    px_jv titled;
    if (!text_title(j, c, &titled)) return false;
    bool any = false;
    for (size_t at = 0; at < c->self.text.length;) {
        uint32_t rune;
        at += px_rune_decode(c->self.text.data + at, &rune);
        any |= px_rune_is_letter(rune);
    }
    *out = px_jbool(any && px_jequal(titled, c->self));
    return true;
}

METHOD(text_isidentifier)
{
    px_slice text = c->self.text;
    bool ok = text.length > 0 && !(text.data[0] >= '0' && text.data[0] <= '9');
    for (size_t at = 0; ok && at < text.length;) {
        uint32_t rune;
        at += px_rune_decode(text.data + at, &rune);
        ok = px_rune_is_word(rune);
    }
    *out = px_jbool(ok);
    return true;
}

static const px_jfunction methods[] = {{"strip", text_strip, {"chars"}, 0, false},
    {"lstrip", text_lstrip, {"chars"}, 0, false}, {"rstrip", text_rstrip, {"chars"}, 0, false},
    {"startswith", text_startswith, {"prefix", "start", "end"}, 1, false},
    {"endswith", text_endswith, {"suffix", "start", "end"}, 1, false},
    {"replace", text_replace, {"old", "new", "count"}, 2, false},
    {"format", text_format, {NULL}, 0, true}, {"upper", text_upper, {NULL}, 0, false},
    {"lower", text_lower, {NULL}, 0, false}, {"casefold", text_casefold, {NULL}, 0, false},
    {"title", text_title, {NULL}, 0, false}, {"capitalize", text_capitalize, {NULL}, 0, false},
    {"swapcase", text_swapcase, {NULL}, 0, false},
    {"find", text_find, {"sub", "start", "end"}, 1, false},
    {"rfind", text_rfind, {"sub", "start", "end"}, 1, false},
    {"index", text_index, {"sub", "start", "end"}, 1, false},
    {"rindex", text_rindex, {"sub", "start", "end"}, 1, false},
    {"count", text_count, {"sub", "start", "end"}, 1, false},
    {"removeprefix", text_removeprefix, {"prefix"}, 1, false},
    {"removesuffix", text_removesuffix, {"suffix"}, 1, false},
    {"center", text_center, {"width", "fillchar"}, 1, false},
    {"ljust", text_ljust, {"width", "fillchar"}, 1, false},
    {"rjust", text_rjust, {"width", "fillchar"}, 1, false},
    {"zfill", text_zfill, {"width"}, 1, false},
    {"expandtabs", text_expandtabs, {"tabsize"}, 0, false},
    {"encode", text_encode, {NULL}, 0, true}, {"isdigit", text_isdigit, {NULL}, 0, false},
    {"isdecimal", text_isdecimal, {NULL}, 0, false},
    {"isnumeric", text_isnumeric, {NULL}, 0, false}, {"isalpha", text_isalpha, {NULL}, 0, false},
    {"isalnum", text_isalnum, {NULL}, 0, false}, {"isspace", text_isspace, {NULL}, 0, false},
    {"isprintable", text_isprintable, {NULL}, 0, false},
    {"isascii", text_isascii, {NULL}, 0, false}, {"islower", text_islower, {NULL}, 0, false},
    {"isupper", text_isupper, {NULL}, 0, false}, {"istitle", text_istitle, {NULL}, 0, false},
    {"isidentifier", text_isidentifier, {NULL}, 0, false}};

const px_jfunction *px_jinja_text_method(px_slice name)
{
    const px_jfunction *found = px_jinja_find(methods, sizeof methods / sizeof *methods, name);
    if (!found) found = px_jinja_split_method(name);
    return found ? found : px_jinja_translate_method(name);
}
