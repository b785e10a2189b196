/* jinja_attr.c - value.name, value[key], value[a:b:c], and the methods of containers.
 *
 * As in Jinja: ".x" looks for an attribute first and then for an item, "[x]" the other way round.
 * The sandbox refuses what would change a list or dict, and names that begin with an underscore.
 * Source: Jinja 3.1, environment.py, runtime.py, sandbox.py; Python's list, tuple and dict.
 */
#include <math.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

static bool same(px_slice name, const char *text)
{
    return name.length == strlen(text) && memcmp(name.data, text, name.length) == 0;
}

/* --- methods of dicts --- */

static bool new_pair(px_jinja *j, px_jv a, px_jv b, px_jv *out)
{
    if (!px_jlist_new(j, 2, out) || !px_jlist_add(j, *out, a) || !px_jlist_add(j, *out, b))
        return false;
    out->kind = PX_J_TUPLE;
    return true;
}

typedef enum dict_part { PART_KEYS, PART_VALUES, PART_ITEMS } dict_part;

static bool dict_list(px_jinja *j, px_jv dict, dict_part part, px_jv *out)
{
    static const char *const labels[] = {"dict_keys", "dict_values", "dict_items"};
    const px_jdict *d = dict.dict;
    if (!px_jinja_spend(j, d->count) || !px_jlist_new(j, d->count, out)) return false;
    for (size_t i = 0; i < d->count; i++) {
        px_jv item = part == PART_KEYS ? d->entries[i].key : d->entries[i].value;
        if (part == PART_ITEMS && !new_pair(j, d->entries[i].key, d->entries[i].value, &item))
            return false;
        if (!px_jlist_add(j, *out, item)) return false;
    }
    out->list->label = labels[part];
    return true;
}

static bool dict_keys(px_jinja *j, const px_jcall *c, px_jv *out)
{
    return dict_list(j, c->self, PART_KEYS, out);
}

static bool dict_values(px_jinja *j, const px_jcall *c, px_jv *out)
{
    return dict_list(j, c->self, PART_VALUES, out);
}

static bool dict_items(px_jinja *j, const px_jcall *c, px_jv *out)
{
    return dict_list(j, c->self, PART_ITEMS, out);
}

static bool dict_get(px_jinja *j, const px_jcall *c, px_jv *out)
{
    const px_jv *found = px_jdict_get(c->self, c->a[0]);
    *out = found ? *found : px_jgiven(c->a[1]) ? c->a[1] : px_jnone();
    return true;
}

static bool dict_copy(px_jinja *j, const px_jcall *c, px_jv *out)
{
    if (!px_jdict_new(j, out)) return false;
    const px_jdict *d = c->self.dict;
    for (size_t i = 0; i < d->count; i++)
        if (!px_jdict_set(j, *out, d->entries[i].key, d->entries[i].value)) return false;
    return true;
}

static bool dict_fromkeys(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_jv keys, value = px_jgiven(c->a[1]) ? c->a[1] : px_jnone();
    if (!px_jiterate(j, c->a[0], &keys) || !px_jdict_new(j, out)) return false;
    for (size_t i = 0; i < keys.list->count; i++)
        if (!px_jhashable(j, keys.list->items[i]) ||
            !px_jdict_set(j, *out, keys.list->items[i], value))
            return false;
    return true;
}

static const px_jfunction dict_methods[] = {{"items", dict_items, {NULL}, 0, false},
    {"keys", dict_keys, {NULL}, 0, false}, {"values", dict_values, {NULL}, 0, false},
    {"get", dict_get, {"key", "default"}, 1, false}, {"copy", dict_copy, {NULL}, 0, false},
    {"fromkeys", dict_fromkeys, {"iterable", "value"}, 1, false}};

/* --- methods of lists and tuples --- */

static bool list_index(px_jinja *j, const px_jcall *c, px_jv *out)
{
    const px_jlist *list = c->self.list;
    for (size_t i = 0; i < list->count; i++) {
        if (!px_jequal(list->items[i], c->a[0])) continue;
        *out = px_jint((int64_t)i);
        return px_jinja_spend(j, i);
    }
    return px_jinja_fail(j, "the value is not in the %s", px_jtype_name(c->self));
}

static bool list_count(px_jinja *j, const px_jcall *c, px_jv *out)
{
    int64_t count = 0;
    for (size_t i = 0; i < c->self.list->count; i++)
        count += px_jequal(c->self.list->items[i], c->a[0]);
    *out = px_jint(count);
    return px_jinja_spend(j, c->self.list->count);
}

static bool list_copy(px_jinja *j, const px_jcall *c, px_jv *out)
{
    *out = c->self; /* lists never change here */
    return true;
}

