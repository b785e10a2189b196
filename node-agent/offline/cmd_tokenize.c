/* cmd_tokenize.c - node-agent tokenize: JSON lines of text or ids in, ids and text out.
 *
 *   {"text": "..."}  →  {"ids": [...], "text": "decoded again"}
 *   {"ids": [...]}   →  {"text": "..."}
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"
#include "engine/text/text.h"
#include "offline/commands.h"
#include "offline/json_lines.h"

const px_arg_spec px_cmd_tokenize_specs[] = {
    {.name = "model",
        .kind = PX_ARG_STR,
        .value = "PATH",
        .required = true,
        .help = "model folder or GGUF file whose tokenizer to use"},
    {.name = "special",
        .kind = PX_ARG_FLAG,
        .help = "add what the tokenizer itself puts around a text (BOS, ...)"},
    {0}};

static const px_command_doc doc = {
    .usage = "node-agent tokenize --model PATH [--special] < lines",
    .summary = "Reads lines {\"text\": ...} or {\"ids\": [...]} and writes ids and text.",
    .examples = "  echo '{\"text\": \"Hello\"}' | node-agent tokenize --model models/NAME/1",
};

static const size_t TEXT_BYTES_MAX = 1u << 30;

typedef struct tokenize_job {
    px_text text;
    bool special;
    px_ids ids;
} tokenize_job;

static px_status read_ids(const json_t *list, px_ids *ids)
{
    ids->count = 0;
    size_t i, count = json_array_size(list);
    if (count > ids->capacity) {
        free(ids->data);
        ids->data = px_alloc_array(count, sizeof *ids->data);
        ids->capacity = count;
    }
    const json_t *each;
    json_array_foreach(list, i, each)
    {
        json_int_t id = json_is_integer(each) ? json_integer_value(each) : -1;
        if (id < 0 || id >= UINT32_MAX)
            return px_fail(PX_INVALID_ARGUMENT, "'ids' must be a list of token ids");
        ids->data[ids->count++] = (uint32_t)id;
    }
    return px_ok();
}

static void write_ids(const px_ids *ids, px_buf *line)
{
    px_buf_puts(line, "\"ids\":[");
    for (size_t i = 0; i < ids->count; i++)
        px_buf_printf(line, i ? ",%u" : "%u", (unsigned)ids->data[i]);
    px_buf_puts(line, "],");
}

static px_status answer(tokenize_job *job, const json_t *request, px_buf *line)
{
    const json_t *text = json_object_get(request, "text");
    const json_t *ids = json_object_get(request, "ids");
    const px_tokenizer *tokenizer = job->text.tokenizer;
    if (json_is_string(text)) {
        px_encode_options options = {.add_special = job->special, .parse_special = true};
        job->ids.count = 0;
        PX_TRY(px_tokenizer_encode(
            tokenizer, json_string_value(text), json_string_length(text), &options, &job->ids));
    } else if (json_is_array(ids)) {
        PX_TRY(read_ids(ids, &job->ids));
    } else {
        return px_fail(PX_INVALID_ARGUMENT, "a line must be {\"text\": ...} or {\"ids\": [...]}");
    }
    px_buf decoded;
    px_buf_init(&decoded, TEXT_BYTES_MAX);
    px_status status =
        px_tokenizer_decode(tokenizer, job->ids.data, job->ids.count, false, &decoded);
    if (px_is_ok(status)) {
        px_buf_putc(line, '{');
        if (json_is_string(text)) write_ids(&job->ids, line);
        px_buf_puts(line, "\"text\":");
        px_json_quote(line, px_buf_text(&decoded), decoded.length);
        px_buf_putc(line, '}');
    }
    px_buf_done(&decoded);
    return status;
}

static px_status answer_line(void *arg, const json_t *request, px_buf *line)
{
    return answer(arg, request, line);
}

int px_cmd_tokenize(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_tokenize_specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(px_cmd_tokenize_specs, &doc, stdout);
        px_args_free(args);
        return 0;
    }
    tokenize_job job = {.special = px_args_flag(args, "special")};
    status = px_text_open(px_args_str(args, "model"), NULL, &job.text);
    if (px_is_ok(status)) {
        status = px_json_lines_run(stdin, stdout, answer_line, &job);
        px_text_close(&job.text);
    }
    free(job.ids.data);
    px_args_free(args);
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
