/* jinja_tests.c - what may follow "is". Source: Jinja 3.1, tests.py. */
#include <math.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"
#include <utf8proc.h>

#define TEST(id) static bool id(px_jinja *j, const px_jcall *c, px_jv *out)
#define SIMPLE(id, condition)                                                                      \
    TEST(id)                                                                                       \
    {                                                                                              \
        px_jv v = c->self;                                                                         \
        *out = px_jbool(condition);                                                                \
        return true;                                                                               \
    }

SIMPLE(is_boolean, v.kind == PX_J_BOOL)
SIMPLE(is_callable, px_jinja_callable(v))
SIMPLE(is_defined, v.kind != PX_J_UNDEFINED)
SIMPLE(is_undefined, v.kind == PX_J_UNDEFINED)
SIMPLE(is_escaped, v.kind == PX_J_STR && v.detail)
SIMPLE(is_false, v.kind == PX_J_BOOL && !v.truth)
SIMPLE(is_true, v.kind == PX_J_BOOL && v.truth)
SIMPLE(is_float, v.kind == PX_J_REAL)
SIMPLE(is_integer, v.kind == PX_J_INT || v.kind == PX_J_BIG)
SIMPLE(is_number, px_jis_number(v) || v.kind == PX_J_BIG)
SIMPLE(is_iterable, px_jlength(v) >= 0 || px_jis_lazy(v))
SIMPLE(is_mapping, v.kind == PX_J_DICT)
SIMPLE(is_none, v.kind == PX_J_NONE)
SIMPLE(is_sequence, px_jlength(v) >= 0 && v.kind != PX_J_UNDEFINED && !px_jis_view(v))
SIMPLE(is_string, v.kind == PX_J_STR)

TEST(is_filter)
{
    *out = px_jbool(c->self.kind == PX_J_STR && px_jinja_filter(c->self.text) != NULL);
    return px_jhashable(j, c->self);
}
TEST(is_test)
{
    *out = px_jbool(c->self.kind == PX_J_STR && px_jinja_test(c->self.text) != NULL);
    return px_jhashable(j, c->self);
}

/* Like Python's islower(): no cased character of the other case, and at least one of this one. */
static bool all_cased(px_jinja *j, px_jv value, bool upper, px_jv *out)
{
    px_slice text;
    if (!px_jto_str(j, value, &text)) return false;
    bool any = false, other = false;
    for (size_t at = 0; at < text.length;) {
        uint32_t rune;
        at += px_rune_decode(text.data + at, &rune);
        bool is_upper = utf8proc_tolower((utf8proc_int32_t)rune) != (utf8proc_int32_t)rune;
        bool is_lower =
            !is_upper && utf8proc_toupper((utf8proc_int32_t)rune) != (utf8proc_int32_t)rune;
        any |= upper ? is_upper : is_lower;
        other |= upper ? is_lower : is_upper;
    }
    *out = px_jbool(any && !other);
    return true;
}

TEST(is_lower)
{
    return all_cased(j, c->self, false, out);
}
TEST(is_upper)
{
    return all_cased(j, c->self, true, out);
}

static bool remainder_is(px_jinja *j, px_jv value, px_jv by, double wanted, px_jv *out)
{
    px_jv rest;
    if (!px_jinja_binary(j, PX_OP_MOD, value, by, &rest)) return false;
    *out = px_jbool(px_jis_number(rest) && px_jnumber(rest) == wanted);
    return true;
}

TEST(is_divisible)
{
    return remainder_is(j, c->self, c->a[0], 0, out);
}
TEST(is_even)
{
    return remainder_is(j, c->self, px_jint(2), 0, out);
}
TEST(is_odd)
{
    return remainder_is(j, c->self, px_jint(2), 1, out);
}

TEST(is_equal)
{
    *out = px_jbool(px_jequal(c->self, c->a[0]));
    return true;
}

TEST(is_unequal)
{
    *out = px_jbool(!px_jequal(c->self, c->a[0]));
    return true;
}

static bool ordered(px_jinja *j, const px_jcall *c, int sign, bool or_equal, px_jv *out)
{
    int order;
    if (!px_jcompare(j, c->self, c->a[0], &order)) return false;
    *out = px_jbool(order == 0 ? or_equal : (order < 0) == (sign < 0));
    return true;
}

TEST(is_less)
{
    return ordered(j, c, -1, false, out);
}
TEST(is_less_equal)
{
    return ordered(j, c, -1, true, out);
}
TEST(is_greater)
{
    return ordered(j, c, 1, false, out);
}
TEST(is_greater_equal)
{
    return ordered(j, c, 1, true, out);
}

TEST(is_in)
{
    bool found;
    if (!px_jinja_contains(j, c->self, c->a[0], &found)) return false;
    *out = px_jbool(found);
    return true;
}

/* Identity: of singletons and numbers their equality, of containers that they are the same one. */
TEST(is_same)
{
    px_jv a = c->self, b = c->a[0];
    bool same = a.kind == b.kind;
    if (same && (a.kind == PX_J_LIST || a.kind == PX_J_TUPLE || a.kind == PX_J_DICT))
        same = a.object == b.object;
    else if (same)
        same = px_jequal(a, b);
    *out = px_jbool(same);
    return true;
}

static const px_jfunction tests[] = {{"defined", is_defined, {NULL}, 0, false},
    {"undefined", is_undefined, {NULL}, 0, false}, {"none", is_none, {NULL}, 0, false},
    {"string", is_string, {NULL}, 0, false}, {"mapping", is_mapping, {NULL}, 0, false},
    {"iterable", is_iterable, {NULL}, 0, false}, {"sequence", is_sequence, {NULL}, 0, false},
    {"number", is_number, {NULL}, 0, false}, {"integer", is_integer, {NULL}, 0, false},
    {"float", is_float, {NULL}, 0, false}, {"boolean", is_boolean, {NULL}, 0, false},
    {"true", is_true, {NULL}, 0, false}, {"false", is_false, {NULL}, 0, false},
    {"callable", is_callable, {NULL}, 0, false}, {"escaped", is_escaped, {NULL}, 0, false},
    {"filter", is_filter, {NULL}, 0, false}, {"test", is_test, {NULL}, 0, false},
    {"lower", is_lower, {NULL}, 0, false}, {"upper", is_upper, {NULL}, 0, false},
    {"even", is_even, {NULL}, 0, false}, {"odd", is_odd, {NULL}, 0, false},
    {"divisibleby", is_divisible, {"num"}, 1, false}, {"in", is_in, {"seq"}, 1, false},
    {"sameas", is_same, {"other"}, 1, false}, {"eq", is_equal, {"other"}, 1, false},
    {"equalto", is_equal, {"other"}, 1, false}, {"==", is_equal, {"other"}, 1, false},
    {"ne", is_unequal, {"other"}, 1, false}, {"!=", is_unequal, {"other"}, 1, false},
    {"lt", is_less, {"other"}, 1, false}, {"lessthan", is_less, {"other"}, 1, false},
    {"<", is_less, {"other"}, 1, false}, {"le", is_less_equal, {"other"}, 1, false},
    {"<=", is_less_equal, {"other"}, 1, false}, {"gt", is_greater, {"other"}, 1, false},
    {"greaterthan", is_greater, {"other"}, 1, false}, {">", is_greater, {"other"}, 1, false},
    {"ge", is_greater_equal, {"other"}, 1, false}, {">=", is_greater_equal, {"other"}, 1, false}};

const px_jfunction *px_jinja_test(px_slice name)
{
    return px_jinja_find(tests, sizeof tests / sizeof *tests, name);
}
