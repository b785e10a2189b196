/* json_scan.c - see json_scan.h. */
#include "engine/text/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/unicode.h"

enum { DEPTH_MAX = 512, NUMBER_BYTES_MAX = 64, STRING_BYTES_MAX = 64 << 20 };

void px_json_scan_init(px_json_scan *scan, px_slice text)
{
    *scan = (px_json_scan){.start = text.data, .at = text.data, .end = text.data + text.length};
    px_buf_init(&scan->work, STRING_BYTES_MAX);
}

void px_json_scan_done(px_json_scan *scan)
{
    px_buf_done(&scan->work);
}

px_status px_json_scan_status(const px_json_scan *scan, const char *what)
{
    if (!scan->error) return px_ok();
    int line = 1;
    for (const char *p = scan->start; p < scan->at; p++) line += *p == '\n';
    return px_fail(PX_INVALID_ARGUMENT, "%s is not valid: line %d, byte %zu: %s", what, line,
        (size_t)(scan->at - scan->start), scan->error);
}

static bool fail(px_json_scan *scan, const char *why)
{
    if (!scan->error) scan->error = scan->at >= scan->end ? "the file ends too early" : why;
    return false;
}

static void skip_space(px_json_scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\r' || *scan->at == '\t'))
        scan->at++;
}

char px_json_scan_peek(px_json_scan *scan)
{
    skip_space(scan);
    return scan->at < scan->end ? *scan->at : '\0';
}

static bool take(px_json_scan *scan, char wanted)
{
    if (px_json_scan_peek(scan) != wanted) return false;
    scan->at++;
    return true;
}

bool px_json_scan_enter(px_json_scan *scan, char bracket)
{
    if (scan->error) return false;
    if (take(scan, bracket)) return true;
    return fail(scan, bracket == '{' ? "expected an object" : "expected a list");
}

/* At the next member: false at the end or after an error. */
static bool next(px_json_scan *scan, bool *first, char close)
{
    if (scan->error || take(scan, close)) return false;
    if (!*first && !take(scan, ',')) return fail(scan, "expected ',' or the closing bracket");
    *first = false;
    return true;
}

bool px_json_scan_key(px_json_scan *scan, bool *first, px_slice *out_key)
{
    if (!next(scan, first, '}') || !px_json_scan_string(scan, out_key)) return false;
    return take(scan, ':') || fail(scan, "expected ':'");
}

bool px_json_scan_item(px_json_scan *scan, bool *first)
{
    return next(scan, first, ']');
}

static int hex4(const char *at, const char *end)
{
    int value = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* \uXXXX at scan->at, which is on the 'u'; a pair of surrogates is one character. */
static bool unescape_unicode(px_json_scan *scan)
{
    int high = hex4(scan->at + 1, scan->end);
    if (high < 0) return fail(scan, "a broken \\u escape");
    scan->at += 5;
    uint32_t rune = (uint32_t)high;
    if (high >= 0xd800 && high < 0xe000) {
        int low =
            high < 0xdc00 && scan->end - scan->at >= 6 && scan->at[0] == '\\' && scan->at[1] == 'u'
                ? hex4(scan->at + 2, scan->end)
                : -1;
        bool paired = low >= 0xdc00 && low < 0xe000;
        rune = paired ? 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00)
                      : 0xfffdu;
        if (paired) scan->at += 6;
    }
    px_rune_append(&scan->work, rune);
    return true;
}

static bool unescape(px_json_scan *scan)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    scan->at++;
    if (scan->at >= scan->end) return fail(scan, "");
    if (*scan->at == 'u') return unescape_unicode(scan);
    const char *which = *scan->at ? strchr(from, *scan->at) : NULL;
    if (!which) return fail(scan, "an unknown escape");
    px_buf_putc(&scan->work, to[which - from]);
    scan->at++;
    return true;
}

