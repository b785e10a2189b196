/* args.c - parsing of options; see args.h. */
#include "base/args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/nearest.h"

enum { ENV_NAME_MAX = 80 };

typedef struct arg_values {
    const char **items; /* given values; the last one counts unless repeatable */
    int count;
} arg_values;

struct px_args {
    const px_arg_spec *specs;
    int spec_count;
    arg_values *values; /* [spec_count] */
    const char **positionals;
    int positional_count;
};

static bool usage_failed; /* what px_args_failed() answers; programs parse on their main thread */

px_status px_args_fail(const char *format, ...)
{
    char text[sizeof((px_status *)0)->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    usage_failed = true;
    return px_fail(PX_INVALID_ARGUMENT, "%s", text);
}

bool px_args_failed(void)
{
    return usage_failed;
}

static int find_spec(const px_args *args, const char *name, size_t length)
{
    for (int i = 0; i < args->spec_count; i++)
        if (strlen(args->specs[i].name) == length && memcmp(args->specs[i].name, name, length) == 0)
            return i;
    return -1;
}

static px_status unknown_option(const px_args *args, const char *name, size_t length)
{
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)length, name);
    px_nearest nearest = px_nearest_to(typed);
    for (int i = 0; i < args->spec_count; i++) px_nearest_offer(&nearest, args->specs[i].name);
    px_nearest_offer(&nearest, "help");
    if (nearest.best)
        return px_args_fail("unknown option '--%s'; did you mean '--%s'?", typed, nearest.best);
    return px_args_fail("unknown option '--%s'; --help lists them", typed);
}

/* --- values --- */

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off", ""};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (strcasecmp(text, yes[i]) == 0) return *out = true, true;
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (strcasecmp(text, no[i]) == 0) return *out = false, true;
    return false;
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno == ERANGE) return false;
    *out = value;
    return true;
}

static bool parse_real(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value)) return false;
    *out = value;
    return true;
}

static px_status check_range(const px_arg_spec *spec, double value, const char *text)
{
    if (spec->min == 0 && spec->max == 0) return px_ok();
    if (value >= spec->min && value <= spec->max) return px_ok();
    return px_args_fail(
        "--%s must be from %.15g to %.15g, not %.40s", spec->name, spec->min, spec->max, text);
}

static px_status check_value(const px_arg_spec *spec, const char *text)
{
    bool flag;
    int64_t integer;
    double real;
    switch (spec->kind) {
    case PX_ARG_FLAG:
        if (!parse_bool(text, &flag))
            return px_args_fail("--%s is true or false, not '%.40s'", spec->name, text);
        return px_ok();
    case PX_ARG_INT:
        if (!parse_int(text, &integer))
            return px_args_fail("--%s must be a whole number, not '%.40s'", spec->name, text);
        return check_range(spec, (double)integer, text);
    case PX_ARG_REAL:
        if (!parse_real(text, &real))
            return px_args_fail("--%s must be a number, not '%.40s'", spec->name, text);
        return check_range(spec, real, text);
    case PX_ARG_STR: break;
    }
    return px_ok();
}

static px_status add_value(px_args *args, int index, const char *text)
{
    const px_arg_spec *spec = &args->specs[index];
    arg_values *values = &args->values[index];
    PX_TRY(check_value(spec, text));
    if (!spec->repeatable) values->count = 0;
    values->items[values->count++] = text;
    return px_ok();
}

/* --- one pass over argv --- */

/* Whether `text` is an option of ours, and so cannot be meant as the value of the one before. */
static bool is_option(const px_args *args, const char *text)
{
    return strncmp(text, "--", 2) == 0 && find_spec(args, text + 2, strcspn(text + 2, "=")) >= 0;
}

static px_status parse_option(px_args *args, int argc, char *const *argv, int *at)
{
    const char *name = argv[*at] + 2;
    size_t length = strcspn(name, "=");
    int index = find_spec(args, name, length);
    if (index < 0) return unknown_option(args, name, length);
    const px_arg_spec *spec = &args->specs[index];
    if (name[length] == '=') return add_value(args, index, name + length + 1);
    if (spec->kind == PX_ARG_FLAG) return add_value(args, index, "true");
    if (*at + 1 >= argc || is_option(args, argv[*at + 1]))
        return px_args_fail("--%s needs a value (%s)", spec->name, spec->value);
    *at += 1;
    return add_value(args, index, argv[*at]);
}

static px_status parse_argv(px_args *args, int argc, char *const *argv)
{
    bool options_ended = false;
    for (int at = 1; at < argc; at++) {
        const char *text = argv[at];
        if (options_ended || text[0] != '-' || text[1] == '\0') {
            args->positionals[args->positional_count++] = text;
        } else if (strcmp(text, "--") == 0) {
            options_ended = true;
        } else if (text[1] == '-') {
            PX_TRY(parse_option(args, argc, argv, &at));
        } else {
            return px_args_fail("unknown option '%.40s'; options are written --name", text);
        }
    }
    return px_ok();
}

