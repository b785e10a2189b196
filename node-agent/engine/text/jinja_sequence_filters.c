/* jinja_sequence_filters.c - filters over lists, dicts and whatever else can be iterated.
 * Source: Jinja 3.1, filters.py.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

#define FILTER(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)

/* --- keys: what items are sorted, grouped or tested by --- */

/* value.a.0.b: a path of attributes and places, as `attribute=` takes it. */
static bool follow_path(px_jinja *j, px_jv value, px_jv path, px_jv default_value, px_jv *out)
{
    if (path.kind == PX_J_INT) {
        if (!px_jinja_item(j, value, path, out)) return false;
        if (out->kind == PX_J_UNDEFINED && px_jgiven(default_value)) *out = default_value;
        return true;
    }
    px_slice text;
    if (!px_jto_str(j, path, &text)) return false;
    for (size_t at = 0; at <= text.length;) {
        const char *dot = text.length ? memchr(text.data + at, '.', text.length - at) : NULL;
        size_t end = dot ? (size_t)(dot - text.data) : text.length;
        px_slice name = {text.data + at, end - at};
        bool digits = name.length > 0 && name.length < 18;
        for (size_t i = 0; i < name.length; i++)
            digits &= name.data[i] >= '0' && name.data[i] <= '9';
        px_jv key = digits ? px_jint(strtoll(name.data, NULL, 10)) : px_jstr(name);
        if (!px_jinja_item(j, value, key, &value)) return false;
        if (value.kind == PX_J_UNDEFINED && px_jgiven(default_value)) value = default_value;
        at = end + 1;
    }
    *out = value;
    return true;
}

static bool lower_if_text(px_jinja *j, px_jv *value)
{
    if (value->kind != PX_J_STR) return true;
    px_buf buf;
    px_jbuf_init(j, &buf);
    px_unicode_lower(value->text.data, value->text.length, &buf);
    return px_jtake(j, &buf, value);
}

/* What to sort or group an item by. `attribute` MISSING or None: the item. */
static bool key_of(
    px_jinja *j, px_jv item, px_jv attribute, px_jv default_value, bool fold, px_jv *out)
{
    *out = item;
    if (px_jgiven(attribute) && attribute.kind != PX_J_NONE &&
        !follow_path(j, item, attribute, default_value, out))
        return false;
    return !fold || lower_if_text(j, out);
}

/* "a,b" sorts by several attributes. The key is a list even of one, as lists compare by equality
 * first: items that cannot be ordered may stand beside their equals. */
static bool sort_key(px_jinja *j, px_jv item, px_jv attribute, bool fold, px_jv *out)
{
    static const px_jv missing = {.kind = PX_J_MISSING};
    if (!px_jlist_new(j, 2, out)) return false;
    px_jv part;
    if (attribute.kind != PX_J_STR)
        return key_of(j, item, attribute, missing, fold, &part) && px_jlist_add(j, *out, part);
    for (px_slice rest = attribute.text;;) {
        const char *comma = rest.length ? memchr(rest.data, ',', rest.length) : NULL;
        size_t length = comma ? (size_t)(comma - rest.data) : rest.length;
        if (!key_of(j, item, px_jstr((px_slice){rest.data, length}), missing, fold, &part) ||
            !px_jlist_add(j, *out, part))
            return false;
        if (!comma) return true;
        rest = (px_slice){comma + 1, rest.length - length - 1};
    }
}

typedef struct keyed {
    px_jv key, item;
} keyed;

/* Stable merge sort that stops at the first pair that cannot be ordered. */
static bool merge_sort(px_jinja *j, keyed *items, keyed *spare, size_t count, bool reverse)
{
    if (count < 2) return true;
    size_t half = count / 2;
    if (!merge_sort(j, items, spare, half, reverse) ||
        !merge_sort(j, items + half, spare + half, count - half, reverse) ||
        !px_jinja_spend(j, count))
        return false;
    for (size_t a = 0, b = half, k = 0; k < count; k++) {
        int order = 0;
        if (a < half && b < count && !px_jcompare(j, items[b].key, items[a].key, &order))
            return false;
        bool take_b = a == half || (b < count && (reverse ? order > 0 : order < 0));
        spare[k] = take_b ? items[b++] : items[a++];
    }
    memcpy(items, spare, count * sizeof *items);
    return true;
}

