/* regex.h - regular expressions, as JSON schemas and peers write them: the whole text must match.
 *
 * Syntax:  ECMA-262's without what needs a look elsewhere: literals, `.`, classes with ranges and
 *          \d \w \s \D \W \S \b (backspace, in a class), escapes \n \t \r \f \v \0 \xHH \uHHHH
 *          \u{H..} \cX, groups ( ) and (?: ) and (?<name> ), | * + ? {n} {n,} {n,m}, lazy marks
 *          (which change nothing here). ^ at the front and $ at the end are allowed and say nothing
 *          new. Look-around, back references and word boundaries are refused by name.
 * Matches: code points; `.` is any but line breaks.
 */
#ifndef PX_GRAMMAR_REGEX_H
#define PX_GRAMMAR_REGEX_H

#include "engine/grammar/expr.h"

/* A source of one rule. */
px_status px_regex_read(px_slice text, px_expr_source *out) PX_MUST_USE;
/* The expression alone, made in `source`. `unanchored`: as JSON schema's "pattern" is meant, other
 * text of `any` may stand before and behind where ^ and $ do not forbid it. */
typedef struct px_regex_options {
    const px_expr *any; /* NULL: the expression is the whole text, anchored or not */
    /* Makes what one code point set becomes; NULL: px_expr_class. */
    const px_expr *(*make_class)(
        void *arg, px_expr_source *source, const px_expr_range *ranges, size_t count, bool negated);
    void *arg;
} px_regex_options;
px_status px_regex_expr(px_expr_source *source, px_slice text, const px_regex_options *options,
    const px_expr **out) PX_MUST_USE;

#endif
