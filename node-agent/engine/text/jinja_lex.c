/* jinja_lex.c - see jinja_lex.h. */
#include "engine/text/jinja_lex.h"

#include <string.h>

#include "engine/text/unicode.h"

enum { TOKENS_MAX = 1 << 20, BRACKETS_MAX = 256 };

typedef struct lexer {
    px_arena *arena;
    px_slice source;
    size_t at;
    int line;
    bool line_starting; /* the last tag took its newline with it (or nothing came before) */
    px_jtoken *tokens;
    size_t count, capacity;
} lexer;

static px_status fail_at(int line, const char *why)
{
    return px_fail(PX_INVALID_ARGUMENT, PX_JERROR "%s", line, why);
}

static px_status too_large(int line)
{
    return fail_at(line, "the template is too large");
}

static px_status add(lexer *lx, px_jtoken_kind kind, px_slice text)
{
    if (lx->count == lx->capacity) {
        size_t capacity = lx->capacity ? 2 * lx->capacity : 256;
        px_jtoken *grown =
            capacity > TOKENS_MAX ? NULL : px_arena_alloc(lx->arena, capacity * sizeof *grown);
        if (!grown) return too_large(lx->line);
        if (lx->count) memcpy(grown, lx->tokens, lx->count * sizeof *grown);
        lx->tokens = grown;
        lx->capacity = capacity;
    }
    lx->tokens[lx->count++] = (px_jtoken){.kind = kind, .line = lx->line, .text = text};
    return px_ok();
}

static void count_lines(lexer *lx, size_t to)
{
    for (; lx->at < to; lx->at++) lx->line += lx->source.data[lx->at] == '\n';
}

static bool at_text(const lexer *lx, size_t at, const char *text)
{
    size_t length = strlen(text);
    return lx->source.length - at >= length && memcmp(lx->source.data + at, text, length) == 0;
}

static bool is_space(const lexer *lx, size_t at, size_t *bytes)
{
    uint32_t rune;
    if (at >= lx->source.length) return false;
    *bytes = px_rune_decode(lx->source.data + at, &rune);
    return px_rune_is_blank(rune);
}

static size_t skip_space(const lexer *lx, size_t at)
{
    size_t bytes;
    while (is_space(lx, at, &bytes)) at += bytes;
    return at;
}

static size_t rstrip(px_slice text)
{
    size_t end = text.length;
    while (end > 0) {
        size_t start = end - 1;
        while (start > 0 && ((unsigned char)text.data[start] & 0xc0) == 0x80) start--;
        uint32_t rune;
        px_rune_decode(text.data + start, &rune);
        if (!px_rune_is_space(rune) && !(rune >= 0x1c && rune <= 0x1f)) break;
        end = start;
    }
    return end;
}

/* How much of the text before a tag stays. `sign` is '-', '+' or 0. */
static size_t kept_before(const lexer *lx, px_slice text, char sign, bool is_print)
{
    if (sign == '-') return rstrip(text);
    if (sign == '+' || is_print) return text.length;
    const char *newline = text.length ? memrchr(text.data, '\n', text.length) : NULL;
    size_t line = newline ? (size_t)(newline - text.data) + 1 : 0;
    if (line == 0 && !lx->line_starting) return text.length;
    px_slice rest = {text.data + line, text.length - line};
    return rstrip(rest) == 0 ? line : text.length;
}

/* Where the next "{{", "{%" or "{#" begins, or the end. */
static size_t find_tag(const lexer *lx, size_t from)
{
    for (size_t at = from; at + 1 < lx->source.length; at++) {
        const char *brace = memchr(lx->source.data + at, '{', lx->source.length - at - 1);
        if (!brace) break;
        at = (size_t)(brace - lx->source.data);
        if (brace[1] == '{' || brace[1] == '%' || brace[1] == '#') return at;
    }
    return lx->source.length;
}

static char sign_at(const lexer *lx, size_t at)
{
    char c = at < lx->source.length ? lx->source.data[at] : '\0';
    return c == '-' || c == '+' ? c : '\0';
}

