/* command.c - a program's table of commands; see args.h. */
#include "base/args.h"

#include <string.h>

#include "base/nearest.h"

/* Who we are, for px_command_fail(); set once by px_command_main(). */
static const char *program_name = "phalanx", *command_name;

int px_command_fail(px_status status)
{
    fprintf(stderr, "%s%s%s: %s\n", program_name, command_name ? " " : "",
        command_name ? command_name : "", status.text);
    return status.code == PX_INVALID_ARGUMENT && px_args_failed() ? 2 : 1;
}

static const px_command *find_command(const px_command *commands, const char *name)
{
    for (const px_command *command = commands; command->name; command++)
        if (strcmp(command->name, name) == 0) return command;
    return NULL;
}

static int unknown_command(const px_command *commands, const char *name)
{
    px_nearest nearest = px_nearest_to(name);
    for (const px_command *command = commands; command->name; command++)
        if (!command->hidden) px_nearest_offer(&nearest, command->name);
    if (nearest.best)
        return px_command_fail(
            px_args_fail("unknown command '%.60s'; did you mean '%s'?", name, nearest.best));
    return px_command_fail(
        px_args_fail("unknown command '%.60s'; '%s --help' lists them", name, program_name));
}

static int print_overview(FILE *to, const char *about, const px_command *commands)
{
    int widest = (int)strlen("completion");
    for (const px_command *command = commands; command->name; command++)
        if (!command->hidden && (int)strlen(command->name) > widest)
            widest = (int)strlen(command->name);
    fprintf(to, "usage: %s COMMAND [options]\n\n%s\n\nCommands:\n", program_name, about);
    for (const px_command *command = commands; command->name; command++)
        if (!command->hidden) fprintf(to, "  %-*s  %s\n", widest, command->name, command->summary);
    fprintf(to, "  %-*s  %s\n", widest, "completion", "print a bash completion script");
    fprintf(to, "\n'%s COMMAND --help' explains a command; --version prints the version.\n",
        program_name);
    return 0;
}

/* --- bash completion --- */

static void print_command_words(const px_command *commands)
{
    for (const px_command *command = commands; command->name; command++)
        if (!command->hidden) printf("%s ", command->name);
    printf("completion help --help --version");
}

/* Options that take a value complete to files; their names stand in one case pattern. */
static void print_value_options(const px_arg_spec *specs)
{
    bool first = true;
    for (const px_arg_spec *spec = specs; spec->name; spec++) {
        if (spec->kind == PX_ARG_FLAG) continue;
        printf("%s--%s", first ? "" : "|", spec->name);
        first = false;
    }
    if (first) printf("''"); /* no option of this command takes a value */
}

static void print_command_case(const px_command *command)
{
    printf("    %s)\n        words=\"--help", command->name);
    if (command->specs)
        for (const px_arg_spec *spec = command->specs; spec->name; spec++)
            printf(" --%s", spec->name);
    printf("\"\n");
    if (command->specs) {
        printf("        case $prev in ");
        print_value_options(command->specs);
        printf(") words=\"\" ;; esac\n");
    }
    printf("        ;;\n");
}

static int print_completion(const px_command *commands)
{
    char function[64];
    snprintf(function, sizeof function, "_%s", program_name);
    for (char *c = function; *c; c++)
        if (*c == '-') *c = '_';
    printf("# bash completion; load it with: source <(%s completion)\n", program_name);
    printf("%s()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\"\"\n"
           "    COMPREPLY=()\n    case $COMP_CWORD:${COMP_WORDS[1]} in\n    1:*)\n        words=\"",
        function);
    print_command_words(commands);
    printf("\"\n        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "        return\n        ;;\n    esac\n    case ${COMP_WORDS[1]} in\n");
    for (const px_command *command = commands; command->name; command++)
        if (!command->hidden) print_command_case(command);
    printf("    esac\n"
           "    [[ $cur == -* ]] && COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
           "complete -o default -F %s %s\n",
        function, program_name);
    return 0;
}

/* --- dispatch --- */

static int run_command(const px_command *command, int argc, char **argv)
{
    command_name = command->name;
    int code = command->run(argc, argv);
    /* A full disk or a closed pipe must not look like success. */
    if (code == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        return px_command_fail(px_fail(PX_UNAVAILABLE, "cannot write to standard output"));
    return code;
}

int px_command_main(
    const char *program, const char *about, const px_command *commands, int argc, char **argv)
{
    program_name = program;
    command_name = NULL;
    if (argc < 2) {
        print_overview(stderr, about, commands);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) return printf("%s %s\n", program, PX_VERSION) < 0;
    if (strcmp(name, "completion") == 0) return print_completion(commands);
    bool wants_help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (wants_help && argc == 2))
        return print_overview(stdout, about, commands);

    const px_command *command = find_command(commands, wants_help ? argv[2] : name);
    if (!command) return unknown_command(commands, wants_help ? argv[2] : name);
    if (wants_help) { /* `help run` is `run --help` */
        char *help_argv[] = {argv[2], "--help", NULL};
        return run_command(command, 2, help_argv);
    }
    return run_command(command, argc - 1, argv + 1);
}
