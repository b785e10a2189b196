/* jinja_pprint.c - the filter pprint: a value over as many lines as it needs, keys sorted.
 *
 * Source: Python 3's pprint.pformat() with its defaults: 80 columns, one column a level.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

enum { WIDTH = 80 };

typedef struct printer {
    px_jinja *j;
    px_buf *out;
    px_buf repr; /* work space */
} printer;

/* Where a value stands: columns before it, columns that must stay free behind it. */
typedef struct place {
    int64_t indent, allowance;
} place;

/* --- keys in order --- */

typedef struct sorted_entry {
    const px_jentry *entry;
    size_t index;
} sorted_entry;

static int order(double difference)
{
    return (difference > 0) - (difference < 0);
}

static int compare_keys(px_jv a, px_jv b)
{
    if (px_jis_number(a) && px_jis_number(b)) return order(px_jnumber(a) - px_jnumber(b));
    if (a.kind != PX_J_STR || b.kind != PX_J_STR) return strcmp(px_jtype_name(a), px_jtype_name(b));
    size_t common = a.text.length < b.text.length ? a.text.length : b.text.length;
    int first = common ? memcmp(a.text.data, b.text.data, common) : 0;
    return first ? first : order((double)a.text.length - (double)b.text.length);
}

static int compare_entries(const void *a, const void *b)
{
    const sorted_entry *x = a, *y = b;
    int keys = compare_keys(x->entry->key, y->entry->key);
    return keys ? keys : (x->index > y->index) - (x->index < y->index);
}

static bool sorted(px_jinja *j, px_jv value, px_jv *out);

static bool sorted_dict(px_jinja *j, const px_jdict *dict, px_jv *out)
{
    sorted_entry *entries = px_jinja_alloc(j, (dict->count + 1) * sizeof *entries);
    if (!entries || !px_jdict_new(j, out)) return false;
    for (size_t i = 0; i < dict->count; i++) entries[i] = (sorted_entry){&dict->entries[i], i};
    qsort(entries, dict->count, sizeof *entries, compare_entries);
    for (size_t i = 0; i < dict->count; i++) {
        px_jv value;
        if (!sorted(j, entries[i].entry->value, &value) ||
            !px_jdict_set(j, *out, entries[i].entry->key, value))
            return false;
    }
    return true;
}

static bool is_plain_list(px_jv value)
{
    return (value.kind == PX_J_LIST || value.kind == PX_J_TUPLE) && !value.list->label &&
           !value.list->lazy;
}

/* A copy in which all dicts are in the order of their keys. */
static bool sorted(px_jinja *j, px_jv value, px_jv *out)
{
    *out = value;
    if (value.kind != PX_J_DICT && !is_plain_list(value)) return true;
    if (!px_jinja_enter(j)) return false;
    bool ok = true;
    if (value.kind == PX_J_DICT) {
        ok = sorted_dict(j, value.dict, out);
    } else {
        ok = px_jlist_new(j, value.list->count, out);
        for (size_t i = 0; ok && i < value.list->count; i++) {
            px_jv item;
            ok = sorted(j, value.list->items[i], &item) && px_jlist_add(j, *out, item);
        }
        out->kind = value.kind;
    }
    px_jinja_leave(j);
    return ok;
}

/* --- printing --- */

static px_slice repr_of(printer *p, px_jv value)
{
    px_buf_reset(&p->repr);
    px_jrepr(p->j, value, &p->repr);
    return (px_slice){px_buf_text(&p->repr), p->repr.length};
}

static int64_t columns(px_slice text)
{
    return (int64_t)px_rune_count(text.data, text.length);
}

static void new_line(printer *p, int64_t indent)
{
    px_buf_printf(p->out, "\n%*s", (int)indent, "");
}

static void print(printer *p, px_jv value, place at, int level);

static void print_items(printer *p, const px_jlist *list, place at, int level)
{
    for (size_t i = 0; i < list->count && !px_jinja_failed(p->j); i++) {
        if (i) px_buf_putc(p->out, ',');
        if (i) new_line(p, at.indent + 1);
        int64_t behind = i + 1 == list->count ? at.allowance : 1;
        print(p, list->items[i], (place){at.indent + 1, behind}, level);
    }
}

