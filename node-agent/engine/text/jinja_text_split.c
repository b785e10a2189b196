/* jinja_text_split.c - the methods of str that make lists of texts, and join. Source: Python 3's
 * str.
 */
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

#define METHOD(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)

static bool add_part(px_jinja *j, px_jv list, const char *start, const char *end)
{
    return px_jinja_spend(j, 1) &&
           px_jlist_add(j, list, px_jstr((px_slice){start, (size_t)(end - start)}));
}

/* split(): at runs of white space, none of it kept. */
static bool split_blank(px_jinja *j, px_slice text, int64_t max, px_jv list)
{
    static const px_slice blanks = {0};
    for (text = px_jtext_strip(text, blanks, true, false); text.length;) {
        size_t end = 0;
        while (max != 0 && end < text.length) {
            uint32_t rune;
            size_t bytes = px_rune_decode(text.data + end, &rune);
            if (px_rune_is_blank(rune)) break;
            end += bytes;
        }
        if (max == 0) end = text.length;
        if (!add_part(j, list, text.data, text.data + end)) return false;
        if (max == 0) break;
        if (max > 0) max--;
        text = px_jtext_strip((px_slice){text.data + end, text.length - end}, blanks, true, false);
    }
    return true;
}

static bool split_at(px_jinja *j, px_slice text, px_slice by, int64_t max, px_jv list)
{
    const char *start = text.data, *end = text.data + text.length;
    while (max != 0) {
        const char *found = memmem(start, (size_t)(end - start), by.data, by.length);
        if (!found) break;
        if (!add_part(j, list, start, found)) return false;
        start = found + by.length;
        if (max > 0) max--;
    }
    return add_part(j, list, start, end);
}

static void reverse(px_jv list)
{
    for (size_t i = 0, k = list.list->count; i + 1 < k; i++) {
        k--;
        px_jv swap = list.list->items[i];
        list.list->items[i] = list.list->items[k];
        list.list->items[k] = swap;
    }
}

static bool rsplit_at(px_jinja *j, px_slice text, px_slice by, int64_t max, px_jv list)
{
    while (max != 0) {
        const char *found = px_jtext_find_last(text, by);
        if (!found) break;
        if (!add_part(j, list, found + by.length, text.data + text.length)) return false;
        text.length = (size_t)(found - text.data);
        if (max > 0) max--;
    }
    if (!add_part(j, list, text.data, text.data + text.length)) return false;
    reverse(list);
    return true;
}

static bool rsplit_blank(px_jinja *j, px_slice text, int64_t max, px_jv list)
{
    static const px_slice blanks = {0};
    for (text = px_jtext_strip(text, blanks, false, true); text.length;) {
        size_t start = text.length;
        while (max != 0 && start > 0) {
            size_t before = start - 1;
            while (before > 0 && ((unsigned char)text.data[before] & 0xc0) == 0x80) before--;
            uint32_t rune;
            px_rune_decode(text.data + before, &rune);
            if (px_rune_is_blank(rune)) break;
            start = before;
        }
        if (max == 0) start = 0;
        if (!add_part(j, list, text.data + start, text.data + text.length)) return false;
        if (max == 0) break;
        if (max > 0) max--;
        text = px_jtext_strip((px_slice){text.data, start}, blanks, false, true);
    }
    reverse(list);
    return true;
}

static bool split(px_jinja *j, const px_jcall *c, bool from_right, px_jv *out)
{
    int64_t max;
    px_slice by;
    if (!px_jarg_int(j, c->a[1], -1, &max) || !px_jlist_new(j, 4, out)) return false;
    if (!px_jgiven(c->a[0]) || c->a[0].kind == PX_J_NONE)
        return from_right ? rsplit_blank(j, c->self.text, max, *out)
                          : split_blank(j, c->self.text, max, *out);
    if (!px_jarg_need_text(j, c->a[0], &by)) return false;
    if (by.length == 0) return px_jinja_fail(j, "empty separator");
    return from_right ? rsplit_at(j, c->self.text, by, max, *out)
                      : split_at(j, c->self.text, by, max, *out);
}

