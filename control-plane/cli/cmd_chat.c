/* cmd_chat.c - `control-plane chat`: one question, or a conversation on the terminal.
 *
 * The conversation reads lines through the client's loop, so that Ctrl-C is an event like any
 * other: during an answer it ends the answer, a second one or one at the prompt ends the program.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/term.h"
#include "control/cli/answer.h"
#include "control/cli/commands.h"

enum { MESSAGES_MAX = 1024, LINE_BYTES_MAX = 1 << 20 };

const px_arg_spec px_cmd_chat_specs[] = {PX_CLIENT_SPECS, PX_ANSWER_SPECS,
    {.name = "system",
        .kind = PX_ARG_STR,
        .value = "TEXT",
        .no_env = true,
        .help = "what the model should know before the conversation"},
    {0}};

static const px_command_doc doc = {
    .usage = "control-plane chat [MESSAGE] [options]",
    .summary =
        "Talks with a model. With MESSAGE it answers that; without, it holds a conversation: "
        "/reset forgets it, /quit or Ctrl-D ends it, Ctrl-C ends an answer.",
    .examples = "  control-plane chat 'Explain gravity in one sentence.'\n"
                "  control-plane chat --system 'Answer in French.' --temperature 0.7\n",
    .positional_max = 1,
};

typedef struct chat {
    px_client *client;
    px_answer_options options;
    bool as_json, show_prompt;
    Phalanx__V1__ChatMessage messages[MESSAGES_MAX], *pointers[MESSAGES_MAX]; /* contents owned */
    size_t count, system_count;
    px_buf input; /* bytes read behind the last line */
    bool answering, cancelled, quit, ended;
} chat;

/* ------------------------------------------------------------------------------ history */

static void add_message(chat *c, char *role, const char *text, size_t length)
{
    Phalanx__V1__ChatMessage *message = &c->messages[c->count];
    phalanx__v1__chat_message__init(message);
    message->role = role; /* static */
    message->content.data = px_alloc(length + 1);
    message->content.len = length;
    memcpy(message->content.data, text, length);
    c->pointers[c->count++] = message;
}

static void forget_from(chat *c, size_t first)
{
    while (c->count > first) free(c->messages[--c->count].content.data);
}

/* Asks with all the messages so far and keeps the answer (or what came of it) as one more. */
static px_status ask(chat *c)
{
    Phalanx__V1__ChatRequest request = PHALANX__V1__CHAT_REQUEST__INIT;
    request.model = c->options.model;
    request.adapter = c->options.adapter;
    request.messages = c->pointers;
    request.n_messages = c->count;
    request.sampling = &c->options.sampling;
    request.stopping = &c->options.stopping;
    request.form = &c->options.form;
    request.priority = c->options.priority;
    px_answer answer;
    px_answer_begin(&answer, c->as_json, 1);
    c->answering = true;
    c->cancelled = false;
    px_status status =
        px_client_call(c->client, &(px_client_request){.path = "/phalanx.v1.Inference/Chat",
                                      .message = &request.base,
                                      .response = &phalanx__v1__generate_response__descriptor,
                                      .timeout_ns = c->options.timeout_ns,
                                      .tenant = c->options.tenant,
                                      .on_message = px_answer_on_part,
                                      .arg = &answer});
    c->answering = false;
    if (px_is_ok(status))
        px_answer_end(&answer);
    else if (!c->as_json)
        putchar('\n');
    if (c->cancelled) status = px_ok();
    if (px_is_ok(status)) {
        const px_buf *text = &answer.choices.list[0].text;
        add_message(c, "assistant", px_buf_text(text), text->length);
    } else {
        forget_from(c, c->count - 1); /* the question, so that it can be asked again */
    }
    px_answer_done(&answer);
    return status;
}

/* ------------------------------------------------------------------------------ lines */

static void on_interrupt(void *arg)
{
    chat *c = arg;
    if (c->answering && !c->cancelled) {
        c->cancelled = true;
        px_client_cancel(c->client);
        return;
    }
    c->quit = true;
    px_client_cancel(c->client);
    if (!c->answering) px_rpc_stop(px_client_rpc(c->client));
}

