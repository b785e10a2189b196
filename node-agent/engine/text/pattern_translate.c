/* pattern_translate.c - Oniguruma's (Ruby) syntax to PCRE2's, for px_pattern_create().
 *
 * One pass over the expression. Outside classes nearly all is copied; the place where the last
 * atom began is kept so that "X{n,m}+" (repetition of a repetition there, possessive here) can be
 * wrapped. Inside classes, \s, \w and \h become their Unicode sets, and [A&&B] becomes a lookahead
 * for B before A.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/text/pattern.h"
#include "engine/text/unicode.h"

enum { DEPTH_MAX = 64 };

/* Sets as they stand between brackets. Oniguruma's \\w has a few Latin-1 digits that are no Nd, its
 * [:punct:] has all symbols; \\s is White_Space, without what PCRE2 adds to it. */
#define SPACE_SET                                                                                  \
    "\\t-\\r\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{"   \
    "3000}"
#define NOT_SPACE_SET                                                                              \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{"   \
    "200b}-"                                                                                       \
    "\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define WORD_SET    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define HEX_SET     "0-9A-Fa-f"
#define NOT_HEX_SET "\\x00-/:-@G-`g-\\x{10ffff}"

/* Names in [:x:] and in \\p{x}, by what PCRE2 calls the same set. */
typedef struct named_set {
    const char *name, *set;
} named_set;

static const named_set posix_sets[] = {{"alpha", "\\p{Alphabetic}"}, {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"}, {"digit", "\\p{Nd}"}, {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"punct", "\\p{P}\\p{S}"}, {"space", SPACE_SET}, {"blank", "\\t\\p{Zs}"}, {"cntrl", "\\p{Cc}"},
    {"word", "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"}, {"xdigit", HEX_SET},
    {"graph", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}"},
    {"print", "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}\\p{Zs}"}};

static const named_set property_sets[] = {{"alpha", "\\p{Alphabetic}"}, {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"}, {"digit", "\\p{Nd}"}, {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"punct", "\\p{P}"}, {"space", SPACE_SET}, {"blank", "\\t\\p{Zs}"}, {"cntrl", "\\p{Cc}"},
    {"word", WORD_SET}, {"xdigit", HEX_SET}, {"letter", "\\p{L}"}, {"uppercase_letter", "\\p{Lu}"},
    {"lowercase_letter", "\\p{Ll}"}, {"titlecase_letter", "\\p{Lt}"},
    {"modifier_letter", "\\p{Lm}"}, {"other_letter", "\\p{Lo}"}, {"mark", "\\p{M}"},
    {"nonspacing_mark", "\\p{Mn}"}, {"spacing_mark", "\\p{Mc}"}, {"enclosing_mark", "\\p{Me}"},
    {"number", "\\p{N}"}, {"decimal_number", "\\p{Nd}"}, {"letter_number", "\\p{Nl}"},
    {"other_number", "\\p{No}"}, {"punctuation", "\\p{P}"}, {"connector_punctuation", "\\p{Pc}"},
    {"dash_punctuation", "\\p{Pd}"}, {"open_punctuation", "\\p{Ps}"},
    {"close_punctuation", "\\p{Pe}"}, {"initial_punctuation", "\\p{Pi}"},
    {"final_punctuation", "\\p{Pf}"}, {"other_punctuation", "\\p{Po}"}, {"symbol", "\\p{S}"},
    {"math_symbol", "\\p{Sm}"}, {"currency_symbol", "\\p{Sc}"}, {"modifier_symbol", "\\p{Sk}"},
    {"other_symbol", "\\p{So}"}, {"separator", "\\p{Z}"}, {"space_separator", "\\p{Zs}"},
    {"line_separator", "\\p{Zl}"}, {"paragraph_separator", "\\p{Zp}"}, {"other", "\\p{C}"},
    {"control", "\\p{Cc}"}, {"format", "\\p{Cf}"}, {"private_use", "\\p{Co}"},
    {"unassigned", "\\p{Cn}"}};

typedef struct translator {
    const char *at, *end;
    px_buf *out;
    size_t atom;              /* where in `out` the last atom begins */
    size_t groups[DEPTH_MAX]; /* where open groups begin */
    int depth;
} translator;

static px_status too_deep(void)
{
    return px_fail(
        PX_INVALID_ARGUMENT, "a pattern nests more than %d groups or classes", DEPTH_MAX);
}

static const char *find_set(const named_set *sets, size_t count, px_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(sets[i].name) == name.length &&
            strncasecmp(sets[i].name, name.data, name.length) == 0)
            return sets[i].set;
    return NULL;
}

/* The name in \\p{name} at t->at; length 0: it is none. */
static px_slice property_name(const translator *t)
{
    px_slice none = {0};
    if (t->end - t->at < 4 || (t->at[1] != 'p' && t->at[1] != 'P') || t->at[2] != '{') return none;
    const char *close = memchr(t->at, '}', (size_t)(t->end - t->at));
    if (!close) return none;
    return (px_slice){t->at + 3, (size_t)(close - t->at) - 3};
}

/* An escape that stands for a set of ours: what to write between brackets, and its own length. */
static const char *escape_set(const translator *t, size_t *out_length)
{
    *out_length = 2;
    if (t->end - t->at < 2) return NULL;
    switch (t->at[1]) {
    case 's':
    case 'S': return SPACE_SET;
    case 'w':
    case 'W': return WORD_SET;
    case 'h':
    case 'H': return HEX_SET;
    default: break;
    }
    px_slice name = property_name(t);
    *out_length = name.length + 4;
    return find_set(property_sets, sizeof property_sets / sizeof *property_sets, name);
}

static bool is_negated_escape(char letter)
{
    return letter >= 'A' && letter <= 'Z';
}

/* \\p{Han} is the Script there, but Script_Extensions in PCRE2 unless it says "sc:". Whether a name
 * is a script's only PCRE2 knows, so it is asked. */
static bool is_script(px_slice name)
{
    char pattern[64];
    int code;
    PCRE2_SIZE offset;
    if (name.length < 3 || name.length > 40) return false;
    int length = snprintf(pattern, sizeof pattern, "\\p{sc:%.*s}", (int)name.length, name.data);
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, (size_t)length, PCRE2_UTF, &code, &offset, NULL);
    pcre2_code_free(compiled);
    return compiled != NULL;
}

