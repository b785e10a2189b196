#include "engine/grammar/regex.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/grammar/repetition.h"

enum { DEPTH_MAX = 100, RANGES_MAX = 1024, CODE_POINT_MAX = 0x10ffff };

typedef struct parser {
    px_expr_source *source;
    const px_regex_options *options;
    const char *start, *at, *end;
    unsigned depth;
    px_status status; /* the first failure; then everything returns NULL */
} parser;

static const px_expr *parse_choice(parser *p);

static const px_expr *fail(parser *p, const char *what)
{
    if (px_is_ok(p->status))
        p->status = px_fail(PX_INVALID_ARGUMENT, "regular expression, character %zu: %s",
            (size_t)(p->at - p->start) + 1, what);
    return NULL;
}

static bool failed(const parser *p)
{
    return !px_is_ok(p->status);
}

static bool starts_with(const parser *p, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(p->end - p->at) >= length && memcmp(p->at, text, length) == 0;
}

static bool take(parser *p, const char *text)
{
    if (!starts_with(p, text)) return false;
    p->at += strlen(text);
    return true;
}

static uint32_t next_code_point(parser *p)
{
    uint32_t code;
    size_t length = px_utf8_next(p->at, (size_t)(p->end - p->at), &code);
    if (code == PX_UTF8_INVALID) {
        fail(p, "not valid UTF-8");
        p->at = p->end;
        return 0;
    }
    p->at += length;
    return code;
}

static const px_expr *make_class(parser *p, const px_expr_range *ranges, size_t count, bool negated)
{
    if (p->options->make_class)
        return p->options->make_class(p->options->arg, p->source, ranges, count, negated);
    return px_expr_class(p->source, ranges, count, negated);
}

/* ------------------------------------------------------------------------------- escapes */

typedef struct set { /* of code points, in a class or for one escape */
    px_expr_range ranges[RANGES_MAX];
    size_t count;
} set;

static void add(parser *p, set *s, uint32_t low, uint32_t high)
{
    if (s->count == RANGES_MAX)
        fail(p, "a class of more than 1024 parts");
    else
        s->ranges[s->count++] = (px_expr_range){low, high};
}

static const px_expr_range digits[] = {{'0', '9'}};
static const px_expr_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
/* ECMA-262's WhiteSpace and LineTerminator. */
static const px_expr_range space[] = {{9, 13}, {32, 32}, {160, 160}, {0x1680, 0x1680},
    {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
    {0xfeff, 0xfeff}};

/* \d \w \s and their opposites, the letter being at p->at; false: another one. */
static bool add_shorthand(parser *p, set *s)
{
    const px_expr_range *ranges;
    size_t count;
    switch (*p->at | 0x20) {
    case 'd': ranges = digits, count = sizeof digits / sizeof *digits; break;
    case 'w': ranges = word, count = sizeof word / sizeof *word; break;
    case 's': ranges = space, count = sizeof space / sizeof *space; break;
    default: return false;
    }
    bool negated = !(*p->at & 0x20);
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        if (!negated) add(p, s, ranges[i].low, ranges[i].high);
        if (negated && ranges[i].low > next) add(p, s, next, ranges[i].low - 1);
        next = ranges[i].high + 1;
    }
    if (negated) add(p, s, next, CODE_POINT_MAX);
    p->at++;
    return true;
}

