/* jinja_eval.h - one render of a template: its memory, its bounds, its scopes, its first error.
 *
 * Functions that can fail return bool; false means that the status is set and the render is over.
 * Bounds: steps (every node, item and copied character costs), depth of calls and nesting, bytes of
 *         memory and of output.
 * Threads: a render belongs to one thread; the tree may be shared.
 */
#ifndef PX_TEXT_JINJA_EVAL_H
#define PX_TEXT_JINJA_EVAL_H

#include <time.h>

#include "engine/text/jinja_ast.h"

typedef struct px_jvar { /* a name's value in a scope */
    uint32_t name;
    px_jv value;
    struct px_jvar *next;
} px_jvar;

typedef struct px_jscope {
    px_jvar *vars;
    struct px_jscope *parent; /* NULL: the template itself, then the given variables */
} px_jscope;

typedef enum px_jflow { PX_FLOW_NEXT, PX_FLOW_BREAK, PX_FLOW_CONTINUE } px_jflow;

struct px_jinja {
    const px_jtree *tree;
    px_arena arena;
    px_buf *out;      /* where statements print to */
    px_status status; /* the first failure */
    uint64_t steps_left;
    int depth;
    int line; /* of the node being evaluated */
    px_jscope *scope;
    px_jflow flow;  /* after a statement: how to go on */
    px_jv *globals; /* [tree->name_count] given variables and functions, or MISSING */
    uint32_t name_loop, name_caller, name_varargs, name_kwargs; /* UINT32_MAX: never used */
    struct tm now;                                              /* what strftime_now prints */
};

/* --- bounds and errors --- */

bool px_jinja_fail(px_jinja *j, const char *format, ...) PX_PRINTF(2, 3); /* returns false */
bool px_jinja_fail_undefined(px_jinja *j, px_jv undefined);               /* "'x' is undefined" */
static inline bool px_jinja_failed(const px_jinja *j)
{
    return j->status.code != PX_OK;
}
void *px_jinja_alloc(px_jinja *j, size_t bytes); /* zeroed; NULL: failed */
bool px_jinja_spend(px_jinja *j, uint64_t steps);
bool px_jinja_enter(px_jinja *j); /* one level deeper; pairs with leave */
static inline void px_jinja_leave(px_jinja *j)
{
    j->depth--;
}

/* --- evaluation --- */

bool px_jinja_exec(px_jinja *j, const px_jnodes *body);
bool px_jinja_eval(px_jinja *j, const px_jnode *node, px_jv *out);
/* A scope inside `parent`; becomes the current one until px_jinja_pop_scope(). */
px_jscope *px_jinja_push_scope(px_jinja *j, px_jscope *parent);
bool px_jinja_set(px_jinja *j, uint32_t name, px_jv value); /* in the current scope */

/* Renders `body` in the current scope into a str. */
bool px_jinja_capture(px_jinja *j, const px_jnodes *body, px_jv *out);

struct px_jloop {
    const px_jnode *node;
    const px_jlist *list;
    size_t index;
    int depth0;
    px_jscope *outer; /* what surrounds the loop, for recursion */
    px_jv changed;    /* the last arguments of changed(), or MISSING */
};
/* loop(list) of a recursive loop. */
bool px_jinja_recurse(px_jinja *j, const px_jloop *loop, px_jv list, px_jv *out);

struct px_jmacro {
    const px_jnode *node;
    px_jscope *scope; /* where it was defined */
};

/* Operators, for filters and tests too. */
bool px_jinja_binary(px_jinja *j, px_jop op, px_jv a, px_jv b, px_jv *out);
bool px_jinja_contains(px_jinja *j, px_jv item, px_jv container, bool *out);

/* --- attributes and items (jinja_attr.c) --- */

bool px_jinja_attribute(px_jinja *j, px_jv value, px_slice name, px_jv *out); /* value.name */
bool px_jinja_item(px_jinja *j, px_jv value, px_jv key, px_jv *out);          /* value[key] */
typedef struct px_jslice {
    px_jv start, stop, step; /* None: not given */
} px_jslice;
bool px_jinja_slice(px_jinja *j, px_jv value, const px_jslice *slice, px_jv *out);

#endif
