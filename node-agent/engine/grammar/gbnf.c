#include "engine/grammar/gbnf.h"

#include <ctype.h>
#include <string.h>

#include "base/utf8.h"
#include "engine/grammar/repetition.h"

enum { DEPTH_MAX = 100, RANGES_MAX = 1024, RULES_MAX = 4096, LITERAL_MAX = 65536 };

typedef struct parser {
    px_expr_source *source;
    const char *start, *at, *end;
    unsigned depth;
    px_status status; /* the first failure; then everything returns NULL */
} parser;

static const px_expr *parse_choice(parser *p);

static const px_expr *fail(parser *p, const char *what)
{
    unsigned line = 1;
    for (const char *c = p->start; c < p->at; c++) line += *c == '\n';
    if (px_is_ok(p->status))
        p->status = px_fail(PX_INVALID_ARGUMENT, "grammar, line %u: %s", line, what);
    return NULL;
}

static bool failed(const parser *p)
{
    return !px_is_ok(p->status);
}

static bool is_at(const parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

static bool take(parser *p, char c)
{
    if (!is_at(p, c)) return false;
    p->at++;
    return true;
}

/* White space and comments; line ends only if `lines`. */
static void skip_space(parser *p, bool lines)
{
    while (p->at < p->end) {
        if (*p->at == '#') {
            while (p->at < p->end && *p->at != '\n') p->at++;
        } else if (*p->at == ' ' || *p->at == '\t' ||
                   (lines && (*p->at == '\n' || *p->at == '\r'))) {
            p->at++;
        } else if (!lines && *p->at == '\r') {
            p->at++;
        } else {
            break;
        }
    }
}

/* --------------------------------------------------------------------------------- names */

static px_slice read_name(parser *p)
{
    const char *begin = p->at;
    while (p->at < p->end && (isalnum((unsigned char)*p->at) || *p->at == '-' || *p->at == '_'))
        p->at++;
    return (px_slice){begin, (size_t)(p->at - begin)};
}

/* Whether a new rule begins at the cursor: `name ::=`. */
static bool is_rule_head(parser *p)
{
    const char *begin = p->at;
    px_slice name = read_name(p);
    skip_space(p, false);
    bool is_head = name.length && p->end - p->at >= 3 && memcmp(p->at, "::=", 3) == 0;
    p->at = begin;
    return is_head;
}

static uint32_t rule_named(parser *p, px_slice name)
{
    for (uint32_t r = 0; r < p->source->rule_count; r++) {
        const char *known = p->source->rules[r].name;
        if (strlen(known) == name.length && memcmp(known, name.data, name.length) == 0) return r;
    }
    if (p->source->rule_count == RULES_MAX) fail(p, "more than 4096 rules");
    return failed(p) ? 0 : px_expr_declare(p->source, name.data, name.length);
}

/* ---------------------------------------------------------------------------- characters */

static uint32_t read_hex(parser *p, unsigned digits)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < digits; i++, p->at++) {
        if (p->at == p->end || !isxdigit((unsigned char)*p->at)) {
            fail(p, "not enough hexadecimal digits");
            return 0;
        }
        char c = *p->at;
        value =
            value * 16 + (uint32_t)(isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (value > 0x10ffff) fail(p, "not a code point");
    return value;
}

static uint32_t read_character(parser *p)
{
    uint32_t code;
    size_t length = px_utf8_next(p->at, (size_t)(p->end - p->at), &code);
    if (code == PX_UTF8_INVALID) {
        fail(p, "not valid UTF-8");
        return 0;
    }
    p->at += length;
    if (code != '\\') return code;
    switch (p->at < p->end ? *p->at++ : 0) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'x': return read_hex(p, 2);
    case 'u': return read_hex(p, 4);
    case 'U': return read_hex(p, 8);
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^': return (uint32_t)(unsigned char)p->at[-1];
    default: fail(p, "no such escape"); return 0;
    }
}

static const px_expr *parse_literal(parser *p)
{
    px_expr_list parts = {0};
    while (!failed(p) && !is_at(p, '"')) {
        if (p->at == p->end || *p->at == '\n' || parts.count == LITERAL_MAX) {
            fail(p, "'\"' is missing");
            break;
        }
        uint32_t code = read_character(p);
        px_expr_range range = {code, code};
        px_expr_list_add(&parts, px_expr_class(p->source, &range, 1, false));
    }
    p->at++;
    return px_expr_list_sequence(&parts, p->source, failed(p));
}

