/* jinja_text_filters.c - filters over text. Source: Jinja 3.1, filters.py, utils.py; markupsafe;
 * Python's textwrap and urllib.parse.quote.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

#define FILTER(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)

/* --- by way of str's methods --- */

static bool by_method(px_jinja *j, const char *name, const px_jcall *c, px_jv *out)
{
    px_slice text;
    if (!px_jto_str(j, c->self, &text)) return false;
    return px_jinja_call_function(
        j, px_jinja_text_method((px_slice){name, strlen(name)}), px_jstr(text), c->args, out);
}

FILTER(filter_upper)
{
    return by_method(j, "upper", c, out);
}
FILTER(filter_lower)
{
    return by_method(j, "lower", c, out);
}
FILTER(filter_capitalize)
{
    return by_method(j, "capitalize", c, out);
}
FILTER(filter_trim)
{
    return by_method(j, "strip", c, out);
}

FILTER(filter_center)
{
    px_jv width = px_jgiven(c->a[0]) ? c->a[0] : px_jint(80);
    px_jargs args = {.items = &width, .count = 1};
    px_jcall call = {.self = c->self, .args = &args};
    return by_method(j, "center", &call, out);
}

FILTER(filter_string)
{
    px_slice text;
    if (!px_jto_str(j, c->self, &text)) return false;
    *out = px_jstr(text);
    if (c->self.kind == PX_J_STR) out->detail = c->self.detail;
    return true;
}

FILTER(filter_replace)
{
    px_slice text, from, to;
    int64_t max;
    if (!px_jto_str(j, c->self, &text) || !px_jarg_text(j, c->a[0], "", &from) ||
        !px_jarg_text(j, c->a[1], "", &to) || !px_jarg_int(j, c->a[2], -1, &max))
        return false;
    px_buf buf;
    px_jbuf_init(j, &buf);
    px_jtext_replace(text, from, to, max, &buf);
    return px_jtake(j, &buf, out);
}

/* "%s" filled like Python's % operator does, from arguments or names. */
FILTER(filter_format)
{
    px_slice format;
    px_jv values;
    if (!px_jto_str(j, c->self, &format)) return false;
    if (c->args->named_count) {
        if (c->args->count)
            return px_jinja_fail(
                j, "can't handle positional and keyword arguments at the same time");
        if (!px_jdict_new(j, &values)) return false;
        for (size_t i = 0; i < c->args->named_count; i++)
            if (!px_jdict_set(j, values, px_jstr(c->args->named[i].text), c->args->named[i].value))
                return false;
    } else {
        if (!px_jlist_new(j, c->args->count, &values)) return false;
        for (size_t i = 0; i < c->args->count; i++)
            if (!px_jlist_add(j, values, c->args->items[i])) return false;
        values.kind = PX_J_TUPLE;
    }
    return px_jinja_percent(j, format, values, out);
}

/* --- words and lines --- */

static bool is_title_break(uint32_t rune)
{
    return px_rune_is_space(rune) || rune == '-' || rune == '(' || rune == '{' || rune == '[' ||
           rune == '<';
}

/* Unlike str.title(): words begin after white space, hyphens and opening brackets only. */
FILTER(filter_title)
{
    px_slice text;
    if (!px_jto_str(j, c->self, &text)) return false;
    px_buf buf;
    px_jbuf_init(j, &buf);
    for (size_t at = 0; at < text.length;) {
        uint32_t rune;
        size_t rest = at + px_rune_decode(text.data + at, &rune), end = rest;
        bool breaks = is_title_break(rune);
        while (end < text.length) {
            size_t bytes = px_rune_decode(text.data + end, &rune);
            if (is_title_break(rune) != breaks) break;
            end += bytes;
        }
        px_unicode_upper(text.data + at, rest - at, &buf);
        px_slice part = {text.data + rest, end - rest};
        for (size_t i = 0; i < part.length; i += px_rune_bytes(part.data[i]))
            px_unicode_lower_at(part, i, &buf);
        at = end;
    }
    return px_jtake(j, &buf, out);
}

