#include "engine/grammar/json_schema.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/grammar/json_number.h"
#include "engine/grammar/json_schema_impl.h"

enum { DEPTH_MAX = 64, CHOICES_MAX = 65536 };

const px_expr *px_schema_fail(px_schema_reader *r, px_code code, const char *format, ...)
{
    if (px_schema_failed(r)) return NULL;
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    r->status = px_fail(code, "JSON schema, at #%.80s: %s", r->path, text);
    return NULL;
}

uint32_t px_schema_count(
    px_schema_reader *r, const json_t *schema, const char *key, uint32_t otherwise)
{
    const json_t *value = json_object_get(schema, key);
    if (!value) return otherwise;
    /* Some generators write 3.0. */
    double number = json_is_number(value) ? json_number_value(value) : -1;
    if (!(number >= 0 && number <= 1e6) || number != (uint32_t)number) {
        px_schema_fail(r, PX_INVALID_ARGUMENT, "'%s' must be a whole number up to 1000000", key);
        return otherwise;
    }
    return (uint32_t)number;
}

/* --------------------------------------------------------------------------------- types */

static void read_bound(px_schema_reader *r, const json_t *schema, const char *key, bool exclusive,
    px_number_bound *io, bool is_low)
{
    const json_t *value = json_object_get(schema, key);
    if (!value || json_is_boolean(value)) return; /* draft 4 had booleans here */
    if (!json_is_number(value)) {
        px_schema_fail(r, PX_INVALID_ARGUMENT, "'%s' must be a number", key);
        return;
    }
    double number = json_number_value(value);
    bool tighter = !io->given || (is_low ? number > io->value : number < io->value) ||
                   (number == io->value && exclusive);
    if (tighter) *io = (px_number_bound){true, exclusive, number};
}

static const px_expr *read_number(px_schema_reader *r, const json_t *schema, bool is_integer)
{
    px_number_range range = {.is_integer = is_integer};
    bool low_4 = json_is_true(json_object_get(schema, "exclusiveMinimum"));
    bool high_4 = json_is_true(json_object_get(schema, "exclusiveMaximum"));
    read_bound(r, schema, "minimum", low_4, &range.low, true);
    read_bound(r, schema, "exclusiveMinimum", true, &range.low, true);
    read_bound(r, schema, "maximum", high_4, &range.high, false);
    read_bound(r, schema, "exclusiveMaximum", true, &range.high, false);
    if (px_schema_failed(r)) return NULL;
    const px_expr *made = NULL;
    px_status status = px_json_number_expr(r->source, &range, &made);
    return px_is_ok(status) ? made : px_schema_fail(r, status.code, "%s", status.text);
}

static const px_expr *read_boolean(px_schema_reader *r)
{
    const px_expr *both[] = {px_expr_text(r->source, "true"), px_expr_text(r->source, "false")};
    return px_expr_choice(r->source, both, 2);
}

static const px_expr *read_type(px_schema_reader *r, const json_t *schema, const char *type)
{
    if (!strcmp(type, "object")) return px_schema_object(r, schema);
    if (!strcmp(type, "array")) return px_schema_array(r, schema);
    if (!strcmp(type, "string")) return px_schema_string(r, schema);
    if (!strcmp(type, "integer")) return read_number(r, schema, true);
    if (!strcmp(type, "number")) return read_number(r, schema, false);
    if (!strcmp(type, "boolean")) return read_boolean(r);
    if (!strcmp(type, "null")) return px_expr_text(r->source, "null");
    return px_schema_fail(r, PX_INVALID_ARGUMENT, "there is no type '%.40s'", type);
}