/* From the first escape on: copies into the work buffer. */
static bool read_escaped(px_json_scan *scan, const char *start, px_slice *out)
{
    px_buf_reset(&scan->work);
    px_buf_append(&scan->work, start, (size_t)(scan->at - start));
    while (scan->at < scan->end && *scan->at != '"') {
        if (*scan->at == '\\') {
            if (!unescape(scan)) return false;
            continue;
        }
        const char *plain = scan->at;
        while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\') scan->at++;
        px_buf_append(&scan->work, plain, (size_t)(scan->at - plain));
    }
    if (scan->at >= scan->end || scan->work.overflowed) return fail(scan, "a string is too long");
    scan->at++;
    *out = (px_slice){px_buf_text(&scan->work), scan->work.length};
    return true;
}

bool px_json_scan_string(px_json_scan *scan, px_slice *out)
{
    if (scan->error) return false;
    if (!take(scan, '"')) return fail(scan, "expected a string");
    const char *start = scan->at;
    while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\') scan->at++;
    if (scan->at >= scan->end) return fail(scan, "");
    if (*scan->at == '\\') {
        if (!read_escaped(scan, start, out)) return false;
    } else {
        *out = (px_slice){start, (size_t)(scan->at - start)};
        scan->at++;
    }
    if (px_utf8_valid_prefix(out->data, out->length) != out->length)
        return fail(scan, "a string is not UTF-8");
    return true;
}

bool px_json_scan_number(px_json_scan *scan, double *out)
{
    if (scan->error) return false;
    skip_space(scan);
    const char *start = scan->at;
    uint32_t whole = 0; /* most numbers are ids: a few digits */
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && scan->at - start < 9)
        whole = whole * 10 + (uint32_t)(*scan->at++ - '0');
    if (scan->at < scan->end && scan->at > start && !strchr("0123456789.eE+-", *scan->at)) {
        *out = whole;
        return true;
    }
    while (scan->at < scan->end && *scan->at && strchr("0123456789.eE+-", *scan->at)) scan->at++;
    char text[NUMBER_BYTES_MAX + 1];
    size_t length = (size_t)(scan->at - start);
    if (scan->at >= scan->end || length == 0 || length > NUMBER_BYTES_MAX)
        return fail(scan, "expected a number");
    memcpy(text, start, length);
    text[length] = '\0';
    char *stop;
    *out = strtod(text, &stop);
    return (*stop == '\0' && isfinite(*out)) || fail(scan, "expected a number");
}

static bool skip_string(px_json_scan *scan)
{
    scan->at++;
    while (scan->at < scan->end && *scan->at != '"') scan->at += *scan->at == '\\' ? 2 : 1;
    if (scan->at >= scan->end) {
        scan->at = scan->end;
        return fail(scan, "");
    }
    scan->at++;
    return true;
}

/* Only brackets and strings are looked at: who uses the skipped text parses it again. */
bool px_json_scan_skip(px_json_scan *scan, px_slice *out_raw)
{
    if (scan->error) return false;
    skip_space(scan);
    const char *start = scan->at;
    char open[DEPTH_MAX];
    int depth = 0;
    do {
        char c = px_json_scan_peek(scan);
        if (c == '\0') return fail(scan, "a NUL byte");
        if (c == '"') {
            if (!skip_string(scan)) return false;
        } else if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX) return fail(scan, "nested too deep");
            open[depth++] = c;
            scan->at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0 || open[depth - 1] != (c == '}' ? '{' : '['))
                return fail(scan, "brackets do not match");
            depth--;
            scan->at++;
        } else if (depth > 0 && (c == ',' || c == ':')) {
            scan->at++;
        } else {
            const char *word = scan->at;
            while (scan->at < scan->end && !strchr("{}[]\",: \n\r\t", *scan->at)) scan->at++;
            if (scan->at == word) return fail(scan, "expected a value");
        }
    } while (depth > 0);
    *out_raw = (px_slice){start, (size_t)(scan->at - start)};
    return true;
}

bool px_json_scan_end(px_json_scan *scan)
{
    if (scan->error) return false;
    skip_space(scan);
    return scan->at == scan->end || fail(scan, "text after the end");
}
