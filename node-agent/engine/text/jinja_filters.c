/* jinja_filters.c - filters over single values, and the way to all others: those over sequences
 * are in jinja_sequence_filters.c, those over text in jinja_text_filters.c.
 * Source: Jinja 3.1, filters.py.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"

#define FILTER(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)

FILTER(filter_default)
{
    bool falsy_too = px_jarg_true(c->a[1], false);
    bool replace = c->self.kind == PX_J_UNDEFINED || (falsy_too && !px_jtrue(c->self));
    *out = !replace ? c->self : px_jgiven(c->a[0]) ? c->a[0] : px_jtext("");
    return true;
}

FILTER(filter_abs)
{
    if (c->self.kind == PX_J_REAL)
        *out = px_jreal(fabs(c->self.real));
    else if (px_jis_number(c->self) && px_jwhole(c->self) != INT64_MIN)
        *out = px_jint(llabs(px_jwhole(c->self)));
    else
        return px_jinja_fail(j, "bad operand type for abs(): '%s'", px_jtype_name(c->self));
    return true;
}

/* The whole of a text as a number, blanks around it allowed. */
static bool parse_number(px_slice text, int64_t base, bool real, px_jv *out)
{
    char digits[64];
    static const px_slice blanks = {0};
    text = px_jtext_strip(text, blanks, true, true);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '_') continue;
        if (length == sizeof digits - 1 || !text.data[i]) return false;
        digits[length++] = text.data[i];
    }
    digits[length] = '\0';
    if (length == 0 || base < 0 || base == 1 || base > 36) return false;
    char *end, *start = digits;
    if (real) {
        if (strpbrk(digits, "xXpP(")) return false;
        *out = px_jreal(strtod(digits, &end));
        return *end == '\0';
    }
    bool negative = *start == '-';
    if (*start == '-' || *start == '+') start++;
    if (start[0] == '0' && start[1]) {
        char mark = start[1] | 0x20;
        if ((mark == 'x' && base == 16) || (mark == 'o' && base == 8) || (mark == 'b' && base == 2))
            start += 2;
    }
    if (*start == '-' || *start == '+') return false;
    long long value = strtoll(start, &end, (int)base);
    *out = px_jint(negative ? -value : value);
    return *end == '\0' && end > start;
}

static bool big_of(px_jinja *j, double value, px_jv *out)
{
    char digits[400]; /* the largest number has 309 */
    int length = snprintf(digits, sizeof digits, "%.0f", value);
    if (!px_jcopy(j, (px_slice){digits, (size_t)length}, out)) return false;
    out->kind = PX_J_BIG;
    return true;
}

FILTER(filter_int)
{
    int64_t base;
    px_jv real;
    if (!px_jarg_int(j, c->a[1], 10, &base)) return false;
    px_jv v = c->self;
    if (v.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, v);
    *out = px_jgiven(c->a[0]) ? c->a[0] : px_jint(0);
    if (v.kind == PX_J_STR) {
        if (parse_number(v.text, base, false, out)) return true;
        *out = px_jgiven(c->a[0]) ? c->a[0] : px_jint(0);
        if (!parse_number(v.text, 10, true, &real)) return true;
        v = real;
    }
    if (v.kind == PX_J_REAL && isfinite(v.real) && fabs(v.real) < 9.2e18)
        *out = px_jint((int64_t)v.real);
    else if (v.kind == PX_J_REAL && isfinite(v.real))
        return big_of(j, v.real, out);
    else if (v.kind == PX_J_INT || v.kind == PX_J_BOOL)
        *out = px_jint(px_jwhole(v));
    else if (v.kind == PX_J_BIG)
        *out = v;
    return true;
}

FILTER(filter_float)
{
    *out = px_jgiven(c->a[0]) ? c->a[0] : px_jreal(0);
    if (c->self.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, c->self);
    if (px_jis_number(c->self)) {
        *out = px_jreal(px_jnumber(c->self));
        return true;
    }
    px_jv parsed;
    if ((c->self.kind == PX_J_STR || c->self.kind == PX_J_BIG) &&
        parse_number(c->self.text, 10, true, &parsed))
        *out = parsed;
    return true;
}

