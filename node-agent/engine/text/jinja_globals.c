/* jinja_globals.c - the functions that every template has: range, dict, namespace, cycler, joiner,
 * lipsum, raise_exception, strftime_now.
 *
 * Source: Jinja 3.1, defaults.py; transformers' chat template environment.
 */
#include <stdio.h>
#include <string.h>

#include "engine/text/jinja_call.h"

enum { RANGE_MAX = 100000 }; /* the sandbox's MAX_RANGE */

static bool range(px_jinja *j, const px_jcall *c, px_jv *out)
{
    int64_t start = 0, stop = 0, step = 1;
    bool one = !px_jgiven(c->a[1]);
    if (!px_jarg_need_int(j, c->a[0], one ? &stop : &start) ||
        (!one && !px_jarg_need_int(j, c->a[1], &stop)) ||
        (px_jgiven(c->a[2]) && !px_jarg_need_int(j, c->a[2], &step)))
        return false;
    if (step == 0) return px_jinja_fail(j, "range() arg 3 must not be zero");
    bool up = step > 0;
    __int128 distance = up ? (__int128)stop - start : (__int128)start - stop;
    __int128 stride = up ? (__int128)step : -(__int128)step;
    __int128 count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
    if (count > RANGE_MAX)
        return px_jinja_fail(
            j, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_MAX);
    if (!px_jinja_spend(j, (uint64_t)count) || !px_jlist_new(j, (size_t)count, out)) return false;
    for (int64_t i = 0, value = start; i < (int64_t)count;
         i++, value += i < (int64_t)count ? step : 0)
        if (!px_jlist_add(j, *out, px_jint(value))) return false;
    char printed[80];
    int length =
        snprintf(printed, sizeof printed, "range(%lld, %lld", (long long)start, (long long)stop);
    if (step != 1)
        length +=
            snprintf(printed + length, sizeof printed - (size_t)length, ", %lld", (long long)step);
    printed[length++] = ')';
    px_jv copy;
    if (!px_jcopy(j, (px_slice){printed, (size_t)length}, &copy)) return false;
    out->list->label = "range";
    out->list->printed = copy.text;
    return true;
}

/* dict(a=1), dict(other, a=1), dict([(key, value), ...]) */
static bool fill_dict(px_jinja *j, const px_jargs *args, px_jv *out)
{
    if (!px_jdict_new(j, out)) return false;
    if (args->count > 1) return px_jinja_fail(j, "dict expected at most 1 argument");
    if (args->count == 1 && args->items[0].kind == PX_J_DICT) {
        const px_jdict *from = args->items[0].dict;
        for (size_t i = 0; i < from->count; i++)
            if (!px_jdict_set(j, *out, from->entries[i].key, from->entries[i].value)) return false;
    } else if (args->count == 1) {
        px_jv pairs, pair;
        if (args->items[0].kind == PX_J_UNDEFINED)
            return px_jinja_fail_undefined(j, args->items[0]);
        if (!px_jiterate(j, args->items[0], &pairs)) return false;
        for (size_t i = 0; i < pairs.list->count; i++) {
            if (!px_jiterate(j, pairs.list->items[i], &pair)) return false;
            if (pair.list->count != 2)
                return px_jinja_fail(j,
                    "dictionary update sequence element has length %zu; 2 is required",
                    pair.list->count);
            if (!px_jdict_set(j, *out, pair.list->items[0], pair.list->items[1])) return false;
        }
    }
    for (size_t i = 0; i < args->named_count; i++)
        if (!px_jdict_set(j, *out, px_jstr(args->named[i].text), args->named[i].value))
            return false;
    return true;
}

static bool make_dict(px_jinja *j, const px_jcall *c, px_jv *out)
{
    return fill_dict(j, c->args, out);
}

static bool namespace(px_jinja *j, const px_jcall *c, px_jv *out)
{
    if (!fill_dict(j, c->args, out)) return false;
    out->kind = PX_J_NAMESPACE;
    return true;
}

static bool cycler(px_jinja *j, const px_jcall *c, px_jv *out)
{
    if (c->args->count == 0) return px_jinja_fail(j, "at least one item has to be provided");
    if (!px_jlist_new(j, c->args->count + 1, out) || !px_jlist_add(j, *out, px_jint(0)))
        return false;
    for (size_t i = 0; i < c->args->count; i++)
        if (!px_jlist_add(j, *out, c->args->items[i])) return false;
    out->kind = PX_J_CYCLER;
    return true;
}

static bool joiner(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_jv separator = px_jgiven(c->a[0]) ? c->a[0] : px_jtext(", ");
    if (!px_jlist_new(j, 2, out) || !px_jlist_add(j, *out, separator) ||
        !px_jlist_add(j, *out, px_jbool(false)))
        return false;
    out->kind = PX_J_JOINER;
    return true;
}

static bool lipsum(px_jinja *j, const px_jcall *c, px_jv *out)
{
    return px_jinja_fail(j, "lipsum() makes random text and is refused");
}

/* The template's own words, without ours around them. */
static bool raise_exception(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_slice message;
    if (!px_jto_str(j, c->a[0], &message)) return false;
    j->status = px_fail(PX_INVALID_ARGUMENT, "%.*s", (int)message.length, message.data);
    return false;
}

/* Python's %f (microseconds) is unknown to strftime(3), and our clock has none; a time without a
 * zone prints nothing for %z and %Z. */
static bool expand_format(px_slice format, char *out, size_t bytes)
{
    size_t length = 0;
    for (size_t i = 0; i < format.length; i++) {
        if (length + 8 > bytes || format.data[i] == '\0') return false;
        if (format.data[i] == '%' && i + 1 < format.length) {
            i++;
            if (format.data[i] == 'f') {
                memcpy(out + length, "000000", 6);
                length += 6;
                continue;
            }
            if (format.data[i] == 'z' || format.data[i] == 'Z') continue;
            out[length++] = '%';
        }
        out[length++] = format.data[i];
    }
    out[length] = '\0';
    return true;
}

static bool strftime_now(px_jinja *j, const px_jcall *c, px_jv *out)
{
    px_slice format;
    char pattern[512], text[2048];
    if (!px_jarg_text(j, c->a[0], "", &format)) return false;
    if (!expand_format(format, pattern, sizeof pattern))
        return px_jinja_fail(j, "the format of strftime_now() is too long");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t length = strftime(text, sizeof text, pattern, &j->now);
#pragma GCC diagnostic pop
    return px_jcopy(j, (px_slice){text, length}, out);
}

static const px_jfunction globals[] = {{"range", range, {"start", "stop", "step"}, 1, false},
    {"dict", make_dict, {NULL}, 0, true}, {"namespace", namespace, {NULL}, 0, true},
    {"cycler", cycler, {NULL}, 0, true}, {"joiner", joiner, {"sep"}, 0, false},
    {"lipsum", lipsum, {NULL}, 0, true},
    {"raise_exception", raise_exception, {"message"}, 1, false},
    {"strftime_now", strftime_now, {"format"}, 1, false}};

const px_jfunction *px_jinja_global(size_t index)
{
    return index < sizeof globals / sizeof *globals ? &globals[index] : NULL;
}