static void env_name(const char *option, char out[ENV_NAME_MAX])
{
    int used = snprintf(out, ENV_NAME_MAX, "PHALANX_%s", option);
    PX_ASSERT(used < ENV_NAME_MAX);
    for (char *c = out; *c; c++) {
        if (*c == '-')
            *c = '_';
        else if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
}

/* Options that the command line left out may come from the environment. */
static px_status parse_environment(px_args *args)
{
    for (int i = 0; i < args->spec_count; i++) {
        char name[ENV_NAME_MAX];
        if (args->values[i].count > 0 || args->specs[i].no_env) continue;
        env_name(args->specs[i].name, name);
        const char *text = getenv(name);
        if (text) PX_TRY(px_prefix(add_value(args, i, text), "%s", name));
    }
    return px_ok();
}

static px_status check_complete(const px_args *args, const px_command_doc *doc)
{
    for (int i = 0; i < args->spec_count; i++) {
        const px_arg_spec *spec = &args->specs[i];
        if (spec->required && args->values[i].count == 0)
            return px_args_fail("--%s %s is required", spec->name, spec->value ? spec->value : "");
    }
    if (args->positional_count < doc->positional_min)
        return px_args_fail("an argument is missing; usage: %s", doc->usage);
    if (doc->positional_max >= 0 && args->positional_count > doc->positional_max)
        return px_args_fail("unexpected argument '%.60s'; usage: %s",
            args->positionals[doc->positional_max], doc->usage);
    return px_ok();
}

static bool asks_for_help(int argc, char *const *argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

px_status px_args_parse(const px_arg_spec *specs, const px_command_doc *doc, int argc,
    char *const *argv, px_args **out_args, bool *out_help)
{
    *out_args = NULL;
    *out_help = asks_for_help(argc, argv);
    if (*out_help) return px_ok();

    px_args *args = px_alloc(sizeof *args);
    args->specs = specs;
    while (specs[args->spec_count].name) args->spec_count++;
    args->values = px_alloc_array((size_t)args->spec_count, sizeof *args->values);
    args->positionals = px_alloc_array((size_t)argc, sizeof *args->positionals);
    for (int i = 0; i < args->spec_count; i++) /* argv bounds how often an option can be given */
        args->values[i].items = px_alloc_array(
            specs[i].repeatable ? (size_t)argc + 1 : 1, sizeof *args->values[i].items);

    px_status status;
    PX_TRY_GOTO(parse_argv(args, argc, argv), out);
    PX_TRY_GOTO(parse_environment(args), out);
    PX_TRY_GOTO(check_complete(args, doc), out);
    *out_args = args;
    return status;
out:
    px_args_free(args);
    return status;
}

void px_args_free(px_args *args)
{
    if (!args) return;
    for (int i = 0; i < args->spec_count; i++) free(args->values[i].items);
    free(args->values);
    free(args->positionals);
    free(args);
}

/* --- getters --- */

static int index_of(const px_args *args, const char *name)
{
    int index = find_spec(args, name, strlen(name));
    PX_ASSERT(index >= 0);
    return index;
}

/* The text of a single value, or its default, or NULL. */
static const char *value_text(const px_args *args, const char *name, px_arg_kind kind)
{
    int index = index_of(args, name);
    PX_ASSERT(args->specs[index].kind == kind);
    const arg_values *values = &args->values[index];
    return values->count ? values->items[values->count - 1] : args->specs[index].default_value;
}

bool px_args_given(const px_args *args, const char *name)
{
    return args->values[index_of(args, name)].count > 0;
}

bool px_args_flag(const px_args *args, const char *name)
{
    const char *text = value_text(args, name, PX_ARG_FLAG);
    bool value = false;
    PX_ASSERT(!text || parse_bool(text, &value)); /* checked when parsed; a default is ours */
    return value;
}

const char *px_args_str(const px_args *args, const char *name)
{
    return value_text(args, name, PX_ARG_STR);
}

int64_t px_args_int(const px_args *args, const char *name)
{
    const char *text = value_text(args, name, PX_ARG_INT);
    int64_t value = 0;
    PX_ASSERT(!text || parse_int(text, &value));
    return value;
}

double px_args_real(const px_args *args, const char *name)
{
    const char *text = value_text(args, name, PX_ARG_REAL);
    double value = 0;
    PX_ASSERT(!text || parse_real(text, &value));
    return value;
}

int px_args_str_count(const px_args *args, const char *name)
{
    return args->values[index_of(args, name)].count;
}

const char *px_args_str_at(const px_args *args, const char *name, int index)
{
    const arg_values *values = &args->values[index_of(args, name)];
    PX_ASSERT(index >= 0 && index < values->count);
    return values->items[index];
}

int px_args_positional_count(const px_args *args)
{
    return args->positional_count;
}

const char *px_args_positional(const px_args *args, int index)
{
    PX_ASSERT(index >= 0 && index < args->positional_count);
    return args->positionals[index];
}
