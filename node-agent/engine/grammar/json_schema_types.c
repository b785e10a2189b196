/* json_schema_types.c - objects, arrays and strings of a schema. */
#include <string.h>

#include "engine/grammar/json_schema_impl.h"
#include "engine/grammar/regex.h"

static const px_expr *sequence2(px_expr_source *s, const px_expr *a, const px_expr *b)
{
    const px_expr *parts[] = {a, b};
    return px_expr_sequence(s, parts, 2);
}

/* ------------------------------------------------------------------------------- strings */

static const px_expr *pattern_string(px_schema_reader *r, const char *pattern, bool whole)
{
    px_regex_options options = {
        .any = whole ? NULL : px_json_any_char(r->source), .make_class = px_json_char_class};
    const px_expr *inner = NULL;
    px_status status =
        px_regex_expr(r->source, (px_slice){pattern, strlen(pattern)}, &options, &inner);
    return px_is_ok(status) ? px_json_quoted(r->source, inner)
                            : px_schema_fail(r, status.code, "%s", status.text);
}

const px_expr *px_schema_string(px_schema_reader *r, const json_t *schema)
{
    const char *pattern = json_string_value(json_object_get(schema, "pattern"));
    const char *name = json_string_value(json_object_get(schema, "format"));
    const char *format = name ? px_schema_format(name) : NULL;
    uint32_t min = px_schema_count(r, schema, "minLength", 0);
    uint32_t max = px_schema_count(r, schema, "maxLength", PX_EXPR_UNBOUNDED);
    if (px_schema_failed(r)) return NULL;
    bool bounded = min > 0 || max != PX_EXPR_UNBOUNDED;
    if ((pattern != NULL) + (format != NULL) + bounded > 1)
        return px_schema_fail(r, PX_UNIMPLEMENTED,
            "'pattern', 'format' and a length cannot be kept together: say it all in 'pattern'");
    if (pattern) return pattern_string(r, pattern, false);
    if (format) return pattern_string(r, format, true);
    if (max < min)
        return px_schema_fail(r, PX_INVALID_ARGUMENT, "'maxLength' is below 'minLength'");
    return px_json_quoted(
        r->source, px_expr_repeat(r->source, px_json_any_char(r->source), min, max));
}

/* -------------------------------------------------------------------------------- arrays */

/* `fixed` items, then from `min` to `max` of `more`, all separated. */
typedef struct tuple {
    const px_expr **fixed;
    size_t count;
    const px_expr *more; /* NULL: none */
    uint32_t min, max;   /* of all together */
} tuple;

/* From the back: after item i either the end, if there are enough, or a comma and the next one. */
static const px_expr *tuple_expr(px_schema_reader *r, const tuple *t)
{
    px_expr_source *s = r->source;
    uint32_t fixed = t->count > t->max ? t->max : (uint32_t)t->count;
    const px_expr *rest = px_expr_text(s, "");
    if (t->more && t->max > fixed) {
        const px_expr *one = sequence2(s, r->layout.comma, t->more);
        uint32_t most = t->max == PX_EXPR_UNBOUNDED ? t->max : t->max - fixed;
        rest = px_expr_repeat(s, one, t->min > fixed ? t->min - fixed : 0, most);
    }
    for (uint32_t i = fixed; i-- > 0;) {
        const px_expr *here = sequence2(s, t->fixed[i], rest);
        rest = i ? sequence2(s, r->layout.comma, here) : here;
        if (i >= t->min) rest = px_expr_repeat(s, rest, 0, 1);
    }
    const px_expr *parts[] = {px_expr_text(s, "["), rest, px_expr_text(s, "]")};
    return px_expr_sequence(s, parts, 3);
}

static const px_expr *read_tuple(
    px_schema_reader *r, const json_t *prefix, const json_t *items, tuple t)
{
    px_expr_list fixed = {0};
    size_t i;
    json_t *one;
    json_array_foreach(prefix, i, one)
    {
        char where[32];
        snprintf(where, sizeof where, "prefixItems/%zu", i);
        px_expr_list_add(&fixed, px_schema_value(r, one, where));
    }
    t.fixed = fixed.items;
    t.count = fixed.count;
    if (!json_is_false(items))
        t.more =
            items ? px_schema_value(r, items, "items") : px_expr_rule_of(r->source, r->any.value);
    else if (t.min > t.count)
        px_schema_fail(r, PX_INVALID_ARGUMENT, "'minItems' asks for more items than there may be");
    const px_expr *made = px_schema_failed(r) ? NULL : tuple_expr(r, &t);
    px_expr_list_done(&fixed);
    return made;
}

