/* remote_start.c - `node-agent remote-start HOST COMMAND…`: what mpirun runs in place of ssh.
 *
 * It asks the agent of its own machine, which asks the control plane, which asks the agent of HOST.
 * Output, exit status and signals come and go as ssh's would. The agent's socket and the group come
 * through the environment that the agent gave to mpirun.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster/commands.h"
#include "cluster/wire.h"

const px_arg_spec px_cmd_remote_start_specs[] = {
    {"socket", PX_ARG_STR, "PATH", NULL, "where this machine's agent listens", .required = true},
    {"group", PX_ARG_STR, "NAME", NULL, "the group that is being launched", .required = true},
    {"generation", PX_ARG_INT, "N", "0", "its generation", .min = 0, .max = 9e15}, {0}};

static const px_command_doc doc = {
    .usage = "PHALANX_SOCKET=PATH PHALANX_GROUP=NAME node-agent remote-start HOST COMMAND…",
    .summary =
        "start mpirun's daemon on another machine of the cluster (for mpirun, in place of ssh)",
};

enum { EXIT_LOST = 255 }; /* what ssh says when the connection breaks */

typedef struct helper {
    px_loop *loop;
    px_wire *wire;
    bool ended;
    int exit_code;
    px_status failure;
} helper;

/* The first word counts: a socket closes after whatever was said on it. */
static void end(helper *h, int exit_code, px_status failure)
{
    if (h->ended) return;
    h->ended = true;
    h->exit_code = exit_code;
    h->failure = failure;
    px_loop_stop(h->loop);
}

static void write_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t wrote = write(fd, data, length);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return; /* mpirun does not listen any more */
        data += wrote;
        length -= (size_t)wrote;
    }
}

static void on_message(void *arg, px_wire *wire, const px_msg_local *message)
{
    helper *h = arg;
    switch (message->kind_case) {
    case PX_LOCAL(REMOTE_OUTPUT):
        write_all(message->remote_output->is_stderr ? STDERR_FILENO : STDOUT_FILENO,
            message->remote_output->data.data, message->remote_output->data.len);
        break;
    case PX_LOCAL(REMOTE_EXIT):
        end(h, message->remote_exit->exit_code,
            message->remote_exit->message[0]
                ? px_fail(PX_ABORTED, "%s", message->remote_exit->message)
                : px_ok());
        break;
    case PX_LOCAL(REFUSAL):
        end(h, 1, px_fail(PX_PERMISSION_DENIED, "%s", message->refusal->message));
        break;
    default: break; /* not for us */
    }
}

static void on_closed(void *arg, px_wire *wire, px_status why)
{
    helper *h = arg;
    h->wire = NULL;
    end(h, EXIT_LOST, px_prefix(why, "the agent"));
}

static void on_terminate(void *arg)
{
    helper *h = arg;
    Phalanx__V1__RemoteSignal forward = PHALANX__V1__REMOTE_SIGNAL__INIT;
    forward.signal = SIGTERM;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(REMOTE_SIGNAL);
    message.remote_signal = &forward;
    if (!h->wire || !px_is_ok(px_wire_send(h->wire, &message)))
        end(h, EXIT_LOST, px_fail(PX_UNAVAILABLE, "the agent does not take the signal"));
}

static px_status ask(helper *h, const px_args *args, int argc, char **argv)
{
    px_wire_events events = {.on_message = on_message, .on_closed = on_closed, .arg = h};
    PX_TRY(px_loop_create(&h->loop));
    PX_TRY(px_loop_on_terminate(h->loop, on_terminate, h));
    PX_TRY(px_wire_connect(h->loop, px_args_str(args, "socket"), &events, &h->wire));
    px_msg_remote_ask request = PHALANX__V1__REMOTE_START_REQUEST__INIT;
    request.group = (char *)px_args_str(args, "group");
    request.generation = (uint64_t)px_args_int(args, "generation");
    request.host = argv[1];
    request.argv = argv + 2;
    request.n_argv = (size_t)argc - 2;
    px_msg_local message = PHALANX__V1__LOCAL_MESSAGE__INIT;
    message.kind_case = PX_LOCAL(REMOTE_START);
    message.remote_start = &request;
    PX_TRY(px_wire_send(h->wire, &message));
    px_loop_run(h->loop);
    return h->failure;
}

int px_cmd_remote_start(int argc, char **argv)
{
    px_args *args;
    bool help;
    /* Options come from the environment alone: the words belong to the command to start. */
    bool asks_help = argc == 2 && strcmp(argv[1], "--help") == 0;
    px_status status =
        px_args_parse(px_cmd_remote_start_specs, &doc, asks_help ? argc : 1, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(px_cmd_remote_start_specs, &doc, stdout);
        return 0;
    }
    if (argc < 3)
        return px_command_fail(px_fail(PX_INVALID_ARGUMENT, "HOST and COMMAND are missing"));
    helper h = {.exit_code = 1, .failure = px_ok()};
    status = ask(&h, args, argc, argv);
    if (!px_is_ok(status))
        fprintf(stderr, "node-agent remote-start: %s: %s\n", argv[1], status.text);
    return h.exit_code;
}