/* Rounds what the number's decimal digits say, ties to even, as Python's round() does. */
static bool round_to(px_jinja *j, double value, int64_t digits, double *out)
{
    if (digits > 300 || !isfinite(value)) {
        *out = value;
        return true;
    }
    if (digits < 0) {
        double scale = pow(10, (double)-digits);
        *out = isinf(scale) ? 0 : nearbyint(value / scale) * scale;
        return true;
    }
    char text[700];
    snprintf(text, sizeof text, "%.*f", (int)digits, value);
    *out = strtod(text, NULL);
    return true;
}

FILTER(filter_round)
{
    int64_t precision;
    px_slice method;
    if (!px_jarg_int(j, c->a[0], 0, &precision) || !px_jarg_text(j, c->a[1], "common", &method))
        return false;
    bool common = method.length == 6 && memcmp(method.data, "common", 6) == 0;
    if (c->self.kind == PX_J_BIG && common && precision >= 0) {
        *out = c->self;
        return true;
    }
    if (!px_jis_number(c->self))
        return px_jinja_fail(j, "type %s doesn't define __round__ method", px_jtype_name(c->self));
    double value = px_jnumber(c->self), result;
    bool ceiling = method.length == 4 && memcmp(method.data, "ceil", 4) == 0;
    if (ceiling || (method.length == 5 && memcmp(method.data, "floor", 5) == 0)) {
        double scale = pow(10, (double)precision);
        /* Python rounds to whole numbers here, which have no negative zero. */
        double whole = ceiling ? ceil(value * scale) : floor(value * scale);
        *out = px_jreal((whole + 0.0) / scale);
        return true;
    }
    if (!common) return px_jinja_fail(j, "method must be common, ceil or floor");
    if (!round_to(j, value, precision, &result)) return false;
    *out = c->self.kind == PX_J_REAL ? px_jreal(result) : px_jint((int64_t)result);
    return true;
}

FILTER(filter_attr)
{
    px_slice name;
    if (c->a[0].kind != PX_J_STR)
        return px_jinja_fail(j, "attribute name must be string, not '%s'", px_jtype_name(c->a[0]));
    name = c->a[0].text;
    if (c->self.kind != PX_J_DICT) return px_jinja_attribute(j, c->self, name, out);
    /* attr() never looks for an item, so only methods are there. */
    px_jv attribute;
    if (!px_jinja_attribute(j, c->self, name, &attribute)) return false;
    *out = attribute.kind == PX_J_METHOD ? attribute
                                         : px_jundefined(PX_J_NO_ATTRIBUTE, name, PX_J_DICT);
    return true;
}

FILTER(filter_length)
{
    int64_t length = px_jlength(c->self);
    if (length < 0)
        return px_jinja_fail(j, "object of type '%s' has no len()", px_jtype_name(c->self));
    *out = px_jint(length);
    return true;
}

FILTER(filter_random)
{
    return px_jinja_fail(j, "the filter random has no fixed answer and is refused");
}

FILTER(filter_urlize)
{
    return px_jinja_fail(j, "the filter urlize makes links of HTML and is refused");
}

static const px_jfunction filters[] = {
    {"tojson", px_jinja_tojson, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, false},
    {"length", filter_length, {NULL}, 0, false}, {"count", filter_length, {NULL}, 0, false},
    {"default", filter_default, {"default_value", "boolean"}, 0, false},
    {"d", filter_default, {"default_value", "boolean"}, 0, false},
    {"int", filter_int, {"default", "base"}, 0, false},
    {"float", filter_float, {"default"}, 0, false},
    {"round", filter_round, {"precision", "method"}, 0, false},
    {"abs", filter_abs, {NULL}, 0, false}, {"attr", filter_attr, {"name"}, 1, false},
    {"random", filter_random, {NULL}, 0, true}, {"urlize", filter_urlize, {NULL}, 0, true}};

const px_jfunction *px_jinja_filter(px_slice name)
{
    const px_jfunction *found = px_jinja_find(filters, sizeof filters / sizeof *filters, name);
    if (!found) found = px_jinja_sequence_filter(name);
    return found ? found : px_jinja_text_filter(name);
}
