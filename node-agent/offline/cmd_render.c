/* cmd_render.c - node-agent render: JSON lines of conversations in, rendered prompts out.
 *
 *   {"messages": [...], "tools": ..., "add_generation_prompt": ..., "special_tokens": {...},
 *    "kwargs": {...}, "now": "YYYY-MM-DDTHH:MM:SS"}  →  {"text": "..."} or {"error": "..."}
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/json.h"
#include "engine/text/text.h"
#include "offline/commands.h"
#include "offline/json_lines.h"

const px_arg_spec px_cmd_render_specs[] = {
    {.name = "model",
        .kind = PX_ARG_STR,
        .value = "PATH",
        .help = "model folder or GGUF file whose chat template to use"},
    {.name = "template",
        .kind = PX_ARG_STR,
        .value = "F.jinja",
        .help = "a chat template, instead of a model"},
    {0}};

static const px_command_doc doc = {
    .usage = "node-agent render --model PATH | --template F.jinja < lines",
    .summary = "Reads conversations as JSON lines and writes them as the template renders them.",
    .examples = "  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}],"
                " \"add_generation_prompt\": true}' | node-agent render --model models/NAME/1",
};

enum { TEMPLATE_BYTES_MAX = 4 << 20 };
static const size_t PROMPT_BYTES_MAX = 256u << 20;

static px_status answer_line(void *arg, const json_t *request, px_buf *line)
{
    const px_text *text = arg;
    const json_t *generate = json_object_get(request, "add_generation_prompt");
    px_chat_input input = {.messages = json_object_get(request, "messages"),
        .tools = json_object_get(request, "tools"),
        .special_tokens = json_object_get(request, "special_tokens"),
        .kwargs = json_object_get(request, "kwargs"),
        .add_generation_prompt = json_is_true(generate),
        .now = json_string_value(json_object_get(request, "now"))};
    if (!json_is_array(input.messages))
        return px_fail(PX_INVALID_ARGUMENT, "a line must have a list of 'messages'");
    px_buf prompt;
    px_buf_init(&prompt, PROMPT_BYTES_MAX);
    px_status status = px_text_render(text, &input, &prompt);
    if (px_is_ok(status)) {
        px_buf_puts(line, "{\"text\":");
        px_json_quote(line, px_buf_text(&prompt), prompt.length);
        px_buf_putc(line, '}');
    }
    px_buf_done(&prompt);
    return status;
}

static px_status open_template(const char *path, px_text *out)
{
    px_buf source;
    px_buf_init(&source, TEMPLATE_BYTES_MAX);
    px_status status = px_fs_read(path, &source);
    if (px_is_ok(status))
        status = px_prefix(
            px_chat_template_create(px_buf_text(&source), source.length, &out->chat), "%s", path);
    px_buf_done(&source);
    return status;
}

static px_status run(const px_args *args)
{
    const char *model = px_args_str(args, "model"), *path = px_args_str(args, "template");
    if (!model == !path)
        return px_fail(PX_INVALID_ARGUMENT, "give either --model or --template; see --help");
    px_text text = {0};
    PX_TRY(model ? px_text_open(model, NULL, &text) : open_template(path, &text));
    px_status status = px_json_lines_run(stdin, stdout, answer_line, &text);
    px_text_close(&text);
    return status;
}

int px_cmd_render(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_render_specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help)
        px_args_print_help(px_cmd_render_specs, &doc, stdout);
    else
        status = run(args);
    px_args_free(args);
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