FILTER(filter_wordcount)
{
    px_slice text;
    if (!px_jto_str(j, c->self, &text)) return false;
    int64_t count = 0;
    bool inside = false;
    for (size_t at = 0; at < text.length;) {
        uint32_t rune;
        at += px_rune_decode(text.data + at, &rune);
        bool word = px_rune_is_word(rune);
        count += word && !inside;
        inside = word;
    }
    *out = px_jint(count);
    return true;
}

static bool need_text(px_jinja *j, const char *filter, px_jv value, px_slice *out)
{
    if (value.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, value);
    if (value.kind != PX_J_STR)
        return px_jinja_fail(j, "%s needs a str, not '%s'", filter, px_jtype_name(value));
    *out = value.text;
    return true;
}

FILTER(filter_indent)
{
    px_slice text = {0}, unit;
    px_jv width = px_jgiven(c->a[0]) ? c->a[0] : px_jint(4), made;
    bool first = px_jarg_true(c->a[1], false), blank = px_jarg_true(c->a[2], false);
    if (!need_text(j, "indent", c->self, &text)) return false;
    if (width.kind != PX_J_STR && !px_jinja_binary(j, PX_OP_MUL, px_jtext(" "), width, &made))
        return false;
    unit = width.kind == PX_J_STR ? width.text : made.text;
    px_buf buf;
    px_jbuf_init(j, &buf);
    bool more = true;
    for (size_t at = 0, number = 0; more; number++) {
        size_t start = at;
        px_slice line = px_jtext_line(text, false, &at);
        more = at < text.length || at > start + line.length; /* a line end at the very end: "" */
        bool wanted = number == 0 ? first : blank || line.length > 0;
        if (number) px_buf_putc(&buf, '\n');
        if (wanted) px_buf_append(&buf, unit.data, unit.length);
        px_buf_append(&buf, line.data, line.length);
    }
    return px_jtake(j, &buf, out);
}

static size_t bytes_of(px_slice text, int64_t runes)
{
    size_t at = 0;
    for (int64_t i = 0; i < runes && at < text.length; i++) at += px_rune_bytes(text.data[at]);
    return at;
}

FILTER(filter_truncate)
{
    px_slice text = {0}, end;
    int64_t length, leeway;
    bool kill_words = px_jarg_true(c->a[1], false);
    if (!px_jarg_int(j, c->a[0], 255, &length) || !px_jarg_text(j, c->a[2], "...", &end) ||
        !px_jarg_int(j, c->a[3], 5, &leeway))
        return false;
    int64_t end_runes = (int64_t)px_rune_count(end.data, end.length);
    if (length < end_runes || leeway < 0)
        return px_jinja_fail(j, "expected length >= %lld and leeway >= 0", (long long)end_runes);
    *out = c->self;
    int64_t runes = px_jlength(c->self); /* a list that is short enough stays as it is */
    if (runes >= 0 && runes <= length + leeway) return true;
    if (!need_text(j, "truncate", c->self, &text)) return false;
    px_slice kept = {text.data, bytes_of(text, length - end_runes)};
    const char *space = kill_words || !kept.length ? NULL : memrchr(kept.data, ' ', kept.length);
    if (space) kept.length = (size_t)(space - kept.data);
    return px_jinja_binary(j, PX_OP_ADD, px_jstr(kept), px_jstr(end), out);
}

/* Lines of at most `width` characters, cut at blanks, long words too if wanted. */
static void wrap_line(px_slice line, int64_t width, bool break_words, px_slice newline, px_buf *out)
{
    bool first = true;
    while (line.length) {
        size_t fits = bytes_of(line, width), take = line.length;
        if (fits < line.length) {
            const char *space = memrchr(line.data, ' ', fits + 1);
            take = space && space > line.data ? (size_t)(space - line.data) : 0;
            if (!take && break_words) take = fits;
            if (!take) {
                const char *next = memchr(line.data, ' ', line.length);
                take = next ? (size_t)(next - line.data) : line.length;
            }
        }
        if (take == 0) take = px_rune_bytes(line.data[0]);
        if (!first) px_buf_append(out, newline.data, newline.length);
        px_slice part =
            px_jtext_strip((px_slice){line.data, take}, (px_slice){" ", 1}, false, true);
        px_buf_append(out, part.data, part.length);
        line = px_jtext_strip(
            (px_slice){line.data + take, line.length - take}, (px_slice){" ", 1}, true, false);
        first = false;
    }
}