static const px_jfunction list_methods[] = {{"index", list_index, {"value"}, 1, false},
    {"count", list_count, {"value"}, 1, false}, {"copy", list_copy, {NULL}, 0, false}};

/* --- methods of numbers --- */

static bool real_is_integer(px_jinja *j, const px_jcall *c, px_jv *out)
{
    *out = px_jbool(px_jnumber(c->self) == floor(px_jnumber(c->self)));
    return true;
}

/* Of what stands behind the sign. */
static bool int_bit_length(px_jinja *j, const px_jcall *c, px_jv *out)
{
    int64_t whole = px_jwhole(c->self);
    uint64_t bits = whole < 0 ? -(uint64_t)whole : (uint64_t)whole;
    int64_t length = 0;
    for (; bits; bits >>= 1) length++;
    *out = px_jint(length);
    return true;
}

static const px_jfunction real_methods[] = {{"is_integer", real_is_integer, {NULL}, 0, false}};
static const px_jfunction int_methods[] = {{"bit_length", int_bit_length, {NULL}, 0, false}};

/* Every number has two parts; a whole one is a fraction too. */
static bool number_attribute(px_jv value, px_slice name, px_jv *out)
{
    bool real = value.kind == PX_J_REAL;
    px_jv self = real ? value : px_jint(px_jwhole(value));
    if (same(name, "real") || (!real && same(name, "numerator")))
        *out = self;
    else if (same(name, "imag"))
        *out = real ? px_jreal(0) : px_jint(0);
    else if (!real && same(name, "denominator"))
        *out = px_jint(1);
    else
        return false;
    return true;
}

/* --- loops and cyclers --- */

static bool loop_cycle(px_jinja *j, const px_jcall *c, px_jv *out)
{
    if (c->args->count == 0) return px_jinja_fail(j, "no items for cycling given");
    *out = c->args->items[c->self.loop->index % c->args->count];
    return true;
}

static bool loop_changed(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_jv now;
    if (!px_jlist_new(j, c->args->count, &now)) return false;
    for (size_t i = 0; i < c->args->count; i++)
        if (!px_jlist_add(j, now, c->args->items[i])) return false;
    px_jv *last = &c->self.loop->changed;
    *out = px_jbool(!px_jgiven(*last) || !px_jequal(*last, now));
    *last = now;
    return true;
}

static const px_jfunction loop_methods[] = {
    {"cycle", loop_cycle, {NULL}, 0, true}, {"changed", loop_changed, {NULL}, 0, true}};

/* A cycler is a list whose first item is the place it is at. */
static bool cycler_next(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_jlist *list = c->self.list;
    size_t count = list->count - 1, at = (size_t)list->items[0].integer;
    *out = list->items[1 + at];
    list->items[0] = px_jint((int64_t)((at + 1) % count));
    return true;
}

static bool cycler_reset(px_jinja *j, const px_jcall *c, px_jv *out)
{
    c->self.list->items[0] = px_jint(0);
    *out = px_jnone();
    return true;
}

static const px_jfunction cycler_methods[] = {
    {"next", cycler_next, {NULL}, 0, false}, {"reset", cycler_reset, {NULL}, 0, false}};

/* --- attributes --- */

static bool bind_method(px_jinja *j, const px_jfunction *function, px_jv self, px_jv *out)
{
    px_jmethod *method = px_jinja_alloc(j, sizeof *method);
    if (!method) return false;
    *method = (px_jmethod){.function = function, .self = self};
    *out = (px_jv){.kind = PX_J_METHOD, .method = method};
    return true;
}

#define FIND(table, name) px_jinja_find(table, sizeof table / sizeof *table, name)

static const px_jfunction *find_method(px_jv value, px_slice name)
{
    switch ((px_jkind)value.kind) {
    case PX_J_STR: return px_jinja_text_method(name);
    case PX_J_LIST:
    case PX_J_TUPLE: return FIND(list_methods, name);
    case PX_J_DICT: return FIND(dict_methods, name);
    case PX_J_REAL: return FIND(real_methods, name);
    case PX_J_BOOL:
    case PX_J_INT: return FIND(int_methods, name);
    case PX_J_LOOP: return FIND(loop_methods, name);
    case PX_J_FUNCTION: /* dict itself has one, and looks at no dict for it */
        return strcmp(value.function->name, "dict") == 0 && same(name, "fromkeys")
                   ? FIND(dict_methods, name)
                   : NULL;
    case PX_J_CYCLER: return FIND(cycler_methods, name);
    default: return NULL;
    }
}

