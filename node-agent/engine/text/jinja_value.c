/* jinja_value.c - see jinja_value.h. */
#include "engine/text/jinja_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/unicode.h"

enum { DICT_INDEX_FROM = 9, NESTING_MAX = 200 };

px_jv px_jtext(const char *literal)
{
    return px_jstr((px_slice){literal, strlen(literal)});
}

px_jv px_jundefined(px_jmissing why, px_slice name, px_jkind owner)
{
    return (px_jv){.kind = PX_J_UNDEFINED,
        .detail = (unsigned char)why,
        .owner = (unsigned char)owner,
        .text = name};
}

bool px_jcopy(px_jinja *j, px_slice text, px_jv *out)
{
    char *copy = px_jinja_alloc(j, text.length + 1);
    if (!copy) return false;
    if (text.length) memcpy(copy, text.data, text.length);
    *out = px_jstr((px_slice){copy, text.length});
    return true;
}

/* --- lists --- */

bool px_jlist_new(px_jinja *j, size_t capacity, px_jv *out)
{
    px_jlist *list = px_jinja_alloc(j, sizeof *list);
    if (!list) return false;
    if (capacity) {
        list->items = px_jinja_alloc(j, capacity * sizeof *list->items);
        if (!list->items) return false;
        list->capacity = capacity;
    }
    *out = (px_jv){.kind = PX_J_LIST, .list = list};
    return true;
}

bool px_jlist_add(px_jinja *j, px_jv value, px_jv item)
{
    px_jlist *list = value.list;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 4;
        px_jv *grown = px_jinja_alloc(j, capacity * sizeof *grown);
        if (!grown) return false;
        if (list->count) memcpy(grown, list->items, list->count * sizeof *grown);
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return true;
}

/* --- dicts --- */

static uint32_t hash_bytes(const char *text, size_t length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}

/* Equal values hash alike: 1, 1.0 and True are one key. */
static uint32_t hash_of(px_jv key)
{
    if (key.kind == PX_J_STR || key.kind == PX_J_BIG)
        return hash_bytes(key.text.data, key.text.length);
    if (px_jis_number(key)) {
        double number = px_jnumber(key) + 0.0; /* -0.0 is 0.0 */
        return hash_bytes((const char *)&number, sizeof number);
    }
    if (key.kind == PX_J_TUPLE) {
        uint32_t hash = 1;
        for (size_t i = 0; i < key.list->count; i++) hash = hash * 31 + hash_of(key.list->items[i]);
        return hash;
    }
    return key.kind;
}

bool px_jdict_new(px_jinja *j, px_jv *out)
{
    px_jdict *dict = px_jinja_alloc(j, sizeof *dict);
    if (!dict) return false;
    *out = (px_jv){.kind = PX_J_DICT, .dict = dict};
    return true;
}

static size_t find_entry(const px_jdict *dict, px_jv key, uint32_t hash)
{
    if (!dict->slots) {
        for (size_t i = 0; i < dict->count; i++)
            if (dict->entries[i].hash == hash && px_jequal(dict->entries[i].key, key)) return i;
        return SIZE_MAX;
    }
    for (uint32_t at = hash & dict->mask; dict->slots[at]; at = (at + 1) & dict->mask) {
        const px_jentry *entry = &dict->entries[dict->slots[at] - 1];
        if (entry->hash == hash && px_jequal(entry->key, key)) return dict->slots[at] - 1;
    }
    return SIZE_MAX;
}

static void put_slot(px_jdict *dict, size_t index)
{
    uint32_t at = dict->entries[index].hash & dict->mask;
    while (dict->slots[at]) at = (at + 1) & dict->mask;
    dict->slots[at] = (uint32_t)index + 1;
}

