/* tokenizer_bench.c - encodes JSON strings, one a line, and says how long it took (for
 * tokenizer_speed.py). Prints one JSON object: ids a line, a checksum of all ids, CPU seconds a
 * run.
 *
 * usage: tokenizer_bench FOLDER LINES.jsonl REPEAT
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/text/text.h"

typedef struct text_lines {
    json_t **data;
    size_t count, capacity;
} text_lines;

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool read_lines(const char *path, text_lines *lines)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t capacity = 0;
    if (!file) return false;
    while (getline(&line, &capacity, file) > 0) {
        if (lines->count == lines->capacity) {
            lines->capacity = lines->capacity ? 2 * lines->capacity : 1024;
            lines->data = realloc(lines->data, lines->capacity * sizeof *lines->data);
        }
        lines->data[lines->count++] = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    }
    free(line);
    fclose(file);
    return true;
}

static px_status encode_line(const px_tokenizer *tokenizer, const json_t *line, px_ids *ids)
{
    px_encode_options options = {.parse_special = true};
    ids->count = 0;
    return px_tokenizer_encode(
        tokenizer, json_string_value(line), json_string_length(line), &options, ids);
}

static px_status check(const px_tokenizer *tokenizer, const text_lines *lines, px_ids *ids)
{
    uint32_t sum = 0;
    printf("{\"counts\": [");
    for (size_t i = 0; i < lines->count; i++) {
        PX_TRY(encode_line(tokenizer, lines->data[i], ids));
        printf("%s%zu", i ? ", " : "", ids->count);
        for (size_t k = 0; k < ids->count; k++) sum = sum * 31 + ids->data[k];
    }
    printf("], \"checksum\": %u, \"seconds\": [", sum);
    return px_ok();
}

static px_status measure(const px_tokenizer *tokenizer, const text_lines *lines, px_ids *ids)
{
    double start = cpu_seconds();
    for (size_t i = 0; i < lines->count; i++) PX_TRY(encode_line(tokenizer, lines->data[i], ids));
    printf("%.6f", cpu_seconds() - start);
    return px_ok();
}

int main(int argc, char **argv)
{
    text_lines lines = {0};
    px_ids ids = {0};
    px_text text;
    if (argc != 4 || !read_lines(argv[2], &lines)) {
        fprintf(stderr, "usage: tokenizer_bench FOLDER LINES.jsonl REPEAT\n");
        return 2;
    }
    long repeat = strtol(argv[3], NULL, 10);
    px_status status = px_text_open(argv[1], NULL, &text);
    if (px_is_ok(status)) {
        status = check(text.tokenizer, &lines, &ids);
        for (long i = 0; i < repeat && px_is_ok(status); i++) {
            if (i) printf(", ");
            status = measure(text.tokenizer, &lines, &ids);
        }
        printf("]}\n");
        px_text_close(&text);
    }
    if (!px_is_ok(status)) fprintf(stderr, "%s\n", status.text);
    for (size_t i = 0; i < lines.count; i++) json_decref(lines.data[i]);
    free(lines.data);
    free(ids.data);
    return !px_is_ok(status);
}