/* The type that other keywords let one guess, for schemas without "type". */
static const char *type_of_keywords(const json_t *schema)
{
    static const struct {
        const char *key, *type;
    } hints[] = {{"properties", "object"}, {"additionalProperties", "object"},
        {"required", "object"}, {"patternProperties", "object"}, {"propertyNames", "object"},
        {"minProperties", "object"}, {"maxProperties", "object"}, {"items", "array"},
        {"prefixItems", "array"}, {"minItems", "array"}, {"maxItems", "array"},
        {"pattern", "string"}, {"format", "string"}, {"minLength", "string"},
        {"maxLength", "string"}, {"minimum", "number"}, {"maximum", "number"},
        {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (json_object_get(schema, hints[i].key)) return hints[i].type;
    return NULL;
}

static const px_expr *read_types(px_schema_reader *r, const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    const char *guessed = type_of_keywords(schema);
    if (json_is_string(type)) return read_type(r, schema, json_string_value(type));
    if (!type) {
        return guessed ? read_type(r, schema, guessed) : px_expr_rule_of(r->source, r->any.value);
    }
    px_expr_list parts = {0};
    size_t i;
    json_t *one;
    json_array_foreach(type, i, one)
    {
        const char *name = json_string_value(one);
        if (!name)
            px_schema_fail(r, PX_INVALID_ARGUMENT, "'type' must be a name or a list of names");
        if (px_schema_failed(r)) break;
        px_expr_list_add(&parts, read_type(r, schema, name));
    }
    if (!parts.count)
        px_schema_fail(r, PX_INVALID_ARGUMENT, "'type' must be a name or a list of names");
    const px_expr *made =
        px_schema_failed(r) ? NULL : px_expr_choice(r->source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

/* ---------------------------------------------------------------------------- references */

const json_t *px_schema_follow(const px_schema_reader *r, const char *pointer)
{
    const json_t *at = r->root;
    if (*pointer++ != '#') return NULL;
    while (at && *pointer == '/') {
        char name[256];
        size_t length = 0;
        for (pointer++; *pointer && *pointer != '/'; pointer++) {
            if (length + 1 == sizeof name) return NULL;
            char c = *pointer;
            unsigned code;
            if (c == '~' && (pointer[1] == '0' || pointer[1] == '1'))
                c = *++pointer == '0' ? '~' : '/';
            else if (c == '%' && pointer[1] && sscanf(pointer + 1, "%2x", &code) == 1)
                c = (char)code, pointer += 2;
            name[length++] = c;
        }
        name[length] = '\0';
        at = json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10))
                               : json_object_get(at, name);
    }
    return *pointer ? NULL : at;
}

static const px_expr *read_reference(px_schema_reader *r, const char *pointer)
{
    const json_t *schema = px_schema_follow(r, pointer);
    if (!schema)
        return px_schema_fail(
            r, PX_INVALID_ARGUMENT, "'$ref' leads nowhere in this schema: '%.80s'", pointer);
    for (unsigned i = 0; i < r->ref_count; i++)
        if (r->refs[i].schema == schema) return px_expr_rule_of(r->source, r->refs[i].rule);
    if (r->ref_count == PX_SCHEMA_REFS_MAX)
        return px_schema_fail(r, PX_RESOURCE_EXHAUSTED, "more than 1024 definitions");
    /* Known before it is read, so that it may lead back to itself. */
    uint32_t rule = px_expr_declare(r->source, pointer, strlen(pointer));
    r->refs[r->ref_count++] = (px_schema_ref){schema, rule};
    const px_expr *body = px_schema_value(r, schema, pointer + 1 + (pointer[1] == '/'));
    r->source->rules[rule].body = body;
    return body ? px_expr_rule_of(r->source, rule) : NULL;
}

/* -------------------------------------------------------------------------- combinations */

static const px_expr *read_constants(px_schema_reader *r, const json_t *values)
{
    px_expr_list parts = {0};
    size_t i;
    json_t *value;
    json_array_foreach(values, i, value)
    {
        px_expr_list_add(&parts, px_json_constant(r->source, &r->layout, value));
    }
    const px_expr *made = parts.count && parts.count <= CHOICES_MAX
                              ? px_expr_choice(r->source, parts.items, parts.count)
                              : px_schema_fail(r, PX_INVALID_ARGUMENT,
                                    "'enum' must be a list of 1 to %d values", CHOICES_MAX);
    px_expr_list_done(&parts);
    return made;
}

/* `schema` without one keyword; kept by the reader. */
static const json_t *without(px_schema_reader *r, const json_t *schema, const char *key)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)schema);
    json_object_del(copy, key);
    json_array_append_new(r->merged, copy);
    return copy;
}

/* Each alternative holds together with what stands beside it. */
static const px_expr *read_alternatives(px_schema_reader *r, const json_t *schema, const char *key)
{
    const json_t *beside = without(r, schema, key), *list = json_object_get(schema, key);
    px_expr_list parts = {0};
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        const json_t *both = px_schema_merge(r, beside, one);
        char where[40];
        snprintf(where, sizeof where, "%s/%zu", key, i);
        if (both) px_expr_list_add(&parts, px_schema_value(r, both, where));
        if (px_schema_failed(r)) break;
    }
    if (!parts.count) px_schema_fail(r, PX_INVALID_ARGUMENT, "'%s' must be a list of schemas", key);
    const px_expr *made =
        px_schema_failed(r) ? NULL : px_expr_choice(r->source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

static const px_expr *read_all(px_schema_reader *r, const json_t *schema)
{
    const json_t *both = without(r, schema, "allOf");
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(schema, "allOf"), i, one)
    {
        both = px_schema_merge(r, both, one);
        if (!both) return NULL;
    }
    return px_schema_value(r, both, "");
}