FILTER(filter_wordwrap)
{
    px_slice text = {0}, newline;
    int64_t width;
    if (!need_text(j, "wordwrap", c->self, &text) || !px_jarg_int(j, c->a[0], 79, &width) ||
        !px_jarg_text(j, px_jgiven(c->a[2]) && c->a[2].kind != PX_J_NONE ? c->a[2] : px_jtext("\n"),
            "\n", &newline))
        return false;
    if (width < 1) return px_jinja_fail(j, "invalid width %lld (must be > 0)", (long long)width);
    px_buf buf;
    px_jbuf_init(j, &buf);
    bool words = px_jarg_true(c->a[1], true);
    for (size_t at = 0, number = 0; at < text.length; number++) {
        if (number) px_buf_append(&buf, newline.data, newline.length);
        wrap_line(px_jtext_line(text, false, &at), width, words, newline, &buf);
    }
    return px_jtake(j, &buf, out);
}

/* --- markup --- */

FILTER(filter_escape)
{
    return px_jmarkup_escape(j, c->self, out);
}

FILTER(filter_forceescape)
{
    return px_jmarkup_force(j, c->self, out);
}

FILTER(filter_safe)
{
    if (!filter_string(j, c, out)) return false;
    out->detail = 1;
    return true;
}

/* Comments and tags go, runs of white space become one blank. */
FILTER(filter_striptags)
{
    px_slice text;
    px_buf buf;
    if (!px_jto_str(j, c->self, &text)) return false;
    px_jbuf_init(j, &buf);
    bool blank = false;
    for (size_t at = 0; at < text.length;) {
        px_slice rest = {text.data + at, text.length - at};
        if (*rest.data == '<') {
            bool comment = rest.length >= 4 && memcmp(rest.data, "<!--", 4) == 0;
            const char *end = comment ? memmem(rest.data, rest.length, "-->", 3)
                                      : memchr(rest.data, '>', rest.length);
            if (end) {
                at = (size_t)(end - text.data) + (comment ? 3 : 1);
                continue;
            }
        }
        uint32_t rune;
        size_t bytes = px_rune_decode(rest.data, &rune);
        if (px_rune_is_space(rune)) {
            blank = buf.length > 0;
        } else {
            if (blank) px_buf_putc(&buf, ' ');
            blank = false;
            px_buf_append(&buf, rest.data, bytes);
        }
        at += bytes;
    }
    return px_jtake(j, &buf, out);
}

FILTER(filter_xmlattr)
{
    px_buf buf;
    bool space = px_jarg_true(c->a[0], true);
    if (c->self.kind != PX_J_DICT) return px_jinja_fail(j, "xmlattr needs a mapping");
    px_jbuf_init(j, &buf);
    for (size_t i = 0; i < c->self.dict->count; i++) {
        const px_jentry *entry = &c->self.dict->entries[i];
        px_jv key, value;
        if (entry->value.kind == PX_J_NONE || entry->value.kind == PX_J_UNDEFINED) continue;
        if (!px_jmarkup_escape(j, entry->key, &key) || !px_jmarkup_escape(j, entry->value, &value))
            break;
        if (buf.length || space) px_buf_putc(&buf, ' ');
        px_buf_printf(&buf, "%.*s=\"%.*s\"", (int)key.text.length, key.text.data,
            (int)value.text.length, value.text.data);
    }
    return px_jtake(j, &buf, out);
}

/* In a query blanks are "+" and slashes are quoted too. */
static void quote(px_slice text, bool in_query, px_buf *out)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char b = (unsigned char)text.data[i];
        bool plain = (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z') ||
                     (b && strchr(in_query ? "_.-~" : "_.-~/", b));
        if (plain || (in_query && b == ' '))
            px_buf_putc(out, plain ? (char)b : '+');
        else
            px_buf_printf(out, "%%%02X", b);
    }
}

