/* cmd_generate.c - `control-plane generate`: continue a prompt, used as it is. */
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "control/cli/answer.h"
#include "control/cli/commands.h"

enum { PROMPT_BYTES_MAX = 8 << 20 };

const px_arg_spec px_cmd_generate_specs[] = {PX_CLIENT_SPECS, PX_ANSWER_SPECS,
    {.name = "n",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "1",
        .min = 1,
        .max = PX_ANSWER_COUNT_MAX,
        .no_env = true,
        .help = "answers to the one prompt; several are printed as each ends"},
    {.name = "best-of",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "0",
        .min = 0,
        .max = PX_ANSWER_COUNT_MAX,
        .no_env = true,
        .help = "make so many and print the likeliest of them; 0: as many as are printed"},
    {.name = "prompt-logprobs",
        .kind = PX_ARG_INT,
        .value = "N",
        .min = 0,
        .max = 20,
        .no_env = true,
        .help = "with --json: each prompt token's log probability, and the N likeliest"},
    {0}};

static const px_command_doc doc = {
    .usage = "control-plane generate [PROMPT] [options]",
    .summary =
        "Continues a text and streams what comes. Without PROMPT, or with '-', the prompt is "
        "read from standard input. 'chat' uses the model's chat template, this does not.",
    .examples = "  control-plane generate 'The capital of France is' --temperature 0\n"
                "  control-plane generate --max-tokens 64 --json < prompt.txt\n"
                "  control-plane generate 'A name for a cat:' --n 3 --best-of 5\n",
    .positional_max = 1,
};

static px_status read_prompt(const px_args *args, px_buf *prompt)
{
    const char *given = px_args_positional_count(args) ? px_args_positional(args, 0) : "-";
    if (strcmp(given, "-") == 0) return px_fs_read("-", prompt);
    px_buf_puts(prompt, given);
    return px_ok();
}

static px_status generate(
    px_client *client, const px_args *args, const px_buf *prompt, px_answer_options *options)
{
    options->sampling.n = (uint32_t)px_args_int(args, "n");
    options->sampling.best_of = (uint32_t)px_args_int(args, "best-of");
    Phalanx__V1__GenerateRequest request = PHALANX__V1__GENERATE_REQUEST__INIT;
    request.model = options->model;
    request.adapter = options->adapter;
    request.prompt_case = PHALANX__V1__GENERATE_REQUEST__PROMPT_TEXT;
    request.text = (ProtobufCBinaryData){prompt->length, (uint8_t *)px_buf_text(prompt)};
    request.sampling = &options->sampling;
    request.stopping = &options->stopping;
    request.form = &options->form;
    request.priority = options->priority;
    if (px_args_given(args, "prompt-logprobs")) {
        request.prompt_logprobs__case =
            PHALANX__V1__GENERATE_REQUEST__PROMPT_LOGPROBS__PROMPT_LOGPROBS;
        request.prompt_logprobs = (uint32_t)px_args_int(args, "prompt-logprobs");
    }
    px_answer answer;
    px_answer_begin(&answer, px_args_flag(args, "json"), options->sampling.n);
    px_status status =
        px_client_call(client, &(px_client_request){.path = "/phalanx.v1.Inference/Generate",
                                   .message = &request.base,
                                   .response = &phalanx__v1__generate_response__descriptor,
                                   .timeout_ns = options->timeout_ns,
                                   .tenant = options->tenant,
                                   .on_message = px_answer_on_part,
                                   .arg = &answer});
    if (px_is_ok(status))
        px_answer_end(&answer);
    else if (px_choices_have_text(&answer.choices) && !answer.as_json)
        putchar('\n');
    px_answer_done(&answer);
    return status;
}

static px_status run(px_client *client, const px_args *args)
{
    px_buf prompt;
    if (px_args_given(args, "prompt-logprobs") && !px_args_flag(args, "json"))
        return px_args_fail("--prompt-logprobs are told with --json only");
    px_buf_init(&prompt, PROMPT_BYTES_MAX);
    px_status status = read_prompt(args, &prompt);
    px_answer_options options;
    if (px_is_ok(status)) {
        status = px_answer_options_fill(args, &options);
        if (px_is_ok(status)) status = generate(client, args, &prompt, &options);
        px_answer_options_done(&options);
    }
    px_buf_done(&prompt);
    return status;
}

int px_cmd_generate(int argc, char **argv)
{
    return px_client_main(&(px_client_command){px_cmd_generate_specs, &doc, run}, argc, argv);
}
