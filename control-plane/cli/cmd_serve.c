/* cmd_serve.c - `control-plane serve`. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/cli/commands.h"
#include "control/serve/control.h"

const px_arg_spec px_cmd_serve_specs[] = {
    {.name = "listen",
        .kind = PX_ARG_STR,
        .value = "HOST:PORT",
        .default_value = "127.0.0.1:8081",
        .help = "where clients, operators and agents connect (gRPC)"},
    {.name = "etcd",
        .kind = PX_ARG_STR,
        .value = "URL,URL",
        .help = "your etcd cluster; without it a private one-member etcd is started"},
    {.name = "data",
        .kind = PX_ARG_STR,
        .value = "DIR",
        .default_value = "var/control-plane",
        .help = "folder of the private etcd"},
    {.name = "tenant-weights",
        .kind = PX_ARG_STR,
        .value = "A=3,B=1",
        .help = "shares of tenants (metadata phalanx-tenant) while there is more to do than can "
                "be done; others weigh 1"},
    {.name = "drain-s",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "30",
        .max = 86400,
        .min = 0,
        .help = "seconds that requests in flight may take once asked to stop"},
    {0}};

static const px_command_doc doc = {
    .usage = "control-plane serve [options]",
    .summary =
        "Runs the control plane: agents join it, operators deploy models on them, clients ask "
        "the models. Several may share one etcd; one acts, the others stand by. SIGTERM "
        "drains and stops; the models' ranks run on and are taken over by the next start.",
    .examples = "  control-plane serve\n"
                "  control-plane serve --listen 0.0.0.0:8081 --etcd "
                "http://10.0.0.1:2379,http://10.0.0.2:2379\n",
};

typedef struct program {
    px_rpc *rpc;
    px_control *control;
    px_status outcome;
} program;

static void on_terminate(void *arg)
{
    program *p = arg;
    px_log(PX_INFO, "control.stopping");
    px_control_stop(p->control);
}

static void on_end(void *arg, px_status status)
{
    program *p = arg;
    p->outcome = status;
    px_rpc_stop(p->rpc);
}

static px_status serve(program *p, px_loop *loop, const px_args *args)
{
    px_control_options options = {.loop = loop,
        .rpc = p->rpc,
        .listen = px_args_str(args, "listen"),
        .etcd = px_args_str(args, "etcd"),
        .data_dir = px_args_str(args, "data"),
        .tenant_weights = px_args_str(args, "tenant-weights"),
        .drain_ns = px_args_int(args, "drain-s") * PX_SEC,
        .on_end = on_end,
        .arg = p};
    PX_TRY(px_control_create(&options, &p->control));
    px_log(PX_INFO, "control.listening", PX_S("listen", options.listen),
        PX_I("port", px_control_port(p->control)), PX_S("version", PX_VERSION));
    px_rpc_run(p->rpc);
    px_control_free(p->control);
    return p->outcome;
}

int px_cmd_serve(int argc, char **argv)
{
    px_args *args;
    bool help;
    px_status status = px_args_parse(px_cmd_serve_specs, &doc, argc, argv, &args, &help);
    if (!px_is_ok(status)) return px_command_fail(status);
    if (help) {
        px_args_print_help(px_cmd_serve_specs, &doc, stdout);
        return 0;
    }
    px_log_init("control-plane", PX_INFO, PX_LOG_AUTO);
    program p = {0};
    px_loop *loop = NULL;
    status = px_loop_create(&loop);
    /* Before gRPC starts threads: they must not take the signals. */
    if (px_is_ok(status)) status = px_loop_on_terminate(loop, on_terminate, &p);
    if (px_is_ok(status)) status = px_rpc_create(loop, &p.rpc);
    if (px_is_ok(status)) status = serve(&p, loop, args);
    px_rpc_free(p.rpc);
    px_loop_free(loop);
    px_args_free(args);
    return px_is_ok(status) ? 0 : px_command_fail(status);
}
