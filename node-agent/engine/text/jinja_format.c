/* jinja_format.c - Python's two ways to fill a text: "%s" % x and "{}".format(x).
 *
 * Source: Python 3, "printf-style String Formatting", "Format String Syntax", "Format Specification
 *         Mini-Language".
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

enum { WIDTH_MAX = 10000 };

/* How one value is to be shown; both ways come down to this. */
typedef struct spec {
    char type;                /* s r d f e g x X o b c % n; 0: by the value */
    char align;               /* < > ^ =; 0: by the value */
    char sign;                /* + - or blank */
    px_slice fill;            /* one character */
    bool alternate;           /* 0x before hexadecimal */
    char group;               /* , or _ between thousands; 0: none */
    int64_t width, precision; /* precision -1: not given */
} spec;

/* --- showing one value --- */

static void group_digits(px_buf *digits, char separator)
{
    const char *point = memchr(px_buf_text(digits), '.', digits->length);
    size_t whole = point ? (size_t)(point - digits->data) : digits->length;
    px_buf grouped;
    px_buf_init(&grouped, digits->max);
    for (size_t i = 0; i < digits->length; i++) {
        if (i && i < whole && (whole - i) % 3 == 0) px_buf_putc(&grouped, separator);
        px_buf_putc(&grouped, digits->data[i]);
    }
    px_buf_done(digits);
    *digits = grouped;
}

static void digits_of(uint64_t value, unsigned base, bool upper, px_buf *out)
{
    char text[65];
    size_t at = sizeof text;
    do {
        text[--at] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
        value /= base;
    } while (value);
    px_buf_append(out, text + at, sizeof text - at);
}

static void real_digits(const spec *s, double value, px_buf *out)
{
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    switch (s->type) {
    case 'e': px_buf_printf(out, "%.*e", precision, value); break;
    case 'E': px_buf_printf(out, "%.*E", precision, value); break;
    case 'G': px_buf_printf(out, "%.*G", precision ? precision : 1, value); break;
    case 'g':
    case 'n': px_buf_printf(out, "%.*g", precision ? precision : 1, value); break;
    case '%': px_buf_printf(out, "%.*f%%", precision, value * 100); break;
    case 'F':
    case 'f': px_buf_printf(out, "%.*f", precision, value); break;
    default:
        if (s->precision < 0)
            px_jprint_real(value, out);
        else
            px_buf_printf(out, "%.*g", precision ? precision : 1, value);
    }
}

/* Digits without their sign; false after an error. */
static bool number_digits(px_jinja *j, const spec *s, px_jv value, px_buf *out)
{
    unsigned base = s->type == 'x' || s->type == 'X' ? 16
                    : s->type == 'o'                 ? 8
                    : s->type == 'b'                 ? 2
                                                     : 10;
    bool as_real = value.kind == PX_J_REAL || (s->type && strchr("eEfFgG%", s->type));
    if (as_real && (s->type == 0 || strchr("eEfFgG%n", s->type))) {
        real_digits(s, fabs(px_jnumber(value)), out);
    } else if (value.kind == PX_J_REAL) {
        return px_jinja_fail(j, "Unknown format code '%c' for object of type 'float'", s->type);
    } else {
        int64_t whole = px_jwhole(value);
        uint64_t magnitude = whole < 0 ? 0 - (uint64_t)whole : (uint64_t)whole;
        if (s->alternate && base != 10) px_buf_printf(out, "0%c", s->type);
        digits_of(magnitude, base, s->type == 'X', out);
    }
    if (s->group) group_digits(out, s->group);
    return true;
}

static void pad_to(const spec *s, px_slice sign, px_slice body, char align, px_buf *out)
{
    int64_t length = (int64_t)(px_rune_count(body.data, body.length) + sign.length);
    int64_t missing = s->width > length ? s->width - length : 0;
    int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    px_slice fill = s->fill.length ? s->fill : (px_slice){" ", 1};
    if (align == '=') px_buf_append(out, sign.data, sign.length);
    for (int64_t i = 0; i < left; i++) px_buf_append(out, fill.data, fill.length);
    if (align != '=') px_buf_append(out, sign.data, sign.length);
    px_buf_append(out, body.data, body.length);
    for (int64_t i = left; i < missing; i++) px_buf_append(out, fill.data, fill.length);
}

