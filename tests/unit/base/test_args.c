/* test_args.c - what a command line may look like, and what each wrong one is told. */
#include <unistd.h>

#include "base/args.h"
#include "base/child.h"
#include "base/fs.h"
#include "test.h"

static const px_arg_spec specs[] = {
    {"model", PX_ARG_STR, "PATH", NULL, "a model", .required = true},
    {"max-tokens", PX_ARG_INT, "N", "128", "how many", .min = 1, .max = 4096},
    {"seed", PX_ARG_INT, "N", NULL, "seed"},
    {"temperature", PX_ARG_REAL, "T", "0.7", "how bold", .max = 2, .group = "Sampling"},
    {"stop", PX_ARG_STR, "TEXT", NULL, "ends the answer", .repeatable = true, .group = "Sampling"},
    {"json", PX_ARG_FLAG, NULL, NULL, "print JSON"},
    {"secret", PX_ARG_STR, "TEXT", NULL, "not from the environment", .no_env = true}, {0}};
static const px_command_doc doc = {
    "prog run --model PATH [options] [FILE]", "Runs a model.", "  prog run --model m", 0, 1};

#define PARSE(...)                                                                                 \
    char *argv[] = {"run", __VA_ARGS__};                                                           \
    px_args *args = NULL;                                                                          \
    bool help = false;                                                                             \
    px_status status =                                                                             \
        px_args_parse(specs, &doc, (int)(sizeof argv / sizeof argv[0]), argv, &args, &help)

#define CHECK_REFUSED(sentence, ...)                                                               \
    do {                                                                                           \
        PARSE(__VA_ARGS__);                                                                        \
        PX_CHECK(status.code == PX_INVALID_ARGUMENT && args == NULL);                              \
        PX_CHECK_STR(status.text, sentence);                                                       \
    } while (0)

PX_TEST(both_spellings_defaults_and_positionals)
{
    PARSE("--model", "m.gguf", "--max-tokens=7", "in.txt", "--json", "--temperature", "1.5");
    PX_CHECK_OK(status);
    PX_REQUIRE(args != NULL);
    PX_CHECK_STR(px_args_str(args, "model"), "m.gguf");
    PX_CHECK(px_args_int(args, "max-tokens") == 7);
    PX_CHECK(px_args_real(args, "temperature") == 1.5);
    PX_CHECK(px_args_flag(args, "json") && px_args_given(args, "json"));
    PX_CHECK(!px_args_given(args, "seed") && px_args_int(args, "seed") == 0);
    PX_CHECK(px_args_str(args, "secret") == NULL);
    PX_CHECK(px_args_positional_count(args) == 1);
    PX_CHECK_STR(px_args_positional(args, 0), "in.txt");
    px_args_free(args);
}

PX_TEST(the_last_value_counts_and_repeatable_ones_add_up)
{
    PARSE("--model", "a", "--model=b", "--stop", "x", "--stop=", "--json=false", "--stop", "--y",
        "--", "--json");
    PX_CHECK_OK(status);
    PX_REQUIRE(args != NULL);
    PX_CHECK_STR(px_args_str(args, "model"), "b");
    PX_CHECK(px_args_str_count(args, "stop") == 3);
    PX_CHECK_STR(px_args_str_at(args, "stop", 1), "");
    PX_CHECK_STR(px_args_str_at(args, "stop", 2), "--y"); /* no option of ours: a value */
    PX_CHECK(!px_args_flag(args, "json") && px_args_int(args, "max-tokens") == 128);
    PX_CHECK_STR(px_args_positional(args, 0), "--json");
    px_args_free(args);
}

PX_TEST(negative_numbers_are_values)
{
    PARSE("--model", "-", "--seed", "-9223372036854775808");
    PX_CHECK_OK(status);
    PX_REQUIRE(args != NULL);
    PX_CHECK(px_args_int(args, "seed") == INT64_MIN);
    PX_CHECK_STR(px_args_str(args, "model"), "-");
    px_args_free(args);
}