static bool sorted(px_jinja *j, px_jv list, px_jv attribute, bool fold, bool reverse, keyed **out)
{
    size_t count = list.list->count;
    *out = px_jinja_alloc(j, (count + 1) * sizeof **out);
    keyed *spare = px_jinja_alloc(j, (count + 1) * sizeof *spare);
    if (!*out || !spare) return false;
    for (size_t i = 0; i < count; i++) {
        (*out)[i].item = list.list->items[i];
        if (!sort_key(j, list.list->items[i], attribute, fold, &(*out)[i].key)) return false;
    }
    return merge_sort(j, *out, spare, count, reverse);
}

/* --- lists --- */

/* A filter whose result Python makes item by item. */
static bool make_lazy(px_jv list, const char *type)
{
    list.list->label = type;
    list.list->lazy = true;
    return true;
}

FILTER(filter_list)
{
    px_jv list;
    if (!px_jiterate(j, c->self, &list) || !px_jlist_new(j, list.list->count, out)) return false;
    for (size_t i = 0; i < list.list->count; i++)
        if (!px_jlist_add(j, *out, list.list->items[i])) return false;
    return true;
}

static bool end_item(px_jinja *j, px_jv value, bool last, px_jv *out)
{
    px_jv list;
    if (last && px_jis_lazy(value))
        return px_jinja_fail(j, "'%s' object is not reversible", px_jtype_name(value));
    if (!px_jiterate(j, value, &list)) return false;
    size_t count = list.list->count;
    *out = count ? list.list->items[last ? count - 1 : 0]
                 : px_jundefined(PX_J_NO_NAME,
                       (px_slice){last ? "No last item, sequence was empty."
                                       : "No first item, sequence was empty.",
                           33 + !last},
                       PX_J_NONE);
    return true;
}

FILTER(filter_first)
{
    return end_item(j, c->self, false, out);
}
FILTER(filter_last)
{
    return end_item(j, c->self, true, out);
}

FILTER(filter_reverse)
{
    px_jv list;
    if (px_jis_lazy(c->self))
        return px_jinja_fail(j, "'%s' object is not reversible", px_jtype_name(c->self));
    if (!px_jiterate(j, c->self, &list) || !px_jlist_new(j, list.list->count, out)) return false;
    for (size_t i = list.list->count; i-- > 0;)
        if (!px_jlist_add(j, *out, list.list->items[i])) return false;
    if (c->self.kind != PX_J_STR) return make_lazy(*out, "reversed");
    px_buf buf;
    px_jbuf_init(j, &buf);
    for (size_t i = 0; i < out->list->count; i++)
        px_buf_append(&buf, out->list->items[i].text.data, out->list->items[i].text.length);
    return px_jtake(j, &buf, out);
}

FILTER(filter_join)
{
    px_slice separator;
    px_jv list;
    static const px_jv missing = {.kind = PX_J_MISSING};
    if (!px_jarg_text(j, c->a[0], "", &separator) || !px_jiterate(j, c->self, &list)) return false;
    px_buf buf;
    px_jbuf_init(j, &buf);
    bool ok = true;
    for (size_t i = 0; ok && i < list.list->count; i++) {
        px_jv item;
        ok = key_of(j, list.list->items[i], c->a[1], missing, false, &item);
        if (i) px_buf_append(&buf, separator.data, separator.length);
        if (ok) px_jprint(j, item, &buf);
    }
    return px_jtake(j, &buf, out) && ok;
}

FILTER(filter_sort)
{
    px_jv list;
    keyed *items;
    bool reverse = px_jarg_true(c->a[0], false), fold = !px_jarg_true(c->a[1], false);
    if (!px_jiterate(j, c->self, &list) || !sorted(j, list, c->a[2], fold, reverse, &items) ||
        !px_jlist_new(j, list.list->count, out))
        return false;
    for (size_t i = 0; i < list.list->count; i++)
        if (!px_jlist_add(j, *out, items[i].item)) return false;
    return true;
}