static const char *refused_keyword(const json_t *schema)
{
    static const char *const refused[] = {"not", "if", "then", "else", "contains", "minContains",
        "maxContains", "multipleOf", "dependentRequired", "dependentSchemas", "dependencies",
        "unevaluatedItems", "$dynamicRef", "$recursiveRef"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (json_object_get(schema, refused[i])) return refused[i];
    if (json_is_true(json_object_get(schema, "uniqueItems"))) return "uniqueItems";
    /* false is what we do in any case where properties are listed. */
    const json_t *unevaluated = json_object_get(schema, "unevaluatedProperties");
    return unevaluated && !json_is_boolean(unevaluated) ? "unevaluatedProperties" : NULL;
}

static const px_expr *read_schema(px_schema_reader *r, const json_t *schema)
{
    if (json_is_true(schema)) return px_expr_rule_of(r->source, r->any.value);
    if (json_is_false(schema)) return px_expr_choice(r->source, NULL, 0);
    if (!json_is_object(schema))
        return px_schema_fail(r, PX_INVALID_ARGUMENT, "a schema must be an object or a boolean");
    const char *refused = refused_keyword(schema);
    if (refused)
        return px_schema_fail(
            r, PX_UNIMPLEMENTED, "'%s' cannot be kept while a text is made", refused);
    const json_t *ref = json_object_get(schema, "$ref"),
                 *constant = json_object_get(schema, "const");
    if (constant) return px_json_constant(r->source, &r->layout, constant);
    if (json_object_get(schema, "enum")) return read_constants(r, json_object_get(schema, "enum"));
    if (json_object_get(schema, "allOf")) return read_all(r, schema);
    if (json_object_get(schema, "anyOf")) return read_alternatives(r, schema, "anyOf");
    if (json_object_get(schema, "oneOf")) return read_alternatives(r, schema, "oneOf");
    if (!json_is_string(ref)) return read_types(r, schema);
    if (!px_schema_says_more(schema)) return read_reference(r, json_string_value(ref));
    const json_t *whole = px_schema_merge(r, schema, json_true());
    return whole ? px_schema_value(r, whole, "") : NULL;
}

const px_expr *px_schema_value(px_schema_reader *r, const json_t *schema, const char *where)
{
    if (px_schema_failed(r)) return NULL;
    size_t length = strlen(r->path);
    if (*where) snprintf(r->path + length, sizeof r->path - length, "/%s", where);
    if (++r->depth > DEPTH_MAX)
        px_schema_fail(r, PX_RESOURCE_EXHAUSTED, "schemas nest more than %d deep", DEPTH_MAX);
    const px_expr *made = px_schema_failed(r) ? NULL : read_schema(r, schema);
    if (!made) px_schema_fail(r, PX_RESOURCE_EXHAUSTED, "the schema is too large");
    r->depth--;
    r->path[length] = '\0';
    return made;
}

px_status px_json_schema_read(px_slice text, px_expr_source *out)
{
    json_t *root;
    PX_TRY(px_json_parse(text.data, text.length, "JSON schema", &root));
    px_schema_reader *r = px_alloc(sizeof *r);
    uint32_t rule = px_expr_declare(out, "#", 1);
    *r = (px_schema_reader){.source = out,
        .root = root,
        .merged = json_array(),
        .layout = px_json_layout_plain(out),
        .status = px_ok()};
    r->any = px_json_any_rules(out, &r->layout);
    r->refs[r->ref_count++] = (px_schema_ref){root, rule}; /* "#" leads to the whole */
    const px_expr *body = px_schema_value(r, root, "");    /* declares rules, so they may move */
    out->rules[rule].body = body;
    px_status status = r->status;
    json_decref(r->merged);
    json_decref(root);
    free(r);
    return status;
}

px_status px_json_object_source(px_expr_source *out)
{
    uint32_t rule = px_expr_declare(out, "object", 6);
    px_json_layout layout = px_json_layout_free(out);
    px_json_any any = px_json_any_rules(out, &layout);
    out->rules[rule].body = px_expr_rule_of(out, any.object);
    return px_ok();
}

px_status px_choice_read(px_slice text, px_expr_source *out)
{
    json_t *list;
    PX_TRY(px_json_parse(text.data, text.length, "choice", &list));
    uint32_t rule = px_expr_declare(out, "choice", 6);
    px_expr_list parts = {0};
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        if (json_string_length(one))
            px_expr_list_add(&parts, px_expr_text(out, json_string_value(one)));
    }
    bool is_good =
        parts.count && parts.count == json_array_size(list) && parts.count <= CHOICES_MAX;
    if (is_good) out->rules[rule].body = px_expr_choice(out, parts.items, parts.count);
    px_expr_list_done(&parts);
    json_decref(list);
    return is_good
               ? px_ok()
               : px_fail(PX_INVALID_ARGUMENT,
                     "a choice must be a list of 1 to %d texts, none of them empty", CHOICES_MAX);
}
