#include "engine/grammar/json_text.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/grammar/json_number.h"

enum { SPACE_MAX = 64 };

static const px_expr *sequence2(px_expr_source *s, const px_expr *a, const px_expr *b)
{
    const px_expr *parts[] = {a, b};
    return px_expr_sequence(s, parts, 2);
}

static const px_expr *sequence3(
    px_expr_source *s, const px_expr *a, const px_expr *b, const px_expr *c)
{
    const px_expr *parts[] = {a, b, c};
    return px_expr_sequence(s, parts, 3);
}

px_json_layout px_json_layout_plain(px_expr_source *source)
{
    const px_expr *nothing = px_expr_text(source, "");
    return (px_json_layout){
        px_expr_text(source, ", "), px_expr_text(source, ": "), nothing, nothing};
}

px_json_layout px_json_layout_free(px_expr_source *source)
{
    static const px_expr_range blanks[] = {{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}};
    const px_expr *blank = px_expr_class(source, blanks, 3, false);
    const px_expr *space = px_expr_repeat(source, blank, 0, SPACE_MAX);
    return (px_json_layout){sequence3(source, space, px_expr_text(source, ","), space),
        sequence3(source, space, px_expr_text(source, ":"), space), space, space};
}

/* ------------------------------------------------------------------------------- strings */

static bool holds(const px_expr_range *ranges, uint32_t count, uint32_t code)
{
    for (uint32_t i = 0; i < count; i++)
        if (ranges[i].low <= code && code <= ranges[i].high) return true;
    return false;
}

/* The shortest escape of a character that needs one. */
static const px_expr *escaped(px_expr_source *source, uint32_t code)
{
    static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    char text[8];
    const char *letter = code ? strchr(letters, (int)code) : NULL;
    if (letter)
        snprintf(text, sizeof text, "\\%c", names[letter - letters]);
    else
        snprintf(text, sizeof text, "\\u%04x", code);
    return px_expr_text(source, text);
}

const px_expr *px_json_char_class(
    void *arg, px_expr_source *source, const px_expr_range *ranges, size_t count, bool negated)
{
    static const px_expr_range plain[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x10ffff}};
    const px_expr *wanted = px_expr_class(source, ranges, count, negated);
    if (!wanted) return NULL;
    px_expr_list parts = {0};
    px_expr_range *inside = px_alloc_array(3 * (size_t)wanted->count + 1, sizeof *inside);
    size_t kept = 0;
    for (uint32_t i = 0; i < wanted->count; i++)
        for (int k = 0; k < 3; k++) {
            const px_expr_range *a = &wanted->ranges[i], *b = &plain[k];
            px_expr_range both = {
                a->low > b->low ? a->low : b->low, a->high < b->high ? a->high : b->high};
            if (both.low <= both.high) inside[kept++] = both;
        }
    if (kept) px_expr_list_add(&parts, px_expr_class(source, inside, kept, false));
    for (uint32_t code = 0; code <= '\\'; code++)
        if ((code < 0x20 || code == '"' || code == '\\') &&
            holds(wanted->ranges, wanted->count, code))
            px_expr_list_add(&parts, escaped(source, code));
    const px_expr *made = px_expr_choice(source, parts.items, parts.count);
    free(inside);
    px_expr_list_done(&parts);
    return made;
}