/* `least` to `most` hexadecimal digits. */
static uint32_t read_hex(parser *p, unsigned least, unsigned most)
{
    uint32_t value = 0;
    unsigned count = 0;
    for (; count < most && p->at < p->end; count++, p->at++) {
        char c = *p->at;
        if (c >= '0' && c <= '9')
            value = value * 16 + (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value * 16 + (uint32_t)((c | 0x20) - 'a' + 10);
        else
            break;
    }
    if (count < least || value > CODE_POINT_MAX) fail(p, "not a code point in hexadecimal");
    return value;
}

/* \uHHHH, with the second half of a surrogate pair, or \u{H..}; behind the u. */
static uint32_t read_unicode(parser *p)
{
    if (take(p, "{")) {
        uint32_t code = read_hex(p, 1, 6);
        if (!take(p, "}")) fail(p, "'}' is missing");
        return code;
    }
    uint32_t code = read_hex(p, 4, 4);
    if (code >= 0xd800 && code < 0xdc00 && take(p, "\\u")) {
        uint32_t low = read_hex(p, 4, 4);
        if (low < 0xdc00 || low > 0xdfff) fail(p, "half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return code;
}

/* The one code point that an escape means, behind the backslash. */
static uint32_t read_escape(parser *p)
{
    static const char letters[] = "ntrfv", values[] = "\n\t\r\f\v";
    uint32_t c = next_code_point(p);
    const char *letter = c && c < 128 ? strchr(letters, (int)c) : NULL;
    if (letter) return (unsigned char)values[letter - letters];
    switch (c) {
    case '0': return 0;
    case 'x': return read_hex(p, 2, 2);
    case 'u': return read_unicode(p);
    case 'c':
        if (p->at < p->end && ((*p->at | 0x20) >= 'a' && (*p->at | 0x20) <= 'z'))
            return (uint32_t)*p->at++ & 31;
        fail(p, "\\c needs a letter");
        return 0;
    case 'p':
    case 'P': fail(p, "Unicode properties (\\p) are not supported: write the ranges"); return 0;
    default:
        if (c >= '1' && c <= '9')
            fail(p, "back references are not supported");
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
            fail(p, "no such escape");
        return c;
    }
}

/* --------------------------------------------------------------------------------- atoms */

/* One member of a class; whether it was a single code point, that may start a range. */
static bool parse_member(parser *p, set *s, uint32_t *out)
{
    if (take(p, "\\")) {
        if (p->at == p->end) return fail(p, "a backslash at the end") != NULL;
        if (add_shorthand(p, s)) return false;
        if (take(p, "b"))
            *out = '\b';
        else if (take(p, "-"))
            *out = '-';
        else
            *out = read_escape(p);
        return true;
    }
    *out = next_code_point(p);
    return true;
}

static const px_expr *parse_class(parser *p)
{
    set s = {.count = 0};
    bool negated = take(p, "^");
    while (!failed(p) && !starts_with(p, "]")) {
        uint32_t low, high;
        if (p->at == p->end) return fail(p, "']' is missing");
        if (!parse_member(p, &s, &low)) continue;
        high = low;
        if (starts_with(p, "-") && p->at + 1 < p->end && p->at[1] != ']') {
            p->at++;
            if (!parse_member(p, &s, &high)) return fail(p, "a range ends in a class");
            if (high < low) return fail(p, "a range that ends before it begins");
        }
        add(p, &s, low, high);
    }
    p->at++;
    return failed(p) ? NULL : make_class(p, s.ranges, s.count, negated);
}

static const px_expr *parse_group(parser *p)
{
    if (take(p, "?")) {
        if (starts_with(p, "=") || starts_with(p, "!") || starts_with(p, "<=") ||
            starts_with(p, "<!"))
            return fail(p, "look-around is not supported");
        if (take(p, "<") || take(p, "P<")) {
            while (p->at < p->end && *p->at != '>') p->at++;
            if (!take(p, ">")) return fail(p, "'>' is missing");
        } else if (!take(p, ":")) {
            return fail(p, "no such kind of group");
        }
    }
    const px_expr *inner = parse_choice(p);
    if (!failed(p) && !take(p, ")")) return fail(p, "')' is missing");
    return inner;
}

static const px_expr *parse_atom(parser *p)
{
    static const px_expr_range breaks[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    if (take(p, "(")) return parse_group(p);
    if (take(p, "[")) return parse_class(p);
    if (take(p, ".")) return make_class(p, breaks, sizeof breaks / sizeof *breaks, true);
    if (strchr("*+?{", *p->at)) return fail(p, "nothing stands before it to repeat");
    if (*p->at == '^' || *p->at == '$') return fail(p, "'^' and '$' may stand only at the ends");
    if (take(p, "\\")) {
        set s = {.count = 0};
        if (p->at == p->end) return fail(p, "a backslash at the end");
        if (starts_with(p, "b") || starts_with(p, "B"))
            return fail(p, "word boundaries are not supported");
        if (!add_shorthand(p, &s)) {
            uint32_t code = read_escape(p);
            add(p, &s, code, code);
        }
        return failed(p) ? NULL : make_class(p, s.ranges, s.count, false);
    }
    uint32_t code = next_code_point(p);
    px_expr_range range = {code, code};
    return failed(p) ? NULL : make_class(p, &range, 1, false);
}

/* -------------------------------------------------------------------------- compositions */

static const px_expr *parse_repeated(parser *p)
{
    const px_expr *atom = parse_atom(p);
    px_repetition repetition;
    const char *why = NULL;
    while (!failed(p) && px_repetition_read(&p->at, p->end, &repetition, &why)) {
        take(p, "?"); /* a lazy mark says what to prefer, not what matches */
        atom = px_expr_repeat(p->source, atom, repetition.min, repetition.max);
    }
    return why ? fail(p, why) : atom;
}

static const px_expr *parse_sequence(parser *p)
{
    px_expr_list parts = {0};
    bool is_outermost = p->depth == 1, starts = is_outermost && take(p, "^"), ends = false;
    const px_expr *any = is_outermost ? p->options->any : NULL;
    if (any && !starts)
        px_expr_list_add(&parts, px_expr_repeat(p->source, any, 0, PX_EXPR_UNBOUNDED));
    while (!failed(p) && !ends && p->at < p->end && *p->at != '|' && *p->at != ')') {
        ends = is_outermost && *p->at == '$' && (p->at + 1 == p->end || p->at[1] == '|');
        if (ends)
            p->at++;
        else
            px_expr_list_add(&parts, parse_repeated(p));
    }
    if (any && !ends)
        px_expr_list_add(&parts, px_expr_repeat(p->source, any, 0, PX_EXPR_UNBOUNDED));
    return px_expr_list_sequence(&parts, p->source, failed(p));
}

static const px_expr *parse_choice(parser *p)
{
    px_expr_list parts = {0};
    if (++p->depth > DEPTH_MAX) return fail(p, "groups nest too deep");
    do {
        px_expr_list_add(&parts, parse_sequence(p));
    } while (!failed(p) && take(p, "|"));
    p->depth--;
    const px_expr *made = failed(p) ? NULL : px_expr_choice(p->source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

px_status px_regex_expr(
    px_expr_source *source, px_slice text, const px_regex_options *options, const px_expr **out)
{
    parser p = {.source = source,
        .options = options,
        .start = text.data,
        .at = text.data,
        .end = text.data + text.length,
        .status = px_ok()};
    *out = parse_choice(&p);
    if (!failed(&p) && p.at < p.end) fail(&p, "')' without '('");
    if (!failed(&p) && !*out)
        p.status = px_fail(PX_RESOURCE_EXHAUSTED, "the regular expression is too large");
    return p.status;
}

px_status px_regex_read(px_slice text, px_expr_source *out)
{
    const px_expr *body;
    uint32_t rule = px_expr_declare(out, "regex", 5);
    PX_TRY(px_regex_expr(out, text, &(px_regex_options){0}, &body));
    out->rules[rule].body = body;
    return px_ok();
}