static bool grow_dict(px_jinja *j, px_jdict *dict)
{
    size_t capacity = dict->capacity ? 2 * dict->capacity : 4;
    px_jentry *grown = px_jinja_alloc(j, capacity * sizeof *grown);
    if (!grown) return false;
    if (dict->count) memcpy(grown, dict->entries, dict->count * sizeof *grown);
    dict->entries = grown;
    dict->capacity = capacity;
    if (capacity < DICT_INDEX_FROM) return true;
    dict->slots = px_jinja_alloc(j, 4 * capacity * sizeof *dict->slots);
    if (!dict->slots) return false;
    dict->mask = (uint32_t)(4 * capacity - 1);
    for (size_t i = 0; i < dict->count; i++) put_slot(dict, i);
    return true;
}

bool px_jhashable(px_jinja *j, px_jv key)
{
    bool plain_list = key.kind == PX_J_LIST && !px_jis_range(key);
    if (plain_list || key.kind == PX_J_DICT)
        return px_jinja_fail(j, "unhashable type: '%s'", px_jtype_name(key));
    for (size_t i = 0; key.kind == PX_J_TUPLE && i < key.list->count; i++)
        if (!px_jhashable(j, key.list->items[i])) return false;
    return true;
}

bool px_jdict_set(px_jinja *j, px_jv value, px_jv key, px_jv item)
{
    px_jdict *dict = value.dict;
    if (!px_jhashable(j, key)) return false;
    uint32_t hash = hash_of(key);
    size_t at = find_entry(dict, key, hash);
    if (at != SIZE_MAX) {
        dict->entries[at].value = item;
        return true;
    }
    if (dict->count == dict->capacity && !grow_dict(j, dict)) return false;
    dict->entries[dict->count] = (px_jentry){.key = key, .value = item, .hash = hash};
    if (dict->slots) put_slot(dict, dict->count);
    dict->count++;
    return true;
}

const px_jv *px_jdict_get(px_jv value, px_jv key)
{
    size_t at = find_entry(value.dict, key, hash_of(key));
    return at == SIZE_MAX ? NULL : &value.dict->entries[at].value;
}

const px_jv *px_jdict_get_text(px_jv value, const char *key)
{
    return px_jdict_get(value, px_jtext(key));
}

/* --- looking --- */

const char *px_jtype_name(px_jv value)
{
    static const char *const names[PX_J_KIND_COUNT] = {"missing", "Undefined", "NoneType", "bool",
        "int", "float", "int", "str", "list", "tuple", "dict", "Namespace", "function", "method",
        "Macro", "LoopContext", "Cycler", "Joiner"};
    /* The owner of a missing attribute is a kind without its value. */
    bool labelled = value.kind == PX_J_LIST && value.list && value.list->label;
    return labelled ? value.list->label : names[value.kind];
}

bool px_jtrue(px_jv value)
{
    switch ((px_jkind)value.kind) {
    case PX_J_MISSING:
    case PX_J_UNDEFINED:
    case PX_J_NONE: return false;
    case PX_J_BOOL: return value.truth;
    case PX_J_INT: return value.integer != 0;
    case PX_J_REAL: return value.real != 0;
    case PX_J_STR: return value.text.length > 0;
    case PX_J_LIST:
    case PX_J_TUPLE: return value.list->count > 0 || px_jis_lazy(value);
    case PX_J_DICT: return value.dict->count > 0;
    default: return true;
    }
}

double px_jnumber(px_jv value)
{
    if (value.kind == PX_J_REAL) return value.real;
    return value.kind == PX_J_INT ? (double)value.integer : value.truth;
}

int64_t px_jwhole(px_jv value)
{
    return value.kind == PX_J_INT ? value.integer : value.truth;
}

static bool text_equal(px_slice a, px_slice b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool equal_at(px_jv a, px_jv b, int depth);

static bool lists_equal(const px_jlist *a, const px_jlist *b, int depth)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!equal_at(a->items[i], b->items[i], depth + 1)) return false;
    return true;
}

static bool dicts_equal(px_jv a, px_jv b, int depth)
{
    if (a.dict->count != b.dict->count) return false;
    for (size_t i = 0; i < a.dict->count; i++) {
        const px_jv *other = px_jdict_get(b, a.dict->entries[i].key);
        if (!other || !equal_at(a.dict->entries[i].value, *other, depth + 1)) return false;
    }
    return true;
}

