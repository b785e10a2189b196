/* json_schema_merge.c - one schema that says what two say: for allOf, for what stands beside anyOf
 * and $ref. */
#include <string.h>

#include "engine/grammar/json_schema_impl.h"

enum { DEPTH_MAX = 32, PRODUCT_MAX = 256 };

static json_t *merge(px_schema_reader *r, const json_t *a, const json_t *b, unsigned depth);

static json_t *copy_of(const json_t *value)
{
    return json_deep_copy(value);
}

static bool only_describes(const char *key)
{
    static const char *const keys[] = {"title", "description", "default", "examples", "example",
        "$comment", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$anchor",
        "discriminator"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i])) return true;
    return false;
}

bool px_schema_says_more(const json_t *schema)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value)
    {
        bool quiet = only_describes(key) || !strcmp(key, "$ref") || !strcmp(key, "$defs") ||
                     !strcmp(key, "definitions");
        if (!quiet) return true;
    }
    return false;
}

/* ------------------------------------------------------------------------ single keywords */

static json_t *cannot(px_schema_reader *r, const char *key)
{
    px_schema_fail(r, PX_UNIMPLEMENTED, "two different '%s' cannot be merged", key);
    return NULL;
}

static json_t *merge_maps(px_schema_reader *r, const json_t *a, const json_t *b, unsigned depth)
{
    json_t *out = json_copy((json_t *)(uintptr_t)a);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b, key, value)
    {
        const json_t *known = json_object_get(a, key);
        json_object_set_new(out, key, known ? merge(r, known, value, depth) : copy_of(value));
    }
    return out;
}

static bool holds(const json_t *list, const json_t *value)
{
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        if (json_equal(one, value)) return true;
    }
    return false;
}

static json_t *unite(const json_t *a, const json_t *b)
{
    json_t *out = copy_of(a), *one;
    size_t i;
    json_array_foreach(b, i, one)
    {
        if (!holds(out, one)) json_array_append(out, one);
    }
    return out;
}

static json_t *intersect(const json_t *a, const json_t *b)
{
    json_t *out = json_array(), *one;
    size_t i;
    json_array_foreach(a, i, one)
    {
        if (holds(b, one)) json_array_append(out, one);
    }
    return out;
}

static json_t *list_of(const json_t *value)
{
    return json_is_array(value) ? copy_of(value) : json_pack("[O]", value);
}

/* Types in both; an integer is a number too. */
static json_t *merge_types(const json_t *a, const json_t *b)
{
    json_t *left = list_of(a), *right = list_of(b), *out = intersect(left, right);
    json_t *integer = json_string("integer"), *number = json_string("number");
    bool one_has = (holds(left, integer) && holds(right, number)) ||
                   (holds(left, number) && holds(right, integer));
    if (one_has && !holds(out, integer)) json_array_append(out, integer);
    json_decref(left);
    json_decref(right);
    json_decref(integer);
    json_decref(number);
    return out;
}

/* Every alternative of the one with every alternative of the other. */
static json_t *merge_alternatives(
    px_schema_reader *r, const json_t *a, const json_t *b, unsigned depth)
{
    if (json_array_size(a) * json_array_size(b) > PRODUCT_MAX) return cannot(r, "anyOf");
    json_t *out = json_array(), *x, *y;
    size_t i, k;
    json_array_foreach(a, i, x)
    {
        json_array_foreach(b, k, y)
        {
            json_array_append_new(out, merge(r, x, y, depth));
        }
    }
    return out;
}

static json_t *tighter(const json_t *a, const json_t *b, bool wants_larger)
{
    bool a_larger = json_number_value(a) >= json_number_value(b);
    return copy_of(a_larger == wants_larger ? a : b);
}

static bool is_in(const char *key, const char *const *keys)
{
    for (; *keys; keys++)
        if (!strcmp(key, *keys)) return true;
    return false;
}