static void on_input(void *arg, int fd, unsigned ready)
{
    chat *c = arg;
    char bytes[4096];
    ssize_t length = read(fd, bytes, sizeof bytes);
    if (length < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (length <= 0)
        c->ended = true;
    else
        px_buf_append(&c->input, bytes, (size_t)length);
    px_rpc_stop(px_client_rpc(c->client));
}

/* Waits for input, or for Ctrl-C. A file cannot be watched, but is always ready. */
static void wait_for_input(chat *c)
{
    px_loop *loop = px_client_loop(c->client);
    if (!px_is_ok(px_loop_watch(loop, STDIN_FILENO, PX_LOOP_READ, on_input, c)))
        on_input(c, STDIN_FILENO, PX_LOOP_READ);
    px_rpc_run(px_client_rpc(c->client));
    px_loop_unwatch(loop, STDIN_FILENO);
}

/* The next line without its newline, malloc'd; NULL: end of input, Ctrl-C, or a line too long. */
static char *next_line(chat *c)
{
    if (c->show_prompt) fputs("> ", stderr);
    for (;;) {
        const char *text = px_buf_text(&c->input), *newline = strchr(text, '\n');
        if (newline || (c->ended && c->input.length)) {
            size_t length = newline ? (size_t)(newline - text) : c->input.length;
            char *line = strndup(text, length);
            char *rest = px_strdup(newline ? newline + 1 : "");
            px_buf_reset(&c->input);
            px_buf_puts(&c->input, rest);
            free(rest);
            return line;
        }
        if (c->ended || c->quit || c->input.overflowed) return NULL;
        wait_for_input(c);
    }
}

/* False: the conversation is over. */
static bool take_line(chat *c, const char *line)
{
    if (strcmp(line, "/quit") == 0) return false;
    if (strcmp(line, "/reset") == 0) {
        forget_from(c, c->system_count);
    } else if (c->count + 2 > MESSAGES_MAX) {
        fputs("the conversation is too long: /reset starts a new one\n", stderr);
    } else if (line[0]) {
        add_message(c, "user", line, strlen(line));
        px_status status = ask(c);
        if (!px_is_ok(status)) px_command_fail(status); /* says so; the conversation goes on */
    }
    return !c->quit;
}

static px_status converse(chat *c)
{
    PX_TRY(px_loop_on_terminate(px_client_loop(c->client), on_interrupt, c));
    c->show_prompt = isatty(STDIN_FILENO) && !c->as_json;
    if (c->show_prompt) fputs("/reset forgets, /quit ends, Ctrl-C ends an answer\n", stderr);
    px_buf_init(&c->input, LINE_BYTES_MAX);
    bool goes_on = true;
    while (goes_on) {
        char *line = next_line(c);
        goes_on = line && take_line(c, line);
        free(line);
    }
    if (c->show_prompt) fputc('\n', stderr);
    px_buf_done(&c->input);
    return px_ok();
}

/* ------------------------------------------------------------------------------ the command */

static px_status run(px_client *client, const px_args *args)
{
    chat *c = px_alloc(sizeof *c);
    c->client = client;
    c->as_json = px_args_flag(args, "json");
    px_status status = px_answer_options_fill(args, &c->options);
    if (px_is_ok(status)) {
        const char *system = px_args_str(args, "system");
        if (system) add_message(c, "system", system, strlen(system));
        c->system_count = c->count;
        if (px_args_positional_count(args)) {
            const char *question = px_args_positional(args, 0);
            add_message(c, "user", question, strlen(question));
            status = ask(c);
        } else {
            status = converse(c);
        }
    }
    forget_from(c, 0);
    px_answer_options_done(&c->options);
    free(c);
    return status;
}

int px_cmd_chat(int argc, char **argv)
{
    return px_client_main(&(px_client_command){px_cmd_chat_specs, &doc, run}, argc, argv);
}