static void print_dict(printer *p, const px_jdict *dict, place at, int level)
{
    px_buf_putc(p->out, '{');
    for (size_t i = 0; i < dict->count && !px_jinja_failed(p->j); i++) {
        if (i) px_buf_putc(p->out, ',');
        if (i) new_line(p, at.indent + 1);
        px_slice key = repr_of(p, dict->entries[i].key);
        px_buf_append(p->out, key.data, key.length);
        px_buf_puts(p->out, ": ");
        print(p, dict->entries[i].value,
            (place){at.indent + 1 + columns(key) + 2, i + 1 == dict->count ? at.allowance + 1 : 1},
            level);
    }
    px_buf_putc(p->out, '}');
}

/* A long text becomes several, one a line of it, or broken behind white space. */
typedef struct chunks {
    printer *p;
    px_jv first; /* held back: a single chunk is printed as it is */
    size_t count;
    int64_t indent;
    bool brackets;
} chunks;

static void put_chunk(chunks *c, px_slice text)
{
    if (c->count == 1 && c->brackets) px_buf_putc(c->p->out, '(');
    if (c->count == 1) px_jrepr(c->p->j, c->first, c->p->out);
    if (c->count++ == 0) {
        c->first = px_jstr(text);
        return;
    }
    new_line(c->p, c->indent);
    px_jrepr(c->p->j, px_jstr(text), c->p->out);
}

/* The end of the word at text[at] and of the white space behind it. */
static size_t word_end(px_slice text, size_t at)
{
    bool blank = false;
    while (at < text.length) {
        uint32_t rune;
        size_t bytes = px_rune_decode(text.data + at, &rune);
        bool space = px_rune_is_blank(rune);
        if (blank && !space) break;
        blank = space;
        at += bytes;
    }
    return at;
}

static void put_words(chunks *c, px_slice line, bool last_line, place at)
{
    size_t start = 0;
    for (size_t end = 0, next; end < line.length; end = next) {
        next = word_end(line, end);
        int64_t width = WIDTH - at.indent;
        if (next == line.length && last_line) width -= at.allowance;
        px_slice with = {line.data + start, next - start};
        if (columns(repr_of(c->p, px_jstr(with))) <= width) continue;
        if (end > start) put_chunk(c, (px_slice){line.data + start, end - start});
        start = end;
    }
    if (start < line.length) put_chunk(c, (px_slice){line.data + start, line.length - start});
}

static void print_text(printer *p, px_slice text, place at, int level)
{
    if (level == 1) {
        at.indent++;
        at.allowance++;
    }
    chunks c = {.p = p, .indent = at.indent, .brackets = level == 1};
    for (size_t next = 0; next < text.length && !px_jinja_failed(p->j);) {
        px_slice line = px_jtext_line(text, true, &next);
        bool last = next >= text.length;
        int64_t width = WIDTH - at.indent - (last ? at.allowance : 0);
        if (columns(repr_of(p, px_jstr(line))) <= width)
            put_chunk(&c, line);
        else
            put_words(&c, line, last, at);
    }
    if (c.count <= 1)
        px_jrepr(p->j, px_jstr(text), p->out);
    else if (c.brackets)
        px_buf_putc(p->out, ')');
}

static void print(printer *p, px_jv value, place at, int level)
{
    px_slice repr = repr_of(p, value);
    bool fits = columns(repr) <= WIDTH - at.indent - at.allowance;
    bool text = value.kind == PX_J_STR && !px_jis_markup(value) && value.text.length;
    if (fits || !(text || value.kind == PX_J_DICT || is_plain_list(value))) {
        px_buf_append(p->out, repr.data, repr.length);
        return;
    }
    /* Each level prints what it holds once more to see whether it fits. */
    if (!px_jinja_spend(p->j, repr.length / 16 + 1) || !px_jinja_enter(p->j)) return;
    if (text) {
        print_text(p, value.text, at, level + 1);
    } else if (value.kind == PX_J_DICT) {
        print_dict(p, value.dict, at, level + 1);
    } else {
        bool tuple = value.kind == PX_J_TUPLE, lone = tuple && value.list->count == 1;
        at.allowance += lone ? 2 : 1;
        px_buf_putc(p->out, tuple ? '(' : '[');
        print_items(p, value.list, at, level + 1);
        px_buf_puts(p->out, lone ? ",)" : tuple ? ")" : "]");
    }
    px_jinja_leave(p->j);
}

bool px_jinja_pprint(px_jinja *j, const px_jcall *call, px_jv *out)
{
    px_jv value;
    px_buf buf;
    if (!sorted(j, call->self, &value)) return false;
    px_jbuf_init(j, &buf);
    printer p = {.j = j, .out = &buf};
    px_jbuf_init(j, &p.repr);
    print(&p, value, (place){0, 0}, 0);
    px_buf_done(&p.repr);
    return px_jtake(j, &buf, out);
}
