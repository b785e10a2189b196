/* json_number.h - JSON numbers between bounds, as expressions over their decimal digits. */
#ifndef PX_GRAMMAR_JSON_NUMBER_H
#define PX_GRAMMAR_JSON_NUMBER_H

#include "engine/grammar/expr.h"

typedef struct px_number_bound {
    bool given, exclusive;
    double value;
} px_number_bound;

typedef struct px_number_range {
    px_number_bound low, high;
    bool is_integer; /* no fraction and no exponent */
} px_number_range;

/* Without bounds: up to 16 digits before and behind the point, and an exponent of
 * two, so that the number fits a double. With bounds: no
 * exponent. Zero is written without a sign. INVALID_ARGUMENT: nothing lies between the bounds. */
px_status px_json_number_expr(
    px_expr_source *source, const px_number_range *range, const px_expr **out) PX_MUST_USE;

#endif
