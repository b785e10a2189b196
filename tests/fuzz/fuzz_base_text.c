/* fuzz_base_text.c - UTF-8 and JSON: what we quote any parser takes back; what we refuse is bad. */
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_quoting(const char *text, size_t size)
{
    px_buf quoted;
    px_buf_init(&quoted, 6 * size + 16);
    px_json_quote(&quoted, text, size);
    PX_ASSERT(!quoted.overflowed);
    PX_ASSERT(px_utf8_valid_prefix(px_buf_text(&quoted), quoted.length) == quoted.length);
    if (!memchr(text, '\0', size)) { /* jansson refuses NUL in strings */
        json_t *back = NULL;
        px_status status = px_json_parse(px_buf_text(&quoted), quoted.length, "quoted", &back);
        PX_ASSERT(status.code == PX_OK && json_is_string(back));
        if (px_utf8_valid_prefix(text, size) == size)
            PX_ASSERT(json_string_length(back) == size &&
                      memcmp(json_string_value(back), text, size) == 0);
        json_decref(back);
    }
    px_buf_done(&quoted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t valid = px_utf8_valid_prefix(text, size);
    PX_ASSERT(valid <= size && px_utf8_valid_prefix(text, valid) == valid);
    PX_ASSERT(px_utf8_columns(text, size) <= 2 * size);
    if (size > 0) check_quoting(text, size);
    json_t *value = NULL;
    px_status status = px_json_parse(text, size, "input", &value);
    PX_ASSERT((status.code == PX_OK) == (value != NULL));
    json_decref(value);
    return 0;
}
