/* jinja_json.c - see jinja_json.h; and tojson, spelled as Python's json.dumps() spells.
 *
 * transformers replaces Jinja's own tojson: no HTML escapes, ensure_ascii off, keys in their order.
 */
#include "engine/text/jinja_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

/* --- in --- */

static bool from_array(px_jinja *j, const json_t *json, px_jv *out)
{
    size_t i;
    const json_t *each;
    if (!px_jlist_new(j, json_array_size(json), out)) return false;
    json_array_foreach(json, i, each)
    {
        px_jv item;
        if (!px_jinja_from_json(j, each, &item) || !px_jlist_add(j, *out, item)) return false;
    }
    return true;
}

static bool from_object(px_jinja *j, const json_t *json, px_jv *out)
{
    const char *key;
    size_t length;
    json_t *each;
    if (!px_jdict_new(j, out)) return false;
    json_object_keylen_foreach((json_t *)json, key, length, each)
    {
        px_jv value;
        if (!px_jinja_from_json(j, each, &value) ||
            !px_jdict_set(j, *out, px_jstr((px_slice){key, length}), value))
            return false;
    }
    return true;
}

bool px_jinja_from_json(px_jinja *j, const json_t *json, px_jv *out)
{
    *out = px_jnone();
    if (!json) return true;
    if (!px_jinja_spend(j, 1) || !px_jinja_enter(j)) return false;
    bool ok = true;
    switch (json_typeof(json)) {
    case JSON_OBJECT: ok = from_object(j, json, out); break;
    case JSON_ARRAY: ok = from_array(j, json, out); break;
    case JSON_STRING:
        *out = px_jstr((px_slice){json_string_value(json), json_string_length(json)});
        break;
    case JSON_INTEGER: *out = px_jint(json_integer_value(json)); break;
    case JSON_REAL: *out = px_jreal(json_real_value(json)); break;
    case JSON_TRUE: *out = px_jbool(true); break;
    case JSON_FALSE: *out = px_jbool(false); break;
    case JSON_NULL: break;
    }
    px_jinja_leave(j);
    return ok;
}

/* --- out --- */

typedef struct writer {
    px_jinja *j;
    px_buf *out;
    bool ascii, sort, lines; /* lines: one item a line, indented */
    px_slice indent, item_separator, key_separator;
} writer;

static void write_ascii(uint32_t rune, px_buf *out)
{
    if (rune >= 0x10000) {
        rune -= 0x10000;
        px_buf_printf(out, "\\u%04x\\u%04x", 0xd800 + (rune >> 10), 0xdc00 + (rune & 0x3ff));
    } else {
        px_buf_printf(out, "\\u%04x", rune);
    }
}

static void write_text(writer *w, px_slice text)
{
    static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
    px_buf_putc(w->out, '"');
    for (size_t at = 0; at < text.length;) {
        uint32_t rune;
        size_t bytes = px_rune_decode(text.data + at, &rune);
        const char *found = rune && rune < 128 ? strchr(plain, (int)rune) : NULL;
        if (found)
            px_buf_printf(w->out, "\\%c", escaped[found - plain]);
        else if (rune < 0x20 || (w->ascii && rune >= 0x7f && rune != 0x7f))
            write_ascii(rune, w->out);
        else
            px_buf_append(w->out, text.data + at, bytes);
        at += bytes;
    }
    px_buf_putc(w->out, '"');
}

static void write_real(double value, px_buf *out)
{
    if (isnan(value))
        px_buf_puts(out, "NaN");
    else if (isinf(value))
        px_buf_puts(out, value < 0 ? "-Infinity" : "Infinity");
    else
        px_jprint_real(value, out);
}

static void new_line(writer *w, int level)
{
    if (!w->lines) return;
    px_buf_putc(w->out, '\n');
    for (int i = 0; i < level; i++) px_buf_append(w->out, w->indent.data, w->indent.length);
}

static bool write_value(writer *w, px_jv value, int level);

static bool write_list(writer *w, const px_jlist *list, int level)
{
    px_buf_putc(w->out, '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i) px_buf_append(w->out, w->item_separator.data, w->item_separator.length);
        new_line(w, level + 1);
        if (!write_value(w, list->items[i], level + 1)) return false;
    }
    if (list->count) new_line(w, level);
    px_buf_putc(w->out, ']');
    return true;
}

