/* status.c - formatting of px_status sentences. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cut a half UTF-8 sequence from the end, so that a status is always valid text on the wire. */
static void trim_partial_utf8(char *text)
{
    size_t length = strlen(text), tail = 0;
    while (tail < length && tail < 4 && ((unsigned char)text[length - 1 - tail] & 0xC0) == 0x80)
        tail++;
    if (tail == length) return;
    unsigned char lead = (unsigned char)text[length - 1 - tail];
    size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (tail < want) text[length - 1 - tail] = '\0';
}

px_status px_fail(px_code code, const char *format, ...)
{
    PX_ASSERT(code != PX_OK);
    px_status s;
    s.code = code;
    s.retry_ms = 0;
    va_list args;
    va_start(args, format);
    vsnprintf(s.text, sizeof s.text, format, args);
    va_end(args);
    trim_partial_utf8(s.text);
    return s;
}

static px_code code_of_errno(int error)
{
    switch (error) {
    case ENOENT: return PX_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS: return PX_PERMISSION_DENIED;
    case EEXIST: return PX_ALREADY_EXISTS;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE: return PX_RESOURCE_EXHAUSTED;
    default: return PX_UNAVAILABLE;
    }
}

px_status px_fail_errno(int error, const char *format, ...)
{
    px_status s;
    s.code = code_of_errno(error);
    s.retry_ms = 0;
    va_list args;
    va_start(args, format);
    int used = vsnprintf(s.text, sizeof s.text, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof s.text)
        snprintf(s.text + used, sizeof s.text - (size_t)used, ": %s", strerrordesc_np(error));
    trim_partial_utf8(s.text);
    return s;
}

px_status px_prefix(px_status s, const char *format, ...)
{
    if (s.code == PX_OK) return s;
    px_status out;
    out.code = s.code;
    out.retry_ms = s.retry_ms;
    va_list args;
    va_start(args, format);
    int used = vsnprintf(out.text, sizeof out.text, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof out.text)
        snprintf(out.text + used, sizeof out.text - (size_t)used, ": %s", s.text);
    trim_partial_utf8(out.text);
    return out;
}

const char *px_code_name(px_code code)
{
    static const char *const names[PX_CODE_COUNT] = {"OK", "CANCELLED", "UNKNOWN",
        "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
    return (unsigned)code < PX_CODE_COUNT ? names[code] : "UNKNOWN";
}

void px_assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "phalanx: assertion failed at %s:%d: %s\n", file, line, expr);
    abort();
}
