/* test_run.c - node-agent run and bench as their users meet them: output, exit codes, sentences. */
#include <fcntl.h>

#include "test.h"

#include "offline/commands.h"
#include "unit/engine/tiny_model.h"

enum { ARGS_MAX = 24 };

static char folder[] = "/tmp/px_run_XXXXXX";
static char tokens_path[64], messages_path[64], out_path[64], err_path[64];

static void write_file(const char *path, const char *text)
{
    PX_CHECK_OK(px_fs_write_atomic(path, text, strlen(text), 0600));
}

static void read_file(const char *path, px_buf *out)
{
    px_buf_init(out, 1 << 20);
    PX_CHECK_OK(px_fs_read(path, out));
}

static void set_up(void)
{
    tiny_model_write(folder);
    snprintf(tokens_path, sizeof tokens_path, "%s.tokens", folder);
    snprintf(messages_path, sizeof messages_path, "%s.json", folder);
    snprintf(out_path, sizeof out_path, "%s.out", folder);
    snprintf(err_path, sizeof err_path, "%s.err", folder);
    write_file(tokens_path, "10 20\n30\t40 ");
}

static void tear_down(void)
{
    tiny_model_remove(folder);
    unlink(tokens_path);
    unlink(messages_path);
    unlink(out_path);
    unlink(err_path);
}

static int redirect(int descriptor, const char *path)
{
    int saved = dup(descriptor), file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(file, descriptor);
    close(file);
    return saved;
}

static void restore(int descriptor, int saved)
{
    dup2(saved, descriptor);
    close(saved);
}

typedef struct outcome {
    int code;
    px_buf out, err;
} outcome;

/* Runs a command with --model; `more` ends with NULL. */
static outcome call(int (*command)(int, char **), const char *const *more)
{
    char *argv[ARGS_MAX] = {"command", "--model", folder};
    int argc = 3;
    for (; *more; more++) argv[argc++] = (char *)*more;
    fflush(stdout);
    int out = redirect(1, out_path), err = redirect(2, err_path);
    outcome result = {.code = command(argc, argv)};
    fflush(stdout);
    restore(1, out);
    restore(2, err);
    read_file(out_path, &result.out);
    read_file(err_path, &result.err);
    return result;
}

static void forget(outcome *result)
{
    px_buf_done(&result->out);
    px_buf_done(&result->err);
}

static json_t *last_line(const px_buf *out)
{
    const char *text = px_buf_text(out), *end = text + out->length;
    if (end > text && end[-1] == '\n') end--;
    const char *begin = end;
    while (begin > text && begin[-1] != '\n') begin--;
    json_t *line = json_loadb(begin, (size_t)(end - begin), JSON_ALLOW_NUL, NULL); /* random text */
    PX_CHECK(line != NULL);
    return line;
}

/* The ids of an answer as JSON text; free() it. */
static char *ids_of(const char *const *more)
{
    outcome result = call(px_cmd_run, more);
    PX_CHECK(result.code == 0);
    json_t *line = last_line(&result.out);
    char *ids = json_dumps(json_object_get(line, "ids"), JSON_COMPACT);
    json_decref(line);
    forget(&result);
    return ids ? ids : px_strdup("none");
}

PX_TEST(json_ends_with_the_summary)
{
    set_up();
    outcome result = call(px_cmd_run, (const char *[]){"--tokens", tokens_path, "--max-tokens", "9",
                                          "--ignore-eos", "--json", NULL});
    PX_CHECK(result.code == 0 && result.err.length == 0);
    json_t *line = last_line(&result.out);
    PX_CHECK(json_array_size(json_object_get(line, "ids")) == 9);
    PX_CHECK(json_is_string(json_object_get(line, "text")));
    PX_CHECK_STR(json_string_value(json_object_get(line, "finish_reason")), "length");
    PX_CHECK(json_integer_value(json_object_get(line, "prompt_tokens")) == 4);
    PX_CHECK(json_real_value(json_object_get(line, "ttft_ms")) > 0);
    PX_CHECK(json_real_value(json_object_get(line, "tokens_per_s")) > 0);
    json_decref(line);
    forget(&result);
}

