/* args.h - one table per command makes its parser, its --help and its shell completion.
 *
 *   static const px_arg_spec specs[] = {
 *       {"model", PX_ARG_STR, "PATH", NULL, "model folder, GGUF file, or a folder that holds one"},
 *       {"threads", PX_ARG_INT, "N", "0", "worker threads; 0: one for each core", .max = 1024},
 *       {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line"},
 *       {0}};
 *
 * Accepted: --name value, --name=value, --flag, --flag=true|false, and "--" before positionals.
 * A value given twice replaces the first, unless the option is repeatable. An option may also be
 * set through the environment: PHALANX_MODEL for --model, PHALANX_MAX_TOKENS for --max-tokens (the
 * command line wins). Usage errors are INVALID_ARGUMENT; programs exit 2 on them.
 */
#ifndef PX_BASE_ARGS_H
#define PX_BASE_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

typedef enum px_arg_kind { PX_ARG_FLAG, PX_ARG_STR, PX_ARG_INT, PX_ARG_REAL } px_arg_kind;
typedef struct px_arg_spec {
    const char *name; /* long option without the dashes */
    px_arg_kind kind;
    const char *value;         /* how --help shows the value: PATH, N, URL */
    const char *default_value; /* as typed; NULL: not given */
    const char *help;          /* one sentence, lower case, no full stop */
    double min, max;           /* for INT and REAL, when not both 0 */
    bool required, repeatable, no_env;
    const char *group; /* the heading in --help it stands under; NULL: "Options" */
} px_arg_spec;

typedef struct px_command_doc {
    const char *usage;                  /* "node-agent run --model PATH [options]" */
    const char *summary;                /* one sentence */
    const char *examples;               /* lines, may be NULL */
    int positional_min, positional_max; /* max -1: any number */
} px_command_doc;

typedef struct px_args px_args;

/* Parses argv[1..]. *out_help: --help was asked for (nothing else is checked then, and *out_args
 * is NULL). The result borrows argv's, specs' and the environment's strings. */
px_status px_args_parse(const px_arg_spec *specs, const px_command_doc *doc, int argc,
    char *const *argv, px_args **out_args, bool *out_help) PX_MUST_USE;
void px_args_free(px_args *args); /* NULL is fine */
void px_args_print_help(const px_arg_spec *specs, const px_command_doc *doc, FILE *to);

/* Asking for a name or kind that is not in the table is our bug (asserts). */
bool px_args_given(const px_args *args, const char *name); /* command line or environment */
bool px_args_flag(const px_args *args, const char *name);
const char *px_args_str(const px_args *args, const char *name); /* NULL: none and no default */
int64_t px_args_int(const px_args *args, const char *name);     /* 0: none and no default */
double px_args_real(const px_args *args, const char *name);
int px_args_str_count(const px_args *args, const char *name); /* for repeatable options */
const char *px_args_str_at(const px_args *args, const char *name, int index);
int px_args_positional_count(const px_args *args);
const char *px_args_positional(const px_args *args, int index);

/* A usage error that only the command itself can see, as two options that exclude each other:
 * INVALID_ARGUMENT, for which px_command_fail() returns 2. */
px_status px_args_fail(const char *format, ...) PX_PRINTF(1, 2) PX_MUST_USE;
/* Whether the last failure of this process was one of usage: px_args_parse or px_args_fail. */
bool px_args_failed(void);

/* --- a program's table of commands: dispatch, the overview --help, `completion` for bash --- */

typedef struct px_command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
    const char *summary;
    const px_arg_spec *specs; /* for completion; may be NULL */
    bool hidden;
} px_command;

/* Runs the command named by argv[1]. `commands` ends with {0}. Also answers --help, --version,
 * `help [COMMAND]` and `completion`. Exit codes: 0 done, 1 failed, 2 usage. An unknown command
 * names the nearest one. */
int px_command_main(
    const char *program, const char *about, const px_command *commands, int argc, char **argv);

/* "PROGRAM COMMAND: sentence" on stderr; returns 2 for an INVALID_ARGUMENT that px_args_parse or
 * px_args_fail made, else 1. */
int px_command_fail(px_status status);

#endif