/* The end of a block or comment tag at `at` ("-%}", "+%}", "%}"), or 0. Takes the newline or the
 * white space after it along as its sign says. */
static size_t match_end(const lexer *lx, size_t at, const char *close, bool trims_newline)
{
    char sign = sign_at(lx, at);
    size_t end = at + (sign ? 1 : 0);
    if (!at_text(lx, end, close)) return 0;
    end += 2;
    if (sign == '-') return skip_space(lx, end);
    if (!sign && trims_newline && end < lx->source.length && lx->source.data[end] == '\n')
        return end + 1;
    return end;
}

static void after_tag(lexer *lx, size_t end)
{
    count_lines(lx, end);
    lx->line_starting = end > 0 && lx->source.data[end - 1] == '\n';
}

static px_status add_text(lexer *lx, px_slice text)
{
    return text.length ? add(lx, PX_T_TEXT, text) : px_ok();
}

static px_status lex_comment(lexer *lx, size_t at)
{
    for (; at < lx->source.length; at++) {
        size_t end = match_end(lx, at, "#}", true);
        if (!end) continue;
        after_tag(lx, end);
        return px_ok();
    }
    return fail_at(lx->line, "a comment is not closed");
}

/* "{% raw %}" at a block's inside; returns where the tag ends, or 0. */
static size_t match_raw(const lexer *lx, size_t at)
{
    at = skip_space(lx, at);
    if (!at_text(lx, at, "raw")) return 0;
    return match_end(lx, skip_space(lx, at + 3), "%}", false);
}

static px_status lex_raw(lexer *lx, size_t start)
{
    int line = lx->line;
    for (size_t at = start; at + 1 < lx->source.length; at++) {
        if (!at_text(lx, at, "{%")) continue;
        char sign = sign_at(lx, at + 2);
        size_t word = skip_space(lx, at + 2 + (sign ? 1 : 0));
        if (!at_text(lx, word, "endraw")) continue;
        size_t end = match_end(lx, skip_space(lx, word + 6), "%}", true);
        if (!end) continue;
        px_slice text = {lx->source.data + start, at - start};
        lx->line_starting = start > 0 && lx->source.data[start - 1] == '\n';
        text.length = kept_before(lx, text, sign, false);
        PX_TRY(add_text(lx, text));
        after_tag(lx, end);
        return px_ok();
    }
    return fail_at(line, "a raw block is not closed");
}

/* --- inside tags --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_rune(const lexer *lx, size_t at, size_t *bytes)
{
    uint32_t rune;
    if (at >= lx->source.length) return false;
    *bytes = px_rune_decode(lx->source.data + at, &rune);
    if (rune < 0x80)
        return rune == '_' || (rune >= '0' && rune <= '9') ||
               ((rune | 0x20) >= 'a' && (rune | 0x20) <= 'z');
    return px_rune_is_word(rune);
}

static size_t skip_digits(const lexer *lx, size_t at)
{
    while (
        at < lx->source.length && (is_digit(lx->source.data[at]) ||
                                      (lx->source.data[at] == '_' && at + 1 < lx->source.length &&
                                          is_digit(lx->source.data[at + 1]))))
        at++;
    return at;
}

/* Digits without the underscores that may stand between them. */
static px_status add_number(lexer *lx, px_jtoken_kind kind, size_t end)
{
    char *text = px_arena_copy(lx->arena, lx->source.data + lx->at, end - lx->at);
    if (!text) return too_large(lx->line);
    size_t length = 0;
    for (size_t i = 0; i < end - lx->at; i++)
        if (text[i] != '_') text[length++] = text[i];
    text[length] = '\0';
    PX_TRY(add(lx, kind, (px_slice){text, length}));
    lx->at = end;
    return px_ok();
}

static size_t skip_based(const lexer *lx, size_t at)
{
    while (at < lx->source.length &&
           (strchr("0123456789abcdefABCDEF_", lx->source.data[at]) && lx->source.data[at]))
        at++;
    return at;
}