static json_t *merge_keyword(
    px_schema_reader *r, const char *key, const json_t *a, const json_t *b, unsigned depth)
{
    static const char *const maps[] = {
        "properties", "patternProperties", "$defs", "definitions", NULL};
    static const char *const lower[] = {
        "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", NULL};
    static const char *const upper[] = {
        "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", NULL};
    static const char *const schemas[] = {"additionalProperties", "items", "propertyNames", NULL};
    static const char *const alternatives[] = {"anyOf", "oneOf", NULL};
    if (json_equal(a, b) || only_describes(key)) return copy_of(a);
    if (is_in(key, maps)) return merge_maps(r, a, b, depth);
    if (is_in(key, lower) && json_is_number(a) && json_is_number(b)) return tighter(a, b, true);
    if (is_in(key, upper) && json_is_number(a) && json_is_number(b)) return tighter(a, b, false);
    if (is_in(key, schemas) && !json_is_array(a) && !json_is_array(b)) return merge(r, a, b, depth);
    if (is_in(key, alternatives)) return merge_alternatives(r, a, b, depth);
    if (!strcmp(key, "required") || !strcmp(key, "allOf")) return unite(a, b);
    if (!strcmp(key, "enum")) return intersect(a, b);
    if (!strcmp(key, "type")) return merge_types(a, b);
    return cannot(r, key);
}

/* -------------------------------------------------------------------------------- schemas */

/* The schema with its "$ref" replaced by what it leads to. */
static json_t *resolved(px_schema_reader *r, const json_t *schema, unsigned depth)
{
    const char *pointer = json_string_value(json_object_get(schema, "$ref"));
    if (!pointer) return copy_of(schema);
    const json_t *target = px_schema_follow(r, pointer);
    if (!target) {
        px_schema_fail(
            r, PX_INVALID_ARGUMENT, "'$ref' leads nowhere in this schema: '%.80s'", pointer);
        return NULL;
    }
    json_t *beside = json_copy((json_t *)(uintptr_t)schema);
    json_object_del(beside, "$ref");
    json_t *out = merge(r, beside, target, depth + 1);
    json_decref(beside);
    return out;
}

static json_t *merge_objects(px_schema_reader *r, const json_t *a, const json_t *b, unsigned depth)
{
    json_t *out = json_copy((json_t *)(uintptr_t)a);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b, key, value)
    {
        const json_t *known = json_object_get(a, key);
        json_object_set_new(
            out, key, known ? merge_keyword(r, key, known, value, depth + 1) : copy_of(value));
        if (px_schema_failed(r)) break;
    }
    return out;
}

static json_t *merge(px_schema_reader *r, const json_t *a, const json_t *b, unsigned depth)
{
    if (depth > DEPTH_MAX) {
        px_schema_fail(
            r, PX_UNIMPLEMENTED, "schemas that refer to each other nest too deep to merge");
        return NULL;
    }
    if (json_is_false(a) || json_is_false(b)) return json_false();
    bool a_quiet = json_is_true(a) || (!px_schema_says_more(a) && !json_object_get(a, "$ref"));
    bool b_quiet = json_is_true(b) || (!px_schema_says_more(b) && !json_object_get(b, "$ref"));
    if (a_quiet && json_is_object(b) && px_schema_says_more(b)) return resolved(r, b, depth);
    if (a_quiet) return copy_of(b);
    if (b_quiet) return resolved(r, a, depth);
    json_t *left = resolved(r, a, depth), *right = resolved(r, b, depth), *out = NULL;
    if (left && right && json_is_object(left) && json_is_object(right))
        out = merge_objects(r, left, right, depth);
    else if (left && right)
        out = json_false();
    json_decref(left);
    json_decref(right);
    return out;
}

const json_t *px_schema_merge(px_schema_reader *r, const json_t *a, const json_t *b)
{
    json_t *both = merge(r, a, b, 0);
    if (px_schema_failed(r)) {
        json_decref(both);
        return NULL;
    }
    json_array_append_new(r->merged, both);
    return both;
}
