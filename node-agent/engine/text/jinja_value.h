/* jinja_value.h - the values of templates: Python's None, bool, int, float, str, list, tuple, dict,
 * as far as templates see them, and Jinja's Undefined.
 *
 * Values are small and copied; what they point to lives in the render's arena (or in the
 * template) and never changes, but for namespaces and the state of loops and cyclers.
 * Printing follows Python's str() and repr() to the letter.
 * Source:  Jinja 3.1, Python 3's data model.
 * Threads: a render belongs to one thread.
 */
#ifndef PX_TEXT_JINJA_VALUE_H
#define PX_TEXT_JINJA_VALUE_H

#include "base/memory.h"

typedef struct px_jinja px_jinja; /* a render: arena, bounds, first error (jinja_eval.h) */

typedef enum px_jkind {
    PX_J_MISSING,   /* an argument that was not given; templates never see it */
    PX_J_UNDEFINED, /* text: the name; detail: a px_jmissing */
    PX_J_NONE,
    PX_J_BOOL,
    PX_J_INT,
    PX_J_REAL,
    PX_J_BIG, /* text: the digits of a whole number beyond 64 bits; no arithmetic */
    PX_J_STR,
    PX_J_LIST, /* lists, and everything that Python would iterate lazily */
    PX_J_TUPLE,
    PX_J_DICT,
    PX_J_NAMESPACE, /* a dict whose entries `set ns.x` changes */
    PX_J_FUNCTION,
    PX_J_METHOD, /* a function bound to a value */
    PX_J_MACRO,
    PX_J_LOOP,
    PX_J_CYCLER,
    PX_J_JOINER,
    PX_J_KIND_COUNT
} px_jkind;

typedef enum px_jmissing { /* why a value is undefined, for the sentence when it is used */
    PX_J_NO_NAME,
    PX_J_NO_ATTRIBUTE, /* owner: the kind of what lacks it */
    PX_J_NO_ARGUMENT,
    PX_J_UNSAFE, /* the sandbox refuses it */
} px_jmissing;

typedef struct px_jlist px_jlist;
typedef struct px_jdict px_jdict;
typedef struct px_jfunction px_jfunction;
typedef struct px_jmethod px_jmethod;
typedef struct px_jmacro px_jmacro;
typedef struct px_jloop px_jloop;

typedef struct px_jv {
    unsigned char kind;   /* px_jkind */
    unsigned char detail; /* UNDEFINED: px_jmissing; STR: 1 if it is safe markup */
    unsigned char owner;  /* UNDEFINED: px_jkind */
    union {
        bool truth;
        int64_t integer;
        double real;
        px_slice text;
        px_jlist *list;
        px_jdict *dict;
        const px_jfunction *function;
        px_jmethod *method;
        px_jmacro *macro;
        px_jloop *loop;
        void *object;
    };
} px_jv;

struct px_jlist {
    px_jv *items;
    size_t count, capacity;
    const char *label; /* Python's type if it is no list: "dict_items", "range"; NULL: a list */
    px_slice printed;  /* a range: how it prints */
    bool lazy;         /* a generator or the like */
    bool is_group;     /* a tuple of groupby: .grouper and .list */
};

typedef struct px_jentry {
    px_jv key, value;
    uint32_t hash;
} px_jentry;

struct px_jdict { /* in order of insertion */
    px_jentry *entries;
    size_t count, capacity;
    uint32_t *slots; /* open addressing to entry + 1, once there are many */
    uint32_t mask;
};

/* --- making values --- */

static inline px_jv px_jnone(void)
{
    return (px_jv){.kind = PX_J_NONE};
}
static inline px_jv px_jbool(bool b)
{
    return (px_jv){.kind = PX_J_BOOL, .truth = b};
}
static inline px_jv px_jint(int64_t i)
{
    return (px_jv){.kind = PX_J_INT, .integer = i};
}
static inline px_jv px_jreal(double r)
{
    return (px_jv){.kind = PX_J_REAL, .real = r};
}
static inline px_jv px_jstr(px_slice s)
{
    return (px_jv){.kind = PX_J_STR, .text = s};
}
px_jv px_jtext(const char *literal); /* borrowed */
px_jv px_jundefined(px_jmissing why, px_slice name, px_jkind owner);

/* These return false, with the render's error set, when the arena is full. */
bool px_jcopy(px_jinja *j, px_slice text, px_jv *out);       /* a str of its own */
bool px_jlist_new(px_jinja *j, size_t capacity, px_jv *out); /* kind LIST; may be set to TUPLE */
bool px_jlist_add(px_jinja *j, px_jv list, px_jv item);
bool px_jdict_new(px_jinja *j, px_jv *out);
bool px_jhashable(px_jinja *j, px_jv key); /* false, with the error set: it cannot be a key */
bool px_jdict_set(px_jinja *j, px_jv dict, px_jv key, px_jv value);
/* NULL: no such key. Keys that Python would not hash are never found. */
const px_jv *px_jdict_get(px_jv dict, px_jv key);
const px_jv *px_jdict_get_text(px_jv dict, const char *key);

/* --- looking at values --- */

const char *px_jtype_name(px_jv value); /* Python's: "str", "int", "dict" */
bool px_jtrue(px_jv value);
static inline bool px_jis_number(px_jv v)
{
    return v.kind == PX_J_INT || v.kind == PX_J_REAL || v.kind == PX_J_BOOL;
}
static inline bool px_jis_markup(px_jv v)
{
    return v.kind == PX_J_STR && v.detail;
}
static inline bool px_jis_range(px_jv v)
{
    return v.kind == PX_J_LIST && v.list->printed.length;
}
/* dict.items() and its kin, and generators: their items have no places. */
static inline bool px_jis_view(px_jv v)
{
    return v.kind == PX_J_LIST && v.list->label && !v.list->printed.length;
}
/* What map, select and others make: true even if empty, without a length, and gone once it was
 * iterated. Unlike Python's, ours has its items from the start. */
static inline bool px_jis_lazy(px_jv v)
{
    return v.kind == PX_J_LIST && v.list->lazy;
}
double px_jnumber(px_jv value); /* of INT, REAL, BOOL */
int64_t px_jwhole(px_jv value); /* of INT, BOOL */
bool px_jequal(px_jv a, px_jv b);
/* < 0, 0, > 0 in *out; false, with the error set, if Python could not order them. */
bool px_jcompare(px_jinja *j, px_jv a, px_jv b, int *out);
/* Length of a str, list, tuple, dict, undefined; -1: it has none. */
int64_t px_jlength(px_jv value);
/* The items of anything iterable as a list: characters, keys, entries. */
bool px_jiterate(px_jinja *j, px_jv value, px_jv *out_list);

/* --- printing --- */

void px_jprint(px_jinja *j, px_jv value, px_buf *out); /* str() */
void px_jrepr(px_jinja *j, px_jv value, px_buf *out);  /* repr() */
void px_jprint_real(double value, px_buf *out);
/* str() as a value. */
bool px_jto_str(px_jinja *j, px_jv value, px_slice *out);

#endif