/* Copies an escape outside our sets: \\p{..}, \\x{..}, \\u0000, \\n, \\ ... */
static void copy_escape(translator *t)
{
    char letter = t->at[1];
    if (letter == 'u' && t->end - t->at >= 6) {
        px_buf_printf(t->out, "\\x{%.4s}", t->at + 2);
        t->at += 6;
        return;
    }
    px_slice name = property_name(t);
    bool negated = name.length && name.data[0] == '^';
    px_slice bare = name;
    if (negated) bare = (px_slice){name.data + 1, name.length - 1};
    if (is_script(bare)) {
        px_buf_printf(
            t->out, "\\%c{%ssc:%.*s}", letter, negated ? "^" : "", (int)bare.length, bare.data);
        t->at += name.length + 4;
        return;
    }
    size_t length = 1 + px_rune_bytes(letter);
    if ((letter == 'p' || letter == 'P' || letter == 'x' || letter == 'k' || letter == 'g') &&
        t->end - t->at > 2 && t->at[2] == '{') {
        const char *close = memchr(t->at, '}', (size_t)(t->end - t->at));
        if (close) length = (size_t)(close - t->at) + 1;
    }
    if (length > (size_t)(t->end - t->at)) length = (size_t)(t->end - t->at);
    px_buf_append(t->out, t->at, length);
    t->at += length;
}

static px_status translate_class(translator *t, int depth);

static void add_alternative(px_buf *nested, const char *before, const char *set)
{
    px_buf_printf(nested, "%s%s%s]", nested->length ? "|" : "", before, set);
}

/* One escape in a class. A complement has no spelling inside a class in general, so it becomes an
 * alternative of the class; the two that patterns do use, \\S and \\H, are listed. */
static void class_escape(translator *t, px_buf *nested)
{
    size_t length;
    const char *set = escape_set(t, &length);
    if (!set) {
        copy_escape(t);
        return;
    }
    char letter = t->at[1];
    t->at += length;
    if (!is_negated_escape(letter))
        px_buf_puts(t->out, set);
    else if (letter == 'S')
        px_buf_puts(t->out, NOT_SPACE_SET);
    else if (letter == 'H')
        px_buf_puts(t->out, NOT_HEX_SET);
    else
        add_alternative(nested, "[^", set);
}

static bool at_posix_class(const translator *t)
{
    return t->end - t->at > 3 && t->at[0] == '[' && t->at[1] == ':' &&
           memmem(t->at, (size_t)(t->end - t->at), ":]", 2);
}

