/* cmd_embed.c - node-agent embed: a text's vector, through the engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "offline/commands.h"
#include "offline/session.h"
#include "offline/token_file.h"

const px_arg_spec px_cmd_embed_specs[] = {PX_SESSION_MODEL_SPEC,
    {"text", PX_ARG_STR, "TEXT", NULL, "make a vector of this text", .no_env = true},
    {"tokens", PX_ARG_STR, "FILE", NULL, "or of these ids, separated by white space",
        .no_env = true},
    {"pooling", PX_ARG_STR, "KIND", NULL, "last, cls or mean; by default as the model says",
        .no_env = true},
    {"normalize", PX_ARG_STR, "yes|no", NULL, "to length 1; by default as the model says",
        .no_env = true},
    {"dimensions", PX_ARG_INT, "N", "0", "the first N, of models made for that; 0: all",
        .max = UINT32_MAX, .no_env = true},
    PX_SESSION_RANK_SPECS, {"json", PX_ARG_FLAG, NULL, NULL, "print JSON, one object a line"}, {0}};

static const px_command_doc doc = {
    .usage = "node-agent embed --model PATH (--text TEXT | --tokens FILE) [options]",
    .summary = "Pools a text's hidden states into one vector, as the model says.",
    .examples = "node-agent embed --model models/Qwen3-Embedding-0.6B --text 'a cat' --json"};

typedef struct embed_job {
    const px_args *args;
    px_input input;
    uint32_t *tokens; /* behind input.tokens */
    px_wanted_vectors wanted;
} embed_job;

static px_status read_wanted(embed_job *job)
{
    static const char *const names[] = {
        [PX_POOL_LAST] = "last", [PX_POOL_FIRST] = "cls", [PX_POOL_MEAN] = "mean"};
    const char *pooling = px_args_str(job->args, "pooling");
    const char *length = px_args_str(job->args, "normalize");
    job->wanted = (px_wanted_vectors){.inputs = &job->input,
        .input_count = 1,
        .dimensions = (uint32_t)px_args_int(job->args, "dimensions")};
    for (int i = PX_POOL_LAST; pooling && i < PX_POOL_COUNT; i++)
        if (strcmp(pooling, names[i]) == 0) job->wanted.pool = (px_pool)i;
    if (pooling && job->wanted.pool == PX_POOL_MODEL)
        return px_args_fail("--pooling is last, cls or mean");
    if (!length) return px_ok();
    if (strcmp(length, "yes") != 0 && strcmp(length, "no") != 0)
        return px_args_fail("--normalize is yes or no");
    job->wanted.norm = length[0] == 'y' ? PX_NORM_ONE : PX_NORM_NONE;
    return px_ok();
}

static px_status read_input(embed_job *job)
{
    const char *text = px_args_str(job->args, "text"), *tokens = px_args_str(job->args, "tokens");
    if ((text != NULL) + (tokens != NULL) != 1) return px_args_fail("give one of --text, --tokens");
    PX_TRY(read_wanted(job));
    if (text) {
        job->input.text = (px_slice){text, strlen(text)};
        return px_ok();
    }
    PX_TRY(px_token_file_read(tokens, &job->tokens, &job->input.token_count));
    job->input.tokens = job->tokens;
    return px_ok();
}

static void print(const px_event *event, bool json)
{
    if (json) printf("{\"prompt_tokens\":%u,\"values\":[", event->prompt_tokens);
    for (uint32_t i = 0; i < event->value_count; i++)
        printf(json ? "%s%.9g" : "%s%.6f", i ? (json ? "," : " ") : "", (double)event->values[i]);
    puts(json ? "]}" : "");
}

static px_status embed(void *arg, px_session *session)
{
    embed_job *job = arg;
    px_engine *engine = px_session_engine(session);
    px_request request = {.vectors = job->wanted};
    uint64_t id;
    px_event event;
    PX_TRY(px_engine_submit(engine, &request, &id));
    for (;;) {
        if (!px_session_next(session, &event))
            px_engine_cancel(engine, id);
        else if (event.kind == PX_EVENT_DONE)
            return event.status;
        else if (event.kind == PX_EVENT_ANSWERED)
            print(&event, px_args_flag(job->args, "json"));
    }
}

int px_cmd_embed(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_embed_specs, &doc, argc, argv, &args, &help);
    if (px_is_ok(status) && help) {
        px_args_print_help(px_cmd_embed_specs, &doc, stdout);
        return 0;
    }
    if (px_is_ok(status)) {
        embed_job job = {.args = args};
        status = read_input(&job);
        if (px_is_ok(status))
            status = px_session_run(args, &(px_session_options){.seqs_max = 1}, embed, &job);
        free(job.tokens);
        px_args_free(args);
    }
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
