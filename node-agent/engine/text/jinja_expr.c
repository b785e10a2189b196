/* jinja_expr.c - expressions: names, literals, operators with Python's arithmetic. */
#include <math.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/unicode.h"

/* --- arithmetic --- */

static bool unsupported(px_jinja *j, const char *op, px_jv a, px_jv b)
{
    if (a.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, a);
    if (b.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, b);
    return px_jinja_fail(j, "unsupported operand type(s) for %s: '%s' and '%s'", op,
        px_jtype_name(a), px_jtype_name(b));
}

static bool too_large(px_jinja *j)
{
    return px_jinja_fail(j, "a whole number outgrows 64 bits");
}

static bool add_texts(px_jinja *j, px_slice a, px_slice b, px_jv *out)
{
    if (!px_jinja_spend(j, (a.length + b.length) / 64)) return false;
    char *text = px_jinja_alloc(j, a.length + b.length + 1);
    if (!text) return false;
    if (a.length) memcpy(text, a.data, a.length);
    if (b.length) memcpy(text + a.length, b.data, b.length);
    *out = px_jstr((px_slice){text, a.length + b.length});
    return true;
}

static bool add_lists(px_jinja *j, px_jv a, px_jv b, px_jv *out)
{
    size_t count = a.list->count + b.list->count;
    if (!px_jinja_spend(j, count) || !px_jlist_new(j, count, out)) return false;
    for (size_t i = 0; i < a.list->count; i++)
        if (!px_jlist_add(j, *out, a.list->items[i])) return false;
    for (size_t i = 0; i < b.list->count; i++)
        if (!px_jlist_add(j, *out, b.list->items[i])) return false;
    out->kind = a.kind;
    return true;
}

static bool add(px_jinja *j, px_jv a, px_jv b, px_jv *out)
{
    if (px_jis_number(a) && px_jis_number(b)) {
        int64_t sum;
        if (a.kind == PX_J_REAL || b.kind == PX_J_REAL)
            *out = px_jreal(px_jnumber(a) + px_jnumber(b));
        else if (__builtin_add_overflow(px_jwhole(a), px_jwhole(b), &sum))
            return too_large(j);
        else
            *out = px_jint(sum);
        return true;
    }
    if (a.kind == PX_J_STR && b.kind == PX_J_STR) return add_texts(j, a.text, b.text, out);
    if (a.kind == b.kind && (a.kind == PX_J_LIST || a.kind == PX_J_TUPLE) && !a.list->label &&
        !b.list->label)
        return add_lists(j, a, b, out);
    if (a.kind == PX_J_STR && b.kind != PX_J_UNDEFINED)
        return px_jinja_fail(j, "can only concatenate str (not \"%s\") to str", px_jtype_name(b));
    return unsupported(j, "+", a, b);
}

static bool repeat(px_jinja *j, px_jv value, int64_t times, px_jv *out)
{
    if (times < 0) times = 0;
    uint64_t size = value.kind == PX_J_STR ? value.text.length : value.list->count;
    uint64_t total;
    if (__builtin_mul_overflow(size, (uint64_t)times, &total) || !px_jinja_spend(j, total))
        return px_jinja_fail(j, "a repetition is too long");
    if (value.kind != PX_J_STR) {
        if (!px_jlist_new(j, total, out)) return false;
        for (uint64_t i = 0; i < total; i++)
            if (!px_jlist_add(j, *out, value.list->items[i % size])) return false;
        out->kind = value.kind;
        return true;
    }
    char *text = px_jinja_alloc(j, total + 1);
    if (!text) return false;
    for (uint64_t at = 0; at < total; at += size) memcpy(text + at, value.text.data, size);
    *out = px_jstr((px_slice){text, total});
    return true;
}

static bool is_whole(px_jv v)
{
    return v.kind == PX_J_INT || v.kind == PX_J_BOOL;
}
static bool is_sequence(px_jv v)
{
    return v.kind == PX_J_STR || (v.kind == PX_J_LIST && !v.list->label) || v.kind == PX_J_TUPLE;
}