static px_status lex_number(lexer *lx)
{
    const char *s = lx->source.data;
    size_t end = lx->at, n = lx->source.length;
    if (s[end] == '0' && end + 1 < n && strchr("xXoObB", s[end + 1]) && s[end + 1])
        return add_number(lx, PX_T_INTEGER, skip_based(lx, end + 2));
    end = skip_digits(lx, end);
    bool real = false;
    /* "1.x" is an attribute of 1 and "x.1.2" are two items, so a digit must follow the dot. */
    bool after_dot = lx->at > 0 && s[lx->at - 1] == '.';
    if (!after_dot && end + 1 < n && s[end] == '.' && is_digit(s[end + 1])) {
        end = skip_digits(lx, end + 1);
        real = true;
    }
    if (!after_dot && end < n && (s[end] | 0x20) == 'e') {
        size_t digits = end + 1 + (end + 1 < n && (s[end + 1] == '+' || s[end + 1] == '-'));
        if (digits < n && is_digit(s[digits])) {
            end = skip_digits(lx, digits);
            real = true;
        }
    }
    return add_number(lx, real ? PX_T_REAL : PX_T_INTEGER, end);
}

/* \xNN, \uNNNN, \UNNNNNNNN after the letter; returns digits read, or 0 if they are broken. */
static size_t hex_escape(px_slice text, size_t at, size_t digits, uint32_t *out)
{
    *out = 0;
    if (at + digits > text.length) return 0;
    for (size_t i = 0; i < digits; i++) {
        int value = px_hex_digit(text.data[at + i]);
        if (value < 0) return 0;
        *out = *out * 16 + (uint32_t)value;
    }
    return digits;
}

/* One escape at text[at] (after the backslash): appends, returns bytes read. Python's rules:
 * an unknown escape keeps its backslash. */
static size_t unescape(px_slice text, size_t at, px_buf *out)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = text.data[at];
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        px_buf_putc(out, to[simple - from]);
        return 1;
    }
    if (c == '\n') return 1;
    if (c >= '0' && c <= '7') {
        uint32_t rune = 0;
        size_t used = 0;
        for (; used < 3 && at + used < text.length; used++) {
            char digit = text.data[at + used];
            if (digit < '0' || digit > '7') break;
            rune = rune * 8 + (uint32_t)(digit - '0');
        }
        px_rune_append(out, rune);
        return used;
    }
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t rune;
    if (digits && hex_escape(text, at + 1, digits, &rune)) {
        uint32_t low;
        /* A pair of surrogate escapes is one character; a lone one cannot be text. */
        if (rune >= 0xd800 && rune < 0xdc00 && at + 7 <= text.length && text.data[at + 5] == '\\' &&
            text.data[at + 6] == 'u' && hex_escape(text, at + 7, 4, &low) && low >= 0xdc00 &&
            low < 0xe000) {
            px_rune_append(out, 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00));
            return 11;
        }
        bool valid = rune <= 0x10ffff && !(rune >= 0xd800 && rune < 0xe000);
        px_rune_append(out, valid ? rune : 0xfffd);
        return 1 + digits;
    }
    px_buf_putc(out, '\\');
    return 0;
}

static px_status lex_string(lexer *lx)
{
    char quote = lx->source.data[lx->at];
    size_t start = lx->at + 1, end = start;
    bool escaped = false;
    while (end < lx->source.length && lx->source.data[end] != quote) {
        if (lx->source.data[end] == '\\') {
            escaped = true;
            end++;
        }
        end++;
    }
    if (end >= lx->source.length) return fail_at(lx->line, "a string is not closed");
    px_slice text = {lx->source.data + start, end - start};
    if (escaped) {
        px_buf plain;
        px_buf_init(&plain, lx->arena->limit_bytes);
        for (size_t at = 0; at < text.length;) {
            if (text.data[at] == '\\')
                at += 1 + unescape(text, at + 1, &plain);
            else
                px_buf_putc(&plain, text.data[at++]);
        }
        text.data = px_arena_copy(lx->arena, px_buf_text(&plain), plain.length);
        text.length = plain.length;
        px_buf_done(&plain);
        if (!text.data) return too_large(lx->line);
    }
    PX_TRY(add(lx, PX_T_STRING, text));
    count_lines(lx, end + 1);
    return px_ok();
}

