/* expr.h - what a grammar says, as a tree: the common form of regular expressions, GBNF and JSON
 * schemas before they become a network.
 *
 * Nodes live in the source's arena and are shared freely: an expression is never changed.
 * Bounds: the arena's limit. A NULL expression means that it is reached; every maker passes NULL
 *         on, so only the end of a chain needs a check.
 */
#ifndef PX_GRAMMAR_EXPR_H
#define PX_GRAMMAR_EXPR_H

#include "base/memory.h"

enum { PX_EXPR_UNBOUNDED = UINT32_MAX };

typedef struct px_expr_range { /* of code points, both included */
    uint32_t low, high;
} px_expr_range;

typedef enum px_expr_kind {
    PX_EXPR_BYTES,    /* these bytes; none: the empty text */
    PX_EXPR_CLASS,    /* one code point out of ranges, as UTF-8 */
    PX_EXPR_SEQUENCE, /* children, one after the other */
    PX_EXPR_CHOICE,   /* one of the children; none: nothing matches */
    PX_EXPR_REPEAT,   /* the child, min to max times */
    PX_EXPR_RULE      /* a named rule, which may lead back here */
} px_expr_kind;

typedef struct px_expr px_expr;
struct px_expr {
    px_expr_kind kind;
    uint32_t count; /* of bytes, ranges or children */
    union {
        const char *bytes;
        const px_expr_range *ranges; /* in ascending order, none touching */
        const px_expr **children;
        struct {
            const px_expr *child;
            uint32_t min, max;
        } repeat;
        uint32_t rule;
    };
};

typedef struct px_expr_rule {
    const char *name;    /* NUL-terminated, in the arena; for sentences */
    const px_expr *body; /* NULL: declared, not yet defined */
} px_expr_rule;

typedef struct px_expr_source { /* a whole grammar; rule 0 is what the text must be */
    px_arena arena;
    px_expr_rule *rules;
    uint32_t rule_count, rule_room;
} px_expr_source;

void px_expr_source_init(px_expr_source *source, size_t bytes_max);
void px_expr_source_done(px_expr_source *source);
/* A new rule without a body. */
uint32_t px_expr_declare(px_expr_source *source, const char *name, size_t length);

const px_expr *px_expr_bytes(px_expr_source *source, const char *bytes, size_t length);
const px_expr *px_expr_text(px_expr_source *source, const char *text); /* NUL-terminated */
/* Ranges in any order, overlapping or not; they are copied and put in order. `negated`: every code
 * point but these. Surrogates are never matched. */
const px_expr *px_expr_class(
    px_expr_source *source, const px_expr_range *ranges, size_t count, bool negated);
const px_expr *px_expr_sequence(px_expr_source *source, const px_expr *const *parts, size_t count);
const px_expr *px_expr_choice(px_expr_source *source, const px_expr *const *parts, size_t count);
const px_expr *px_expr_repeat(
    px_expr_source *source, const px_expr *child, uint32_t min, uint32_t max);
const px_expr *px_expr_rule_of(px_expr_source *source, uint32_t rule);

/* A growing list of parts, for sequences and choices; freed by px_expr_list_done. */
typedef struct px_expr_list {
    const px_expr **items;
    size_t count, room;
} px_expr_list;
void px_expr_list_add(px_expr_list *list, const px_expr *item);
/* Its items one after the other, which may be none; NULL where `failed`. Frees the list. */
const px_expr *px_expr_list_sequence(px_expr_list *list, px_expr_source *source, bool failed);
void px_expr_list_done(px_expr_list *list);

#endif
