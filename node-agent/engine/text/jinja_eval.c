/* jinja_eval.c - see jinja_eval.h: bounds, scopes, and statements. Expressions: jinja_expr.c. */
#include "engine/text/jinja_eval.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/text/jinja_call.h"
#include "engine/text/jinja_lex.h"

enum { DEPTH_MAX = 1200 };

/* --- bounds and errors --- */

bool px_jinja_fail(px_jinja *j, const char *format, ...)
{
    if (px_jinja_failed(j)) return false;
    char why[220];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    j->status = px_fail(PX_INVALID_ARGUMENT, PX_JERROR "%s", j->line, why);
    return false;
}

bool px_jinja_fail_undefined(px_jinja *j, px_jv undefined)
{
    static const px_jv nothing = {.kind = PX_J_NONE};
    px_jv owner = nothing;
    owner.kind = undefined.owner;
    int length = undefined.text.length > 80 ? 80 : (int)undefined.text.length;
    const char *name = undefined.text.data ? undefined.text.data : "";
    switch ((px_jmissing)undefined.detail) {
    case PX_J_NO_NAME: return px_jinja_fail(j, "'%.*s' is undefined", length, name);
    case PX_J_NO_ARGUMENT:
        return px_jinja_fail(j, "parameter '%.*s' was not provided", length, name);
    case PX_J_UNSAFE:
        return px_jinja_fail(j, "access to attribute '%.*s' of '%s' object is unsafe.", length,
            name, px_jtype_name(owner));
    case PX_J_NO_ATTRIBUTE: break;
    }
    return px_jinja_fail(
        j, "'%s object' has no attribute '%.*s'", px_jtype_name(owner), length, name);
}

void *px_jinja_alloc(px_jinja *j, size_t bytes)
{
    void *memory = px_arena_alloc(&j->arena, bytes);
    if (!memory)
        px_jinja_fail(j, "the template takes more than %zu bytes of memory", j->arena.limit_bytes);
    return memory;
}

bool px_jinja_spend(px_jinja *j, uint64_t steps)
{
    if (steps > j->steps_left) {
        j->steps_left = 0;
        return px_jinja_fail(j, "the template takes too many steps; does it loop without end?");
    }
    j->steps_left -= steps;
    return true;
}

bool px_jinja_enter(px_jinja *j)
{
    if (j->depth >= DEPTH_MAX)
        return px_jinja_fail(j, "the template nests or recurses deeper than %d levels", DEPTH_MAX);
    j->depth++;
    return true;
}

/* --- scopes --- */

px_jscope *px_jinja_push_scope(px_jinja *j, px_jscope *parent)
{
    px_jscope *scope = px_jinja_alloc(j, sizeof *scope);
    if (!scope) return NULL;
    scope->parent = parent;
    j->scope = scope;
    return scope;
}

bool px_jinja_set(px_jinja *j, uint32_t name, px_jv value)
{
    for (px_jvar *var = j->scope->vars; var; var = var->next) {
        if (var->name != name) continue;
        var->value = value;
        return true;
    }
    px_jvar *var = px_jinja_alloc(j, sizeof *var);
    if (!var) return false;
    *var = (px_jvar){.name = name, .value = value, .next = j->scope->vars};
    j->scope->vars = var;
    return true;
}

static bool assign_attribute(px_jinja *j, const px_jnode *target, px_jv value)
{
    px_jnode name = {
        .kind = PX_N_NAME, .name = target->name, .text = target->text, .line = target->line};
    px_jv space;
    if (!px_jinja_eval(j, &name, &space)) return false;
    if (space.kind != PX_J_NAMESPACE)
        return px_jinja_fail(j, "cannot assign attribute on non-namespace object");
    return px_jdict_set(j, space, px_jstr(target->attribute), value);
}

static bool assign(px_jinja *j, const px_jnode *target, px_jv value)
{
    if (target->kind == PX_N_NAME) return px_jinja_set(j, target->name, value);
    if (target->kind == PX_N_NSREF) return assign_attribute(j, target, value);
    px_jv list;
    if (!px_jiterate(j, value, &list)) return false;
    size_t want = target->items.count, got = list.list->count;
    if (got < want)
        return px_jinja_fail(j, "not enough values to unpack (expected %zu, got %zu)", want, got);
    if (got > want) return px_jinja_fail(j, "too many values to unpack (expected %zu)", want);
    for (size_t i = 0; i < want; i++)
        if (!assign(j, target->items.data[i], list.list->items[i])) return false;
    return true;
}

/* --- loops --- */

