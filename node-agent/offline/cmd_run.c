/* cmd_run.c - node-agent run: one prompt in, its continuation streamed out.
 *
 * Text goes to stdout as it comes and one line of figures to stderr; with --json every token is an
 * object and the last line is the summary that scripts read.
 */
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json.h"
#include "base/utf8.h"
#include "offline/commands.h"
#include "offline/run_answer.h"
#include "offline/session.h"
#include "offline/token_file.h"

enum {
    INPUT_BYTES_MAX = 64 << 20,
    TEMPLATE_TOKENS = 8192, /* what a chat template may add to the messages */
    SPECIAL_TOKENS = 256    /* what a tokenizer may add to a text */
};

const px_arg_spec px_cmd_run_specs[] = {PX_SESSION_MODEL_SPEC,
    {"prompt", PX_ARG_STR, "TEXT", NULL, "continue this text", .no_env = true, .group = "Prompt"},
    {"messages", PX_ARG_STR, "FILE", NULL,
        "answer the conversation in this JSON file: an array of messages, or an object with "
        "\"messages\" and \"tools\"",
        .no_env = true, .group = "Prompt"},
    {"tokens", PX_ARG_STR, "FILE", NULL, "continue these ids, separated by white space",
        .no_env = true, .group = "Prompt"},
    {"max-tokens", PX_ARG_INT, "N", "256", "end after N tokens; 0: when the context is full",
        .max = UINT32_MAX, .group = "Answer"},
    {"temperature", PX_ARG_REAL, "T", "0", "0: always the likeliest token (greedy)",
        .group = "Answer"},
    {"top-k", PX_ARG_INT, "N", "0", "draw from the N likeliest tokens; 0: off", .max = UINT32_MAX,
        .group = "Answer"},
    {"top-p", PX_ARG_REAL, "P", "1", "draw from the likeliest tokens of this total; 1: off",
        .group = "Answer"},
    {"min-p", PX_ARG_REAL, "P", "0", "drop tokens less likely than P times the likeliest; 0: off",
        .group = "Answer"},
    {"seed", PX_ARG_INT, "N", "0", "the same seed draws the same tokens", .group = "Answer"},
    {"stop", PX_ARG_STR, "TEXT", NULL, "end before this text", .repeatable = true, .no_env = true,
        .group = "Answer"},
    {"ignore-eos", PX_ARG_FLAG, NULL, NULL, "go on after the model's end token", .group = "Answer"},
    {"min-tokens", PX_ARG_INT, "N", "0", "no end before so many", .max = 1e9, .group = "Answer"},
    {"typical-p", PX_ARG_REAL, "P", "0", "draw from the most typical tokens that make up P; 0: off",
        .max = 1, .group = "Answer"},
    {"repetition-penalty", PX_ARG_REAL, "R", "0", "above 1: what was said or asked is less likely",
        .max = 100, .group = "Answer"},
    {"presence-penalty", PX_ARG_REAL, "P", "0", "what was said is less likely", .min = -100,
        .max = 100, .group = "Answer"},
    {"frequency-penalty", PX_ARG_REAL, "P", "0", "what was said often is less likely", .min = -100,
        .max = 100, .group = "Answer"},
    {"logprobs", PX_ARG_INT, "N", NULL,
        "with --json: each token's log probability, and the N likeliest", .max = 20,
        .group = "Answer"},
    {"prompt-logprobs", PX_ARG_INT, "N", NULL,
        "with --json: each prompt token's log probability, and the N likeliest", .max = 20,
        .no_env = true, .group = "Answer"},
    {"n", PX_ARG_INT, "N", "1", "answers to the one prompt; several are printed as each ends",
        .min = 1, .max = PX_CHOICES_MAX, .no_env = true, .group = "Answer"},
    {"best-of", PX_ARG_INT, "N", "0",
        "make so many and print the likeliest of them; 0: as many as are printed",
        .max = PX_CHOICES_MAX, .no_env = true, .group = "Answer"},
    {"json-schema", PX_ARG_STR, "FILE", NULL, "the answer is JSON of this schema", .no_env = true,
        .group = "Form of the answer"},
    {"json-object", PX_ARG_FLAG, NULL, NULL, "the answer is a JSON object",
        .group = "Form of the answer"},
    {"regex", PX_ARG_STR, "TEXT", NULL, "the answer matches this regular expression",
        .no_env = true, .group = "Form of the answer"},
    {"grammar", PX_ARG_STR, "FILE", NULL, "the answer keeps to this grammar (GBNF)", .no_env = true,
        .group = "Form of the answer"},
    {"choice", PX_ARG_STR, "TEXT", NULL, "the answer is one of these", .repeatable = true,
        .no_env = true, .group = "Form of the answer"},
    {"speculate", PX_ARG_STR, "HOW", NULL,
        "guess tokens and try several in one step, where that is faster; the answer is the same. "
        "lookup: from what the text said before; draft: by --draft-model; off: one token a step; "
        "default: draft if there is one, else lookup"},
    {"draft-model", PX_ARG_STR, "PATH", NULL, "a small model of the same vocabulary that guesses"},
    {"speculate-max", PX_ARG_INT, "N", "0", "guessed tokens in one step; 0: 15",
        .max = PX_PROPOSALS_MAX},
    {"adapter", PX_ARG_STR, "[NAME=]PATH", NULL,
        "answer with this LoRA adapter: a folder as PEFT saves it", .no_env = true},
    PX_SESSION_RANK_SPECS, {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line"}, {0}};

static const px_command_doc doc = {
    .usage =
        "node-agent run --model PATH (--prompt TEXT | --messages FILE | --tokens FILE) [options]",
    .summary = "Answers one prompt and streams the text. Under mpirun its processes are the ranks.",
    .examples =
        "node-agent run --model models/SmolLM2-135M-Instruct/1 --prompt 'Once upon a time'\n"
        "mpirun -n 2 node-agent run --model llama.gguf --messages chat.json --temperature 0.7"};

typedef struct run_job {
    const px_args *args;
    px_request request;
    px_buf input;     /* the prompt's file */
    uint32_t *tokens; /* behind request.tokens */
    json_t *document; /* behind request.messages */
    px_buf form;      /* behind request.bounds.form */
} run_job;

/* --- the request -------------------------------------------------------------------------- */

static px_status parse_messages(run_job *job, const char *path)
{
    px_request *request = &job->request;
    PX_TRY(px_json_parse_texts(px_buf_text(&job->input), job->input.length, path, &job->document));
    request->messages = job->document;
    if (json_is_object(job->document)) {
        request->messages = json_object_get(job->document, "messages");
        request->tools = json_object_get(job->document, "tools");
        request->template_kwargs = json_object_get(job->document, "kwargs");
    }
    if (!json_is_array(request->messages))
        return px_fail(PX_INVALID_ARGUMENT, "%s: wants an array of messages", path);
    return px_ok();
}

/* Also says how many tokens the prompt can have at most, for sizing the KV pool. */
static px_status read_prompt(run_job *job, uint64_t *out_tokens_max)
{
    const px_args *args = job->args;
    const char *text = px_args_str(args, "prompt"), *tokens = px_args_str(args, "tokens");
    const char *messages = px_args_str(args, "messages");
    if ((text != NULL) + (tokens != NULL) + (messages != NULL) != 1)
        return px_args_fail("give one of --prompt, --messages, --tokens");
    if (text) {
        size_t length = strlen(text), valid = px_utf8_valid_prefix(text, length);
        if (valid != length)
            return px_fail(PX_INVALID_ARGUMENT, "--prompt is not valid UTF-8 (at byte %zu of %zu)",
                valid, length);
        job->request.prompt = (px_slice){text, length};
        *out_tokens_max = 2 * (uint64_t)length + SPECIAL_TOKENS;
        return px_ok();
    }
    if (tokens) {
        PX_TRY(px_token_file_read(tokens, &job->tokens, &job->request.token_count));
        job->request.tokens = job->tokens;
        *out_tokens_max = job->request.token_count;
        return px_ok();
    }
    PX_TRY(px_fs_read(messages, &job->input));
    PX_TRY(parse_messages(job, messages));
    *out_tokens_max = 2 * (uint64_t)job->input.length + TEMPLATE_TOKENS;
    return px_ok();
}

static void put_choices(const px_args *args, int count, px_buf *out)
{
    for (int i = 0; i < count; i++) {
        const char *text = px_args_str_at(args, "choice", i);
        px_buf_putc(out, i ? ',' : '[');
        px_json_quote(out, text, strlen(text));
    }
    px_buf_putc(out, ']');
}

static px_status read_form(run_job *job)
{
    const px_args *args = job->args;
    px_bounds *bounds = &job->request.bounds;
    const char *schema = px_args_str(args, "json-schema"), *grammar = px_args_str(args, "grammar");
    const char *regex = px_args_str(args, "regex");
    int choices = px_args_str_count(args, "choice");
    bool object = px_args_flag(args, "json-object");
    int kinds = (schema != NULL) + (grammar != NULL) + (regex != NULL) + (choices > 0) + object;
    if (kinds > 1)
        return px_args_fail(
            "--json-schema, --json-object, --regex, --grammar and --choice exclude each other");
    if (!kinds) return px_ok();
    if (schema || grammar) PX_TRY(px_fs_read(schema ? schema : grammar, &job->form));
    if (regex) px_buf_puts(&job->form, regex);
    if (choices) put_choices(args, choices, &job->form);
    bounds->has_form = true;
    bounds->form_kind = schema    ? PX_GRAMMAR_JSON_SCHEMA
                        : grammar ? PX_GRAMMAR_GBNF
                        : regex   ? PX_GRAMMAR_REGEX
                        : choices ? PX_GRAMMAR_CHOICE
                                  : PX_GRAMMAR_JSON_OBJECT;
    bounds->form = (px_slice){px_buf_text(&job->form), job->form.length};
    return px_ok();
}

static px_status read_bounds(run_job *job)
{
    const px_args *args = job->args;
    px_request *request = &job->request;
    request->bounds =
        (px_bounds){.repetition_penalty = (float)px_args_real(args, "repetition-penalty"),
            .presence_penalty = (float)px_args_real(args, "presence-penalty"),
            .frequency_penalty = (float)px_args_real(args, "frequency-penalty"),
            .min_tokens = (uint32_t)px_args_int(args, "min-tokens")};
    request->wants_logprobs = px_args_given(args, "logprobs");
    request->top_logprobs = (uint32_t)px_args_int(args, "logprobs");
    request->wants_prompt_logprobs = px_args_given(args, "prompt-logprobs");
    request->top_prompt_logprobs = (uint32_t)px_args_int(args, "prompt-logprobs");
    return read_form(job);
}

static px_status read_request(run_job *job, uint64_t *out_tokens_max)
{
    const px_args *args = job->args;
    px_request *request = &job->request;
    request->max_tokens = (uint32_t)px_args_int(args, "max-tokens");
    request->ignore_eos = px_args_flag(args, "ignore-eos");
    request->n = (uint32_t)px_args_int(args, "n");
    request->best_of = (uint32_t)px_args_int(args, "best-of");
    request->sampling = (px_sampling){.temperature = (float)px_args_real(args, "temperature"),
        .top_k = (uint32_t)px_args_int(args, "top-k"),
        .top_p = (float)px_args_real(args, "top-p"),
        .min_p = (float)px_args_real(args, "min-p"),
        .typical_p = (float)px_args_real(args, "typical-p"),
        .seed = (uint64_t)px_args_int(args, "seed")};
    PX_TRY(read_bounds(job));
    int stops = px_args_str_count(args, "stop");
    if (stops > PX_STOPS_MAX) return px_args_fail("at most %d times --stop", PX_STOPS_MAX);
    for (int i = 0; i < stops; i++) {
        const char *stop = px_args_str_at(args, "stop", i);
        request->stops[request->stop_count++] = (px_slice){stop, strlen(stop)};
    }
    return read_prompt(job, out_tokens_max);
}

/* --- the answer --------------------------------------------------------------------------- */

/* Has the engine load the adapter that the request will name. */
static px_status load_adapter(run_job *job, px_session *session)
{
    const char *path = px_args_str(job->args, "adapter"), *equals = path ? strchr(path, '=') : NULL;
    px_slice *name = &job->request.adapter;
    uint64_t id;
    px_event event;
    if (!path) return px_ok();
    *name = equals ? (px_slice){path, (size_t)(equals - path)} : (px_slice){"adapter", 7};
    if (equals) path = equals + 1;
    PX_TRY(px_engine_load_adapter(
        px_session_engine(session), *name, (px_slice){path, strlen(path)}, &id));
    if (!px_session_next(session, &event))
        return px_fail(PX_CANCELLED, "interrupted while the adapter was loading");
    return event.status;
}

/* Submits the request and prints what comes; *out_done is its last event. */
static px_status follow(
    run_job *job, px_session *session, px_run_answer *answer, px_event *out_done)
{
    px_engine *engine = px_session_engine(session);
    uint64_t id;
    PX_TRY(px_engine_submit(engine, &job->request, &id));
    for (;;) {
        if (!px_session_next(session, out_done))
            px_engine_cancel(engine, id);
        else if (out_done->kind == PX_EVENT_DONE)
            break;
        else
            px_run_answer_take(answer, out_done);
    }
    px_run_answer_break(answer);
    return out_done->status;
}

static px_status answer(void *arg, px_session *session)
{
    run_job *job = arg;
    px_event done;
    px_run_answer answer;
    PX_TRY(load_adapter(job, session));
    px_run_answer_begin(&answer, px_args_flag(job->args, "json"), job->request.n);
    px_status status = follow(job, session, &answer, &done);
    if (px_is_ok(status)) {
        px_engine_stats stats;
        px_engine_get_stats(px_session_engine(session), &stats);
        px_run_answer_end(&answer, &done, &stats);
    }
    px_run_answer_done(&answer);
    return status;
}

/* How many are made. */
static uint32_t answers_of(const px_request *request)
{
    return request->best_of > request->n ? request->best_of : request->n;
}

/* Answers share the blocks of their prompt; each has a copy of the last, which it goes on to fill,
 * and ends somewhere in a block. */
static uint64_t kv_tokens(const px_request *request, uint64_t prompt_tokens)
{
    uint64_t each = request->max_tokens, count = answers_of(request);
    if (!each) return 0; /* as the engine chooses */
    return prompt_tokens + count * each + (count - 1) * 2 * PX_KV_BLOCK_TOKENS;
}

static px_status run(const px_args *args)
{
    run_job job = {.args = args};
    px_buf_init(&job.input, INPUT_BYTES_MAX);
    px_buf_init(&job.form, INPUT_BYTES_MAX);
    uint64_t prompt_tokens = 0;
    px_status status = read_request(&job, &prompt_tokens);
    px_session_options options = {.seqs_max = answers_of(&job.request),
        .kv_tokens = kv_tokens(&job.request, prompt_tokens),
        .adapters = px_args_str(args, "adapter") != NULL,
        .speculate = px_args_str(args, "speculate"),
        .draft_path = px_args_str(args, "draft-model"),
        .speculate_max = (uint32_t)px_args_int(args, "speculate-max")};
    if (px_is_ok(status)) status = px_session_run(args, &options, answer, &job);
    free(job.tokens);
    json_decref(job.document);
    px_buf_done(&job.input);
    px_buf_done(&job.form);
    return status;
}

int px_cmd_run(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_run_specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(px_cmd_run_specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        status = run(args);
        px_args_free(args);
    }
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