PX_TEST(text_goes_to_stdout_and_figures_to_stderr)
{
    outcome result = call(px_cmd_run,
        (const char *[]){"--prompt", "hello", "--max-tokens", "5", "--ignore-eos", NULL});
    PX_CHECK(result.code == 0 && result.out.length > 0);
    PX_CHECK(strstr(px_buf_text(&result.err), "5 prompt tokens, 5 answered (length)") != NULL);
    forget(&result);
}

PX_TEST(several_answers_end_with_one_summary)
{
    outcome result = call(px_cmd_run,
        (const char *[]){"--tokens", tokens_path, "--max-tokens", "6", "--ignore-eos",
            "--temperature", "1", "--seed", "5", "--n", "3", "--best-of", "4", "--json", NULL});
    PX_CHECK(result.code == 0);
    json_t *line = last_line(&result.out), *choices = json_object_get(line, "choices");
    PX_CHECK(json_array_size(choices) == 3);
    PX_CHECK(json_integer_value(json_object_get(line, "output_tokens")) == 4 * 6);
    double before = 0;
    for (size_t i = 0; i < json_array_size(choices); i++) {
        json_t *choice = json_array_get(choices, i);
        double sum = json_real_value(json_object_get(choice, "cumulative_logprob"));
        PX_CHECK(json_integer_value(json_object_get(choice, "index")) == (json_int_t)i);
        PX_CHECK(json_array_size(json_object_get(choice, "ids")) == 6);
        PX_CHECK_STR(json_string_value(json_object_get(choice, "finish_reason")), "length");
        PX_CHECK(sum <= before); /* the likeliest first */
        before = sum;
    }
    PX_CHECK(before < 0);
    json_decref(line);
    forget(&result);

    result = call(px_cmd_run, (const char *[]){"--tokens", tokens_path, "--max-tokens", "3",
                                  "--ignore-eos", "--n", "2", NULL});
    PX_CHECK(strstr(px_buf_text(&result.out), "--- answer 1: 3 tokens (length)\n") != NULL);
    forget(&result);
}

PX_TEST(the_first_of_several_answers_is_the_one_alone)
{
    const char *args[ARGS_MAX] = {"--tokens", tokens_path, "--max-tokens", "8", "--ignore-eos",
        "--temperature", "1", "--seed", "3", "--json"};
    char *alone = ids_of(args);
    args[10] = "--n", args[11] = "2";
    outcome result = call(px_cmd_run, args);
    json_t *line = last_line(&result.out), *choices = json_object_get(line, "choices");
    char *ids[2];
    for (size_t i = 0; i < 2; i++)
        ids[i] = json_dumps(
            json_object_get(json_array_get(choices, i), "ids"), JSON_COMPACT | JSON_ENCODE_ANY);
    PX_CHECK_STR(ids[0] ? ids[0] : "none", alone);
    PX_CHECK(ids[1] && strcmp(ids[1], alone) != 0);
    free(ids[0]);
    free(ids[1]);
    free(alone);
    json_decref(line);
    forget(&result);
}

PX_TEST(the_summary_tells_what_the_prompt_was_worth)
{
    outcome result = call(px_cmd_run, (const char *[]){"--tokens", tokens_path, "--max-tokens", "1",
                                          "--prompt-logprobs", "2", "--json", NULL});
    json_t *line = last_line(&result.out), *prompt = json_object_get(line, "prompt_logprobs");
    static const json_int_t ids[] = {10, 20, 30, 40};
    PX_CHECK(json_array_size(prompt) == 4);
    for (size_t i = 0; i < json_array_size(prompt); i++) {
        json_t *token = json_array_get(prompt, i);
        PX_CHECK(json_integer_value(json_object_get(token, "id")) == ids[i]);
        PX_CHECK((json_real_value(json_object_get(token, "logprob")) < 0) == (i > 0));
        PX_CHECK(json_array_size(json_object_get(token, "top_logprobs")) == (i ? 2 : 0));
    }
    json_decref(line);
    forget(&result);
}