FILTER(filter_unique)
{
    px_jv list, seen;
    static const px_jv missing = {.kind = PX_J_MISSING};
    bool fold = !px_jarg_true(c->a[0], false);
    if (!px_jiterate(j, c->self, &list) || !px_jlist_new(j, 0, out) || !px_jdict_new(j, &seen))
        return false;
    for (size_t i = 0; i < list.list->count; i++) {
        px_jv key;
        if (!key_of(j, list.list->items[i], c->a[1], missing, fold, &key)) return false;
        if (px_jdict_get(seen, key)) continue;
        if (!px_jdict_set(j, seen, key, px_jnone()) || !px_jlist_add(j, *out, list.list->items[i]))
            return false;
    }
    return make_lazy(*out, "generator");
}

static bool extreme(px_jinja *j, const px_jcall *c, int sign, px_jv *out)
{
    px_jv list, best = {.kind = PX_J_MISSING};
    static const px_jv missing = {.kind = PX_J_MISSING};
    bool fold = !px_jarg_true(c->a[0], false);
    if (!px_jiterate(j, c->self, &list)) return false;
    *out = px_jundefined(
        PX_J_NO_NAME, (px_slice){"No aggregated item, sequence was empty.", 39}, PX_J_NONE);
    for (size_t i = 0; i < list.list->count; i++) {
        px_jv key;
        int order = -1;
        if (!key_of(j, list.list->items[i], c->a[1], missing, fold, &key)) return false;
        if (px_jgiven(best) && !px_jcompare(j, key, best, &order)) return false;
        if (px_jgiven(best) && order * sign <= 0) continue;
        best = key;
        *out = list.list->items[i];
    }
    return true;
}

FILTER(filter_max)
{
    return extreme(j, c, 1, out);
}
FILTER(filter_min)
{
    return extreme(j, c, -1, out);
}

FILTER(filter_sum)
{
    px_jv list;
    static const px_jv missing = {.kind = PX_J_MISSING};
    *out = px_jgiven(c->a[1]) ? c->a[1] : px_jint(0);
    if (out->kind == PX_J_STR)
        return px_jinja_fail(j, "sum() can't sum strings [use ''.join(seq) instead]");
    if (!px_jiterate(j, c->self, &list)) return false;
    for (size_t i = 0; i < list.list->count; i++) {
        px_jv item;
        if (!key_of(j, list.list->items[i], c->a[0], missing, false, &item) ||
            !px_jinja_binary(j, PX_OP_ADD, *out, item, out))
            return false;
    }
    return true;
}

FILTER(filter_batch)
{
    int64_t size;
    px_jv list, row = {0};
    if (!px_jarg_int(j, c->a[0], 1, &size) || !px_jiterate(j, c->self, &list) ||
        !px_jlist_new(j, 0, out))
        return false;
    if (list.list->count && (!px_jlist_new(j, 0, &row) || !px_jlist_add(j, *out, row)))
        return false;
    for (size_t i = 0; i < list.list->count; i++) {
        if ((int64_t)row.list->count == size &&
            (!px_jlist_new(j, 0, &row) || !px_jlist_add(j, *out, row)))
            return false;
        if (!px_jlist_add(j, row, list.list->items[i])) return false;
    }
    bool fills = px_jgiven(c->a[1]) && c->a[1].kind != PX_J_NONE && list.list->count;
    if (fills && size > 0 && !px_jinja_spend(j, (uint64_t)size)) return false;
    while (fills && (int64_t)row.list->count < size)
        if (!px_jlist_add(j, row, c->a[1])) return false;
    return make_lazy(*out, "generator");
}

FILTER(filter_slice)
{
    int64_t slices;
    px_jv list, row;
    if (!px_jarg_int(j, c->a[0], 1, &slices) || !px_jiterate(j, c->self, &list) ||
        !px_jlist_new(j, 0, out))
        return false;
    if (slices == 0) return px_jinja_fail(j, "integer division or modulo by zero");
    if (slices < 0) slices = 0;
    if (!px_jinja_spend(j, (uint64_t)slices)) return false;
    make_lazy(*out, "generator");
    if (slices == 0) return true;
    uint64_t each = list.list->count / (uint64_t)slices, more = list.list->count % (uint64_t)slices;
    size_t at = 0;
    for (uint64_t s = 0; s < (uint64_t)slices; s++) {
        uint64_t count = each + (s < more);
        if (!px_jlist_new(j, count + 1, &row) || !px_jlist_add(j, *out, row)) return false;
        for (uint64_t i = 0; i < count; i++)
            if (!px_jlist_add(j, row, list.list->items[at++])) return false;
        if (px_jgiven(c->a[1]) && c->a[1].kind != PX_J_NONE && s >= more &&
            !px_jlist_add(j, row, c->a[1]))
            return false;
    }
    return true;
}