METHOD(text_split)
{
    return split(j, c, false, out);
}
METHOD(text_rsplit)
{
    return split(j, c, true, out);
}

static bool is_line_end(uint32_t rune)
{
    return (rune >= 0xa && rune <= 0xd) || (rune >= 0x1c && rune <= 0x1e) || rune == 0x85 ||
           rune == 0x2028 || rune == 0x2029;
}

px_slice px_jtext_line(px_slice text, bool keep_end, size_t *at)
{
    size_t start = *at, end = text.length;
    while (*at < text.length) {
        uint32_t rune;
        size_t bytes = px_rune_decode(text.data + *at, &rune);
        *at += bytes;
        if (!is_line_end(rune)) continue;
        end = *at - bytes;
        if (rune == '\r' && *at < text.length && text.data[*at] == '\n') (*at)++;
        break;
    }
    return (px_slice){text.data + start, (keep_end ? *at : end) - start};
}

METHOD(text_splitlines)
{
    px_slice text = c->self.text;
    bool keep = px_jarg_true(c->a[0], false);
    if (!px_jlist_new(j, 4, out)) return false;
    for (size_t at = 0; at < text.length;) {
        px_slice line = px_jtext_line(text, keep, &at);
        if (!add_part(j, *out, line.data, line.data + line.length)) return false;
    }
    return true;
}

static bool partition(px_jinja *j, const px_jcall *c, bool last, px_jv *out)
{
    px_slice text = c->self.text, by;
    if (!px_jarg_need_text(j, c->a[0], &by) || !px_jlist_new(j, 3, out)) return false;
    if (by.length == 0) return px_jinja_fail(j, "empty separator");
    const char *found =
        last ? px_jtext_find_last(text, by) : memmem(text.data, text.length, by.data, by.length);
    const char *end = text.data + text.length;
    px_slice whole = text, none = {"", 0};
    px_slice parts[3] = {last ? none : whole, none, last ? whole : none};
    if (found) {
        parts[0] = (px_slice){text.data, (size_t)(found - text.data)};
        parts[1] = by;
        parts[2] = (px_slice){found + by.length, (size_t)(end - found) - by.length};
    }
    for (int i = 0; i < 3; i++)
        if (!px_jlist_add(j, *out, px_jstr(parts[i]))) return false;
    out->kind = PX_J_TUPLE;
    return true;
}

METHOD(text_partition)
{
    return partition(j, c, false, out);
}
METHOD(text_rpartition)
{
    return partition(j, c, true, out);
}

METHOD(text_join)
{
    px_jv list;
    px_buf buf;
    if (!px_jiterate(j, c->a[0], &list)) return false;
    px_jbuf_init(j, &buf);
    for (size_t i = 0; i < list.list->count; i++) {
        px_jv item = list.list->items[i];
        if (item.kind != PX_J_STR) {
            px_buf_done(&buf);
            return px_jinja_fail(
                j, "sequence item %zu: expected str instance, %s found", i, px_jtype_name(item));
        }
        if (i) px_buf_append(&buf, c->self.text.data, c->self.text.length);
        px_buf_append(&buf, item.text.data, item.text.length);
    }
    return px_jtake(j, &buf, out);
}

static const px_jfunction methods[] = {{"split", text_split, {"sep", "maxsplit"}, 0, false},
    {"rsplit", text_rsplit, {"sep", "maxsplit"}, 0, false},
    {"splitlines", text_splitlines, {"keepends"}, 0, false},
    {"partition", text_partition, {"sep"}, 1, false},
    {"rpartition", text_rpartition, {"sep"}, 1, false},
    {"join", text_join, {"iterable"}, 1, false}};

const px_jfunction *px_jinja_split_method(px_slice name)
{
    return px_jinja_find(methods, sizeof methods / sizeof *methods, name);
}