PX_TEST(wrong_lines_are_told_what_to_write)
{
    CHECK_REFUSED("unknown option '--modle'; did you mean '--model'?", "--modle", "x");
    CHECK_REFUSED("unknown option '--max'; did you mean '--max-tokens'?", "--max=3");
    CHECK_REFUSED("unknown option '--zzzzz'; --help lists them", "--zzzzz");
    CHECK_REFUSED("unknown option '-m'; options are written --name", "-m", "x");
    CHECK_REFUSED("--model needs a value (PATH)", "--model");
    CHECK_REFUSED("--model needs a value (PATH)", "--model", "--json");
    CHECK_REFUSED("--model PATH is required", "--json");
    CHECK_REFUSED("--max-tokens must be from 1 to 4096, not 0", "--max-tokens", "0");
    CHECK_REFUSED("--max-tokens must be a whole number, not '1.5'", "--max-tokens", "1.5");
    CHECK_REFUSED("--seed must be a whole number, not '99999999999999999999'", "--seed",
        "99999999999999999999");
    CHECK_REFUSED("--temperature must be a number, not 'nan'", "--temperature", "nan");
    CHECK_REFUSED("--temperature must be from 0 to 2, not 2.1", "--temperature", "2.1");
    CHECK_REFUSED("--json is true or false, not 'maybe'", "--json=maybe");
    CHECK_REFUSED("unexpected argument 'b'; usage: prog run --model PATH [options] [FILE]",
        "--model", "m", "a", "b");
    PX_CHECK(px_args_failed());
}

PX_TEST(the_environment_stands_in_and_the_line_wins)
{
    setenv("PHALANX_MODEL", "from-env", 1);
    setenv("PHALANX_MAX_TOKENS", "9", 1);
    setenv("PHALANX_JSON", "yes", 1);
    setenv("PHALANX_SECRET", "no", 1);
    {
        PARSE("--max-tokens", "10");
        PX_CHECK_OK(status);
        PX_REQUIRE(args != NULL);
        PX_CHECK_STR(px_args_str(args, "model"), "from-env");
        PX_CHECK(px_args_int(args, "max-tokens") == 10 && px_args_flag(args, "json"));
        PX_CHECK(px_args_str(args, "secret") == NULL);
        px_args_free(args);
    }
    setenv("PHALANX_MAX_TOKENS", "many", 1);
    CHECK_REFUSED("PHALANX_MAX_TOKENS: --max-tokens must be a whole number, not 'many'", "--json");
    unsetenv("PHALANX_MODEL");
    unsetenv("PHALANX_MAX_TOKENS");
    unsetenv("PHALANX_JSON");
    unsetenv("PHALANX_SECRET");
}

PX_TEST(help_is_asked_for_before_anything_is_checked)
{
    PARSE("--nonsense", "--help");
    PX_CHECK_OK(status);
    PX_CHECK(help && args == NULL);
    px_args_free(args);
}

