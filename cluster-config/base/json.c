/* json.c - see json.h. */
#include "base/json.h"

#include <math.h>
#include <string.h>

#include "base/fs.h"
#include "base/utf8.h"

#define EXACT_MAX 9007199254740992.0 /* 2^53: whole numbers up to here are exact as doubles */

/* Numbers that were read as reals only because another one was too large are integers again, where
 * they are exact. */
static json_t *with_integers(json_t *value)
{
    const char *key;
    size_t i;
    json_t *item;
    if (json_is_real(value)) {
        double real = json_real_value(value);
        if (real != floor(real) || fabs(real) > EXACT_MAX) return value;
        json_decref(value);
        return json_integer((json_int_t)real);
    }
    json_object_foreach(value, key, item)
    {
        json_object_set_new_nocheck(value, key, with_integers(json_incref(item)));
    }
    json_array_foreach(value, i, item)
    {
        json_array_set_new(value, i, with_integers(json_incref(item)));
    }
    return value;
}

static px_status parse(px_slice text, const char *what, size_t allowed, json_t **out)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | allowed;
    json_error_t error;
    json_t *value = json_loadb(text.data, text.length, flags, &error);
    /* Many a tokenizer_config.json says that texts may have 10^30 tokens. */
    if (!value && json_error_code(&error) == json_error_numeric_overflow) {
        value = json_loadb(text.data, text.length, flags | JSON_DECODE_INT_AS_REAL, &error);
        if (value) value = with_integers(value);
    }
    if (!value)
        return px_fail(
            PX_INVALID_ARGUMENT, "%s is not valid JSON: line %d: %s", what, error.line, error.text);
    *out = value;
    return px_ok();
}

px_status px_json_parse(const char *text, size_t length, const char *what, json_t **out)
{
    return parse((px_slice){text, length}, what, 0, out);
}

px_status px_json_parse_texts(const char *text, size_t length, const char *what, json_t **out)
{
    return parse((px_slice){text, length}, what, JSON_ALLOW_NUL, out);
}

px_status px_json_load(const char *path, size_t max_bytes, json_t **out)
{
    px_buf buf;
    px_buf_init(&buf, max_bytes);
    px_status status = px_fs_read(path, &buf);
    if (status.code == PX_OK) status = px_json_parse(px_buf_text(&buf), buf.length, path, out);
    px_buf_done(&buf);
    return status;
}

/* *out_value is NULL for a missing or null key. */
static px_status lookup(
    const json_t *object, const char *key, const char *where, const json_t **out_value)
{
    *out_value = NULL;
    if (!json_is_object(object))
        return px_fail(PX_INVALID_ARGUMENT, "%s must be a JSON object", where);
    const json_t *value = json_object_get(object, key);
    *out_value = json_is_null(value) ? NULL : value;
    return px_ok();
}

static px_status wrong_type(const char *key, const char *where, const char *wanted)
{
    return px_fail(PX_INVALID_ARGUMENT, "%s: '%s' must be %s", where, key, wanted);
}

px_status px_json_get_int(const json_t *object, const char *key, const char *where, int64_t *out)
{
    const json_t *value;
    PX_TRY(lookup(object, key, where, &value));
    if (!value) return px_ok();
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return px_ok();
    }
    /* Some writers print whole numbers as 2048.0 or 1e6: exact up to 2^53. */
    double real = json_real_value(value);
    if (!json_is_real(value) || real != floor(real) || fabs(real) > EXACT_MAX)
        return wrong_type(key, where, "a whole number");
    *out = (int64_t)real;
    return px_ok();
}

px_status px_json_get_real(const json_t *object, const char *key, const char *where, double *out)
{
    const json_t *value;
    PX_TRY(lookup(object, key, where, &value));
    if (!value) return px_ok();
    if (!json_is_number(value)) return wrong_type(key, where, "a number");
    *out = json_number_value(value);
    return px_ok();
}

px_status px_json_get_bool(const json_t *object, const char *key, const char *where, bool *out)
{
    const json_t *value;
    PX_TRY(lookup(object, key, where, &value));
    if (!value) return px_ok();
    if (!json_is_boolean(value)) return wrong_type(key, where, "true or false");
    *out = json_is_true(value);
    return px_ok();
}

px_status px_json_get_str(
    const json_t *object, const char *key, const char *where, const char **out)
{
    const json_t *value;
    PX_TRY(lookup(object, key, where, &value));
    if (!value) return px_ok();
    if (!json_is_string(value)) return wrong_type(key, where, "a string");
    if (strlen(json_string_value(value)) != json_string_length(value))
        return wrong_type(key, where, "a string without NUL characters");
    *out = json_string_value(value);
    return px_ok();
}

static void quote_ascii(px_buf *buf, char c)
{
    switch (c) {
    case '"': px_buf_append(buf, "\\\"", 2); break;
    case '\\': px_buf_append(buf, "\\\\", 2); break;
    case '\b': px_buf_append(buf, "\\b", 2); break;
    case '\f': px_buf_append(buf, "\\f", 2); break;
    case '\n': px_buf_append(buf, "\\n", 2); break;
    case '\r': px_buf_append(buf, "\\r", 2); break;
    case '\t': px_buf_append(buf, "\\t", 2); break;
    default: px_buf_printf(buf, "\\u%04x", (unsigned char)c); break;
    }
}

void px_json_quote(px_buf *buf, const char *text, size_t length)
{
    px_buf_putc(buf, '"');
    size_t plain = 0; /* start of the run that needs no escape and is not yet appended */
    for (size_t at = 0; at < length;) {
        uint32_t rune;
        size_t step = px_utf8_next(text + at, length - at, &rune);
        bool escape = rune == PX_UTF8_INVALID || rune < 0x20 || rune == '"' || rune == '\\';
        if (escape) {
            px_buf_append(buf, text + plain, at - plain);
            if (rune == PX_UTF8_INVALID)
                px_buf_puts(buf, "\xEF\xBF\xBD");
            else
                quote_ascii(buf, text[at]);
            plain = at + step;
        }
        at += step;
    }
    px_buf_append(buf, text + plain, length - plain);
    px_buf_putc(buf, '"');
}
