/* pattern_translate.c - Oniguruma's (Ruby) syntax to PCRE2's, for px_pattern_create().
 *
 * One pass over the expression. Outside classes nearly all is copied; the place where the last
 * atom began is kept so that "X{n,m}+" (repetition of a repetition there, possessive here) can be
 * wrapped. Inside classes, \s, \w and \h become their Unicode sets, and [A&&B] becomes a lookahead
 * for B before A.
 */
#include <string.h>

#include "engine/text/pattern.h"
#include "engine/text/unicode.h"

enum { DEPTH_MAX = 64 };

/* White_Space without what PCRE2's \s adds (U+180E) or misses under different versions. */
#define SPACE_SET                                                                                  \
    "\\t-\\r\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{"   \
    "3000}"
#define WORD_SET "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
#define HEX_SET  "0-9A-Fa-f"

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

/* What stands between the brackets for \s, \w, \h; NULL: PCRE2 means the same. */
static const char *escape_set(char letter)
{
    switch (letter) {
    case 's':
    case 'S': return SPACE_SET;
    case 'w':
    case 'W': return WORD_SET;
    case 'h':
    case 'H': return HEX_SET;
    default: return NULL;
    }
}

static bool is_negated_escape(char letter)
{
    return letter >= 'A' && letter <= 'Z';
}

/* Copies an escape outside our sets: \p{..}, \x{..}, \u0000, \n, \\ ... */
static void copy_escape(translator *t)
{
    char letter = t->at[1];
    if (letter == 'u' && t->end - t->at >= 6) {
        px_buf_printf(t->out, "\\x{%.4s}", t->at + 2);
        t->at += 6;
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

/* One member of a class that is not a bracket. Negated sets ([^\S..]) need PCRE2's own spelling:
 * the property White_Space has no short name before PCRE2 10.43, so the complement is listed. */
static void class_escape(translator *t)
{
    const char *set = t->end - t->at >= 2 ? escape_set(t->at[1]) : NULL;
    if (!set) {
        copy_escape(t);
        return;
    }
    char letter = t->at[1];
    t->at += 2;
    if (!is_negated_escape(letter))
        px_buf_puts(t->out, set);
    else if (letter == 'S')
        px_buf_puts(t->out,
            "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-"
            "\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-"
            "\\x{2fff}\\x{3001}-\\x{10ffff}");
    else if (letter == 'H')
        px_buf_puts(t->out, "\\x00-/:-@G-`g-\\x{10ffff}");
    else
        px_buf_puts(t->out, "\\p{C}\\p{Z}\\p{S}\\p{No}\\p{Pd}\\p{Ps}\\p{Pe}\\p{Pi}\\p{Pf}\\p{Po}");
}

static bool at_posix_class(const translator *t)
{
    return t->end - t->at > 3 && t->at[0] == '[' && t->at[1] == ':' &&
           memmem(t->at, (size_t)(t->end - t->at), ":]", 2);
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
            const char *close = memmem(t->at, (size_t)(t->end - t->at), ":]", 2);
            px_buf_append(t->out, t->at, (size_t)(close + 2 - t->at));
            t->at = close + 2;
        } else if (c == '[') {
            px_buf *out = t->out;
            if (nested->length) px_buf_putc(nested, '|');
            t->out = nested;
            px_status status = translate_class(t, depth + 1);
            t->out = out;
            PX_TRY(status);
        } else if (c == '\\') {
            class_escape(t);
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
        if (*at == '\\')
            at++;
        else if (*at == '[' && at + 1 < t->end && at[1] == ':') {
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
    const char *set = escape_set(t->at[1]);
    if (!set) {
        copy_escape(t);
        return px_ok();
    }
    px_buf_printf(t->out, is_negated_escape(t->at[1]) ? "[^%s]" : "[%s]", set);
    t->at += 2;
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
