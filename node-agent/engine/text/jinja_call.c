/* jinja_call.c - see jinja_call.h. */
#include "engine/text/jinja_call.h"

#include <string.h>

#include "engine/text/unicode.h"

static bool same_text(px_slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

const px_jfunction *px_jinja_find(const px_jfunction *table, size_t count, px_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (same_text(name, table[i].name)) return &table[i];
    return NULL;
}

bool px_jinja_callable(px_jv value)
{
    switch ((px_jkind)value.kind) {
    case PX_J_FUNCTION:
    case PX_J_METHOD:
    case PX_J_MACRO:
    case PX_J_LOOP:
    case PX_J_JOINER:
    case PX_J_UNDEFINED: return true; /* the class has __call__ */
    default: return false;
    }
}

/* --- C functions --- */

static int param_index(const px_jfunction *function, px_slice name)
{
    for (int i = 0; i < PX_JPARAMS_MAX && function->params[i]; i++)
        if (same_text(name, function->params[i])) return i;
    return -1;
}

static bool bind(px_jinja *j, const px_jfunction *function, const px_jargs *args, px_jcall *call)
{
    size_t params = 0;
    while (params < PX_JPARAMS_MAX && function->params[params]) params++;
    if (args->count > params)
        return px_jinja_fail(
            j, "%s() takes at most %zu arguments (%zu given)", function->name, params, args->count);
    for (size_t i = 0; i < args->count; i++) call->a[i] = args->items[i];
    for (size_t i = 0; i < args->named_count; i++) {
        int index = param_index(function, args->named[i].text);
        if (index < 0)
            return px_jinja_fail(j, "%s() got an unexpected keyword argument '%.*s'",
                function->name, (int)args->named[i].text.length, args->named[i].text.data);
        if (px_jgiven(call->a[index]))
            return px_jinja_fail(j, "%s() got multiple values for argument '%s'", function->name,
                function->params[index]);
        call->a[index] = args->named[i].value;
    }
    for (int i = 0; i < function->required; i++)
        if (!px_jgiven(call->a[i]))
            return px_jinja_fail(
                j, "%s() is missing the argument '%s'", function->name, function->params[i]);
    return true;
}

bool px_jinja_call_function(
    px_jinja *j, const px_jfunction *function, px_jv self, const px_jargs *args, px_jv *out)
{
    px_jcall call = {.self = self, .args = args};
    if (!function->any && !bind(j, function, args, &call)) return false;
    if (!px_jinja_spend(j, 1) || !px_jinja_enter(j)) return false;
    bool ok = function->call(j, &call, out);
    px_jinja_leave(j);
    return ok && !px_jinja_failed(j);
}

/* --- macros --- */

/* Positional arguments beyond the parameters are varargs, unknown names are kwargs, where the body
 * uses them; otherwise they are errors. */
typedef struct macro_extras {
    px_jv varargs, kwargs, caller;
} macro_extras;

static bool bind_named(
    px_jinja *j, const px_jnode *macro, const px_jnamed *named, macro_extras *extras)
{
    for (size_t p = 0; p < macro->param_count; p++) {
        px_slice param = macro->param_texts[p];
        if (param.length != named->text.length ||
            memcmp(param.data, named->text.data, param.length) != 0)
            continue;
        for (const px_jvar *var = j->scope->vars; var; var = var->next)
            if (var->name == macro->params[p])
                return px_jinja_fail(j, "macro '%.*s' got multiple values for argument '%.*s'",
                    (int)macro->text.length, macro->text.data, (int)param.length, param.data);
        return px_jinja_set(j, macro->params[p], named->value);
    }
    if (same_text(named->text, "caller")) {
        extras->caller = named->value;
        return true;
    }
    if (!macro->uses_kwargs)
        return px_jinja_fail(j, "macro '%.*s' takes no keyword argument '%.*s'",
            (int)macro->text.length, macro->text.data, (int)named->text.length, named->text.data);
    return px_jdict_set(j, extras->kwargs, px_jstr(named->text), named->value);
}

static bool bind_defaults(px_jinja *j, const px_jnode *macro)
{
    size_t first_default = macro->param_count - macro->items.count;
    for (size_t p = 0; p < macro->param_count; p++) {
        const px_jvar *var = j->scope->vars;
        while (var && var->name != macro->params[p]) var = var->next;
        if (var) continue;
        px_jv value = px_jundefined(PX_J_NO_ARGUMENT, macro->param_texts[p], PX_J_NONE);
        if (p >= first_default && !px_jinja_eval(j, macro->items.data[p - first_default], &value))
            return false;
        if (!px_jinja_set(j, macro->params[p], value)) return false;
    }
    return true;
}

static bool bind_macro(px_jinja *j, const px_jnode *macro, const px_jargs *args)
{
    macro_extras extras = {
        .caller = px_jundefined(PX_J_NO_NAME, (px_slice){"caller", 6}, PX_J_NONE)};
    if (!px_jlist_new(j, 0, &extras.varargs) || !px_jdict_new(j, &extras.kwargs)) return false;
    for (size_t i = 0; i < args->count; i++) {
        bool known = i < macro->param_count;
        if (!known && !macro->uses_varargs)
            return px_jinja_fail(j, "macro '%.*s' takes not more than %zu argument(s)",
                (int)macro->text.length, macro->text.data, macro->param_count);
        if (!(known ? px_jinja_set(j, macro->params[i], args->items[i])
                    : px_jlist_add(j, extras.varargs, args->items[i])))
            return false;
    }
    for (size_t i = 0; i < args->named_count; i++)
        if (!bind_named(j, macro, &args->named[i], &extras)) return false;
    extras.varargs.kind = PX_J_TUPLE;
    return (!macro->uses_varargs || px_jinja_set(j, j->name_varargs, extras.varargs)) &&
           (!macro->uses_kwargs || px_jinja_set(j, j->name_kwargs, extras.kwargs)) &&
           (!macro->uses_caller || px_jinja_set(j, j->name_caller, extras.caller)) &&
           bind_defaults(j, macro);
}

static bool call_macro(px_jinja *j, const px_jmacro *macro, const px_jargs *args, px_jv *out)
{
    px_jscope *outer = j->scope;
    int line = j->line;
    bool ok = px_jinja_push_scope(j, macro->scope) && bind_macro(j, macro->node, args) &&
              px_jinja_capture(j, &macro->node->body, out);
    j->scope = outer;
    if (ok) j->line = line;
    return ok;
}

/* --- everything callable --- */

static bool call_loop(px_jinja *j, const px_jloop *loop, const px_jargs *args, px_jv *out)
{
    if (args->count != 1) return px_jinja_fail(j, "loop() takes one list");
    return px_jinja_recurse(j, loop, args->items[0], out);
}

/* joiner(): nothing the first time, then the separator. */
static bool call_joiner(px_jinja *j, px_jv joiner, px_jv *out)
{
    px_jv *used = &joiner.list->items[1];
    *out = px_jtrue(*used) ? joiner.list->items[0] : px_jtext("");
    *used = px_jbool(true);
    return true;
}

static bool call_method(px_jinja *j, const px_jmethod *method, const px_jargs *args, px_jv *out)
{
    px_jargs given = *args;
    bool markup = px_jis_markup(method->self);
    if (markup && !px_jmarkup_arguments(j, method->function->name, &given)) return false;
    if (!px_jinja_call_function(j, method->function, method->self, &given, out)) return false;
    if (markup) px_jmarkup_result(out);
    return true;
}

bool px_jinja_call(px_jinja *j, px_jv callee, const px_jargs *args, px_jv *out)
{
    static const px_jv none = {.kind = PX_J_MISSING};
    switch ((px_jkind)callee.kind) {
    case PX_J_FUNCTION: return px_jinja_call_function(j, callee.function, none, args, out);
    case PX_J_METHOD: return call_method(j, callee.method, args, out);
    case PX_J_MACRO: return call_macro(j, callee.macro, args, out);
    case PX_J_LOOP: return call_loop(j, callee.loop, args, out);
    case PX_J_JOINER: return call_joiner(j, callee, out);
    case PX_J_UNDEFINED: return px_jinja_fail_undefined(j, callee);
    default: return px_jinja_fail(j, "'%s' object is not callable", px_jtype_name(callee));
    }
}

/* --- arguments --- */

bool px_jarg_int(px_jinja *j, px_jv value, int64_t default_value, int64_t *out)
{
    *out = default_value;
    if (!px_jgiven(value) || value.kind == PX_J_NONE) return true;
    return px_jarg_need_int(j, value, out);
}

bool px_jarg_need_int(px_jinja *j, px_jv value, int64_t *out)
{
    if (value.kind != PX_J_INT && value.kind != PX_J_BOOL)
        return px_jinja_fail(
            j, "'%s' object cannot be interpreted as an integer", px_jtype_name(value));
    *out = px_jwhole(value);
    return true;
}

bool px_jarg_text(px_jinja *j, px_jv value, const char *default_text, px_slice *out)
{
    *out = (px_slice){default_text, default_text ? strlen(default_text) : 0};
    if (!px_jgiven(value)) return true;
    return px_jto_str(j, value, out);
}

void px_jbuf_init(px_jinja *j, px_buf *buf)
{
    px_buf_init(buf, j->arena.limit_bytes);
}

bool px_jtake(px_jinja *j, px_buf *buf, px_jv *out)
{
    bool ok = !buf->overflowed && px_jinja_spend(j, buf->length / 64) &&
              px_jcopy(j, (px_slice){px_buf_text(buf), buf->length}, out);
    if (buf->overflowed) px_jinja_fail(j, "a text has more than %zu bytes", buf->max);
    px_buf_done(buf);
    return ok;
}
