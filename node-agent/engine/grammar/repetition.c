#include "engine/grammar/repetition.h"

#include <stddef.h>

#include "engine/grammar/expr.h"

enum { REPEAT_MAX = 100000 };

static bool take(const char **at, const char *end, char c)
{
    if (*at == end || **at != c) return false;
    ++*at;
    return true;
}

/* Digits at *at; false: there are none. More than REPEAT_MAX is REPEAT_MAX + 1. */
static bool read_count(const char **at, const char *end, uint32_t *out)
{
    const char *begin = *at;
    *out = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at)
        if (*out <= REPEAT_MAX) *out = *out * 10 + (uint32_t)(**at - '0');
    if (*out > REPEAT_MAX) *out = REPEAT_MAX + 1;
    return *at > begin;
}

/* Behind the '{'. */
static const char *read_braces(const char **at, const char *end, px_repetition *out)
{
    if (!read_count(at, end, &out->min)) return "'{' needs a number";
    out->max = out->min;
    bool is_open = take(at, end, ',') && !read_count(at, end, &out->max);
    if (out->min > REPEAT_MAX || out->max > REPEAT_MAX) return "more than 100000 repetitions";
    if (!take(at, end, '}')) return "'}' is missing";
    if (is_open) out->max = PX_EXPR_UNBOUNDED;
    return out->max < out->min ? "the upper bound is below the lower one" : NULL;
}

bool px_repetition_read(const char **at, const char *end, px_repetition *out, const char **out_why)
{
    *out_why = NULL;
    *out = (px_repetition){.min = 0, .max = PX_EXPR_UNBOUNDED};
    if (take(at, end, '*')) return true;
    if (take(at, end, '+')) {
        out->min = 1;
        return true;
    }
    if (take(at, end, '?')) {
        out->max = 1;
        return true;
    }
    if (!take(at, end, '{')) return false;
    *out_why = read_braces(at, end, out);
    return !*out_why;
}