static bool equal_at(px_jv a, px_jv b, int depth)
{
    if (depth > NESTING_MAX) return false; /* only JSON nests, and its parser is stricter */
    if (px_jis_number(a) && px_jis_number(b)) {
        if (a.kind != PX_J_REAL && b.kind != PX_J_REAL) return px_jwhole(a) == px_jwhole(b);
        return px_jnumber(a) == px_jnumber(b);
    }
    if (a.kind != b.kind) return false;
    switch ((px_jkind)a.kind) {
    case PX_J_NONE:
    case PX_J_UNDEFINED: return true;
    case PX_J_STR:
    case PX_J_BIG: return text_equal(a.text, b.text);
    case PX_J_LIST:
        if (a.list->label != b.list->label || a.list->lazy) return a.list == b.list;
        return lists_equal(a.list, b.list, depth);
    case PX_J_TUPLE: return lists_equal(a.list, b.list, depth);
    case PX_J_DICT: return dicts_equal(a, b, depth);
    default: return a.object == b.object;
    }
}

bool px_jequal(px_jv a, px_jv b)
{
    return equal_at(a, b, 0);
}

static int order_reals(double a, double b)
{
    return (a > b) - (a < b);
}

static bool is_negative(px_slice digits)
{
    return digits.length && digits.data[0] == '-';
}

/* A whole number beyond 64 bits against another number. */
static int order_big(px_jv a, px_jv b)
{
    if (a.kind != PX_J_BIG) return -order_big(b, a);
    bool below = is_negative(a.text);
    if (b.kind == PX_J_REAL) {
        char digits[400];
        snprintf(digits, sizeof digits, "%.*s", (int)a.text.length, a.text.data);
        return order_reals(strtod(digits, NULL), b.real);
    }
    if (b.kind != PX_J_BIG || is_negative(b.text) != below) return below ? -1 : 1;
    int order = a.text.length != b.text.length ? (a.text.length > b.text.length ? 1 : -1)
                                               : memcmp(a.text.data, b.text.data, a.text.length);
    return below ? -order : order;
}

bool px_jcompare(px_jinja *j, px_jv a, px_jv b, int *out)
{
    if (px_jis_number(a) && px_jis_number(b)) {
        if (a.kind != PX_J_REAL && b.kind != PX_J_REAL)
            *out = (px_jwhole(a) > px_jwhole(b)) - (px_jwhole(a) < px_jwhole(b));
        else
            *out = order_reals(px_jnumber(a), px_jnumber(b));
        return true;
    }
    bool a_number = px_jis_number(a) || a.kind == PX_J_BIG;
    if (a_number && (px_jis_number(b) || b.kind == PX_J_BIG)) {
        *out = order_big(a, b);
        return true;
    }
    if (a.kind == PX_J_STR && b.kind == PX_J_STR) {
        /* UTF-8 sorts as its code points do. */
        size_t shorter = a.text.length < b.text.length ? a.text.length : b.text.length;
        int order = shorter ? memcmp(a.text.data, b.text.data, shorter) : 0;
        *out = order ? order : (a.text.length > b.text.length) - (a.text.length < b.text.length);
        return true;
    }
    if (a.kind == b.kind && (a.kind == PX_J_LIST || a.kind == PX_J_TUPLE) && !a.list->label &&
        !b.list->label) {
        for (size_t i = 0; i < a.list->count && i < b.list->count; i++)
            if (!px_jequal(a.list->items[i], b.list->items[i]))
                return px_jcompare(j, a.list->items[i], b.list->items[i], out);
        *out = (a.list->count > b.list->count) - (a.list->count < b.list->count);
        return true;
    }
    if (a.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, a);
    if (b.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, b);
    return px_jinja_fail(j, "'<' not supported between instances of '%s' and '%s'",
        px_jtype_name(a), px_jtype_name(b));
}

