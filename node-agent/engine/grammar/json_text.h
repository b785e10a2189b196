/* json_text.h - the pieces that JSON text is made of, as expressions. */
#ifndef PX_GRAMMAR_JSON_TEXT_H
#define PX_GRAMMAR_JSON_TEXT_H

#include <jansson.h>

#include "engine/grammar/expr.h"

/* What stands between the values; any or none. */
typedef struct px_json_layout {
    const px_expr *comma, *colon; /* with the white space around them */
    const px_expr *open, *close;  /* white space inside brackets that are not empty */
} px_json_layout;

/* ", " and ": " as most programs write JSON on one line: nothing left to choose, so these tokens
 * need no model. */
px_json_layout px_json_layout_plain(px_expr_source *source);
/* White space wherever JSON allows it, 64 characters at most at a place. */
px_json_layout px_json_layout_free(px_expr_source *source);

/* One code point out of a set, as a JSON string has it: escaped where it must be. `arg` unused;
 * fits px_regex_options.make_class. */
const px_expr *px_json_char_class(
    void *arg, px_expr_source *source, const px_expr_range *ranges, size_t count, bool negated);
/* Any character of a string, also in the escaped forms that it need not have. */
const px_expr *px_json_any_char(px_expr_source *source);
/* `inner` between quotes. */
const px_expr *px_json_quoted(px_expr_source *source, const px_expr *inner);
/* A string of these bytes (valid UTF-8), quotes and all. */
const px_expr *px_json_string_of(px_expr_source *source, const char *text);

typedef struct px_json_member {
    const px_expr *key, *value;
} px_json_member;
/* "key": value */
const px_expr *px_json_member_expr(
    px_expr_source *source, const px_json_layout *layout, px_json_member member);

typedef struct px_json_list { /* min to max items, commas between, in brackets */
    char open, close;
    const px_expr *item;
    uint32_t min, max;
} px_json_list;
const px_expr *px_json_list_expr(
    px_expr_source *source, const px_json_layout *layout, const px_json_list *list);

/* This value and no other. */
const px_expr *px_json_constant(
    px_expr_source *source, const px_json_layout *layout, const json_t *value);

/* Rules for any JSON, declared in the source. */
typedef struct px_json_any {
    uint32_t value, object;
} px_json_any;
px_json_any px_json_any_rules(px_expr_source *source, const px_json_layout *layout);

#endif