const px_expr *px_schema_array(px_schema_reader *r, const json_t *schema)
{
    const json_t *prefix = json_object_get(schema, "prefixItems");
    const json_t *items = json_object_get(schema, "items");
    uint32_t min = px_schema_count(r, schema, "minItems", 0);
    uint32_t max = px_schema_count(r, schema, "maxItems", PX_EXPR_UNBOUNDED);
    if (px_schema_failed(r)) return NULL;
    if (max < min) return px_schema_fail(r, PX_INVALID_ARGUMENT, "'maxItems' is below 'minItems'");
    if (json_is_array(items)) { /* drafts before 2020-12 called prefixItems so */
        prefix = items;
        items = json_object_get(schema, "additionalItems");
    }
    if (prefix) return read_tuple(r, prefix, items, (tuple){.min = min, .max = max});
    if (json_is_false(items)) max = 0;
    const px_expr *item = items && max ? px_schema_value(r, items, "items")
                                       : px_expr_rule_of(r->source, r->any.value);
    px_json_list list = {'[', ']', item, min, max};
    return px_schema_failed(r) ? NULL : px_json_list_expr(r->source, &r->layout, &list);
}

/* ------------------------------------------------------------------------------- objects */

typedef struct object {
    const json_t *schema, *properties, *required;
    const px_expr *other; /* a member beyond those listed; NULL: none */
} object;

static bool is_required(const object *o, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(o->required, i, one)
    {
        const char *text = json_string_value(one);
        if (text && !strcmp(text, name)) return true;
    }
    return false;
}

/* Strings that are none of the listed properties' names: letter by letter, either on the way to one
 * of them, or off it for good. */