int64_t px_jlength(px_jv value)
{
    switch ((px_jkind)value.kind) {
    case PX_J_UNDEFINED: return 0;
    case PX_J_STR: return (int64_t)px_rune_count(value.text.data, value.text.length);
    case PX_J_LIST:
    case PX_J_TUPLE: return px_jis_lazy(value) ? -1 : (int64_t)value.list->count;
    case PX_J_DICT: return (int64_t)value.dict->count;
    default: return -1;
    }
}

static bool iterate_text(px_jinja *j, px_slice text, px_jv out)
{
    for (size_t at = 0; at < text.length;) {
        size_t bytes = px_rune_bytes(text.data[at]);
        if (!px_jlist_add(j, out, px_jstr((px_slice){text.data + at, bytes}))) return false;
        at += bytes;
    }
    return true;
}

/* The items move to a list of their own, and the generator is left empty. */
static bool drain(px_jinja *j, px_jlist *lazy, px_jv *out)
{
    px_jlist *list = px_jinja_alloc(j, sizeof *list);
    if (!list) return false;
    *list = (px_jlist){.items = lazy->items, .count = lazy->count, .capacity = lazy->capacity};
    lazy->items = NULL;
    lazy->count = lazy->capacity = 0;
    *out = (px_jv){.kind = PX_J_LIST, .list = list};
    return true;
}

bool px_jiterate(px_jinja *j, px_jv value, px_jv *out)
{
    if (value.kind == PX_J_LIST || value.kind == PX_J_TUPLE) {
        *out = (px_jv){.kind = PX_J_LIST, .list = value.list};
        if (!px_jinja_spend(j, value.list->count)) return false;
        return !value.list->lazy || drain(j, value.list, out);
    }
    int64_t length = px_jlength(value);
    if (length < 0) return px_jinja_fail(j, "'%s' object is not iterable", px_jtype_name(value));
    if (!px_jinja_spend(j, (uint64_t)length) || !px_jlist_new(j, (size_t)length, out)) return false;
    if (value.kind == PX_J_STR) return iterate_text(j, value.text, *out);
    for (int64_t i = 0; i < length; i++)
        if (!px_jlist_add(j, *out, value.dict->entries[i].key)) return false;
    return true;
}

/* --- printing --- */

/* The shortest digits that read back as the same number, in Python's notation: an exponent
 * below 1e-4 and from 1e16 on. */
void px_jprint_real(double value, px_buf *out)
{
    if (isnan(value) || isinf(value)) {
        px_buf_puts(out, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value) break;
    }
    char *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    size_t digits = 0;
    char plain[24];
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9') plain[digits++] = *p;
    if (text[0] == '-') px_buf_putc(out, '-');
    if (exponent < -4 || exponent >= 16) {
        px_buf_putc(out, plain[0]);
        if (digits > 1) px_buf_putc(out, '.');
        px_buf_append(out, plain + 1, digits - 1);
        px_buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) px_buf_puts(out, "0.");
    for (int i = -1; i > exponent; i--) px_buf_putc(out, '0');
    for (int i = 0; i < (int)digits || i <= exponent; i++) {
        if (i > 0 && i == exponent + 1) px_buf_putc(out, '.');
        px_buf_putc(out, i < (int)digits ? plain[i] : '0');
    }
    if (exponent >= 0 && (int)digits <= exponent + 1) px_buf_puts(out, ".0");
}

static void repr_rune(uint32_t rune, char quote, px_buf *out)
{
    if (rune == '\n')
        px_buf_puts(out, "\\n");
    else if (rune == '\r')
        px_buf_puts(out, "\\r");
    else if (rune == '\t')
        px_buf_puts(out, "\\t");
    else if (rune == '\\' || rune == (unsigned char)quote)
        px_buf_printf(out, "\\%c", (int)rune);
    else if (px_rune_is_printable(rune))
        px_rune_append(out, rune);
    else
        px_buf_printf(out,
            rune < 0x100     ? "\\x%02x"
            : rune < 0x10000 ? "\\u%04x"
                             : "\\U%08x",
            (unsigned)rune);
}