/* [:name:] or [:^name:] */
static void posix_class(translator *t, px_buf *nested)
{
    const char *close = memmem(t->at, (size_t)(t->end - t->at), ":]", 2);
    bool negated = t->at[2] == '^';
    px_slice name = {t->at + 2 + negated, (size_t)(close - t->at) - 2 - negated};
    const char *set = find_set(posix_sets, sizeof posix_sets / sizeof *posix_sets, name);
    if (set && negated)
        add_alternative(nested, "[^", set);
    else if (set)
        px_buf_puts(t->out, set);
    else
        px_buf_append(t->out, t->at, (size_t)(close + 2 - t->at));
    t->at = close + 2;
}

/* Members up to the closing bracket or "&&", which is left for the caller. Nested classes are
 * unions; they become alternatives, so they are moved behind: `nested` gathers them. */
static px_status class_members(translator *t, px_buf *nested, int depth)
{
    bool first = true;
    for (; t->at < t->end; first = false) {
        char c = *t->at;
        if (c == ']' && !first) return px_ok();
        if (c == '&' && t->end - t->at >= 2 && t->at[1] == '&') return px_ok();
        if (at_posix_class(t)) {
            posix_class(t, nested);
        } else if (c == '[') {
            px_buf *out = t->out;
            if (nested->length) px_buf_putc(nested, '|');
            t->out = nested;
            px_status status = translate_class(t, depth + 1);
            t->out = out;
            PX_TRY(status);
        } else if (c == '\\') {
            class_escape(t, nested);
        } else {
            size_t length = px_rune_bytes(c);
            if (length > (size_t)(t->end - t->at)) length = (size_t)(t->end - t->at);
            if (c == ']') px_buf_putc(t->out, '\\');
            px_buf_append(t->out, t->at, length);
            t->at += length;
        }
    }
    return px_fail(PX_INVALID_ARGUMENT, "a pattern has a class without its closing ']'");
}

/* The parts of one class between "&&": a plain bracket, nested alternatives, or both. */
static px_status class_part(translator *t, px_buf *part, int depth)
{
    px_buf plain, nested;
    px_buf_init(&plain, t->out->max);
    px_buf_init(&nested, t->out->max);
    px_buf *out = t->out;
    t->out = &plain;
    px_status status = class_members(t, &nested, depth);
    t->out = out;
    px_buf_puts(part, "(?:");
    if (plain.length) px_buf_printf(part, "[%s]", px_buf_text(&plain));
    if (plain.length && nested.length) px_buf_putc(part, '|');
    px_buf_puts(part, px_buf_text(&nested));
    px_buf_putc(part, ')');
    px_buf_done(&plain);
    px_buf_done(&nested);
    return status;
}

/* True if the class at t->at has neither nested classes nor "&&": the common case is copied as one
 * bracket, which PCRE2 matches fastest. */
static bool is_flat_class(const translator *t)
{
    const char *at = t->at + 1;
    if (at < t->end && *at == '^') at++;
    if (at < t->end && *at == ']') at++;
    for (; at < t->end && *at != ']'; at++) {
        if (*at == '\\') {
            at++;
            if (at < t->end && (*at == 'W' || *at == 'P')) return false;
        } else if (*at == '[' && at + 2 < t->end && at[1] == ':' && at[2] != '^') {
            const char *close = memmem(at, (size_t)(t->end - at), ":]", 2);
            if (!close) return false;
            at = close + 1;
        } else if (*at == '[' || (*at == '&' && at + 1 < t->end && at[1] == '&'))
            return false;
    }
    return true;
}

static px_status translate_class(translator *t, int depth)
{
    if (depth > DEPTH_MAX) return too_deep();
    bool flat = is_flat_class(t);
    t->at++;
    bool negated = t->at < t->end && *t->at == '^';
    if (negated) t->at++;
    if (flat) {
        px_buf none;
        px_buf_init(&none, 0);
        px_buf_puts(t->out, negated ? "[^" : "[");
        PX_TRY(class_members(t, &none, depth));
        px_buf_putc(t->out, ']');
        t->at++;
        return px_ok();
    }
    /* [A&&B&&C] is (?=A)(?=B)C-ish: every part looks ahead, then one character is taken. */
    px_buf part;
    px_buf_init(&part, t->out->max);
    px_status status = px_ok();
    px_buf_puts(t->out, negated ? "(?:(?!" : "(?:");
    for (;;) {
        px_buf_reset(&part);
        status = class_part(t, &part, depth);
        if (!px_is_ok(status)) break;
        px_buf_printf(t->out, "(?=%s)", px_buf_text(&part));
        if (*t->at == ']') break;
        t->at += 2;
    }
    px_buf_done(&part);
    PX_TRY(status);
    t->at++;
    px_buf_puts(t->out, negated ? ")(?s:.))" : "(?s:.))");
    return px_ok();
}