static bool multiply(px_jinja *j, px_jv a, px_jv b, px_jv *out)
{
    if (is_sequence(a) && is_whole(b)) return repeat(j, a, px_jwhole(b), out);
    if (is_sequence(b) && is_whole(a)) return repeat(j, b, px_jwhole(a), out);
    if (!px_jis_number(a) || !px_jis_number(b)) return unsupported(j, "*", a, b);
    int64_t product;
    if (a.kind == PX_J_REAL || b.kind == PX_J_REAL)
        *out = px_jreal(px_jnumber(a) * px_jnumber(b));
    else if (__builtin_mul_overflow(px_jwhole(a), px_jwhole(b), &product))
        return too_large(j);
    else
        *out = px_jint(product);
    return true;
}

static bool subtract(px_jinja *j, px_jv a, px_jv b, px_jv *out)
{
    int64_t difference;
    if (a.kind == PX_J_REAL || b.kind == PX_J_REAL)
        *out = px_jreal(px_jnumber(a) - px_jnumber(b));
    else if (__builtin_sub_overflow(px_jwhole(a), px_jwhole(b), &difference))
        return too_large(j);
    else
        *out = px_jint(difference);
    return true;
}

/* Quotient and remainder round towards minus infinity, as Python's do. */
static double floor_mod(double a, double b)
{
    double rest = fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    return rest;
}

static bool divide(px_jinja *j, px_jop op, px_jv a, px_jv b, px_jv *out)
{
    bool real = a.kind == PX_J_REAL || b.kind == PX_J_REAL;
    if (px_jnumber(b) == 0) {
        if (op == PX_OP_DIV)
            return px_jinja_fail(j, real ? "float division by zero" : "division by zero");
        if (real) return px_jinja_fail(j, "float floor division or modulo by zero");
        return px_jinja_fail(j, "integer division or modulo by zero");
    }
    if (op == PX_OP_DIV) {
        *out = px_jreal(px_jnumber(a) / px_jnumber(b));
        return true;
    }
    if (real) {
        double rest = floor_mod(px_jnumber(a), px_jnumber(b));
        *out =
            px_jreal(op == PX_OP_MOD ? rest : floor((px_jnumber(a) - rest) / px_jnumber(b) + 0.5));
        return true;
    }
    int64_t x = px_jwhole(a), y = px_jwhole(b);
    if (x == INT64_MIN && y == -1) return too_large(j);
    int64_t quotient = x / y, rest = x % y;
    if (rest != 0 && (rest < 0) != (y < 0)) {
        quotient--;
        rest += y;
    }
    *out = px_jint(op == PX_OP_MOD ? rest : quotient);
    return true;
}

static bool power(px_jinja *j, px_jv a, px_jv b, px_jv *out)
{
    if (a.kind == PX_J_REAL || b.kind == PX_J_REAL || px_jwhole(b) < 0) {
        if (px_jnumber(a) == 0 && px_jnumber(b) < 0)
            return px_jinja_fail(j, "0.0 cannot be raised to a negative power");
        double result = pow(px_jnumber(a), px_jnumber(b));
        if (isnan(result) && !isnan(px_jnumber(a)))
            return px_jinja_fail(j, "a root of a negative number");
        *out = px_jreal(result);
        return true;
    }
    int64_t base = px_jwhole(a), result = 1;
    for (int64_t exponent = px_jwhole(b); exponent > 0; exponent >>= 1) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) return too_large(j);
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return too_large(j);
    }
    *out = px_jint(result);
    return true;
}

static bool number_binary(px_jinja *j, px_jop op, px_jv a, px_jv b, px_jv *out)
{
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    if (!px_jis_number(a) || !px_jis_number(b)) return unsupported(j, signs[op], a, b);
    if (op == PX_OP_SUB) return subtract(j, a, b, out);
    if (op == PX_OP_POW) return power(j, a, b, out);
    return divide(j, op, a, b, out);
}

bool px_jinja_binary(px_jinja *j, px_jop op, px_jv a, px_jv b, px_jv *out)
{
    bool markup = px_jis_markup(a) || px_jis_markup(b);
    if (markup && !px_jmarkup_operands(j, op, &a, &b)) return false;
    bool ok;
    if (op == PX_OP_ADD)
        ok = add(j, a, b, out);
    else if (op == PX_OP_MUL)
        ok = multiply(j, a, b, out);
    else if (op == PX_OP_MOD && a.kind == PX_J_STR)
        ok = px_jinja_percent(j, a.text, b, out);
    else
        return number_binary(j, op, a, b, out);
    if (ok && out->kind == PX_J_STR) out->detail = op == PX_OP_MOD ? px_jis_markup(a) : markup;
    return ok;
}