static px_status lex_operator(lexer *lx, char *brackets, int *depth)
{
    static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/",
        "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ","};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!at_text(lx, lx->at, operators[i])) continue;
        char c = operators[i][0];
        bool opens = c == '(' || c == '[' || c == '{';
        bool closes = c == ')' || c == ']' || c == '}';
        if (opens) {
            if (*depth == BRACKETS_MAX) return fail_at(lx->line, "too many open brackets");
            brackets[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        }
        if (closes && (*depth == 0 || brackets[--*depth] != c))
            return fail_at(lx->line, "a closing bracket does not match");
        size_t length = strlen(operators[i]);
        PX_TRY(add(lx, PX_T_OPERATOR, (px_slice){lx->source.data + lx->at, length}));
        lx->at += length;
        return px_ok();
    }
    return px_fail(PX_INVALID_ARGUMENT, PX_JERROR "unexpected character '%.*s'", lx->line,
        (int)px_rune_bytes(lx->source.data[lx->at]), lx->source.data + lx->at);
}

/* From after "{{" or "{%" to its end. */
static px_status lex_tag(lexer *lx, bool is_print)
{
    char brackets[BRACKETS_MAX];
    int depth = 0, line = lx->line;
    const char *close = is_print ? "}}" : "%}";
    for (;;) {
        count_lines(lx, skip_space(lx, lx->at));
        if (lx->at >= lx->source.length)
            return fail_at(line, is_print ? "'{{' is not closed" : "'{%' is not closed");
        bool may_end = depth == 0 && !(is_print && lx->source.data[lx->at] == '+');
        size_t end = may_end ? match_end(lx, lx->at, close, !is_print) : 0;
        if (end) {
            PX_TRY(add(lx, is_print ? PX_T_PRINT_END : PX_T_BLOCK_END, (px_slice){0}));
            after_tag(lx, end);
            return px_ok();
        }
        char c = lx->source.data[lx->at];
        size_t bytes;
        if (is_digit(c)) {
            PX_TRY(lex_number(lx));
        } else if (c == '"' || c == '\'') {
            PX_TRY(lex_string(lx));
        } else if (is_name_rune(lx, lx->at, &bytes)) {
            size_t stop = lx->at;
            while (is_name_rune(lx, stop, &bytes)) stop += bytes;
            PX_TRY(add(lx, PX_T_NAME, (px_slice){lx->source.data + lx->at, stop - lx->at}));
            lx->at = stop;
        } else {
            PX_TRY(lex_operator(lx, brackets, &depth));
        }
    }
}

px_status px_jinja_lex(px_arena *arena, px_slice source, px_jtoken **out_tokens, size_t *out_count)
{
    lexer lx = {.arena = arena, .source = source, .line = 1, .line_starting = true};
    if (source.length && source.data[source.length - 1] == '\n') lx.source.length--;
    while (lx.at < lx.source.length) {
        size_t tag = find_tag(&lx, lx.at);
        px_slice text = {lx.source.data + lx.at, tag - lx.at};
        if (tag == lx.source.length) {
            PX_TRY(add_text(&lx, text));
            break;
        }
        char kind = lx.source.data[tag + 1], sign = sign_at(&lx, tag + 2);
        size_t inside = tag + 2 + (sign ? 1 : 0);
        text.length = kept_before(&lx, text, sign, kind == '{');
        PX_TRY(add_text(&lx, text));
        count_lines(&lx, inside);
        if (kind == '#') {
            PX_TRY(lex_comment(&lx, tag + 2));
            continue;
        }
        size_t raw = kind == '%' ? match_raw(&lx, inside) : 0;
        if (raw) {
            count_lines(&lx, raw);
            PX_TRY(lex_raw(&lx, raw));
            continue;
        }
        PX_TRY(add(&lx, kind == '{' ? PX_T_PRINT_BEGIN : PX_T_BLOCK_BEGIN, (px_slice){0}));
        PX_TRY(lex_tag(&lx, kind == '{'));
    }
    PX_TRY(add(&lx, PX_T_END, (px_slice){0}));
    *out_tokens = lx.tokens;
    *out_count = lx.count;
    return px_ok();
}