/* Keys that are not texts are written as texts. */
static bool write_key(writer *w, px_jv key)
{
    if (key.kind == PX_J_STR) {
        write_text(w, key.text);
        return true;
    }
    if (!px_jis_number(key) && key.kind != PX_J_NONE)
        return px_jinja_fail(
            w->j, "keys must be str, int, float, bool or None, not %s", px_jtype_name(key));
    px_buf_putc(w->out, '"');
    bool ok = write_value(w, key, 0);
    px_buf_putc(w->out, '"');
    return ok;
}

typedef struct entry_order {
    writer *w;
    bool failed;
} entry_order;

static int by_key(const void *a, const void *b, void *arg)
{
    entry_order *order = arg;
    int result = 0;
    if (!order->failed && !px_jcompare(order->w->j, ((const px_jentry *)a)->key,
                              ((const px_jentry *)b)->key, &result))
        order->failed = true;
    return result;
}

static bool write_dict(writer *w, const px_jdict *dict, int level)
{
    const px_jentry *entries = dict->entries;
    if (w->sort && dict->count) {
        px_jentry *sorted = px_jinja_alloc(w->j, dict->count * sizeof *sorted);
        if (!sorted) return false;
        memcpy(sorted, entries, dict->count * sizeof *sorted);
        entry_order order = {.w = w};
        qsort_r(sorted, dict->count, sizeof *sorted, by_key, &order);
        if (order.failed) return false;
        entries = sorted;
    }
    px_buf_putc(w->out, '{');
    for (size_t i = 0; i < dict->count; i++) {
        if (i) px_buf_append(w->out, w->item_separator.data, w->item_separator.length);
        new_line(w, level + 1);
        if (!write_key(w, entries[i].key)) return false;
        px_buf_append(w->out, w->key_separator.data, w->key_separator.length);
        if (!write_value(w, entries[i].value, level + 1)) return false;
    }
    if (dict->count) new_line(w, level);
    px_buf_putc(w->out, '}');
    return true;
}

static bool write_value(writer *w, px_jv value, int level)
{
    px_jinja *j = w->j;
    if (!px_jinja_spend(j, 1) || !px_jinja_enter(j)) return false;
    bool ok = true;
    switch ((px_jkind)value.kind) {
    case PX_J_NONE: px_buf_puts(w->out, "null"); break;
    case PX_J_BOOL: px_buf_puts(w->out, value.truth ? "true" : "false"); break;
    case PX_J_INT:
    case PX_J_BIG: px_jprint(j, value, w->out); break;
    case PX_J_REAL: write_real(value.real, w->out); break;
    case PX_J_STR: write_text(w, value.text); break;
    case PX_J_TUPLE: ok = write_list(w, value.list, level); break;
    case PX_J_DICT: ok = write_dict(w, value.dict, level); break;
    case PX_J_LIST:
        if (!value.list->label) {
            ok = write_list(w, value.list, level);
            break;
        }
        ok = px_jinja_fail(j, "Object of type %s is not JSON serializable", value.list->label);
        break;
    default:
        ok = px_jinja_fail(j, "Object of type %s is not JSON serializable", px_jtype_name(value));
    }
    px_jinja_leave(j);
    return ok;
}

/* indent: None, a number of blanks, or a text. */
static bool read_indent(px_jinja *j, px_jv indent, writer *w)
{
    if (!px_jgiven(indent) || indent.kind == PX_J_NONE) return true;
    w->lines = true;
    w->item_separator = (px_slice){",", 1};
    if (indent.kind == PX_J_STR) {
        w->indent = indent.text;
        return true;
    }
    px_jv blanks;
    if (!px_jinja_binary(j, PX_OP_MUL, px_jtext(" "), indent, &blanks)) return false;
    w->indent = blanks.text;
    return true;
}

static bool read_separators(px_jinja *j, px_jv separators, writer *w)
{
    if (!px_jgiven(separators) || separators.kind == PX_J_NONE) return true;
    px_jv pair;
    if (!px_jiterate(j, separators, &pair)) return false;
    if (pair.list->count != 2) return px_jinja_fail(j, "separators must be (item, key)");
    return px_jto_str(j, pair.list->items[0], &w->item_separator) &&
           px_jto_str(j, pair.list->items[1], &w->key_separator);
}

bool px_jinja_tojson(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_buf buf;
    writer w = {.j = j,
        .out = &buf,
        .ascii = px_jarg_true(c->a[0], false),
        .sort = px_jarg_true(c->a[3], false),
        .item_separator = {", ", 2},
        .key_separator = {": ", 2}};
    if (!read_indent(j, c->a[1], &w) || !read_separators(j, c->a[2], &w)) return false;
    px_jbuf_init(j, &buf);
    bool ok = write_value(&w, c->self, 0);
    return px_jtake(j, &buf, out) && ok;
}