/* The items that pass the loop's condition, which sees the target in a scope of its own. */
static bool filter_items(px_jinja *j, const px_jnode *node, px_jscope *outer, px_jv *list)
{
    px_jv kept;
    if (!px_jlist_new(j, 0, &kept)) return false;
    for (size_t i = 0; i < list->list->count; i++) {
        px_jv item = list->list->items[i], passes;
        if (!px_jinja_push_scope(j, outer) || !assign(j, node->a, item) ||
            !px_jinja_eval(j, node->c, &passes))
            return false;
        if (px_jtrue(passes) && !px_jlist_add(j, kept, item)) return false;
    }
    *list = kept;
    return true;
}

static bool loop_body(px_jinja *j, const px_jnode *node, px_jloop *loop)
{
    px_jscope *scope = px_jinja_push_scope(j, loop->outer);
    if (!scope) return false;
    if (j->name_loop != UINT32_MAX &&
        !px_jinja_set(j, j->name_loop, (px_jv){.kind = PX_J_LOOP, .loop = loop}))
        return false;
    return assign(j, node->a, loop->list->items[loop->index]) && px_jinja_exec(j, &node->body);
}

static bool run_loop(px_jinja *j, const px_jnode *node, px_jv list, int depth0)
{
    px_jscope *outer = j->scope;
    if (node->c && !filter_items(j, node, outer, &list)) return false;
    j->scope = outer;
    if (list.list->count == 0) return px_jinja_exec(j, &node->other);
    px_jloop *loop = px_jinja_alloc(j, sizeof *loop);
    if (!loop) return false;
    *loop = (px_jloop){.node = node, .list = list.list, .depth0 = depth0, .outer = outer};
    for (; loop->index < list.list->count; loop->index++) {
        if (!px_jinja_spend(j, 1) || !loop_body(j, node, loop)) return false;
        px_jflow flow = j->flow;
        j->flow = PX_FLOW_NEXT;
        if (flow == PX_FLOW_BREAK) break;
    }
    j->scope = outer;
    return true;
}

static bool exec_for(px_jinja *j, const px_jnode *node)
{
    px_jv value, list;
    if (!px_jinja_eval(j, node->b, &value) || !px_jiterate(j, value, &list)) return false;
    return run_loop(j, node, list, 0);
}

bool px_jinja_recurse(px_jinja *j, const px_jloop *loop, px_jv value, px_jv *out)
{
    if (!loop->node->flag)
        return px_jinja_fail(
            j, "The loop must have the 'recursive' marker to be called recursively.");
    px_jv list;
    if (!px_jiterate(j, value, &list) || !px_jinja_enter(j)) return false;
    px_buf text, *outer_out = j->out;
    px_jscope *scope = j->scope;
    px_jbuf_init(j, &text);
    j->out = &text;
    j->scope = loop->outer;
    bool ok = run_loop(j, loop->node, list, loop->depth0 + 1);
    j->scope = scope;
    j->out = outer_out;
    px_jinja_leave(j);
    return px_jtake(j, &text, out) && ok;
}

/* --- other statements --- */

bool px_jinja_capture(px_jinja *j, const px_jnodes *body, px_jv *out)
{
    px_buf text, *outer = j->out;
    px_jbuf_init(j, &text);
    j->out = &text;
    bool ok = px_jinja_exec(j, body);
    j->out = outer;
    return px_jtake(j, &text, out) && ok;
}

/* As px_jinja_capture(), in a scope inside the current one. */
static bool capture_inside(px_jinja *j, const px_jnodes *body, px_jv *out)
{
    px_jscope *outer = j->scope;
    bool ok = px_jinja_push_scope(j, outer) && px_jinja_capture(j, body, out);
    j->scope = outer;
    return ok;
}

/* Filters of a block: the innermost one's value is missing; it is the block's text. */
static bool apply_filters(px_jinja *j, const px_jnode *filter, px_jv text, px_jv *out)
{
    px_jnode given = {.kind = PX_N_CONST, .value = text, .line = filter->line};
    px_jnode copies[16];
    size_t count = 0;
    for (const px_jnode *at = filter; at; at = at->a) {
        if (count == sizeof copies / sizeof *copies)
            return px_jinja_fail(j, "more than %zu filters on a block", count);
        copies[count++] = *at;
    }
    for (size_t i = 0; i < count; i++) copies[i].a = i + 1 < count ? &copies[i + 1] : &given;
    return px_jinja_eval(j, &copies[0], out);
}

static bool exec_set_block(px_jinja *j, const px_jnode *node)
{
    px_jv text;
    if (!capture_inside(j, &node->body, &text)) return false;
    if (node->b && !apply_filters(j, node->b, text, &text)) return false;
    return assign(j, node->a, text);
}