/* "{2,3}" at t->at: copied; a following '+' repeats the repetition, so the atom is wrapped. */
static px_status translate_interval(translator *t)
{
    const char *close = memchr(t->at, '}', (size_t)(t->end - t->at));
    size_t length = close ? (size_t)(close - t->at) + 1 : 0;
    bool is_interval = length > 2;
    for (const char *p = t->at + 1; is_interval && p < close; p++)
        if (!(*p >= '0' && *p <= '9') && *p != ',') is_interval = false;
    if (!is_interval) {
        px_buf_puts(t->out, "\\{");
        t->at++;
        return px_ok();
    }
    /* "{,n}" is from zero. */
    if (t->at[1] == ',')
        px_buf_printf(t->out, "{0%.*s", (int)length - 1, t->at + 1);
    else
        px_buf_append(t->out, t->at, length);
    t->at += length;
    if (t->at < t->end && *t->at == '+') {
        px_buf atom;
        px_buf_init(&atom, t->out->max);
        px_buf_append(&atom, t->out->data + t->atom, t->out->length - t->atom);
        t->out->length = t->atom;
        px_buf_printf(t->out, "(?:%s)+", px_buf_text(&atom));
        px_buf_done(&atom);
        t->at++;
    }
    return px_ok();
}

static px_status translate_escape(translator *t)
{
    if (t->end - t->at < 2)
        return px_fail(PX_INVALID_ARGUMENT, "a pattern ends with a lone backslash");
    t->atom = t->out->length;
    if (t->at[1] == 'b' || t->at[1] == 'B') { /* by what \\w means here */
        bool same = t->at[1] == 'B';
        px_buf_printf(t->out, "(?:(?<=[%s])(?%c[%s])|(?<![%s])(?%c[%s]))", WORD_SET,
            same ? '=' : '!', WORD_SET, WORD_SET, same ? '!' : '=', WORD_SET);
        t->at += 2;
        return px_ok();
    }
    size_t length;
    const char *set = escape_set(t, &length);
    if (!set) {
        copy_escape(t);
        return px_ok();
    }
    px_buf_printf(t->out, is_negated_escape(t->at[1]) ? "[^%s]" : "[%s]", set);
    t->at += length;
    return px_ok();
}

static px_status open_group(translator *t)
{
    if (t->depth == DEPTH_MAX) return too_deep();
    t->groups[t->depth++] = t->out->length;
    px_buf_putc(t->out, '(');
    t->at++;
    /* Copied up to here so that "(?<name>", "(?=" and "(?i:" do not look like quantifiers. */
    if (t->at < t->end && *t->at == '?') {
        px_buf_putc(t->out, '?');
        t->at++;
        /* Ruby's (?m: lets the dot match newlines; PCRE2 calls that s. */
        while (t->at < t->end && strchr("imx-", *t->at)) {
            px_buf_putc(t->out, *t->at == 'm' ? 's' : *t->at);
            t->at++;
        }
    }
    return px_ok();
}

static px_status translate_one(translator *t)
{
    switch (*t->at) {
    case '\\': return translate_escape(t);
    case '[': t->atom = t->out->length; return translate_class(t, 0);
    case '{': return translate_interval(t);
    case '(': return open_group(t);
    case ')':
        if (t->depth > 0) t->atom = t->groups[--t->depth];
        break;
    case '*':
    case '+':
    case '?': break;
    default: t->atom = t->out->length; break;
    }
    size_t length = px_rune_bytes(*t->at);
    if (length > (size_t)(t->end - t->at)) length = (size_t)(t->end - t->at);
    px_buf_append(t->out, t->at, length);
    t->at += length;
    return px_ok();
}

px_status px_pattern_translate(px_slice regex, px_buf *out)
{
    /* "\s+$" is tried at each place of a run of spaces and walks to the run's end each time: a
     * square. A leftmost match of it can only begin where the run begins, so say that. */
    if (regex.length == 4 && memcmp(regex.data, "\\s+$", 4) == 0)
        px_buf_puts(out, "(?<![" SPACE_SET "])");
    translator t = {.at = regex.data, .end = regex.data + regex.length, .out = out};
    while (t.at < t.end) PX_TRY(translate_one(&t));
    if (out->overflowed)
        return px_fail(PX_INVALID_ARGUMENT, "a pattern has more than %zu bytes", out->max);
    return px_ok();
}
