/* args_help.c - the --help of a command: what it does, its options by group, examples. */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/args.h"
#include "base/memory.h"

enum { COLUMNS_MIN = 60, COLUMNS_MAX = 100, OPTION_COLUMNS_MAX = 30, INDENT = 2 };

static int terminal_columns(FILE *to)
{
    struct winsize size;
    if (ioctl(fileno(to), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return COLUMNS_MAX;
    if (size.ws_col < COLUMNS_MIN) return COLUMNS_MIN;
    return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

static const char *group_of(const px_arg_spec *spec)
{
    return spec->group ? spec->group : "Options";
}

static void put_option(px_buf *buf, const px_arg_spec *spec)
{
    px_buf_printf(buf, "--%s", spec->name);
    if (spec->kind != PX_ARG_FLAG) px_buf_printf(buf, " %s", spec->value ? spec->value : "VALUE");
}

/* The sentence, then what else a user must know: default, range, whether it repeats. */
static void put_explanation(px_buf *buf, const px_arg_spec *spec)
{
    const char *separator = " (";
    px_buf_puts(buf, spec->help ? spec->help : "");
    if (spec->required) {
        px_buf_printf(buf, "%srequired", separator);
        separator = "; ";
    }
    if (spec->default_value) {
        px_buf_printf(buf, "%sdefault %s", separator, spec->default_value);
        separator = "; ";
    }
    if (spec->min != 0 || spec->max != 0) {
        px_buf_printf(buf, "%s%.15g to %.15g", separator, spec->min, spec->max);
        separator = "; ";
    }
    if (spec->repeatable) {
        px_buf_printf(buf, "%smay be repeated", separator);
        separator = "; ";
    }
    if (separator[0] == ';') px_buf_putc(buf, ')');
}

/* Prints `text` from the current column on, broken at spaces, further lines at `indent`. */
static void print_wrapped(FILE *to, const char *text, int indent, int columns)
{
    int used = indent;
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (used > indent && used + 1 + word > columns) {
            fprintf(to, "\n%*s", indent, "");
            used = indent;
        } else if (used > indent) {
            fputc(' ', to);
            used++;
        }
        fprintf(to, "%.*s", word, text);
        used += word;
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

static void print_option(FILE *to, const px_arg_spec *spec, int option_columns, int columns)
{
    px_buf option, explanation;
    px_buf_init(&option, 1024);
    px_buf_init(&explanation, 4096);
    put_option(&option, spec);
    put_explanation(&explanation, spec);
    int indent = INDENT + option_columns + 2;
    fprintf(to, "%*s%-*s", INDENT, "", option_columns, px_buf_text(&option));
    if ((int)option.length > option_columns)
        fprintf(to, "\n%*s", indent, "");
    else
        fputs("  ", to);
    print_wrapped(to, px_buf_text(&explanation), indent, columns);
    px_buf_done(&option);
    px_buf_done(&explanation);
}

static int widest_option(const px_arg_spec *specs)
{
    int widest = (int)strlen("--help");
    for (const px_arg_spec *spec = specs; spec->name; spec++) {
        px_buf option;
        px_buf_init(&option, 1024);
        put_option(&option, spec);
        if ((int)option.length > widest) widest = (int)option.length;
        px_buf_done(&option);
    }
    return widest < OPTION_COLUMNS_MAX ? widest : OPTION_COLUMNS_MAX;
}

/* Whether an option above already opened this one's group. */
static bool group_is_open(const px_arg_spec *specs, const px_arg_spec *spec)
{
    for (const px_arg_spec *above = specs; above < spec; above++)
        if (strcmp(group_of(above), group_of(spec)) == 0) return true;
    return false;
}

void px_args_print_help(const px_arg_spec *specs, const px_command_doc *doc, FILE *to)
{
    static const px_arg_spec help = {.name = "help", .help = "print this text"};
    int columns = terminal_columns(to), option_columns = widest_option(specs);
    fprintf(to, "usage: %s\n\n", doc->usage);
    print_wrapped(to, doc->summary, 0, columns);
    for (const px_arg_spec *first = specs; first->name; first++) {
        if (group_is_open(specs, first)) continue;
        fprintf(to, "\n%s:\n", group_of(first));
        for (const px_arg_spec *spec = first; spec->name; spec++)
            if (strcmp(group_of(spec), group_of(first)) == 0)
                print_option(to, spec, option_columns, columns);
    }
    fputc('\n', to);
    print_option(to, &help, option_columns, columns);
    if (doc->examples) fprintf(to, "\nExamples:\n%s\n", doc->examples);
    fputs("\nOptions may also be set in the environment: --some-name as PHALANX_SOME_NAME.\n", to);
}