static bool show_number(px_jinja *j, const spec *s, px_jv value, px_buf *out)
{
    px_buf digits;
    px_jbuf_init(j, &digits);
    bool negative = signbit(px_jnumber(value)) != 0;
    char mark = negative ? '-' : s->sign == '+' || s->sign == ' ' ? s->sign : 0;
    bool ok = number_digits(j, s, value, &digits);
    if (ok)
        pad_to(s, (px_slice){&mark, mark != 0}, (px_slice){px_buf_text(&digits), digits.length},
            s->align ? s->align : '>', out);
    px_buf_done(&digits);
    return ok;
}

static bool show_text(px_jinja *j, const spec *s, px_slice text, char align, px_buf *out)
{
    if (s->precision >= 0) {
        size_t at = 0;
        for (int64_t i = 0; i < s->precision && at < text.length; i++)
            at += px_rune_bytes(text.data[at]);
        text.length = at;
    }
    pad_to(s, (px_slice){"", 0}, text, s->align ? s->align : align, out);
    return true;
}

static bool show_repr(px_jinja *j, const spec *s, px_jv value, char align, px_buf *out)
{
    px_buf text;
    px_jbuf_init(j, &text);
    px_jrepr(j, value, &text);
    bool ok = show_text(j, s, (px_slice){px_buf_text(&text), text.length}, align, out);
    px_buf_done(&text);
    return ok;
}

static bool check_size(px_jinja *j, const spec *s)
{
    if (s->width > WIDTH_MAX || s->precision > WIDTH_MAX)
        return px_jinja_fail(j, "a width or precision beyond %d", WIDTH_MAX);
    return px_jinja_spend(j, (uint64_t)s->width + 1);
}

/* --- "%(name)-5.2f" % values --- */

static int64_t read_digits(px_slice text, size_t *at)
{
    int64_t value = 0;
    for (; *at < text.length && text.data[*at] >= '0' && text.data[*at] <= '9'; (*at)++)
        if (value <= WIDTH_MAX) value = value * 10 + (text.data[*at] - '0');
    return value;
}

typedef struct percent_values {
    px_jv values;
    size_t next; /* of a tuple, or whether the only value was used */
} percent_values;

static bool next_value(px_jinja *j, percent_values *v, px_jv *out)
{
    bool tuple = v->values.kind == PX_J_TUPLE;
    if (v->next >= (tuple ? v->values.list->count : 1))
        return px_jinja_fail(j, "not enough arguments for format string");
    *out = tuple ? v->values.list->items[v->next] : v->values;
    v->next++;
    return true;
}

static bool percent_number(px_jinja *j, spec *s, px_jv value, px_buf *out)
{
    if (!px_jis_number(value))
        return px_jinja_fail(
            j, "%%%c format: a real number is required, not %s", s->type, px_jtype_name(value));
    if (strchr("diu", s->type)) {
        if (value.kind == PX_J_REAL) value = px_jint((int64_t)value.real);
        s->type = 'd';
    }
    return show_number(j, s, value, out);
}

static bool percent_one(px_jinja *j, px_slice format, size_t *at, percent_values *v, px_buf *out)
{
    spec s = {.precision = -1};
    px_jv value = {.kind = PX_J_MISSING};
    bool left = false, zero = false;
    if (*at < format.length && format.data[*at] == '(') {
        const char *close = memchr(format.data + *at, ')', format.length - *at);
        if (!close || v->values.kind != PX_J_DICT)
            return px_jinja_fail(j, "format requires a mapping");
        px_slice name = {format.data + *at + 1, (size_t)(close - format.data) - *at - 1};
        const px_jv *found = px_jdict_get(v->values, px_jstr(name));
        if (!found) return px_jinja_fail(j, "'%.*s'", (int)name.length, name.data);
        value = *found;
        v->next = 1;
        *at += name.length + 2;
    }
    for (; *at < format.length && strchr("-+ #0", format.data[*at]) && format.data[*at]; (*at)++) {
        char flag = format.data[*at];
        left |= flag == '-';
        zero |= flag == '0';
        s.alternate |= flag == '#';
        if (flag == '+' || (flag == ' ' && !s.sign)) s.sign = flag;
    }
    s.width = read_digits(format, at);
    if (*at < format.length && format.data[*at] == '.') {
        (*at)++;
        s.precision = read_digits(format, at);
    }
    while (*at < format.length && strchr("hlL", format.data[*at]) && format.data[*at]) (*at)++;
    if (*at >= format.length) return px_jinja_fail(j, "incomplete format");
    s.type = format.data[(*at)++];
    if (s.type == '%') {
        px_buf_putc(out, '%');
        return true;
    }
    if (!check_size(j, &s) || (!px_jgiven(value) && !next_value(j, v, &value))) return false;
    s.align = left ? '<' : 0;
    px_slice text;
    if (s.type == 's' || s.type == 'c')
        return px_jto_str(j, value, &text) && show_text(j, &s, text, '>', out);
    if (s.type == 'r' || s.type == 'a') return show_repr(j, &s, value, '>', out);
    if (!strchr("diuxXoeEfFgG", s.type) || !s.type)
        return px_jinja_fail(j, "unsupported format character '%c'", s.type);
    if (zero && !left) {
        s.align = '=';
        s.fill = (px_slice){"0", 1};
    }
    return percent_number(j, &s, value, out);
}

