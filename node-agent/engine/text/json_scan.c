/* json_scan.c - see json_scan.h. */
#include "engine/text/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/unicode.h"

enum { DEPTH_MAX = 512, STRING_BYTES_MAX = 64 << 20 };

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

/* Goes to the next quote or backslash, eight bytes a step: strings here are short, and a loop by
 * bytes would guess the length of each one wrong. */
static void skip_plain(px_json_scan *scan)
{
    const uint64_t ones = UINT64_MAX / 255, highs = ones << 7;
    while (scan->end - scan->at >= 8) {
        uint64_t word;
        memcpy(&word, scan->at, sizeof word);
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        uint64_t found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & highs;
        if (found) { /* the lowest bit is right, those above it may be false */
            scan->at += __builtin_ctzll(found) / 8;
            return;
        }
        scan->at += 8;
    }
    while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\') scan->at++;
}

static int hex4(const char *at, const char *end)
{
    int value = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = px_hex_digit(at[i]);
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
        skip_plain(scan);
        px_buf_append(&scan->work, plain, (size_t)(scan->at - plain));
    }
    if (scan->at >= scan->end || scan->work.overflowed) return fail(scan, "a string is too long");
    scan->at++;
    *out = (px_slice){px_buf_text(&scan->work), scan->work.length};
    return true;
}

bool px_json_scan_bytes(px_json_scan *scan, px_slice *out)
{
    if (scan->error) return false;
    if (!take(scan, '"')) return fail(scan, "expected a string");
    const char *start = scan->at;
    skip_plain(scan);
    if (scan->at >= scan->end) return fail(scan, "");
    if (*scan->at == '\\') return read_escaped(scan, start, out);
    *out = (px_slice){start, (size_t)(scan->at - start)};
    scan->at++;
    return true;
}

bool px_json_scan_string(px_json_scan *scan, px_slice *out)
{
    if (!px_json_scan_bytes(scan, out)) return false;
    if (px_utf8_valid_prefix(out->data, out->length) != out->length)
        return fail(scan, "a string is not UTF-8");
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits into *value until 64 bits are full; the others only count. */
static int read_digits(px_json_scan *scan, uint64_t *value, int *dropped)
{
    int count = 0;
    for (; scan->at < scan->end && is_digit(*scan->at); scan->at++, count++) {
        uint64_t digit = (uint64_t)(*scan->at - '0'), next;
        if (*dropped || __builtin_mul_overflow(*value, 10u, &next) ||
            __builtin_add_overflow(next, digit, &next))
            (*dropped)++;
        else
            *value = next;
    }
    return count;
}

static double scale(double value, int exponent)
{
    for (; exponent < -300; exponent += 300) value /= 1e300;
    for (; exponent > 300; exponent -= 300) value *= 1e300;
    double power = 1;
    static const double powers[] = {1e1, 1e2, 1e4, 1e8, 1e16, 1e32, 1e64, 1e128, 1e256};
    for (int bit = 0, rest = abs(exponent); rest; rest >>= 1, bit++)
        if (rest & 1) power *= powers[bit];
    return exponent < 0 ? value / power : value * power;
}

/* A whole number without exponent that is exact as a double, as ids are. */
static bool read_small_integer(px_json_scan *scan, double *out)
{
    uint32_t value = 0;
    const char *at = scan->at, *most = scan->end - at > 9 ? at + 9 : scan->end;
    while (at < most && is_digit(*at)) value = value * 10 + (uint32_t)(*at++ - '0');
    bool whole = at > scan->at && at < most && *at != '.' && (*at | 0x20) != 'e';
    if (!whole) return false;
    scan->at = at;
    *out = value;
    return true;
}

/* Digits times a power of ten, both rounded: as the reference (serde_json) reads numbers, so that
 * scores that differ in their last bit there differ here too. */
bool px_json_scan_number(px_json_scan *scan, double *out)
{
    if (scan->error) return false;
    skip_space(scan);
    if (read_small_integer(scan, out)) return true;
    bool negative = scan->at < scan->end && *scan->at == '-';
    scan->at += negative;
    uint64_t digits = 0;
    int dropped = 0, exponent = 0;
    int count = read_digits(scan, &digits, &dropped);
    exponent += dropped;
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        int before = dropped;
        int decimals = read_digits(scan, &digits, &dropped);
        exponent -= decimals - (dropped - before);
        count = decimals ? count : 0;
    }
    if (count && scan->at < scan->end && (*scan->at | 0x20) == 'e') {
        scan->at++;
        bool minus = scan->at < scan->end && *scan->at == '-';
        if (scan->at < scan->end && (*scan->at == '-' || *scan->at == '+')) scan->at++;
        uint64_t power = 0;
        int lost = 0;
        count = read_digits(scan, &power, &lost);
        if (lost || power > 10000) power = 10000;
        exponent += minus ? -(int)power : (int)power;
    }
    if (count == 0 || scan->at >= scan->end) return fail(scan, "expected a number");
    double value = scale((double)digits, exponent);
    *out = negative ? -value : value;
    return isfinite(value) || fail(scan, "a number is too large");
}

static bool skip_string(px_json_scan *scan)
{
    scan->at++;
    for (;;) {
        skip_plain(scan);
        if (scan->at >= scan->end) break;
        if (*scan->at == '"') {
            scan->at++;
            return true;
        }
        scan->at += 2; /* an escape */
    }
    scan->at = scan->end;
    return fail(scan, "");
}

static bool ends_word(char c)
{
    switch (c) {
    case '\0':
    case '{':
    case '}':
    case '[':
    case ']':
    case '"':
    case ',':
    case ':':
    case ' ':
    case '\n':
    case '\r':
    case '\t': return true;
    default: return false;
    }
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
            while (scan->at < scan->end && !ends_word(*scan->at)) scan->at++;
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
