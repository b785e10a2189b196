/* json_number.c - digit by digit from the left: as long as what was written equals the lower
 * bound's digits it may not fall below the next one, and so for the upper; once it differs, any
 * digit goes.
 */
#include "engine/grammar/json_number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS_MAX = 16, FRACTION_MAX = 16 };

typedef struct decimal { /* a magnitude: digits without a point */
    char digits[48];
    unsigned whole, fraction; /* digits before and behind the point */
    bool exclusive;
} decimal;

typedef struct maker {
    px_expr_source *source;
    const decimal *low, *high; /* high NULL: none */
    bool is_integer;
    unsigned whole; /* digits before the point in the numbers being made */
} maker;

static const px_expr *digit(px_expr_source *source, char low, char high)
{
    px_expr_range range = {(uint32_t)low, (uint32_t)high};
    return px_expr_class(source, &range, 1, false);
}

static const px_expr *pair(px_expr_source *source, const px_expr *a, const px_expr *b)
{
    const px_expr *parts[] = {a, b};
    return px_expr_sequence(source, parts, 2);
}

static const px_expr *optional(px_expr_source *source, const px_expr *expr)
{
    return px_expr_repeat(source, expr, 0, 1);
}

/* ".5", ".25", ...: or nothing. */
static const px_expr *any_fraction(px_expr_source *source)
{
    const px_expr *digits = px_expr_repeat(source, digit(source, '0', '9'), 1, FRACTION_MAX);
    return optional(source, pair(source, px_expr_text(source, "."), digits));
}

/* Digit `at` behind the point of a bound; zeros follow its last. */
static char fraction_digit(const decimal *d, unsigned at)
{
    return at < d->fraction ? d->digits[d->whole + at] : '0';
}

static bool zeros_follow(const decimal *d, unsigned at)
{
    for (; at < d->fraction; at++)
        if (fraction_digit(d, at) != '0') return false;
    return true;
}

typedef struct tightness { /* what was written equals the bound's digits so far */
    bool low, high;
} tightness;

/* Whether the number may end before fraction digit `at`: zeros would follow. */
static bool may_end(const maker *m, unsigned at, tightness tight)
{
    bool low = !tight.low || (zeros_follow(m->low, at) && !m->low->exclusive);
    bool high = !tight.high || !zeros_follow(m->high, at) || !m->high->exclusive;
    return low && high;
}

