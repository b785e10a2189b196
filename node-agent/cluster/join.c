/* join.c - `node-agent join`: the options of an agent. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/agent.h"
#include "cluster/commands.h"

const px_arg_spec px_cmd_join_specs[] = {
    {"server", PX_ARG_STR, "HOST:PORT", "127.0.0.1:8081", "the control plane"},
    {"name", PX_ARG_STR, "NAME", NULL,
        "this agent's name, unique in the cluster; default: the host's name"},
    {"address", PX_ARG_STR, "ADDRESS", NULL,
        "where other machines reach this one; default: as the control plane sees it"},
    {"models", PX_ARG_STR, "DIR", NULL,
        "models to report: DIR/NAME/VERSION/, DIR/NAME/ or DIR/NAME.gguf"},
    {"data", PX_ARG_STR, "DIR", NULL,
        "this agent's own folder (socket, logs); default: var/agent-NAME"},
    {"step-timeout", PX_ARG_INT, "S", "60", "a rank that stays in one step for longer is stuck",
        .min = 1, .max = 86400},
    {"silent-timeout", PX_ARG_INT, "S", "15",
        "a rank that gives no sign of life for longer is stuck", .min = 1, .max = 86400},
    {"load-timeout", PX_ARG_INT, "S", "120",
        "a rank that loads without progress for longer is stuck", .min = 1, .max = 86400},
    {"orphan-timeout", PX_ARG_INT, "S", "300",
        "ranks are ended after so long without a control plane", .min = 1, .max = 864000},
    {0}};

static const px_command_doc doc = {
    .usage = "node-agent join [--server HOST:PORT] [options]",
    .summary = "offer this host to a cluster: report what it has, run the ranks it is given",
    .examples = "  node-agent join --server 10.0.0.1:8081 --models /srv/models\n"
                "  node-agent join --name second --data var/second\n",
};

int px_cmd_join(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_join_specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(px_cmd_join_specs, &doc, stdout);
        return 0;
    }
    px_log_init("agent", PX_INFO, PX_LOG_AUTO);
    px_agent_settings settings = {
        .name = px_args_str(args, "name"),
        .server = px_args_str(args, "server"),
        .address = px_args_str(args, "address"),
        .data_dir = px_args_str(args, "data"),
        .models_dir = px_args_str(args, "models"),
        .step_ns = px_args_int(args, "step-timeout") * PX_SEC,
        .silent_ns = px_args_int(args, "silent-timeout") * PX_SEC,
        .load_ns = px_args_int(args, "load-timeout") * PX_SEC,
        .orphan_ns = px_args_int(args, "orphan-timeout") * PX_SEC,
    };
    status = px_agent_run(&settings);
    px_args_free(args);
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