PX_TEST(ranks_threads_and_kernels_give_the_same_tokens)
{
    static const char *const ways[][5] = {
        {"--threads", "1", NULL},
        {"--threads", "3", NULL},
        {"--tp", "2", NULL},
        {"--tp", "3", "--pp", "2", NULL},
        {"--kernels", "scalar", NULL},
    };
    char *want = ids_of((const char *[]){
        "--tokens", tokens_path, "--max-tokens", "30", "--ignore-eos", "--json", NULL});
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const char *args[ARGS_MAX] = {
            "--tokens", tokens_path, "--max-tokens", "30", "--ignore-eos", "--json"};
        for (int j = 0; ways[i][j]; j++) args[6 + j] = ways[i][j];
        char *got = ids_of(args);
        PX_CHECK_STR(got, want);
        free(got);
    }
    free(want);
}

PX_TEST(a_seed_repeats_and_another_differs)
{
    const char *args[] = {"--prompt", "dice", "--max-tokens", "30", "--temperature", "1",
        "--ignore-eos", "--json", "--seed", "7", NULL};
    char *first = ids_of(args), *again = ids_of(args);
    args[9] = "8";
    char *other = ids_of(args);
    PX_CHECK_STR(again, first);
    PX_CHECK(strcmp(other, first) != 0);
    free(first);
    free(again);
    free(other);
}

static void fails(int (*command)(int, char **), int code, const char *says, const char *const *more)
{
    outcome result = call(command, more);
    PX_CHECK(result.code == code);
    PX_CHECK(result.out.length == 0);
    const char *text = px_buf_text(&result.err), *newline = strchr(text, '\n');
    PX_CHECK(newline && !newline[1]); /* one line */
    PX_CHECK(strstr(text, says) != NULL);
    if (!strstr(text, says)) printf("  said: %s", text);
    forget(&result);
}

/* Failures of usage come last: a process remembers that it had one. */
PX_TEST(bad_input_gets_one_sentence_and_exit_code_1)
{
    fails(px_cmd_run, 1, "temperature",
        (const char *[]){"--prompt", "a", "--temperature", "-1", NULL});
    fails(px_cmd_run, 1, "top_p", (const char *[]){"--prompt", "a", "--top-p", "0", NULL});
    fails(px_cmd_run, 1, "empty", (const char *[]){"--prompt", "", NULL});
    fails(px_cmd_run, 1, "UTF-8 (at byte 1 of 3)", (const char *[]){"--prompt", "a\xff!", NULL});
    fails(px_cmd_run, 1, "stop string", (const char *[]){"--prompt", "a", "--stop", "", NULL});
    fails(px_cmd_run, 1, "KV type", (const char *[]){"--prompt", "a", "--kv-type", "q3", NULL});
    fails(px_cmd_run, 1, "abacus", (const char *[]){"--prompt", "a", "--kernels", "abacus", NULL});
    fails(px_cmd_run, 1, "nowhere", (const char *[]){"--tokens", "/nowhere", NULL});
    fails(px_cmd_run, 1, "rank", (const char *[]){"--prompt", "a", "--pp", "9", NULL});

    write_file(messages_path, "[{\"role\":\"user\",\"content\":\"hi\"}]");
    fails(px_cmd_run, 1, "chat template", (const char *[]){"--messages", messages_path, NULL});
    write_file(messages_path, "{\"messages\":3}");
    fails(px_cmd_run, 1, "array", (const char *[]){"--messages", messages_path, NULL});
    write_file(tokens_path, "1 two\n3");
    fails(px_cmd_run, 1, "'two'", (const char *[]){"--tokens", tokens_path, NULL});
    write_file(tokens_path, "1 300");
    fails(px_cmd_run, 1, "token 300", (const char *[]){"--tokens", tokens_path, NULL});
    char many[2 * TINY_CONTEXT + 1];
    for (int i = 0; i < 2 * TINY_CONTEXT; i++) many[i] = "1 "[i % 2];
    many[2 * TINY_CONTEXT] = '\0';
    write_file(tokens_path, many);
    fails(px_cmd_run, 1, "the context holds 512", (const char *[]){"--tokens", tokens_path, NULL});
}

