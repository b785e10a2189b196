/* jinja_markup.c - safe markup: a str that |safe or |escape made. What is joined to it is escaped,
 * and what its methods make is markup again. Templates meet it when they write "..."|safe + x.
 * Source: MarkupSafe 3, class Markup.
 */
#include <string.h>

#include "engine/text/jinja_call.h"

static void write_escaped(px_slice text, px_buf *out)
{
    for (size_t i = 0; i < text.length; i++) {
        switch (text.data[i]) {
        case '&': px_buf_puts(out, "&amp;"); break;
        case '<': px_buf_puts(out, "&lt;"); break;
        case '>': px_buf_puts(out, "&gt;"); break;
        case '"': px_buf_puts(out, "&#34;"); break;
        case '\'': px_buf_puts(out, "&#39;"); break;
        default: px_buf_putc(out, text.data[i]);
        }
    }
}

bool px_jmarkup_force(px_jinja *j, px_jv value, px_jv *out)
{
    px_slice text;
    px_buf buf;
    if (!px_jto_str(j, value, &text)) return false;
    px_jbuf_init(j, &buf);
    write_escaped(text, &buf);
    bool ok = px_jtake(j, &buf, out);
    if (ok) out->detail = 1;
    return ok;
}

bool px_jmarkup_escape(px_jinja *j, px_jv value, px_jv *out)
{
    *out = value;
    return px_jis_markup(value) || px_jmarkup_force(j, value, out);
}

/* Numbers and the like print without characters to escape, so only texts and lists of them do. */
static bool escape_operand(px_jinja *j, px_jv value, px_jv *out)
{
    *out = value;
    if (value.kind == PX_J_STR) return px_jmarkup_escape(j, value, out);
    if (value.kind != PX_J_TUPLE) return true;
    if (!px_jlist_new(j, value.list->count, out)) return false;
    for (size_t i = 0; i < value.list->count; i++) {
        px_jv item;
        if (!escape_operand(j, value.list->items[i], &item) || !px_jlist_add(j, *out, item))
            return false;
    }
    out->kind = PX_J_TUPLE;
    return true;
}

bool px_jmarkup_operands(px_jinja *j, px_jop op, px_jv *a, px_jv *b)
{
    if (op == PX_OP_ADD && a->kind == PX_J_STR && b->kind == PX_J_STR)
        return px_jmarkup_escape(j, *a, a) && px_jmarkup_escape(j, *b, b);
    return op != PX_OP_MOD || !px_jis_markup(*a) || escape_operand(j, *b, b);
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

bool px_jmarkup_arguments(px_jinja *j, const char *method, px_jargs *args)
{
    static const char *const escaping[] = {"join", "replace", "format", NULL};
    if (!is_one_of(method, escaping) || args->count == 0) return true;
    bool replaces = strcmp(method, "replace") == 0;
    px_jv *items = px_jinja_alloc(j, args->count * sizeof *items);
    if (!items) return false;
    for (size_t i = 0; i < args->count; i++) {
        px_jv list;
        items[i] = args->items[i];
        if (strcmp(method, "join") == 0) { /* its items, as a tuple */
            if (!px_jiterate(j, items[i], &list)) return false;
            items[i] = list;
            items[i].kind = PX_J_TUPLE;
        }
        /* replace(old, new): what it looks for is the markup's own. */
        if (!(replaces && i == 0) && !escape_operand(j, items[i], &items[i])) return false;
    }
    args->items = items;
    for (size_t i = 0; i < args->named_count; i++)
        if (!replaces && !escape_operand(j, args->named[i].value, &args->named[i].value))
            return false;
    return true;
}

void px_jmarkup_result(px_jv *result)
{
    if (result->kind == PX_J_STR) result->detail = 1;
    if (result->kind != PX_J_LIST && result->kind != PX_J_TUPLE) return;
    for (size_t i = 0; i < result->list->count; i++)
        if (result->list->items[i].kind == PX_J_STR) result->list->items[i].detail = 1;
}

bool px_jmarkup_filter_keeps(const char *filter)
{
    static const char *const keeping[] = {"trim", "upper", "lower", "capitalize", "center",
        "indent", "truncate", "format", "string", NULL};
    return is_one_of(filter, keeping);
}
