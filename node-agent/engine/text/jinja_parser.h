/* jinja_parser.h - what the two halves of the parser share: jinja_parse.c (statements) and
 * jinja_parse_expr.c (expressions).
 *
 * Functions that return a node return NULL after an error, which is then in parser.status.
 */
#ifndef PX_TEXT_JINJA_PARSER_H
#define PX_TEXT_JINJA_PARSER_H

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_lex.h"
#include "engine/text/vocab.h"

typedef struct px_jparser {
    px_jtree *tree;
    const px_jtoken *at; /* the last token is END and is never passed */
    px_vocab names;      /* numbers of names */
    px_status status;
    int depth;       /* of nested expressions and statements */
    px_jnode *macro; /* the macro whose body this is, for what it uses */
    int loops;       /* open around this place, in this macro */
    bool escaping;   /* inside an autoescape block that may be true */
    int tag_line;    /* of the tag that was read last */
    struct {
        const char *end; /* the word that ends the innermost open block; NULL: none is open */
        int line;        /* where that begins */
    } open;
} px_jparser;

enum { PX_JPARSE_DEPTH_MAX = 200 };

/* Sets the status, with the current line, once; returns NULL. */
void *px_jparse_fail(px_jparser *p, const char *format, ...) PX_PRINTF(2, 3);
/* "expected ..., got ..." */
void *px_jparse_expected(px_jparser *p, const char *what);
void *px_jparse_alloc(px_jparser *p, size_t bytes);
px_jnode *px_jparse_node(px_jparser *p, px_jnode_kind kind);
bool px_jparse_add(px_jparser *p, px_jnodes *list, px_jnode *node); /* false if node is NULL */
bool px_jparse_number_name(px_jparser *p, px_slice text, uint32_t *out);
bool px_jparse_enter(px_jparser *p); /* bounds recursion; pairs with p->depth-- */

bool px_jparse_is(const px_jparser *p, px_jtoken_kind kind, const char *text);
static inline bool px_jparse_is_op(const px_jparser *p, const char *op)
{
    return px_jparse_is(p, PX_T_OPERATOR, op);
}
static inline bool px_jparse_is_word(const px_jparser *p, const char *word)
{
    return px_jparse_is(p, PX_T_NAME, word);
}
bool px_jparse_take_op(px_jparser *p, const char *op); /* passes it if it is here */
bool px_jparse_take_word(px_jparser *p, const char *word);
bool px_jparse_expect_op(px_jparser *p, const char *op);

/* With `conditional`, "a if b else c" is taken too. */
px_jnode *px_jparse_expression(px_jparser *p, bool conditional);
/* One expression, or several with commas: a tuple. `stop`: a word that ends it, or NULL. */
px_jnode *px_jparse_tuple(px_jparser *p, bool conditional, const char *stop);
/* "|a|b": filters around `node` (NULL: the text of a block); at least one if `must`. */
px_jnode *px_jparse_filters(px_jparser *p, px_jnode *node, bool starts_inside);
/* A name, "ns.x", or a tuple of names, to assign to. */
px_jnode *px_jparse_target(px_jparser *p, bool with_namespace);

#endif