PX_TEST(what_cannot_be_a_model_is_called_what_it_is)
{
    fails(px_cmd_run, 1, "/dev/null is neither a file nor a folder",
        (const char *[]){"--model", "/dev/null", "--prompt", "a", NULL});
    fails(px_cmd_run, 1, "/nowhere: No such file",
        (const char *[]){"--model", "/nowhere", "--prompt", "a", NULL});
    fails(px_cmd_run, 1, "neither a GGUF file nor config.json",
        (const char *[]){"--model", "/proc/self/fdinfo", "--prompt", "a", NULL});
}

PX_TEST(a_single_token_has_no_perplexity)
{
    write_file(tokens_path, "7\n");
    outcome result = call(px_cmd_score, (const char *[]){"--tokens", tokens_path, "--json", NULL});
    json_t *line = last_line(&result.out);
    PX_CHECK(result.code == 0 && json_is_null(json_object_get(line, "perplexity")));
    PX_CHECK(json_integer_value(json_object_get(line, "tokens")) == 1);
    json_decref(line);
    forget(&result);
    write_file(tokens_path, "7 8");
    result = call(px_cmd_score, (const char *[]){"--tokens", tokens_path, "--json", NULL});
    line = last_line(&result.out);
    PX_CHECK(json_number_value(json_object_get(line, "perplexity")) > 1);
    json_decref(line);
    forget(&result);
}

PX_TEST(bench_reports_every_test)
{
    outcome result =
        call(px_cmd_bench, (const char *[]){"--prompt-tokens", "64", "--gen-tokens", "8", "--batch",
                               "2,5", "--repeat", "2", "--threads", "2", "--json", NULL});
    PX_CHECK(result.code == 0 && result.err.length == 0);
    static const char *const names[] = {"pp64", "tg8", "batch2", "batch5"};
    const char *at = px_buf_text(&result.out);
    for (int i = 0; i < 4; i++) {
        const char *newline = strchr(at, '\n');
        PX_REQUIRE(newline);
        json_t *line = NULL;
        PX_CHECK_OK(px_json_parse(at, (size_t)(newline - at), "a line", &line));
        PX_CHECK_STR(json_string_value(json_object_get(line, "test")), names[i]);
        PX_CHECK(json_integer_value(json_object_get(line, "threads")) == 2);
        double median = json_number_value(json_object_get(line, "tokens_per_s"));
        PX_CHECK(median > 0 &&
                 median >= json_number_value(json_object_get(line, "tokens_per_s_min")) &&
                 median <= json_number_value(json_object_get(line, "tokens_per_s_max")));
        json_decref(line);
        at = newline + 1;
    }
    PX_CHECK(*at == '\0');
    forget(&result);
    fails(px_cmd_bench, 1, "context", (const char *[]){"--prompt-tokens", "9999", NULL});
}

PX_TEST(wrong_usage_gets_one_sentence_and_exit_code_2)
{
    fails(px_cmd_run, 2, "--prompt", (const char *[]){NULL});
    fails(px_cmd_run, 2, "--prompt",
        (const char *[]){"--prompt", "a", "--tokens", tokens_path, NULL});
    fails(
        px_cmd_run, 2, "max-tokens", (const char *[]){"--prompt", "a", "--max-tokens", "-1", NULL});
    fails(px_cmd_bench, 2, "--batch", (const char *[]){"--batch", "2,x", NULL});
    tear_down();
}

PX_TEST_MAIN()
