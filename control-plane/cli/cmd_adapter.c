/* cmd_adapter.c - `control-plane adapter load | unload | list`. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/term.h"
#include "control/cli/client.h"
#include "control/cli/commands.h"
#include "control/cli/message_json.h"
#include "phalanx/v1/admin.pb-c.h"

const px_arg_spec px_cmd_adapter_specs[] = {PX_CLIENT_SPECS,
    {.name = "model",
        .kind = PX_ARG_STR,
        .value = "NAME",
        .no_env = true,
        .help = "which model's; not needed while only one is deployed"},
    {.name = "timeout-s",
        .kind = PX_ARG_INT,
        .value = "N",
        .default_value = "300",
        .min = 1,
        .max = 86400,
        .help = "how long to wait for the engine"},
    {0}};

static const px_command_doc doc = {
    .usage = "control-plane adapter load NAME PATH | unload NAME | list [options]",
    .summary =
        "LoRA adapters of a model while it serves. PATH is a folder as PEFT saves it, which every "
        "agent of the group has. What is loaded is loaded again whenever the model is started; "
        "unloading refuses new requests at once and waits for those that use it.",
    .examples = "  control-plane adapter load sql /models/adapters/sql --model llama\n"
                "  control-plane generate 'SELECT' --adapter sql\n"
                "  control-plane adapter unload sql\n",
    .positional_min = 1,
    .positional_max = 3,
};

static void ignore_answer(void *arg, const ProtobufCMessage *message) {}

static px_status ask(px_client *client, const px_args *args, px_client_request request)
{
    request.timeout_ns = px_args_int(args, "timeout-s") * PX_SEC;
    return px_client_call(client, &request);
}

static char *model_of(const px_args *args)
{
    const char *model = px_args_str(args, "model");
    return (char *)(model ? model : "");
}

static void say(const px_args *args, const char *done, const char *name)
{
    if (px_args_flag(args, "json"))
        printf("{\"%s\":\"%s\"}\n", done, name);
    else
        printf("%s is %s\n", name, done);
}

static px_status load(px_client *client, const px_args *args)
{
    char path[PATH_MAX];
    if (px_args_positional_count(args) != 3)
        return px_args_fail("'adapter load' wants a name and a path");
    if (!realpath(px_args_positional(args, 2), path)) /* the agents' own, then */
        snprintf(path, sizeof path, "%s", px_args_positional(args, 2));
    Phalanx__V1__Adapter adapter = PHALANX__V1__ADAPTER__INIT;
    adapter.name = (char *)px_args_positional(args, 1);
    adapter.path = path;
    Phalanx__V1__LoadAdapterRequest request = PHALANX__V1__LOAD_ADAPTER_REQUEST__INIT;
    request.model = model_of(args);
    request.adapter = &adapter;
    PX_TRY(ask(client, args,
        (px_client_request){.path = "/phalanx.v1.Admin/LoadAdapter",
            .message = &request.base,
            .response = &phalanx__v1__load_adapter_response__descriptor,
            .on_message = ignore_answer}));
    say(args, "loaded", adapter.name);
    return px_ok();
}

static px_status unload(px_client *client, const px_args *args)
{
    if (px_args_positional_count(args) != 2) return px_args_fail("'adapter unload' wants a name");
    Phalanx__V1__UnloadAdapterRequest request = PHALANX__V1__UNLOAD_ADAPTER_REQUEST__INIT;
    request.model = model_of(args);
    request.name = (char *)px_args_positional(args, 1);
    PX_TRY(ask(client, args,
        (px_client_request){.path = "/phalanx.v1.Admin/UnloadAdapter",
            .message = &request.base,
            .response = &phalanx__v1__unload_adapter_response__descriptor,
            .on_message = ignore_answer}));
    say(args, "unloaded", request.name);
    return px_ok();
}

static void print_list(void *arg, const ProtobufCMessage *message)
{
    const Phalanx__V1__ListAdaptersResponse *list =
        (const Phalanx__V1__ListAdaptersResponse *)message;
    static const char *const headers[] = {"MODEL", "ADAPTER", "PATH"};
    const bool *as_json = arg;
    px_table *table = *as_json ? NULL : px_table_create(headers, 3);
    for (size_t i = 0; i < list->n_adapters; i++) {
        const Phalanx__V1__ModelAdapter *entry = list->adapters[i];
        if (*as_json) {
            px_message_print_json(&entry->base);
            continue;
        }
        const char *const cells[] = {entry->model, entry->adapter ? entry->adapter->name : "",
            entry->adapter ? entry->adapter->path : ""};
        px_table_row(table, cells);
    }
    if (!table) return;
    px_table_print(table, stdout);
    px_table_free(table);
}

static px_status list(px_client *client, const px_args *args)
{
    bool as_json = px_args_flag(args, "json");
    if (px_args_positional_count(args) != 1) return px_args_fail("'adapter list' wants no more");
    Phalanx__V1__ListAdaptersRequest request = PHALANX__V1__LIST_ADAPTERS_REQUEST__INIT;
    request.model = model_of(args);
    return ask(client, args,
        (px_client_request){.path = "/phalanx.v1.Admin/ListAdapters",
            .message = &request.base,
            .response = &phalanx__v1__list_adapters_response__descriptor,
            .on_message = print_list,
            .arg = &as_json});
}

static px_status run(px_client *client, const px_args *args)
{
    const char *what = px_args_positional(args, 0);
    if (strcmp(what, "load") == 0) return load(client, args);
    if (strcmp(what, "unload") == 0) return unload(client, args);
    if (strcmp(what, "list") == 0) return list(client, args);
    return px_args_fail("'adapter' wants load, unload or list, not '%s'", what);
}

int px_cmd_adapter(int argc, char **argv)
{
    return px_client_main(&(px_client_command){px_cmd_adapter_specs, &doc, run}, argc, argv);
}
