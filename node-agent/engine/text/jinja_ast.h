/* jinja_ast.h - the tree of a parsed template, and the parser's boundary.
 *
 * One kind of node; which members a kind uses is said beside it. Lives in the template's arena.
 * Names are numbered, so that scopes compare numbers.
 */
#ifndef PX_TEXT_JINJA_AST_H
#define PX_TEXT_JINJA_AST_H

#include "engine/text/jinja_value.h"

typedef enum px_jnode_kind {
    /* statements */
    PX_N_TEXT,         /* text */
    PX_N_PRINT,        /* a */
    PX_N_IF,           /* a: condition; body; other: else branch */
    PX_N_FOR,          /* target: a; b: iterable; c: filter or NULL; body; other; flag: recursive */
    PX_N_SET,          /* target: a; b: value */
    PX_N_SET_BLOCK,    /* target: a; b: filters around NULL, or NULL; body */
    PX_N_MACRO,        /* name, text; params; defaults of the last ones: items; body */
    PX_N_CALL_BLOCK,   /* a: the call; params, items, body: its caller macro */
    PX_N_FILTER_BLOCK, /* b: filters around NULL; body */
    PX_N_WITH,         /* targets: items; values: other; body */
    PX_N_SCOPE,        /* body in a scope of its own (block, generation) */
    PX_N_BREAK,
    PX_N_CONTINUE,
    /* expressions */
    PX_N_CONST,   /* value */
    PX_N_NAME,    /* name, text */
    PX_N_NSREF,   /* name, text: the namespace; attribute */
    PX_N_LIST,    /* items */
    PX_N_TUPLE,   /* items */
    PX_N_DICT,    /* items: key, value, key, value ... */
    PX_N_UNARY,   /* op; a */
    PX_N_BINARY,  /* op; a, b */
    PX_N_CONCAT,  /* items */
    PX_N_COMPARE, /* a; items: operands; ops */
    PX_N_AND,     /* a, b */
    PX_N_OR,      /* a, b */
    PX_N_NOT,     /* a */
    PX_N_COND,    /* a if b else c; c may be NULL */
    PX_N_ATTR,    /* a; attribute */
    PX_N_ITEM,    /* a; b */
    PX_N_SLICE,   /* of ITEM's b: a:b:c, each may be NULL */
    PX_N_CALL,    /* a; items, keywords, spread */
    PX_N_FILTER,  /* a (NULL: the block's text); text: name; items, keywords, spread */
    PX_N_TEST,    /* a; text: name; items, keywords; flag: negated */
} px_jnode_kind;

typedef enum px_jop {
    PX_OP_ADD,
    PX_OP_SUB,
    PX_OP_MUL,
    PX_OP_DIV,
    PX_OP_FLOORDIV,
    PX_OP_MOD,
    PX_OP_POW,
    PX_OP_EQ,
    PX_OP_NE,
    PX_OP_LT,
    PX_OP_LE,
    PX_OP_GT,
    PX_OP_GE,
    PX_OP_IN,
    PX_OP_NOT_IN,
} px_jop;

typedef struct px_jnode px_jnode;

typedef struct px_jnodes {
    px_jnode **data;
    size_t count, capacity;
} px_jnodes;

typedef struct px_jkeyword { /* name=value in a call */
    px_slice text;
    uint32_t name;
    px_jnode *value;
} px_jkeyword;

struct px_jnode {
    px_jnode_kind kind;
    int line;
    px_jop op;
    bool flag;
    uint32_t name; /* number of `text` */
    px_slice text, attribute;
    px_jnode *a, *b, *c;
    px_jnodes items, body, other;
    px_jop *ops;
    px_jkeyword *keywords;
    size_t keyword_count;
    px_jnode *spread_list, *spread_dict; /* *args, **kwargs of a call */
    uint32_t *params;                    /* macro parameters */
    px_slice *param_texts;
    size_t param_count;
    bool uses_varargs, uses_kwargs, uses_caller; /* macros: whether the body names them */
    px_jv value;
    const px_jfunction *function; /* FILTER, TEST: NULL if there is none of that name */
};

typedef struct px_jtree {
    px_arena arena; /* owns everything below */
    px_jnodes body;
    px_slice *names; /* [name_count] */
    uint32_t name_count;
} px_jtree;

/* INVALID_ARGUMENT "line 3: ...". On failure nothing is left to release. */
px_status px_jinja_parse(px_slice source, px_jtree *out) PX_MUST_USE;
void px_jtree_done(px_jtree *tree);

#endif