bool px_jinja_percent(px_jinja *j, px_slice format, px_jv values, px_jv *out)
{
    px_buf buf;
    px_jbuf_init(j, &buf);
    percent_values v = {.values = values};
    bool ok = true;
    for (size_t at = 0; ok && at < format.length;) {
        if (format.data[at] == '%') {
            at++;
            ok = percent_one(j, format, &at, &v, &buf);
        } else {
            px_buf_putc(&buf, format.data[at++]);
        }
    }
    bool all_used = values.kind == PX_J_TUPLE ? v.next == values.list->count
                                              : v.next == 1 || px_jlength(values) >= 0;
    if (values.kind == PX_J_STR && v.next == 0) all_used = false;
    if (ok && !all_used)
        ok = px_jinja_fail(j, "not all arguments converted during string formatting");
    return px_jtake(j, &buf, out) && ok;
}

/* --- "{0.name!r:>10}".format(...) --- */

typedef struct format_job {
    px_jinja *j;
    const px_jargs *args;
    size_t next; /* of the numberless fields */
} format_job;

static bool find_argument(format_job *job, px_slice name, px_jv *out)
{
    const px_jargs *args = job->args;
    bool digits = true;
    for (size_t i = 0; i < name.length; i++) digits &= name.data[i] >= '0' && name.data[i] <= '9';
    if (digits) {
        size_t at = 0;
        size_t index = name.length ? (size_t)read_digits(name, &at) : job->next++;
        if (index >= args->count)
            return px_jinja_fail(
                job->j, "Replacement index %zu out of range for positional args tuple", index);
        *out = args->items[index];
        return true;
    }
    for (size_t i = 0; i < args->named_count; i++) {
        if (args->named[i].text.length != name.length ||
            memcmp(args->named[i].text.data, name.data, name.length) != 0)
            continue;
        *out = args->named[i].value;
        return true;
    }
    return px_jinja_fail(job->j, "'%.*s'", (int)name.length, name.data);
}