const px_expr *px_json_any_char(px_expr_source *source)
{
    static const px_expr_range plain[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x10ffff}};
    static const px_expr_range hex[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
    static const px_expr_range not_d[] = {
        {'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}};
    static const px_expr_range d[] = {{'D', 'D'}, {'d', 'd'}}, low[] = {{'0', '7'}};
    static const px_expr_range letters[] = {{'"', '"'}, {'/', '/'}, {'\\', '\\'}, {'b', 'b'},
        {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}};
    const px_expr *h = px_expr_class(source, hex, 3, false);
    const px_expr *hh = px_expr_repeat(source, h, 2, 2);
    /* \uD800 to \uDFFF are halves of characters: the whole ones can be written as they are. */
    const px_expr *codes[] = {sequence3(source, px_expr_class(source, not_d, 5, false), h, hh),
        sequence3(
            source, px_expr_class(source, d, 2, false), px_expr_class(source, low, 1, false), hh)};
    const px_expr *escapes[] = {px_expr_class(source, letters, 8, false),
        sequence2(source, px_expr_text(source, "u"), px_expr_choice(source, codes, 2))};
    const px_expr *chars[] = {px_expr_class(source, plain, 3, false),
        sequence2(source, px_expr_text(source, "\\"), px_expr_choice(source, escapes, 2))};
    return px_expr_choice(source, chars, 2);
}

const px_expr *px_json_quoted(px_expr_source *source, const px_expr *inner)
{
    const px_expr *quote = px_expr_text(source, "\"");
    return sequence3(source, quote, inner, quote);
}

const px_expr *px_json_string_of(px_expr_source *source, const char *text)
{
    px_expr_list parts = {0};
    size_t left = strlen(text);
    while (left) {
        uint32_t code;
        size_t length = px_utf8_next(text, left, &code);
        bool needs = code < 0x20 || code == '"' || code == '\\';
        px_expr_list_add(
            &parts, needs ? escaped(source, code) : px_expr_bytes(source, text, length));
        text += length;
        left -= length;
    }
    const px_expr *inner =
        parts.count ? px_expr_sequence(source, parts.items, parts.count) : px_expr_text(source, "");
    px_expr_list_done(&parts);
    return px_json_quoted(source, inner);
}

/* ---------------------------------------------------------------------- lists and members */

const px_expr *px_json_member_expr(
    px_expr_source *source, const px_json_layout *layout, px_json_member member)
{
    return sequence3(source, member.key, layout->colon, member.value);
}

const px_expr *px_json_list_expr(
    px_expr_source *source, const px_json_layout *layout, const px_json_list *list)
{
    char brackets[2][2] = {{list->open}, {list->close}};
    const px_expr *open = px_expr_text(source, brackets[0]);
    const px_expr *close = px_expr_text(source, brackets[1]);
    const px_expr *empty = sequence2(source, open, close);
    if (!list->max) return empty;
    uint32_t most = list->max == PX_EXPR_UNBOUNDED ? list->max : list->max - 1;
    const px_expr *more = px_expr_repeat(
        source, sequence2(source, layout->comma, list->item), list->min ? list->min - 1 : 0, most);
    const px_expr *parts[] = {open, layout->open, list->item, more, layout->close, close};
    const px_expr *filled = px_expr_sequence(source, parts, 6);
    const px_expr *both[] = {empty, filled};
    return list->min ? filled : px_expr_choice(source, both, 2);
}

/* ----------------------------------------------------------------------------- constants */

static const px_expr *constant_list(
    px_expr_source *source, const px_json_layout *layout, const json_t *value)
{
    px_expr_list parts = {0};
    bool is_object = json_is_object(value);
    px_expr_list_add(&parts, px_expr_text(source, is_object ? "{" : "["));
    size_t i;
    const char *key;
    json_t *item;
    if (is_object) {
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
        {
            px_expr_list_add(&parts, parts.count > 1 ? layout->comma : layout->open);
            px_json_member member = {
                px_json_string_of(source, key), px_json_constant(source, layout, item)};
            px_expr_list_add(&parts, px_json_member_expr(source, layout, member));
        }
    } else {
        json_array_foreach(value, i, item)
        {
            px_expr_list_add(&parts, parts.count > 1 ? layout->comma : layout->open);
            px_expr_list_add(&parts, px_json_constant(source, layout, item));
        }
    }
    if (parts.count > 1) px_expr_list_add(&parts, layout->close);
    px_expr_list_add(&parts, px_expr_text(source, is_object ? "}" : "]"));
    const px_expr *made = px_expr_sequence(source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

const px_expr *px_json_constant(
    px_expr_source *source, const px_json_layout *layout, const json_t *value)
{
    if (json_is_string(value)) return px_json_string_of(source, json_string_value(value));
    if (json_is_object(value) || json_is_array(value)) return constant_list(source, layout, value);
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const px_expr *made = px_expr_text(source, text ? text : "null");
    free(text);
    return made;
}

px_json_any px_json_any_rules(px_expr_source *source, const px_json_layout *layout)
{
    px_json_any any = {
        px_expr_declare(source, "any value", 9), px_expr_declare(source, "any object", 10)};
    const px_expr *string = px_json_quoted(
        source, px_expr_repeat(source, px_json_any_char(source), 0, PX_EXPR_UNBOUNDED));
    const px_expr *value = px_expr_rule_of(source, any.value);
    const px_expr *member = px_json_member_expr(source, layout, (px_json_member){string, value});
    const px_expr *number = NULL;
    px_number_range all = {.is_integer = false};
    px_ignore(px_json_number_expr(source, &all, &number)); /* without bounds it cannot fail */
    px_json_list object = {'{', '}', member, 0, PX_EXPR_UNBOUNDED};
    px_json_list array = {'[', ']', value, 0, PX_EXPR_UNBOUNDED};
    const px_expr *values[] = {px_expr_rule_of(source, any.object),
        px_json_list_expr(source, layout, &array), string, number, px_expr_text(source, "true"),
        px_expr_text(source, "false"), px_expr_text(source, "null")};
    source->rules[any.object].body = px_json_list_expr(source, layout, &object);
    source->rules[any.value].body = px_expr_choice(source, values, 7);
    return any;
}