static const px_expr *parse_class(parser *p)
{
    px_expr_range ranges[RANGES_MAX];
    size_t count = 0;
    bool negated = take(p, '^');
    while (!failed(p) && !is_at(p, ']')) {
        if (p->at == p->end) return fail(p, "']' is missing");
        if (count == RANGES_MAX) return fail(p, "a class of more than 1024 parts");
        uint32_t low = read_character(p), high = low;
        if (is_at(p, '-') && p->at + 1 < p->end && p->at[1] != ']') {
            p->at++;
            high = read_character(p);
            if (high < low) return fail(p, "a range that ends before it begins");
        }
        ranges[count++] = (px_expr_range){low, high};
    }
    p->at++;
    return failed(p) ? NULL : px_expr_class(p->source, ranges, count, negated);
}

/* -------------------------------------------------------------------------- compositions */

static const px_expr *parse_atom(parser *p)
{
    if (take(p, '"')) return parse_literal(p);
    if (take(p, '[')) return parse_class(p);
    if (take(p, '.')) return px_expr_class(p->source, NULL, 0, true);
    if (take(p, '(')) {
        skip_space(p, true);
        const px_expr *inner = parse_choice(p);
        skip_space(p, true);
        return failed(p) || take(p, ')') ? inner : fail(p, "')' is missing");
    }
    px_slice name = read_name(p);
    if (!name.length) return fail(p, "a literal, a class, a rule's name or '(' is expected");
    uint32_t rule = rule_named(p, name);
    return failed(p) ? NULL : px_expr_rule_of(p->source, rule);
}

static const px_expr *parse_repeated(parser *p)
{
    const px_expr *atom = parse_atom(p);
    px_repetition repetition;
    const char *why = NULL;
    while (!failed(p) && px_repetition_read(&p->at, p->end, &repetition, &why)) {
        atom = px_expr_repeat(p->source, atom, repetition.min, repetition.max);
    }
    return why ? fail(p, why) : atom;
}

/* In parentheses line ends are white space; outside, a line that does not begin a new rule goes on
 * with the one before. */
static void skip_between(parser *p)
{
    const char *begin = p->at;
    skip_space(p, false);
    if (!is_at(p, '\n') && !is_at(p, '\r')) return;
    skip_space(p, true);
    if (p->depth == 1 && (p->at == p->end || is_rule_head(p))) p->at = begin;
    if (p->depth == 1 && p->at == begin) skip_space(p, false);
}

static const px_expr *parse_sequence(parser *p)
{
    px_expr_list parts = {0};
    skip_between(p);
    while (!failed(p) && p->at < p->end && !strchr("|)\n", *p->at)) {
        px_expr_list_add(&parts, parse_repeated(p));
        skip_between(p);
    }
    return px_expr_list_sequence(&parts, p->source, failed(p));
}

static const px_expr *parse_choice(parser *p)
{
    px_expr_list parts = {0};
    if (++p->depth > DEPTH_MAX) return fail(p, "parentheses nest too deep");
    do {
        px_expr_list_add(&parts, parse_sequence(p));
    } while (!failed(p) && take(p, '|'));
    p->depth--;
    const px_expr *made = failed(p) ? NULL : px_expr_choice(p->source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

static void parse_rule(parser *p)
{
    if (!is_rule_head(p)) {
        fail(p, "a rule is expected: name ::= ...");
        return;
    }
    uint32_t rule = rule_named(p, read_name(p));
    skip_space(p, false);
    p->at += 3;
    if (!failed(p) && p->source->rules[rule].body) fail(p, "a rule of this name stands above");
    const px_expr *body = failed(p) ? NULL : parse_choice(p);
    if (!failed(p) && is_at(p, ')')) fail(p, "')' without '('");
    if (failed(p)) return;
    if (body)
        p->source->rules[rule].body = body;
    else
        p->status = px_fail(PX_RESOURCE_EXHAUSTED, "the grammar is too large");
}

px_status px_gbnf_read(px_slice text, px_expr_source *out)
{
    parser p = {.source = out,
        .start = text.data,
        .at = text.data,
        .end = text.data + text.length,
        .status = px_ok()};
    px_expr_declare(out, "root", 4); /* rule 0, wherever it stands */
    for (skip_space(&p, true); !failed(&p) && p.at < p.end; skip_space(&p, true)) parse_rule(&p);
    if (!failed(&p) && !out->rules[0].body)
        return px_fail(PX_INVALID_ARGUMENT, "grammar: there is no rule 'root'");
    return p.status;
}