/* Methods that would change a value which others may hold. */
static bool is_unsafe(px_jv value, px_slice name)
{
    static const char *const list_names[] = {
        "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", NULL};
    static const char *const dict_names[] = {
        "clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *names = value.kind == PX_J_LIST   ? list_names
                               : value.kind == PX_J_DICT ? dict_names
                                                         : NULL;
    for (; names && *names; names++)
        if (same(name, *names)) return true;
    return false;
}

static bool loop_attribute(const px_jloop *loop, px_slice name, px_jv *out)
{
    int64_t index = (int64_t)loop->index, length = (int64_t)loop->list->count;
    const struct {
        const char *name;
        px_jv value;
    } plain[] = {{"index", px_jint(index + 1)}, {"index0", px_jint(index)},
        {"revindex", px_jint(length - index)}, {"revindex0", px_jint(length - index - 1)},
        {"first", px_jbool(index == 0)}, {"last", px_jbool(index == length - 1)},
        {"length", px_jint(length)}, {"depth", px_jint(loop->depth0 + 1)},
        {"depth0", px_jint(loop->depth0)}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (!same(name, plain[i].name)) continue;
        *out = plain[i].value;
        return true;
    }
    bool before = same(name, "previtem");
    if (!before && !same(name, "nextitem")) return false;
    int64_t other = index + (before ? -1 : 1);
    *out = other >= 0 && other < length
               ? loop->list->items[other]
               : px_jundefined(PX_J_NO_NAME,
                     (px_slice){before ? "there is no previous item" : "there is no next item",
                         before ? 25 : 21},
                     PX_J_NONE);
    return true;
}

static bool macro_attribute(px_jinja *j, const px_jmacro *macro, px_slice name, px_jv *out)
{
    if (same(name, "name")) {
        *out = px_jstr(macro->node->text);
        return true;
    }
    if (!same(name, "arguments")) return false;
    if (!px_jlist_new(j, macro->node->param_count, out)) return false;
    for (size_t i = 0; i < macro->node->param_count; i++)
        if (!px_jlist_add(j, *out, px_jstr(macro->node->param_texts[i]))) return false;
    out->kind = PX_J_TUPLE;
    return true;
}

/* Attributes that are not methods; false: there is none of that name. */
static bool plain_attribute(px_jinja *j, px_jv value, px_slice name, px_jv *out)
{
    if (px_jis_number(value)) return number_attribute(value, name, out);
    if (value.kind == PX_J_LOOP) return loop_attribute(value.loop, name, out);
    if (value.kind == PX_J_MACRO) return macro_attribute(j, value.macro, name, out);
    if (value.kind == PX_J_CYCLER && same(name, "current")) {
        *out = value.list->items[1 + value.list->items[0].integer];
        return true;
    }
    if (value.kind == PX_J_TUPLE && value.list->is_group) {
        bool list = same(name, "list");
        if (!list && !same(name, "grouper")) return false;
        *out = value.list->items[list ? 1 : 0];
        return true;
    }
    if (value.kind != PX_J_NAMESPACE) return false;
    const px_jv *found = px_jdict_get(value, px_jstr(name));
    if (found) *out = *found;
    return found != NULL;
}

/* An attribute; *out stays MISSING if there is none. */
static bool find_attribute(px_jinja *j, px_jv value, px_slice name, px_jv *out)
{
    *out = (px_jv){.kind = PX_J_MISSING};
    if (plain_attribute(j, value, name, out)) return true;
    if (px_jinja_failed(j)) return false;
    if (is_unsafe(value, name)) {
        *out = px_jundefined(PX_J_UNSAFE, name, value.kind);
        return true;
    }
    const px_jfunction *method = find_method(value, name);
    return !method || bind_method(j, method, value, out);
}

static bool wrong_owner(px_jinja *j, px_jv value, px_slice name, px_jv *out)
{
    if (value.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, value);
    *out = px_jundefined(PX_J_NO_ATTRIBUTE, name, value.kind);
    return true;
}

bool px_jinja_attribute(px_jinja *j, px_jv value, px_slice name, px_jv *out)
{
    if (!find_attribute(j, value, name, out)) return false;
    if (px_jgiven(*out)) return true;
    if (value.kind == PX_J_DICT) {
        const px_jv *found = px_jdict_get(value, px_jstr(name));
        if (found) {
            *out = *found;
            return true;
        }
    }
    return wrong_owner(j, value, name, out);
}

/* --- items --- */

/* The character at a place counted in characters. */
static px_jv character_at(px_slice text, int64_t index)
{
    size_t at = 0;
    for (int64_t i = 0; i < index; i++) at += px_rune_bytes(text.data[at]);
    return px_jstr((px_slice){text.data + at, px_rune_bytes(text.data[at])});
}

bool px_jinja_item(px_jinja *j, px_jv value, px_jv key, px_jv *out)
{
    bool whole = key.kind == PX_J_INT || key.kind == PX_J_BOOL;
    bool is_list = (value.kind == PX_J_LIST && !px_jis_view(value)) || value.kind == PX_J_TUPLE;
    if (value.kind == PX_J_DICT) {
        const px_jv *found = px_jdict_get(value, key);
        if (found) {
            *out = *found;
            return true;
        }
    } else if (whole && (is_list || value.kind == PX_J_STR)) {
        int64_t length = px_jlength(value), index = px_jwhole(key);
        if (index < 0) index += length;
        if (index >= 0 && index < length) {
            *out = is_list ? value.list->items[index] : character_at(value.text, index);
            return value.kind != PX_J_STR || px_jinja_spend(j, (uint64_t)index / 16);
        }
    }
    if (key.kind == PX_J_STR) {
        if (!find_attribute(j, value, key.text, out)) return false;
        if (px_jgiven(*out)) return true;
        return wrong_owner(j, value, key.text, out);
    }
    px_slice name;
    if (value.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, value);
    if (!px_jto_str(j, key, &name)) return false;
    return wrong_owner(j, value, name, out);
}

/* --- slices: Python's rules for what is left out, negative or beyond the ends --- */

typedef struct range {
    int64_t start, step, count;
} range;

static bool clamp(
    px_jinja *j, px_jv given, int64_t length, bool backwards, int64_t missing, int64_t *out)
{
    if (!px_jarg_int(j, given, missing, out)) return false;
    if (given.kind == PX_J_NONE) return true;
    int64_t low = backwards ? -1 : 0, high = backwards ? length - 1 : length;
    if (*out < 0) *out += length;
    if (*out < low) *out = low;
    if (*out > high) *out = high;
    return true;
}

static bool resolve(px_jinja *j, const px_jslice *slice, int64_t length, range *out)
{
    int64_t stop;
    if (!px_jarg_int(j, slice->step, 1, &out->step)) return false;
    if (out->step == 0) return px_jinja_fail(j, "slice step cannot be zero");
    bool back = out->step < 0;
    if (!clamp(j, slice->start, length, back, back ? length - 1 : 0, &out->start) ||
        !clamp(j, slice->stop, length, back, back ? -1 : length, &stop))
        return false;
    int64_t distance = back ? out->start - stop : stop - out->start;
    uint64_t stride = back ? 0 - (uint64_t)out->step : (uint64_t)out->step;
    out->count = distance <= 0 ? 0 : (int64_t)(((uint64_t)distance - 1) / stride + 1);
    return px_jinja_spend(j, (uint64_t)length / 16 + (uint64_t)out->count / 4);
}

/* Byte places of all characters, so that any stride works. */
static bool slice_text(px_jinja *j, px_slice text, range r, int64_t length, px_jv *out)
{
    if (r.step == 1) { /* a stretch of the same bytes */
        size_t from = 0, to;
        for (int64_t i = 0; i < r.start; i++) from += px_rune_bytes(text.data[from]);
        to = from;
        for (int64_t i = 0; i < r.count; i++) to += px_rune_bytes(text.data[to]);
        *out = px_jstr((px_slice){text.data + from, to - from});
        return true;
    }
    uint32_t *places = px_jinja_alloc(j, ((size_t)length + 1) * sizeof *places);
    if (!places) return false;
    size_t at = 0;
    for (int64_t i = 0; i < length; i++) {
        places[i] = (uint32_t)at;
        at += px_rune_bytes(text.data[at]);
    }
    px_buf buf;
    px_jbuf_init(j, &buf);
    for (int64_t i = 0, index = r.start; i < r.count; i++, index += r.step)
        px_buf_append(&buf, text.data + places[index], px_rune_bytes(text.data[places[index]]));
    return px_jtake(j, &buf, out);
}

bool px_jinja_slice(px_jinja *j, px_jv value, const px_jslice *slice, px_jv *out)
{
    bool is_list = (value.kind == PX_J_LIST && !px_jis_view(value)) || value.kind == PX_J_TUPLE;
    if (value.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, value);
    if (value.kind == PX_J_DICT) return px_jinja_fail(j, "unhashable type: 'slice'");
    if (!is_list && value.kind != PX_J_STR)
        return px_jinja_fail(j, "'%s' object is not subscriptable", px_jtype_name(value));
    range r;
    int64_t length = px_jlength(value);
    if (!resolve(j, slice, length, &r)) return false;
    if (!is_list) return slice_text(j, value.text, r, length, out);
    if (!px_jlist_new(j, (size_t)r.count, out)) return false;
    for (int64_t i = 0, index = r.start; i < r.count; i++, index += r.step)
        if (!px_jlist_add(j, *out, value.list->items[index])) return false;
    out->kind = value.kind;
    return true;
}
