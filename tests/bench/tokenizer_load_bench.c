/* tokenizer_load_bench.c - how long a model's text side takes to open from the page cache, beside
 * reading its tokenizer.json (or GGUF) once.
 *
 *   tokenizer_load_bench [--rounds N] MODEL...
 *
 * `read` is read() of the file from end to end into a small buffer, as `cat FILE > /dev/null`;
 * `open` is px_text_open(). CPU milliseconds of one thread, medians.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/args.h"
#include "engine/text/text.h"

enum { ROUNDS_MAX = 101, READ_BYTES = 256 << 10, PATH_BYTES = 4096 };

static const px_arg_spec specs[] = {
    {"rounds", PX_ARG_INT, "N", "11", "of which the medians are told", .min = 1, .max = ROUNDS_MAX},
    {0}};
static const px_command_doc doc = {.usage = "tokenizer_load_bench [options] MODEL...",
    .summary = "Times opening a model's tokenizer and template against reading the file.",
    .positional_min = 1,
    .positional_max = 64};

static void die(px_status status)
{
    fprintf(stderr, "tokenizer_load_bench: %s\n", status.text);
    exit(1);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double time_read(const char *path, size_t *out_bytes)
{
    static char buffer[READ_BYTES];
    double begin = cpu_ms();
    int fd = open(path, O_RDONLY);
    ssize_t got;
    *out_bytes = 0;
    while (fd >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0) *out_bytes += (size_t)got;
    if (fd >= 0) close(fd);
    return cpu_ms() - begin;
}

static double time_open(const char *path)
{
    double begin = cpu_ms();
    px_text text;
    px_status status = px_text_open(path, NULL, &text);
    if (!px_is_ok(status)) die(status);
    double took = cpu_ms() - begin;
    px_text_close(&text);
    return took;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bench(const char *model, int rounds)
{
    char file[PATH_BYTES];
    struct stat info;
    snprintf(file, sizeof file, "%s/tokenizer.json", model);
    if (stat(file, &info) != 0) snprintf(file, sizeof file, "%s", model);
    double read[ROUNDS_MAX], open[ROUNDS_MAX];
    size_t bytes = 0;
    for (int i = 0; i < rounds; i++) {
        read[i] = time_read(file, &bytes);
        open[i] = time_open(model);
    }
    qsort(read, (size_t)rounds, sizeof *read, compare_doubles);
    qsort(open, (size_t)rounds, sizeof *open, compare_doubles);
    printf("%-40s %6.1f MB  read %5.1f ms  open %6.1f ms\n", model, (double)bytes / 1e6,
        read[rounds / 2], open[rounds / 2]);
}

int main(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) die(status);
    if (help)
        px_args_print_help(specs, &doc, stdout);
    else
        for (int i = 0; i < px_args_positional_count(args); i++)
            bench(px_args_positional(args, i), (int)px_args_int(args, "rounds"));
    px_args_free(args);
    return 0;
}