static bool negate_big(px_jinja *j, px_jop op, px_jv a, px_jv *out)
{
    *out = a;
    if (op != PX_OP_SUB) return true;
    px_slice digits = a.text;
    bool negative = digits.data[0] == '-';
    if (negative) {
        out->text = (px_slice){digits.data + 1, digits.length - 1};
        return true;
    }
    px_jv text;
    if (!add_texts(j, (px_slice){"-", 1}, digits, &text)) return false;
    out->text = text.text;
    return true;
}

static bool negate(px_jinja *j, px_jop op, px_jv a, px_jv *out)
{
    if (a.kind == PX_J_UNDEFINED) return px_jinja_fail_undefined(j, a);
    if (a.kind == PX_J_BIG) return negate_big(j, op, a, out);
    if (!px_jis_number(a))
        return px_jinja_fail(j, "bad operand type for unary %s: '%s'", op == PX_OP_SUB ? "-" : "+",
            px_jtype_name(a));
    if (a.kind == PX_J_REAL)
        *out = px_jreal(op == PX_OP_SUB ? -a.real : a.real);
    else if (op == PX_OP_SUB && px_jwhole(a) == INT64_MIN)
        return too_large(j);
    else
        *out = px_jint(op == PX_OP_SUB ? -px_jwhole(a) : px_jwhole(a));
    return true;
}

/* --- comparisons --- */

bool px_jinja_contains(px_jinja *j, px_jv item, px_jv container, bool *out)
{
    if (container.kind == PX_J_STR) {
        if (item.kind != PX_J_STR)
            return px_jinja_fail(
                j, "'in <string>' requires string as left operand, not %s", px_jtype_name(item));
        *out = item.text.length == 0 ||
               memmem(container.text.data, container.text.length, item.text.data, item.text.length);
        return px_jinja_spend(j, container.text.length / 64);
    }
    if (container.kind == PX_J_DICT) {
        if (!px_jhashable(j, item)) return false;
        *out = px_jdict_get(container, item) != NULL;
        return true;
    }
    if (container.kind != PX_J_LIST && container.kind != PX_J_TUPLE &&
        container.kind != PX_J_UNDEFINED)
        return px_jinja_fail(j, "argument of type '%s' is not iterable", px_jtype_name(container));
    *out = false;
    if (container.kind == PX_J_UNDEFINED) return true;
    for (size_t i = 0; i < container.list->count && !*out; i++)
        *out = px_jequal(container.list->items[i], item);
    return px_jinja_spend(j, container.list->count);
}

static bool compare(px_jinja *j, px_jop op, px_jv a, px_jv b, bool *out)
{
    int order;
    switch (op) {
    case PX_OP_EQ: *out = px_jequal(a, b); return true;
    case PX_OP_NE: *out = !px_jequal(a, b); return true;
    case PX_OP_IN: return px_jinja_contains(j, a, b, out);
    case PX_OP_NOT_IN:
        if (!px_jinja_contains(j, a, b, out)) return false;
        *out = !*out;
        return true;
    default: break;
    }
    if (!px_jcompare(j, a, b, &order)) return false;
    bool unordered =
        (a.kind == PX_J_REAL && isnan(a.real)) || (b.kind == PX_J_REAL && isnan(b.real));
    *out = !unordered && (op == PX_OP_LT      ? order < 0
                             : op == PX_OP_LE ? order <= 0
                             : op == PX_OP_GT ? order > 0
                                              : order >= 0);
    return true;
}

/* a < b < c: each operand once, and no further than the first that is false. */
static bool eval_chain(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv left;
    bool holds = true;
    if (!px_jinja_eval(j, node->a, &left)) return false;
    for (size_t i = 0; i < node->items.count && holds; i++) {
        px_jv right;
        if (!px_jinja_eval(j, node->items.data[i], &right) ||
            !compare(j, node->ops[i], left, right, &holds))
            return false;
        left = right;
    }
    *out = px_jbool(holds);
    return true;
}

/* --- names and literals --- */

static bool eval_name(px_jinja *j, const px_jnode *node, px_jv *out)
{
    for (const px_jscope *scope = j->scope; scope; scope = scope->parent) {
        for (const px_jvar *var = scope->vars; var; var = var->next) {
            if (var->name != node->name) continue;
            *out = var->value;
            return true;
        }
    }
    *out = j->globals[node->name];
    if (out->kind == PX_J_MISSING) *out = px_jundefined(PX_J_NO_NAME, node->text, PX_J_NONE);
    return true;
}