static const px_expr *other_names(px_schema_reader *r, const char **names, size_t count, size_t at)
{
    px_expr_source *s = r->source;
    static const px_expr_range every = {0, 0x10ffff};
    const px_expr *any = px_json_char_class(NULL, s, &every, 1, false);
    px_expr_range taken[256];
    size_t taken_count = 0;
    bool ends_here = false;
    px_expr_list parts = {0};
    for (size_t i = 0; i < count; i++) {
        if (!names[i][at]) {
            ends_here = true;
            continue;
        }
        uint32_t byte = (unsigned char)names[i][at];
        bool seen = false;
        for (size_t k = 0; k < taken_count; k++) seen |= taken[k].low == byte;
        if (seen) continue;
        taken[taken_count++] = (px_expr_range){byte, byte};
        const char **same = px_alloc_array(count, sizeof *same);
        size_t same_count = 0;
        for (size_t k = i; k < count; k++)
            if ((unsigned char)names[k][at] == byte) same[same_count++] = names[k];
        px_expr_list_add(
            &parts, sequence2(s, px_json_char_class(NULL, s, &taken[taken_count - 1], 1, false),
                        other_names(r, same, same_count, at + 1)));
        free(same);
    }
    if (!ends_here) px_expr_list_add(&parts, px_expr_text(s, ""));
    px_expr_list_add(&parts, sequence2(s, px_json_char_class(NULL, s, taken, taken_count, true),
                                 px_expr_repeat(s, any, 0, PX_EXPR_UNBOUNDED)));
    const px_expr *made = px_expr_choice(s, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

static const px_expr *other_key(px_schema_reader *r, const object *o)
{
    const json_t *names_schema = json_object_get(o->schema, "propertyNames");
    size_t count = json_object_size(o->properties), at = 0;
    const char *key;
    json_t *value;
    if (names_schema) return px_schema_value(r, names_schema, "propertyNames");
    const char **names = px_alloc_array(count + 1, sizeof *names);
    json_object_foreach((json_t *)(uintptr_t)o->properties, key, value)
    {
        for (const char *c = key; *c; c++)
            if ((unsigned char)*c >= 0x80)
                px_schema_fail(r, PX_UNIMPLEMENTED,
                    "other members cannot be told from '%.40s': only ASCII names can stand beside "
                    "them",
                    key);
        names[at++] = key;
    }
    const px_expr *made =
        px_schema_failed(r) ? NULL : px_json_quoted(r->source, other_names(r, names, count, 0));
    free(names);
    return made;
}

/* A member that no property lists: of patternProperties, or of additionalProperties. */
static const px_expr *other_member(px_schema_reader *r, const object *o)
{
    const json_t *patterns = json_object_get(o->schema, "patternProperties");
    const json_t *more = json_object_get(o->schema, "additionalProperties");
    px_expr_list parts = {0};
    const char *pattern;
    json_t *schema;
    json_object_foreach((json_t *)(uintptr_t)patterns, pattern, schema)
    {
        px_json_member member = {
            pattern_string(r, pattern, false), px_schema_value(r, schema, "patternProperties")};
        if (px_schema_failed(r)) break;
        px_expr_list_add(&parts, px_json_member_expr(r->source, &r->layout, member));
    }
    bool closed = json_is_false(more) || (!more && (o->properties || patterns));
    if (!closed && !px_schema_failed(r)) {
        px_json_member member = {
            other_key(r, o), more ? px_schema_value(r, more, "additionalProperties")
                                  : px_expr_rule_of(r->source, r->any.value)};
        if (!px_schema_failed(r))
            px_expr_list_add(&parts, px_json_member_expr(r->source, &r->layout, member));
    }
    const px_expr *made = px_schema_failed(r) || !parts.count
                              ? NULL
                              : px_expr_choice(r->source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

static const px_expr *listed_member(px_schema_reader *r, const char *name, const json_t *schema)
{
    char where[64];
    snprintf(where, sizeof where, "properties/%.50s", name);
    px_json_member member = {px_json_string_of(r->source, name), px_schema_value(r, schema, where)};
    return px_schema_failed(r) ? NULL : px_json_member_expr(r->source, &r->layout, member);
}

/* What may follow a member: one rule for each property, so that every way through them is there
 * without being written out. rule(i) = ", " member(i) rule(i + 1) | rule(i + 1), the latter only if
 * i is optional. `first`: the members so far are none, so the comma is not there either. */
static const px_expr *members_from(px_schema_reader *r, const object *o)
{
    px_expr_source *s = r->source;
    size_t count = json_object_size(o->properties), i = 0;
    const px_expr **members = px_alloc_array(count + 1, sizeof *members);
    bool *required = px_alloc_array(count + 1, sizeof *required);
    const char *name;
    json_t *schema;
    json_object_foreach((json_t *)(uintptr_t)o->properties, name, schema)
    {
        required[i] = is_required(o, name);
        members[i++] = listed_member(r, name, schema);
    }
    const px_expr *after = px_expr_text(s, ""), *first = after;
    if (o->other) {
        after = px_expr_repeat(s, sequence2(s, r->layout.comma, o->other), 0, PX_EXPR_UNBOUNDED);
        first = px_expr_repeat(s, sequence2(s, o->other, after), 0, 1);
    }
    for (i = count; i-- > 0 && !px_schema_failed(r);) {
        const px_expr *here = sequence2(s, members[i], after);
        const px_expr *later[] = {sequence2(s, r->layout.comma, here), after};
        const px_expr *begin[] = {here, first};
        uint32_t rule = px_expr_declare(s, "members", 7);
        s->rules[rule].body = px_expr_choice(s, later, required[i] ? 1 : 2);
        after = px_expr_rule_of(s, rule);
        rule = px_expr_declare(s, "first member", 12);
        s->rules[rule].body = px_expr_choice(s, begin, required[i] ? 1 : 2);
        first = px_expr_rule_of(s, rule);
    }
    free(members);
    free(required);
    return first;
}

const px_expr *px_schema_object(px_schema_reader *r, const json_t *schema)
{
    object o = {.schema = schema,
        .properties = json_object_get(schema, "properties"),
        .required = json_object_get(schema, "required")};
    px_expr_source *s = r->source;
    uint32_t min = px_schema_count(r, schema, "minProperties", 0);
    uint32_t max = px_schema_count(r, schema, "maxProperties", PX_EXPR_UNBOUNDED);
    size_t i;
    json_t *name;
    json_array_foreach(o.required, i, name)
    {
        const char *text = json_string_value(name);
        if (!text || !json_object_get(o.properties, text))
            px_schema_fail(r, PX_UNIMPLEMENTED,
                "'required' names '%.40s', which 'properties' does not describe",
                text ? text : "?");
    }
    if (!px_schema_failed(r)) o.other = other_member(r, &o);
    if (px_schema_failed(r)) return NULL;
    if (!json_object_size(o.properties)) {
        px_json_list list = {'{', '}', o.other, min, o.other ? max : 0};
        if (min > list.max)
            return px_schema_fail(
                r, PX_INVALID_ARGUMENT, "'minProperties' asks for more than there may be");
        return px_json_list_expr(s, &r->layout, &list);
    }
    if (min > json_array_size(o.required) || max != PX_EXPR_UNBOUNDED)
        return px_schema_fail(r, PX_UNIMPLEMENTED,
            "'minProperties' and 'maxProperties' cannot be kept beside 'properties'");
    const px_expr *parts[] = {px_expr_text(s, "{"), members_from(r, &o), px_expr_text(s, "}")};
    return px_schema_failed(r) ? NULL : px_expr_sequence(s, parts, 3);
}

/* ------------------------------------------------------------------------------- formats */

#define DATE  "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])"
#define TIME  "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define BYTE  "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define HEX   "[0-9a-fA-F]"

const char *px_schema_format(const char *name)
{
    static const struct {
        const char *name, *pattern;
    } formats[] = {
        {"date", DATE},
        {"time", TIME},
        {"date-time", DATE "T" TIME},
        {"duration",
            "P(\\d{1,9}W|\\d{1,9}Y(\\d{1,2}M)?(\\d{1,2}D)?|\\d{1,9}M(\\d{1,2}D)?|\\d{1,9}D"
            "|(\\d{1,9}D)?T(\\d{1,9}H(\\d{1,2}M)?(\\d{1,2}S)?|\\d{1,9}M(\\d{1,2}S)?|\\d{1,9}S))"},
        {"uuid", HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}"},
        {"email",
            "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}){0,8}"
            "@" LABEL "(\\." LABEL "){1,8}"},
        {"hostname", LABEL "(\\." LABEL "){0,8}"},
        {"ipv4", BYTE "(\\." BYTE "){3}"},
        {"uri", "[a-z][a-z0-9+.-]{0,30}:[A-Za-z0-9._~:/?#\\[\\]@!$&'()*+,;=%-]{1,2000}"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(name, formats[i].name)) return formats[i].pattern;
    return NULL;
}