PX_TEST(help_shows_groups_defaults_and_ranges)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    px_args_print_help(specs, &doc, to);
    fclose(to);
    PX_CHECK(strstr(text, "usage: prog run --model PATH") == text);
    PX_CHECK(strstr(text, "\nOptions:\n  --model PATH"));
    PX_CHECK(strstr(text, "\nSampling:\n  --temperature T"));
    PX_CHECK(strstr(text, "how many (default 128; 1 to 4096)"));
    PX_CHECK(strstr(text, "a model (required)") && strstr(text, "(may be repeated)"));
    PX_CHECK(strstr(text, "  prog run --model m\n"));
    /* In the first group, though declared after the second. */
    PX_CHECK(strstr(text, "--json") < strstr(text, "Sampling:"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        PX_CHECK(strcspn(line, "\n") <= 100);
    free(text);
}

/* --- the table of commands --- */

static int ran_argc;

static int run_fine(int argc, char **argv)
{
    ran_argc = argc;
    return 0;
}

static int run_badly(int argc, char **argv)
{
    return px_command_fail(px_fail(PX_INVALID_ARGUMENT, "the file is broken"));
}

static int run_misused(int argc, char **argv)
{
    return px_command_fail(px_args_fail("--a and --b exclude each other"));
}

static const px_command commands[] = {{"run", run_fine, "runs", specs, false},
    {"bad", run_badly, "fails", NULL, false}, {"misused", run_misused, "is misused", NULL, false},
    {"inner", run_fine, "not for people", NULL, true}, {0}};

/* Runs a command line with both outputs in `out`; returns the exit code. */
static int run_line(char *const *argv, px_buf *out)
{
    char path[] = "/tmp/px_args_XXXXXX";
    int file = mkstemp(path), saved_out = dup(1), saved_err = dup(2), argc = 0;
    while (argv[argc]) argc++;
    fflush(stdout);
    dup2(file, 1);
    dup2(file, 2);
    int code = px_command_main("prog", "About it.", commands, argc, (char **)argv);
    fflush(stdout);
    dup2(saved_out, 1);
    dup2(saved_err, 2);
    px_buf_init(out, 1 << 16);
    PX_CHECK_OK(px_fs_read(path, out));
    close(file);
    close(saved_out);
    close(saved_err);
    unlink(path);
    return code;
}

#define CHECK_LINE(code, part, ...)                                                                \
    do {                                                                                           \
        px_buf out_;                                                                               \
        PX_CHECK(run_line((char *const[]){"prog", __VA_ARGS__, NULL}, &out_) == (code));           \
        PX_CHECK(strstr(px_buf_text(&out_), (part)) != NULL);                                      \
        px_buf_done(&out_);                                                                        \
    } while (0)

PX_TEST(commands_exit_with_what_happened)
{
    CHECK_LINE(0, "", "run", "x", "y");
    PX_CHECK(ran_argc == 3);
    CHECK_LINE(2, "prog: unknown command 'rnu'; did you mean 'run'?\n", "rnu");
    CHECK_LINE(2, "prog misused: --a and --b exclude each other\n", "misused");
    CHECK_LINE(0, "prog " PX_VERSION "\n", "--version");
    CHECK_LINE(0, "  misused     is misused\n", "--help");
    CHECK_LINE(0, "", "help", "run");
    PX_CHECK(ran_argc == 2);
    CHECK_LINE(0, "", "inner");
    px_buf out;
    PX_CHECK(run_line((char *const[]){"prog", NULL}, &out) == 2);
    PX_CHECK(
        strstr(px_buf_text(&out), "usage: prog COMMAND") && !strstr(px_buf_text(&out), "inner"));
    px_buf_done(&out);
}

static void take_line(void *arg, const char *line)
{
    px_buf_puts(arg, line);
    px_buf_putc(arg, '\n');
}

static px_loop *bash_loop;
static void bash_ended(void *arg, int exit_code, int signal_number)
{
    PX_CHECK(exit_code == 0 && signal_number == 0);
    px_loop_stop(bash_loop);
}

PX_TEST(completion_is_bash_that_works)
{
    px_buf script, said;
    PX_CHECK(run_line((char *const[]){"prog", "completion", NULL}, &script) == 0);
    px_buf_puts(&script,
        "COMP_WORDS=(prog run --ma); COMP_CWORD=2; _prog; echo \"${COMPREPLY[*]}\"\n"
        "COMP_WORDS=(prog ''); COMP_CWORD=1; _prog; echo \"${COMPREPLY[*]}\"\n"
        "COMP_WORDS=(prog run --model x); COMP_CWORD=3; _prog; echo \"[${COMPREPLY[*]}]\"\n");
    px_buf_init(&said, 1 << 16);
    px_child *bash;
    const char *argv[] = {"bash", "-c", px_buf_text(&script), NULL};
    PX_CHECK_OK(px_loop_create(&bash_loop));
    PX_CHECK_OK(px_child_start(bash_loop,
        &(px_child_options){
            .argv = argv, .on_line = take_line, .on_exit = bash_ended, .arg = &said},
        &bash));
    px_loop_run(bash_loop);
    px_loop_free(bash_loop);
    PX_CHECK_STR(
        px_buf_text(&said), "--max-tokens\nrun bad misused completion help --help --version\n[]\n");
    px_buf_done(&script);
    px_buf_done(&said);
}

PX_TEST_MAIN()