static bool eval_list(px_jinja *j, const px_jnode *node, px_jv *out)
{
    if (!px_jlist_new(j, node->items.count, out)) return false;
    for (size_t i = 0; i < node->items.count; i++) {
        px_jv item;
        if (!px_jinja_eval(j, node->items.data[i], &item) || !px_jlist_add(j, *out, item))
            return false;
    }
    if (node->kind == PX_N_TUPLE) out->kind = PX_J_TUPLE;
    return true;
}

static bool eval_dict(px_jinja *j, const px_jnode *node, px_jv *out)
{
    if (!px_jdict_new(j, out)) return false;
    for (size_t i = 0; i < node->items.count; i += 2) {
        px_jv key, value;
        if (!px_jinja_eval(j, node->items.data[i], &key) ||
            !px_jinja_eval(j, node->items.data[i + 1], &value) ||
            !px_jdict_set(j, *out, key, value))
            return false;
    }
    return true;
}

static bool eval_concat(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_buf text;
    px_jbuf_init(j, &text);
    bool ok = true;
    for (size_t i = 0; ok && i < node->items.count; i++) {
        px_jv item;
        ok = px_jinja_eval(j, node->items.data[i], &item);
        if (ok) px_jprint(j, item, &text);
    }
    return px_jtake(j, &text, out) && ok;
}

/* --- calls, filters, tests --- */

static bool spread_list(px_jinja *j, const px_jnode *node, px_jv *items)
{
    px_jv value, list;
    if (!px_jinja_eval(j, node, &value) || !px_jiterate(j, value, &list)) return false;
    for (size_t i = 0; i < list.list->count; i++)
        if (!px_jlist_add(j, *items, list.list->items[i])) return false;
    return true;
}

static bool eval_named(px_jinja *j, const px_jnode *node, px_jargs *out)
{
    px_jv more = {.kind = PX_J_MISSING};
    size_t extra = 0;
    if (node->spread_dict) {
        if (!px_jinja_eval(j, node->spread_dict, &more)) return false;
        if (more.kind != PX_J_DICT) return px_jinja_fail(j, "argument after ** must be a mapping");
        extra = more.dict->count;
    }
    if (node->keyword_count + extra == 0) return true;
    out->named = px_jinja_alloc(j, (node->keyword_count + extra) * sizeof *out->named);
    if (!out->named) return false;
    for (size_t i = 0; i < node->keyword_count; i++) {
        px_jnamed *named = &out->named[out->named_count++];
        named->text = node->keywords[i].text;
        if (!px_jinja_eval(j, node->keywords[i].value, &named->value)) return false;
    }
    for (size_t i = 0; i < extra; i++) {
        if (more.dict->entries[i].key.kind != PX_J_STR)
            return px_jinja_fail(j, "keywords must be strings");
        out->named[out->named_count++] =
            (px_jnamed){more.dict->entries[i].key.text, more.dict->entries[i].value};
    }
    return true;
}

static bool eval_args(px_jinja *j, const px_jnode *node, px_jargs *out)
{
    *out = (px_jargs){0};
    px_jv items;
    if (!px_jlist_new(j, node->items.count, &items)) return false;
    for (size_t i = 0; i < node->items.count; i++) {
        px_jv item;
        if (!px_jinja_eval(j, node->items.data[i], &item) || !px_jlist_add(j, items, item))
            return false;
    }
    if (node->spread_list && !spread_list(j, node->spread_list, &items)) return false;
    out->items = items.list->items;
    out->count = items.list->count;
    return eval_named(j, node, out);
}

static bool eval_call(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv callee;
    px_jargs args;
    if (!px_jinja_eval(j, node->a, &callee) || !eval_args(j, node, &args)) return false;
    j->line = node->line;
    return px_jinja_call(j, callee, &args, out);
}

static bool keep_markup(px_jv of, px_jv *out)
{
    if (px_jis_markup(of) && out->kind == PX_J_STR) out->detail = 1;
    return true;
}