/* "name.attribute[item]" */
static bool find_field(format_job *job, px_slice field, px_jv *out)
{
    size_t end = 0;
    while (end < field.length && field.data[end] != '.' && field.data[end] != '[') end++;
    if (!find_argument(job, (px_slice){field.data, end}, out)) return false;
    while (end < field.length) {
        bool item = field.data[end++] == '[';
        size_t start = end;
        while (
            end < field.length && (item ? field.data[end] != ']' : !strchr(".[", field.data[end])))
            end++;
        px_slice name = {field.data + start, end - start};
        if (item) end++;
        bool digits = item && name.length > 0 && name.length < 18;
        for (size_t i = 0; i < name.length; i++)
            digits &= name.data[i] >= '0' && name.data[i] <= '9';
        size_t at = 0;
        if (!(item ? px_jinja_item(job->j, *out,
                         digits ? px_jint(read_digits(name, &at)) : px_jstr(name), out)
                   : px_jinja_attribute(job->j, *out, name, out)))
            return false;
        if (out->kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(job->j, *out);
    }
    return true;
}

static bool is_align(char c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

/* "[[fill]align][sign][#][0][width][,][.precision][type]" */
static bool read_spec(px_jinja *j, px_slice text, spec *s)
{
    size_t at = 0, fill = text.length ? px_rune_bytes(text.data[0]) : 0;
    *s = (spec){.precision = -1};
    if (text.length > fill && is_align(text.data[fill])) {
        s->fill = (px_slice){text.data, fill};
        s->align = text.data[fill];
        at = fill + 1;
    } else if (text.length && is_align(text.data[0])) {
        s->align = text.data[at++];
    }
    if (at < text.length && strchr("+- ", text.data[at]) && text.data[at])
        s->sign = text.data[at++];
    if (at < text.length && text.data[at] == '#') {
        s->alternate = true;
        at++;
    }
    if (at < text.length && text.data[at] == '0') {
        if (!s->align) s->align = '=';
        if (!s->fill.length) s->fill = (px_slice){"0", 1};
        at++;
    }
    s->width = read_digits(text, &at);
    if (at < text.length && (text.data[at] == ',' || text.data[at] == '_'))
        s->group = text.data[at++];
    if (at < text.length && text.data[at] == '.') {
        at++;
        s->precision = read_digits(text, &at);
    }
    if (at < text.length) s->type = text.data[at++];
    if (at < text.length) return px_jinja_fail(j, "Invalid format specifier");
    return check_size(j, s);
}

static bool format_value(px_jinja *j, px_jv value, char conversion, px_slice spec_text, px_buf *out)
{
    spec s;
    px_slice text;
    if (!read_spec(j, spec_text, &s)) return false;
    if (conversion == 'r' || conversion == 'a') return show_repr(j, &s, value, '<', out);
    bool as_text = conversion == 's' || s.type == 's';
    if (!as_text && px_jis_number(value) && (spec_text.length || value.kind != PX_J_BOOL))
        return show_number(j, &s, value, out);
    if (s.type && s.type != 's')
        return px_jinja_fail(
            j, "Unknown format code '%c' for object of type '%s'", s.type, px_jtype_name(value));
    return px_jto_str(j, value, &text) && show_text(j, &s, text, '<', out);
}

/* The inside of "{...}"; the specification may itself hold fields, one level deep. */
static bool format_field(format_job *job, px_slice field, px_buf *out);

static bool expand_spec(format_job *job, px_slice text, px_buf *out)
{
    for (size_t at = 0; at < text.length; at++) {
        if (text.data[at] != '{') {
            px_buf_putc(out, text.data[at]);
            continue;
        }
        const char *close = memchr(text.data + at, '}', text.length - at);
        if (!close) return px_jinja_fail(job->j, "expected '}' before end of string");
        px_jv value;
        px_slice name = {text.data + at + 1, (size_t)(close - text.data) - at - 1};
        if (!find_field(job, name, &value)) return false;
        px_jprint(job->j, value, out);
        at = (size_t)(close - text.data);
    }
    return true;
}

static bool format_field(format_job *job, px_slice field, px_buf *out)
{
    const char *colon = field.length ? memchr(field.data, ':', field.length) : NULL;
    px_slice name = {field.data, colon ? (size_t)(colon - field.data) : field.length};
    px_slice spec_text = {"", 0};
    if (colon) spec_text = (px_slice){colon + 1, field.length - name.length - 1};
    char conversion = 0;
    if (name.length >= 2 && name.data[name.length - 2] == '!') {
        conversion = name.data[name.length - 1];
        name.length -= 2;
    }
    px_jv value;
    px_buf expanded;
    px_jbuf_init(job->j, &expanded);
    bool ok = find_field(job, name, &value) && expand_spec(job, spec_text, &expanded) &&
              format_value(job->j, value, conversion,
                  (px_slice){px_buf_text(&expanded), expanded.length}, out);
    px_buf_done(&expanded);
    return ok;
}

/* Where the field that begins after text[at] == '{' ends, or 0. */
static size_t field_end(px_slice text, size_t at)
{
    int depth = 1;
    for (size_t i = at + 1; i < text.length; i++) {
        depth += text.data[i] == '{' ? 1 : text.data[i] == '}' ? -1 : 0;
        if (depth == 0) return i;
    }
    return 0;
}

bool px_jinja_format(px_jinja *j, px_slice format, const px_jargs *args, px_jv *out)
{
    px_buf buf;
    px_jbuf_init(j, &buf);
    format_job job = {.j = j, .args = args};
    bool ok = true;
    for (size_t at = 0; ok && at < format.length; at++) {
        char c = format.data[at];
        bool twice = at + 1 < format.length && format.data[at + 1] == c;
        if (c != '{' && c != '}') {
            px_buf_putc(&buf, c);
        } else if (twice) {
            px_buf_putc(&buf, c);
            at++;
        } else {
            size_t end = c == '{' ? field_end(format, at) : 0;
            if (end)
                ok = format_field(&job, (px_slice){format.data + at + 1, end - at - 1}, &buf);
            else
                ok = px_jinja_fail(j, "Single '%c' encountered in format string", c);
            at = end;
        }
    }
    return px_jtake(j, &buf, out) && ok;
}