/* The digits from fraction digit `at` on, `at` > 0 being behind a first digit. */
static const px_expr *fraction_from(const maker *m, unsigned at, tightness tight)
{
    px_expr_source *s = m->source;
    px_expr_list parts = {0};
    if (at && may_end(m, at, tight)) px_expr_list_add(&parts, px_expr_text(s, ""));
    if (at < FRACTION_MAX && !tight.low && !tight.high) {
        px_expr_list_add(&parts, px_expr_repeat(s, digit(s, '0', '9'), 1, FRACTION_MAX - at));
    } else if (at < FRACTION_MAX) {
        char low = tight.low ? fraction_digit(m->low, at) : '0';
        char high = tight.high ? fraction_digit(m->high, at) : '9';
        for (char d = low; d <= high; d++) {
            tightness next = {tight.low && d == low, tight.high && d == high};
            px_expr_list_add(&parts, pair(s, digit(s, d, d), fraction_from(m, at + 1, next)));
        }
    }
    const px_expr *made = px_expr_choice(s, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

/* What may stand behind the whole digits. */
static const px_expr *behind_whole(const maker *m, tightness tight)
{
    px_expr_source *s = m->source;
    px_expr_list parts = {0};
    if (may_end(m, 0, tight)) px_expr_list_add(&parts, px_expr_text(s, ""));
    if (!m->is_integer)
        px_expr_list_add(&parts, pair(s, px_expr_text(s, "."), fraction_from(m, 0, tight)));
    const px_expr *made = px_expr_choice(s, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

static const px_expr *whole_from(const maker *m, unsigned at, tightness tight)
{
    px_expr_source *s = m->source;
    if (!tight.low && !tight.high && at) {
        unsigned left = m->whole - at;
        const px_expr *rest = m->is_integer ? px_expr_text(s, "") : any_fraction(s);
        return pair(s, px_expr_repeat(s, digit(s, '0', '9'), left, left), rest);
    }
    if (at == m->whole) return behind_whole(m, tight);
    px_expr_list parts = {0};
    char low = tight.low ? m->low->digits[at] : at == 0 && m->whole > 1 ? '1' : '0';
    char high = tight.high ? m->high->digits[at] : '9';
    for (char d = low; d <= high; d++) {
        tightness next = {tight.low && d == low, tight.high && d == high};
        px_expr_list_add(&parts, pair(s, digit(s, d, d), whole_from(m, at + 1, next)));
    }
    const px_expr *made = px_expr_choice(s, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

/* Magnitudes from low to high, written without a sign. */
static const px_expr *magnitudes(
    px_expr_source *source, const decimal *low, const decimal *high, bool is_integer)
{
    px_expr_list parts = {0};
    unsigned last = high ? high->whole : DIGITS_MAX;
    for (unsigned whole = low->whole; whole <= last; whole++) {
        maker m = {source, low, high, is_integer, whole};
        tightness tight = {whole == low->whole, high && whole == high->whole};
        px_expr_list_add(&parts, whole_from(&m, 0, tight));
    }
    const px_expr *made = px_expr_choice(source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

static decimal decimal_of(double magnitude, bool exclusive)
{
    decimal d = {.exclusive = exclusive};
    char text[64];
    /* As few digits behind the point as give this number again, so that 0.1 stays 0.1. */
    for (int precision = 0; precision <= FRACTION_MAX; precision++) {
        snprintf(text, sizeof text, "%.*f", precision, magnitude);
        double again;
        if (sscanf(text, "%lf", &again) == 1 && again == magnitude) break;
    }
    char *point = strchr(text, '.');
    d.whole = (unsigned)(point ? (size_t)(point - text) : strlen(text));
    d.fraction = point ? (unsigned)strlen(point + 1) : 0;
    snprintf(d.digits, sizeof d.digits, "%.*s%s", (int)d.whole, text, point ? point + 1 : "");
    return d;
}

static const px_expr *unbounded(px_expr_source *source, bool is_integer)
{
    const px_expr *more = px_expr_repeat(source, digit(source, '0', '9'), 0, DIGITS_MAX - 1);
    const px_expr *whole[] = {
        px_expr_text(source, "0"), pair(source, digit(source, '1', '9'), more)};
    const px_expr *sign = optional(source, px_expr_text(source, "-"));
    const px_expr *number = pair(source, sign, px_expr_choice(source, whole, 2));
    if (is_integer) return number;
    px_expr_range e[] = {{'e', 'e'}, {'E', 'E'}}, signs[] = {{'+', '+'}, {'-', '-'}};
    const px_expr *exponent[] = {px_expr_class(source, e, 2, false),
        optional(source, px_expr_class(source, signs, 2, false)),
        px_expr_repeat(source, digit(source, '0', '9'), 1, 2)};
    return pair(source, pair(source, number, any_fraction(source)),
        optional(source, px_expr_sequence(source, exponent, 3)));
}

/* Whole bounds for integers: the next ones inside. */
static void tighten(px_number_range *range)
{
    if (range->low.given) {
        double value = ceil(range->low.value);
        if (range->low.exclusive && value == range->low.value) value++;
        range->low = (px_number_bound){true, false, value};
    }
    if (range->high.given) {
        double value = floor(range->high.value);
        if (range->high.exclusive && value == range->high.value) value--;
        range->high = (px_number_bound){true, false, value};
    }
}

static bool is_empty(const px_number_range *range)
{
    if (!range->low.given || !range->high.given) return false;
    return range->low.value > range->high.value ||
           (range->low.value == range->high.value &&
               (range->low.exclusive || range->high.exclusive));
}

/* Bounds are cut at zero: the numbers below it, with their sign, and those from zero on. */
static const px_expr *bounded(px_expr_source *source, const px_number_range *range)
{
    px_number_bound low = range->low, high = range->high;
    px_expr_list parts = {0};
    if (!low.given || low.value < 0) {
        bool reaches_zero = !high.given || high.value >= 0;
        decimal from = decimal_of(reaches_zero ? 0 : -high.value, reaches_zero || high.exclusive);
        decimal to = decimal_of(low.given ? -low.value : 0, low.exclusive);
        if (range->is_integer && reaches_zero) from = decimal_of(1, false);
        px_expr_list_add(
            &parts, pair(source, px_expr_text(source, "-"),
                        magnitudes(source, &from, low.given ? &to : NULL, range->is_integer)));
    }
    if (!high.given || high.value > 0 || (high.value == 0 && !high.exclusive)) {
        bool from_zero = !low.given || low.value < 0;
        decimal from = decimal_of(from_zero ? 0 : low.value, !from_zero && low.exclusive);
        decimal to = decimal_of(high.given ? high.value : 0, high.exclusive);
        px_expr_list_add(
            &parts, magnitudes(source, &from, high.given ? &to : NULL, range->is_integer));
    }
    const px_expr *made = px_expr_choice(source, parts.items, parts.count);
    px_expr_list_done(&parts);
    return made;
}

px_status px_json_number_expr(
    px_expr_source *source, const px_number_range *range, const px_expr **out)
{
    px_number_range r = *range;
    if ((r.low.given && !(fabs(r.low.value) < 1e16)) ||
        (r.high.given && !(fabs(r.high.value) < 1e16)))
        return px_fail(PX_UNIMPLEMENTED, "bounds of 1e16 and more are not supported");
    if (r.is_integer) tighten(&r);
    if (is_empty(&r)) return px_fail(PX_INVALID_ARGUMENT, "no number lies between the bounds");
    *out = r.low.given || r.high.given ? bounded(source, &r) : unbounded(source, r.is_integer);
    return px_ok();
}