/* Double quotes only where the text has single ones and no double ones. */
static void repr_text(px_slice text, px_buf *out)
{
    bool single = text.length && memchr(text.data, '\'', text.length);
    bool twice = text.length && memchr(text.data, '"', text.length);
    char quote = single && !twice ? '"' : '\'';
    px_buf_putc(out, quote);
    for (size_t at = 0; at < text.length;) {
        uint32_t rune;
        at += px_rune_decode(text.data + at, &rune);
        repr_rune(rune, quote, out);
    }
    px_buf_putc(out, quote);
}

static void repr_list(px_jinja *j, px_jv value, px_buf *out)
{
    bool tuple = value.kind == PX_J_TUPLE;
    const px_jlist *list = value.list;
    if (px_jis_range(value)) {
        px_buf_append(out, list->printed.data, list->printed.length);
        return;
    }
    if (list->lazy) {
        px_buf_printf(out, "<%s object>", list->label);
        return;
    }
    if (list->label) px_buf_printf(out, "%s(", list->label);
    px_buf_putc(out, tuple ? '(' : '[');
    for (size_t i = 0; i < list->count; i++) {
        if (i) px_buf_puts(out, ", ");
        px_jrepr(j, list->items[i], out);
    }
    if (tuple && list->count == 1) px_buf_putc(out, ',');
    px_buf_putc(out, tuple ? ')' : ']');
    if (list->label) px_buf_putc(out, ')');
}

static void repr_dict(px_jinja *j, px_jv value, px_buf *out)
{
    px_buf_putc(out, '{');
    for (size_t i = 0; i < value.dict->count; i++) {
        if (i) px_buf_puts(out, ", ");
        px_jrepr(j, value.dict->entries[i].key, out);
        px_buf_puts(out, ": ");
        px_jrepr(j, value.dict->entries[i].value, out);
    }
    px_buf_putc(out, '}');
}

void px_jrepr(px_jinja *j, px_jv value, px_buf *out)
{
    if (!px_jinja_enter(j)) return;
    switch ((px_jkind)value.kind) {
    case PX_J_STR:
        if (value.detail) px_buf_puts(out, "Markup(");
        repr_text(value.text, out);
        if (value.detail) px_buf_putc(out, ')');
        break;
    case PX_J_LIST:
    case PX_J_TUPLE: repr_list(j, value, out); break;
    case PX_J_DICT: repr_dict(j, value, out); break;
    case PX_J_UNDEFINED: px_buf_puts(out, "Undefined"); break;
    default: px_jprint(j, value, out); break;
    }
    px_jinja_leave(j);
}

void px_jprint(px_jinja *j, px_jv value, px_buf *out)
{
    switch ((px_jkind)value.kind) {
    case PX_J_MISSING:
    case PX_J_UNDEFINED: break;
    case PX_J_NONE: px_buf_puts(out, "None"); break;
    case PX_J_BOOL: px_buf_puts(out, value.truth ? "True" : "False"); break;
    case PX_J_INT: px_buf_printf(out, "%lld", (long long)value.integer); break;
    case PX_J_REAL: px_jprint_real(value.real, out); break;
    case PX_J_STR:
    case PX_J_BIG: px_buf_append(out, value.text.data, value.text.length); break;
    case PX_J_LIST:
    case PX_J_TUPLE:
    case PX_J_DICT: px_jrepr(j, value, out); break;
    case PX_J_NAMESPACE:
        px_buf_puts(out, "<Namespace ");
        repr_dict(j, value, out);
        px_buf_putc(out, '>');
        break;
    default: px_buf_printf(out, "<%s>", px_jtype_name(value)); break;
    }
}

bool px_jto_str(px_jinja *j, px_jv value, px_slice *out)
{
    if (value.kind == PX_J_STR || value.kind == PX_J_BIG) {
        *out = value.text;
        return true;
    }
    px_buf text;
    px_buf_init(&text, j->arena.limit_bytes);
    px_jprint(j, value, &text);
    px_jv copy;
    bool ok =
        !px_jinja_failed(j) && px_jcopy(j, (px_slice){px_buf_text(&text), text.length}, &copy);
    px_buf_done(&text);
    if (ok) *out = copy.text;
    return ok;
}
