/* jinja_parse_expr.c - expressions, by recursive descent in Jinja's order of precedence:
 *
 *   a if b else c  >  or  >  and  >  not  >  comparisons  >  + -  >  ~  >  * / // %  >  **  > unary
 *   >  .x [y] (z)  >  |filter  is test
 *
 * Source: Jinja 3.1, parser.py.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/jinja_parser.h"

static px_jnode *parse_or(px_jparser *p);

static px_jnode *binary(px_jparser *p, px_jnode_kind kind, px_jop op, px_jnode *a, px_jnode *b)
{
    px_jnode *node = a && b ? px_jparse_node(p, kind) : NULL;
    if (!node) return NULL;
    node->op = op;
    node->a = a;
    node->b = b;
    node->line = a->line;
    return node;
}

/* --- literals --- */

static px_jnode *constant(px_jparser *p, px_jv value)
{
    px_jnode *node = px_jparse_node(p, PX_N_CONST);
    if (node) node->value = value;
    return node;
}

/* "0x1f" and "0b1" too; digits beyond 64 bits keep their text. */
static px_jv integer_of(px_slice text)
{
    int base = 10;
    const char *digits = text.data;
    if (text.length > 2 && text.data[0] == '0') {
        char c = text.data[1] | 0x20;
        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        if (base != 10) digits += 2;
    }
    errno = 0;
    long long value = strtoll(digits, NULL, base);
    if (errno == ERANGE && base == 10) return (px_jv){.kind = PX_J_BIG, .text = text};
    return px_jint(value);
}

/* Strings that stand side by side are one. */
static px_jnode *parse_string(px_jparser *p)
{
    px_slice text = p->at->text;
    p->at++;
    while (p->at->kind == PX_T_STRING) {
        char *joined = px_jparse_alloc(p, text.length + p->at->text.length + 1);
        if (!joined) return NULL;
        memcpy(joined, text.data, text.length);
        memcpy(joined + text.length, p->at->text.data, p->at->text.length);
        text = (px_slice){joined, text.length + p->at->text.length};
        p->at++;
    }
    return constant(p, px_jstr(text));
}

static px_jnode *parse_list(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_LIST);
    p->at++;
    while (node && !px_jparse_take_op(p, "]")) {
        if (node->items.count && !px_jparse_expect_op(p, ",")) return NULL;
        if (px_jparse_take_op(p, "]")) break;
        if (!px_jparse_add(p, &node->items, px_jparse_expression(p, true))) return NULL;
    }
    return node;
}

static px_jnode *parse_dict(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_DICT);
    p->at++;
    while (node && !px_jparse_take_op(p, "}")) {
        if (node->items.count && !px_jparse_expect_op(p, ",")) return NULL;
        if (px_jparse_take_op(p, "}")) break;
        if (!px_jparse_add(p, &node->items, px_jparse_expression(p, true)) ||
            !px_jparse_expect_op(p, ":") ||
            !px_jparse_add(p, &node->items, px_jparse_expression(p, true)))
            return NULL;
    }
    return node;
}

/* What the body of a macro names decides which extra arguments the macro takes. */
static void note_macro_name(px_jparser *p, px_slice name)
{
    if (!p->macro) return;
    if (name.length == 7 && memcmp(name.data, "varargs", 7) == 0) p->macro->uses_varargs = true;
    if (name.length == 6 && memcmp(name.data, "kwargs", 6) == 0) p->macro->uses_kwargs = true;
    if (name.length == 6 && memcmp(name.data, "caller", 6) == 0) p->macro->uses_caller = true;
}

static px_jnode *name_node(px_jparser *p)
{
    px_jnode *node = px_jparse_node(p, PX_N_NAME);
    if (!node || !px_jparse_number_name(p, p->at->text, &node->name)) return NULL;
    node->text = p->at->text;
    note_macro_name(p, node->text);
    p->at++;
    return node;
}

