/* jinja_call.h - calling: functions written in C (globals, methods, filters, tests) and macros.
 *
 * A C function declares its parameters; the call binds positional and named arguments to them as
 * Python does, with MISSING for those not given.
 */
#ifndef PX_TEXT_JINJA_CALL_H
#define PX_TEXT_JINJA_CALL_H

#include "engine/text/jinja_eval.h"

typedef struct px_jnamed {
    px_slice text;
    px_jv value;
} px_jnamed;

typedef struct px_jargs {
    px_jv *items;
    size_t count;
    px_jnamed *named;
    size_t named_count;
} px_jargs;

enum { PX_JPARAMS_MAX = 7 };

typedef struct px_jcall {
    px_jv self;              /* of a method; the value of a filter or test */
    px_jv a[PX_JPARAMS_MAX]; /* bound to the parameters, or MISSING */
    const px_jargs *args;    /* as given, for functions that take any */
} px_jcall;

struct px_jfunction {
    const char *name;
    bool (*call)(px_jinja *j, const px_jcall *call, px_jv *out);
    const char *params[PX_JPARAMS_MAX]; /* NULL-terminated unless full */
    int required;                       /* the first so many must be given */
    bool any;                           /* takes whatever is given, in call->args */
};

struct px_jmethod {
    const px_jfunction *function;
    px_jv self;
};

/* Calls anything callable. */
bool px_jinja_call(px_jinja *j, px_jv callee, const px_jargs *args, px_jv *out);
/* Calls a C function with a value for `self`. */
bool px_jinja_call_function(
    px_jinja *j, const px_jfunction *function, px_jv self, const px_jargs *args, px_jv *out);
bool px_jinja_callable(px_jv value);

/* Tables by name; NULL: there is none. */
const px_jfunction *px_jinja_filter(px_slice name);
const px_jfunction *px_jinja_test(px_slice name);
const px_jfunction *px_jinja_text_method(px_slice name);
const px_jfunction *px_jinja_split_method(px_slice name);     /* of them: split, join and kin */
const px_jfunction *px_jinja_translate_method(px_slice name); /* of them: translate and kin */
const px_jfunction *px_jinja_sequence_filter(px_slice name);  /* of the filters: over lists */
const px_jfunction *px_jinja_text_filter(px_slice name);      /* of the filters: over text */
const px_jfunction *px_jinja_global(size_t index);            /* all of them, then NULL */
const px_jfunction *px_jinja_find(const px_jfunction *table, size_t count, px_slice name);

/* --- arguments of C functions --- */

static inline bool px_jgiven(px_jv value)
{
    return value.kind != PX_J_MISSING;
}
/* What was given as a whole number, a text, a truth; or the default. */
bool px_jarg_int(px_jinja *j, px_jv value, int64_t default_value, int64_t *out);
bool px_jarg_need_int(px_jinja *j, px_jv value, int64_t *out); /* None is none */
bool px_jarg_text(px_jinja *j, px_jv value, const char *default_text, px_slice *out);
bool px_jarg_need_text(px_jinja *j, px_jv value, px_slice *out); /* has no default */
static inline bool px_jarg_true(px_jv value, bool default_value)
{
    return px_jgiven(value) ? px_jtrue(value) : default_value;
}

/* --- whole jobs that more than one file needs --- */

bool px_jinja_tojson(px_jinja *j, const px_jcall *call, px_jv *out);
bool px_jinja_pprint(px_jinja *j, const px_jcall *call, px_jv *out);
bool px_jinja_percent(px_jinja *j, px_slice format, px_jv values, px_jv *out); /* "%s" % x */
bool px_jinja_format(px_jinja *j, px_slice format, const px_jargs *args, px_jv *out);
const char *px_jtext_find_last(px_slice text, px_slice part); /* NULL: not there */
/* strip, lstrip, rstrip: `chars` NULL data: white space. */
px_slice px_jtext_strip(px_slice text, px_slice chars, bool left, bool right);
/* The line that begins at *at, with its end or without it, as str.splitlines() has it; *at moves
 * behind its end. */
px_slice px_jtext_line(px_slice text, bool keep_end, size_t *at);
/* Appends text with up to `max` occurrences replaced (-1: all). */
void px_jtext_replace(px_slice text, px_slice from, px_slice to, int64_t max, px_buf *out);
/* Safe markup (jinja_markup.c). */
bool px_jmarkup_force(px_jinja *j, px_jv value, px_jv *out);  /* escapes, markup or not */
bool px_jmarkup_escape(px_jinja *j, px_jv value, px_jv *out); /* markup stays as it is */
/* Before `a op b` of which one is markup. */
bool px_jmarkup_operands(px_jinja *j, px_jop op, px_jv *a, px_jv *b);
/* Before a method of markup, and after it. */
bool px_jmarkup_arguments(px_jinja *j, const char *method, px_jargs *args);
void px_jmarkup_result(px_jv *result);
bool px_jmarkup_filter_keeps(const char *filter); /* its result of markup is markup */
/* A buffer's text as a value; releases the buffer. */
bool px_jtake(px_jinja *j, px_buf *buf, px_jv *out);
void px_jbuf_init(px_jinja *j, px_buf *buf);

#endif
