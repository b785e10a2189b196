/* cmd_events.c - `control-plane events`. */
#include <stdio.h>
#include <time.h>

#include "control/cli/client.h"
#include "control/cli/commands.h"
#include "control/cli/message_json.h"
#include "phalanx/v1/admin.pb-c.h"

const px_arg_spec px_cmd_events_specs[] = {PX_CLIENT_SPECS,
    {.name = "follow", .kind = PX_ARG_FLAG, .no_env = true, .help = "go on with new ones"},
    {.name = "last",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "100",
        .min = 1,
        .max = 1000,
        .help = "how many of the past"},
    {0}};

static const px_command_doc doc = {
    .usage = "control-plane events [options]",
    .summary =
        "Shows what happened in the cluster: nodes joined and lost, models deployed, started, "
        "failed, ready.",
    .examples = "  control-plane events --last 20\n  control-plane events --follow\n",
};

static void on_event(void *arg, const ProtobufCMessage *message)
{
    const bool *as_json = arg;
    if (*as_json) {
        px_message_print_json(message);
        return;
    }
    const Phalanx__V1__Event *event = (const Phalanx__V1__Event *)message;
    time_t seconds = (time_t)(event->wall_ms / 1000);
    struct tm when;
    char text[32] = "?";
    if (localtime_r(&seconds, &when)) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &when);
    printf("%s.%03u  %-16s %-20s %s\n", text, (unsigned)(event->wall_ms % 1000), event->kind,
        event->subject, event->message);
    fflush(stdout);
}

static px_status run(px_client *client, const px_args *args)
{
    bool as_json = px_args_flag(args, "json");
    Phalanx__V1__EventsRequest request = PHALANX__V1__EVENTS_REQUEST__INIT;
    request.follow = px_args_flag(args, "follow");
    request.last = (uint32_t)px_args_int(args, "last");
    return px_client_call(client, &(px_client_request){.path = "/phalanx.v1.Admin/Events",
                                      .message = &request.base,
                                      .response = &phalanx__v1__event__descriptor,
                                      .on_message = on_event,
                                      .arg = &as_json});
}

int px_cmd_events(int argc, char **argv)
{
    return px_client_main(&(px_client_command){px_cmd_events_specs, &doc, run}, argc, argv);
}