static bool exec_filter_block(px_jinja *j, const px_jnode *node)
{
    px_jv text;
    if (!capture_inside(j, &node->body, &text) || !apply_filters(j, node->b, text, &text))
        return false;
    if (text.kind != PX_J_STR)
        return px_jinja_fail(
            j, "the filters of a block must make a str, not '%s'", px_jtype_name(text));
    px_jprint(j, text, j->out);
    return true;
}

static bool make_macro(px_jinja *j, const px_jnode *node, px_jv *out)
{
    px_jmacro *macro = px_jinja_alloc(j, sizeof *macro);
    if (!macro) return false;
    *macro = (px_jmacro){.node = node, .scope = j->scope};
    *out = (px_jv){.kind = PX_J_MACRO, .macro = macro};
    return true;
}

/* The call gets one more named argument: "caller", a macro of the block's body. */
static bool exec_call_block(px_jinja *j, const px_jnode *node)
{
    px_jv caller, text;
    if (!make_macro(j, node, &caller)) return false;
    px_jnode value = {.kind = PX_N_CONST, .value = caller, .line = node->line};
    px_jnode call = *node->a;
    px_jkeyword *keywords = px_jinja_alloc(j, (call.keyword_count + 1) * sizeof *keywords);
    if (!keywords) return false;
    if (call.keyword_count) memcpy(keywords, call.keywords, call.keyword_count * sizeof *keywords);
    keywords[call.keyword_count++] = (px_jkeyword){.text = {"caller", 6}, .value = &value};
    call.keywords = keywords;
    if (!px_jinja_eval(j, &call, &text)) return false;
    px_jprint(j, text, j->out);
    return true;
}

/* All values are evaluated outside, then bound inside. */
static bool exec_with(px_jinja *j, const px_jnode *node)
{
    px_jscope *outer = j->scope;
    px_jv values;
    if (!px_jlist_new(j, node->other.count, &values)) return false;
    for (size_t i = 0; i < node->other.count; i++) {
        px_jv value;
        if (!px_jinja_eval(j, node->other.data[i], &value) || !px_jlist_add(j, values, value))
            return false;
    }
    bool ok = px_jinja_push_scope(j, outer) != NULL;
    for (size_t i = 0; ok && i < node->items.count; i++)
        ok = assign(j, node->items.data[i], values.list->items[i]);
    ok = ok && px_jinja_exec(j, &node->body);
    j->scope = outer;
    return ok;
}

static bool exec_scope(px_jinja *j, const px_jnode *node)
{
    px_jscope *outer = j->scope;
    bool ok = px_jinja_push_scope(j, outer) && px_jinja_exec(j, &node->body);
    j->scope = outer;
    return ok;
}

static bool exec_one(px_jinja *j, const px_jnode *node)
{
    px_jv value;
    switch (node->kind) {
    case PX_N_TEXT: px_buf_append(j->out, node->text.data, node->text.length); return true;
    case PX_N_PRINT:
        if (!px_jinja_eval(j, node->a, &value)) return false;
        px_jprint(j, value, j->out);
        return true;
    case PX_N_IF:
        if (!px_jinja_eval(j, node->a, &value)) return false;
        return px_jinja_exec(j, px_jtrue(value) ? &node->body : &node->other);
    case PX_N_FOR: return exec_for(j, node);
    case PX_N_SET: return px_jinja_eval(j, node->b, &value) && assign(j, node->a, value);
    case PX_N_SET_BLOCK: return exec_set_block(j, node);
    case PX_N_MACRO: return make_macro(j, node, &value) && px_jinja_set(j, node->name, value);
    case PX_N_CALL_BLOCK: return exec_call_block(j, node);
    case PX_N_FILTER_BLOCK: return exec_filter_block(j, node);
    case PX_N_WITH: return exec_with(j, node);
    case PX_N_SCOPE: return exec_scope(j, node);
    case PX_N_BREAK: j->flow = PX_FLOW_BREAK; return true;
    case PX_N_CONTINUE: j->flow = PX_FLOW_CONTINUE; return true;
    default: return px_jinja_fail(j, "an expression stands where a statement should");
    }
}

bool px_jinja_exec(px_jinja *j, const px_jnodes *body)
{
    if (!px_jinja_enter(j)) return false;
    for (size_t i = 0; i < body->count && j->flow == PX_FLOW_NEXT; i++) {
        j->line = body->data[i]->line;
        if (!px_jinja_spend(j, 1) || !exec_one(j, body->data[i]) || px_jinja_failed(j))
            return false;
        if (j->out->overflowed)
            return px_jinja_fail(j, "the output has more than %zu bytes", j->out->max);
    }
    px_jinja_leave(j);
    return true;
}