/* A text, or the pairs of a mapping or list joined as a query. */
FILTER(filter_urlencode)
{
    px_buf buf;
    px_slice text;
    px_jv pairs, pair;
    px_jbuf_init(j, &buf);
    if (c->self.kind == PX_J_STR || px_jlength(c->self) < 0) {
        if (px_jto_str(j, c->self, &text)) quote(text, false, &buf);
        return px_jtake(j, &buf, out);
    }
    static const px_jargs none = {0};
    bool ok = c->self.kind != PX_J_DICT
                  ? px_jiterate(j, c->self, &pairs)
                  : px_jinja_call_function(
                        j, px_jinja_filter((px_slice){"items", 5}), c->self, &none, &pairs);
    for (size_t i = 0; ok && i < pairs.list->count; i++) {
        ok = px_jiterate(j, pairs.list->items[i], &pair) && pair.list->count == 2;
        if (i) px_buf_putc(&buf, '&');
        for (int part = 0; ok && part < 2; part++) {
            ok = px_jto_str(j, pair.list->items[part], &text);
            if (part) px_buf_putc(&buf, '=');
            if (ok) quote(text, true, &buf);
        }
    }
    if (!ok) px_jinja_fail(j, "urlencode needs a text, a mapping, or pairs");
    return px_jtake(j, &buf, out) && ok;
}

FILTER(filter_filesizeformat)
{
    static const char *const units[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
        {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    bool binary = px_jarg_true(c->a[0], false);
    if (!px_jis_number(c->self)) return px_jinja_fail(j, "filesizeformat needs a number");
    double bytes = px_jnumber(c->self), base = binary ? 1024 : 1000;
    px_buf buf;
    px_jbuf_init(j, &buf);
    if (bytes == 1) {
        px_buf_puts(&buf, "1 Byte");
    } else if (bytes < base) {
        px_buf_printf(&buf, "%.0f Bytes", trunc(bytes));
    } else {
        int unit = 0;
        double scale = base * base;
        for (; unit < 7 && bytes >= scale; unit++) scale *= base;
        px_buf_printf(&buf, "%.1f %s", base * bytes / scale, units[binary][unit]);
    }
    return px_jtake(j, &buf, out);
}

static const px_jfunction filters[] = {{"trim", filter_trim, {"chars"}, 0, true},
    {"upper", filter_upper, {NULL}, 0, true}, {"lower", filter_lower, {NULL}, 0, true},
    {"string", filter_string, {NULL}, 0, false},
    {"replace", filter_replace, {"old", "new", "count"}, 2, false},
    {"indent", filter_indent, {"width", "first", "blank"}, 0, false},
    {"title", filter_title, {NULL}, 0, false}, {"capitalize", filter_capitalize, {NULL}, 0, true},
    {"format", filter_format, {NULL}, 0, true}, {"center", filter_center, {"width"}, 0, false},
    {"wordcount", filter_wordcount, {NULL}, 0, false},
    {"truncate", filter_truncate, {"length", "killwords", "end", "leeway"}, 0, false},
    {"wordwrap", filter_wordwrap, {"width", "break_long_words", "wrapstring", "break_on_hyphens"},
        0, false},
    {"escape", filter_escape, {NULL}, 0, false}, {"e", filter_escape, {NULL}, 0, false},
    {"forceescape", filter_forceescape, {NULL}, 0, false}, {"safe", filter_safe, {NULL}, 0, false},
    {"striptags", filter_striptags, {NULL}, 0, false},
    {"xmlattr", filter_xmlattr, {"autospace"}, 0, false},
    {"urlencode", filter_urlencode, {NULL}, 0, false},
    {"filesizeformat", filter_filesizeformat, {"binary"}, 0, false},
    {"pprint", px_jinja_pprint, {NULL}, 0, false}};

const px_jfunction *px_jinja_text_filter(px_slice name)
{
    return px_jinja_find(filters, sizeof filters / sizeof *filters, name);
}