static px_jnode *parse_name(px_jparser *p)
{
    static const struct {
        const char *word;
        px_jv value;
    } words[] = {{"true", {.kind = PX_J_BOOL, .truth = true}},
        {"True", {.kind = PX_J_BOOL, .truth = true}}, {"false", {.kind = PX_J_BOOL}},
        {"False", {.kind = PX_J_BOOL}}, {"none", {.kind = PX_J_NONE}},
        {"None", {.kind = PX_J_NONE}}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (px_jparse_take_word(p, words[i].word)) return constant(p, words[i].value);
    return name_node(p);
}

static bool at_tuple_end(const px_jparser *p, const char *stop)
{
    return p->at->kind == PX_T_PRINT_END || p->at->kind == PX_T_BLOCK_END ||
           p->at->kind == PX_T_END || px_jparse_is_op(p, ")") ||
           (stop && px_jparse_is_word(p, stop));
}

static px_jnode *parse_items(px_jparser *p, bool conditional, const char *stop, bool in_parentheses)
{
    px_jnode *tuple = px_jparse_node(p, PX_N_TUPLE);
    bool comma = false;
    while (tuple && !at_tuple_end(p, stop)) {
        if (!px_jparse_add(p, &tuple->items, px_jparse_expression(p, conditional))) return NULL;
        if (!px_jparse_take_op(p, ",")) break;
        comma = true;
    }
    if (!tuple) return NULL;
    if (!comma && tuple->items.count == 1) return tuple->items.data[0];
    if (tuple->items.count == 0 && !in_parentheses) return px_jparse_expected(p, "an expression");
    return tuple;
}

px_jnode *px_jparse_tuple(px_jparser *p, bool conditional, const char *stop)
{
    return parse_items(p, conditional, stop, false);
}

static px_jnode *parse_primary(px_jparser *p)
{
    const px_jtoken *token = p->at;
    switch (token->kind) {
    case PX_T_NAME: return parse_name(p);
    case PX_T_STRING: return parse_string(p);
    case PX_T_INTEGER: p->at++; return constant(p, integer_of(token->text));
    case PX_T_REAL: p->at++; return constant(p, px_jreal(strtod(token->text.data, NULL)));
    default: break;
    }
    if (px_jparse_is_op(p, "[")) return parse_list(p);
    if (px_jparse_is_op(p, "{")) return parse_dict(p);
    if (!px_jparse_take_op(p, "(")) return px_jparse_expected(p, "an expression");
    px_jnode *node = parse_items(p, true, NULL, true);
    return node && px_jparse_expect_op(p, ")") ? node : NULL;
}

/* --- after a value --- */

static px_jnode *parse_attribute(px_jparser *p, px_jnode *node)
{
    const px_jtoken *token = p->at;
    if (token->kind == PX_T_NAME) {
        p->at++;
        px_jnode *attr = binary(p, PX_N_ATTR, 0, node, node);
        if (attr) attr->attribute = token->text;
        if (attr) attr->line = token->line;
        return attr;
    }
    if (token->kind != PX_T_INTEGER) return px_jparse_expected(p, "a name or number after '.'");
    p->at++;
    return binary(p, PX_N_ITEM, 0, node, constant(p, integer_of(token->text)));
}

/* One part of a subscript: an expression or a slice. */
static px_jnode *parse_subscript_part(px_jparser *p)
{
    px_jnode *parts[3] = {0};
    int count = 0, colons = 0;
    px_jnode *slice = px_jparse_node(p, PX_N_SLICE);
    while (slice && !px_jparse_is_op(p, "]") && !px_jparse_is_op(p, ",")) {
        if (px_jparse_take_op(p, ":")) {
            if (++colons > 2) return px_jparse_expected(p, "']'");
            count = colons;
        } else {
            if (parts[count]) return px_jparse_expected(p, "']'");
            parts[count] = px_jparse_expression(p, true);
            if (!parts[count]) return NULL;
        }
    }
    if (!slice) return NULL;
    if (colons == 0) return parts[0] ? parts[0] : px_jparse_expected(p, "an expression");
    slice->a = parts[0];
    slice->b = parts[1];
    slice->c = parts[2];
    return slice;
}

static px_jnode *parse_subscript(px_jparser *p, px_jnode *node)
{
    px_jnode *tuple = px_jparse_node(p, PX_N_TUPLE);
    while (tuple) {
        if (!px_jparse_add(p, &tuple->items, parse_subscript_part(p))) return NULL;
        if (!px_jparse_take_op(p, ",")) break;
    }
    if (!tuple || !px_jparse_expect_op(p, "]")) return NULL;
    return binary(p, PX_N_ITEM, 0, node, tuple->items.count == 1 ? tuple->items.data[0] : tuple);
}

static bool add_keyword(px_jparser *p, px_jnode *call, px_jkeyword keyword)
{
    enum { KEYWORDS_STEP = 8 };
    if (!keyword.value) return false;
    if (call->keyword_count % KEYWORDS_STEP == 0) {
        px_jkeyword *grown =
            px_jparse_alloc(p, (call->keyword_count + KEYWORDS_STEP) * sizeof *grown);
        if (!grown) return false;
        if (call->keyword_count) memcpy(grown, call->keywords, call->keyword_count * sizeof *grown);
        call->keywords = grown;
    }
    call->keywords[call->keyword_count++] = keyword;
    return true;
}

static bool parse_argument(px_jparser *p, px_jnode *call)
{
    if (px_jparse_take_op(p, "**"))
        return (call->spread_dict = px_jparse_expression(p, true)) != NULL;
    if (px_jparse_take_op(p, "*"))
        return (call->spread_list = px_jparse_expression(p, true)) != NULL;
    bool named = p->at->kind == PX_T_NAME && p->at[1].kind == PX_T_OPERATOR &&
                 p->at[1].text.length == 1 && p->at[1].text.data[0] == '=';
    if (!named) {
        if (call->keyword_count || call->spread_dict) {
            px_jparse_fail(p, "a positional argument follows a named one");
            return false;
        }
        return px_jparse_add(p, &call->items, px_jparse_expression(p, true));
    }
    px_jkeyword keyword = {.text = p->at->text};
    if (!px_jparse_number_name(p, keyword.text, &keyword.name)) return false;
    p->at += 2;
    keyword.value = px_jparse_expression(p, true);
    return add_keyword(p, call, keyword);
}

/* "(a, b=c)" into `call`; the bracket is here. */
static bool parse_arguments(px_jparser *p, px_jnode *call)
{
    p->at++;
    bool first = true;
    while (!px_jparse_take_op(p, ")")) {
        if (!first && !px_jparse_expect_op(p, ",")) return false;
        if (px_jparse_take_op(p, ")")) break;
        if (!parse_argument(p, call)) return false;
        first = false;
    }
    return true;
}

static px_jnode *parse_call(px_jparser *p, px_jnode *node)
{
    px_jnode *call = binary(p, PX_N_CALL, 0, node, node);
    if (call) call->line = p->at->line;
    return call && parse_arguments(p, call) ? call : NULL;
}

/* Expressions after a value: ".x", "[y]", "(z)", then "|filter" and "is test". */
static px_jnode *parse_postfix(px_jparser *p, px_jnode *node)
{
    while (node) {
        if (px_jparse_take_op(p, "."))
            node = parse_attribute(p, node);
        else if (px_jparse_take_op(p, "["))
            node = parse_subscript(p, node);
        else if (px_jparse_is_op(p, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* The name of a filter or test, dots included. */
static bool parse_dotted(px_jparser *p, px_slice *out)
{
    if (p->at->kind != PX_T_NAME) {
        px_jparse_expected(p, "the name of a filter or test");
        return false;
    }
    *out = p->at->text;
    p->at++;
    while (px_jparse_is_op(p, ".") && p->at[1].kind == PX_T_NAME) {
        out->length = (size_t)(p->at[1].text.data + p->at[1].text.length - out->data);
        p->at += 2;
    }
    return true;
}

static px_jnode *parse_filter(px_jparser *p, px_jnode *node)
{
    px_jnode *filter = px_jparse_node(p, PX_N_FILTER);
    if (!filter || !parse_dotted(p, &filter->text)) return NULL;
    filter->a = node;
    filter->function = px_jinja_filter(filter->text);
    if (px_jparse_is_op(p, "(") && !parse_arguments(p, filter)) return NULL;
    return filter;
}

/* "is divisibleby 3" takes one value without brackets. */
static bool at_bare_argument(const px_jparser *p)
{
    if (p->at->kind == PX_T_STRING || p->at->kind == PX_T_INTEGER || p->at->kind == PX_T_REAL)
        return true;
    if (p->at->kind == PX_T_NAME)
        return !px_jparse_is_word(p, "else") && !px_jparse_is_word(p, "or") &&
               !px_jparse_is_word(p, "and");
    return px_jparse_is_op(p, "[") || px_jparse_is_op(p, "{");
}

static px_jnode *parse_test(px_jparser *p, px_jnode *node)
{
    px_jnode *test = px_jparse_node(p, PX_N_TEST);
    if (!test) return NULL;
    test->a = node;
    test->flag = px_jparse_take_word(p, "not");
    if (!parse_dotted(p, &test->text)) return NULL;
    test->function = px_jinja_test(test->text);
    if (px_jparse_is_op(p, "(")) return parse_arguments(p, test) ? test : NULL;
    if (!at_bare_argument(p)) return test;
    px_jnode *argument = parse_postfix(p, parse_primary(p));
    return px_jparse_add(p, &test->items, argument) ? test : NULL;
}

px_jnode *px_jparse_filters(px_jparser *p, px_jnode *node, bool starts_inside)
{
    if (starts_inside && !(node = parse_filter(p, node))) return NULL;
    for (;;) {
        if (px_jparse_take_op(p, "|"))
            node = parse_filter(p, node);
        else if (px_jparse_take_word(p, "is"))
            node = parse_test(p, node);
        else if (node && px_jparse_is_op(p, "("))
            node = parse_call(p, node);
        else
            return node;
        if (!node) return NULL;
    }
}

/* --- operators --- */

static px_jnode *parse_unary(px_jparser *p, bool with_filters)
{
    if (!px_jparse_enter(p)) return NULL;
    px_jnode *node;
    bool minus = px_jparse_is_op(p, "-");
    if (minus || px_jparse_is_op(p, "+")) {
        node = px_jparse_node(p, PX_N_UNARY);
        p->at++;
        if (node) {
            node->op = minus ? PX_OP_SUB : PX_OP_ADD;
            node->a = parse_unary(p, false);
            if (!node->a) node = NULL;
        }
    } else {
        node = parse_primary(p);
    }
    node = parse_postfix(p, node);
    if (node && with_filters) node = px_jparse_filters(p, node, false);
    p->depth--;
    return node;
}

static px_jnode *parse_power(px_jparser *p)
{
    px_jnode *node = parse_unary(p, true);
    while (node && px_jparse_take_op(p, "**"))
        node = binary(p, PX_N_BINARY, PX_OP_POW, node, parse_unary(p, true));
    return node;
}

static px_jnode *parse_product(px_jparser *p)
{
    px_jnode *node = parse_power(p);
    while (node) {
        px_jop op;
        if (px_jparse_take_op(p, "*"))
            op = PX_OP_MUL;
        else if (px_jparse_take_op(p, "/"))
            op = PX_OP_DIV;
        else if (px_jparse_take_op(p, "//"))
            op = PX_OP_FLOORDIV;
        else if (px_jparse_take_op(p, "%"))
            op = PX_OP_MOD;
        else
            break;
        node = binary(p, PX_N_BINARY, op, node, parse_power(p));
    }
    return node;
}

static px_jnode *parse_concat(px_jparser *p)
{
    px_jnode *first = parse_product(p);
    if (!first || !px_jparse_is_op(p, "~")) return first;
    px_jnode *node = px_jparse_node(p, PX_N_CONCAT);
    if (!node || !px_jparse_add(p, &node->items, first)) return NULL;
    while (px_jparse_take_op(p, "~"))
        if (!px_jparse_add(p, &node->items, parse_product(p))) return NULL;
    return node;
}

static px_jnode *parse_sum(px_jparser *p)
{
    px_jnode *node = parse_concat(p);
    while (node && (px_jparse_is_op(p, "+") || px_jparse_is_op(p, "-"))) {
        px_jop op = px_jparse_is_op(p, "+") ? PX_OP_ADD : PX_OP_SUB;
        p->at++;
        node = binary(p, PX_N_BINARY, op, node, parse_concat(p));
    }
    return node;
}

static bool take_comparison(px_jparser *p, px_jop *out)
{
    static const struct {
        const char *text;
        px_jop op;
    } operators[] = {{"==", PX_OP_EQ}, {"!=", PX_OP_NE}, {"<=", PX_OP_LE}, {">=", PX_OP_GE},
        {"<", PX_OP_LT}, {">", PX_OP_GT}};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        *out = operators[i].op;
        if (px_jparse_take_op(p, operators[i].text)) return true;
    }
    *out = PX_OP_IN;
    if (px_jparse_take_word(p, "in")) return true;
    bool not_in = px_jparse_is_word(p, "not") && p->at[1].kind == PX_T_NAME &&
                  p->at[1].text.length == 2 && memcmp(p->at[1].text.data, "in", 2) == 0;
    *out = PX_OP_NOT_IN;
    if (not_in) p->at += 2;
    return not_in;
}

static px_jnode *parse_comparison(px_jparser *p)
{
    enum { CHAIN_MAX = 64 };
    px_jnode *first = parse_sum(p);
    px_jop op;
    if (!first || !take_comparison(p, &op)) return first;
    px_jnode *node = px_jparse_node(p, PX_N_COMPARE);
    if (!node || !(node->ops = px_jparse_alloc(p, CHAIN_MAX * sizeof *node->ops))) return NULL;
    node->a = first;
    node->line = first->line;
    do {
        if (node->items.count == CHAIN_MAX)
            return px_jparse_fail(p, "more than %d comparisons in a chain", CHAIN_MAX);
        node->ops[node->items.count] = op;
        if (!px_jparse_add(p, &node->items, parse_sum(p))) return NULL;
    } while (take_comparison(p, &op));
    return node;
}

static px_jnode *parse_not(px_jparser *p)
{
    if (!px_jparse_is_word(p, "not")) return parse_comparison(p);
    if (!px_jparse_enter(p)) return NULL;
    px_jnode *node = px_jparse_node(p, PX_N_NOT);
    p->at++;
    px_jnode *operand = parse_not(p);
    p->depth--;
    if (!node || !operand) return NULL;
    node->a = operand;
    return node;
}

static px_jnode *parse_and(px_jparser *p)
{
    px_jnode *node = parse_not(p);
    while (node && px_jparse_take_word(p, "and")) node = binary(p, PX_N_AND, 0, node, parse_not(p));
    return node;
}

static px_jnode *parse_or(px_jparser *p)
{
    px_jnode *node = parse_and(p);
    while (node && px_jparse_take_word(p, "or")) node = binary(p, PX_N_OR, 0, node, parse_and(p));
    return node;
}

px_jnode *px_jparse_expression(px_jparser *p, bool conditional)
{
    if (!px_jparse_enter(p)) return NULL;
    px_jnode *node = parse_or(p);
    while (node && conditional && px_jparse_take_word(p, "if")) {
        px_jnode *condition = parse_or(p), *other = NULL;
        bool has_else = condition && px_jparse_take_word(p, "else");
        if (has_else) other = px_jparse_expression(p, true);
        if (!condition || (has_else && !other)) {
            node = NULL;
            break;
        }
        node = binary(p, PX_N_COND, 0, node, condition);
        if (node) node->c = other;
    }
    p->depth--;
    return node;
}

/* --- assignment --- */

static px_jnode *parse_target_name(px_jparser *p, bool with_namespace)
{
    if (p->at->kind != PX_T_NAME) return px_jparse_expected(p, "a name to assign to");
    px_jnode *node = name_node(p);
    if (!node || !with_namespace || !px_jparse_take_op(p, ".")) return node;
    if (p->at->kind != PX_T_NAME) return px_jparse_expected(p, "an attribute's name");
    node->kind = PX_N_NSREF;
    node->attribute = p->at->text;
    p->at++;
    return node;
}

static px_jnode *parse_target_item(px_jparser *p, bool with_namespace)
{
    if (!px_jparse_take_op(p, "(")) return parse_target_name(p, with_namespace);
    if (!px_jparse_enter(p)) return NULL;
    px_jnode *node = px_jparse_target(p, with_namespace);
    p->depth--;
    return node && px_jparse_expect_op(p, ")") ? node : NULL;
}

px_jnode *px_jparse_target(px_jparser *p, bool with_namespace)
{
    px_jnode *first = parse_target_item(p, with_namespace);
    if (!first || !px_jparse_is_op(p, ",")) return first;
    px_jnode *tuple = px_jparse_node(p, PX_N_TUPLE);
    if (!tuple || !px_jparse_add(p, &tuple->items, first)) return NULL;
    while (px_jparse_take_op(p, ",")) {
        if (p->at->kind != PX_T_NAME && !px_jparse_is_op(p, "(")) break;
        if (!px_jparse_add(p, &tuple->items, parse_target_item(p, with_namespace))) return NULL;
    }
    return tuple;
}
