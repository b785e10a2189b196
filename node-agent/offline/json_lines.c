/* json_lines.c - see json_lines.h. */
#include "offline/json_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const size_t LINE_BYTES_MAX = 1u << 30;

/* Strings may hold NUL, which jansson only takes when told to. */
static px_status parse(const char *line, size_t length, json_t **out)
{
    json_error_t error;
    *out = json_loadb(line, length, JSON_ALLOW_NUL, &error);
    if (*out) return px_ok();
    return px_fail(PX_INVALID_ARGUMENT, "the line is not a JSON object: %s", error.text);
}

static void answer_one(
    const char *line, size_t length, px_json_line_fn answer, void *arg, px_buf *out)
{
    json_t *request;
    px_status status = parse(line, length, &request);
    if (px_is_ok(status)) {
        status = answer(arg, request, out);
        json_decref(request);
    }
    if (px_is_ok(status) && out->overflowed)
        status = px_fail(PX_RESOURCE_EXHAUSTED, "the answer is longer than %zu bytes", out->max);
    if (px_is_ok(status)) return;
    px_buf_reset(out);
    px_buf_puts(out, "{\"error\":");
    px_json_quote(out, status.text, strlen(status.text));
    px_buf_putc(out, '}');
}

static bool is_blank(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!strchr(" \t\r\n", line[i]) || !line[i]) return false;
    return true;
}

px_status px_json_lines_run(FILE *from, FILE *to, px_json_line_fn answer, void *arg)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    px_buf out;
    px_buf_init(&out, LINE_BYTES_MAX);
    px_status status = px_ok();
    while (px_is_ok(status) && (length = getline(&line, &capacity, from)) >= 0) {
        if (is_blank(line, (size_t)length)) continue;
        px_buf_reset(&out);
        answer_one(line, (size_t)length, answer, arg, &out);
        px_buf_putc(&out, '\n');
        if (fwrite(out.data, 1, out.length, to) != out.length || fflush(to) != 0)
            status = px_fail(PX_UNAVAILABLE, "cannot write the answer: %s", strerror(errno));
    }
    free(line);
    px_buf_done(&out);
    return status;
}
