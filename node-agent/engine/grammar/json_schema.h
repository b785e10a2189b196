/* json_schema.h - JSON schemas (draft 2020-12 and the older ones where they agree) as grammars.
 *
 * Kept:    type, enum, const, anyOf, oneOf (as anyOf), allOf (merged), $ref into the same document,
 *          recursive too, boolean schemas; properties, required, additionalProperties,
 *          patternProperties, propertyNames, minProperties and maxProperties of objects without
 *          listed properties; items, prefixItems, minItems, maxItems; minLength, maxLength,
 *          pattern, format (date, time, date-time, duration, uuid, email, hostname, ipv4, uri);
 *          minimum, maximum, exclusiveMinimum, exclusiveMaximum.
 * Refused: UNIMPLEMENTED, by name, what would change the answer but cannot be kept: not,
 *          if/then/else, contains, uniqueItems, multipleOf, dependent..., unevaluated... .
 *          Keywords that only describe are ignored, as the specification says; so are unknown ones.
 * Layout:  one line, ", " and ": ", properties in the order of the schema; other members, where
 *          they are allowed, behind them. Where a schema lists properties and does not speak of
 *          others, there are none.
 */
#ifndef PX_GRAMMAR_JSON_SCHEMA_H
#define PX_GRAMMAR_JSON_SCHEMA_H

#include "engine/grammar/expr.h"

/* INVALID_ARGUMENT and UNIMPLEMENTED name the place, as "#/properties/age". */
px_status px_json_schema_read(px_slice text, px_expr_source *out) PX_MUST_USE;
/* Any JSON object, with white space wherever JSON allows it. */
px_status px_json_object_source(px_expr_source *out) PX_MUST_USE;
/* `text`: a JSON array of strings; the answer is one of them, without quotes. */
px_status px_choice_read(px_slice text, px_expr_source *out) PX_MUST_USE;

#endif