FILTER(filter_groupby)
{
    px_jv list, pair = {0}, group = {0};
    keyed *items;
    bool fold = !px_jarg_true(c->a[2], false);
    if (!px_jiterate(j, c->self, &list) || !px_jlist_new(j, 0, out)) return false;
    size_t count = list.list->count;
    items = px_jinja_alloc(j, (count + 1) * sizeof *items);
    keyed *spare = px_jinja_alloc(j, (count + 1) * sizeof *spare);
    if (!items || !spare) return false;
    for (size_t i = 0; i < count; i++) {
        items[i].item = list.list->items[i];
        if (!key_of(j, items[i].item, c->a[0], c->a[1], fold, &items[i].key)) return false;
    }
    if (!merge_sort(j, items, spare, count, false)) return false;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !px_jequal(items[i].key, items[i - 1].key)) {
            px_jv grouper;
            if (!key_of(j, items[i].item, c->a[0], c->a[1], false, &grouper) ||
                !px_jlist_new(j, 2, &pair) || !px_jlist_new(j, 0, &group) ||
                !px_jlist_add(j, pair, grouper) || !px_jlist_add(j, pair, group))
                return false;
            pair.kind = PX_J_TUPLE;
            pair.list->is_group = true;
            if (!px_jlist_add(j, *out, pair)) return false;
        }
        if (!px_jlist_add(j, group, items[i].item)) return false;
    }
    return true;
}

/* --- dicts --- */

FILTER(filter_items)
{
    if (c->self.kind == PX_J_UNDEFINED)
        return px_jlist_new(j, 0, out) && make_lazy(*out, "generator");
    if (c->self.kind != PX_J_DICT)
        return px_jinja_fail(j, "Can only get item pairs from a mapping.");
    px_jv method;
    static const px_jargs none = {0};
    return px_jinja_attribute(j, c->self, (px_slice){"items", 5}, &method) &&
           px_jinja_call(j, method, &none, out) && make_lazy(*out, "generator");
}

FILTER(filter_dictsort)
{
    px_jv pairs;
    px_slice by;
    keyed *items;
    if (c->self.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, c->self);
    if (!filter_items(j, c, &pairs) || !px_jarg_text(j, c->a[1], "key", &by)) return false;
    bool by_key = by.length == 3 && memcmp(by.data, "key", 3) == 0;
    if (!by_key && !(by.length == 5 && memcmp(by.data, "value", 5) == 0))
        return px_jinja_fail(j, "You can only sort by either \"key\" or \"value\"");
    bool fold = !px_jarg_true(c->a[0], false), reverse = px_jarg_true(c->a[2], false);
    if (!sorted(j, pairs, px_jint(by_key ? 0 : 1), fold, reverse, &items) ||
        !px_jlist_new(j, pairs.list->count, out))
        return false;
    for (size_t i = 0; i < pairs.list->count; i++)
        if (!px_jlist_add(j, *out, items[i].item)) return false;
    return true;
}

/* --- map, select and their kin: arguments name a filter, a test, or an attribute. Nothing comes
 * of what is false, whether it could be iterated or not. --- */

static const px_jv *named(const px_jargs *args, const char *name)
{
    for (size_t i = 0; i < args->named_count; i++)
        if (args->named[i].text.length == strlen(name) &&
            memcmp(args->named[i].text.data, name, strlen(name)) == 0)
            return &args->named[i].value;
    return NULL;
}