static bool eval_filter(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv value;
    px_jargs args;
    if (!px_jinja_eval(j, node->a, &value) || !eval_args(j, node, &args)) return false;
    j->line = node->line;
    if (!node->function)
        return px_jinja_fail(j, "No filter named '%.*s'.",
            node->text.length > 60 ? 60 : (int)node->text.length, node->text.data);
    if (!px_jinja_call_function(j, node->function, value, &args, out)) return false;
    return !px_jmarkup_filter_keeps(node->function->name) || keep_markup(value, out);
}

static bool eval_test(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv value;
    px_jargs args;
    if (!px_jinja_eval(j, node->a, &value) || !eval_args(j, node, &args)) return false;
    j->line = node->line;
    if (!node->function)
        return px_jinja_fail(j, "No test named '%.*s'.",
            node->text.length > 60 ? 60 : (int)node->text.length, node->text.data);
    if (!px_jinja_call_function(j, node->function, value, &args, out)) return false;
    *out = px_jbool(px_jtrue(*out) != node->flag);
    return true;
}

/* --- the rest --- */

static bool eval_optional(px_jinja *j, const px_jnode *node, px_jv *out)
{
    *out = px_jnone();
    return !node || px_jinja_eval(j, node, out);
}

static bool eval_item(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv value, key;
    if (!px_jinja_eval(j, node->a, &value)) return false;
    if (node->b->kind != PX_N_SLICE)
        return px_jinja_eval(j, node->b, &key) && px_jinja_item(j, value, key, out);
    px_jslice slice;
    return eval_optional(j, node->b->a, &slice.start) &&
           eval_optional(j, node->b->b, &slice.stop) && eval_optional(j, node->b->c, &slice.step) &&
           px_jinja_slice(j, value, &slice, out) && keep_markup(value, out);
}

static bool eval_condition(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv condition;
    if (!px_jinja_eval(j, node->b, &condition)) return false;
    if (px_jtrue(condition)) return px_jinja_eval(j, node->a, out);
    if (node->c) return px_jinja_eval(j, node->c, out);
    *out = px_jundefined(PX_J_NO_NAME, (px_slice){"the inline if-expression", 24}, PX_J_NONE);
    return true;
}

static bool eval_logic(px_jinja *j, const px_jnode *node, px_jv *out)
{
    if (!px_jinja_eval(j, node->a, out)) return false;
    if (px_jtrue(*out) == (node->kind == PX_N_OR)) return true;
    return px_jinja_eval(j, node->b, out);
}

static bool eval_kind(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jv a, b;
    switch (node->kind) {
    case PX_N_CONST: *out = node->value; return true;
    case PX_N_NAME: return eval_name(j, node, out);
    case PX_N_LIST:
    case PX_N_TUPLE: return eval_list(j, node, out);
    case PX_N_DICT: return eval_dict(j, node, out);
    case PX_N_UNARY: return px_jinja_eval(j, node->a, &a) && negate(j, node->op, a, out);
    case PX_N_BINARY:
        return px_jinja_eval(j, node->a, &a) && px_jinja_eval(j, node->b, &b) &&
               px_jinja_binary(j, node->op, a, b, out);
    case PX_N_CONCAT: return eval_concat(j, node, out);
    case PX_N_COMPARE: return eval_chain(j, node, out);
    case PX_N_AND:
    case PX_N_OR: return eval_logic(j, node, out);
    case PX_N_NOT:
        if (!px_jinja_eval(j, node->a, &a)) return false;
        *out = px_jbool(!px_jtrue(a));
        return true;
    case PX_N_COND: return eval_condition(j, node, out);
    case PX_N_ATTR:
        return px_jinja_eval(j, node->a, &a) && px_jinja_attribute(j, a, node->attribute, out);
    case PX_N_ITEM: return eval_item(j, node, out);
    case PX_N_CALL: return eval_call(j, node, out);
    case PX_N_FILTER: return eval_filter(j, node, out);
    case PX_N_TEST: return eval_test(j, node, out);
    default: return px_jinja_fail(j, "a slice stands outside of a subscript");
    }
}

bool px_jinja_eval(px_jinja *j, const px_jnode *node, px_jv *out)
{
    if (!px_jinja_spend(j, 1) || !px_jinja_enter(j)) return false;
    if (node->line) j->line = node->line;
    bool ok = eval_kind(j, node, out) && !px_jinja_failed(j);
    px_jinja_leave(j);
    return ok;
}
