/* json.h - jansson glue: bounded parsing, typed getters that fail with a sentence.
 *
 * jansson is strict (UTF-8, numbers, depth) and is our parser for all JSON but tokenizer.json's
 * bulk. Getters take `where` for the sentence: "config.json: 'hidden_size' must be a whole number".
 */
#ifndef PX_BASE_JSON_H
#define PX_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"

/* Duplicate keys are refused, 64-bit integers kept; where one is larger, it becomes a real. `what`
 * names the text in the sentence. The caller json_decref()s the result. */
px_status px_json_parse(
    const char *text, size_t length, const char *what, json_t **out) PX_MUST_USE;
/* As px_json_parse(), and strings may hold U+0000, as texts and tokens may: read them with
 * json_string_length(). Keys may not. */
px_status px_json_parse_texts(
    const char *text, size_t length, const char *what, json_t **out) PX_MUST_USE;
px_status px_json_load(const char *path, size_t max_bytes, json_t **out) PX_MUST_USE;

/* A missing or null key leaves *out untouched (so set the default first); a wrong type fails. */
px_status px_json_get_int(
    const json_t *object, const char *key, const char *where, int64_t *out) PX_MUST_USE;
px_status px_json_get_real(
    const json_t *object, const char *key, const char *where, double *out) PX_MUST_USE;
px_status px_json_get_bool(
    const json_t *object, const char *key, const char *where, bool *out) PX_MUST_USE;
/* Borrowed from the object. A string that holds U+0000 is of the wrong type. */
px_status px_json_get_str(
    const json_t *object, const char *key, const char *where, const char **out) PX_MUST_USE;

/* Appends `text` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
void px_json_quote(px_buf *buf, const char *text, size_t length);

#endif