FILTER(filter_map)
{
    px_jv list;
    const px_jv *attribute = named(c->args, "attribute"), *given = named(c->args, "default");
    px_jv default_value = given ? *given : (px_jv){.kind = PX_J_MISSING};
    const px_jfunction *function = NULL;
    px_jargs rest = *c->args;
    if (!px_jtrue(c->self)) return px_jlist_new(j, 0, out) && make_lazy(*out, "generator");
    if (!px_jiterate(j, c->self, &list) || !px_jlist_new(j, list.list->count, out)) return false;
    if (!attribute || c->args->count) {
        px_slice name;
        if (c->args->count == 0) return px_jinja_fail(j, "map requires a filter argument");
        if (!px_jto_str(j, c->args->items[0], &name)) return false;
        function = px_jinja_filter(name);
        if (!function)
            return px_jinja_fail(j, "No filter named '%.*s'.", (int)name.length, name.data);
        rest.items++;
        rest.count--;
    }
    for (size_t i = 0; i < list.list->count; i++) {
        px_jv item;
        if (!(function ? px_jinja_call_function(j, function, list.list->items[i], &rest, &item)
                       : follow_path(j, list.list->items[i], *attribute, default_value, &item)) ||
            !px_jlist_add(j, *out, item))
            return false;
    }
    return make_lazy(*out, "generator");
}

/* Keeps the items whose test says `wanted`. With `by_attribute` the first argument is the path of
 * what is tested; the next one names the test (none: truth), the others are its arguments. */
static bool select_items(px_jinja *j, const px_jcall *c, bool wanted, bool by_attribute, px_jv *out)
{
    px_jv list, path = {.kind = PX_J_MISSING};
    static const px_jv missing = {.kind = PX_J_MISSING};
    px_jargs rest = *c->args;
    const px_jfunction *test = NULL;
    if (!px_jtrue(c->self)) return px_jlist_new(j, 0, out) && make_lazy(*out, "generator");
    if (!px_jiterate(j, c->self, &list) || !px_jlist_new(j, 0, out)) return false;
    if (by_attribute) {
        if (rest.count == 0) return px_jinja_fail(j, "Missing parameter for attribute name");
        path = *rest.items++;
        rest.count--;
    }
    if (rest.count) {
        px_slice name;
        if (!px_jto_str(j, *rest.items++, &name)) return false;
        rest.count--;
        test = px_jinja_test(name);
        if (!test) return px_jinja_fail(j, "No test named '%.*s'.", (int)name.length, name.data);
    }
    for (size_t i = 0; i < list.list->count; i++) {
        px_jv value, verdict;
        if (!key_of(j, list.list->items[i], path, missing, false, &value)) return false;
        verdict = value;
        if (test && !px_jinja_call_function(j, test, value, &rest, &verdict)) return false;
        if (px_jtrue(verdict) == wanted && !px_jlist_add(j, *out, list.list->items[i]))
            return false;
    }
    return make_lazy(*out, "generator");
}

FILTER(filter_select)
{
    return select_items(j, c, true, false, out);
}
FILTER(filter_reject)
{
    return select_items(j, c, false, false, out);
}
FILTER(filter_selectattr)
{
    return select_items(j, c, true, true, out);
}
FILTER(filter_rejectattr)
{
    return select_items(j, c, false, true, out);
}

static const px_jfunction filters[] = {{"list", filter_list, {NULL}, 0, false},
    {"first", filter_first, {NULL}, 0, false}, {"last", filter_last, {NULL}, 0, false},
    {"join", filter_join, {"d", "attribute"}, 0, false}, {"items", filter_items, {NULL}, 0, false},
    {"map", filter_map, {NULL}, 0, true}, {"select", filter_select, {NULL}, 0, true},
    {"reject", filter_reject, {NULL}, 0, true}, {"selectattr", filter_selectattr, {NULL}, 0, true},
    {"rejectattr", filter_rejectattr, {NULL}, 0, true},
    {"reverse", filter_reverse, {NULL}, 0, false},
    {"sort", filter_sort, {"reverse", "case_sensitive", "attribute"}, 0, false},
    {"unique", filter_unique, {"case_sensitive", "attribute"}, 0, false},
    {"max", filter_max, {"case_sensitive", "attribute"}, 0, false},
    {"min", filter_min, {"case_sensitive", "attribute"}, 0, false},
    {"sum", filter_sum, {"attribute", "start"}, 0, false},
    {"batch", filter_batch, {"linecount", "fill_with"}, 1, false},
    {"slice", filter_slice, {"slices", "fill_with"}, 1, false},
    {"groupby", filter_groupby, {"attribute", "default", "case_sensitive"}, 1, false},
    {"dictsort", filter_dictsort, {"case_sensitive", "by", "reverse"}, 0, false}};

const px_jfunction *px_jinja_sequence_filter(px_slice name)
{
    return px_jinja_find(filters, sizeof filters / sizeof *filters, name);
}
